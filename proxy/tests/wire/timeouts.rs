//! Everything that waits has an end, and the one that is waited for is the one that is blamed.

use std::time::{Duration, Instant};

use crate::wire::{Link, Setup, Upstream, both, full_backlog, get, noise, ok, own_ip};

/// Sends a byte every `pause` until the other side has closed, an answer is there, or `most` were sent.
fn trickle(link: &mut Link, byte: &[u8], pause: Duration, most: usize) {
    for _ in 0..most {
        if link.try_send(byte).is_err() || link.has_more(pause) {
            return;
        }
    }
}

#[test]
fn a_head_that_does_not_end_is_408() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).listener("timeouts.header = \"300ms\"").start(&[&upstream]);
        for (turn, head) in ["G", "GET / HTTP/1.1\r\nHost: a\r\n", "\r\n"].into_iter().enumerate() {
            let mut client = proxy.client();
            client.send(head);
            let response = client.response();
            assert_eq!((response.status(), response.get("connection")), (408, Some("close")));
            client.expect_closed();
            proxy.expect_faults("header_timeout", turn as u64 + 1);
        }
        upstream.expect_no_connection();
    });
}

#[test]
fn the_time_for_a_head_is_not_prolonged_by_its_bytes() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).listener("timeouts.header = \"500ms\"").start(&[&upstream]);
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: a\r\nX: ");
        trickle(&mut client, b"y", Duration::from_millis(50), 400);
        assert_eq!(client.response().status(), 408);
        proxy.expect_faults("header_timeout", 1);
    });
}

#[test]
fn the_time_for_a_head_begins_with_its_first_byte() {
    both(|driver| {
        let upstream = Upstream::serve(|_| ok("x"));
        let proxy = Setup::on(driver).listener("timeouts.header = \"300ms\"").start(&[&upstream]);
        let mut client = proxy.client();
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(500));
            client.send(get("/"));
            assert_eq!(client.response().status(), 200);
        }
        proxy.expect_no_faults();
    });
}

#[test]
fn a_slow_trickle_of_a_head_is_408() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver)
            .listener("timeouts.header = \"60s\"\ntimeouts.min_rate = \"1KiB\"")
            .start(&[&upstream]);
        let mut client = proxy.client();
        let start = Instant::now();
        client.send("GET / HTTP/1.1\r\nHost: a\r\nX: ");
        trickle(&mut client, b"y", Duration::from_millis(50), 600);
        assert_eq!(client.response().status(), 408);
        assert!(start.elapsed() >= Duration::from_secs(4), "judged too early");
        proxy.expect_faults("header_timeout", 1);
    });
}

const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nsome";

#[test]
fn a_body_that_stops_coming_is_408() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).listener("timeouts.body = \"300ms\"").start(&[&upstream]);
        for (turn, chunked) in [false, true].into_iter().enumerate() {
            let mut client = proxy.client();
            client.send(if chunked {
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n"
            } else {
                POST
            });
            let mut end = upstream.accept();
            end.read_until(b"some");
            let response = client.response();
            assert_eq!((response.status(), response.get("connection")), (408, Some("close")));
            client.expect_gone();
            end.expect_gone();
            proxy.expect_faults("body_timeout", turn as u64 + 1);
        }
    });
}

#[test]
fn a_slow_trickle_of_a_body_is_408() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver)
            .listener("timeouts.body = \"60s\"\ntimeouts.min_rate = \"1KiB\"")
            .start(&[&upstream]);
        std::thread::scope(|scope| {
            // One is spliced, the other is copied.
            for head in
                [POST, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\nsome"]
            {
                let mut client = proxy.client();
                client.send(head);
                let mut end = upstream.accept();
                scope.spawn(move || {
                    let start = Instant::now();
                    trickle(&mut client, b"y", Duration::from_millis(50), 600);
                    assert_eq!(client.response().status(), 408);
                    assert!(start.elapsed() >= Duration::from_secs(4), "judged too early");
                    end.expect_gone();
                });
            }
        });
        proxy.expect_faults("body_too_slow", 2);
    });
}

#[test]
fn a_client_that_takes_nothing_is_cut() {
    both(|driver| {
        for framing in ["Content-Length: 100000000", "Connection: close"] {
            let upstream = Upstream::start();
            let proxy = Setup::on(driver).listener("timeouts.write = \"500ms\"").start(&[&upstream]);
            let mut client = proxy.client();
            client.small_receive_buffer();
            client.send(get("/"));
            let mut end = upstream.accept();
            end.request();
            end.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n"));
            end.push_until_gone(100_000_000);
            proxy.expect_faults("reader_too_slow", 1);
            proxy.expect_metric("pinion_listener_connections_active", &[], 0.0);
        }
    });
}

