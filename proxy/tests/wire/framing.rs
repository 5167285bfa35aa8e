//! Where messages begin and end: pipelining, lengths, chunks, trailers, bodies without a length, and what
//! HTTP/1.0 makes of them.

use std::time::Duration;

use crate::wire::{Ended, MOMENT, Setup, Upstream, both, get, noise, ok};

/// Requests of several kinds in one string, and the line and body of each.
fn mixed() -> (String, Vec<(String, &'static str)>) {
    let mut all = String::new();
    let mut expected = vec![];
    for turn in 0..4 {
        all += &format!("GET /a{turn}?q={turn} HTTP/1.1\r\nHost: test\r\nX-Turn: {turn}\r\n\r\n");
        expected.push((format!("GET /a{turn}?q={turn} HTTP/1.1"), ""));
        all += &format!("POST /b{turn} HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello");
        expected.push((format!("POST /b{turn} HTTP/1.1"), "hello"));
        all += &format!(
            "\r\nPUT /c{turn} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n\
             3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"
        );
        expected.push((format!("PUT /c{turn} HTTP/1.1"), "abcdefg"));
    }
    (all, expected)
}

/// Answers with what it got: the request line and the body.
fn echo() -> Upstream {
    Upstream::serve(|request| {
        let body = String::from_utf8(request.body.clone()).expect("text");
        ok(&format!("{}|{body}", request.head.line))
    })
}

fn expect_echoes(client: &mut crate::wire::Link, expected: &[(String, &str)]) {
    for (line, body) in expected {
        let response = client.response();
        assert_eq!((response.status(), response.text()), (200, &*format!("{line}|{body}")));
    }
}

#[test]
fn pipelined_requests_in_one_segment_are_answered_in_order() {
    both(|driver| {
        let upstream = echo();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let mut client = proxy.client();
        let (all, expected) = mixed();
        client.send(all.repeat(3));
        for _ in 0..3 {
            expect_echoes(&mut client, &expected);
        }
        proxy.expect_metric("pinion_requests_total", &[], 36.0);
        proxy.expect_no_faults();
    });
}

#[test]
fn many_small_pipelined_requests_fill_more_than_a_buffer() {
    both(|driver| {
        let upstream = echo();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let mut client = proxy.client();
        let count = 1_000;
        client.send((0..count).map(|turn| get(&format!("/{turn}"))).collect::<String>());
        for turn in 0..count {
            assert_eq!(client.response().text(), format!("GET /{turn} HTTP/1.1|"));
        }
        proxy.expect_no_faults();
    });
}

#[test]
fn pipelined_requests_split_at_every_byte_mean_the_same() {
    both(|driver| {
        let upstream = echo();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let mut client = proxy.client();
        let (all, expected) = mixed();
        let one = all.len() / 4;
        for split in 1..one {
            client.send_pieces([&all.as_bytes()[..split], &all.as_bytes()[split..one]]);
            expect_echoes(&mut client, &expected[..3]);
        }
        proxy.expect_no_faults();
    });
}

#[test]
fn every_byte_in_a_segment_of_its_own() {
    both(|driver| {
        let upstream = echo();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let mut client = proxy.client();
        let (all, expected) = mixed();
        client.send_pieces(all.as_bytes().chunks(1));
        expect_echoes(&mut client, &expected);
        proxy.expect_no_faults();
    });
}

#[test]
fn a_response_split_at_every_byte_means_the_same() {
    let responses = [
        "HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nDigest: d\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    ];
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let mut client = proxy.client();
        client.send(get("/"));
        let mut end = upstream.accept();
        for response in responses {
            let bytes = response.as_bytes();
            for split in 1..bytes.len() {
                end.request();
                end.send_pieces([&bytes[..split], &bytes[split..]]);
                if response.contains("103") {
                    assert_eq!(client.head().status(), 103);
                }
                let got = client.response();
                assert_eq!((got.status(), got.text()), (200, "hello"), "split at {split}");
                client.send(get("/"));
            }
        }
        end.request();
        proxy.expect_metric("pinion_cluster_connects_total", &[], 1.0);
        assert_eq!(proxy.metric("pinion_faults_total", &[]), 0.0);
    });
}

