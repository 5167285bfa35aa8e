//! Heads of blocks: what is taken becomes what HTTP/1 would have made of it, what is malformed is refused.

use super::*;
use crate::http::h1::parse::{Progress, parse_request, parse_response};
use crate::http::h2::hpack::write_string;

const LIMITS: HeadLimits = HeadLimits { head_bytes: 32 * 1024, uri_bytes: 8 * 1024 };

/// A block of `name: value` lines, one each.
fn block(lines: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for line in lines.split('\n').filter(|line| !line.is_empty()) {
        let (name, value) = line.get(1..).and_then(|rest| rest.split_once(": ")).unwrap();
        let name = format!("{}{name}", &line[..1]);
        // As it stands: no folding of the name.
        out.push(0);
        for text in [name.as_bytes(), value.as_bytes()] {
            write_string(&mut out, text);
        }
    }
    out
}

fn request(lines: &str, end: bool) -> Result<(String, RequestHead), BlockError> {
    let (mut text, mut head) = (b"left over".to_vec(), RequestHead::new());
    decode_request(&mut Decoder::new(), &block(lines), end, &LIMITS, &mut text, &mut head)?;
    let text = String::from_utf8(text).unwrap();
    same_as_http1(&text, &head);
    Ok((text, head))
}

/// The text is a head of HTTP/1.1, and but for framing the same one.
#[track_caller]
fn same_as_http1(text: &str, head: &RequestHead) {
    let mut again = RequestHead::new();
    assert_eq!(parse_request(text.as_bytes(), &LIMITS, &mut again), Ok(Progress::Complete), "{text:?}");
    assert_eq!((head.version, head.keep_alive), (Version::Http2, true));
    assert_eq!(again.len, text.len());
    if head.framing == Framing::Chunked {
        again.framing = Framing::Chunked;
    }
    again.version = Version::Http2;
    again.protocol = head.protocol;
    for (field, read) in again.fields.as_mut_slice().iter_mut().zip(head.fields.iter()) {
        field.sensitive = read.sensitive;
    }
    assert_eq!(format!("{:?}", again.fields.as_slice()), format!("{:?}", head.fields.as_slice()), "{text:?}");
    again.fields.resize(0);
    let mut bare = head.clone();
    bare.fields.resize(0);
    let shown = |head: &RequestHead| {
        let RequestHead { method, method_span, form, target, authority, path, query, len, skip, .. } = head;
        let RequestHead { framing, keep_alive, expect_continue, upgrade, .. } = head;
        let line = (method, method_span, form, target, authority, path, query);
        format!("{line:?} {:?}", (len, skip, framing, keep_alive, expect_continue, upgrade))
    };
    assert_eq!(shown(&again), shown(&bare), "{text:?}");
}

#[track_caller]
fn check(lines: &str, end: bool, text: &str, framing: Framing) -> RequestHead {
    let (got, head) = request(lines, end).unwrap();
    assert_eq!(got.replace("\r\n", "\n"), format!("{text}\n"));
    assert_eq!(head.framing, framing);
    head
}

#[track_caller]
fn refused(lines: &str, end: bool, reason: &'static str) {
    assert_eq!(request(lines, end).err(), Some(BlockError::Malformed(reason)), "{lines}");
}

const USUAL: &str = ":method: GET\n:scheme: http\n:path: /\n:authority: a\n";

#[test]
fn usual_requests() {
    let head = check(
        ":method: GET\n:scheme: https\n:authority: a.example:8\n:path: /p?q=1?\naccept: */*\nx: \nte: trailers\n",
        true,
        "GET /p?q=1? HTTP/1.1\nhost: a.example:8\naccept: */*\nx: \nte: trailers\n",
        Framing::None,
    );
    assert_eq!((head.method, head.form, head.protocol), (Method::Get, TargetForm::Origin, None));
    check(
        ":path: /\n:authority: a\n:method: POST\n:scheme: http\nuser-agent: b\n",
        false,
        "POST / HTTP/1.1\nhost: a\nuser-agent: b\n",
        Framing::Chunked,
    );
    check(
        ":method: PUT\n:scheme: http\n:authority: a\n:path: /\ncontent-length: 7\nexpect: 100-Continue\n",
        false,
        "PUT / HTTP/1.1\nhost: a\ncontent-length: 7\nexpect: 100-Continue\n",
        Framing::Length(7),
    );
    check(
        ":method: POST\n:scheme: http\n:authority: a\n:path: /\ncontent-length: 0\n",
        true,
        "POST / HTTP/1.1\nhost: a\ncontent-length: 0\n",
        Framing::Length(0),
    );
    let head = check(
        ":method: OPTIONS\n:scheme: http\n:authority: a\n:path: *\n",
        true,
        "OPTIONS * HTTP/1.1\nhost: a\n",
        Framing::None,
    );
    assert_eq!(head.form, TargetForm::Asterisk);
    check(
        ":method: BREW\n:scheme: http\n:authority: a\n:path: /\npriority: u=1, i\nproxy: x\nx_request_id: 1\n",
        true,
        "BREW / HTTP/1.1\nhost: a\npriority: u=1, i\nproxy: x\nx_request_id: 1\n",
        Framing::None,
    );
}