#[test]
fn a_client_that_takes_too_little_is_cut() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver)
            .listener("timeouts.write = \"60s\"\ntimeouts.min_rate = \"100MiB\"")
            .start(&[&upstream]);
        std::thread::scope(|scope| {
            for framing in ["Content-Length: 1000000000", "Connection: close"] {
                let mut client = proxy.client();
                client.small_receive_buffer();
                client.send(get("/"));
                let mut end = upstream.accept();
                end.request();
                end.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n"));
                scope.spawn(move || end.push_until_gone(1_000_000_000));
                scope.spawn(move || {
                    while client.take_some(16 * 1024) {
                        std::thread::sleep(Duration::from_millis(20));
                    }
                });
            }
        });
        proxy.expect_faults("reader_too_slow", 2);
    });
}

#[test]
fn nobody_is_blamed_for_the_slowness_of_the_other_side() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver)
            .listener("timeouts.min_rate = \"10MiB\"\ntimeouts.write = \"1s\"\ntimeouts.body = \"1s\"")
            .start(&[&upstream]);
        let seconds = 7;
        std::thread::scope(|scope| {
            // The client reads at once, but the upstream takes its time between pieces.
            for head in ["Content-Length: 1000000", "Transfer-Encoding: chunked"] {
                let mut client = proxy.client();
                client.send(get("/"));
                let mut end = upstream.accept();
                end.request();
                scope.spawn(move || {
                    end.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n"));
                    let piece = vec![b'x'; 100];
                    for _ in 0..seconds * 2 {
                        if head.starts_with('T') {
                            end.send("64\r\n");
                        }
                        end.send(&piece);
                        if head.starts_with('T') {
                            end.send("\r\n");
                        }
                        std::thread::sleep(Duration::from_millis(500));
                    }
                    client.expect_open();
                });
            }
            // The client sends at once, but the upstream takes its time to read.
            let mut client = proxy.client();
            client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000000\r\n\r\n");
            let mut end = upstream.accept();
            end.small_receive_buffer();
            scope.spawn(move || {
                let body = noise(20_000_000, 9);
                let mut sender = client.twin();
                std::thread::scope(|scope| {
                    scope.spawn(|| sender.send(&body));
                    end.head();
                    for _ in 0..seconds * 2 {
                        end.read_exact(100_000);
                        std::thread::sleep(Duration::from_millis(500));
                    }
                    end.read_exact(20_000_000 - seconds * 2 * 100_000);
                    end.send(ok("all of it"));
                    assert_eq!(client.response().status(), 200);
                });
            });
        });
        assert_eq!(proxy.metric("pinion_faults_total", &[("reason", "reader_too_slow")]), 0.0);
        assert_eq!(proxy.metric("pinion_faults_total", &[("reason", "body_too_slow")]), 0.0);
        assert_eq!(proxy.metric("pinion_faults_total", &[("reason", "body_timeout")]), 0.0);
    });
}

#[test]
fn an_upstream_that_does_not_accept_is_503() {
    both(|driver| {
        let (address, _held) = full_backlog(own_ip());
        let proxy =
            Setup::on(driver).cluster("timeouts.connect = \"300ms\"").start_with(&[address.to_string()]);
        let mut client = proxy.client();
        for _ in 0..2 {
            client.send(get("/"));
            let response = client.response();
            assert_eq!((response.status(), response.get("connection")), (503, None));
        }
        proxy.expect_faults("connect_timeout", 2);
        proxy.expect_metric("pinion_cluster_connect_timeouts_total", &[("cluster", "app")], 2.0);
        proxy.expect_metric("pinion_cluster_connect_failures_total", &[("cluster", "app")], 2.0);
        proxy.expect_metric("pinion_cluster_connections_active", &[], 0.0);
    });
}

#[test]
fn a_client_that_leaves_ends_the_connect() {
    both(|driver| {
        let (address, _held) = full_backlog(own_ip());
        let proxy =
            Setup::on(driver).cluster("timeouts.connect = \"60s\"").start_with(&[address.to_string()]);
        let mut client = proxy.client();
        client.send(get("/"));
        proxy.expect_metric("pinion_cluster_connects_total", &[("cluster", "app")], 1.0);
        drop(client);
        proxy.expect_faults("client_gone", 1);
        proxy.expect_metric("pinion_listener_connections_active", &[], 0.0);
        assert_eq!(proxy.metric("pinion_cluster_connect_failures_total", &[]), 0.0);
    });
}

