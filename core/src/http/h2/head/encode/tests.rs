//! Tables of heads as they are written, read by a decoder.

use super::*;
use crate::http::Upgrades;
use crate::http::h1::parse::{HeadLimits, Progress, parse_request, parse_response};
use crate::http::h2::head::{decode_request, decode_response, decode_trailers};
use crate::http::h2::hpack::Decoder;

const LIMITS: HeadLimits = HeadLimits { head_bytes: 4096, uri_bytes: 1024 };

/// The lines of a block, whatever they are.
fn lines(block: &[u8]) -> String {
    let mut decoder = Decoder::new();
    let mut reader = decoder.begin(block).unwrap();
    let mut text = Vec::new();
    while decoder.next(&mut reader, &mut text, usize::MAX).unwrap().is_some() {}
    String::from_utf8(text).unwrap().replace("\r\n", "\n")
}

fn forwarding() -> Forwarding<'static> {
    Forwarding { peer_ip: b"192.0.2.1", proto: b"http", fallback_host: b"fallback", ..Forwarding::default() }
}

fn request(input: &str, fwd: &Forwarding<'_>, edits: &HeaderEdits) -> String {
    let mut head = RequestHead::new();
    let input = input.replace('\n', "\r\n");
    assert_eq!(parse_request(input.as_bytes(), &LIMITS, &mut head), Ok(Progress::Complete), "{input:?}");
    let mut block = Vec::new();
    let framing = head.framing;
    let bytes = input.as_bytes();
    encode_request(&mut Encoder::new(4096), &mut block, bytes, &head, None, fwd, edits, b"https", framing);
    lines(&block)
}

/// With default forwarding, whose two lines are left out of `expected`.
#[track_caller]
fn check(input: &str, expected: &str) {
    let got = request(&format!("{input}\n\n"), &forwarding(), &HeaderEdits::empty());
    let got = got.replacen("x-forwarded-for: 192.0.2.1\nx-forwarded-proto: http\n", "", 1);
    assert_eq!(got, expected, "{input:?}");
}

#[test]
fn requests() {
    check(
        "GET /p?q HTTP/1.1\nHost: a:1\nUser-Agent: x\nConnection: close, x-gone\nX-Gone: 1\nX-Kept:  2",
        ":method: GET\n:scheme: https\n:authority: a:1\n:path: /p?q\nuser-agent: x\nx-kept: 2\n",
    );
    check(
        "POST / HTTP/1.1\nHost: a\nContent-Length: 007\nTrailer: x",
        ":method: POST\n:scheme: https\n:authority: a\n:path: /\ntrailer: x\ncontent-length: 7\n",
    );
    check(
        "PUT / HTTP/1.1\nTransfer-Encoding: chunked\nHost: a\nKeep-Alive: 1\nProxy: x",
        ":method: PUT\n:scheme: https\n:authority: a\n:path: /\n",
    );
    check("GET / HTTP/1.0", ":method: GET\n:scheme: https\n:authority: fallback\n:path: /\n");
    check("GET http://b?q HTTP/1.1\nHost: a", ":method: GET\n:scheme: https\n:authority: b\n:path: /?q\n");
    check("OPTIONS * HTTP/1.1\nHost: a", ":method: OPTIONS\n:scheme: https\n:authority: a\n:path: *\n");
    check(
        "OPTIONS http://b HTTP/1.1\nHost: a",
        ":method: OPTIONS\n:scheme: https\n:authority: b\n:path: *\n",
    );
    check("CONNECT a:1 HTTP/1.1\nHost: a:1\nX: y", ":method: CONNECT\n:authority: a:1\nx: y\n");
    let long = "X-Name-That-Is-Longer-Than-Thirty-Two-Bytes";
    check(
        &format!("GET / HTTP/1.1\nHost: a\n{long}: A"),
        &format!(":method: GET\n:scheme: https\n:authority: a\n:path: /\n{}: A\n", long.to_ascii_lowercase()),
    );
}