#[test]
fn chunked_requests_keep_content_and_trailers() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let mut client = proxy.client();
        client.send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\nTrailer: Digest\r\n\r\n");
        let mut end = upstream.accept();
        let head = end.head();
        assert_eq!(head.get("transfer-encoding"), Some("chunked"));
        assert_eq!(head.get("content-length"), None);
        assert_eq!(head.get("trailer"), Some("Digest"));
        client.send("0005;ext=\"a;b\"\r\nhello\r\n");
        // Extensions end here, and sizes have one form.
        assert_eq!(end.read_until(b"\r\n"), b"5\r\n");
        assert_eq!(end.read_exact(7), b"hello\r\n");
        client.send("1\r\n!\r\n0\r\nDigest: abc\r\nContent-Length: 9\r\nAuthorization: no\r\n\r\n");
        let (rest, trailers) = end.chunked();
        assert_eq!(rest, b"!");
        // What would change framing or rights is no trailer (RFC 9110 section 6.5.1).
        assert_eq!(trailers, [("digest".to_owned(), "abc".to_owned())]);
        end.send(ok("x"));
        assert_eq!(client.response().status(), 200);
        client.send(get("/next"));
        assert_eq!(end.request().head.line, "GET /next HTTP/1.1", "both connections go on");
    });
}

#[test]
fn chunked_responses_keep_content_and_trailers() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let mut client = proxy.client();
        client.send(get("/"));
        let mut end = upstream.accept();
        end.request();
        end.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nTrailer: Digest\r\n\r\n");
        let head = client.head();
        assert_eq!(head.get("transfer-encoding"), Some("chunked"));
        assert_eq!(head.get("content-length"), None);
        for piece in ["one", "two", "three"] {
            end.send(format!("{:x};a=b\r\n{piece}\r\n", piece.len()));
            assert_eq!(client.read_until(b"\r\n"), format!("{:x}\r\n", piece.len()).as_bytes());
            assert_eq!(client.read_exact(piece.len() + 2), format!("{piece}\r\n").as_bytes());
        }
        end.send("000\r\nDigest: abc\r\nSet-Cookie: no\r\n\r\n");
        assert_eq!(client.chunked(), (vec![], vec![("digest".to_owned(), "abc".to_owned())]));
        client.send(get("/next"));
        assert_eq!(end.request().head.line, "GET /next HTTP/1.1");
    });
}

#[test]
fn responses_without_a_body_have_none() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let mut client = proxy.client();
        client.send("HEAD /0 HTTP/1.1\r\nHost: test\r\n\r\n");
        let mut end = upstream.accept();
        let cases = [
            ("HEAD", "200 OK\r\nContent-Length: 1000", Some("1000")),
            ("HEAD", "200 OK\r\nTransfer-Encoding: chunked", None),
            ("HEAD", "200 OK", None),
            ("HEAD", "404 Not Found\r\nContent-Length: 3", Some("3")),
            ("GET", "204 No Content", None),
            ("GET", "304 Not Modified\r\nContent-Length: 77\r\nETag: \"a\"", Some("77")),
            ("GET", "304 Not Modified", None),
            ("GET", "200 OK\r\nContent-Length: 0", Some("0")),
        ];
        for (turn, (_, response, length)) in cases.iter().enumerate() {
            end.request();
            end.send(format!("HTTP/1.1 {response}\r\n\r\n"));
            let head = client.head();
            assert_eq!(head.line, format!("HTTP/1.1 {}", response.lines().next().unwrap()));
            assert_eq!(head.get("content-length"), *length, "{response}");
            assert_eq!(head.get("connection"), None, "{response}");
            // The next answer follows at once: nothing of a body came between.
            let method = cases.get(turn + 1).map_or("GET", |(method, ..)| method);
            client.send(format!("{method} /{} HTTP/1.1\r\nHost: test\r\n\r\n", turn + 1));
        }
        end.request();
        end.send(ok("x"));
        assert_eq!(client.response().text(), "x");
        proxy.expect_metric("pinion_cluster_connects_total", &[], 1.0);
        proxy.expect_no_faults();
    });
}

#[test]
fn a_response_until_close_is_chunked_for_http_1_1() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let mut client = proxy.client();
        for length in [0, 1, 40_000, 200_000] {
            client.send(get("/"));
            let mut end = upstream.accept();
            end.request();
            end.send("HTTP/1.1 200 OK\r\nContent-Type: a/b\r\n\r\n");
            let body = noise(length, 3);
            end.send(&body);
            drop(end);
            let response = client.response();
            assert_eq!(response.get("transfer-encoding"), Some("chunked"));
            assert_eq!(response.get("connection"), None);
            assert!(response.body == body, "{length} bytes");
        }
        proxy.expect_metric("pinion_listener_connections_total", &[], 1.0);
        proxy.expect_no_faults();
    });
}

