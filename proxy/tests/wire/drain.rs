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
        busy.send(get("/busy"));
        let mut end_busy = upstream.accept();
        end_busy.request();
        reading.send(get("/reading"));
        let mut end_reading = upstream.accept();
        end_reading.request();
        end_reading.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
        reading.read_until(b"hello");

        // So many in a row that the next one is expected at once.
        idle.send(get("/"));
        let mut end = upstream.accept();
        for _ in 0..8 {
            end.request();
            end.send(ok("x"));
            idle.response();
            idle.send(get("/"));
        }
        end.request();
        end.send(ok("x"));
        idle.response();

        proxy.pinion.signal(Signal::TERM);
        idle.expect_closed();
        end.expect_gone();
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
