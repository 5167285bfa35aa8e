//! Trying again because the route says so, and when it can't be done.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::wire::{Setup, Upstream, both, get, ok};

/// An upstream that answers with these statuses in turn, then with 200.
fn moody(statuses: &'static [u16]) -> Upstream {
    let turn = AtomicUsize::new(0);
    Upstream::serve(move |request| {
        let turn = turn.fetch_add(1, Ordering::SeqCst);
        match statuses.get(turn) {
            // No answer at all.
            Some(0) => vec![],
            Some(status) => format!("HTTP/1.1 {status} Moody\r\nContent-Length: 4\r\n\r\nbad!").into_bytes(),
            None => ok(&format!("{}|{}", turn + 1, request.text())),
        }
    })
}

const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";

/// The status and body that one request gets, the requests the upstream got, and the retries counted.
fn outcome(
    driver: crate::support::Driver,
    retry: &str,
    statuses: &'static [u16],
    request: &str,
) -> (u16, String, f64, f64) {
    let upstream = moody(statuses);
    let proxy = Setup::on(driver).route(retry).start(&[&upstream]);
    let mut client = proxy.client();
    client.send(request);
    let response = client.response();
    proxy.expect_metric("pinion_cluster_requests_active", &[], 0.0);
    let tries = proxy.metric("pinion_endpoint_requests_total", &[]);
    let retries = proxy.metric("pinion_cluster_retries_total", &[("cluster", "app")]);
    (response.status(), response.text().to_owned(), tries, retries)
}

#[test]
fn an_endpoint_that_refuses_is_avoided() {
    both(|driver| {
        let dead = Upstream::start().address().to_owned();
        let upstream = Upstream::serve(|_| ok("x"));
        let proxy = Setup::on(driver)
            .cluster("balance = \"round-robin\"")
            .route("retry = { on = [\"connect-failure\"] }")
            .start_with(&[dead, upstream.address().to_owned()]);
        for request in [get("/"), POST.to_owned()].iter().cycle().take(10) {
            let mut client = proxy.client();
            client.send(request);
            assert_eq!(client.response().status(), 200);
        }
        assert!(proxy.metric("pinion_cluster_retries_total", &[("cluster", "app")]) >= 1.0);
        proxy.expect_no_faults();
    });
}

#[test]
fn without_a_rule_nothing_is_tried_again() {
    both(|driver| {
        assert_eq!(outcome(driver, "", &[503], &get("/")), (503, "bad!".to_owned(), 1.0, 0.0));
        assert_eq!(outcome(driver, "", &[0], &get("/")).0, 503);
    });
}

#[test]
fn statuses_are_tried_again() {
    both(|driver| {
        let rule = "retry = { attempts = 2, on = [\"5xx\"] }";
        for request in [get("/"), POST.to_owned()] {
            let body = if request.starts_with('P') { "3|hello" } else { "3|" };
            let expected = (200, body.to_owned(), 3.0, 2.0);
            assert_eq!(outcome(driver, rule, &[500, 503], &request), expected);
        }
        // No more often than that: the last answer is passed on.
        let last = (504, "bad!".to_owned(), 3.0, 2.0);
        assert_eq!(outcome(driver, rule, &[500, 502, 504], &get("/")), last);
        assert_eq!(outcome(driver, rule, &[404], &get("/")).0, 404);
    });
}

#[test]
fn gateway_errors_and_listed_statuses_are_tried_again() {
    both(|driver| {
        let gateway = "retry = { on = [\"gateway-error\"] }";
        assert_eq!(outcome(driver, gateway, &[502], &get("/")).0, 200);
        assert_eq!(outcome(driver, gateway, &[500], &get("/")).0, 500);
        let listed = "retry = { retriable_status_codes = [409, 425] }";
        assert_eq!(outcome(driver, listed, &[409], &get("/")).0, 200);
        assert_eq!(outcome(driver, listed, &[503], &get("/")).0, 503);
    });
}

#[test]
fn a_closed_connection_is_tried_again() {
    both(|driver| {
        let rule = "retry = { on = [\"reset\"] }";
        assert_eq!(outcome(driver, rule, &[0], &get("/")), (200, "2|".to_owned(), 2.0, 1.0));
        assert_eq!(outcome(driver, rule, &[0], POST), (200, "2|hello".to_owned(), 2.0, 1.0));
        assert_eq!(outcome(driver, rule, &[0, 0], &get("/")).0, 503);
    });
}

#[test]
fn a_body_that_was_streamed_is_not_sent_again() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).route("retry = { on = [\"5xx\", \"reset\"] }").start(&[&upstream]);
        for framing in ["Content-Length: 200000", "Transfer-Encoding: chunked"] {
            let mut client = proxy.client();
            client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n"));
            let mut end = upstream.accept();
            let head = end.head();
            if framing.starts_with('C') {
                client.send(vec![b'x'; 200_000]);
                end.read_exact(200_000);
            } else {
                client.send("5\r\nhello\r\n0\r\n\r\n");
                end.chunked();
            }
            assert!(head.line.starts_with("POST"));
            end.send("HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy");
            let response = client.response();
            assert_eq!((response.status(), response.text()), (503, "busy"));
            drop(end);
            proxy.expect_metric("pinion_cluster_connections_active", &[], 0.0);
        }
        upstream.expect_no_connection();
        assert_eq!(proxy.metric("pinion_cluster_retries_total", &[]), 0.0);
    });
}

#[test]
fn an_answer_that_has_begun_is_not_tried_again() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).route("retry = { on = [\"5xx\", \"reset\"] }").start(&[&upstream]);
        let mut client = proxy.client();
        client.send(get("/"));
        let mut end = upstream.accept();
        end.request();
        end.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        client.read_until(b"half");
        drop(end);
        assert_eq!(client.read_to_end().0, b"");
        upstream.expect_no_connection();
        proxy.expect_faults("upstream_truncated", 1);
    });
}