#[test]
fn te_passes_as_trailers_only() {
    let head = ":method: GET\n:scheme: https\n:authority: a\n:path: /\n";
    for (value, passes) in
        [("trailers", true), ("gzip, Trailers", true), ("gzip", false), ("trailers;q=1", false), ("", false)]
    {
        let te = if passes { "te: trailers\n" } else { "" };
        check(&format!("GET / HTTP/1.1\nHost: a\nTE: {value}"), &format!("{head}{te}"));
    }
    check("GET / HTTP/1.1\nHost: a\nTE: trailers\nTE: trailers", &format!("{head}te: trailers\n"));
}

#[test]
fn edits_have_the_last_word() {
    let edits = HeaderEdits {
        set: Box::new([
            (Box::from(*b"host"), Box::from(*b"other")),
            (Box::from(*b"x-forwarded-for"), Box::from(*b"me")),
        ]),
        add: Box::new([(Box::from(*b"host"), Box::from(*b"no")), (Box::from(*b"x-b"), Box::from(*b"2"))]),
        remove: Box::new([Box::from(*b"x-c"), Box::from(*b"host")]),
    };
    let got = request("GET / HTTP/1.1\nHost: a\nX-C: 1\nX-B: 1\n\n", &forwarding(), &edits);
    let expected = ":method: GET\n:scheme: https\n:authority: other\n:path: /\nx-b: 1\nx-forwarded-proto: http\n\
                    x-forwarded-for: me\nx-b: 2\n";
    assert_eq!(got, expected);
}

#[test]
fn what_is_said_about_the_client_is_what_http1_says() {
    let input = "GET / HTTP/1.1\nHost: a\nX-Forwarded-For: 1\nx-forwarded-for: 2\nForwarded: for=3\nVia: 1.1 x\n\
                 X-Request-Id: 4\nX-Forwarded-Proto: ftp\nX-Forwarded-Host: h\nX-Forwarded-Port: 1\n\n";
    for bits in 0..64_u32 {
        let flag = |bit: u32| bits >> bit & 1 == 1;
        let fwd = Forwarding {
            peer_ip: if flag(0) { b"2001:db8::1" } else { b"" },
            trusted: flag(1),
            x_forwarded_host: flag(2),
            forwarded: flag(3),
            via: flag(4),
            request_id: flag(5).then_some(b"id"),
            ..forwarding()
        };
        let mut head = RequestHead::new();
        let text = input.replace('\n', "\r\n");
        assert_eq!(parse_request(text.as_bytes(), &LIMITS, &mut head), Ok(Progress::Complete));
        let mut plain = Vec::new();
        let edits = HeaderEdits::empty();
        crate::http::h1::encode::encode_request(
            &mut plain,
            text.as_bytes(),
            &head,
            None,
            &fwd,
            &edits,
            Framing::None,
        );
        let plain = String::from_utf8(plain).unwrap();
        let plain: Vec<String> = plain
            .split("\r\n")
            .skip(2)
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| format!("{}: {value}", name.to_ascii_lowercase()))
            .collect();
        let got = request(input, &fwd, &edits);
        let got: Vec<&str> = got.lines().skip(4).collect();
        assert_eq!(got, plain, "{bits:b}");
    }
}

