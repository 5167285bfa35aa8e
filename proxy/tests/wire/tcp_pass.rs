//! Connections that are passed on unread: what arrives, how they end, what they are limited by, what is said of them.

use crate::support::{Driver, PATIENCE, Signal};
use crate::tunnels::{logged, logging, on_all, on_tcp};
use crate::wire::{Ended, Setup, Upstream, both, full_backlog, noise, own_ip};
use serde_json::Value;
use std::thread::scope;
use std::time::Duration;

/// A listener `web` that passes everything on to the cluster `app`.
pub(crate) fn tcp(driver: Driver) -> Setup {
    logging(driver).listener("protocol = \"tcp\"\ncluster = \"app\"").routes("")
}

#[test]
fn everything_arrives_and_is_counted() {
    on_all(tcp, |stage| {
        let mut client = stage.client();
        // Who speaks first does not matter.
        let mut end = stage.upstream.accept();
        end.send("220 ready\r\n");
        assert_eq!(client.read_exact(11), b"220 ready\r\n");
        for (one, other) in [("EHLO a\r\n", "250 b\r\n"), ("\0\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n")] {
            client.send(one);
            assert_eq!(end.read_exact(one.len()), one.as_bytes());
            end.send(other);
            assert_eq!(client.read_exact(other.len()), other.as_bytes());
        }
        let proxy = &stage.proxy;
        for gauge in [
            "pinion_listener_tunnels_active",
            "pinion_cluster_tunnels_active",
            "pinion_cluster_requests_active",
        ] {
            proxy.expect_metric(gauge, &[], 1.0);
        }
        proxy.expect_metric("pinion_shard_buffers_in_use", &[], 0.0);
        client.finish_sending();
        end.expect_closed();
        end.finish_sending();
        client.expect_closed();
        drop((client, end));
        stage.expect_over(1);
        proxy.expect_no_faults();
        let (sent, received) = (8 + 5, 11 + 7 + 19);
        let line = logged(proxy, 1);
        for (key, value) in [
            ("protocol", Value::from("TCP")),
            ("method", Value::Null),
            ("path", Value::Null),
            ("response_code", 0.into()),
            ("response_flags", "-".into()),
            ("response_code_details", "via_upstream".into()),
            ("bytes_received", sent.into()),
            ("bytes_sent", received.into()),
            ("listener_name", "web".into()),
            ("route_name", "tcp web".into()),
            ("upstream_cluster", "app".into()),
            ("upstream_host", stage.upstream.address().into()),
            ("upstream_request_attempt_count", 1.into()),
            ("requested_server_name", Value::Null),
            ("proxy_protocol", Value::Null),
        ] {
            assert_eq!(line[key], value, "{key} of {line:#}");
        }
        for (name, labels, value) in [
            ("pinion_listener_received_bytes_total", ("listener", "web"), sent),
            ("pinion_listener_sent_bytes_total", ("listener", "web"), received),
            ("pinion_listener_tunnel_duration_seconds_count", ("listener", "web"), 1),
            ("pinion_cluster_tunnel_sent_bytes_total", ("cluster", "app"), sent),
            ("pinion_cluster_tunnel_received_bytes_total", ("cluster", "app"), received),
            ("pinion_cluster_tunnels_total", ("cluster", "app"), 1),
            ("pinion_cluster_tunnel_duration_seconds_count", ("cluster", "app"), 1),
            ("pinion_cluster_connects_total", ("cluster", "app"), 1),
            ("pinion_route_connections_total", ("route", "tcp web"), 1),
            ("pinion_requests_total", ("listener", "web"), 0),
        ] {
            proxy.expect_metric(name, &[labels], f64::from(value));
        }
    });
}

