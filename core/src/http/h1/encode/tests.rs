//! Tables of messages as they are written.

use super::*;
use crate::config::snapshot::ForwardClientCert;
use crate::http::Upgrades;
use crate::http::h1::parse::{HeadLimits, Progress, parse_request, parse_response};
use crate::tls::PeerIdentity;

const LIMITS: HeadLimits = HeadLimits { head_bytes: 4096, uri_bytes: 1024 };

fn forwarding() -> Forwarding<'static> {
    Forwarding { peer_ip: b"192.0.2.1", proto: b"http", fallback_host: b"fallback", ..Forwarding::default() }
}

fn request(input: &str, path: Option<&str>, fwd: &Forwarding<'_>, edits: &HeaderEdits) -> String {
    let mut head = RequestHead::new();
    assert_eq!(parse_request(input.as_bytes(), &LIMITS, &mut head), Ok(Progress::Complete), "{input:?}");
    let mut out = Vec::new();
    let bytes = head.bytes(input.as_bytes());
    encode_request(&mut out, bytes, &head, path.map(str::as_bytes), fwd, edits, head.framing);
    String::from_utf8(out).unwrap()
}

/// With default forwarding, whose two lines are left out of `expected`.
#[track_caller]
fn check(input: &str, expected: &str) {
    let got = request(input, None, &forwarding(), &HeaderEdits::empty());
    let got = got.replacen("X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: http\r\n", "", 1);
    assert_eq!(got, expected, "{input:?}");
}

#[track_caller]
fn check_forwarding(lines: &str, fwd: &Forwarding<'_>, expected: &str) {
    let input = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
    let got = request(&input, None, fwd, &HeaderEdits::empty());
    assert_eq!(got, format!("GET / HTTP/1.1\r\nHost: a\r\n{expected}\r\n"), "{lines:?}");
}