#[test]
fn upgrades_become_extended_connects() {
    let upgrades = Upgrades::new(["websocket"]);
    let fwd = Forwarding { upgrade: Some(&upgrades), peer_ip: b"", ..forwarding() };
    let input = "GET /chat HTTP/1.1\nHost: a\nUpgrade: h2c, websocket\nConnection: upgrade\n\
                 Sec-WebSocket-Key: x\nSec-WebSocket-Version: 13\n\n";
    let got = request(input, &fwd, &HeaderEdits::empty());
    let expected = ":method: CONNECT\n:protocol: websocket\n:scheme: https\n:authority: a\n:path: /chat\n\
                    sec-websocket-version: 13\nx-forwarded-proto: http\n";
    assert_eq!(got, expected);
    // And that one reads as what was asked for.
    let mut block = Vec::new();
    let mut head = RequestHead::new();
    let text = input.replace('\n', "\r\n");
    assert_eq!(parse_request(text.as_bytes(), &LIMITS, &mut head), Ok(Progress::Complete));
    let (edits, mut encoder) = (HeaderEdits::empty(), Encoder::new(0));
    encode_request(
        &mut encoder,
        &mut block,
        text.as_bytes(),
        &head,
        None,
        &fwd,
        &edits,
        b"http",
        Framing::None,
    );
    let mut sent = Vec::new();
    decode_request(&mut Decoder::new(), &block, false, &LIMITS, &mut sent, &mut head).unwrap();
    assert_eq!(head.upgrade.map(|upgrade| upgrade.of(&sent)), Some(&b"websocket"[..]));
    // Without leave nothing of it passes, and the request is an ordinary one.
    let got = request(input, &forwarding(), &HeaderEdits::empty());
    assert!(got.starts_with(":method: GET\n") && !got.contains("upgrade"), "{got}");
}

#[track_caller]
fn check_response(input: &str, method: Method, framing: Framing, expected: &str) {
    let mut head = ResponseHead::new();
    let input = format!("{input}\n\n").replace('\n', "\r\n");
    assert_eq!(parse_response(input.as_bytes(), &LIMITS, method, &mut head), Ok(Progress::Complete));
    let mut block = Vec::new();
    let mut encoder = Encoder::new(4096);
    if head.is_interim() {
        encode_interim(&mut encoder, &mut block, input.as_bytes(), &head);
    } else {
        encode_response(&mut encoder, &mut block, input.as_bytes(), &head, &HeaderEdits::empty(), framing);
    }
    assert_eq!(lines(&block), expected, "{input}");
}

#[test]
fn responses() {
    let get = Method::Get;
    check_response(
        "HTTP/1.1 200 OK\nServer: x\nConnection: close\nTransfer-Encoding: chunked\nSet-Cookie: a\nSet-Cookie: b",
        get,
        Framing::Chunked,
        ":status: 200\nserver: x\nset-cookie: a\nset-cookie: b\n",
    );
    let length = "HTTP/1.1 200 OK\nContent-Length: 5\nTE: x";
    check_response(length, get, Framing::Length(5), ":status: 200\ncontent-length: 5\n");
    check_response(length, Method::Head, Framing::None, ":status: 200\ncontent-length: 5\n");
    check_response(
        "HTTP/1.1 304 x\nContent-Length: 5",
        get,
        Framing::None,
        ":status: 304\ncontent-length: 5\n",
    );
    check_response("HTTP/1.1 204 x\nContent-Length: 0", get, Framing::None, ":status: 204\n");
    check_response(
        "HTTP/1.1 200 x\nContent-Length: 0",
        get,
        Framing::Length(0),
        ":status: 200\ncontent-length: 0\n",
    );
    check_response("HTTP/1.1 429 x", get, Framing::Length(0), ":status: 429\ncontent-length: 0\n");
    check_response(
        "HTTP/1.1 103 x\nLink: a\nContent-Length: 0",
        get,
        Framing::None,
        ":status: 103\nlink: a\n",
    );
    check_response(
        "HTTP/1.1 101 x\nUpgrade: websocket\nConnection: upgrade\nSec-WebSocket-Accept: x\nX: y",
        get,
        Framing::None,
        ":status: 200\nx: y\n",
    );
    for (status, index) in [(200, 8), (204, 9), (206, 10), (304, 11), (400, 12), (404, 13), (500, 14)] {
        let mut block = Vec::new();
        super::status(&mut Encoder::new(4096), &mut block, status);
        assert_eq!((block.as_slice(), lines(&block)), (&[0x80 | index][..], format!(":status: {status}\n")));
    }
}

