//! Listeners and endpoints that are no IPv4 address.

use std::net::{Ipv6Addr, SocketAddr, TcpListener};

use crate::wire::{Link, Setup, Upstream, both, get, noise, ok};

#[test]
fn unix_sockets_on_both_sides() {
    both(|driver| {
        for shards in [1, 2] {
            let folder = tempfile::tempdir().unwrap();
            let upstream = Upstream::start_unix(&folder.path().join("app.sock")).serving(|request| {
                ok(&format!("{:?}|{}", request.get("x-forwarded-for"), request.body.len()))
            });
            let proxy = Setup::sharded(driver, shards).address("unix:{folder}/web.sock").start(&[&upstream]);
            let path = proxy.pinion.folder().join("web.sock");
            let mut clients: Vec<_> = (0..6).map(|_| Link::connect_unix(&path)).collect();
            for _ in 0..2 {
                for client in &mut clients {
                    client.send(get("/"));
                    assert_eq!(client.response().text(), "None|0");
                }
            }
            // Large enough to be spliced.
            clients[0].send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
            clients[0].send(noise(1_000_000, 8));
            assert_eq!(clients[0].response().text(), "None|1000000");
            let spliced = proxy.metric("pinion_relay_bytes_total", &[("path", "splice")]);
            assert!(spliced > 900_000.0, "{spliced} bytes spliced");
            proxy.expect_metric("pinion_shard_connections_active", &[], 6.0);
            for shard in 0..shards {
                let shard = shard.to_string();
                let held = proxy.metric("pinion_shard_connections_active", &[("shard", &shard)]);
                assert!(held >= 1.0, "shard {shard} has none");
            }
            proxy.expect_no_faults();
        }
    });
}

#[test]
fn a_unix_listener_has_limits_too() {
    both(|driver| {
        let upstream = Upstream::serve(|_| ok("x"));
        let proxy = Setup::on(driver)
            .address("unix:{folder}/web.sock")
            .listener("limits.connections = 2")
            .start(&[&upstream]);
        let path = proxy.pinion.folder().join("web.sock");
        let mut clients = [Link::connect_unix(&path), Link::connect_unix(&path)];
        for client in &mut clients {
            client.send(get("/"));
            assert_eq!(client.response().status(), 200);
        }
        let mut beyond = Link::connect_unix(&path);
        assert_eq!(beyond.response().status(), 503);
        beyond.expect_gone();
        proxy.expect_faults("connection_limit", 1);
    });
}

#[test]
fn ipv6_on_both_sides() {
    let loopback = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
    if let Err(error) = TcpListener::bind(loopback) {
        assert!(std::env::var("CI").is_err(), "no IPv6 on this machine: {error}");
        eprintln!("SKIPPED: ipv6_on_both_sides: {error}");
        return;
    }
    both(|driver| {
        let upstream = Upstream::start_at(loopback);
        let proxy = Setup::on(driver)
            .address("[::1]:0")
            .listener("forwarding = { forwarded = true }")
            .start(&[&upstream]);
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n");
        let mut end = upstream.accept();
        let request = end.request();
        assert_eq!(request.get("host"), Some("[::1]:80"));
        assert_eq!(request.get("x-forwarded-for"), Some("::1"));
        assert_eq!(request.get("forwarded"), Some("for=\"[::1]\";host=\"[::1]:80\";proto=http"));
        end.send(ok("x"));
        assert_eq!(client.response().status(), 200);
        proxy.expect_no_faults();
    });
}
