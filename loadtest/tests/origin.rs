//! The origin over real sockets, with raw bytes, on both drivers.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use common::{DRIVERS, Origin, program};

fn on_both(options: &[&str], test: impl Fn(&Origin)) {
    for driver in DRIVERS {
        test(&Origin::start(driver, options));
    }
}

/// Reads until the bytes read so far end with `end`.
fn read_until(stream: &mut impl std::io::Read, end: &str) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(end.as_bytes()) {
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "closed after {:?}", String::from_utf8_lossy(&text));
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn it_says_who_it_is() {
    on_both(&["--name", "shop", "--version-label", "v7"], |origin| {
        assert_eq!(
            origin.exchange(GET),
            "HTTP/1.1 200 OK\r\nx-served-by: shop/v7\r\ncontent-type: application/json\r\n\
             content-length: 31\r\n\r\n{\"name\":\"shop\",\"version\":\"v7\"}\n"
        );
        assert!(origin.announced.starts_with("shop/v7 listening on 127.0.0.1:"));
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    on_both(&[], |origin| {
        let wire = "GET /status/201 HTTP/1.1\r\nHost: a\r\n\r\n\
                    POST /status/202 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
                    POST /status/404 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n\
                    GET /status/503 HTTP/1.1\r\nHost: a\r\n\r\n";
        let answer = origin.exchange(wire);
        let statuses: Vec<&str> = answer.split("HTTP/1.1 ").skip(1).map(|part| &part[..3]).collect();
        assert_eq!(statuses, ["201", "202", "404", "503"]);
    });
}

#[test]
fn requests_are_the_same_in_pieces_of_every_size() {
    on_both(&[], |origin| {
        let wire = "POST /echo?a=b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                    3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nx-sum: 5\r\n\r\n";
        for size in [1, 7, wire.len()] {
            let mut stream = origin.connect();
            for piece in wire.as_bytes().chunks(size) {
                stream.write_all(piece).unwrap();
                std::thread::sleep(Duration::from_micros(200));
            }
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            let echo: serde_json::Value =
                serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
            assert_eq!(echo["method"], "POST");
            assert_eq!(echo["path"], "/echo");
            assert_eq!(echo["query"], "a=b");
            assert_eq!(echo["headers"], serde_json::json!([["Host", "a"], ["Transfer-Encoding", "chunked"]]));
            assert_eq!(echo["body"], "abcde");
            assert_eq!(echo["body_length"], 5);
            assert_eq!(echo["body_chunked"], true);
            assert_eq!(echo["trailers"], serde_json::json!(["x-sum: 5"]));
        }
    });
}

#[test]
fn echo_counts_connections_and_requests() {
    on_both(&[], |origin| {
        let get = "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n";
        for connection in 1..=2 {
            let answer = origin.exchange(&format!("{get}{get}"));
            let numbers: Vec<String> = answer
                .lines()
                .filter(|line| line.starts_with('{'))
                .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
                .map(|echo| format!("{}.{}", echo["connection"], echo["request"]))
                .collect();
            assert_eq!(numbers, [format!("{connection}.1"), format!("{connection}.2")]);
        }
    });
}

#[test]
fn bodies_have_the_size_and_bytes_that_were_asked_for() {
    on_both(&[], |origin| {
        for (size, number) in [("0", 0), ("1", 1), ("16KiB", 16_384), ("16385", 16_385), ("3MiB", 3 << 20)] {
            let expected: String =
                (0..=number / 16).map(|line| format!("{:015x}\n", line % 16_384)).collect();
            let request = format!("GET /bytes/{size} HTTP/1.1\r\nHost: a\r\n\r\n");
            let answer = origin.exchange(&request);
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("content-length: {number}")), "{head}");
            assert!(body == &expected[..number], "{size}: wrong bytes");

            let answer = origin.exchange(&request.replace("/bytes/", "/chunked/"));
            let (head, mut rest) = answer.split_once("\r\n\r\n").unwrap();
            assert!(
                head.contains("transfer-encoding: chunked") && !head.contains("content-length"),
                "{head}"
            );
            let mut body = String::new();
            loop {
                let (length, after) = rest.split_once("\r\n").unwrap();
                let length = usize::from_str_radix(length, 16).unwrap();
                body.push_str(&after[..length]);
                assert_eq!(&after[length..length + 2], "\r\n");
                rest = &after[length + 2..];
                if length == 0 {
                    break;
                }
            }
            assert!(rest.is_empty() && body == expected[..number], "{size}: wrong chunks");
        }
    });
}

