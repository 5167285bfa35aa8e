//! Bodies: large ones both ways, by splicing and by copying, back-pressure, early answers, and clients or
//! upstreams that leave in the middle.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::support::{PATIENCE, eventually};
use crate::wire::{Setup, Upstream, both, get, noise, ok};

const LARGE: usize = 10 * 1024 * 1024;

/// The body as chunks of uneven sizes.
fn chunked(body: &[u8]) -> Vec<u8> {
    let mut out = vec![];
    let (mut rest, mut size) = (body, 1);
    while !rest.is_empty() {
        let piece;
        (piece, rest) = rest.split_at(size.min(rest.len()));
        write!(out, "{:x}\r\n", piece.len()).unwrap();
        out.extend_from_slice(piece);
        out.extend_from_slice(b"\r\n");
        size = (size * 7 + 3) % 150_000 + 1;
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

fn relayed(proxy: &crate::wire::Proxy, path: &str, direction: &str) -> f64 {
    proxy.metric("pinion_relay_bytes_total", &[("path", path), ("direction", direction)])
}

#[test]
fn large_bodies_with_a_length_are_spliced_both_ways() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let mut client = proxy.client();
        let (up, down) = (noise(LARGE, 1), noise(LARGE, 2));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut end = upstream.accept();
                for _ in 0..2 {
                    assert!(end.request().body == up, "the request's body has changed");
                    end.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n"));
                    end.send(&down);
                }
            });
            for _ in 0..2 {
                client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n"));
                client.send(&up);
                assert!(client.response().body == down, "the response's body has changed");
            }
        });
        proxy.expect_no_faults();
        for direction in ["upstream", "downstream"] {
            let spliced = relayed(&proxy, "splice", direction);
            assert!(spliced > 1.8 * LARGE as f64, "{direction}: {spliced} bytes spliced");
        }
        proxy.expect_metric("pinion_cluster_connects_total", &[], 1.0);
    });
}

#[test]
fn large_chunked_bodies_are_copied_both_ways() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let mut client = proxy.client();
        let (up, down) = (noise(LARGE, 3), noise(LARGE, 4));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut end = upstream.accept();
                assert!(end.request().body == up, "the request's body has changed");
                end.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                end.send(chunked(&down));
            });
            client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
            client.send(chunked(&up));
            assert!(client.response().body == down, "the response's body has changed");
        });
        proxy.expect_no_faults();
        for direction in ["upstream", "downstream"] {
            let copied = relayed(&proxy, "copy", direction);
            assert!(copied >= 0.9 * LARGE as f64, "{direction}: {copied} bytes copied");
            assert_eq!(relayed(&proxy, "splice", direction), 0.0, "chunks are looked at");
        }
    });
}

#[test]
fn a_large_body_until_close_arrives_whole() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let down = noise(LARGE / 2, 5);
        for version in ["1.1", "1.0"] {
            let mut client = proxy.client();
            client.send(format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n"));
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let mut end = upstream.accept();
                    end.request();
                    end.send("HTTP/1.1 200 OK\r\n\r\n");
                    end.send(&down);
                });
                assert!(client.response().body == down, "the response's body has changed");
            });
        }
        proxy.expect_no_faults();
    });
}

