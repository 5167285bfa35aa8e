//! Serving allocates nothing: measured in the real program, on the threads that serve, by its own count
//! (`pinion_shard_allocations_total`), with all that ordinary configurations switch on.
//!
//! Warming up brings every list to its high-water mark: as many requests at once as there are connections,
//! to each cluster.

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

use support::load::{Load, Origin, Reply, Script, get, settled};
use support::{Driver, Metrics, Pinion, Signal, drivers, eventually, free_address};

const CONNECTIONS: usize = 64;
const WARM_UP: usize = 1_000;
const REQUESTS: usize = 10_000;
/// A machine that stops the load for a quarter of a second makes warm connections go cold, which allocates
/// when they become warm again. Such a stretch is measured again, at most so often.
const STRETCHES: usize = 5;

fn config(listener: SocketAddr, origin: SocketAddr) -> String {
    let mut text = format!(
        r#"
[proxy.access_log]
path = "access.log"
[[listeners]]
name = "web"
address = "{listener}"
forwarding = {{ forwarded = true, via = true, request_id = true, x_forwarded_host = true }}
[[routes]]
name = "by-header"
headers = {{ end-user = "jason" }}
cluster = "a"
request_headers = {{ set = {{ x-edited = "yes" }}, add = {{ x-more = ["1", "2"] }}, remove = ["end-user"] }}
response_headers = {{ set = {{ x-route = "header" }}, remove = ["server"] }}
[[routes]]
name = "by-regex"
path = {{ regex = "/items/[0-9]+(/[a-z]+)?" }}
query = {{ q = {{ regex = "a+b" }} }}
cluster = "b"
response_headers = {{ add = {{ x-route = "regex" }} }}
[[routes]]
name = "split"
split = [{{ cluster = "c", weight = 90 }}, {{ cluster = "d", weight = 10 }}]
timeout = "30s"
retry = {{ attempts = 2, on = ["connect-failure", "5xx"] }}
response_headers = {{ set = {{ x-route = "split" }} }}
"#
    );
    for name in ["a", "b", "c", "d"] {
        // Routes for warming up one cluster, which no measured request takes.
        text += &format!(
            "[[routes]]\npath = \"/gate\"\nheaders = {{ warm = \"{name}\" }}\ncluster = \"{name}\"\n\
             [[clusters]]\nname = \"{name}\"\nendpoints = [\"{origin}\"]\n"
        );
    }
    text
}

/// One request of each kind in turn.
struct Mixed;

impl Script for Mixed {
    type Note = &'static str;

    fn request(&self, n: usize) -> (Vec<u8>, Self::Note) {
        match n % 5 {
            0 => (b"GET / HTTP/1.1\r\nHost: Test:80\r\nEnd-User: jason\r\n\r\n".to_vec(), "header"),
            1 => (get("/items/17/red?q=aaab"), "regex"),
            2 => (get("/chunked"), "split"),
            3 => (get("/a/./b//c?x=%41"), "split"),
            _ => (
                b"POST /form HTTP/1.1\r\nHost: test\r\nContent-Length: 11\r\n\r\nhello=world".to_vec(),
                "split",
            ),
        }
    }

    fn judge(&self, _: usize, route: Self::Note, reply: Result<Reply>) -> std::result::Result<(), String> {
        let reply = reply.map_err(|error| error.to_string())?;
        let routed = reply.header("x-route") == Some(route);
        if reply.status == 200 && routed { Ok(()) } else { Err(format!("{reply:?}")) }
    }
}

/// Whether every thread of the process is stopped.
fn stopped(pid: u32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("a process");
    tasks.flatten().all(|task| {
        // "1234 (name) T …"
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    })
}

fn allocations(metrics: &Metrics) -> u64 {
    metrics.value("pinion_shard_allocations_total", &[]) as u64
}

