//! What of a head goes through: hop-by-hop fields, forms of the target, forwarded fields, edits.

use crate::wire::{Head, Setup, Upstream, both, get, ok};

/// Sends one request; what the upstream got, after a plain answer.
fn through(setup: Setup, request: &str) -> Head {
    let upstream = Upstream::start();
    let proxy = setup.start(&[&upstream]);
    let mut client = proxy.client();
    client.send(request);
    let mut end = upstream.accept();
    let got = end.request();
    end.send(ok("x"));
    assert_eq!(client.response().status(), 200);
    proxy.expect_no_faults();
    got.head
}

/// Sends one request answered with `response`; what the client got.
fn back(setup: Setup, response: &str) -> Head {
    let upstream = Upstream::start();
    let proxy = setup.start(&[&upstream]);
    let mut client = proxy.client();
    client.send(get("/"));
    let mut end = upstream.accept();
    end.request();
    end.send(response);
    let got = client.response();
    proxy.expect_no_faults();
    got.head
}

fn names(head: &Head) -> Vec<&str> {
    head.fields.iter().map(|(name, _)| name.as_str()).collect()
}

const OWN: &[&str] = &["x-forwarded-for", "x-forwarded-proto"];

#[test]
fn end_to_end_fields_of_a_request_stay_as_they_are() {
    both(|driver| {
        let head = through(
            Setup::on(driver),
            "GET /a/b?c=d&e=%20 HTTP/1.1\r\nHost: test:80\r\naccept: */*\r\nCookie: a=b; c=d\r\n\
             Cookie: e=f\r\nX-Empty:\r\nX-Wide:   spaces \t \r\nX-Bytes: \u{e9}\r\n\r\n",
        );
        assert_eq!(head.line, "GET /a/b?c=d&e=%20 HTTP/1.1");
        assert_eq!(head.get("host"), Some("test:80"));
        assert_eq!(head.all("cookie"), ["a=b; c=d", "e=f"]);
        assert_eq!(head.get("x-empty"), Some(""));
        assert_eq!(head.get("x-wide"), Some("spaces"));
        assert_eq!(head.get("x-bytes"), Some("\u{e9}"));
        let mut expected = vec!["host", "accept", "cookie", "cookie", "x-empty", "x-wide", "x-bytes"];
        expected.extend(OWN);
        assert_eq!(names(&head), expected);
    });
}

#[test]
fn hop_by_hop_fields_of_a_request_end_here() {
    both(|driver| {
        let head = through(
            Setup::on(driver),
            "GET / HTTP/1.1\r\nHost: test\r\nConnection: keep-alive, X-Secret , x-other\r\n\
             Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: trailers\r\nUpgrade: h2c\r\n\
             X-Secret: a\r\nX-OTHER: b\r\nX-Kept: c\r\nProxy-Authorization: d\r\n\r\n",
        );
        for gone in ["connection", "keep-alive", "proxy-connection", "te", "upgrade", "x-secret", "x-other"] {
            assert_eq!(head.get(gone), None, "{gone} in {head:?}");
        }
        assert_eq!(head.get("x-kept"), Some("c"));
    });
}

#[test]
fn connection_cannot_take_away_what_the_proxy_says() {
    both(|driver| {
        let head = through(
            Setup::on(driver),
            "POST / HTTP/1.1\r\nHost: test\r\nConnection: X-Forwarded-For, X-Forwarded-Proto\r\n\
             X-Forwarded-For: 1.2.3.4\r\nContent-Length: 1\r\n\r\nx",
        );
        assert!(head.get("x-forwarded-for").is_some_and(|value| value.starts_with("127.")), "{head:?}");
        assert_eq!(head.get("x-forwarded-proto"), Some("http"));
        assert_eq!(head.get("content-length"), Some("1"));
    });
}

#[test]
fn hop_by_hop_fields_of_a_response_end_here() {
    both(|driver| {
        let head = back(
            Setup::on(driver),
            "HTTP/1.1 200 Fine\r\nServer: s\r\nConnection: X-Secret\r\nKeep-Alive: timeout=5\r\n\
             Proxy-Connection: x\r\nX-Secret: a\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\n\
             Content-Length: 1\r\n\r\nx",
        );
        assert_eq!(head.line, "HTTP/1.1 200 Fine");
        assert_eq!(names(&head), ["server", "set-cookie", "set-cookie", "content-length"]);
        assert_eq!(head.all("set-cookie"), ["a=b", "c=d"]);
    });
}

#[test]
fn absolute_form_becomes_origin_form() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let mut client = proxy.client();
        client.send("GET http://one.test:8080/a?b HTTP/1.1\r\nHost: one.test:8080\r\n\r\n");
        let mut end = upstream.accept();
        let cases = [
            ("GET /a?b HTTP/1.1", "one.test:8080", "GET http://two.test HTTP/1.1\r\nHost: liar.test\r\n\r\n"),
            ("GET / HTTP/1.1", "two.test", "OPTIONS http://three.test HTTP/1.1\r\nHost: three.test\r\n\r\n"),
            (
                "OPTIONS * HTTP/1.1",
                "three.test",
                "GET HTTP://Four.test?q HTTP/1.1\r\nHost: four.test\r\n\r\n",
            ),
            ("GET /?q HTTP/1.1", "Four.test", ""),
        ];
        for (line, host, next) in cases {
            let request = end.request();
            assert_eq!((&*request.head.line, request.get("host")), (line, Some(host)));
            end.send(ok("x"));
            assert_eq!(client.response().status(), 200);
            client.send(next);
        }
        proxy.expect_no_faults();
    });
}

