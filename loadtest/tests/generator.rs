//! The generator against the origin: the rate is kept, and the two times mean what they say.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener};
use std::process::Output;
use std::time::{Duration, Instant};

use common::{DRIVERS, Origin, program};
use serde_json::Value;

/// Runs the generator with a JSON report.
fn load(url: &str, options: &[&str]) -> Value {
    let output = program(&["--quiet", "--json", "-"]).args(options).arg(url).output().unwrap();
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {} {}", output.status, String::from_utf8_lossy(&output.stderr)))
}

fn millis(report: &Value, kind: &str, percentile: &str) -> f64 {
    report[kind]["percentiles_nanos"][percentile].as_f64().unwrap() / 1e6
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_rate_is_kept_with_constant_and_poisson_arrivals() {
    for driver in DRIVERS {
        let origin = Origin::start(driver, &[]);
        let url = format!("http://{}/", origin.address);
        let report =
            load(&url, &["--rate", "500", "--duration", "2s", "--connections", "8", "--threads", "2"]);
        assert_eq!(
            (report["sent"].as_u64(), report["answered"].as_u64()),
            (Some(1000), Some(1000)),
            "{report:#}"
        );
        assert_eq!(report["failed"], 0);
        assert_eq!(report["statuses"]["200"], 1000);
        let rate = report["answered_per_second"].as_f64().unwrap();
        assert!((450.0..=501.0).contains(&rate), "{report:#}");

        // 1000 are expected; the standard deviation of a Poisson count is its root, 32.
        let report = load(&url, &["--rate", "500", "--duration", "2s", "--arrivals", "poisson"]);
        let sent = report["sent"].as_u64().unwrap();
        assert!((840..=1160).contains(&sent), "{sent}");
        assert_eq!(report["answered"].as_u64(), Some(sent));
    }
}

/// The reason for an open loop: when the server stands still for a second, every request that was due
/// in that second waits, but only those few see it that were already sent.
#[test]
fn a_stall_shows_in_the_latency_but_not_in_the_service_time() {
    for driver in DRIVERS {
        let origin = Origin::start(driver, &["--stall", "1s:1s"]);
        let url = format!("http://{}/", origin.address);
        let report = load(&url, &["--rate", "400", "--duration", "4s", "--connections", "4"]);
        assert_eq!(
            (report["answered"].as_u64(), report["failed"].as_u64()),
            (Some(1600), Some(0)),
            "{report:#}"
        );
        // 400 of 1600 requests fell due during the stall: 5 % of all waited longer than 800 ms, 1 % longer
        // than 960 ms.
        let latency = |percentile| millis(&report, "latency", percentile);
        assert!(latency("p95") >= 750.0 && latency("p99") >= 900.0, "{report:#}");
        // The 4 that were in flight are 0.25 % of the service times. A machine with much other work delays
        // a few more, but not 5 %.
        let service = |percentile| millis(&report, "service_time", percentile);
        assert!(service("p95") < 250.0 && service("p99") < latency("p99"), "{report:#}");
        assert!(millis(&report, "service_time", "max") >= 900.0, "{report:#}");
        let blocked = report["blocked"].as_u64().unwrap();
        assert!(blocked >= 300, "{report:#}");
    }
}

#[test]
fn the_summary_has_one_percentile_a_line_latency_first() {
    let origin = Origin::start("epoll", &["--delay", "20ms"]);
    let url = format!("http://{}/", origin.address);
    let output = program(&["--rate", "100", "--duration", "500ms", &url]).output().unwrap();
    assert!(output.status.success());
    let summary = text(&output);
    let lines: Vec<&str> = summary.lines().filter(|line| line.starts_with("p99  ")).collect();
    assert_eq!(lines.len(), 2, "{summary}");
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words.len(), 3, "{line}");
        assert_eq!(words[2], "ms", "{line}");
        let value: f64 = words[1].parse().unwrap();
        assert!((20.0..500.0).contains(&value), "{line}");
    }
    let due = summary.find("latency, from the due time").unwrap();
    let sent = summary.find("service time, from the send").unwrap();
    assert!(due < sent);
    assert!(summary.contains("\n200  50\n"), "{summary}");
}

