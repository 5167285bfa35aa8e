//! Limits with a name: what happens at each, and that what was refused or waited is as it was afterwards.

use std::time::Duration;

use crate::support::eventually;
use crate::wire::{Link, Proxy, Setup, Upstream, both, get, ok};

#[test]
fn a_connection_serves_so_many_requests() {
    both(|driver| {
        let upstream = Upstream::serve(|_| ok("x"));
        let proxy = Setup::on(driver).listener("limits.requests_per_connection = 3").start(&[&upstream]);
        let mut client = proxy.client();
        client.send(get("/").repeat(4));
        for connection in [None, None, Some("close")] {
            assert_eq!(client.response().get("connection"), connection);
        }
        client.expect_gone();
        proxy.expect_metric("pinion_requests_total", &[], 3.0);
        proxy.expect_no_faults();
    });
}

/// Two connections are served, the third is refused, and served when one has gone.
fn two_at_a_time(proxy: &Proxy) {
    let (mut one, mut two) = (proxy.client(), proxy.client());
    for client in [&mut one, &mut two] {
        client.send(get("/"));
        assert_eq!(client.response().status(), 200);
    }
    let mut three = proxy.client();
    let response = three.response();
    assert_eq!((response.status(), response.get("connection")), (503, Some("close")));
    three.expect_gone();
    proxy.expect_faults("connection_limit", 1);
    proxy.expect_metric("pinion_listener_connections_refused_total", &[("listener", "web")], 1.0);
    one.send(get("/"));
    assert_eq!(one.response().status(), 200);
    drop(two);
    proxy.expect_metric("pinion_shard_connections_active", &[], 1.0);
    let mut four = proxy.client();
    four.send(get("/"));
    assert_eq!(four.response().status(), 200);
}

#[test]
fn connections_of_a_listener() {
    both(|driver| {
        let upstream = Upstream::serve(|_| ok("x"));
        two_at_a_time(&Setup::sharded(driver, 2).listener("limits.connections = 2").start(&[&upstream]));
    });
}

#[test]
fn connections_of_the_proxy() {
    both(|driver| {
        let upstream = Upstream::serve(|_| ok("x"));
        two_at_a_time(&Setup::sharded(driver, 2).proxy("connections = 2").start(&[&upstream]));
    });
}

/// `count` clients whose requests wait, in that order, behind one that has the only connection.
fn waiting(proxy: &Proxy, upstream: &Upstream, count: usize) -> (Link, Link, Vec<Link>) {
    let mut first = proxy.client();
    first.send(get("/first"));
    let mut end = upstream.accept();
    end.request();
    let mut clients = vec![];
    for turn in 0..count {
        let mut client = proxy.client();
        client.send(get(&format!("/{turn}")));
        clients.push(client);
        proxy.expect_metric("pinion_cluster_requests_pending", &[("cluster", "app")], turn as f64 + 1.0);
    }
    (first, end, clients)
}

#[test]
fn requests_that_wait_get_the_connection_in_order() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver)
            .cluster("limits = { connections = 1, pending_timeout = \"30s\" }")
            .start(&[&upstream]);
        let (mut first, mut end, mut clients) = waiting(&proxy, &upstream, 5);
        end.send(ok("x"));
        assert_eq!(first.response().status(), 200);
        for (turn, client) in clients.iter_mut().enumerate() {
            assert_eq!(end.request().head.line, format!("GET /{turn} HTTP/1.1"));
            end.send(ok("x"));
            assert_eq!(client.response().status(), 200);
        }
        upstream.expect_no_connection();
        proxy.expect_metric("pinion_cluster_requests_pending", &[], 0.0);
        proxy.expect_no_faults();
    });
}

#[test]
fn requests_that_wait_get_a_new_connection_when_one_closes() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver)
            .cluster("limits = { connections = 1, pending_timeout = \"30s\" }")
            .start(&[&upstream]);
        let (mut first, mut end, mut clients) = waiting(&proxy, &upstream, 3);
        for turn in 0..=3 {
            end.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx");
            let client = if turn == 0 { &mut first } else { &mut clients[turn - 1] };
            assert_eq!(client.response().status(), 200);
            if turn < 3 {
                end = upstream.accept();
                assert_eq!(end.request().head.line, format!("GET /{turn} HTTP/1.1"));
            }
        }
        proxy.expect_metric("pinion_cluster_connections_active", &[], 0.0);
        proxy.expect_no_faults();
    });
}