#[test]
fn a_response_until_close_that_is_reset_is_not_complete() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let mut client = proxy.client();
        client.send(get("/"));
        let mut end = upstream.accept();
        end.request();
        end.send("HTTP/1.1 200 OK\r\n\r\nhalf");
        client.read_until(b"half");
        end.reset();
        let (rest, _) = client.read_to_end();
        assert!(!rest.ends_with(b"0\r\n\r\n"), "the client must see that it was cut");
        proxy.expect_faults("upstream_truncated", 1);
    });
}

#[test]
fn a_response_shorter_than_its_length_is_cut() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        for framing in ["Content-Length: 10\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\na\r\nhalf"] {
            let mut client = proxy.client();
            client.send(get("/"));
            let mut end = upstream.accept();
            end.request();
            end.send(format!("HTTP/1.1 200 OK\r\n{framing}"));
            client.read_until(b"half");
            drop(end);
            let (rest, _) = client.read_to_end();
            assert_eq!(rest, b"");
        }
        proxy.expect_faults("upstream_truncated", 2);
    });
}

#[test]
fn http_1_0_clients_get_chunked_responses_without_chunks() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        for keep_alive in ["", "Connection: keep-alive\r\n"] {
            let mut client = proxy.client();
            client.send(format!("GET / HTTP/1.0\r\nHost: test\r\n{keep_alive}\r\n"));
            let mut end = upstream.accept();
            assert_eq!(end.request().head.line, "GET / HTTP/1.1");
            end.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
            let head = client.head();
            assert_eq!((head.status(), head.get("transfer-encoding")), (200, None));
            assert_eq!((head.get("content-length"), head.get("connection")), (None, Some("close")));
            end.send("1\r\n!\r\n0\r\nDigest: x\r\n\r\n");
            assert_eq!(client.read_to_end(), (b"hello!".to_vec(), Ended::Closed));
            drop(end);
            proxy.expect_metric("pinion_cluster_connections_active", &[], 0.0);
        }
        proxy.expect_no_faults();
    });
}

#[test]
fn http_1_0_clients_see_a_cut_response_as_a_reset() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        for framing in ["Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "\r\nhello"] {
            let mut client = proxy.client();
            client.send("GET / HTTP/1.0\r\nHost: test\r\n\r\n");
            let mut end = upstream.accept();
            end.request();
            end.send(format!("HTTP/1.1 200 OK\r\n{framing}"));
            client.read_until(b"hello");
            // Without chunks, only a reset tells this client that there was more to come.
            end.reset();
            assert_eq!(client.read_to_end(), (vec![], Ended::Reset));
        }
        proxy.expect_faults("upstream_truncated", 2);
    });
}

#[test]
fn http_1_0_clients_that_keep_alive_are_kept() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let mut client = proxy.client();
        client.send("GET /0 HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n");
        let mut end = upstream.accept();
        for turn in 1..4 {
            let request = end.request();
            assert_eq!(request.get("connection"), None);
            assert_eq!(request.get("host"), Some(upstream.address()), "HTTP/1.1 needs a Host");
            end.send(ok("x"));
            let response = client.response();
            assert_eq!(response.head.line, "HTTP/1.1 200 OK");
            assert_eq!(response.get("connection"), Some("keep-alive"));
            client.send(format!("GET /{turn} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
        }
        end.request();
        end.send(ok("x"));
        client.response();
        // And without asking for it, not.
        client.send("GET / HTTP/1.0\r\n\r\n");
        end.request();
        end.send(ok("x"));
        assert_eq!(client.response().get("connection"), Some("close"));
        client.expect_closed();
        proxy.expect_no_faults();
    });
}

#[test]
fn http_1_0_clients_get_no_chunked_request_through() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let mut client = proxy.client();
        client.send("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
        assert_eq!(client.response().status(), 400);
        client.expect_gone();
        upstream.expect_no_connection();
    });
}

#[test]
fn a_client_may_end_after_its_last_complete_request() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).listener("half_close = true").start(&[&upstream]);
        let mut client = proxy.client();
        client.send(get("/1") + &get("/2"));
        client.finish_sending();
        let mut end = upstream.accept();
        for _ in 0..2 {
            end.request();
            std::thread::sleep(Duration::from_millis(400));
            end.send(ok("x"));
            assert_eq!(client.response().text(), "x");
        }
        client.expect_closed();
        std::thread::sleep(MOMENT);
        proxy.expect_no_faults();
    });
}
