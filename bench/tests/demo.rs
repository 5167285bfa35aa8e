//! The demo as a judge: it must not call good what is not.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use support::load_program;

mod support;

/// Runs the demo with a script in the proxy's place, which gets the configuration as `$3`.
fn demo_with(script: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let proxy = folder.path().join("pinion");
    fs::write(&proxy, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&proxy, fs::Permissions::from_mode(0o755)).unwrap();
    Command::new(env!("CARGO_BIN_EXE_pinion-bench"))
        .args(["demo", "--for", "2s", "--load", "500ms", "--rate", "2000"])
        .env("PINION_BIN", &proxy)
        .env("LOAD", load_program())
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The two addresses of the configuration: of `[proxy]` and of the listener.
const ADDRESSES: &str = r#"
admin=$(sed -n 's/^admin = "\(.*\)"/\1/p' "$3")
web=$(sed -n 's/^address = "\(.*\)"/\1/p' "$3")
"#;

#[test]
fn a_proxy_that_sends_everybody_to_v1_fails_the_demo() {
    let script = format!(
        "{ADDRESSES} exec \"$LOAD\" origin --listen $web --listen $admin --name my-service --version-label v1"
    );
    let output = demo_with(&script);
    assert_eq!(output.status.code(), Some(1));
    let errors = stderr(&output);
    assert!(
        errors.contains("requests of jason reached v2") && errors.contains("the split is off"),
        "{errors}"
    );
    // What was seen is shown all the same, and everything was stopped.
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(shown.lines().any(|line| line.starts_with("p99  ")) && shown.contains("stopping"), "{shown}");
}

#[test]
fn answers_with_errors_fail_the_demo() {
    let script = format!(
        "{ADDRESSES} \"$LOAD\" origin --listen $admin & first=$!\n\
         \"$LOAD\" origin --listen $web --status 503 --name my-service --version-label v2 & second=$!\n\
         trap 'kill $first $second; exit 0' TERM\n\
         wait"
    );
    let output = demo_with(&script);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("answered with 503"), "{}", stderr(&output));
}

#[test]
fn a_proxy_that_does_not_start_is_told_with_its_words() {
    let output = demo_with("echo 'address already in use' >&2; exit 1");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("address already in use"), "{}", stderr(&output));
}

#[test]
fn missing_programs_are_named() {
    let output = Command::new(env!("CARGO_BIN_EXE_pinion-bench"))
        .args(["demo", "--for", "1s"])
        .env("PINION_BIN", "/nonexistent/pinion")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("/nonexistent/pinion is not there"), "{}", stderr(&output));
}

#[test]
fn wrong_options_are_usage_errors() {
    let run = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_pinion-bench")).args(arguments).output().unwrap().status.code()
    };
    assert_eq!(run(&["demo", "--for", "30"]), Some(2));
    assert_eq!(run(&["peers", "--subjects", "apache"]), Some(2));
    assert_eq!(run(&[]), Some(2));
}
