//! 200 reloads while 50,000 requests are served: valid ones, invalid ones, listeners that come and go,
//! clusters that change.
//!
//! Each configuration marks its answers with a number of its own, so that an answer tells which one it was
//! served from:
//!
//! - no request fails, on a kept connection or a new one;
//! - an answer is at least as new as the last reload acknowledged before its request was sent;
//! - a refused configuration is never served from;
//! - counters never go back.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what a test helper can't do fails the test"
)]

mod support;

use std::collections::BTreeMap;
use std::io::Result;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use support::load::{Client, Load, Origin, Reply, Script, get, settled};
use support::{Driver, PATIENCE, Pinion, drivers, eventually, free_address};

const RELOADS: u64 = 200;
const REQUESTS: usize = 50_000;
/// Requests a reload; the load waits for reloads that fall behind by more than [`SLACK`].
const PER_RELOAD: usize = REQUESTS / RELOADS as usize;
const SLACK: u64 = 8;

struct World {
    web: SocketAddr,
    extra: SocketAddr,
    origins: [SocketAddr; 2],
}

/// What reload number `mark` changes beside its mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Mark,
    Invalid,
    ListenerComes,
    ListenerGoes,
    Cluster,
}

fn change(mark: u64) -> Change {
    match mark % 5 {
        0 => Change::Mark,
        1 => Change::ListenerComes,
        2 => Change::Invalid,
        3 => Change::Cluster,
        _ => Change::ListenerGoes,
    }
}

impl World {
    fn config(&self, mark: u64) -> String {
        let mut text = format!("[[listeners]]\nname = \"web\"\naddress = \"{}\"\n", self.web);
        let round = mark / 5;
        if matches!(change(mark), Change::ListenerComes | Change::Cluster) {
            text += &format!("[[listeners]]\nname = \"extra\"\naddress = \"{}\"\n", self.extra);
        }
        let endpoints = match (change(mark), round % 3) {
            (Change::Cluster, 0) => format!("\"{}\"", self.origins[1]),
            (Change::Cluster, 1) => format!("\"{}\", \"{}\"", self.origins[0], self.origins[1]),
            _ => format!("\"{}\"", self.origins[0]),
        };
        let unknown = if change(mark) == Change::Invalid { "colour = \"red\"\n" } else { "" };
        text + &format!(
            "[[routes]]\nname = \"all\"\ncluster = \"app\"\n{unknown}\
             response_headers = {{ set = {{ x-mark = \"{mark}\" }} }}\n\
             [[clusters]]\nname = \"app\"\nendpoints = [{endpoints}]\n\
             timeouts = {{ first_byte = \"{}s\" }}\n",
            30 + round % 7
        )
    }
}

/// Sets a flag when it goes, by panic too: nobody must wait for who is gone.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Sends requests and holds answers against what had been acknowledged.
struct Judge {
    acknowledged: AtomicU64,
    reloads: AtomicU64,
    sent: AtomicUsize,
    /// No more reloads will come.
    reloaded: AtomicBool,
}

impl Script for Judge {
    type Note = u64;

    fn request(&self, n: usize) -> (Vec<u8>, u64) {
        let start = Instant::now();
        while n as u64 / PER_RELOAD as u64 > self.reloads.load(Ordering::Acquire) + SLACK
            && !self.reloaded.load(Ordering::Acquire)
        {
            assert!(start.elapsed() < PATIENCE, "reloads hang");
            sleep(Duration::from_micros(200));
        }
        self.sent.fetch_max(n, Ordering::Release);
        (get("/bytes/64"), self.acknowledged.load(Ordering::Acquire))
    }

    fn judge(&self, _: usize, acknowledged: u64, reply: Result<Reply>) -> std::result::Result<(), String> {
        let reply = reply.map_err(|error| error.to_string())?;
        let mark: Option<u64> = reply.header("x-mark").and_then(|mark| mark.parse().ok());
        match mark {
            Some(mark) if mark < acknowledged => Err(format!("served from {mark} after {acknowledged}")),
            Some(mark) if change(mark) == Change::Invalid => Err(format!("served from the refused {mark}")),
            Some(_) if reply.status == 200 && reply.body.len() == 64 && !reply.closes() => Ok(()),
            _ => Err(format!("{reply:?}")),
        }
    }
}

/// Every counter of a scrape by its series.
fn counters(text: &str) -> BTreeMap<&str, f64> {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let pairs = samples.filter_map(|line| line.rsplit_once(' '));
    let counts = |series: &str| {
        let name = series.split('{').next().unwrap_or_default();
        ["_total", "_count", "_sum", "_bucket"].iter().any(|end| name.ends_with(end))
    };
    pairs.filter(|(series, _)| counts(series)).map(|(s, value)| (s, value.parse().unwrap())).collect()
}

