//! When things go badly: upstreams that die under load, and a process that has no descriptors left.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::support::eventually;
use crate::wire::{Setup, Upstream, both, get, noise, ok};

/// Ends the clients however the test ends: a failed one must not wait for them for ever.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn an_upstream_that_dies_under_load_and_comes_back() {
    both(|driver| {
        let upstream = Upstream::serve(|_| ok("x"));
        let address = upstream.address().parse().unwrap();
        let proxy = Setup::sharded(driver, 2).start(&[&upstream]);
        let (stop, good) = (AtomicBool::new(false), AtomicU64::new(0));
        let answers = std::thread::scope(|scope| {
            let stopping = Stop(&stop);
            let clients: Vec<_> = (0..8)
                .map(|turn| {
                    let (stop, good, mut client) = (&stop, &good, proxy.client());
                    scope.spawn(move || {
                        let mut answers = BTreeMap::<u16, u64>::new();
                        while !stop.load(Ordering::SeqCst) {
                            // Half of them may not be sent twice.
                            client.send(if turn % 2 == 0 {
                                get("/")
                            } else {
                                get("/").replace("GET", "POST")
                            });
                            let response = client.response();
                            // Whatever happens upstream, the client's connection lives.
                            assert_eq!(response.get("connection"), None);
                            *answers.entry(response.status()).or_default() += 1;
                            match response.status() {
                                200 => drop(good.fetch_add(1, Ordering::SeqCst)),
                                _ => std::thread::sleep(Duration::from_millis(5)),
                            }
                        }
                        answers
                    })
                })
                .collect();
            let progress = |more: u64| {
                let before = good.load(Ordering::SeqCst);
                eventually("requests succeed", || good.load(Ordering::SeqCst) >= before + more);
            };
            let mut upstream = upstream;
            for _ in 0..3 {
                progress(100);
                upstream.kill();
                proxy.expect_metric("pinion_cluster_connections_active", &[], 0.0);
                upstream = Upstream::start_at(address).serving(|_| ok("x"));
                progress(100);
            }
            drop(stopping);
            clients.into_iter().fold(BTreeMap::<u16, u64>::new(), |mut all, client| {
                for (status, count) in client.join().unwrap() {
                    *all.entry(status).or_default() += count;
                }
                all
            })
        });
        let bad: u64 = answers.get(&503).copied().unwrap_or(0);
        assert_eq!(answers[&200] + bad, answers.values().sum::<u64>(), "only 503 is expected: {answers:?}");
        proxy.expect_metric("pinion_faults_total", &[], bad as f64);
        let expected = ["connect_failed", "upstream_closed", "stale_connection"];
        let named: f64 =
            expected.iter().map(|reason| proxy.metric("pinion_faults_total", &[("reason", reason)])).sum();
        assert_eq!(named, bad as f64, "other faults than {expected:?}");
        proxy.expect_metric("pinion_listener_connections_total", &[], 8.0);
    });
}

#[test]
fn a_process_without_descriptors_serves_on_and_accepts_again() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).descriptors(64).start(&[&upstream]);
        let mut client = proxy.client();
        let mut other = proxy.client();
        for client in [&mut other, &mut client] {
            client.send(get("/"));
        }
        let mut ends = [upstream.accept(), upstream.accept()];
        for end in &mut ends {
            end.request();
            end.send(ok("x"));
        }
        assert_eq!((client.response().status(), other.response().status()), (200, 200));
        // One pooled connection is left for both.
        let [mut end, gone] = ends;
        drop(gone);
        proxy.expect_metric("pinion_cluster_connections_active", &[], 1.0);

        let hoard: Vec<_> = (0..100).map(|_| proxy.client()).collect();
        std::thread::sleep(Duration::from_millis(500));
        for turn in 0..20 {
            client.send(get(&format!("/{turn}")));
            assert_eq!(end.request().head.line, format!("GET /{turn} HTTP/1.1"));
            if turn == 10 {
                // There is no descriptor for a second upstream connection.
                other.send(get("/other"));
                assert_eq!(other.response().status(), 503);
            }
            end.send(ok("x"));
            assert_eq!(client.response().status(), 200);
        }
        // Nor one for a pipe: a large body is copied.
        let body = noise(500_000, 31);
        client.send(get("/large"));
        end.request();
        std::thread::scope(|scope| {
            let response = [b"HTTP/1.1 200 OK\r\nContent-Length: 500000\r\n\r\n", &body[..]].concat();
            scope.spawn(|| end.send(response));
            assert!(client.response().body == body, "the body has changed");
        });
        drop(hoard);

        let mut fresh = proxy.client();
        fresh.send(get("/fresh"));
        assert_eq!(end.request().head.line, "GET /fresh HTTP/1.1");
        end.send(ok("x"));
        assert_eq!(fresh.response().status(), 200);
        proxy.expect_faults("connect_local", 1);
        proxy.expect_metric("pinion_faults_total", &[], 1.0);
        assert_eq!(proxy.metric("pinion_relay_bytes_total", &[("path", "splice")]), 0.0);
        let errors = proxy.metric("pinion_shard_accept_errors_total", &[]);
        assert!((1.0..1000.0).contains(&errors), "{errors} accept errors: none, or a busy loop");
        proxy.expect_metric("pinion_listener_connections_active", &[], 3.0);
    });
}

#[test]
fn an_upstream_that_closes_after_each_answer_costs_no_get() {
    both(|driver| {
        // Without saying so: every next request may meet a connection that is just closing.
        let upstream = Upstream::closing(|_| ok("x"));
        let proxy = Setup::sharded(driver, 2).start(&[&upstream]);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let mut client = proxy.client();
                scope.spawn(move || {
                    for turn in 0..250 {
                        client.send(get(&format!("/{turn}")));
                        assert_eq!(client.response().status(), 200, "request {turn}");
                    }
                });
            }
        });
        proxy.expect_no_faults();
    });
}

#[test]
fn a_spliced_answer_that_is_cut_spoils_no_other() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        for _ in 0..5 {
            let mut client = proxy.client();
            client.send(get("/cut"));
            let mut end = upstream.accept();
            end.request();
            end.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
            end.send(vec![b'y'; 300_000]);
            drop(end);
            let (got, _) = client.read_to_end();
            assert!(got.len() < 300_200 && !got.ends_with(b"x"), "{} bytes", got.len());

            let mut client = proxy.client();
            client.send(get("/whole"));
            let mut end = upstream.accept();
            end.request();
            end.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1000000\r\n\r\n");
            std::thread::scope(|scope| {
                scope.spawn(|| end.send(vec![b'x'; 1_000_000]));
                let body = client.response().body;
                assert!(body.iter().all(|&byte| byte == b'x'), "bytes of another answer");
            });
        }
        proxy.expect_faults("upstream_truncated", 5);
    });
}