#[test]
fn authority_and_host() {
    check(
        ":method: GET\n:scheme: http\n:path: /\na: b\nhost: c:1\n",
        true,
        "GET / HTTP/1.1\na: b\nhost: c:1\n",
        Framing::None,
    );
    check(
        &format!("{USUAL}x: y\nhost: A\nz: z\n"),
        true,
        "GET / HTTP/1.1\nhost: a\nx: y\nz: z\n",
        Framing::None,
    );
    refused(&format!("{USUAL}host: b\n"), true, ":authority and host differ");
    refused(&format!("{USUAL}host: a\nhost: a\n"), true, "repeated host");
    let none = ":method: GET\n:scheme: http\n:path: /\n";
    refused(none, true, "neither :authority nor host");
    refused(&format!("{none}host: a\nhost: a\n"), true, "repeated host");
    refused(&format!("{none}host: \n"), true, "invalid host");
    refused(&format!("{none}:authority: \nhost: a\n"), true, "invalid :authority");
    refused(&format!("{none}:authority: u@a\n"), true, "invalid :authority");
}

#[test]
fn tunnels() {
    let head = check(
        ":method: CONNECT\n:authority: a:443\nx: y\n",
        false,
        "CONNECT a:443 HTTP/1.1\nhost: a:443\nx: y\n",
        Framing::None,
    );
    assert_eq!((head.method, head.form), (Method::Connect, TargetForm::Authority));
    refused(":method: CONNECT\n:authority: a\n", false, "CONNECT without a port");
    refused(":method: CONNECT\n:authority: [::1]\n", false, "CONNECT without a port");
    refused(":method: CONNECT\nhost: a:1\n", false, "CONNECT without :authority");
    refused(":method: CONNECT\n:authority: a:1\n:path: /\n", false, "CONNECT with :scheme or :path");
    refused(":method: CONNECT\n:authority: a:1\n:scheme: http\n", false, "CONNECT with :scheme or :path");
    refused(":method: CONNECT\n:authority: a:1\ncontent-length: 0\n", false, "CONNECT with content-length");

    let extended = ":method: CONNECT\n:protocol: websocket\n:scheme: https\n:path: /chat?x\n:authority: a\n";
    let head = check(
        &format!("{extended}sec-websocket-version: 13\n"),
        false,
        "GET /chat?x HTTP/1.1\nhost: a\nconnection: upgrade\nupgrade: websocket\nsec-websocket-version: 13\n",
        Framing::None,
    );
    assert_eq!(head.method, Method::Get);
    assert!(head.protocol.is_some() && head.protocol == head.upgrade);
    refused(&format!("{extended}content-length: 5\n"), false, "CONNECT with content-length");
    let lacking = "missing :path";
    refused(":method: CONNECT\n:protocol: websocket\n:scheme: https\n:authority: a\n", false, lacking);
    let lacking = ":protocol without CONNECT and :authority";
    refused(":method: CONNECT\n:protocol: x\n:scheme: https\n:path: /\nhost: a\n", false, lacking);
    refused(&format!(":protocol: websocket\n{USUAL}"), true, lacking);
}