/// Scrapes until `over`; says how often, and panics when a counter went back or vanished.
fn scrape(pinion: &Pinion, over: &AtomicBool) -> usize {
    let (mut before, mut scrapes) = (String::new(), 0);
    loop {
        let last = over.load(Ordering::Acquire);
        let now = pinion.get("/metrics").body;
        let found = counters(&now);
        for (series, value) in counters(&before) {
            assert!(
                found.get(series).is_some_and(|new| *new >= value),
                "{series}: {value} -> {:?}",
                found.get(series)
            );
        }
        (before, scrapes) = (now, scrapes + 1);
        if last {
            return scrapes;
        }
        sleep(Duration::from_millis(10));
    }
}

/// Opens a connection for each request: these meet the listening sockets that a reload replaces or keeps.
fn hasty(world: &World, judge: &Judge) -> Vec<std::result::Result<(), String>> {
    let mut outcomes = Vec::new();
    while !judge.reloaded.load(Ordering::Acquire) {
        let acknowledged = judge.acknowledged.load(Ordering::Acquire);
        let reply = Client::tcp(world.web).and_then(|mut client| client.ask(&get("/bytes/64")));
        outcomes.push(judge.judge(0, acknowledged, reply));
    }
    outcomes
}

/// Makes all reloads, as the load advances.
fn reload(pinion: &Pinion, world: &World, judge: &Judge) {
    let mut generation = 1;
    for mark in 1..=RELOADS {
        while judge.sent.load(Ordering::Acquire) < (mark as usize - 1) * PER_RELOAD {
            sleep(Duration::from_micros(200));
        }
        pinion.write(&world.config(mark));
        let answer = pinion.reload();
        let now = answer.json()["generation"].as_u64().expect("a generation");
        if change(mark) == Change::Invalid {
            assert_eq!((answer.status, now), (400, generation), "{answer:?}");
        } else {
            assert_eq!((answer.status, now), (200, generation + 1), "{mark}: {answer:?}");
            generation = now;
            judge.acknowledged.store(mark, Ordering::Release);
        }
        match change(mark) {
            Change::ListenerComes => assert!(TcpStream::connect(world.extra).is_ok(), "{mark}"),
            Change::ListenerGoes => {
                eventually("the listener is gone", || TcpStream::connect(world.extra).is_err());
            }
            _ => {}
        }
        judge.reloads.store(mark, Ordering::Release);
    }
}

fn reloads_under_load(driver: Driver) {
    let origins = [Origin::start(), Origin::start()];
    let world = World {
        web: free_address(),
        extra: free_address(),
        origins: [origins[0].address(), origins[1].address()],
    };
    let pinion = Pinion::with(driver).proxy("shards = 2").config(&world.config(0)).start();
    let judge = Judge {
        acknowledged: AtomicU64::new(0),
        reloads: AtomicU64::new(0),
        sent: AtomicUsize::new(0),
        reloaded: AtomicBool::new(false),
    };
    let mut load = Load::to(world.web).connect();
    let served = AtomicBool::new(false);
    let (failures, hasty) = std::thread::scope(|scope| {
        let served = Over(&served);
        let flag = served.0;
        let scraping = scope.spawn(|| scrape(&pinion, flag));
        let reloading = scope.spawn(|| {
            let _over = Over(&judge.reloaded);
            reload(&pinion, &world, &judge);
        });
        let hurrying = scope.spawn(|| hasty(&world, &judge));
        let failures = load.run(REQUESTS, &judge);
        reloading.join().expect("every reload ended as it should");
        drop(served);
        let scrapes = scraping.join().expect("counters only grow");
        assert!(scrapes >= 10, "{scrapes} scrapes");
        (failures, hurrying.join().expect("counted"))
    });
    let shown: Vec<_> = failures.iter().take(5).collect();
    assert_eq!(failures.len(), 0, "of {REQUESTS} on {}: {shown:#?}", driver.label());
    assert!(hasty.len() > 100 && hasty.iter().all(std::result::Result::is_ok), "{hasty:?}");
    let served = (REQUESTS + hasty.len()) as f64;
    let metrics = settled(&pinion);
    assert_eq!(metrics.value("pinion_requests_total", &[("listener", "web")]), served);
    assert_eq!(metrics.value("pinion_faults_total", &[]), 0.0);
    let ok = metrics.value("pinion_route_responses_total", &[("route", "all"), ("code_class", "2xx")]);
    assert_eq!(ok, served);
    let adopted = 1 + RELOADS - RELOADS / 5;
    assert_eq!(metrics.value("pinion_config_generation", &[]), adopted as f64);
    assert!(origins.iter().all(|origin| origin.requests() > 1_000), "both origins were used");
    // The load's connections were never closed.
    let total = metrics.value("pinion_listener_connections_total", &[("listener", "web")]);
    assert_eq!(total, (load.connections() + hasty.len()) as f64);
}

#[test]
fn reloads_under_load_on_io_uring() {
    if drivers().contains(&Driver::IoUring) {
        reloads_under_load(Driver::IoUring);
    }
}

#[test]
fn reloads_under_load_on_epoll() {
    reloads_under_load(Driver::Epoll);
}
