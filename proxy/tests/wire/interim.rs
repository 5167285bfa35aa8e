//! Interim responses: `100 Continue` end to end, `103 Early Hints` passed on, and who gets none.

use std::time::Duration;

use crate::wire::{Setup, Upstream, both, get, ok};

const EXPECTING: &str = "POST / HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";

#[test]
fn expect_100_continue_works_end_to_end() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let mut client = proxy.client();
        client.send(EXPECTING);
        let mut end = upstream.accept();
        let head = end.head();
        assert_eq!(head.get("expect"), Some("100-continue"));
        assert_eq!(head.get("content-length"), Some("5"));
        // The upstream decides: until it does, the client hears nothing.
        client.expect_quiet(Duration::from_millis(50));
        end.send("HTTP/1.1 100 Continue\r\n\r\n");
        assert_eq!(client.head().status(), 100);
        client.send("hello");
        assert_eq!(end.read_exact(5), b"hello");
        end.send(ok("thanks"));
        assert_eq!(client.response().text(), "thanks");
        client.send(get("/next"));
        assert_eq!(end.request().head.line, "GET /next HTTP/1.1", "both connections go on");
        end.send(ok("x"));
        client.response();
        proxy.expect_no_faults();
    });
}

#[test]
fn an_expectation_may_be_refused_without_reading_the_body() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let mut client = proxy.client();
        client.send(EXPECTING);
        let mut end = upstream.accept();
        end.head();
        end.send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno");
        let response = client.response();
        assert_eq!((response.status(), response.text()), (401, "no"));
        // Whether the body still comes is not known: neither connection can go on.
        assert_eq!(response.get("connection"), Some("close"));
        end.expect_closed();
        client.expect_closed();
    });
}

#[test]
fn a_client_that_does_not_wait_for_100_is_served() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let mut client = proxy.client();
        client.send(format!("{EXPECTING}hello"));
        let mut end = upstream.accept();
        assert_eq!(end.request().text(), "hello");
        end.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx");
        assert_eq!(client.head().status(), 100);
        assert_eq!(client.response().text(), "x");
        proxy.expect_no_faults();
    });
}

#[test]
fn other_expectations_fail() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let mut client = proxy.client();
        client.send("POST / HTTP/1.1\r\nHost: test\r\nExpect: tea\r\nContent-Length: 5\r\n\r\n");
        assert_eq!(client.response().status(), 417);
        upstream.expect_no_connection();
        proxy.expect_faults("expectation_unsupported", 1);
    });
}

#[test]
fn early_hints_are_passed_on_at_once() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let mut client = proxy.client();
        client.send(get("/"));
        let mut end = upstream.accept();
        end.request();
        end.send(
            "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nLink: </b.css>\r\nConnection: x\r\nX: y\r\n\r\n",
        );
        let hints = client.head();
        assert_eq!(hints.line, "HTTP/1.1 103 Early Hints");
        assert_eq!(hints.all("link"), ["</a.css>", "</b.css>"]);
        assert_eq!((hints.get("connection"), hints.get("x")), (None, None));
        end.send("HTTP/1.1 103 Early Hints\r\nLink: </c.css>\r\n\r\n");
        assert_eq!(client.head().get("link"), Some("</c.css>"));
        end.send(ok("x"));
        assert_eq!(client.response().text(), "x");
        client.send(get("/next"));
        assert_eq!(end.request().head.line, "GET /next HTTP/1.1");
    });
}

#[test]
fn http_1_0_clients_get_no_interim_responses() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let mut client = proxy.client();
        client.send("GET / HTTP/1.0\r\n\r\n");
        let mut end = upstream.accept();
        end.request();
        end.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n");
        client.expect_quiet(Duration::from_millis(50));
        end.send(ok("x"));
        assert_eq!(client.response().text(), "x");
        proxy.expect_no_faults();
    });
}

#[test]
fn an_upstream_that_fails_after_an_interim_response_is_still_answered_for() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let mut client = proxy.client();
        client.send(get("/"));
        let mut end = upstream.accept();
        end.request();
        end.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
        assert_eq!(client.head().line, "HTTP/1.1 103 Early Hints");
        drop(end);
        assert_eq!(client.response().status(), 503);
        proxy.expect_faults("upstream_closed", 1);
    });
}

#[test]
fn interim_responses_without_end_are_an_error() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let mut client = proxy.client();
        client.send("GET / HTTP/1.0\r\n\r\n");
        let mut end = upstream.accept();
        end.request();
        end.send("HTTP/1.1 102 Processing\r\n\r\n".repeat(33));
        assert_eq!(client.response().status(), 502);
        end.expect_gone();
        proxy.expect_faults("upstream_malformed", 1);
    });
}

#[test]
fn switching_protocols_that_nobody_asked_for_is_an_error() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let mut client = proxy.client();
        client.send(get("/"));
        let mut end = upstream.accept();
        end.request();
        end.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n");
        assert_eq!(client.response().status(), 502);
        end.expect_gone();
        proxy.expect_faults("upstream_malformed", 1);
    });
}