#[test]
fn an_upstream_that_refuses_is_503() {
    both(|driver| {
        let dead = Upstream::start().address().to_owned();
        let proxy = Setup::on(driver).start_with(&[dead]);
        let mut client = proxy.client();
        for _ in 0..3 {
            client.send(get("/"));
            let response = client.response();
            assert_eq!((response.status(), response.get("connection")), (503, None));
        }
        proxy.expect_faults("connect_failed", 3);
        proxy.expect_metric("pinion_cluster_connect_failures_total", &[("cluster", "app")], 3.0);
    });
}

#[test]
fn an_upstream_that_does_not_answer_is_504() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).cluster("timeouts.first_byte = \"300ms\"").start(&[&upstream]);
        let mut client = proxy.client();
        for part in ["", "HTTP/1.1 200 OK\r\nX: "] {
            client.send(get("/"));
            let mut end = upstream.accept();
            end.request();
            end.send(part);
            let response = client.response();
            assert_eq!((response.status(), response.get("connection")), (504, None));
            // Its answer could still come: this connection serves nobody else.
            end.expect_gone();
        }
        proxy.expect_faults("first_byte_timeout", 2);
    });
}

#[test]
fn a_slow_client_is_not_the_fault_of_the_upstream() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).cluster("timeouts.first_byte = \"500ms\"").start(&[&upstream]);
        for chunked in [false, true] {
            let mut client = proxy.client();
            client.send(if chunked {
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            } else {
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
            });
            let mut end = upstream.accept();
            end.head();
            for _ in 0..10 {
                std::thread::sleep(Duration::from_millis(120));
                if chunked {
                    client.send("2710\r\n");
                }
                client.send(vec![b'x'; 10_000]);
                if chunked {
                    client.send("\r\n");
                }
            }
            if chunked {
                client.send("0\r\n\r\n");
                end.chunked();
            } else {
                end.read_exact(100_000);
            }
            end.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx");
            assert_eq!(client.response().status(), 200);
        }
        proxy.expect_no_faults();
    });
}

#[test]
fn an_upstream_that_stops_amid_its_answer_is_cut() {
    both(|driver| {
        for framing in ["Content-Length: 1000000", "Transfer-Encoding: chunked", "Connection: close"] {
            let upstream = Upstream::start();
            let proxy = Setup::on(driver).cluster("timeouts.first_byte = \"300ms\"").start(&[&upstream]);
            let mut client = proxy.client();
            client.send(get("/"));
            let mut end = upstream.accept();
            end.request();
            end.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n4\r\nsome\r\n"));
            client.read_until(b"some\r\n");
            let (rest, _) = client.read_to_end();
            assert!(!rest.ends_with(b"0\r\n\r\n"), "a cut answer looks complete");
            end.expect_gone();
            proxy.expect_faults("upstream_stalled", 1);
        }
    });
}

#[test]
fn a_route_with_a_timeout_ends_its_requests() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).route("timeout = \"400ms\"").start(&[&upstream]);
        let mut client = proxy.client();
        client.send(get("/"));
        let mut end = upstream.accept();
        end.request();
        let response = client.response();
        assert_eq!((response.status(), response.get("connection")), (504, None));
        end.expect_gone();
        proxy.expect_faults("request_timeout", 1);

        // An answer that keeps coming is cut as well.
        client.send(get("/"));
        let mut end = upstream.accept();
        end.request();
        end.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.head();
        trickle(&mut end, b"1\r\nx\r\n", Duration::from_millis(50), 400);
        let (rest, _) = client.read_to_end();
        assert!(!rest.ends_with(b"0\r\n\r\n"), "a cut answer looks complete");
        proxy.expect_faults("request_timeout", 2);
    });
}

#[test]
fn a_route_with_a_timeout_ends_waiting_for_a_connection() {
    both(|driver| {
        let (address, _held) = full_backlog(own_ip());
        let proxy = Setup::on(driver).route("timeout = \"300ms\"").start_with(&[address.to_string()]);
        let mut client = proxy.client();
        client.send(get("/"));
        assert_eq!(client.response().status(), 504);
        proxy.expect_faults("request_timeout", 1);
    });
}
