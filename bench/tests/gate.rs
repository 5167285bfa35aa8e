//! The gate from outside: any two commands, its verdicts, its exit statuses, what it writes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use support::load_program;

mod support;

/// Short, and of one measure, so that eight rounds suffice for a verdict. CPU time, because a busy machine
/// makes the generator doubt its latencies.
const SCENARIO: &str = "\
name = \"short\"
about = \"a test's own load\"
rounds = 8
path = \"/x\"

[load]
rate = 50
connections = 8
warmup = \"50ms\"
measure = \"300ms\"

[judge]
cpu = \"50%\"
";

/// Gates two origins, which are services of a kind, with options of their own.
fn gate(folder: &Path, base: &str, candidate: &str, more: &[&str]) -> Output {
    let load = load_program();
    let scenario = folder.join("short.toml");
    fs::write(&scenario, SCENARIO).unwrap();
    let command = |options: &str| format!("'{}' origin --listen {{listen}} {options}", load.display());
    Command::new(env!("CARGO_BIN_EXE_pinion-bench"))
        .current_dir(folder)
        .args(["gate", "--base-cmd", &command(base), "--candidate-cmd", &command(candidate)])
        .args(["--ready", "/status/204", "--patience", "60s"])
        .arg("--scenario")
        .arg(&scenario)
        .args(more)
        .env("PINION_LOAD_BIN", &load)
        .output()
        .unwrap()
}

fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_costly_candidate_is_worse_in_every_output() {
    let folder = tempfile::tempdir().unwrap();
    let output = gate(
        folder.path(),
        "",
        "--bytes 4MiB",
        &[
            "--json",
            "out.json",
            "--markdown",
            "out.md",
            "--record",
            "own",
            "--runs",
            "runs",
            "--note",
            "a test",
        ],
    );
    let said = words(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let markdown = fs::read_to_string(folder.path().join("out.md")).unwrap();
    assert!(markdown.contains("## Gate: worse (1 worse)") && markdown.contains("**worse**"), "{markdown}");
    assert!(said.contains(&markdown), "{said}");
    let json: Value = serde_json::from_slice(&fs::read(folder.path().join("out.json")).unwrap()).unwrap();
    let finding = &json["scenarios"][0]["findings"][0];
    assert_eq!((&finding["measure"], &finding["verdict"]), (&"cpu".into(), &"worse".into()), "{json}");
    assert!(finding["ratio"].as_f64().unwrap() > 1.5 && finding["series"].as_array().unwrap().len() == 8);
    let record = fs::read_to_string(folder.path().join("runs/own.jsonl")).unwrap();
    assert_eq!(record.lines().count(), 1);
    assert!(record.contains("\"note\":\"a test\""), "{record}");
}

#[test]
fn failing_requests_are_worse_whatever_their_speed() {
    let folder = tempfile::tempdir().unwrap();
    let output = gate(folder.path(), "", "--status 503", &["--rounds", "2"]);
    let said = words(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("requests failed at the candidate"), "{said}");
}

#[test]
fn what_two_rounds_can_not_tell_fails_only_the_strict() {
    let folder = tempfile::tempdir().unwrap();
    let run = |more: &[&str]| gate(folder.path(), "", "", &[&["--rounds", "2"], more].concat());
    let output = run(&[]);
    let said = words(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("can't tell, needs about") && said.contains("more rounds"), "{said}");
    assert_eq!(run(&["--strict"]).status.code(), Some(1));
    // Nothing is judged: nothing is told.
    let advisory = run(&["--advisory"]);
    assert!(words(&advisory).contains("(can't tell"), "{}", words(&advisory));
}

#[test]
fn a_program_that_does_not_start_is_told_with_its_words() {
    let folder = tempfile::tempdir().unwrap();
    let output = gate(folder.path(), "--no-such-option", "", &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(words(&output).contains("--no-such-option"), "{}", words(&output));
}

#[test]
fn wrong_command_lines_are_usage_errors() {
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pinion-bench"));
        command.arg("gate").args(arguments).output().unwrap().status.code()
    };
    assert_eq!(run(&[]), Some(2));
    assert_eq!(run(&["--base", "HEAD", "--base-cmd", "a"]), Some(2));
    assert_eq!(run(&["--base", "no-such-revision"]), Some(2));
    assert_eq!(run(&["--base-bin", "no-such-file"]), Some(2));
    assert_eq!(run(&["--base-cmd", "a", "--scenarios", "http9"]), Some(2));
    assert_eq!(run(&["--base-cmd", "a", "--rounds", "3"]), Some(2));
    assert_eq!(run(&["--base-cmd", "a", "--alpha", "1"]), Some(2));
    assert_eq!(run(&["--calibrate", "--base-cmd", "a", "--candidate-cmd", "b"]), Some(2));
    assert_eq!(run(&["--check-runs", "--base", "HEAD"]), Some(2));
}

#[test]
fn a_record_becomes_a_page_of_plots() {
    let folder = tempfile::tempdir().unwrap();
    let git = |arguments: &[&str]| {
        assert!(Command::new("git").current_dir(folder.path()).args(arguments).status().unwrap().success());
    };
    git(&["init", "--quiet"]);
    let run = || gate(folder.path(), "", "", &["--rounds", "2", "--record", "own", "--runs", "runs"]);
    assert_eq!((run().status.code(), run().status.code()), (Some(0), Some(0)));
    let gate = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pinion-bench"));
        command.current_dir(folder.path()).args(["gate", "--runs", "runs"]).args(arguments).output().unwrap()
    };
    let output = gate(&["--history", "page.html", "--record", "own"]);
    assert!(output.status.success(), "{}", words(&output));
    let page = fs::read_to_string(folder.path().join("page.html")).unwrap();
    assert!(
        page.contains("short: CPU per request") && page.contains("short: CPU per request, change"),
        "{page}"
    );
    assert!(gate(&["--check-runs"]).status.success());
    fs::write(folder.path().join("runs/own.jsonl"), "{}\n").unwrap();
    assert_eq!(gate(&["--check-runs"]).status.code(), Some(1));
}
