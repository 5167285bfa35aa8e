//! What is counted is what was on the wire.

use crate::wire::{Setup, Upstream, both, get, noise, ok};

#[test]
fn bytes_of_a_listener() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let mut client = proxy.client();
        let (small, large) = (noise(100, 21), noise(500_000, 22));
        let mut received = 0;
        let mut sent = 0;
        for (body, chunked) in [(&small, false), (&large, false), (&small, true), (&large, true)] {
            let framed = if chunked {
                let head = format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", body.len());
                [head.as_bytes(), body, b"\r\n0\r\n\r\n"].concat()
            } else {
                [format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()
            };
            let request = [b"POST / HTTP/1.1\r\nHost: a\r\n", &framed[..]].concat();
            // Exactly as the proxy writes it, so that its length is known.
            let response = [b"HTTP/1.1 200 OK\r\nConnection: close\r\n", &framed[..]].concat();
            received += request.len();
            sent += response.len() - "Connection: close\r\n".len();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let mut end = upstream.accept();
                    end.request();
                    end.send(&response);
                });
                client.send(&request);
                assert!(client.response().body == *body);
            });
        }
        proxy.expect_metric("pinion_listener_received_bytes_total", &[("listener", "web")], received as f64);
        proxy.expect_metric("pinion_listener_sent_bytes_total", &[("listener", "web")], sent as f64);
        proxy.expect_no_faults();
    });
}

#[test]
fn answers_by_class() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let mut client = proxy.client();
        for status in [200, 204, 302, 404, 503] {
            client.send(get("/"));
            let mut end = upstream.accept();
            end.request();
            let length = if status == 204 { "" } else { "Content-Length: 0\r\n" };
            end.send(format!("HTTP/1.1 {status} X\r\nConnection: close\r\n{length}\r\n"));
            assert_eq!(client.response().status(), status);
        }
        // One that the proxy answers itself, and one that nobody answers.
        client.send(get("/"));
        let mut end = upstream.accept();
        end.request();
        drop(end);
        assert_eq!(client.response().status(), 503);
        client.send(get("/"));
        let mut end = upstream.accept();
        end.request();
        drop(client);
        end.expect_gone();
        for (class, of_route, of_cluster) in
            [("2xx", 2.0, 2.0), ("3xx", 1.0, 1.0), ("4xx", 1.0, 1.0), ("5xx", 2.0, 1.0), ("none", 1.0, 2.0)]
        {
            let label = ("code_class", class);
            proxy.expect_metric("pinion_route_responses_total", &[("route", "all"), label], of_route);
            proxy.expect_metric("pinion_cluster_responses_total", &[("cluster", "app"), label], of_cluster);
        }
        proxy.expect_metric("pinion_route_duration_seconds_count", &[("route", "all")], 7.0);
        proxy.expect_metric("pinion_cluster_first_byte_seconds_count", &[("cluster", "app")], 5.0);
        proxy.expect_metric("pinion_endpoint_requests_total", &[("endpoint", upstream.address())], 7.0);
        proxy.expect_metric("pinion_endpoint_failures_total", &[("endpoint", upstream.address())], 1.0);
    });
}

#[test]
fn a_get_with_a_body_has_a_connection_of_its_own() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let mut client = proxy.client();
        for _ in 0..2 {
            client.send("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
            let mut end = upstream.accept();
            let request = end.request();
            // Servers that ignore such a body would take it for the next request.
            assert_eq!((request.text(), request.get("connection")), ("hello", Some("close")));
            end.send(ok("x"));
            let response = client.response();
            assert_eq!((response.status(), response.get("connection")), (200, None));
            end.expect_gone();
        }
        proxy.expect_no_faults();
    });
}