#[test]
fn megabytes_each_way_at_once() {
    on_all(tcp, |stage| {
        let mut client = stage.client();
        let mut end = stage.upstream.accept();
        let (up, down) = (noise(9_000_011, 3), noise(7_000_003, 5));
        scope(|scope| {
            for (mut from, bytes) in [(client.twin(), &up), (end.twin(), &down)] {
                scope.spawn(move || {
                    for piece in bytes.chunks(100_003) {
                        from.send(piece);
                    }
                    from.finish_sending();
                });
            }
            let received = scope.spawn(|| client.read_to_end());
            assert!(end.read_to_end() == (up.clone(), Ended::Closed), "wrong bytes at the endpoint");
            assert!(received.join().unwrap() == (down.clone(), Ended::Closed), "wrong bytes at the client");
        });
        stage.expect_over(1);
        stage.proxy.expect_no_faults();
        assert!(stage.proxy.metric("pinion_relay_bytes_total", &[("path", "splice")]) > 0.0);
    });
}

#[test]
fn each_direction_ends_by_itself() {
    on_all(tcp, |stage| {
        // Before its endpoint is reached as well.
        let mut client = stage.client();
        client.send("all I have");
        client.finish_sending();
        let mut end = stage.upstream.accept();
        assert_eq!(end.read_to_end(), (b"all I have".to_vec(), Ended::Closed));
        end.send("answer");
        assert_eq!(client.read_exact(6), b"answer");
        end.finish_sending();
        client.expect_closed();

        let mut client = stage.client();
        let mut end = stage.upstream.accept();
        end.finish_sending();
        client.expect_closed();
        client.send("still here");
        assert_eq!(end.read_exact(10), b"still here");
        client.finish_sending();
        end.expect_closed();
        drop((client, end));
        stage.expect_over(2);
        stage.proxy.expect_no_faults();
    });
}

#[test]
fn a_reset_is_no_end() {
    on_tcp(tcp, |stage| {
        let mut client = stage.client();
        let mut end = stage.upstream.accept();
        end.send("half of i");
        assert_eq!(client.read_exact(9), b"half of i");
        end.reset();
        assert_eq!(client.read_to_end().1, Ended::Reset);
        stage.proxy.expect_faults("tunnel_reset", 1);
        assert_eq!(logged(&stage.proxy, 1)["response_flags"], "UC");

        let mut client = stage.client();
        let mut end = stage.upstream.accept();
        client.send("half");
        assert_eq!(end.read_exact(4), b"half");
        client.reset();
        assert_eq!(end.read_to_end().1, Ended::Reset);
        stage.proxy.expect_faults("client_gone", 1);
        assert_eq!(logged(&stage.proxy, 2)["response_flags"], "DC");
        stage.expect_over(2);
    });
}

#[test]
fn a_slow_reader_holds_the_sender_up() {
    on_tcp(tcp, |stage| {
        let mut client = stage.client();
        let mut end = stage.upstream.accept();
        let sent = end.send_until_blocked(256 << 20, Duration::from_secs(1));
        assert!(sent < 64 << 20, "{sent} bytes were taken");
        let held = stage.proxy.metric("pinion_shard_buffer_bytes", &[]);
        assert!(held < 2_000_000.0, "{held} bytes of buffers");
        end.finish_sending();
        assert_eq!(client.read_to_end().0.len(), sent);
    });
}

#[test]
fn an_endpoint_that_can_not_be_reached_is_passed_over() {
    both(|driver| {
        let good = Upstream::start();
        // One that refuses, and one that takes no connection.
        let refusing = crate::support::free_address();
        let (full, _held) = full_backlog(own_ip());
        let proxy = tcp(driver)
            .cluster("timeouts.connect = \"1s\"\nbalance = \"round-robin\"")
            .start_with(&[refusing.to_string(), full.to_string(), good.address().to_owned()]);
        for round in 0..6 {
            let mut client = proxy.client();
            client.send("hello");
            let mut end = good.accept();
            assert_eq!(end.read_exact(5), b"hello", "{round}");
            drop(end);
            client.expect_closed();
        }
        proxy.expect_no_faults();
        assert!(proxy.metric("pinion_cluster_connect_failures_total", &[]) >= 4.0);
        assert!(proxy.metric("pinion_cluster_connect_timeouts_total", &[]) >= 1.0);
        assert_eq!(
            proxy.metric("pinion_cluster_retries_total", &[]),
            proxy.metric("pinion_cluster_connect_failures_total", &[])
        );
        let tries: Vec<_> = (1..=6)
            .filter_map(|line| logged(&proxy, line)["upstream_request_attempt_count"].as_u64())
            .collect();
        assert!(tries.iter().any(|&tries| tries > 1), "{tries:?}");
    });
}