#[test]
fn head_and_204_have_no_content() {
    on_both(&[], |origin| {
        let answer = origin.exchange("HEAD /bytes/1MiB HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(answer.ends_with("content-length: 1048576\r\n\r\n"), "{answer}");
        let answer = origin.exchange("GET /status/204 HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(answer, "HTTP/1.1 204 No Content\r\nx-served-by: origin/v1\r\n\r\n");
    });
}

#[test]
fn a_client_that_expects_100_continue_gets_it_before_its_body() {
    on_both(&[], |origin| {
        let mut stream = origin.connect();
        let head = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        assert_eq!(read_until(&mut stream, "\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(b"body").unwrap();
        assert!(read_until(&mut stream, "\r\n\r\n").starts_with("HTTP/1.1 200 OK\r\n"));
        // One that sends its body at once needs no such answer.
        let answer = origin.exchange(&format!("{head}body"));
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    });
}

#[test]
fn connections_persist_as_the_version_and_the_connection_header_say() {
    on_both(&[], |origin| {
        let closes = |request: &str| {
            let mut stream = origin.connect();
            stream.write_all(request.as_bytes()).unwrap();
            let head = read_until(&mut stream, "\r\n\r\n");
            stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
            let mut rest = Vec::new();
            let closed = stream.read_to_end(&mut rest).is_ok();
            assert_eq!(head.contains("connection: close"), closed, "{request:?} {head:?}");
            closed
        };
        assert!(!closes(GET));
        assert!(closes("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
        assert!(closes("GET / HTTP/1.0\r\n\r\n"));
        assert!(!closes("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
        assert!(closes("GET /close HTTP/1.1\r\nHost: a\r\n\r\n"));
    });
}

#[test]
fn ambiguous_requests_are_refused_and_end_the_connection() {
    on_both(&[], |origin| {
        let refused = |status: u16, request: &str| {
            // What follows must not be taken for a second request.
            let answer = origin.exchange(&format!("{request}{GET}"));
            let begin = &request[..request.len().min(200)];
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{begin:?} {answer:?}");
            assert_eq!(answer.matches("x-served-by").count(), 1, "{begin:?} {answer:?}");
        };
        refused(400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n");
        refused(400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na");
        refused(400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n");
        refused(400, "GET / HTTP/1.1\r\nHost: a\r\n folded: b\r\n\r\n");
        refused(400, "GET / HTTP/1.1\r\n\r\n");
        refused(400, "GET /bytes/many HTTP/1.1\r\nHost: a\r\n\r\n");
        // Without an end: what begins like TLS is known by its first byte.
        refused(400, "\x16\x03\x01\x02");
        refused(505, "GET / HTTP/3.0\r\nHost: a\r\n\r\n");
        refused(431, &format!("GET / HTTP/1.1\r\nHost: a\r\nx: {}", "y".repeat(300 * 1024)));
    });
}

#[test]
fn delays_and_stalls_hold_answers_back() {
    on_both(&["--stall", "300ms:600ms"], |origin| {
        let timed = |path: &str| {
            let start = Instant::now();
            assert!(origin.exchange(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).contains("200 OK"));
            start.elapsed()
        };
        let first = Instant::now();
        assert!(timed("/delay/80ms") >= Duration::from_millis(80));
        std::thread::sleep(Duration::from_millis(400).saturating_sub(first.elapsed()));
        // 400 ms after the first request the standstill has 500 ms left.
        let late = first.elapsed();
        let waited = timed("/");
        assert!(late + waited >= Duration::from_millis(890), "{late:?} {waited:?}");
        assert!(timed("/") < Duration::from_millis(500));
    });
}

#[test]
fn defaults_can_be_set_by_options() {
    on_both(&["--status", "503", "--bytes", "5", "--delay", "50ms"], |origin| {
        let start = Instant::now();
        let answer = origin.exchange(GET);
        assert!(start.elapsed() >= Duration::from_millis(50));
        assert!(
            answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n") && answer.ends_with("\r\n\r\n00000")
        );
        let answer = origin.exchange("GET /status/200/delay/0 HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"));
    });
}

#[test]
fn many_threads_share_one_port() {
    on_both(&["--threads", "3"], |origin| {
        let answers: Vec<String> = (0..50).map(|_| origin.exchange(GET)).collect();
        assert!(answers.iter().all(|answer| answer.starts_with("HTTP/1.1 200 OK")));
    });
}

#[test]
fn unix_sockets_work_and_a_stale_file_is_replaced() {
    for driver in DRIVERS {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("origin.sock");
        let listen = format!("unix:{}", path.display());
        // Killed: its file stays behind, and nobody listens on it.
        drop(Origin::start_at(&listen, driver, &[]));
        assert!(path.exists());
        let mut origin = Origin::start_at(&listen, driver, &["--threads", "2"]);
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(GET.as_bytes()).unwrap();
        assert!(read_until(&mut stream, "\r\n\r\n").starts_with("HTTP/1.1 200 OK\r\n"));
        // A socket that is in use is not taken over.
        let second = program(&["origin", "--listen", &listen]).output().unwrap();
        assert_eq!(second.status.code(), Some(1));
        origin.terminate();
        assert!(origin.wait().success());
        assert!(!path.exists());
    }
}

#[test]
fn sigterm_lets_a_request_in_progress_finish() {
    for driver in DRIVERS {
        let mut origin = Origin::start(driver, &[]);
        let mut stream = origin.connect();
        stream.write_all(b"GET /delay/400ms HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        std::thread::sleep(Duration::from_millis(150));
        let idle = origin.connect();
        origin.terminate();
        let head = read_until(&mut stream, "\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("connection: close"), "{head}");
        assert!(origin.wait().success());
        drop(idle);
    }
}

#[test]
fn a_taken_port_is_a_failure_and_a_wrong_option_is_a_usage_error() {
    let origin = Origin::start("epoll", &[]);
    let taken = program(&["origin", "--listen", &origin.address]).output().unwrap();
    assert_eq!(taken.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&taken.stderr).contains(&origin.address));
    assert_eq!(program(&["origin", "--listen", "nowhere"]).output().unwrap().status.code(), Some(2));
}
