//! Reloading under load: no request fails, and an acknowledged configuration serves every later request.
//!
//! ```text
//!   clients ──▶ pinion ──▶ origin        each answer carries the generation that its route was of
//!                 ▲
//!   reloader ─────┘ 200 times: valid, invalid, listeners added and removed
//! ```
//!
//! Invariants checked: an answer's generation is at least the last one acknowledged before its request was
//! sent; no connection ends unasked; a listener serves as soon as the reload that added it is acknowledged.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's help fails by panicking"
)]

mod support;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use support::{Pinion, drivers, free_address};

const RELOADS: u64 = 200;
const REQUESTS: u64 = 50_000;
/// The longest wait for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);
const CLIENTS: usize = 8;
/// Clients that open a new connection for each request: they meet listening sockets, not only kept ones.
const HASTY: usize = 2;

/// Answers every request on every connection with `ok`.
fn origin() -> SocketAddr {
    let listener = TcpListener::bind(free_address()).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || answer(stream.unwrap()));
        }
    });
    address
}

fn answer(stream: TcpStream) {
    stream.set_nodelay(true).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|n| n > 0) {
        if line == "\r\n" && writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err() {
            return;
        }
        line.clear();
    }
}

/// One client connection.
struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("connecting: {error}"));
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(ANSWER_MAX)).unwrap();
        Client(BufReader::new(stream))
    }

    /// The generation that the answer to one request carries.
    fn ask(&mut self) -> Result<u64, String> {
        let failed = |error: std::io::Error| error.to_string();
        let request = b"GET /x HTTP/1.1\r\nHost: app\r\n\r\n";
        self.0.get_mut().write_all(request).map_err(failed)?;
        let (mut line, mut status, mut generation) = (String::new(), String::new(), None);
        while line != "\r\n" {
            line.clear();
            if self.0.read_line(&mut line).map_err(failed)? == 0 {
                return Err(format!("{} after `{status}`", ErrorKind::UnexpectedEof));
            }
            if status.is_empty() {
                status = line.trim_end().to_owned();
            }
            if let Some(value) = line.strip_prefix("x-generation: ") {
                generation = value.trim().parse().ok();
            }
            if line.trim_end().eq_ignore_ascii_case("connection: close") {
                return Err("the connection is to be closed".to_owned());
            }
        }
        let mut body = [0; 2];
        self.0.read_exact(&mut body).map_err(failed)?;
        generation.filter(|_| status == "HTTP/1.1 200 OK" && &body == b"ok").ok_or(status)
    }
}

/// The configuration that answers with `generation`, with further listeners.
fn config(web: SocketAddr, more: &[SocketAddr], origin: SocketAddr, generation: u64) -> String {
    let mut text = format!("[[listeners]]\nname = \"web\"\naddress = \"{web}\"\n");
    for address in more {
        text += &format!("[[listeners]]\nname = \"port-{}\"\naddress = \"{address}\"\n", address.port());
    }
    text + &format!(
        "[[routes]]\nname = \"all\"\nhosts = [\"app\"]\ncluster = \"app\"\n\
         [routes.response_headers]\nset = {{ x-generation = \"{generation}\" }}\n\
         [[clusters]]\nname = \"app\"\nendpoints = [\"{origin}\"]\n"
    )
}

/// Asks until told to stop; every answer must be of `acknowledged` or later.
fn load(web: SocketAddr, hasty: bool, acknowledged: &AtomicU64, asked: &AtomicU64, stop: &AtomicBool) {
    let mut client = Client::connect(web);
    let mut last = 0;
    while !stop.load(Ordering::Relaxed) {
        if hasty {
            client = Client::connect(web);
        }
        let least = acknowledged.load(Ordering::SeqCst);
        let generation = client.ask().unwrap_or_else(|error| panic!("hasty: {hasty}: {error}"));
        assert!(generation >= least, "answer of generation {generation}, {least} was acknowledged before");
        // One connection stays on one shard, which never goes back.
        assert!(hasty || generation >= last, "{generation} after {last}");
        last = generation;
        asked.fetch_add(1, Ordering::Relaxed);
    }
}

/// Ends the clients also when the test fails: it waits for them.
struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn no_request_fails_over_200_reloads() {
    for driver in drivers() {
        let (web, origin) = (free_address(), origin());
        let more: Vec<SocketAddr> = (0..4).map(|_| free_address()).collect();
        let pinion = Pinion::with(driver).proxy("shards = 2").config(&config(web, &[], origin, 1)).start();
        let (acknowledged, asked, stop) = (AtomicU64::new(1), AtomicU64::new(0), AtomicBool::new(false));
        let mut refused = 0;
        std::thread::scope(|scope| {
            let _stops = Stops(&stop);
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    scope.spawn({
                        let (acknowledged, asked, stop) = (&acknowledged, &asked, &stop);
                        move || load(web, client < HASTY, acknowledged, asked, stop)
                    })
                })
                .collect();
            let mut generation = 1;
            for round in 0..RELOADS {
                // Spread over the load.
                while asked.load(Ordering::Relaxed) < round * REQUESTS / RELOADS
                    && !clients.iter().any(|client| client.is_finished())
                {
                    std::thread::yield_now();
                }
                let listeners: Vec<_> =
                    (0..4).filter(|bit| round >> bit & 1 == 1).map(|bit| more[bit]).collect();
                let text = config(web, &listeners, origin, generation + 1);
                if round % 5 == 4 {
                    pinion.write(&(text + "colour = \"red\"\n"));
                    assert_eq!(pinion.reload().status, 400);
                    refused += 1;
                    continue;
                }
                pinion.write(&text);
                let answer = pinion.reload();
                generation += 1;
                assert_eq!((answer.status, answer.json()["generation"].as_u64()), (200, Some(generation)));
                acknowledged.store(generation, Ordering::SeqCst);
                for listener in listeners {
                    assert_eq!(Client::connect(listener).ask(), Ok(generation));
                }
            }
            stop.store(true, Ordering::Relaxed);
            clients.into_iter().for_each(|client| client.join().expect("a client failed"));
        });
        let metrics = pinion.metrics();
        let asked = asked.load(Ordering::Relaxed);
        assert!(asked >= REQUESTS * (RELOADS - 1) / RELOADS, "{asked}");
        assert_eq!(metrics.value("pinion_requests_total", &[("listener", "web")]), asked as f64);
        assert_eq!(
            metrics.value("pinion_route_responses_total", &[("route", "all"), ("code_class", "2xx")]),
            metrics.value("pinion_requests_total", &[])
        );
        assert!(metrics.value("pinion_config_reloads_total", &[("result", "failure")]) >= f64::from(refused));
        assert_eq!(metrics.value("pinion_config_generation", &[]), acknowledged.into_inner() as f64);
    }
}
