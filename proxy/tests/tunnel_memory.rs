//! What an idle tunnel costs, and an idle connection that is passed on: they are many and mostly silent.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "what a test helper can't do fails the test"
)]

mod support;
#[path = "support/wire/mod.rs"]
#[allow(unused_imports, reason = "each test program uses a part")]
mod wire;

use std::thread::sleep;
use std::time::{Duration, Instant};

use support::Driver;
use support::PATIENCE;
use wire::{Link, Proxy, Setup, Upstream, both};

/// Opened before the first look, so that what is made once is there.
const FIRST: usize = 30;
/// As many as both drivers' tests can hold with 1,024 descriptors.
const MORE: usize = 150;
/// Private memory of an idle tunnel: its two connections, its seat, the request's head. Unoptimised programs
/// have larger futures.
const BYTES_MAX: f64 = if cfg!(debug_assertions) { 16.0 * 1024.0 } else { 12.0 * 1024.0 };

/// A WebSocket.
fn upgraded(proxy: &Proxy, upstream: &Upstream) -> (Link, Link) {
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    let mut end = upstream.accept();
    end.request();
    end.send("HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.head().status(), 101);
    (client, end)
}

/// A connection of a listener that passes bytes on.
fn passed_on(proxy: &Proxy, upstream: &Upstream) -> (Link, Link) {
    let mut client = proxy.client();
    client.send("hello");
    let mut end = upstream.accept();
    assert_eq!(end.read_exact(5), b"hello");
    (client, end)
}

#[test]
fn an_idle_tunnel_is_small() {
    check("tunnel", Setup::on, upgraded);
}

#[test]
fn an_idle_connection_that_is_passed_on_is_small() {
    let setup = |driver| Setup::on(driver).listener("protocol = \"tcp\"\ncluster = \"app\"").routes("");
    check("connection", setup, passed_on);
}

fn check(
    what: &str,
    setup: impl Fn(Driver) -> Setup + Sync,
    open: impl Fn(&Proxy, &Upstream) -> (Link, Link) + Sync,
) {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = setup(driver).start(&[&upstream]);
        let mut tunnels: Vec<_> = (0..FIRST).map(|_| open(&proxy, &upstream)).collect();
        proxy.expect_metric("pinion_shard_buffers_in_use", &[], 0.0);
        let before = proxy.pinion.private_bytes();
        tunnels.extend((0..MORE).map(|_| open(&proxy, &upstream)));
        proxy.expect_metric("pinion_shard_buffers_in_use", &[], 0.0);
        let (start, mut each) = (Instant::now(), f64::MAX);
        while each > BYTES_MAX && start.elapsed() < PATIENCE {
            each = each.min(proxy.pinion.private_bytes().saturating_sub(before) as f64 / MORE as f64);
            sleep(Duration::from_millis(100));
        }
        eprintln!("{}: {each:.0} bytes of private memory an idle {what}", driver.label());
        assert!(each <= BYTES_MAX, "{each:.0} bytes a {what} on {}", driver.label());
        for (client, end) in &mut tunnels {
            end.send("still there?");
            assert_eq!(client.read_exact(12), b"still there?");
        }
    });
}
