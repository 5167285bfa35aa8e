//! Stopping while there is traffic: what is in progress ends well, nothing new begins.

use std::net::TcpStream;
use std::time::Duration;

use crate::support::{Signal, eventually};
use crate::wire::{Setup, Upstream, both, get, ok};

#[test]
fn requests_in_progress_end_and_connections_close() {
    both(|driver| {
        let upstream = Upstream::start();
        let mut proxy = Setup::sharded(driver, 2).proxy("drain = \"15s\"").start(&[&upstream]);
        let address = proxy.pinion.address("web");
        let (mut idle, mut busy, mut reading) = (proxy.client(), proxy.client(), proxy.client());
        idle.send(get("/"));
        let mut end = upstream.accept();
        end.request();
        end.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx");
        idle.response();
        busy.send(get("/busy"));
        let mut end_busy = upstream.accept();
        end_busy.request();
        reading.send(get("/reading"));
        let mut end_reading = upstream.accept();
        end_reading.request();
        end_reading.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
        reading.read_until(b"hello");

        proxy.pinion.signal(Signal::TERM);
        idle.expect_closed();
        eventually("nobody is accepted any more", || {
            TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err()
        });
        end_busy.send(ok("done"));
        let response = busy.response();
        assert_eq!((response.text(), response.get("connection")), ("done", Some("close")));
        busy.expect_closed();
        end_reading.send("world");
        assert_eq!(reading.read_exact(5), b"world");
        reading.expect_closed();
        assert!(proxy.pinion.wait_exit().success());
    });
}

#[test]
fn what_is_not_done_in_time_is_cut() {
    both(|driver| {
        let upstream = Upstream::start();
        let mut proxy = Setup::on(driver).proxy("drain = \"500ms\"").start(&[&upstream]);
        let mut busy = proxy.client();
        busy.send(get("/busy"));
        let mut end = upstream.accept();
        end.request();
        proxy.pinion.signal(Signal::TERM);
        busy.expect_gone();
        end.expect_gone();
        proxy.pinion.wait_exit();
    });
}
