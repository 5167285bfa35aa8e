//! The micro benchmarks as users run them: what they write, and that routing does not grow.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Output};

use serde_json::Value;

fn micro(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pinion-bench"))
        .arg("micro")
        .args(["--repeats", "2", "--slice", "1ms"])
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn times_are_found_and_written() {
    let folder = tempfile::tempdir().unwrap();
    let (json, html) = (folder.path().join("a.json"), folder.path().join("a.html"));
    let output = micro(&[
        "--no-instructions",
        "--only",
        "parse,choose,histogram",
        "--json",
        json.to_str().unwrap(),
        "--html",
        html.to_str().unwrap(),
    ]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("| choose-least-request |") && text.contains("| 1000 endpoints |"), "{text}");
    let report: Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let of_parsing = findings.iter().filter(|finding| finding["name"] == "parse-request");
    assert_eq!(of_parsing.count(), 3);
    assert!(findings.iter().all(|finding| finding["nanos"].as_array().unwrap().len() == 2));
    assert!(findings.iter().all(|finding| finding["nanos_first_quartile"].as_f64().unwrap() > 0.0));
    assert!(std::fs::read_to_string(html).unwrap().contains("<svg"));
}

#[test]
fn instructions_of_routing_do_not_grow() {
    if !Command::new("valgrind").arg("--version").output().is_ok_and(|output| output.status.success()) {
        println!("SKIPPED: no valgrind");
        return;
    }
    // Its exit status is the verdict, over 10 to 100,000 routes.
    let output = micro(&["--only", "route-prefixes"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("does not grow: route-prefixes"), "{text}");
}

#[test]
fn an_unknown_name_is_refused() {
    let output = micro(&["--only", "nothing"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("route-hosts"));
}
