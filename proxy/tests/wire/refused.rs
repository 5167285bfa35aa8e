//! Messages that two readers could read differently, or nobody at all: refused with the right status, and
//! not a byte of them reaches the upstream.

use std::time::Duration;

use crate::wire::{Link, Proxy, Setup, Upstream, both, get, ok, text};

/// Each on a connection of its own; the answers' status, and nothing reaches the upstream.
fn refused(proxy: &Proxy, upstream: &Upstream, cases: &[(&str, Vec<u8>, u16)]) {
    for (what, request, status) in cases {
        let mut client = proxy.client();
        // The answer may come, and the connection end, before all of it is sent.
        let _ = client.try_send(request);
        let response = client.response();
        assert_eq!(response.status(), *status, "{what}: {:?}", text(request));
        assert_eq!(response.get("connection"), Some("close"), "{what}");
        client.expect_gone();
    }
    upstream.expect_no_connection();
    assert_eq!(upstream.received(), 0);
}

fn cases<'a>(table: &[(&'a str, &str, u16)]) -> Vec<(&'a str, Vec<u8>, u16)> {
    table.iter().map(|(what, request, status)| (*what, request.as_bytes().to_vec(), *status)).collect()
}

#[test]
fn ambiguous_framing() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let mut table = vec![];
        let framings = [
            ("both lengths", "Content-Length: 4\r\nTransfer-Encoding: chunked", 400),
            ("both, the other way", "Transfer-Encoding: chunked\r\nContent-Length: 0", 400),
            ("two lengths", "Content-Length: 4\r\nContent-Length: 5", 400),
            ("two equal lengths", "Content-Length: 4\r\nContent-Length: 4", 400),
            ("a list of lengths", "Content-Length: 4, 4", 400),
            ("a signed length", "Content-Length: +4", 400),
            ("a negative length", "Content-Length: -4", 400),
            ("a hexadecimal length", "Content-Length: 0x4", 400),
            ("a length with a space", "Content-Length: 4 4", 400),
            ("an empty length", "Content-Length: ", 400),
            ("a length of 2^63", "Content-Length: 9223372036854775808", 400),
            ("a length of 2^64", "Content-Length: 18446744073709551616", 400),
            ("two codings", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 400),
            ("chunked twice", "Transfer-Encoding: chunked, chunked", 400),
            ("an unknown coding", "Transfer-Encoding: gzip", 501),
            ("a coding before chunked", "Transfer-Encoding: gzip, chunked", 501),
            ("chunked not last", "Transfer-Encoding: chunked, gzip", 400),
            ("identity", "Transfer-Encoding: identity", 501),
            ("a look-alike coding", "Transfer-Encoding: xchunked", 501),
            ("a quoted coding", "Transfer-Encoding: \"chunked\"", 400),
            ("a coding with a control byte", "Transfer-Encoding: \x0bchunked", 400),
            ("an empty coding", "Transfer-Encoding: ", 400),
            ("a space before the colon", "Transfer-Encoding : chunked", 400),
            ("a tab before the colon", "Content-Length\t: 4", 400),
            ("a folded coding", "Transfer-Encoding:\r\n chunked", 400),
            ("a folded line", "X: y\r\n Transfer-Encoding: chunked", 400),
            ("underscores", "Transfer_Encoding: chunked", 400),
            ("underscores in a length", "Content_Length: 4", 400),
            ("a dotted name", "Content.Length: 4", 400),
            ("no hyphen", "TransferEncoding: chunked", 400),
        ];
        for (what, fields, status) in framings {
            let request = format!("POST / HTTP/1.1\r\nHost: test\r\n{fields}\r\n\r\n4\r\nhell\r\n0\r\n\r\n");
            table.push((what, request.into_bytes(), status));
        }
        refused(&proxy, &upstream, &table);
        proxy.expect_faults("coding_unsupported", 4);
        proxy.expect_faults("bad_request", table.len() as u64 - 4);
    });
}

