//! The comparison as users run it, short: against nginx where it is installed, and with peers missing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// All traffic but TCP.
const HTTP: &str = "http2-to-http1,http2,grpc,handshakes,hybrid-handshakes,resumed-handshakes,tls,tls-http2";

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

/// Whether there is nginx; says so if not.
fn has_nginx() -> bool {
    let found = ["/usr/sbin/nginx", "/usr/local/sbin/nginx"].iter().any(|path| Path::new(path).exists());
    if !found {
        println!("SKIPPED: no nginx");
    }
    found
}

#[test]
fn nginx_is_compared_in_every_section() {
    if !has_nginx() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (json, html) = (folder.path().join("a.json"), folder.path().join("a.html"));
    let short = ["--repeats", "1", "--warmup", "20ms", "--measure", "100ms", "--rates", "500"];
    let sections = ["--sections", "lockstep,saturation,latency,memory"];
    let chosen = ["--bodies", "100,10240", "--in-flight", "8,128", "--idle-connections", "50"];
    let files = ["--json", json.to_str().unwrap(), "--html", html.to_str().unwrap()];
    let subjects = ["--subjects", "pinion-epoll,nginx,floor"];
    let output = peers(&[&short[..], &sections, &chosen, &files, &subjects].concat());
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

/// Measures transports shortly; which subjects have a figure for each traffic, and what was told on stderr.
fn transports(options: &[&str]) -> (impl Fn(&str) -> String + use<>, String) {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("a.json");
    let short = ["--repeats", "1", "--warmup", "20ms", "--measure", "100ms", "--sections", "transports"];
    let output = peers(&[&short[..], options, &["--json", json.to_str().unwrap()]].concat());
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    let report: Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    let subjects = move |traffic: &str| {
        let rows = report["rows"].as_array().unwrap().iter().filter(|row| row["traffic"] == traffic);
        let measured = rows.filter(|row| row["cpu_nanos_per_request_first_quartile"].as_f64() > Some(0.0));
        let found: BTreeSet<_> = measured.map(|row| row["subject"].as_str().unwrap()).collect();
        found.into_iter().collect::<Vec<_>>().join(" ")
    };
    (subjects, err)
}

#[test]
fn transports_are_compared_where_a_subject_can_do_them() {
    if !has_nginx() {
        return;
    }
    let (subjects, err) =
        transports(&["--in-flight", "8,64,128", "--subjects", "pinion-epoll,nginx,floor", "--traffic", HTTP]);
    assert!(err.contains("NOT COMPARED: HTTP/2 to HTTP/2, nginx"), "{err}");
    assert_eq!(subjects("http2"), "floor pinion-epoll");
    assert_eq!(subjects("grpc"), "floor nginx pinion-epoll");
    assert_eq!(subjects("hybrid-handshakes"), "pinion-epoll");
    for traffic in ["http2-to-http1", "handshakes", "resumed-handshakes", "tls", "tls-http2"] {
        assert_eq!(subjects(traffic), "nginx pinion-epoll", "{traffic}: {err}");
    }
}

#[test]
fn tcp_is_compared() {
    let module = Path::new("/usr/lib/nginx/modules/ngx_stream_module.so").exists();
    let all = if module { "floor,nginx,pinion-epoll" } else { "floor,pinion-epoll" };
    if !module {
        println!("SKIPPED: nginx has no stream module (Debian: libnginx-mod-stream)");
    }
    let (subjects, err) = transports(&["--in-flight", "4,64", "--traffic", "tcp", "--subjects", all]);
    assert_eq!(subjects("tcp"), all.replace(',', " "), "{err}");
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