#[test]
fn requests_carry_what_was_asked_for() {
    let origin = Origin::start("epoll", &[]);
    // The origin refuses what is not exactly so: a body of four bytes on a POST.
    let url = format!("http://{}/echo", origin.address);
    let options = ["-n", "3", "-X", "POST", "--body", "abcd", "-H", "end-user: jason"];
    let report = load(&url, &[&options[..], &["--rate", "100", "--count-header", "X-Served-By"]].concat());
    assert_eq!(report["answered"], 3);
    assert_eq!(report["counted"]["values"]["origin/v1"], 3);
    // Two connections may have sent them, but each answer's length tells that the body arrived.
    let bytes = report["content_bytes"].as_u64().unwrap();
    let mut stream = origin.connect();
    let request = "POST /echo HTTP/1.1\r\nhost: X\r\nuser-agent: pinion-load/0.1.0\r\ncontent-length: 4\r\n\
                   end-user: jason\r\n\r\nabcd"
        .replace('X', &origin.address);
    stream.write_all(request.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let length = answer.split("\r\n\r\n").nth(1).unwrap().len() as u64;
    // The numbers of the connection and request may have more digits in one of them.
    assert!(bytes.abs_diff(3 * length) <= 6, "{bytes} {length}");
}

#[test]
fn a_closed_loop_keeps_every_connection_busy() {
    let origin = Origin::start("epoll", &["--delay", "10ms"]);
    let url = format!("http://{}/", origin.address);
    let report = load(&url, &["--rate", "max", "--duration", "1s", "--connections", "4"]);
    // Four connections, each at most 100 a second.
    let answered = report["answered"].as_u64().unwrap();
    assert!((100..=404).contains(&answered), "{report:#}");
    assert_eq!(report["connects"], 4);
    let report = load(&url, &["--rate", "max", "-n", "10", "--connections", "4"]);
    assert_eq!(report["answered"], 10);
}

#[test]
fn large_and_chunked_answers_and_closing_servers_are_read() {
    let origin = Origin::start("io_uring", &[]);
    let run = |path: &str| load(&format!("http://{}{path}", origin.address), &["-n", "20", "--rate", "200"]);
    let report = run("/bytes/300KiB");
    assert_eq!(report["content_bytes"], 20 * 300 * 1024);
    let report = run("/chunked/100000");
    assert_eq!(report["content_bytes"], 20 * 100_000);
    let report = run("/close");
    assert_eq!((report["answered"].as_u64(), report["failed"].as_u64()), (Some(20), Some(0)));
    assert!(report["connects"].as_u64().unwrap() >= 64 + 19, "{report:#}");
    let report = run("/status/503");
    assert_eq!((report["statuses"]["503"].as_u64(), report["failed"].as_u64()), (Some(20), Some(0)));
}

#[test]
fn unix_sockets_are_connected_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("origin.sock");
    let _origin = Origin::start_at(&format!("unix:{}", path.display()), "epoll", &[]);
    let report = load("http://service/", &["-n", "10", "--rate", "100", "--unix", path.to_str().unwrap()]);
    assert_eq!(report["answered"], 10);
}

#[test]
fn time_outs_are_errors_and_count_as_the_time_that_was_waited() {
    let origin = Origin::start("epoll", &["--delay", "10s"]);
    let url = format!("http://{}/", origin.address);
    let start = Instant::now();
    let report = load(&url, &["--rate", "20", "-n", "4", "--connections", "2", "--timeout", "300ms"]);
    assert!(start.elapsed() < Duration::from_secs(8));
    assert_eq!(report["failed"], 4, "{report:#}");
    assert!(report["errors"]["timeout"].as_u64().unwrap() >= 2, "{report:#}");
    assert!(millis(&report, "latency", "max") >= 300.0, "{report:#}");
}

/// A server of one connection after another, each treated by `treat`.
fn server(count: usize, treat: impl Fn(std::net::TcpStream, usize) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().take(count).enumerate() {
            treat(stream.unwrap(), number);
        }
    });
    address
}