#[test]
fn malformed_lines() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let table = cases(&[
            ("a bare LF after the request line", "GET / HTTP/1.1\nHost: test\r\n\r\n", 400),
            ("a bare LF after a field", "GET / HTTP/1.1\r\nHost: test\nX: y\r\n\r\n", 400),
            ("bare LFs only", "GET / HTTP/1.1\nHost: test\n\n", 400),
            ("a bare LF at the end", "GET / HTTP/1.1\r\nHost: test\r\n\n", 400),
            ("a bare CR in a value", "GET / HTTP/1.1\r\nHost: test\r\nX: a\rb\r\n\r\n", 400),
            ("a bare CR before a name", "GET / HTTP/1.1\r\nHost: test\r\n\rX: a\r\n\r\n", 400),
            ("a NUL in a value", "GET / HTTP/1.1\r\nHost: test\r\nX: a\0b\r\n\r\n", 400),
            ("a NUL in a name", "GET / HTTP/1.1\r\nHost: test\r\nX\0: a\r\n\r\n", 400),
            ("a NUL in the target", "GET /\0 HTTP/1.1\r\nHost: test\r\n\r\n", 400),
            ("a control byte in a value", "GET / HTTP/1.1\r\nHost: test\r\nX: a\x01b\r\n\r\n", 400),
            ("DEL in a value", "GET / HTTP/1.1\r\nHost: test\r\nX: a\x7fb\r\n\r\n", 400),
            ("an empty name", "GET / HTTP/1.1\r\nHost: test\r\n: a\r\n\r\n", 400),
            ("no colon", "GET / HTTP/1.1\r\nHost: test\r\nnothing\r\n\r\n", 400),
            ("a space in a name", "GET / HTTP/1.1\r\nHost: test\r\nX Y: a\r\n\r\n", 400),
            ("a leading space", "GET / HTTP/1.1\r\n Host: test\r\n\r\n", 400),
            ("a folded value", "GET / HTTP/1.1\r\nHost: test\r\nX: a\r\n b\r\n\r\n", 400),
            ("no version", "GET /\r\nHost: test\r\n\r\n", 400),
            ("an old simple request", "GET /\r\n\r\n", 400),
            ("two spaces", "GET  / HTTP/1.1\r\nHost: test\r\n\r\n", 400),
            ("a space at the end", "GET / HTTP/1.1 \r\nHost: test\r\n\r\n", 400),
            ("a word too many", "GET / x HTTP/1.1\r\nHost: test\r\n\r\n", 400),
            ("lower case", "GET / http/1.1\r\nHost: test\r\n\r\n", 400),
            ("a method that is no token", "G(T / HTTP/1.1\r\nHost: test\r\n\r\n", 400),
            ("TLS", "\x16\x03\x01\x02\0\x01\0\x01\x7c\x03\x03", 400),
            ("many empty lines", "\r\n\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: test\r\n\r\n", 400),
            ("an empty bare LF line", "\nGET / HTTP/1.1\r\nHost: test\r\n\r\n", 400),
            ("HTTP/2 in a request line", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
            ("HTTP/1.2", "GET / HTTP/1.2\r\nHost: test\r\n\r\n", 505),
            ("HTTP/0.9", "GET / HTTP/0.9\r\n\r\n", 505),
            ("HTTP/11", "GET / HTTP/11\r\nHost: test\r\n\r\n", 400),
        ]);
        refused(&proxy, &upstream, &table);
        proxy.expect_faults("version_unsupported", 3);
        proxy.expect_faults("bad_request", table.len() as u64 - 3);
    });
}

