//! The access log of the real program: what its lines say, rotation under load, a disk that is full.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what a test helper can't do fails the test"
)]

mod support;

use std::io::Result;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;
use support::load::{Client, Load, Origin, Reply, Script, get};
use support::{Driver, Pinion, Signal, drivers, eventually, free_address};

fn start(driver: Driver, log: &str, listener: SocketAddr, origin: &Origin) -> Pinion {
    let text = format!(
        "[proxy.access_log]\n{log}\n[[listeners]]\nname = \"web\"\naddress = \"{listener}\"\n\
         [[routes]]\nname = \"all\"\nhosts = [\"test\"]\ncluster = \"app\"\n\
         [[routes]]\nname = \"down\"\nhosts = [\"down\"]\ncluster = \"down\"\n\
         [[routes]]\nname = \"own\"\npath = \"/own\"\nhosts = [\"test\"]\n\
         direct_response = {{ status = 410, body = \"gone\" }}\n\
         [[clusters]]\nname = \"app\"\nendpoints = [\"{}\"]\n\
         [[clusters]]\nname = \"down\"\nendpoints = [\"{}\"]\n",
        origin.address(),
        free_address(),
    );
    Pinion::with(driver).proxy("shards = 2").config(&text).start()
}

/// Every answer must be 200.
struct Get(&'static str);

impl Script for Get {
    type Note = ();

    fn request(&self, _: usize) -> (Vec<u8>, ()) {
        (get(self.0), ())
    }

    fn judge(&self, _: usize, (): (), reply: Result<Reply>) -> std::result::Result<(), String> {
        match reply {
            Ok(reply) if reply.status == 200 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    }
}

fn lines(pinion: &Pinion, file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(pinion.folder().join(file)).expect("a log");
    // The last line may be on its way.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    whole.lines().map(parse).collect()
}

fn ledger_sum(line: &Value) -> u64 {
    let ledger = line["ledger"].as_object().expect("an object");
    ledger.values().map(|micros| micros.as_u64().expect("a number")).sum()
}

#[test]
fn a_json_line_tells_what_became_of_the_request() {
    for driver in drivers() {
        let origin = Origin::start();
        let address = free_address();
        let pinion = start(driver, "path = \"access.log\"", address, &origin);
        let mut client = Client::tcp(address).expect("connected");
        let slow = b"POST /wait/50?q=\"x\\ HTTP/1.1\r\nHost: test\r\nUser-Agent: me \"and\" you \xff\r\nX-Forwarded-For: 192.0.2.1\r\nX-Request-Id: 17\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(client.ask(slow).expect("answered").status, 200);
        assert_eq!(client.ask(&get("/bytes/1000")).expect("answered").status, 200);
        assert_eq!(client.ask(&get("/own")).expect("answered").status, 410);
        let none = b"GET / HTTP/1.1\r\nHost: other\r\n\r\n";
        assert_eq!(client.ask(none).expect("answered").status, 404);
        let down = b"GET /a%2e HTTP/1.1\r\nHost: down\r\n\r\n";
        assert_eq!(client.ask(down).expect("answered").status, 503);
        assert_eq!(client.ask(b"GET / HTTP/1.1\r\n\r\n").expect("answered").status, 400);
        eventually("six lines", || lines(&pinion, "access.log").len() == 6);
        let lines = lines(&pinion, "access.log");
        let said = |at: usize, name: &str| lines[at][name].clone();
        let expected = [
            ("POST", 200, "-", "via_upstream", "all"),
            ("GET", 200, "-", "via_upstream", "all"),
            ("GET", 410, "-", "direct_response", "own"),
            ("GET", 404, "NR", "no_route", ""),
            ("GET", 503, "UF", "connect_failed", "down"),
            ("", 400, "DPE", "bad_request", ""),
        ];
        for (at, (method, code, flags, details, route)) in expected.into_iter().enumerate() {
            let text = |text: &str| if text.is_empty() { Value::Null } else { text.into() };
            assert_eq!(said(at, "method"), text(method), "{}", lines[at]);
            assert_eq!(said(at, "response_code"), code, "{}", lines[at]);
            assert_eq!(said(at, "response_flags"), flags, "{}", lines[at]);
            assert_eq!(said(at, "response_code_details"), details, "{}", lines[at]);
            assert_eq!(said(at, "route_name"), text(route), "{}", lines[at]);
            assert_eq!(said(at, "listener_name"), "web");
            assert_eq!(said(at, "config_generation"), 1);
            assert_eq!(said(at, "duration"), ledger_sum(&lines[at]), "{}", lines[at]);
        }
        let slow = &lines[0];
        assert!(slow["duration"].as_u64() >= Some(50_000), "{slow}");
        assert!(slow["ledger"]["exchange"].as_u64() >= Some(49_000), "{slow}");
        assert_eq!((&slow["bytes_received"], &slow["bytes_sent"]), (&3.into(), &17.into()), "{slow}");
        assert_eq!(slow["path"], "/wait/50?q=\"x\\");
        assert_eq!(slow["user_agent"], "me \"and\" you \\xff");
        assert_eq!((&slow["x_forwarded_for"], &slow["request_id"]), (&"192.0.2.1".into(), &"17".into()));
        assert_eq!((&slow["upstream_cluster"], &slow["authority"]), (&"app".into(), &"test".into()));
        assert_eq!(slow["upstream_host"], origin.address().to_string());
        assert_eq!(slow["upstream_request_attempt_count"], 1);
        assert_eq!((&slow["upstream_connection_reused"], &slow["truncated"]), (&false.into(), &false.into()));
        assert_eq!(said(1, "upstream_connection_reused"), true);
        assert_eq!(said(1, "bytes_sent"), 1_000);
        let peer: SocketAddr =
            slow["downstream_remote_address"].as_str().expect("text").parse().expect("an address");
        assert_eq!(peer.ip().to_string(), "127.0.0.1");
    }
}

#[test]
fn text_lines() {
    let driver = Driver::Epoll;
    let origin = Origin::start();
    let address = free_address();
    let pinion = start(driver, "path = \"stdout\"\nformat = \"text\"", address, &origin);
    let mut client = Client::tcp(address).expect("connected");
    assert_eq!(client.ask(&get("/bytes/12?a=b")).expect("answered").status, 200);
    eventually("a line", || pinion.stdout().ends_with('\n'));
    let line = pinion.stdout();
    assert!(line.starts_with('[') && line.lines().count() == 1, "{line}");
    assert!(line.contains("] \"GET /bytes/12?a=b HTTP/1.1\" 200 - 0 12 "), "{line}");
    assert!(
        line.contains(&format!("\"{}\"", origin.address())) && line.contains(" via_upstream 1 "),
        "{line}"
    );
}

#[test]
fn rotation_under_load_loses_no_line() {
    const REQUESTS: usize = 4_000;
    for driver in drivers() {
        let origin = Origin::start();
        let address = free_address();
        let pinion = start(driver, "path = \"access.log\"", address, &origin);
        let mut load = Load::to(address).connect();
        let done = AtomicBool::new(false);
        let (failures, files) = std::thread::scope(|scope| {
            let rotating = scope.spawn(|| {
                let (mut files, log) = (0, pinion.folder().join("access.log"));
                while !done.load(Ordering::Relaxed) || files < 3 {
                    std::fs::rename(&log, pinion.folder().join(format!("access.log.{files}")))
                        .expect("renamed");
                    pinion.signal(Signal::HUP);
                    eventually("the log is opened anew", || log.exists());
                    files += 1;
                    sleep(Duration::from_millis(100));
                }
                files
            });
            let failures = load.run(REQUESTS, &Get("/bytes/10"));
            done.store(true, Ordering::Relaxed);
            (failures, rotating.join().expect("rotated"))
        });
        assert_eq!(failures, Vec::<String>::new());
        let names = (0..files).map(|file| format!("access.log.{file}")).chain(["access.log".to_owned()]);
        let names: Vec<_> = names.collect();
        let all = || names.iter().map(|name| lines(&pinion, name).len()).sum::<usize>();
        eventually("every line is there", || all() == REQUESTS);
        for line in names.iter().flat_map(|name| lines(&pinion, name)) {
            assert_eq!(line["duration"], ledger_sum(&line), "{line}");
        }
        let metrics = pinion.metrics();
        assert_eq!(metrics.value("pinion_log_written_total", &[]), REQUESTS as f64);
        assert_eq!(metrics.value("pinion_log_dropped_total", &[]), 0.0);
    }
}

#[test]
fn a_full_disk_costs_lines_and_nothing_else() {
    const REQUESTS: usize = 2_000;
    for driver in drivers() {
        let origin = Origin::start();
        let address = free_address();
        let pinion = start(driver, "path = \"/dev/full\"", address, &origin);
        let mut load = Load::to(address).connect();
        assert_eq!(load.run(REQUESTS, &Get("/bytes/10")), Vec::<String>::new());
        let lost = || pinion.metrics().value("pinion_log_dropped_total", &[("reason", "write_failed")]);
        eventually("every lost line is counted", || lost() == REQUESTS as f64);
        let metrics = pinion.metrics();
        assert_eq!(metrics.value("pinion_log_written_total", &[]), 0.0);
        assert!(metrics.value("pinion_log_write_errors_total", &[]) >= 1.0);
        pinion.wait_stderr("the access log can't be written");
        assert_eq!(pinion.stderr().matches("can't be written").count(), 1, "said once");
    }
}