#[test]
fn errors_are_told_apart() {
    let kinds = |answer: &'static str| {
        let address = server(1000, move |mut stream, _| {
            let mut request = [0; 1024];
            if stream.read(&mut request).is_ok_and(|length| length > 0) {
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        let options = ["--rate", "100", "-n", "5", "--connections", "1", "--timeout", "2s"];
        load(&format!("http://{address}/"), &options)["errors"].clone()
    };
    assert_eq!(kinds("SMTP ready\r\n\r\n"), serde_json::json!({"malformed": 5}));
    assert_eq!(kinds("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab"), serde_json::json!({"closed": 5}));
    assert_eq!(kinds(""), serde_json::json!({"closed": 5}));
}

#[test]
fn a_request_that_met_a_closing_connection_is_sent_again_once_it_is_safe() {
    // Each connection answers one request as if it were to stay, and closes after the second came.
    let serve = || {
        server(1000, |mut stream, _| {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
            let _ = stream.read(&mut request);
        })
    };
    let options = ["--rate", "50", "-n", "10", "--connections", "1", "--timeout", "5s"];
    let report = load(&format!("http://{}/", serve()), &options);
    assert_eq!((report["answered"].as_u64(), report["failed"].as_u64()), (Some(10), Some(0)), "{report:#}");
    assert_eq!((report["resent"].as_u64(), report["sent"].as_u64()), (Some(9), Some(10)), "{report:#}");
    let report = load(&format!("http://{}/", serve()), &[&options[..], &["-X", "POST"]].concat());
    assert_eq!((report["answered"].as_u64(), report["failed"].as_u64()), (Some(5), Some(5)), "{report:#}");
}

#[test]
fn nothing_to_connect_to_is_a_failure_and_nonsense_a_usage_error() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let output = program(&["--duration", "1s", &format!("http://127.0.0.1:{port}/")]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains(&format!("no connection could be made to 127.0.0.1:{port}: connect: ")), "{told}");
    for wrong in [
        &["ftp://a/"][..],
        &["--rate", "0", "http://a/"],
        &["--duration", "0", "http://127.0.0.1:1/"],
        &["-n", "0", "http://127.0.0.1:1/"],
        &["--rate", "max", "--arrivals", "poisson", "http://127.0.0.1:1/"],
        &["--stage", "5:0s", "http://127.0.0.1:1/"],
        &[],
    ] {
        assert_eq!(program(wrong).output().unwrap().status.code(), Some(2), "{wrong:?}");
    }
}

/// What no wait can mend is told with its reason, long before the ten seconds that connecting may take.
#[test]
fn a_rate_beside_recorded_arrivals_is_refused() {
    let gaps = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(gaps.path(), "1ms\n").unwrap();
    let arrivals = format!("recorded:{}", gaps.path().display());
    for rate in [["--rate", "5"], ["--stage", "5:1s"]] {
        let output = program(&["--arrivals", &arrivals, "http://127.0.0.1:1/"]).args(rate).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains("their own rate"), "{told}");
    }
}

#[test]
fn tls_to_a_plain_port_is_told_at_once() {
    for driver in DRIVERS {
        let origin = Origin::start(driver, &[]);
        let start = Instant::now();
        let output =
            program(&["--duration", "1s", &format!("https://{}/", origin.address)]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.contains("what came is not TLS"), "{told}");
        assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
    }
}

/// A scenario's dead host does not hold the others up for ten seconds, and is named.
#[test]
fn connections_that_are_missing_are_told() {
    let origin = Origin::start("epoll", &[]);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let targets = format!(
        "[[targets]]\nurl = \"http://{}/\"\n[[targets]]\nurl = \"http://127.0.0.1:{port}/\"\n",
        origin.address
    );
    file.write_all(targets.as_bytes()).unwrap();
    let options = ["-q", "-r", "100", "-n", "40", "-c", "2", "--scenario", file.path().to_str().unwrap()];
    let output = program(&options).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains(&format!("starts with 2 of 4 connections; 127.0.0.1:{port}: connect: ")), "{told}");
    assert!(told.contains(&format!("a connection that failed: 127.0.0.1:{port}: connect: ")), "{told}");
    assert!(output.status.success() && text(&output).contains("\nconnect  "), "{}", text(&output));
}

#[test]
fn more_connections_than_descriptors_are_refused() {
    let limited = format!(
        "ulimit -n 200 && exec {} -c 500 http://127.0.0.1:1/",
        program(&[]).get_program().to_str().unwrap()
    );
    let output = std::process::Command::new("bash").args(["-c", &limited]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("500 connections need") && told.contains("may have 200"), "{told}");
}

#[test]
fn ctrl_c_ends_the_run_and_reports_what_there_is() {
    let origin = Origin::start("epoll", &[]);
    let url = format!("http://{}/", origin.address);
    let child = program(&["--quiet", "--json", "-", "--rate", "200", "--duration", "60s", &url])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(800));
    std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let start = Instant::now();
    let output = child.wait_with_output().unwrap();
    assert!(start.elapsed() < Duration::from_secs(5) && output.status.success());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["interrupted"], true);
    assert!(report["answered"].as_u64().unwrap() > 20, "{report:#}");
}

/// The rate of a run without an answer is by its time, not by none.
#[test]
fn a_run_that_is_ended_early_took_as_long_as_it_did() {
    // The kernel accepts, and nobody answers.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let options = ["--quiet", "--json", "-", "-r", "10", "-c", "4", "-d", "60s", &url];
    let child = program(&options).stdout(std::process::Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let report: Value = serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap();
    assert!(report["measured_seconds"].as_f64().unwrap() > 0.1, "{report:#}");
}