#[test]
fn targets_and_hosts() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let table = cases(&[
            ("no Host", "GET / HTTP/1.1\r\n\r\n", 400),
            ("two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
            ("two equal Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
            ("two Hosts in HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
            ("a list of hosts", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
            ("a host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
            ("userinfo", "GET / HTTP/1.1\r\nHost: user@a\r\n\r\n", 400),
            ("a space in the host", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
            ("a bad port", "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400),
            ("a look-alike host", "GET / HTTP/1.1\r\nHost: a\r\nHost_: b\r\n\r\n", 400),
            ("a fragment", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("no slash", "GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("asterisk with GET", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("userinfo in the target", "GET http://user@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("no authority in the target", "GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("bytes beyond ASCII", "GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("an encoded slash", "GET /a%2Fb HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("an encoded backslash", "GET /a%5cb HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("a backslash", "GET /a\\..\\b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("an encoded NUL", "GET /a%00b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("a broken escape", "GET /a%2 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("no hexadecimal escape", "GET /a%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 501),
            ("CONNECT without a port", "CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("CONNECT with a path", "CONNECT /a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("TRACE with a body", "TRACE / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", 400),
        ]);
        let mut keeping = vec![];
        for (what, request, status) in table {
            // A path that is refused was framed well, so its connection could go on; only the answer counts.
            let mut client = proxy.client();
            client.send(&request);
            assert_eq!(client.response().status(), status, "{what}");
            keeping.push(client);
        }
        upstream.expect_no_connection();
        assert_eq!(upstream.received(), 0);
        proxy.expect_faults("method_unsupported", 1);
        proxy.expect_faults("bad_request", keeping.len() as u64 - 1);
    });
}

#[test]
fn too_large() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver)
            .listener("limits.uri_bytes = \"1KiB\"\nlimits.header_bytes = \"8KiB\"")
            .start(&[&upstream]);
        let long = "a".repeat(1024);
        let large = "a".repeat(9000);
        let many: String = (0..129).map(|n| format!("X-{n}: y\r\n")).collect();
        let table = [
            ("a long target", format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 414),
            ("a long query", format!("GET /?{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 414),
            ("an endless target", format!("GET /{large}"), 414),
            ("a long value", format!("GET / HTTP/1.1\r\nHost: a\r\nX: {large}\r\n\r\n"), 431),
            ("an endless value", format!("GET / HTTP/1.1\r\nHost: a\r\nX: {large}"), 431),
            ("a long name", format!("GET / HTTP/1.1\r\nHost: a\r\n{large}: x\r\n\r\n"), 431),
            ("an endless name", format!("GET / HTTP/1.1\r\nHost: a\r\n{large}"), 431),
            ("many fields", format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"), 431),
        ];
        let table: Vec<_> = table.map(|(what, request, status)| (what, request.into_bytes(), status)).into();
        refused(&proxy, &upstream, &table);
        proxy.expect_faults("uri_too_long", 3);
        proxy.expect_faults("head_too_large", 5);

        // And the largest that are allowed are served.
        let served = [
            format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(1023)),
            format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(8000)),
            format!(
                "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
                (0..127).map(|n| format!("X-{n}: y\r\n")).collect::<String>()
            ),
        ];
        let mut client = proxy.client();
        let mut end: Option<Link> = None;
        for request in served {
            client.send(request);
            let end = end.get_or_insert_with(|| upstream.accept());
            end.request();
            end.send(ok("x"));
            assert_eq!(client.response().status(), 200);
        }
    });
}

#[test]
fn a_head_of_the_largest_size_goes_through_both_ways() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).listener("limits.header_bytes = \"60KiB\"").start(&[&upstream]);
        let mut client = proxy.client();
        let value = "v".repeat(58 * 1024);
        client
            .send_pieces(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {value}\r\n\r\n").as_bytes().chunks(9_999));
        let mut end = upstream.accept();
        assert_eq!(end.request().get("x"), Some(&*value));
        end.send_pieces(
            format!("HTTP/1.1 200 OK\r\nX: {value}\r\nContent-Length: 1\r\n\r\nx").as_bytes().chunks(9_999),
        );
        assert_eq!(client.response().get("x"), Some(&*value));
        proxy.expect_no_faults();
    });
}

#[test]
fn a_refused_request_ends_what_was_pipelined_behind_it() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let mut client = proxy.client();
        client.send(get("/good") + "GET /bad HTTP/1.1\r\n\r\n" + &get("/smuggled"));
        let mut end = upstream.accept();
        assert_eq!(end.request().head.line, "GET /good HTTP/1.1");
        end.send(ok("x"));
        assert_eq!(client.response().status(), 200);
        assert_eq!(client.response().status(), 400);
        client.expect_gone();
        end.expect_quiet(Duration::from_millis(50));
        upstream.expect_no_connection();
    });
}

#[test]
fn a_refused_head_is_answered_and_logged_for_itself_alone() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let mut client = proxy.client();
        client.send("HEAD /%7e HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut end = upstream.accept();
        assert_eq!(end.request().head.line, "HEAD /~ HTTP/1.1");
        end.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
        assert_eq!(client.head().get("content-length"), Some("5"));
        // Not a HEAD request any more: the answer has its body.
        client.send("BAD\r\n\r\n");
        assert_eq!(client.response().text(), "malformed request");
        client.expect_gone();
    });
}