#[test]
fn an_empty_answer_stays_without_a_length_between_http2_peers() {
    let mut block = vec![0x88];
    let (mut text, mut head) = (Vec::new(), ResponseHead::new());
    decode_response(&mut Decoder::new(), &block, true, Method::Get, &LIMITS, &mut text, &mut head).unwrap();
    block.clear();
    let mut encoder = Encoder::new(4096);
    encode_response(&mut encoder, &mut block, &text, &head, &HeaderEdits::empty(), head.framing);
    assert_eq!(block, [0x88]);
}

#[test]
fn answers_of_our_own() {
    let own = |status, fields: &[(&[u8], &[u8])], length| {
        let mut block = Vec::new();
        encode_own(&mut Encoder::new(4096), &mut block, status, fields, length);
        lines(&block)
    };
    assert_eq!(
        own(503, &[(b"Content-Type", b"text/plain"), (b"Retry-After", b"1")], 12),
        ":status: 503\ncontent-type: text/plain\nretry-after: 1\ncontent-length: 12\n"
    );
    assert_eq!(own(204, &[], 0), ":status: 204\n");
    let mut block = Vec::new();
    encode_connected(&mut Encoder::new(4096), &mut block, &HeaderEdits::empty());
    assert_eq!(block, [0x88]);
}

#[test]
fn trailers_of_either_version() {
    let mut block = Vec::new();
    let text = b"grpc-status: 0\r\nX-Sum:\t1 \r\nempty:\r\n";
    encode_trailers(&mut Encoder::new(4096), &mut block, text);
    assert_eq!(lines(&block), "grpc-status: 0\nx-sum: 1\nempty: \n");
    let mut read = Vec::new();
    decode_trailers(&mut Decoder::new(), &block, &LIMITS, &mut read).unwrap();
    assert_eq!(read, b"grpc-status: 0\r\nx-sum: 1\r\nempty: \r\n");
    block.clear();
    encode_trailers(&mut Encoder::new(4096), &mut block, b"");
    assert!(block.is_empty());
}

#[test]
fn what_is_never_to_be_compressed_stays_so() {
    let mut block = vec![0x82, 0x86, 0x84, 0x41, 1, b'a', 0x10, 1, b'x', 1, b'y'];
    let (mut text, mut head) = (Vec::new(), RequestHead::new());
    decode_request(&mut Decoder::new(), &block, true, &LIMITS, &mut text, &mut head).unwrap();
    let fwd = Forwarding { peer_ip: b"", trusted: true, ..Forwarding::default() };
    let (edits, mut encoder) = (HeaderEdits::empty(), Encoder::new(4096));
    for _ in 0..3 {
        block.clear();
        encode_request(&mut encoder, &mut block, &text, &head, None, &fwd, &edits, b"http", Framing::None);
        assert!(block.windows(5).any(|part| part == [0x10, 1, b'x', 1, b'y']), "{block:x?}");
    }
}

#[test]
fn grpc_requests_get_what_is_left_of_their_time() {
    let fwd = Forwarding {
        grpc_timeout: Some(std::time::Duration::from_millis(1_500)),
        peer_ip: b"",
        ..forwarding()
    };
    let input = "POST /a.S/M HTTP/1.1\nHost: a\nGrpc-Timeout: 2S\nContent-Type: application/grpc\n\n";
    let got = request(input, &fwd, &HeaderEdits::empty());
    let expected = ":method: POST\n:scheme: https\n:authority: a\n:path: /a.S/M\ncontent-type: application/grpc\n\
                    te: trailers\ngrpc-timeout: 1500000u\nx-forwarded-proto: http\n";
    assert_eq!(got, expected);
    let edits = HeaderEdits { remove: Box::new([Box::from(*b"grpc-timeout")]), ..HeaderEdits::empty() };
    assert!(!request(input, &fwd, &edits).contains("grpc-timeout"));
}