/// How many allocations the quietest stretch of measured requests made, how many requests there were in all,
/// and the process to ask further.
fn measure(driver: Driver, plant: &str) -> (u64, usize, Pinion) {
    let origin = Origin::with_gate(free_address(), CONNECTIONS);
    let address = free_address();
    let pinion = Pinion::with(driver)
        .proxy("shards = 2")
        .config(&config(address, origin.address()))
        .env("PINION_PLANT", plant)
        .start();
    let mut load = Load::to(address).connect();
    let mut warmed = 0;
    // The first time each connects, one after the other; the second time all send at once.
    for cluster in ["a", "b", "c", "d", "a", "b", "c", "d"] {
        // The stopped process finds all of them waiting when it goes on.
        pinion.signal(Signal::STOP);
        eventually("every thread stops", || stopped(pinion.pid()));
        let request = format!("GET /gate HTTP/1.1\r\nHost: test\r\nwarm: {cluster}\r\n\r\n");
        let replies = load.burst(request.as_bytes(), || pinion.signal(Signal::CONT));
        assert!(replies.iter().all(|reply| reply.status == 200), "{replies:?}");
        warmed += CONNECTIONS;
    }
    assert_eq!(load.run(WARM_UP - warmed, &Mixed), Vec::<String>::new());
    let mut requests = WARM_UP;
    let mut least = u64::MAX;
    for _ in 0..STRETCHES {
        least = least.min(stretch(&pinion, &mut load));
        requests += REQUESTS;
        if least == 0 || !plant.is_empty() {
            break;
        }
    }
    let metrics = settled(&pinion);
    assert_eq!(metrics.value("pinion_requests_total", &[("listener", "web")]), requests as f64);
    (least, requests, pinion)
}

/// Allocations of one stretch of requests, with scrapes meanwhile.
fn stretch(pinion: &Pinion, load: &mut support::load::Running) -> u64 {
    let before = allocations(&settled(pinion));
    let done = AtomicBool::new(false);
    let failures = std::thread::scope(|scope| {
        let scraping = scope.spawn(|| {
            let mut scrapes = 0;
            while !done.load(Ordering::Relaxed) {
                pinion.metrics();
                scrapes += 1;
                sleep(Duration::from_millis(20));
            }
            scrapes
        });
        let failures = load.run(REQUESTS, &Mixed);
        done.store(true, Ordering::Relaxed);
        assert!(scraping.join().expect("scraped") > 0);
        failures
    });
    assert_eq!(failures, Vec::<String>::new());
    // Counted as of each shard's last request.
    allocations(&settled(pinion)) - before
}

fn nothing_is_allocated(driver: Driver) {
    let (allocations, requests, pinion) = measure(driver, "");
    let log = || std::fs::read_to_string(pinion.folder().join("access.log")).expect("a log");
    eventually("every request is in the log", || log().lines().count() == requests);
    let metrics = pinion.metrics();
    assert_eq!(metrics.value("pinion_log_dropped_total", &[]), 0.0);
    assert_eq!(metrics.value("pinion_faults_total", &[]), 0.0);
    for route in ["by-header", "by-regex", "split"] {
        assert!(metrics.value("pinion_route_responses_total", &[("route", route)]) >= 2_000.0, "{route}");
    }
    assert_eq!(allocations, 0, "in {REQUESTS} requests on {}", driver.label());
}

#[test]
fn nothing_is_allocated_on_io_uring() {
    if drivers().contains(&Driver::IoUring) {
        nothing_is_allocated(Driver::IoUring);
    }
}

#[test]
fn nothing_is_allocated_on_epoll() {
    nothing_is_allocated(Driver::Epoll);
}

/// The measurement above sees one allocation a request.
#[test]
#[cfg(debug_assertions)]
fn a_planted_allocation_is_seen() {
    for driver in drivers() {
        let (allocations, _, _) = measure(driver, "allocation");
        assert!(allocations >= REQUESTS as u64, "{allocations} on {}", driver.label());
    }
}