#[test]
fn bodies_of_all_sizes_around_the_buffers_arrive_whole() {
    both(|driver| {
        let upstream = Upstream::serve(|request| {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", request.body.len());
            [head.as_bytes(), &request.body].concat()
        });
        let proxy = Setup::on(driver).start(&[&upstream]);
        let mut client = proxy.client();
        let kib = 1024;
        for around in [4 * kib, 16 * kib, 64 * kib, 128 * kib, 256 * kib] {
            for length in [around - 200, around - 1, around, around + 1, around + 200] {
                let body = noise(length, length as u64);
                client.send(format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"));
                client.send(&body);
                assert!(client.response().body == body, "{length} bytes have changed");
            }
        }
        proxy.expect_no_faults();
    });
}

/// The most that the kernel's socket buffers and one relay may hold of a body that nobody reads.
fn most_held() -> usize {
    let most = |name: &str| {
        let text = std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap();
        text.split_whitespace().last().unwrap().parse::<usize>().unwrap()
    };
    2 * (most("tcp_rmem") + most("tcp_wmem")) + 4 * 1024 * 1024
}

fn bounded(proxy: &crate::wire::Proxy) {
    let held = proxy.metric("pinion_shard_buffer_bytes", &[]);
    assert!(held <= 1024.0 * 1024.0, "{held} bytes of buffers");
}

#[test]
fn a_client_that_does_not_read_stops_the_upstream() {
    both(|driver| {
        for framing in ["Content-Length: 1000000000", "Transfer-Encoding: chunked"] {
            let upstream = Upstream::start();
            let proxy = Setup::on(driver).start(&[&upstream]);
            let mut client = proxy.client();
            client.small_receive_buffer();
            client.send(get("/"));
            let mut end = upstream.accept();
            end.request();
            end.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n"));
            if framing.starts_with('T') {
                end.send("3b9aca00\r\n");
            }
            let sent = end.send_until_blocked(2 * most_held(), Duration::from_millis(500));
            assert!(sent < most_held(), "{sent} bytes went nowhere");
            std::thread::sleep(Duration::from_millis(300));
            bounded(&proxy);
            // It goes on as soon as the client reads.
            client.head();
            client.read_exact(sent / 2);
            assert!(end.send_until_blocked(1024 * 1024, Duration::from_secs(10)) > 0);
            // And a client that leaves ends it.
            drop(client);
            end.expect_gone();
            proxy.expect_faults("client_gone", 1);
        }
    });
}

#[test]
fn an_upstream_that_does_not_read_stops_the_client() {
    both(|driver| {
        for framing in ["Content-Length: 1000000000", "Transfer-Encoding: chunked"] {
            let upstream = Upstream::start();
            let proxy = Setup::on(driver).start(&[&upstream]);
            let mut client = proxy.client();
            client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n"));
            if framing.starts_with('T') {
                client.send("3b9aca00\r\n");
            }
            let mut end = upstream.accept();
            end.head();
            let sent = client.send_until_blocked(2 * most_held(), Duration::from_millis(500));
            assert!(sent < most_held(), "{sent} bytes went nowhere");
            std::thread::sleep(Duration::from_millis(300));
            bounded(&proxy);
            end.read_exact(sent / 2);
            assert!(client.send_until_blocked(1024 * 1024, Duration::from_secs(10)) > 0);
            // An answer comes through although neither end has finished the request.
            end.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno");
            let response = client.response();
            assert_eq!((response.status(), response.text()), (413, "no"));
            assert_eq!(response.get("connection"), Some("close"));
            end.expect_gone();
        }
    });
}

#[test]
fn an_early_answer_goes_through_while_the_body_is_coming() {
    both(|driver| {
        for body in ["Content-Length: 1000000\r\n\r\nsome", "Transfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n"]
        {
            let upstream = Upstream::start();
            let proxy = Setup::on(driver).start(&[&upstream]);
            let mut client = proxy.client();
            client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{body}"));
            let mut end = upstream.accept();
            end.read_until(b"some");
            end.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
            let response = client.response();
            assert_eq!((response.status(), response.text()), (403, "no"));
            assert_eq!(response.get("connection"), Some("close"));
            // Neither connection is at a request's end, so neither is used again.
            end.expect_gone();
            client.expect_gone();
            proxy.expect_no_faults();
        }
    });
}

#[test]
fn an_early_answer_before_the_close_is_not_lost() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        for _ in 0..10 {
            let mut client = proxy.client();
            client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\n");
            let mut end = upstream.accept();
            end.head();
            // Answers and closes with much unread, as servers do: the proxy's sends fail.
            std::thread::scope(|scope| {
                let mut sender = client.twin();
                scope.spawn(move || {
                    let block = vec![0; 50_000_000];
                    let _ = sender.try_send(&block);
                });
                end.read_exact(100_000);
                end.send(
                    "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno",
                );
                end.finish_sending();
                let response = client.response();
                assert_eq!((response.status(), response.text()), (413, "no"));
                drop(end);
                client.expect_gone();
            });
        }
    });
}