#[test]
fn requests_beyond_those_that_may_wait_are_refused_at_once() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver)
            .cluster("limits = { connections = 1, pending = 2, pending_timeout = \"30s\" }")
            .start(&[&upstream]);
        let (mut first, mut end, mut clients) = waiting(&proxy, &upstream, 2);
        let mut beyond = proxy.client();
        beyond.send(get("/beyond"));
        let response = beyond.response();
        assert_eq!((response.status(), response.get("connection")), (503, None));
        proxy.expect_faults("pending_overflow", 1);
        proxy.expect_metric("pinion_cluster_pending_overflows_total", &[("cluster", "app")], 1.0);
        end.send(ok("x"));
        first.response();
        for client in &mut clients {
            end.request();
            end.send(ok("x"));
            assert_eq!(client.response().status(), 200);
        }
        beyond.send(get("/later"));
        assert_eq!(end.request().head.line, "GET /later HTTP/1.1");
        end.send(ok("x"));
        assert_eq!(beyond.response().status(), 200);
    });
}

#[test]
fn requests_wait_so_long_and_no_longer() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver)
            .cluster("limits = { connections = 1, pending_timeout = \"400ms\" }")
            .start(&[&upstream]);
        let mut first = proxy.client();
        first.send(get("/first"));
        let mut end = upstream.accept();
        end.request();
        let mut late = proxy.client();
        late.send(get("/late"));
        let response = late.response();
        assert_eq!((response.status(), response.get("connection")), (503, None));
        proxy.expect_faults("pending_timeout", 1);
        proxy.expect_metric("pinion_cluster_pending_timeouts_total", &[("cluster", "app")], 1.0);
        proxy.expect_metric("pinion_cluster_requests_pending", &[], 0.0);
        end.send(ok("x"));
        assert_eq!(first.response().status(), 200);
        late.send(get("/again"));
        assert_eq!(end.request().head.line, "GET /again HTTP/1.1");
    });
}

#[test]
fn a_request_that_waits_and_whose_client_leaves_gives_its_turn_away() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver)
            .cluster("limits = { connections = 1, pending_timeout = \"30s\" }")
            .start(&[&upstream]);
        let (mut first, mut end, mut clients) = waiting(&proxy, &upstream, 2);
        drop(clients.remove(0));
        proxy.expect_metric("pinion_cluster_requests_pending", &[("cluster", "app")], 1.0);
        end.send(ok("x"));
        assert_eq!(first.response().status(), 200);
        assert_eq!(end.request().head.line, "GET /1 HTTP/1.1");
        end.send(ok("x"));
        assert_eq!(clients[0].response().status(), 200);
        proxy.expect_faults("client_gone", 1);
    });
}

#[test]
fn shards_share_the_connections_of_a_cluster() {
    both(|driver| {
        let upstream = Upstream::serve(|_| ok("x"));
        let proxy = Setup::sharded(driver, 2)
            .cluster("limits = { connections = 1, pending_timeout = \"10s\" }")
            .start(&[&upstream]);
        // With so many clients, both shards have some.
        let mut clients: Vec<_> = (0..24).map(|_| proxy.client()).collect();
        for client in &mut clients {
            client.send(get("/"));
            assert_eq!(client.response().status(), 200);
        }
        for shard in ["0", "1"] {
            assert!(proxy.metric("pinion_shard_requests_total", &[("shard", shard)]) > 0.0, "shard {shard}");
        }
        for client in &mut clients {
            client.send(get("/"));
        }
        for client in &mut clients {
            assert_eq!(client.response().status(), 200);
        }
        proxy.expect_no_faults();
    });
}

#[test]
fn no_idle_connections_at_all() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).cluster("limits.idle_connections = 0").start(&[&upstream]);
        let mut client = proxy.client();
        for _ in 0..3 {
            client.send(get("/"));
            let mut end = upstream.accept();
            end.request();
            end.send(ok("x"));
            assert_eq!(client.response().status(), 200);
            end.expect_closed();
        }
        proxy.expect_no_faults();
    });
}

#[test]
fn memory_of_a_shard() {
    both(|driver| {
        let upstream = Upstream::serve(|_| ok("x"));
        let proxy = Setup::on(driver).proxy("shard_memory = \"4MiB\"").start(&[&upstream]);
        // Each holds a large buffer; 64 of them are all there are.
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(20_000));
        let mut holding: Vec<_> = (0..80).map(|_| proxy.client()).collect();
        for client in &mut holding {
            client.send(&head);
        }
        let refusals = || proxy.metric("pinion_faults_total", &[("reason", "memory_limit")]);
        eventually("all that can be held are", || {
            let before = refusals();
            std::thread::sleep(Duration::from_millis(300));
            before >= 16.0 && refusals() == before
        });
        let mut refused = 0;
        for client in &mut holding {
            if client.has_more(Duration::from_millis(1)) {
                let response = client.response();
                assert_eq!((response.status(), response.get("connection")), (503, Some("close")));
                refused += 1;
            }
        }
        assert!(refused >= 16, "{refused} were refused");
        proxy.expect_faults("memory_limit", refused);
        drop(holding);
        // It is over when they have gone.
        proxy.expect_metric("pinion_shard_connections_active", &[], 0.0);
        let mut client = proxy.client();
        client.send(format!("{head}\r\n\r\n"));
        assert_eq!(client.response().status(), 200);
    });
}