#[test]
fn asterisk_form_goes_through_with_options_only() {
    both(|driver| {
        let head = through(Setup::on(driver), "OPTIONS * HTTP/1.1\r\nHost: test\r\n\r\n");
        assert_eq!(head.line, "OPTIONS * HTTP/1.1");
    });
}

#[test]
fn a_path_has_one_form() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let mut client = proxy.client();
        client.send(get("/"));
        let mut end = upstream.accept();
        for (sent, forwarded) in [
            ("/a/./b", "/a/b"),
            ("/a/../b?x=/../y", "/b?x=/../y"),
            ("/../../etc", "/etc"),
            ("//a///b/", "/a/b/"),
            ("/%61%7e/%2e%2E/c", "/c"),
            ("/%c3%a9", "/%C3%A9"),
        ] {
            end.request();
            end.send(ok("x"));
            client.response();
            client.send(get(sent));
            let request = end.request();
            assert_eq!(request.head.line, format!("GET {forwarded} HTTP/1.1"), "{sent}");
            end.send(ok("x"));
            client.response();
            client.send(get("/"));
        }
        end.request();
    });
}

const CLAIMS: &str = "GET / HTTP/1.1\r\nHost: test\r\nX-Forwarded-For: 1.2.3.4\r\n\
     X-Forwarded-For: 5.6.7.8, 9.9.9.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: liar\r\n\
     Forwarded: for=1.2.3.4\r\nX-Request-Id: mine\r\n\r\n";

#[test]
fn forwarded_fields_of_a_stranger_are_replaced() {
    both(|driver| {
        let head = through(Setup::on(driver), CLAIMS);
        let peer = crate::wire::own_ip().to_string();
        // The client connects from whatever loopback address the kernel chose.
        let seen = head.get("x-forwarded-for").expect("it is told");
        assert!(seen == peer || seen == "127.0.0.1", "{seen}");
        assert_eq!(head.get("x-forwarded-proto"), Some("http"));
        assert_eq!((head.get("x-forwarded-host"), head.get("forwarded")), (None, None));
    });
}

#[test]
fn forwarded_fields_of_a_trusted_peer_are_extended() {
    both(|driver| {
        let setup = Setup::on(driver).listener("forwarding.trusted_proxies = [\"127.0.0.0/8\"]");
        let head = through(setup, CLAIMS);
        let chain = head.get("x-forwarded-for").expect("it is told");
        assert!(chain.starts_with("1.2.3.4, 5.6.7.8, 9.9.9.9, 127."), "{chain}");
        assert_eq!(head.get("x-forwarded-proto"), Some("https"));
        assert_eq!(head.get("x-forwarded-host"), Some("liar"));
        assert_eq!(head.get("forwarded"), Some("for=1.2.3.4"));
        assert_eq!(head.get("x-request-id"), Some("mine"));
    });
}

#[test]
fn a_peer_outside_the_trusted_networks_is_a_stranger() {
    both(|driver| {
        let setup = Setup::on(driver).listener("forwarding.trusted_proxies = [\"10.0.0.0/8\", \"::1\"]");
        let head = through(setup, CLAIMS);
        assert!(head.get("x-forwarded-for").is_some_and(|chain| !chain.contains("1.2.3.4")));
        assert_eq!(head.get("x-forwarded-proto"), Some("http"));
    });
}

#[test]
fn more_is_said_about_the_client_where_wanted() {
    both(|driver| {
        let setup = Setup::on(driver).listener(
            "forwarding = { x_forwarded_host = true, forwarded = true, via = true, request_id = true }",
        );
        let head = through(setup, CLAIMS);
        assert_eq!(head.get("x-forwarded-host"), Some("test"));
        let forwarded = head.get("forwarded").expect("wanted");
        assert!(forwarded.starts_with("for=127.") && forwarded.contains("host=\"test\""), "{forwarded}");
        assert_eq!(head.get("via"), Some("1.1 pinion"));
        let id = head.get("x-request-id").expect("wanted");
        assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    });
}

#[test]
fn edits_change_what_the_upstream_gets() {
    both(|driver| {
        let setup = Setup::on(driver).route(
            "[routes.request_headers]\nset = { host = \"inner.test\", x-set = \"new\" }\n\
             add = { x-add = [\"one\", \"two\"] }\nremove = [\"x-gone\", \"x-forwarded-proto\"]",
        );
        let head = through(
            setup,
            "GET / HTTP/1.1\r\nHost: test\r\nX-Set: old\r\nx-set: older\r\nX-Add: zero\r\nX-GONE: a\r\n\r\n",
        );
        assert_eq!(head.get("host"), Some("inner.test"));
        assert_eq!(head.get("x-set"), Some("new"));
        assert_eq!(head.all("x-add"), ["zero", "one", "two"]);
        assert_eq!((head.get("x-gone"), head.get("x-forwarded-proto")), (None, None));
    });
}

#[test]
fn edits_change_what_the_client_gets() {
    both(|driver| {
        let setup = Setup::on(driver).route(
            "[routes.response_headers]\nset = { server = \"mine\" }\nadd = { vary = \"x\" }\n\
             remove = [\"x-powered-by\"]",
        );
        let head = back(
            setup,
            "HTTP/1.1 200 OK\r\nServer: theirs\r\nX-Powered-By: y\r\nVary: z\r\nContent-Length: 1\r\n\r\nx",
        );
        assert_eq!(head.get("server"), Some("mine"));
        assert_eq!(head.all("vary"), ["z", "x"]);
        assert_eq!(head.get("x-powered-by"), None);
    });
}
