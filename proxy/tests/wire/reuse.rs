//! Connections that carry more than one request: the client's, and those of the upstream pool.

use std::time::Duration;

use crate::wire::{Setup, Upstream, both, get, ok};

#[test]
fn one_connection_on_each_side_serves_many_requests() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let mut client = proxy.client();
        client.send(get("/0"));
        let mut end = upstream.accept();
        for turn in 0..50 {
            if turn > 0 {
                client.send(get(&format!("/{turn}")));
            }
            assert_eq!(end.request().head.line, format!("GET /{turn} HTTP/1.1"));
            end.send(ok(&format!("answer {turn}")));
            let response = client.response();
            assert_eq!((response.status(), response.text()), (200, &*format!("answer {turn}")));
            assert_eq!(response.get("connection"), None);
        }
        upstream.expect_no_connection();
        proxy.expect_metric("pinion_cluster_connections_reused_total", &[("cluster", "app")], 49.0);
        proxy.expect_metric("pinion_cluster_connects_total", &[("cluster", "app")], 1.0);
        proxy.expect_metric("pinion_listener_connections_total", &[("listener", "web")], 1.0);
        proxy.expect_metric("pinion_requests_total", &[("listener", "web")], 50.0);
        proxy.expect_no_faults();
    });
}

#[test]
fn clients_share_the_pool() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let mut first = proxy.client();
        first.send(get("/"));
        let mut end = upstream.accept();
        end.request();
        end.send(ok("a"));
        first.response();
        proxy.expect_metric("pinion_cluster_requests_active", &[], 0.0);
        proxy.client().send(get("/other-client"));
        assert_eq!(end.request().head.line, "GET /other-client HTTP/1.1");
        upstream.expect_no_connection();
    });
}

#[test]
fn the_connection_used_last_is_used_next() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let (mut one, mut two) = (proxy.client(), proxy.client());
        one.send(get("/one"));
        let mut end_one = upstream.accept();
        end_one.request();
        two.send(get("/two"));
        let mut end_two = upstream.accept();
        end_two.request();
        // Both are busy; they come back in this order.
        for (end, client, active) in [(&mut end_two, &mut two, 1.0), (&mut end_one, &mut one, 0.0)] {
            end.send(ok("x"));
            client.response();
            proxy.expect_metric("pinion_cluster_requests_active", &[], active);
        }
        for turn in 0..10 {
            two.send(get(&format!("/{turn}")));
            assert_eq!(end_one.request().head.line, format!("GET /{turn} HTTP/1.1"));
            end_one.send(ok("y"));
            two.response();
            proxy.expect_metric("pinion_cluster_requests_active", &[], 0.0);
        }
        end_two.expect_quiet(Duration::from_millis(10));
        upstream.expect_no_connection();
    });
}

#[test]
fn an_idle_connection_that_closes_is_not_used_again() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let mut client = proxy.client();
        for turn in 0..3 {
            client.send(get("/"));
            let mut end = upstream.accept();
            end.request();
            end.send(ok("x"));
            client.response();
            drop(end);
            // Without another request, the proxy closes its side too.
            proxy.expect_metric("pinion_cluster_connections_active", &[("cluster", "app")], 0.0);
            assert_eq!(upstream.accepted(), turn + 1);
        }
        proxy.expect_metric("pinion_cluster_stale_retries_total", &[], 0.0);
        proxy.expect_no_faults();
    });
}

#[test]
fn an_idle_connection_that_speaks_out_of_turn_is_closed() {
    both(|driver| {
        for surprise in [&b"x"[..], b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", b"\r\n"] {
            let upstream = Upstream::start();
            let proxy = Setup::on(driver).start(&[&upstream]);
            let mut client = proxy.client();
            client.send(get("/"));
            let mut end = upstream.accept();
            end.request();
            end.send(ok("x"));
            client.response();
            proxy.expect_metric("pinion_cluster_requests_active", &[], 0.0);
            end.send(surprise);
            end.expect_gone();
            client.send(get("/next"));
            let mut fresh = upstream.accept();
            assert_eq!(fresh.request().head.line, "GET /next HTTP/1.1");
            fresh.send(ok("good"));
            assert_eq!(client.response().text(), "good");
            proxy.expect_no_faults();
        }
    });
}

#[test]
fn bytes_behind_a_response_are_not_the_next_one() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let mut client = proxy.client();
        client.send(get("/"));
        let mut end = upstream.accept();
        end.request();
        let mut response = ok("x");
        response.extend(ok("evil"));
        end.send(response);
        assert_eq!(client.response().text(), "x");
        end.expect_gone();
        client.send(get("/next"));
        let mut fresh = upstream.accept();
        fresh.request();
        fresh.send(ok("good"));
        assert_eq!(client.response().text(), "good");
        proxy.expect_no_faults();
    });
}