#[test]
fn cookies_are_joined() {
    check(
        &format!("{USUAL}cookie: a=b\ncookie: c=d\ncookie: e=f\nx: y\n"),
        true,
        "GET / HTTP/1.1\nhost: a\ncookie: a=b; c=d; e=f\nx: y\n",
        Framing::None,
    );
    check(
        &format!("{USUAL}cookie: a=b\nx: y\ncookie: c=d\nz: z\ncookie: \ncookie: e=f\nhost: a\nq: r\n"),
        true,
        "GET / HTTP/1.1\nhost: a\ncookie: a=b; c=d; e=f\nx: y\nz: z\nq: r\n",
        Framing::None,
    );
    check(
        ":method: GET\n:scheme: http\n:path: /\ncookie: \ncookie: c=d\ncookie: \nhost: a\n",
        true,
        "GET / HTTP/1.1\ncookie: c=d\nhost: a\n",
        Framing::None,
    );
    check(
        ":method: GET\n:scheme: http\n:path: /\ncookie: \nhost: a\ncookie: c=d\n",
        true,
        "GET / HTTP/1.1\ncookie: c=d\nhost: a\n",
        Framing::None,
    );
    check(
        &format!("{USUAL}cookie: \ncookie: \n"),
        true,
        "GET / HTTP/1.1\nhost: a\ncookie: \n",
        Framing::None,
    );
    let many = "cookie: a=b\nx: y\n".to_owned() + &"cookie: c=d\n".repeat(300);
    let (text, head) = request(&format!("{USUAL}{many}"), true).unwrap();
    assert_eq!((head.fields.len(), text.len()), (3, 16 + 2 + 9 + 13 + 6 + 300 * 5));
}

#[test]
fn malformed_requests() {
    let with = |line: &str| format!("{USUAL}{line}\n");
    for (lines, reason) in [
        ("", "missing :method"),
        (":scheme: http\n:path: /\n:authority: a\n", "missing :method"),
        (":method: GET\n:path: /\n:authority: a\n", "missing :scheme"),
        (":method: GET\n:scheme: http\n:authority: a\n", "missing :path"),
        (&with(":method: GET"), "repeated pseudo-header field"),
        (&with(":scheme: http"), "repeated pseudo-header field"),
        (&with(":path: /"), "repeated pseudo-header field"),
        (&with(":authority: a"), "repeated pseudo-header field"),
        (&with(":status: 200"), ":status in a request"),
        (&with(":what: 200"), "unknown pseudo-header field"),
        (&with("a: b\n:method: GET"), "pseudo-header field behind fields"),
        (&with("a: b\n:what: GET"), "unknown pseudo-header field"),
        (&with("cookie: b\n:status: 200"), "pseudo-header field behind fields"),
        (":method: GET\n:scheme: ftp\n:path: /\n:authority: a\n", ":scheme is neither http nor https"),
        (":method: GET\n:scheme: http\n:path: \n:authority: a\n", "invalid :path"),
        (":method: GET\n:scheme: http\n:path: *\n:authority: a\n", ":path does not suit the method"),
        (":method: GET\n:scheme: http\n:path: http://b/\n:authority: a\n", "invalid :path"),
        (":method: G T\n:scheme: http\n:path: /\n:authority: a\n", "invalid :method"),
        (":method: GET\n:scheme: http\n:path: /\r\nx: y\n:authority: a\n", "invalid :path"),
        (&with("A: b"), "capitals in a field name"),
        (&with("a b: c"), "invalid field name"),
        (&with("a\u{e9}: c"), "invalid field name"),
        (&with("a:  b"), "invalid byte or white space around a field value"),
        (&with("a: b "), "invalid byte or white space around a field value"),
        (&with("a: b\0"), "invalid byte or white space around a field value"),
        (&with("a: b\rc: d"), "invalid byte or white space around a field value"),
        (&with("connection: close"), "connection-specific field"),
        (&with("keep-alive: 1"), "connection-specific field"),
        (&with("proxy-connection: close"), "connection-specific field"),
        (&with("transfer-encoding: chunked"), "connection-specific field"),
        (&with("upgrade: websocket"), "connection-specific field"),
        (&with("te: gzip"), "te is something else than trailers"),
        (&with("content_length: 1"), "field name resembles a framing field"),
        (&with("content-length: x"), "invalid content-length"),
        (&with("content-length: 0\ncontent-length: 0"), "repeated content-length"),
        (&with("content-length: 1"), "content-length without content"),
    ] {
        refused(lines, true, reason);
    }
    let trace = ":method: TRACE\n:scheme: http\n:path: /\n:authority: a\n";
    refused(trace, false, "TRACE with content");
    assert!(request(trace, true).is_ok());
}