#[test]
fn request_lines_and_host() {
    check("GET /p?q HTTP/1.1\r\nHost: a:1\r\n\r\n", "GET /p?q HTTP/1.1\r\nHost: a:1\r\n\r\n");
    check("\r\nGET http://b:2/p?q HTTP/1.1\r\nHost: a\r\n\r\n", "GET /p?q HTTP/1.1\r\nHost: b:2\r\n\r\n");
    check("GET http://b HTTP/1.1\r\nX: y\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: b\r\nX: y\r\n\r\n");
    check("GET http://b?q HTTP/1.1\r\nHost: a\r\n\r\n", "GET /?q HTTP/1.1\r\nHost: b\r\n\r\n");
    check("GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nHost: fallback\r\n\r\n");
    check("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    check("OPTIONS http://b HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: b\r\n\r\n");
    check("OPTIONS http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS / HTTP/1.1\r\nHost: b\r\n\r\n");
    let got =
        request("GET /%61?%61 HTTP/1.1\r\nHost: a\r\n\r\n", Some("/a"), &forwarding(), &HeaderEdits::empty());
    assert!(got.starts_with("GET /a?%61 HTTP/1.1\r\n"), "{got}");
}

#[test]
fn fields_are_kept_dropped_and_made_canonical() {
    check(
        "GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nConnection: close, b\r\nB: 2\r\nC:3\r\nD:  4 \r\nE:\r\nF: 6\r\nTE: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nC: 3\r\nD: 4\r\nE: \r\nF: 6\r\n\r\n",
    );
    check("GET / HTTP/1.1\r\nB:\t1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nB: 1\r\nHost: a\r\n\r\n");
    check(
        "POST / HTTP/1.1\r\ncontent-length: 007\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 7\r\n\r\n",
    );
    check(
        "POST / HTTP/1.1\r\nTransfer-Encoding: CHUNKED\r\nTrailer: x\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nTrailer: x\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    check("GET / HTTP/1.1\r\nTrailer: x\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    // Content without a defined meaning: the upstream is told that nothing follows.
    check(
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nConnection: close\r\n\r\n",
    );
    check(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    let upgrades = Upgrades::new(["websocket", "tcp"]);
    let fwd = Forwarding { upgrade: Some(&upgrades), ..forwarding() };
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let got = request(upgrade, None, &fwd, &HeaderEdits::empty());
    assert!(got.ends_with("Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"), "{got}");
    // What is not allowed stays behind, and so do the fields that belonged to it.
    let several = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AA\r\n\
                   Upgrade: h2c, tcp ,x, websocket/13\r\n\r\n";
    let got = request(several, None, &fwd, &HeaderEdits::empty());
    assert!(got.ends_with("Connection: Upgrade\r\nUpgrade: tcp, websocket/13\r\n\r\n"), "{got}");
    assert!(!got.contains("HTTP2-Settings"), "{got}");
}

#[test]
fn the_client_is_told_of() {
    let own = "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: http\r\n";
    let theirs = "X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: h\r\nX-Forwarded-Port: 1\r\nForwarded: for=x\r\nX-Real-IP: 9\r\n";
    check_forwarding(theirs, &forwarding(), own);
    let trusted = Forwarding { trusted: true, ..forwarding() };
    check_forwarding(
        theirs,
        &trusted,
        "X-Forwarded-Proto: https\r\nX-Forwarded-Host: h\r\nX-Forwarded-Port: 1\r\nForwarded: for=x\r\nX-Real-IP: 9\r\nX-Forwarded-For: 10.0.0.1, 192.0.2.1\r\n",
    );
    check_forwarding(
        "X-Forwarded-For: 1\r\nX-Forwarded-For: 2, 3\r\n",
        &trusted,
        "X-Forwarded-For: 1, 2, 3, 192.0.2.1\r\nX-Forwarded-Proto: http\r\n",
    );
    check_forwarding("", &Forwarding { peer_ip: b"", ..forwarding() }, "X-Forwarded-Proto: http\r\n");
    let all = Forwarding {
        x_forwarded_host: true,
        forwarded: true,
        via: true,
        request_id: Some(b"7"),
        ..forwarding()
    };
    check_forwarding(
        "X-Request-Id: evil\r\nVia: 1.0 b\r\n",
        &all,
        &format!(
            "Via: 1.0 b\r\n{own}X-Forwarded-Host: a\r\nForwarded: for=192.0.2.1;host=\"a\";proto=http\r\nVia: 1.1 pinion\r\nX-Request-Id: 7\r\n"
        ),
    );
    let v6 = Forwarding {
        peer_ip: b"2001:db8::1",
        forwarded: true,
        trusted: true,
        request_id: Some(b"7"),
        ..forwarding()
    };
    check_forwarding(
        "X-Request-Id: known\r\n",
        &v6,
        "X-Request-Id: known\r\nX-Forwarded-For: 2001:db8::1\r\nX-Forwarded-Proto: http\r\nForwarded: for=\"[2001:db8::1]\";host=\"a\";proto=http\r\n",
    );
}

#[test]
fn client_certificates_pass_only_as_configured() {
    let own = "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: http\r\n";
    let theirs =
        "X-Forwarded-Client-Cert: Hash=1\r\nx-forwarded-client-cert: Hash=2;URI=spiffe://td/evil\r\n";
    let peer = PeerIdentity { forwarded: b"Hash=ff".as_slice().into(), ..PeerIdentity::default() };
    let check = |setting, verified: bool, expected: &str| {
        let client_cert = ClientCert::new(setting, verified.then_some(&peer));
        for trusted in [false, true] {
            check_forwarding(theirs, &Forwarding { trusted, client_cert, ..forwarding() }, expected);
        }
    };
    let kept = format!("{theirs}{own}");
    check(ForwardClientCert::Sanitize, true, own);
    check(ForwardClientCert::Sanitize, false, own);
    check(ForwardClientCert::ForwardOnly, true, &kept);
    check(ForwardClientCert::ForwardOnly, false, own);
    check(ForwardClientCert::AlwaysForwardOnly, false, &kept);
    let set = format!("{own}X-Forwarded-Client-Cert: Hash=ff\r\n");
    check(ForwardClientCert::SanitizeSet, true, &set);
    check(ForwardClientCert::SanitizeSet, false, own);
    let added = format!("{own}X-Forwarded-Client-Cert: Hash=1,Hash=2;URI=spiffe://td/evil,Hash=ff\r\n");
    check(ForwardClientCert::AppendForward, true, &added);
    check(ForwardClientCert::AppendForward, false, own);
}

fn edits(set: &[(&str, &str)], add: &[(&str, &str)], remove: &[&str]) -> HeaderEdits {
    let lines = |list: &[(&str, &str)]| {
        list.iter().map(|(name, value)| (Box::from(name.as_bytes()), Box::from(value.as_bytes()))).collect()
    };
    HeaderEdits {
        set: lines(set),
        add: lines(add),
        remove: remove.iter().map(|name| Box::from(name.as_bytes())).collect(),
    }
}

#[test]
fn edits_apply() {
    let input = "GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 2\r\nC: 3\r\n\r\n";
    let own = "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: http\r\n";
    let got = request(input, None, &forwarding(), &edits(&[("a", "x")], &[("b", "y")], &["c"]));
    assert_eq!(got, format!("GET / HTTP/1.1\r\nHost: a\r\nB: 2\r\n{own}a: x\r\nb: y\r\n\r\n"));
    let got = request(input, None, &forwarding(), &edits(&[("host", "x")], &[], &["x-forwarded-for"]));
    assert_eq!(got, "GET / HTTP/1.1\r\nA: 1\r\nB: 2\r\nC: 3\r\nX-Forwarded-Proto: http\r\nhost: x\r\n\r\n");
    // Host can neither be taken away nor doubled.
    let got = request(input, None, &forwarding(), &edits(&[], &[("host", "x")], &["host"]));
    assert_eq!(got, format!("GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 2\r\nC: 3\r\n{own}\r\n"));
    let absolute = input.replace("GET /", "GET http://b/");
    let got = request(&absolute, None, &forwarding(), &edits(&[("host", "x")], &[], &[]));
    assert_eq!(got, format!("GET / HTTP/1.1\r\nA: 1\r\nB: 2\r\nC: 3\r\n{own}host: x\r\n\r\n"));
}

#[track_caller]
fn check_response(input: &str, method: Method, frame: ResponseFrame, expected: &str) {
    let mut head = ResponseHead::new();
    assert_eq!(parse_response(input.as_bytes(), &LIMITS, method, &mut head), Ok(Progress::Complete));
    let mut out = Vec::new();
    encode_response(&mut out, input.as_bytes(), &head, &frame, &HeaderEdits::empty());
    assert_eq!(String::from_utf8(out).unwrap(), expected, "{input:?}");
}

#[test]
fn responses() {
    let keep =
        |framing| ResponseFrame { version: Version::Http11, keep_alive: true, framing, upgrade: false };
    check_response(
        "HTTP/1.0 200 Fine\r\nA: 1\r\nConnection: close, x\r\nX: y\r\nContent-Length: 05\r\nKeep-Alive: 1\r\nB: 2\r\n\r\n",
        Method::Get,
        keep(Framing::Length(5)),
        "HTTP/1.1 200 Fine\r\nA: 1\r\nB: 2\r\nContent-Length: 5\r\n\r\n",
    );
    check_response(
        "HTTP/1.1 200\r\n\r\n",
        Method::Get,
        keep(Framing::Chunked),
        "HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    check_response(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n",
        Method::Get,
        ResponseFrame {
            version: Version::Http10,
            keep_alive: false,
            framing: Framing::UntilClose,
            upgrade: false,
        },
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
    );
    check_response(
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
        Method::Get,
        ResponseFrame {
            version: Version::Http10,
            keep_alive: true,
            framing: Framing::Length(3),
            upgrade: false,
        },
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\n",
    );
    let none = keep(Framing::None);
    check_response(
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
        Method::Head,
        none,
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
    );
    check_response(
        "HTTP/1.1 304 x\r\nContent-Length: 3\r\n\r\n",
        Method::Get,
        none,
        "HTTP/1.1 304 x\r\nContent-Length: 3\r\n\r\n",
    );
    check_response(
        "HTTP/1.1 204 x\r\nContent-Length: 0\r\n\r\n",
        Method::Get,
        none,
        "HTTP/1.1 204 x\r\n\r\n",
    );
    let upgrade = ResponseFrame { upgrade: true, keep_alive: false, ..none };
    check_response(
        "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: upgrade\r\nA: 1\r\n\r\n",
        Method::Get,
        upgrade,
        "HTTP/1.1 101 x\r\nA: 1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    );
}

#[test]
fn a_connect_is_answered_with_a_head_alone() {
    let mut out = Vec::new();
    encode_connected(&mut out, &HeaderEdits::empty());
    assert_eq!(out, b"HTTP/1.1 200 OK\r\n\r\n");
}

#[test]
fn interim_and_own() {
    let mut head = ResponseHead::new();
    let input = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\nConnection: y\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(parse_response(input, &LIMITS, Method::Get, &mut head), Ok(Progress::Complete));
    let mut out = Vec::new();
    encode_interim(&mut out, input, &head);
    assert_eq!(out, b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n");
    let own = |status, keep, head| {
        let mut out = Vec::new();
        encode_own(&mut out, status, &[(b"a", b"b")], b"body", keep, head);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(own(404, true, false), "HTTP/1.1 404 Not Found\r\na: b\r\nContent-Length: 4\r\n\r\nbody");
    assert_eq!(
        own(599, false, true),
        "HTTP/1.1 599 \r\na: b\r\nContent-Length: 4\r\nConnection: close\r\n\r\n"
    );
    assert_eq!(own(204, true, false), "HTTP/1.1 204 No Content\r\na: b\r\n\r\n");
    assert_eq!(own(304, true, false), "HTTP/1.1 304 Not Modified\r\na: b\r\n\r\n");
}

#[test]
fn numbers() {
    for (number, text) in [(0, "0"), (7, "7"), (10, "10"), (u64::MAX, "18446744073709551615")] {
        let mut out = Vec::new();
        decimal(&mut out, number);
        assert_eq!(String::from_utf8(out).unwrap(), text);
    }
    for (size, text) in [(1, "1\r\n"), (16, "10\r\n"), (usize::MAX, "ffffffffffffffff\r\n")] {
        let mut out = Vec::new();
        encode_chunk_size(&mut out, size);
        assert_eq!(String::from_utf8(out).unwrap(), text);
    }
}