/// A pooled connection whose upstream closes as soon as the next request arrives on it.
fn stale(driver: crate::support::Driver, request: &str, reset: bool) -> (crate::wire::Proxy, bool) {
    let upstream = Upstream::start();
    let proxy = Setup::on(driver).start(&[&upstream]);
    let mut client = proxy.client();
    client.send(get("/first"));
    let mut end = upstream.accept();
    end.request();
    end.send(ok("x"));
    client.response();
    proxy.expect_metric("pinion_cluster_requests_active", &[], 0.0);
    client.send(request);
    end.request();
    if reset {
        end.reset()
    } else {
        drop(end)
    }
    let retried = loop {
        // Either a fresh connection comes, or an answer to the client.
        if upstream.accepted() > 1 {
            let mut fresh = upstream.accept();
            let again = fresh.request();
            assert_eq!(again.head.line, request.lines().next().unwrap());
            fresh.send(ok("fresh"));
            let response = client.response();
            assert_eq!((response.status(), response.text()), (200, "fresh"));
            break true;
        }
        if proxy.metric("pinion_faults_total", &[("reason", "stale_connection")]) > 0.0 {
            assert_eq!(client.response().status(), 503);
            upstream.expect_no_connection();
            break false;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    (proxy, retried)
}

#[test]
fn a_get_that_met_a_closing_connection_is_sent_again() {
    both(|driver| {
        for reset in [false, true] {
            let (proxy, retried) = stale(driver, &get("/second"), reset);
            assert!(retried);
            proxy.expect_metric("pinion_cluster_stale_retries_total", &[("cluster", "app")], 1.0);
            proxy.expect_no_faults();
        }
    });
}

#[test]
fn a_put_with_a_whole_body_that_met_a_closing_connection_is_sent_again() {
    both(|driver| {
        let put = "PUT /second HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello";
        let (proxy, retried) = stale(driver, put, false);
        assert!(retried);
        proxy.expect_no_faults();
    });
}

#[test]
fn a_post_that_met_a_closing_connection_is_not_sent_again() {
    both(|driver| {
        let post = "POST /second HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello";
        for reset in [false, true] {
            let (proxy, retried) = stale(driver, post, reset);
            assert!(!retried);
            proxy.expect_metric("pinion_cluster_stale_retries_total", &[], 0.0);
        }
    });
}

#[test]
fn a_fresh_connection_that_closes_is_no_reason_to_try_again() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let mut client = proxy.client();
        client.send(get("/"));
        let mut end = upstream.accept();
        end.request();
        drop(end);
        let response = client.response();
        assert_eq!((response.status(), response.get("connection")), (503, None));
        upstream.expect_no_connection();
        proxy.expect_faults("upstream_closed", 1);
        // The client's connection is as good as before.
        client.send(get("/again"));
        let mut end = upstream.accept();
        end.request();
        end.send(ok("x"));
        assert_eq!(client.response().status(), 200);
    });
}

#[test]
fn a_client_that_says_close_is_closed() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        let mut end = upstream.accept();
        // What the client asks of its connection is not the upstream's business.
        assert_eq!(end.request().get("connection"), None);
        end.send(ok("x"));
        let response = client.response();
        assert_eq!((response.status(), response.get("connection")), (200, Some("close")));
        client.expect_closed();
        proxy.client().send(get("/next"));
        assert_eq!(end.request().head.line, "GET /next HTTP/1.1", "the upstream connection lives on");
    });
}

#[test]
fn an_upstream_that_says_close_is_closed_and_the_client_is_not() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let mut client = proxy.client();
        for connection in ["close", "Close", "x, close"] {
            client.send(get("/"));
            let mut end = upstream.accept();
            end.request();
            end.send(format!("HTTP/1.1 200 OK\r\nConnection: {connection}\r\nContent-Length: 1\r\n\r\nx"));
            let response = client.response();
            assert_eq!((response.status(), response.get("connection")), (200, None));
            end.expect_closed();
        }
        proxy.expect_no_faults();
    });
}

#[test]
fn an_upstream_of_http_1_0_is_closed_unless_it_keeps_alive() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let mut client = proxy.client();
        client.send(get("/"));
        let mut end = upstream.accept();
        end.request();
        end.send("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx");
        assert_eq!(client.response().head.line, "HTTP/1.1 200 OK");
        end.expect_closed();
        client.send(get("/"));
        let mut end = upstream.accept();
        for _ in 0..3 {
            end.request();
            end.send("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 1\r\n\r\nx");
            let response = client.response();
            assert_eq!((response.get("connection"), response.get("keep-alive")), (None, None));
            proxy.expect_metric("pinion_cluster_requests_active", &[], 0.0);
            client.send(get("/"));
        }
        end.request();
        proxy.expect_metric("pinion_cluster_connects_total", &[], 2.0);
    });
}

#[test]
fn idle_connections_are_closed_after_their_time() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver)
            .listener("timeouts.idle = \"400ms\"")
            .cluster("timeouts.idle = \"300ms\"")
            .start(&[&upstream]);
        let mut silent = proxy.client();
        let mut client = proxy.client();
        client.send(get("/"));
        let mut end = upstream.accept();
        end.request();
        end.send(ok("x"));
        client.response();
        end.expect_closed();
        client.expect_closed();
        silent.expect_closed();
        proxy.expect_metric("pinion_listener_connections_active", &[], 0.0);
        proxy.expect_no_faults();
    });
}

#[test]
fn no_more_idle_connections_are_kept_than_allowed() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).cluster("limits.idle_connections = 1").start(&[&upstream]);
        let mut clients = [proxy.client(), proxy.client(), proxy.client()];
        let mut ends: Vec<_> = clients
            .iter_mut()
            .map(|client| {
                client.send(get("/"));
                let mut end = upstream.accept();
                end.request();
                end
            })
            .collect();
        for (turn, (client, end)) in clients.iter_mut().zip(&mut ends).enumerate() {
            end.send(ok("x"));
            client.response();
            proxy.expect_metric("pinion_cluster_requests_active", &[], 2.0 - turn as f64);
        }
        // The one used last is kept.
        ends[0].expect_closed();
        ends[1].expect_closed();
        clients[0].send(get("/next"));
        assert_eq!(ends[2].request().head.line, "GET /next HTTP/1.1");
        upstream.expect_no_connection();
    });
}