#[test]
fn requests_that_are_answered() {
    let long = "x".repeat(LIMITS.uri_bytes);
    let path = format!(":method: GET\n:scheme: http\n:path: /{long}\n:authority: a\n");
    assert_eq!(request(&path, true).err(), Some(BlockError::UriTooLong));
    let large = format!("{USUAL}a: {}\n", "x".repeat(LIMITS.head_bytes));
    assert_eq!(request(&large, true).err(), Some(BlockError::TooLarge));
    let many = format!("{USUAL}{}", "a: b\n".repeat(HEADER_COUNT_MAX));
    assert_eq!(request(&many, true).err(), Some(BlockError::TooLarge));
    let fitting = format!("{USUAL}{}", "a: b\n".repeat(HEADER_COUNT_MAX - 1));
    assert!(request(&fitting, true).is_ok());
    assert_eq!(request(&format!("{USUAL}expect: x\n"), true).err(), Some(BlockError::Expectation));
    for error in [BlockError::UriTooLong, BlockError::TooLarge, BlockError::Expectation] {
        assert!(error.is_answered() && error.fault().row().status >= 400 && !error.reason().is_empty());
    }
    assert!(!BlockError::Malformed("").is_answered() && !BlockError::Compression.is_answered());
}

#[test]
fn the_list_is_counted_as_the_standard_counts() {
    let lines = format!("{USUAL}abc: defg\n");
    let size = [(7, 3), (7, 4), (5, 1), (10, 1), (3, 4)].map(|(name, value)| name + value + 32);
    let size: usize = size.iter().sum();
    for (head_bytes, fits) in [(size, true), (size - 1, false), (size - 40, false), (0, false)] {
        let limits = HeadLimits { head_bytes, ..LIMITS };
        let (mut text, mut head) = (Vec::new(), RequestHead::new());
        let got = decode_request(&mut Decoder::new(), &block(&lines), true, &limits, &mut text, &mut head);
        assert_eq!(got, if fits { Ok(()) } else { Err(BlockError::TooLarge) }, "{head_bytes}");
    }
}

#[test]
fn a_refused_block_leaves_the_table_in_step() {
    // Each of these is kept: a malformed line, a good one.
    let mut first = vec![0x40, 1, b'A', 1, b'b'];
    first.extend([0x40, 1, b'c', 1, b'd']);
    let mut decoder = Decoder::new();
    let (mut text, mut head) = (Vec::new(), RequestHead::new());
    let got = decode_request(&mut decoder, &first, true, &LIMITS, &mut text, &mut head);
    assert_eq!(got, Err(BlockError::Malformed("capitals in a field name")));
    let mut second = block(USUAL);
    second.push(0xBE);
    decode_request(&mut decoder, &second, true, &LIMITS, &mut text, &mut head).unwrap();
    assert!(String::from_utf8_lossy(&text).ends_with("c: d\r\n\r\n"));
    // The malformed one is malformed as an index, too.
    second.push(0xBF);
    let got = decode_request(&mut decoder, &second, true, &LIMITS, &mut text, &mut head);
    assert_eq!(got, Err(BlockError::Malformed("capitals in a field name")));
    // What can't be decompressed behind a malformed line ends the connection.
    first.push(0xFF);
    let got = decode_request(&mut decoder, &first, true, &LIMITS, &mut text, &mut head);
    assert_eq!(got, Err(BlockError::Compression));
}

fn response(lines: &str, end: bool, method: Method) -> Result<(String, ResponseHead), BlockError> {
    let (mut text, mut head) = (Vec::new(), ResponseHead::new());
    decode_response(&mut Decoder::new(), &block(lines), end, method, &LIMITS, &mut text, &mut head)?;
    let mut again = ResponseHead::new();
    assert_eq!(parse_response(&text, &LIMITS, method, &mut again), Ok(Progress::Complete));
    assert_eq!(format!("{:?}", again.fields.as_slice()), format!("{:?}", head.fields.as_slice()));
    assert_eq!(
        (again.status, again.reason, again.len, again.length),
        (head.status, head.reason, head.len, head.length)
    );
    if again.framing != Framing::UntilClose {
        assert_eq!(again.framing, head.framing);
    }
    Ok((String::from_utf8(text).unwrap().replace("\r\n", "\n"), head))
}

