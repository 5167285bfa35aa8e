//! What the origin does on purpose: slow, broken and failing answers, and its workers. Raw bytes on both
//! drivers. Waits are checked from below only: a busy machine is late, never early.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::{ErrorKind, Read as _, Write as _};
use std::time::{Duration, Instant};

use common::{DRIVERS, Origin, program};

fn on_both(options: &[&str], test: impl Fn(&Origin)) {
    for driver in DRIVERS {
        test(&Origin::start(driver, options));
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

/// Everything that comes until the connection ends, and whether a reset ended it.
fn until_end(origin: &Origin, request: &str) -> (String, bool) {
    let mut stream = origin.connect();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let outcome = stream.read_to_end(&mut answer);
    let was_reset = outcome.is_err_and(|error| {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        true
    });
    (String::from_utf8(answer).unwrap(), was_reset)
}

#[test]
fn a_truncated_answer_ends_before_what_it_announced() {
    on_both(&[], |origin| {
        for (path, announced, sent) in [
            ("/truncate/100", "content-length: 1124", 100),
            ("/bytes/1MiB/truncate/100000", "content-length: 1048576", 100_000),
            ("/truncate/0/bytes/5", "content-length: 5", 0),
        ] {
            let (answer, was_reset) = until_end(origin, &get(path));
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.1 200 OK") && head.contains(announced), "{path}: {head}");
            assert_eq!((body.len(), was_reset), (sent, false), "{path}");
        }
        let (answer, _) = until_end(origin, &get("/chunked/10/truncate/5"));
        assert!(answer.ends_with("\r\n\r\n5\r\n00000\r\n"), "{answer:?}");
    });
}

#[test]
fn a_reset_comes_amid_the_answer() {
    on_both(&[], |origin| {
        let mut amid = 0;
        for path in ["/reset", "/bytes/1000/reset", "/chunked/1MiB/reset"] {
            let (answer, was_reset) = until_end(origin, &get(path));
            assert!(was_reset, "{path}: an orderly end after {} bytes", answer.len());
            amid += usize::from(answer.starts_with("HTTP/1.1 200 OK"));
        }
        // What a reset overtakes is lost, but not every time.
        assert!(amid > 0, "no answer had begun");
        assert!(origin.exchange(&get("/")).starts_with("HTTP/1.1 200"), "the origin goes on");
    });
}

#[test]
fn errors_and_resets_come_at_their_rates_and_by_the_seed() {
    for driver in DRIVERS {
        let run = |seed: &str| {
            let origin = Origin::start(driver, &["--error-rate", "20%:500", "--seed", seed]);
            let answers = origin.exchange(&get("/bytes/1").repeat(400));
            answers.split("HTTP/1.1 ").skip(1).map(|answer| answer.starts_with("500 ")).collect::<Vec<_>>()
        };
        let first = run("7");
        let errors = first.iter().filter(|is_error| **is_error).count();
        assert_eq!(first.len(), 400);
        // Eight standard deviations of 8 around 80.
        assert!((16..=144).contains(&errors), "{errors} errors");
        assert_eq!(first, run("7"), "the same seed, the same errors");
        assert_ne!(first, run("8"));

        let origin = Origin::start(driver, &["--reset-rate", "50%"]);
        let resets = (0..40).filter(|_| until_end(&origin, &get("/close")).1).count();
        assert!((4..=36).contains(&resets), "{resets} resets of 40");
        let origin = Origin::start(driver, &["--error-rate", "100%"]);
        assert!(origin.exchange(&get("/")).starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
    }
}

#[test]
fn slow_bodies_take_their_time_and_are_whole() {
    on_both(&["--body-rate", "20kB"], |origin| {
        for path in ["/slow/3000/10kB", "/bytes/6000", "/chunked/6000"] {
            let start = Instant::now();
            let answer = origin.exchange(&get(path));
            assert!(start.elapsed() >= Duration::from_millis(300), "{path} after {:?}", start.elapsed());
            let body = answer.split_once("\r\n\r\n").unwrap().1;
            match path {
                "/chunked/6000" => assert!(body.ends_with("\r\n0\r\n\r\n")),
                "/bytes/6000" => assert_eq!(body.len(), 6000),
                _ => assert_eq!(body.len(), 3000),
            }
        }
        // The beginning does not wait for the end.
        let mut stream = origin.connect();
        stream.write_all(get("/slow/100000/1kB").as_bytes()).unwrap();
        let mut part = [0; 16];
        stream.read_exact(&mut part).unwrap();
        assert_eq!(&part, b"HTTP/1.1 200 OK\r");
    });
}

#[test]
fn delays_may_be_any_distribution() {
    on_both(&["--delay", "50%:20ms,50%:lognormal:20ms,0.1"], |origin| {
        for path in ["/", "/delay/pareto:10ms,3", "/delay/10ms..20ms", "/delay/50%25:10ms,50%25:11ms"] {
            let start = Instant::now();
            assert!(origin.exchange(&get(path)).starts_with("HTTP/1.1 200"), "{path}");
            assert!(start.elapsed() >= Duration::from_millis(10), "{path}");
        }
        assert!(origin.exchange(&get("/delay/60%25:1ms,60%25:2ms")).starts_with("HTTP/1.1 400"));
    });
}

/// Requests that come at once are answered one service time after the other, whatever the connection and
/// the thread.
#[test]
fn workers_serve_one_request_at_a_time() {
    let together = |options: &[&str], least: u64, most_first: u64| {
        on_both(options, |origin| {
            let start = Instant::now();
            let clients: Vec<_> = (0..6)
                .map(|_| {
                    let mut stream = origin.connect();
                    stream.write_all(get("/").as_bytes()).unwrap();
                    std::thread::spawn(move || {
                        stream.read_exact(&mut [0; 15]).unwrap();
                        start.elapsed()
                    })
                })
                .collect();
            let mut times: Vec<Duration> = clients.into_iter().map(|client| client.join().unwrap()).collect();
            times.sort();
            for (index, time) in times.iter().enumerate() {
                let due = Duration::from_millis(least * (index as u64 / most_first + 1));
                assert!(*time >= due, "answer {index} after {time:?}, not {due:?}: {times:?}");
            }
        });
    };
    together(&["--service-time", "30ms"], 30, 1);
    together(&["--service-time", "30ms", "--workers", "2", "--threads", "2"], 30, 2);
}

/// The least lateness over many requests is what the timer adds; the rest is the machine's.
#[test]
fn service_times_below_a_millisecond_are_kept() {
    on_both(&["--service-time", "300us"], |origin| {
        let mut stream = origin.connect();
        let mut answer = [0; 512];
        let mut times: Vec<Duration> = (0..200)
            .map(|_| {
                let start = Instant::now();
                stream.write_all(get("/").as_bytes()).unwrap();
                let length = stream.read(&mut answer).unwrap();
                assert!(answer[..length].starts_with(b"HTTP/1.1 200"));
                start.elapsed()
            })
            .collect();
        times.sort();
        assert!(times[0] >= Duration::from_micros(300), "early: {:?}", times[0]);
        assert!(times[0] < Duration::from_micros(1000), "no better than a millisecond: {:?}", times[0]);
    });
}

#[test]
fn wrong_scripts_are_usage_errors() {
    for wrong in [
        &["--listen", "127.0.0.1:0", "--error-rate", "2"][..],
        &["--listen", "127.0.0.1:0", "--error-rate", "1%:200"],
        &["--listen", "127.0.0.1:0", "--reset-rate", "101%"],
        &["--listen", "127.0.0.1:0", "--workers", "2"],
        &["--listen", "127.0.0.1:0", "--service-time", "90%:1ms"],
        &["--listen", "127.0.0.1:0", "--body-rate", "0"],
        &["--listen", "127.0.0.1:0", "--tls-key", "a.key"],
        &["--listen", "127.0.0.1:0", "--client-ca", "a.pem"],
        &[],
    ] {
        let outcome = program(&[&["origin"], wrong].concat()).output().unwrap();
        assert_eq!(outcome.status.code(), Some(2), "{wrong:?}");
    }
}
