//! What an idle connection costs: 10,000 of them, opened by another process, one request each.
//!
//! ```text
//!   this process: origin, measuring          child: clients ──▶ pinion ──▶ origin
//! ```
//!
//! The clients are this program started again (`PINION_TEST_CLIENTS`), so that their sockets and buffers are
//! nobody's memory here.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what a test helper can't do fails the test"
)]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use support::load::{Client, Origin, get, settled};
use support::{Driver, PATIENCE, Pinion, drivers, free_address};

const CONNECTIONS: usize = 10_000;
/// Private memory an idle connection may cost.
const BYTES_MAX: f64 = 1.5 * 1024.0;
/// Connections whose request is in progress at once while they are opened.
const BATCH: usize = 50;
/// Resident memory of a process that has done nothing yet: binary, two shards.
const RESIDENT_MAX: u64 = 10 * 1024 * 1024;

const CLIENTS: &str = "PINION_TEST_CLIENTS";

/// Not a test by itself: the other process. Opens connections, says so, and asks again when told to.
#[test]
fn clients() {
    let Ok(address) = std::env::var(CLIENTS) else {
        return;
    };
    let address: SocketAddr = address.parse().expect("an address");
    let mut clients = Vec::with_capacity(CONNECTIONS);
    while clients.len() < CONNECTIONS {
        let mut batch: Vec<_> = (0..BATCH).map(|_| Client::tcp(address).expect("connected")).collect();
        batch.iter_mut().for_each(|client| client.send(&get("/bytes/100")).expect("sent"));
        for client in &mut batch {
            assert_eq!(client.recv().expect("answered").body.len(), 100);
            client.shrink();
        }
        clients.append(&mut batch);
    }
    let mut orders = std::io::stdin().lines();
    // A line of its own, whatever the test harness has written on this one.
    println!("\nopen");
    std::io::stdout().flush().expect("written");
    while orders.next().is_some_and(|order| order.is_ok()) {
        for client in &mut clients {
            assert_eq!(client.ask(&get("/again")).expect("answered").body, b"ok /again");
        }
        println!("\nanswered");
        std::io::stdout().flush().expect("written");
    }
}

struct Clients {
    child: Child,
    orders: Option<ChildStdin>,
    said: BufReader<ChildStdout>,
}

impl Clients {
    fn start(address: SocketAddr) -> Self {
        let exe = std::env::current_exe().expect("this program");
        let mut child = Command::new("sh")
            .args(["-c", "ulimit -n $(ulimit -Hn); exec \"$0\" --exact clients --nocapture"])
            .arg(exe)
            .env(CLIENTS, address.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let orders = child.stdin.take();
        let said = BufReader::new(child.stdout.take().expect("piped"));
        Clients { child, orders, said }
    }

    fn wait(&mut self, word: &str) {
        let mut line = String::new();
        while line.trim() != word {
            line.clear();
            assert!(
                self.said.read_line(&mut line).expect("readable") > 0,
                "the clients ended before `{word}`"
            );
        }
    }

    fn ask_again(&mut self) {
        self.orders.as_mut().expect("piped").write_all(b"again\n").expect("written");
        self.wait("answered");
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.orders = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A value of `/proc/PID/{file}` in bytes.
fn proc_bytes(pid: u32, file: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/{file}")).expect("readable");
    let line = text.lines().find(|line| line.starts_with(name)).expect("a line");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") * 1024
}

fn an_idle_connection_is_small(driver: Driver) {
    let origin = Origin::start();
    let address = free_address();
    let text = format!(
        "[[listeners]]\nname = \"web\"\naddress = \"{address}\"\ntimeouts = {{ idle = \"300s\" }}\n\
         [[routes]]\ncluster = \"app\"\n[[clusters]]\nname = \"app\"\nendpoints = [\"{}\"]\n",
        origin.address()
    );
    let pinion = Pinion::with(driver).proxy("shards = 2").config(&text).start();
    let resident = proc_bytes(pinion.pid(), "status", "VmRSS:");
    let before = proc_bytes(pinion.pid(), "smaps_rollup", "Private_Dirty:");
    let mut clients = Clients::start(address);
    clients.wait("open");
    let metrics = settled(&pinion);
    assert_eq!(metrics.value("pinion_listener_connections_active", &[]), CONNECTIONS as f64);
    assert_eq!(metrics.value("pinion_requests_total", &[]), CONNECTIONS as f64);
    // Buffers of the last requests are given back by and by.
    let (start, mut each) = (Instant::now(), f64::MAX);
    while each > BYTES_MAX && start.elapsed() < PATIENCE {
        sleep(Duration::from_millis(500));
        let after = proc_bytes(pinion.pid(), "smaps_rollup", "Private_Dirty:");
        each = each.min(after.saturating_sub(before) as f64 / CONNECTIONS as f64);
    }
    eprintln!(
        "{}: {each:.0} bytes of private memory an idle connection; {} KiB resident before",
        driver.label(),
        resident / 1024
    );
    assert!(each <= BYTES_MAX, "{each:.0} bytes a connection on {}", driver.label());
    assert!(resident <= RESIDENT_MAX || cfg!(debug_assertions), "{resident} bytes resident");
    clients.ask_again();
    let metrics = pinion.metrics();
    assert_eq!(metrics.value("pinion_listener_connections_total", &[]), CONNECTIONS as f64);
}

#[test]
fn an_idle_connection_is_small_on_io_uring() {
    if drivers().contains(&Driver::IoUring) {
        an_idle_connection_is_small(Driver::IoUring);
    }
}

#[test]
fn an_idle_connection_is_small_on_epoll() {
    an_idle_connection_is_small(Driver::Epoll);
}