const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

#[test]
fn broken_chunks_that_came_with_the_head_reach_nobody() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let mut table = vec![];
        for body in [
            "g\r\nhello\r\n0\r\n\r\n",
            "-1\r\n",
            "0x5\r\nhello\r\n0\r\n\r\n",
            " 5\r\nhello\r\n0\r\n\r\n",
            "5 \r\nhello\r\n0\r\n\r\n",
            "\r\n5\r\nhello\r\n0\r\n\r\n",
            "5\nhello\n0\n\n",
            "5\rhello\r\n0\r\n\r\n",
            "5\r\nhelloX\r\n0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5\r\nhello0\r\n\r\n",
            "10000000000000000\r\n",
            "8000000000000000\r\n",
            "ffffffffffffffffffff\r\n",
            "5;a=\"\x01\"\r\nhello\r\n0\r\n\r\n",
            "5;a\nb\r\nhello\r\n0\r\n\r\n",
            ";a=b\r\n",
            "0\r\nno field\r\n\r\n",
            "0\r\nX : y\r\n\r\n",
            "0\r\nX: y\n\r\n\r\n",
            "0\r\n folded: y\r\n\r\n",
            "0\r\nX: a\0\r\n\r\n",
        ] {
            table.push(("a chunked body", format!("{CHUNKED}{body}").into_bytes(), 400));
        }
        refused(&proxy, &upstream, &table);
        let long = format!("{CHUNKED}5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(2000));
        refused(&proxy, &upstream, &[("a long extension", long.into_bytes(), 400)]);
        let trailers = format!("{CHUNKED}0\r\nX: {}\r\n\r\n", "x".repeat(9000));
        refused(&proxy, &upstream, &[("long trailers", trailers.into_bytes(), 431)]);
        proxy.expect_faults("bad_body", table.len() as u64 + 1);
        proxy.expect_faults("trailers_too_large", 1);
    });
}

#[test]
fn chunks_that_break_later_end_both_connections() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let mut client = proxy.client();
        client.send(format!("{CHUNKED}5\r\nhello\r\n"));
        let mut end = upstream.accept();
        end.head();
        assert_eq!(end.read_until(b"hello\r\n"), b"5\r\nhello\r\n");
        client.send("zz\r\n");
        assert_eq!(client.response().status(), 400);
        client.expect_gone();
        // The upstream sees a body that never ends, not one that ended here.
        let (rest, _) = end.read_to_end();
        assert_eq!(text(&rest), "");
        proxy.expect_faults("bad_body", 1);
    });
}

#[test]
fn malformed_responses_are_502() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let mut client = proxy.client();
        let responses = [
            "nonsense\r\n\r\n",
            "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
            "HTTP/1.1 99 Low\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n",
            "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
            "\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX: a\0\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent_Length: 4\r\n\r\nhell",
            "HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nhell",
            "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ];
        for response in responses {
            client.send(get("/"));
            let mut end = upstream.accept();
            end.request();
            end.send(response);
            let answer = client.response();
            assert_eq!(answer.status(), 502, "{response:?}");
            // It is not the client's fault: its connection goes on, the upstream's does not.
            assert_eq!(answer.get("connection"), None, "{response:?}");
            end.expect_gone();
        }
        proxy.expect_faults("upstream_malformed", responses.len() as u64);

        client.send(get("/"));
        let mut end = upstream.accept();
        end.request();
        let _ = end.try_send(format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(70_000)).as_bytes());
        assert_eq!(client.response().status(), 502);
        proxy.expect_faults("upstream_head_too_large", 1);
    });
}

#[test]
fn a_response_body_that_breaks_ends_the_client() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let mut client = proxy.client();
        client.send(get("/"));
        let mut end = upstream.accept();
        end.request();
        end.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
        client.read_until(b"hello\r\n");
        end.send("zz\r\nevil\r\n0\r\n\r\n");
        assert_eq!(client.read_to_end().0, b"");
        end.expect_gone();
        proxy.expect_faults("upstream_bad_body", 1);
    });
}
