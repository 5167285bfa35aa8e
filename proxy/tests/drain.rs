//! Ending the real program while it serves.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what a test helper can't do fails the test"
)]

mod support;

use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use support::load::{Client, Origin, get};
use support::{Driver, Pinion, Signal, drivers, eventually, free_address};

struct Setting {
    origin: Origin,
    address: std::net::SocketAddr,
    pinion: Pinion,
}

fn start(driver: Driver, drain: &str) -> Setting {
    let origin = Origin::start();
    let address = free_address();
    let text = format!(
        "[[listeners]]\nname = \"web\"\naddress = \"{address}\"\n[[routes]]\ncluster = \"app\"\n\
         [[clusters]]\nname = \"app\"\nendpoints = [\"{}\"]\n",
        origin.address()
    );
    let pinion =
        Pinion::with(driver).proxy("shards = 2").proxy(&format!("drain = \"{drain}\"")).config(&text);
    Setting { origin, address, pinion: pinion.start() }
}

impl Setting {
    /// A client whose request takes `millis`, and is in progress.
    fn in_progress(&self, millis: u64) -> Client {
        let before = self.origin.requests();
        let mut client = Client::tcp(self.address).expect("connected");
        client.send(&get(&format!("/wait/{millis}"))).expect("sent");
        eventually("the request is in progress", || self.origin.requests() > before);
        client
    }
}

fn sigterm_finishes_what_runs(driver: Driver) {
    let mut setting = start(driver, "15s");
    let mut idle: Vec<_> = (0..8).map(|_| Client::tcp(setting.address).expect("connected")).collect();
    for client in &mut idle {
        assert_eq!(client.ask(&get("/")).expect("answered").status, 200);
    }
    let mut fresh = Client::tcp(setting.address).expect("connected");
    let mut running = setting.in_progress(4_000);
    let mut half = Client::tcp(setting.address).expect("connected");
    half.send(b"GET /late HTTP/1.1\r\nHost: te").expect("sent");
    // The half head must have been taken up, or the connection is idle.
    sleep(Duration::from_millis(100));
    let start = Instant::now();
    setting.pinion.signal(Signal::TERM);
    eventually("not ready", || setting.pinion.get("/ready").status == 503);
    assert_eq!(setting.pinion.get("/ready").json()["status"], "draining");
    assert!(idle.iter_mut().all(Client::ended) && fresh.ended(), "idle connections end at once");
    eventually("nobody listens", || TcpStream::connect(setting.address).is_err());
    assert!(start.elapsed() < Duration::from_millis(3_500), "before the request in progress ended");
    half.send(b"st\r\n\r\n").expect("sent");
    let reply = half.recv().expect("answered");
    assert!(reply.status == 200 && reply.closes() && half.ended(), "{reply:?}");
    let reply = running.recv().expect("answered");
    assert_eq!((reply.status, &reply.body[..]), (200, &b"ok /wait/4000"[..]));
    assert!(reply.closes() && running.ended(), "{reply:?}");
    assert_eq!(setting.pinion.wait_exit().code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(10), "as soon as nothing is left");
}

#[test]
fn sigterm_finishes_what_runs_on_io_uring() {
    if drivers().contains(&Driver::IoUring) {
        sigterm_finishes_what_runs(Driver::IoUring);
    }
}

#[test]
fn sigterm_finishes_what_runs_on_epoll() {
    sigterm_finishes_what_runs(Driver::Epoll);
}

#[test]
fn the_deadline_cuts_what_takes_longer() {
    for driver in drivers() {
        let mut setting = start(driver, "1s");
        let mut running = setting.in_progress(60_000);
        let start = Instant::now();
        setting.pinion.signal(Signal::TERM);
        assert_eq!(setting.pinion.wait_exit().code(), Some(0));
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(6), "{took:?}");
        // An answer that says so, or the end of the connection: no half of an answer.
        if let Ok(reply) = running.recv() {
            assert_eq!(reply.status, 503, "{reply:?}");
        }
    }
}

#[test]
fn a_second_sigterm_stops_at_once() {
    for driver in drivers() {
        let mut setting = start(driver, "60s");
        let mut running = setting.in_progress(60_000);
        setting.pinion.signal(Signal::TERM);
        eventually("draining", || setting.pinion.get("/ready").status == 503);
        let start = Instant::now();
        setting.pinion.signal(Signal::TERM);
        assert_eq!(setting.pinion.wait_exit().code(), Some(0));
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        assert!(running.recv().is_err());
    }
}
