//! The comparison as users run it, short: against nginx where it is installed, and with peers missing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// A program beside the tested one; built if it is not there.
fn program(name: &str) -> PathBuf {
    let bench = Path::new(env!("CARGO_BIN_EXE_pinion-bench"));
    let program = bench.with_file_name(name);
    if !program.exists() {
        let target = bench.parent().unwrap().parent().unwrap();
        let status = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--bin", name, "--target-dir"])
            .arg(target)
            .status()
            .unwrap();
        assert!(status.success());
    }
    program
}

fn peers(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pinion-bench"))
        .arg("peers")
        .args(arguments)
        .env("PINION_BIN", program("pinion"))
        .env("PINION_LOAD_BIN", program("pinion-load"))
        .env_remove("ENVOY_BIN")
        .env_remove("PINGORA_BIN")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn nginx_is_compared_in_every_section() {
    let found = ["/usr/sbin/nginx", "/usr/local/sbin/nginx"].iter().any(|path| Path::new(path).exists());
    if !found {
        println!("SKIPPED: no nginx");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (json, html) = (folder.path().join("a.json"), folder.path().join("a.html"));
    let short = ["--repeats", "1", "--warmup", "20ms", "--measure", "100ms", "--rates", "500"];
    let chosen = ["--bodies", "100,10240", "--in-flight", "8,128", "--idle-connections", "50"];
    let files = ["--json", json.to_str().unwrap(), "--html", html.to_str().unwrap()];
    let subjects = ["--subjects", "pinion-epoll,nginx,floor"];
    let output = peers(&[&short[..], &chosen, &files, &subjects].concat());
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");

    assert!(out.contains("| case | pinion (epoll) | nginx | floor |"), "{out}");
    let report: Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    let rows = report["rows"].as_array().unwrap();
    for subject in ["pinion-epoll", "nginx", "floor"] {
        for section in ["lockstep", "saturation", "latency", "memory"] {
            if (subject, section) == ("floor", "memory") {
                continue;
            }
            let figure = if section == "memory" { "connection_bytes" } else { "cpu_nanos_per_request" };
            let mut of_both = rows.iter().filter(|r| r["subject"] == subject && r["section"] == section);
            assert!(of_both.any(|row| row["samples"][0][figure].as_f64().is_some()), "{subject} {section}");
        }
        let unix = rows.iter().any(|row| row["subject"] == subject && row["transport"] == "unix");
        assert!(unix, "{subject} over Unix sockets");
    }
    let cases = rows.iter().filter(|row| row["section"] == "lockstep");
    assert!(cases.clone().all(|row| row["cpu_nanos_per_request_first_quartile"].as_f64().unwrap() > 0.0));
    assert!(cases.clone().count() > 3, "{out}");
    assert!(std::fs::read_to_string(html).unwrap().matches("<svg").count() >= 5);
}

#[test]
fn a_missing_peer_is_left_out_loudly_unless_it_is_named() {
    // Nothing is measured: it is over before it begins.
    let over = ["--time-limit", "0s", "--envoy", "/nowhere/envoy", "--pingora", "/nowhere/pingora"];
    let output = peers(&over);
    let err = text(&output.stderr);
    assert!(output.status.success(), "{err}");
    assert!(err.contains("LEFT OUT: Envoy: /nowhere/envoy is not there"), "{err}");
    assert!(err.contains("LEFT OUT: Pingora: /nowhere/pingora is not there"), "{err}");
    assert!(text(&output.stdout).contains("ended early"));

    let output = peers(&[&over[..], &["--subjects", "pinion,envoy"]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("pinion-bench: Envoy: /nowhere/envoy"));
}
