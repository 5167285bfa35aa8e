//! CONNECT: where a route allows it, where not, and which endpoint it reaches.

use crate::support::Driver;
use crate::tunnels::{CONNECT, logged, logging, on_all, on_tcp};
use crate::wire::{Ended, MOMENT, Setup, Upstream, both, ok};
use serde_json::Value;
use std::time::Duration;

fn connecting(driver: Driver) -> Setup {
    logging(driver).routes(
        "[[routes]]\nname = \"db\"\nhosts = [\"db.internal\"]\nconnect = true\ncluster = \"app\"\n\
         response_headers = { set = { x-via = \"pinion\" } }\n\
         [[routes]]\nname = \"web\"\ncluster = \"app\"\n\
         [[routes]]\nname = \"own\"\nhosts = [\"own\"]\ndirect_response = { status = 200 }\n",
    )
}

#[test]
fn connect_where_it_is_allowed() {
    on_all(connecting, |stage| {
        for early in ["", "early"] {
            let mut client = stage.client();
            client.send(format!("{CONNECT}{early}"));
            let mut end = stage.upstream.accept();
            let head = client.head();
            assert_eq!((&*head.line, head.get("x-via")), ("HTTP/1.1 200 OK", Some("pinion")));
            assert_eq!(head.fields.len(), 1, "{head:?}");
            // The endpoint sees nothing of HTTP.
            assert_eq!(end.read_exact(early.len()), early.as_bytes());
            end.expect_quiet(Duration::from_millis(20));
            end.send("welcome");
            assert_eq!(client.read_exact(7), b"welcome");
            client.send("quit");
            client.finish_sending();
            assert_eq!(end.read_to_end(), (b"quit".to_vec(), Ended::Closed));
            end.send("bye");
            drop(end);
            assert_eq!(client.read_exact(3), b"bye");
            client.expect_closed();
        }
        stage.expect_over(2);
        stage.proxy.expect_no_faults();
        let line = logged(&stage.proxy, 2);
        for (key, value) in [
            ("method", Value::from("CONNECT")),
            ("authority", "db.internal:5432".into()),
            ("path", Value::Null),
            ("response_code", 200.into()),
            ("route_name", "db".into()),
            ("upstream_cluster", "app".into()),
            ("upstream_host", stage.upstream.address().into()),
            ("bytes_received", 9.into()),
            ("bytes_sent", 10.into()),
        ] {
            assert_eq!(line[key], value, "{key} of {line:#}");
        }
    });
}

#[test]
fn connect_where_it_is_not() {
    on_tcp(connecting, |stage| {
        for (count, host) in ["other.internal:5432", "own:80", "127.0.0.1:22"].iter().enumerate() {
            let mut client = stage.client();
            client.send(format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\nEHLO\r\n"));
            assert_eq!(client.response().status(), 501, "{host}");
            client.expect_gone();
            stage.proxy.expect_faults("method_unsupported", count as u64 + 1);
        }
        stage.upstream.expect_no_connection();
        // Other requests are not tunnels.
        let mut client = stage.client();
        client.send("GET / HTTP/1.1\r\nHost: db.internal\r\n\r\n");
        let mut end = stage.upstream.accept();
        end.request();
        end.send(ok("x"));
        assert_eq!(client.response().text(), "x");
        assert_eq!(stage.proxy.metric("pinion_listener_tunnels_total", &[]), 0.0);
    });
}

#[test]
fn connect_tries_another_endpoint() {
    both(|driver| {
        let gone = Upstream::start();
        let dead = gone.address().to_owned();
        drop(gone);
        let upstream = Upstream::start();
        let retry = "retry = { attempts = 2, on = [\"connect-failure\"] }";
        let setup = connecting(driver)
            .cluster("balance = \"round-robin\"")
            .routes(&format!("[[routes]]\nconnect = true\ncluster = \"app\"\n{retry}\n"));
        let proxy = setup.start_with(&[dead.clone(), upstream.address().to_owned()]);
        for _ in 0..4 {
            let mut client = proxy.client();
            client.send(CONNECT);
            let mut end = upstream.accept();
            assert_eq!(client.head().status(), 200);
            client.send("x");
            assert_eq!(end.read_exact(1), b"x");
        }
        assert!(proxy.metric("pinion_cluster_connect_failures_total", &[]) >= 1.0);
        drop(upstream);
        let mut client = proxy.client();
        client.send(CONNECT);
        std::thread::sleep(MOMENT);
        assert_eq!(client.response().status(), 503);
        proxy.expect_faults("connect_failed", 1);
    });
}