#[test]
fn when_nobody_can_be_reached_it_is_closed() {
    both(|driver| {
        let refusing = crate::support::free_address();
        let proxy = tcp(driver).start_with(&[refusing.to_string()]);
        let mut client = proxy.client();
        client.expect_gone();
        proxy.expect_faults("connect_failed", 1);
        proxy.expect_metric("pinion_cluster_connects_total", &[], 3.0);
        let line = logged(&proxy, 1);
        assert_eq!(
            (&line["response_flags"], &line["response_code_details"], &line["upstream_host"]),
            (&"UF".into(), &"connect_failed".into(), &refusing.to_string().into())
        );
        assert_eq!(line["upstream_request_attempt_count"], 3);
    });
}

#[test]
fn a_route_may_ask_for_no_other_try() {
    both(|driver| {
        let refusing = crate::support::free_address();
        let routes =
            "[[routes]]\nname = \"db\"\nlisteners = [\"web\"]\ncluster = \"app\"\nretry = { attempts = 0 }";
        let proxy =
            logging(driver).listener("protocol = \"tcp\"").routes(routes).start_with(&[refusing.to_string()]);
        proxy.client().expect_gone();
        proxy.expect_faults("connect_failed", 1);
        proxy.expect_metric("pinion_cluster_connects_total", &[], 1.0);
        assert_eq!(logged(&proxy, 1)["route_name"], "db");
    });
}

#[test]
fn a_split_shares_connections() {
    both(|driver| {
        let (app, other) = (Upstream::start(), Upstream::start());
        let routes = "[[routes]]\nlisteners = [\"web\"]\nsplit = [{ cluster = \"app\", weight = 1 }, { cluster = \"other\", weight = 1 }]";
        let more = format!("[[clusters]]\nname = \"other\"\nendpoints = [{:?}]", other.address());
        let proxy = logging(driver).listener("protocol = \"tcp\"").routes(routes).more(&more).start(&[&app]);
        // All to one side: less probable than 2^-60.
        let held: Vec<_> = (0..64).map(|_| proxy.client()).collect();
        proxy.expect_metric("pinion_route_connections_total", &[("route", "tcp web")], 64.0);
        let count = |cluster| proxy.metric("pinion_cluster_tunnels_total", &[("cluster", cluster)]);
        proxy.expect_metric("pinion_cluster_tunnels_active", &[], 64.0);
        assert!(count("app") > 0.0 && count("other") > 0.0 && count("app") + count("other") > 63.5);
        drop(held);
    });
}

#[test]
fn limits_of_connections() {
    on_tcp(
        |driver| {
            tcp(driver)
                .listener("limits.connections = 2")
                .cluster("limits.connections = 1\nlimits.pending_timeout = \"200ms\"")
        },
        |stage| {
            let client = stage.client();
            let end = stage.upstream.accept();
            // One too many for the cluster: it waits, and is closed.
            let mut waiting = stage.client();
            waiting.expect_gone();
            stage.proxy.expect_faults("pending_timeout", 1);
            let line = logged(&stage.proxy, 1);
            assert_eq!(
                (&line["response_flags"], &line["upstream_request_attempt_count"]),
                (&"UO".into(), &0.into())
            );
            // One too many for the listener: nobody speaks HTTP here.
            stage.proxy.expect_metric("pinion_listener_connections_active", &[], 1.0);
            let mut second = stage.client();
            stage.proxy.expect_metric("pinion_listener_connections_active", &[], 2.0);
            let mut third = stage.client();
            third.expect_gone();
            stage.proxy.expect_metric("pinion_listener_connections_refused_total", &[], 1.0);
            second.expect_gone();
            drop((client, end, second));
            stage.proxy.expect_metric("pinion_listener_connections_active", &[], 0.0);
        },
    );
}