#[test]
fn responses() {
    let get = |lines: &str, end| response(lines, end, Method::Get);
    let (text, head) = get(":status: 200\nserver: x\nset-cookie: a\nset-cookie: b\n", false).unwrap();
    assert_eq!(text, "HTTP/1.1 200 OK\nserver: x\nset-cookie: a\nset-cookie: b\n\n");
    assert_eq!((head.framing, head.keep_alive, head.version), (Framing::Chunked, true, Version::Http2));
    for (lines, end, method, framing, length) in [
        (":status: 200\n", true, Method::Get, Framing::Length(0), None),
        (":status: 200\ncontent-length: 5\n", false, Method::Get, Framing::Length(5), Some(5)),
        (":status: 200\ncontent-length: 5\n", true, Method::Head, Framing::None, Some(5)),
        (":status: 304\ncontent-length: 5\n", true, Method::Get, Framing::None, Some(5)),
        (":status: 204\ncontent-length: 0\n", true, Method::Get, Framing::None, None),
        (":status: 200\n", false, Method::Connect, Framing::None, None),
        (":status: 103\nlink: a\n", false, Method::Get, Framing::None, None),
        (":status: 200\nhost: a b\nhost: c\n", true, Method::Get, Framing::Length(0), None),
        (":status: 799\ncookie: a\ncookie: b\n", true, Method::Get, Framing::Length(0), None),
    ] {
        let (_, head) = response(lines, end, method).unwrap();
        assert_eq!((head.framing, head.length), (framing, length), "{lines}");
    }
    for (lines, end, reason) in [
        ("", true, "missing :status"),
        ("a: b\n", true, "missing :status"),
        (":status: 200\n:status: 200\n", true, "repeated pseudo-header field"),
        (":status: 20\n", true, "invalid :status"),
        (":status: 2 0\n", true, "invalid :status"),
        (":status: 200\n:path: /\n", true, "a request's pseudo-header field in a response"),
        (":status: 101\n", false, "status 101"),
        (":status: 100\n", true, "an interim response that ends the stream"),
        (":status: 204\ncontent-length: 1\n", true, "a body is not allowed here"),
        (":status: 200\ncontent-length: 1\n", true, "content-length without content"),
        (":status: 200\nte: trailers\n", true, "te in a response"),
        (":status: 200\nconnection: close\n", true, "connection-specific field"),
        (":status: 200\ntransfer-encoding: chunked\n", true, "connection-specific field"),
    ] {
        assert_eq!(get(lines, end).err(), Some(BlockError::Malformed(reason)), "{lines}");
    }
}

#[test]
fn trailers() {
    let read = |lines: &str| {
        let mut text = b"left over".to_vec();
        decode_trailers(&mut Decoder::new(), &block(lines), &LIMITS, &mut text)
            .map(|()| String::from_utf8(text).unwrap().replace("\r\n", "\n"))
    };
    assert_eq!(read(""), Ok(String::new()));
    assert_eq!(read("grpc-status: 0\ngrpc-message: \n"), Ok("grpc-status: 0\ngrpc-message: \n".to_owned()));
    let mixed = "content-length: 1\na: b\nhost: x\ncookie: y\nauthorization: z\nte: trailers\nc: d\n";
    assert_eq!(read(mixed), Ok("a: b\nc: d\n".to_owned()));
    for (lines, reason) in [
        ("a: b\n:status: 200\n", "pseudo-header field in trailers"),
        (":path: /\n", "pseudo-header field in trailers"),
        ("A: b\n", "capitals in a field name"),
        ("a: \0\n", "invalid byte or white space around a field value"),
        ("transfer-encoding: chunked\n", "connection-specific field"),
    ] {
        assert_eq!(read(lines), Err(BlockError::Malformed(reason)), "{lines}");
    }
    assert_eq!(read(&format!("a: {}\n", "x".repeat(TRAILER_BYTES_MAX))), Err(BlockError::TooLarge));
}

#[test]
fn what_is_never_to_be_compressed_is_remembered() {
    let mut block = block(USUAL);
    block.extend([0x10, 1, b'a', 1, b'b', 0x00, 1, b'c', 1, b'd']);
    let (mut text, mut head) = (Vec::new(), RequestHead::new());
    decode_request(&mut Decoder::new(), &block, true, &LIMITS, &mut text, &mut head).unwrap();
    let marks: Vec<bool> = head.fields.iter().map(|field| field.sensitive).collect();
    assert_eq!(marks, [false, true, false]);
}
