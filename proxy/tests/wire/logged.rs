//! The access log of traffic: one line a request, saying what was on the wire.

use serde_json::{Value, json};

use crate::support::eventually;
use crate::tunnels::logging;
use crate::wire::{Proxy, Upstream, both, get, ok};

/// The lines so far, once there are `count`.
fn lines(proxy: &Proxy, count: usize) -> Vec<Value> {
    let path = proxy.pinion.folder().join("access.log");
    let read = || std::fs::read_to_string(&path).unwrap_or_default();
    eventually("the log's lines", || read().lines().count() >= count);
    let lines: Vec<_> = read().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), count, "{lines:#?}");
    lines
}

#[track_caller]
fn check(line: &Value, expected: Value) {
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&line[key], value, "{key} of {line:#}");
    }
    let phases: u64 = line["ledger"].as_object().unwrap().values().map(|phase| phase.as_u64().unwrap()).sum();
    assert_eq!(line["duration"], phases, "{line:#}");
}

#[test]
fn requests_that_went_well() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = logging(driver).start(&[&upstream]);
        let mut client = proxy.client();
        client.send(
            "GET /a/../b?c=d HTTP/1.1\r\nHost: Test:80\r\nUser-Agent: me\r\nX-Forwarded-For: 1.2.3.4\r\n\
             X-Request-Id: 7\r\n\r\n",
        );
        let mut end = upstream.accept();
        end.request();
        end.send(ok("hello"));
        client.response();
        proxy.expect_metric("pinion_cluster_requests_active", &[], 0.0);
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n");
        client.send(vec![b'x'; 300_000]);
        end.request();
        end.send("HTTP/1.1 201 Created\r\nContent-Length: 200000\r\n\r\n");
        end.send(vec![b'y'; 200_000]);
        client.response();
        client.send("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
        end.request();
        end.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nyes\r\n0\r\n\r\n");
        client.response();
        let lines = lines(&proxy, 3);
        check(
            &lines[0],
            json!({
                "method": "GET", "authority": "Test:80", "path": "/b?c=d", "protocol": "HTTP/1.1",
                "response_code": 200, "response_flags": "-", "response_code_details": "via_upstream",
                "bytes_received": 0, "bytes_sent": 5, "listener_name": "web", "route_name": "all",
                "upstream_cluster": "app", "upstream_host": upstream.address(),
                "upstream_request_attempt_count": 1, "upstream_connection_reused": false,
                "downstream_remote_address": client.local().to_string(), "x_forwarded_for": "1.2.3.4",
                "user_agent": "me", "request_id": "7", "config_generation": 1, "truncated": false,
            }),
        );
        check(
            &lines[1],
            json!({
                "method": "POST", "response_code": 201, "bytes_received": 300_000, "bytes_sent": 200_000,
                "upstream_connection_reused": true, "user_agent": null,
            }),
        );
        check(&lines[2], json!({ "method": "PUT", "bytes_received": 5, "bytes_sent": 3 }));
    });
}

#[test]
fn requests_that_went_wrong() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = logging(driver)
            .routes(
                "[[routes]]\nname = \"all\"\npath = { prefix = \"/app\" }\ncluster = \"app\"\n\
                 [[routes]]\nname = \"own\"\npath = \"/own\"\ndirect_response = { status = 200, body = \"own\" }\n",
            )
            .start(&[&upstream]);
        let mut client = proxy.client();
        client.send(get("/own"));
        client.response();
        client.send(get("/none"));
        client.response();
        client.send(get("/app/closes"));
        let mut end = upstream.accept();
        end.request();
        drop(end);
        client.response();
        client.send("GET /app HTTP/1.1\r\n\r\n");
        client.response();
        // One whose client leaves.
        let mut client = proxy.client();
        client.send(get("/app/left"));
        let mut end = upstream.accept();
        end.request();
        drop(client);
        end.expect_gone();
        let _ = lines(&proxy, 5);
        // One whose answer is cut.
        let mut client = proxy.client();
        client.send(get("/app/cut"));
        let mut end = upstream.accept();
        end.request();
        end.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
        end.send(vec![b'y'; 300_000]);
        client.head();
        client.read_exact(300_000);
        drop(end);
        client.expect_gone();
        let lines = lines(&proxy, 6);
        check(
            &lines[0],
            json!({
                "path": "/own", "response_code": 200, "response_flags": "-", "bytes_sent": 3,
                "response_code_details": "direct_response", "route_name": "own", "upstream_cluster": null,
                "upstream_host": null, "upstream_request_attempt_count": 0,
            }),
        );
        check(
            &lines[1],
            json!({
                "path": "/none", "response_code": 404, "response_flags": "NR",
                "response_code_details": "no_route", "route_name": null,
            }),
        );
        check(
            &lines[2],
            json!({
                "path": "/app/closes", "response_code": 503, "response_flags": "UC",
                "response_code_details": "upstream_closed", "upstream_request_attempt_count": 1,
            }),
        );
        check(
            &lines[3],
            json!({ "method": null, "path": null, "response_code": 400, "response_flags": "DPE" }),
        );
        check(
            &lines[4],
            json!({
                "path": "/app/left", "response_code": 0, "response_flags": "DC", "bytes_sent": 0,
                "response_code_details": "client_gone",
            }),
        );
        check(
            &lines[5],
            json!({
                "path": "/app/cut", "response_code": 200, "response_flags": "UC", "bytes_sent": 300_000,
                "response_code_details": "upstream_truncated",
            }),
        );
    });
}

#[test]
fn requests_that_were_sent_again() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = logging(driver).start(&[&upstream]);
        let mut client = proxy.client();
        client.send(get("/"));
        let mut end = upstream.accept();
        end.request();
        end.send(ok("x"));
        client.response();
        proxy.expect_metric("pinion_cluster_requests_active", &[], 0.0);
        client.send(get("/again"));
        end.request();
        drop(end);
        let mut end = upstream.accept();
        end.request();
        end.send(ok("x"));
        client.response();
        let lines = lines(&proxy, 2);
        check(
            &lines[1],
            json!({
                "path": "/again", "response_code": 200, "response_flags": "-",
                "upstream_request_attempt_count": 2, "upstream_connection_reused": false,
            }),
        );
    });
}