#[test]
fn one_that_waits_for_a_credit_gets_it() {
    on_tcp(
        |driver| tcp(driver).cluster("limits.connections = 1\nlimits.pending_timeout = \"15s\""),
        |stage| {
            let mut first = stage.client();
            let end = stage.upstream.accept();
            let mut second = stage.client();
            second.send("later");
            stage.proxy.expect_metric("pinion_cluster_requests_pending", &[], 1.0);
            drop(end);
            first.expect_closed();
            drop(first);
            let mut end = stage.upstream.accept();
            assert_eq!(end.read_exact(5), b"later");
        },
    );
}

#[test]
fn limits_of_time() {
    on_all(
        |driver| tcp(driver).listener("timeouts.tunnel_idle = \"300ms\""),
        |stage| {
            let mut client = stage.client();
            let mut end = stage.upstream.accept();
            client.expect_gone();
            end.expect_gone();
            stage.proxy.expect_faults("tunnel_idle", 1);
            stage.expect_over(1);
            assert_eq!(logged(&stage.proxy, 1)["response_flags"], "SI");
        },
    );
    on_tcp(
        |driver| tcp(driver).listener("timeouts.tunnel_max = \"400ms\""),
        |stage| {
            let mut client = stage.client();
            let mut end = stage.upstream.accept();
            while end.try_send(b"tick").is_ok() && client.take_some(1_000) {}
            end.expect_gone();
            stage.proxy.expect_faults("tunnel_timeout", 1);
            assert_eq!(logged(&stage.proxy, 1)["response_flags"], "DT");
        },
    );
}

#[test]
fn a_drain_gives_it_time_and_then_ends_it() {
    on_tcp(
        |driver| tcp(driver).proxy("drain = \"1500ms\""),
        |stage| {
            let mut client = stage.client();
            let mut end = stage.upstream.accept();
            stage.proxy.pinion.signal(Signal::TERM);
            stage.proxy.pinion.wait_stderr("draining");
            client.send("still there?");
            assert_eq!(end.read_exact(12), b"still there?");
            client.expect_gone();
            end.expect_gone();
            assert!(stage.proxy.pinion.wait_exit().success());
            assert_eq!(logged(&stage.proxy, 1)["response_flags"], "DRN");
        },
    );
    on_tcp(
        |driver| tcp(driver).proxy("drain = \"60s\""),
        |stage| {
            let mut client = stage.client();
            let end = stage.upstream.accept();
            stage.proxy.pinion.signal(Signal::TERM);
            stage.proxy.pinion.wait_stderr("draining");
            drop(end);
            client.expect_closed();
            drop(client);
            assert!(PATIENCE < Duration::from_secs(60) && stage.proxy.pinion.wait_exit().success());
        },
    );
}

#[test]
fn it_outlives_a_reload() {
    on_tcp(tcp, |stage| {
        let mut client = stage.client();
        let mut end = stage.upstream.accept();
        stage.proxy.pinion.write(&format!(
            "[[listeners]]\nname = \"other\"\naddress = \"{}:0\"\n[[routes]]\ndirect_response = {{ status = 204 }}\n",
            own_ip()
        ));
        assert_eq!(stage.proxy.pinion.reload().status, 200);
        stage.proxy.pinion.wait_generation(2);
        client.send("here");
        assert_eq!(end.read_exact(4), b"here");
        drop(end);
        client.expect_closed();
        drop(client);
        assert_eq!(logged(&stage.proxy, 1)["config_generation"], 1);
    });
}

#[test]
fn many_at_once_on_several_shards() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::sharded(driver, 3)
            .listener("protocol = \"tcp\"\ncluster = \"app\"")
            .routes("")
            .start(&[&upstream]);
        let mut clients: Vec<_> = (0..60_u8).map(|_| proxy.client()).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            client.send([number as u8]);
        }
        let mut ends: Vec<_> = (0..60).map(|_| upstream.accept()).collect();
        let mut numbers: Vec<u8> = ends
            .iter_mut()
            .map(|end| {
                let number = end.read_exact(1)[0];
                end.send([number, 255]);
                number
            })
            .collect();
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..60));
        for (number, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.read_exact(2), [number as u8, 255]);
        }
        proxy.expect_metric("pinion_listener_tunnels_active", &[], 60.0);
    });
}
