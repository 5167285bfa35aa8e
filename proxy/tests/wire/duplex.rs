//! Both directions at once: answers that begin before the request has ended, on every mix of copying and
//! splicing.

use std::time::Duration;

use crate::wire::{Link, Setup, Upstream, both, get, noise, ok};

const LENGTH: usize = 2 * 1024 * 1024;
const PIECE: usize = 32 * 1024;

fn framing(chunked: bool) -> String {
    if chunked { "Transfer-Encoding: chunked".to_owned() } else { format!("Content-Length: {LENGTH}") }
}

fn send_piece(link: &mut Link, piece: &[u8], chunked: bool) {
    if chunked {
        link.send(format!("{:x}\r\n", piece.len()));
    }
    link.send(piece);
    if chunked {
        link.send("\r\n");
    }
}

/// Reads a body of [`LENGTH`] bytes piece by piece.
fn pieces(link: &mut Link, chunked: bool, mut each: impl FnMut(&mut Link, Vec<u8>)) {
    let mut seen = 0;
    while seen < LENGTH {
        let piece = if chunked { link.chunk() } else { link.read_exact(PIECE.min(LENGTH - seen)) };
        seen += piece.len();
        each(link, piece);
    }
    if chunked {
        assert_eq!(link.read_exact(5), b"0\r\n\r\n");
    }
}

#[test]
fn an_upstream_may_answer_while_it_reads() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let body = noise(LENGTH, 11);
        for (up, down) in [(false, false), (false, true), (true, false), (true, true)] {
            let mut client = proxy.client();
            client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{}\r\n\r\n", framing(up)));
            std::thread::scope(|scope| {
                let mut sender = client.twin();
                scope.spawn(|| {
                    let mut end = upstream.accept();
                    end.head();
                    end.send(format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{}\r\n\r\n", framing(down)));
                    pieces(&mut end, up, |end, piece| send_piece(end, &piece, down));
                    if down {
                        end.send("0\r\n\r\n");
                    }
                    end.expect_closed();
                });
                let body = &body;
                assert_eq!(client.head().status(), 200);
                scope.spawn(move || {
                    for piece in body.chunks(PIECE) {
                        send_piece(&mut sender, piece, up);
                    }
                    if up {
                        sender.send("0\r\n\r\n");
                    }
                });
                let mut got = vec![];
                pieces(&mut client, down, |_, piece| got.extend(piece));
                assert!(got == *body, "the echo differs; chunked up: {up}, down: {down}");
            });
        }
        proxy.expect_no_faults();
    });
}

#[test]
fn an_upstream_may_say_continue_before_a_large_body() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let mut client = proxy.client();
        let body = noise(LENGTH, 12);
        for turn in 0..2 {
            client.send(format!(
                "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {LENGTH}\r\n\r\n"
            ));
            let mut end = upstream.accept();
            end.head();
            client.expect_quiet(Duration::from_millis(20));
            end.send("HTTP/1.1 100 Continue\r\n\r\n");
            assert_eq!(client.head().status(), 100);
            // And once more in the middle.
            client.send(&body[..LENGTH / 2]);
            assert!(end.read_exact(LENGTH / 2) == body[..LENGTH / 2]);
            end.send("HTTP/1.1 102 Processing\r\n\r\n");
            assert_eq!(client.head().status(), 102);
            client.send(&body[LENGTH / 2..]);
            assert!(end.read_exact(LENGTH / 2) == body[LENGTH / 2..]);
            end.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx");
            let response = client.response();
            assert_eq!((response.status(), response.get("connection")), (200, None), "turn {turn}");
        }
        proxy.expect_no_faults();
    });
}

#[test]
fn a_direction_that_has_ended_leaves_the_other_its_way_of_waiting() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).start(&[&upstream]);
        let mut client = proxy.client();
        client.small_receive_buffer();
        let large = 64 * 1024 * 1024;
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {LENGTH}\r\n\r\n"));
        let mut end = upstream.accept();
        end.head();
        // The answer begins, and the client does not read it.
        end.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {large}\r\n\r\n"));
        end.send_until_blocked(large / 2, Duration::from_millis(300));
        // The request ends.
        client.send(noise(LENGTH, 13));
        end.read_exact(LENGTH);
        end.send_until_blocked(large / 4, Duration::from_millis(300));
        // The client takes a little, so that there is room, but not for all that the proxy holds.
        client.head();
        client.read_exact(large / 8);
        std::thread::sleep(Duration::from_millis(300));
        // Nothing of that keeps the shard from serving others.
        let mut other = proxy.client();
        for _ in 0..3 {
            other.send(get("/other"));
            let mut end = upstream.accept();
            end.request();
            end.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx");
            assert_eq!(other.response().status(), 200);
        }
    });
}

#[test]
fn what_follows_a_large_request_is_the_next_one() {
    both(|driver| {
        let upstream =
            Upstream::serve(|request| ok(&format!("{}|{}", request.head.line, request.body.len())));
        let proxy = Setup::on(driver).start(&[&upstream]);
        let mut client = proxy.client();
        let body = noise(300_000, 14);
        let mut all = vec![];
        for _ in 0..3 {
            all.extend_from_slice(b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n");
            all.extend_from_slice(&body);
            all.extend_from_slice(get("/2").as_bytes());
            all.extend_from_slice(b"POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
            all.extend_from_slice(b"493e0\r\n");
            all.extend_from_slice(&body);
            all.extend_from_slice(b"\r\n0\r\n\r\n");
            all.extend_from_slice(get("/4").as_bytes());
        }
        std::thread::scope(|scope| {
            let mut sender = client.twin();
            scope.spawn(move || sender.send(all));
            for _ in 0..3 {
                for expected in [
                    "POST /1 HTTP/1.1|300000",
                    "GET /2 HTTP/1.1|0",
                    "POST /3 HTTP/1.1|300000",
                    "GET /4 HTTP/1.1|0",
                ] {
                    assert_eq!(client.response().text(), expected);
                }
            }
        });
        proxy.expect_no_faults();
    });
}

#[test]
fn a_client_that_only_asks_and_never_reads_is_stopped_and_cut() {
    both(|driver| {
        let upstream = Upstream::serve(|_| ok(&"x".repeat(1000)));
        let proxy = Setup::on(driver).listener("timeouts.write = \"1s\"").start(&[&upstream]);
        let mut client = proxy.client();
        client.small_receive_buffer();
        let many = get("/").repeat(1000);
        let mut sent = 0;
        while client.try_send(many.as_bytes()).is_ok() {
            sent += 1;
            assert!(sent < 2_000, "the proxy takes requests for ever");
        }
        proxy.expect_faults("reader_too_slow", 1);
        proxy.expect_metric("pinion_listener_connections_active", &[], 0.0);
    });
}

#[test]
fn an_upstream_that_dies_amid_the_request_is_503() {
    both(|driver| {
        for framing in [framing(false), framing(true)] {
            let upstream = Upstream::start();
            let proxy = Setup::on(driver).start(&[&upstream]);
            let mut client = proxy.client();
            client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n"));
            if framing.starts_with('T') {
                client.send("5\r\nhello\r\n");
            } else {
                client.send("hello");
            }
            let mut end = upstream.accept();
            end.read_until(b"hello");
            end.reset();
            let response = client.response();
            assert_eq!((response.status(), response.get("connection")), (503, Some("close")));
            client.expect_gone();
            proxy.expect_faults("upstream_closed", 1);
        }
    });
}
