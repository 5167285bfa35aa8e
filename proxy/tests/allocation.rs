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

use support::load::{Load, Origin, Reply, Running, Script, get};
use support::{Driver, Pinion, Signal, drivers, eventually, free_address};

const CONNECTIONS: usize = 64;
const WARM_UP: usize = 1_000;
const REQUESTS: usize = 10_000;
/// A shard refreshes its count once a second.
const REFRESHED: Duration = Duration::from_millis(2_200);

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

/// Requests and allocations so far.
fn counts(pinion: &Pinion) -> (u64, u64) {
    let metrics = pinion.metrics();
    let allocations = metrics.value("pinion_shard_allocations_total", &[]);
    (metrics.value("pinion_requests_total", &[]) as u64, allocations as u64)
}

/// Allocations while at least [`REQUESTS`] requests were served, in each of at most `windows_max` windows of
/// one load without a pause; a window without any is the last. More than one, because a connection that hears
/// nothing of its client for a quarter of a second begins to idle, which allocates, and a busy machine can
/// do that to the client.
fn measure(driver: Driver, plant: &str, windows_max: usize) -> (Vec<u64>, Pinion, usize) {
    let origin = Origin::with_gate(free_address(), CONNECTIONS);
    let address = free_address();
    let pinion = Pinion::with(driver)
        .proxy("shards = 2")
        .config(&config(address, origin.address()))
        .env("PINION_PLANT", plant)
        .start();
    let mut load = Load::to(address).connect();
    warm_up(&pinion, &mut load);
    let done = AtomicBool::new(false);
    let (mut windows, mut failures, mut sent) = (Vec::new(), Vec::new(), WARM_UP);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                failures.extend(load.run(REQUESTS / 10, &Mixed));
                sent += REQUESTS / 10;
            }
        });
        let _done = SetOnDrop(&done);
        sleep(REFRESHED);
        while windows.len() < windows_max && windows.last() != Some(&0) {
            let before = counts(&pinion);
            eventually("enough requests", || counts(&pinion).0 >= before.0 + REQUESTS as u64);
            sleep(REFRESHED);
            windows.push(counts(&pinion).1 - before.1);
        }
    });
    assert_eq!(failures, Vec::<String>::new());
    (windows, pinion, sent)
}

/// Ends the load, by panic too.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn warm_up(pinion: &Pinion, load: &mut Running) {
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
}

fn nothing_is_allocated(driver: Driver) {
    let (windows, pinion, sent) = measure(driver, "", 3);
    let log = || std::fs::read_to_string(pinion.folder().join("access.log")).expect("a log");
    eventually("every request is in the log", || log().lines().count() == sent);
    let metrics = pinion.metrics();
    assert_eq!(metrics.value("pinion_requests_total", &[("listener", "web")]), sent as f64);
    assert_eq!(metrics.value("pinion_log_dropped_total", &[]), 0.0);
    assert_eq!(metrics.value("pinion_faults_total", &[]), 0.0);
    for route in ["by-header", "by-regex", "split"] {
        assert!(metrics.value("pinion_route_responses_total", &[("route", route)]) >= 2_000.0, "{route}");
    }
    assert_eq!(windows.last(), Some(&0), "{windows:?} for {REQUESTS} requests each on {}", driver.label());
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
        let (windows, ..) = measure(driver, "allocation", 1);
        let seen = windows.iter().all(|&allocations| allocations >= REQUESTS as u64);
        assert!(seen && windows.len() == 1, "{windows:?} on {}", driver.label());
    }
}