#[test]
fn a_client_that_leaves_ends_the_upstream_request() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        for (turn, reset) in [false, true].into_iter().enumerate() {
            let mut client = proxy.client();
            client.send(get("/slow"));
            let mut end = upstream.accept();
            end.request();
            let left = Instant::now();
            if reset {
                client.reset()
            } else {
                drop(client)
            }
            end.expect_gone();
            assert!(left.elapsed() < PATIENCE);
            proxy.expect_faults("client_gone", turn as u64 + 1);
        }
        eventually("nothing is left", || {
            proxy.metric("pinion_cluster_requests_active", &[])
                + proxy.metric("pinion_shard_connections_active", &[])
                < 0.5
        });
        proxy.expect_metric("pinion_faults_total", &[], 2.0);
    });
}

#[test]
fn a_client_that_leaves_amid_its_body_ends_the_upstream_request() {
    both(|driver| {
        for body in ["Content-Length: 1000000\r\n\r\nsome", "Transfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n"]
        {
            let upstream = Upstream::start();
            let proxy = Setup::on(driver).start(&[&upstream]);
            let mut client = proxy.client();
            client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{body}"));
            let mut end = upstream.accept();
            end.read_until(b"some");
            drop(client);
            end.expect_gone();
            proxy.expect_faults("client_gone", 1);
            proxy.expect_metric("pinion_cluster_requests_active", &[], 0.0);
        }
    });
}

#[test]
fn a_client_that_leaves_amid_the_answer_ends_the_upstream() {
    both(|driver| {
        for framing in ["Content-Length: 1000000000", "Connection: close"] {
            let upstream = Upstream::start();
            let proxy = Setup::on(driver).start(&[&upstream]);
            let mut client = proxy.client();
            client.send(get("/"));
            let mut end = upstream.accept();
            end.request();
            end.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\nsome"));
            client.read_until(b"some");
            drop(client);
            // Its upstream may be sending, or be silent.
            let block = vec![b'x'; 64 * 1024];
            let start = Instant::now();
            while end.try_send(&block).is_ok() {
                assert!(start.elapsed() < PATIENCE, "the upstream may send for ever");
            }
            proxy.expect_faults("client_gone", 1);
        }
    });
}

#[test]
fn a_client_that_leaves_while_the_answer_stands_still_ends_the_upstream() {
    both(|driver| {
        for framing in ["Content-Length: 1000000000", "Transfer-Encoding: chunked"] {
            let upstream = Upstream::start();
            let proxy = Setup::on(driver).start(&[&upstream]);
            let mut client = proxy.client();
            client.send(get("/"));
            let mut end = upstream.accept();
            end.request();
            end.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n4\r\nsome\r\n"));
            client.read_until(b"some\r\n");
            drop(client);
            end.expect_gone();
            proxy.expect_faults("client_gone", 1);
        }
    });
}

#[test]
fn half_close_is_honoured_where_wanted() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).listener("half_close = true").start(&[&upstream]);
        let mut client = proxy.client();
        client.send(get("/"));
        client.finish_sending();
        let mut end = upstream.accept();
        end.request();
        // Long enough for several looks at the client.
        std::thread::sleep(Duration::from_millis(800));
        end.send(ok("still here"));
        assert_eq!(client.response().text(), "still here");
        client.expect_closed();
        proxy.expect_no_faults();
    });
}

#[test]
fn half_close_ends_the_request_by_default() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let mut client = proxy.client();
        client.send(get("/"));
        client.finish_sending();
        let mut end = upstream.accept();
        end.request();
        end.expect_gone();
        client.expect_gone();
        proxy.expect_faults("client_gone", 1);
    });
}
