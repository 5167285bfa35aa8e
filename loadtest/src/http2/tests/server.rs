//! What a client may and may not do to the server.

use super::*;
use crate::http2::frame::{PREFACE, code, kind, setting};

const GET: &[(&str, &str)] = &[(":method", "GET"), (":scheme", "http"), (":path", "/")];

fn request(stream: u32, fields: &[(&str, &str)], end: bool) -> Vec<u8> {
    raw(kind::HEADERS, 4 | u8::from(end), stream, &encode_request(fields))
}

/// The fields of a plain request, some replaced or added behind.
fn with<'a>(method: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [&[(":method", method), (":scheme", "http"), (":path", "/")], more].concat()
}

/// A server whose client has sent its preface and empty settings.
fn greeted(options: ServerOptions) -> Server {
    let mut server = Server::new(options);
    let hello = [&PREFACE[..], &raw(kind::SETTINGS, 0, 0, b"")].concat();
    let (mut out, mut events) = (Vec::new(), Vec::new());
    assert_eq!(server.feed(&hello, &mut out, &mut events), Ok(()));
    assert_eq!(frames(&out), [(kind::SETTINGS, 1, 0, &[][..])]);
    server
}

/// What the server makes of these frames, and what it says.
fn fed(options: ServerOptions, bytes: &[u8]) -> (bool, Vec<ServerEvent>, Vec<u8>) {
    let (mut server, mut out, mut events) = (greeted(options), Vec::new(), Vec::new());
    let is_ok = server.feed(bytes, &mut out, &mut events).is_ok();
    assert_eq!(server.is_closing(), !is_ok);
    (is_ok, events, out)
}

#[test]
fn good_requests() {
    let connect: &[_] = &[(":method", "CONNECT"), (":authority", "a:1")];
    let extended = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/")];
    let star = [(":method", "OPTIONS"), (":scheme", "http"), (":path", "*")];
    let authority =
        with("GET", &[(":authority", "a"), ("host", "A"), ("te", "trailers"), ("cookie", "a; b")]);
    for fields in [GET, connect, &extended, &star, &authority] {
        let (is_ok, events, out) =
            fed(ServerOptions { connect_protocol: true, ..SERVER }, &request(1, fields, true));
        let [ServerEvent::Head { stream: 1, fields: found, end: true }] = &events[..] else {
            panic!("{fields:?}: {events:?}");
        };
        let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        assert!(is_ok && out.is_empty() && found.iter().eq(fields));
    }
}

#[test]
fn bad_requests_are_found_out() {
    let rows: &[(&[(&str, &str)], &str)] = &[
        (&[(":scheme", "http"), (":path", "/")], "a request without a method"),
        (&[(":method", "GET"), (":path", "/")], "a request without a scheme"),
        (&[(":method", "GET"), (":scheme", "http")], "a request without a path"),
        (&[(":method", "G T"), (":scheme", "http"), (":path", "/")], "a method that is no token"),
        (&[(":method", "GET"), (":scheme", ""), (":path", "/")], "an empty scheme"),
        (&[(":method", "GET"), (":scheme", "http"), (":path", "")], "an empty path"),
        (
            &[(":method", "GET"), (":scheme", "http"), (":path", "*")],
            "a path that does not begin with a slash",
        ),
        (
            &[(":method", "GET"), (":scheme", "http"), (":path", "x")],
            "a path that does not begin with a slash",
        ),
        (&[(":method", "GET"), (":scheme", "http"), (":path", "/a b")], "a path with a space or a fragment"),
        (&[(":method", "GET"), (":scheme", "http"), (":path", "/#b")], "a path with a space or a fragment"),
        (&with("GET", &[(":path", "/")]), "a pseudo-header twice"),
        (&with("GET", &[(":authority", "a"), (":authority", "a")]), "a pseudo-header twice"),
        (&with("GET", &[(":status", "200")]), "an unknown pseudo-header in a request"),
        (&with("GET", &[("a", "b"), (":authority", "a")]), "a pseudo-header behind a regular one"),
        (&with("GET", &[(":protocol", "websocket")]), "a protocol that was not asked for"),
        (&with("CONNECT", &[(":authority", "a")]), "CONNECT with a scheme or a path"),
        (&[(":method", "CONNECT")], "CONNECT without a target"),
        (&with("GET", &[(":authority", "u@a")]), "an authority with a user"),
        (&with("GET", &[(":authority", "a"), ("host", "b")]), "Host differs from the authority"),
        (&with("GET", &[("host", "b"), ("host", "b")]), "more than one Host"),
        (&with("GET", &[("connection", "x")]), "a header of HTTP/1 connections"),
        (&with("GET", &[("keep-alive", "x")]), "a header of HTTP/1 connections"),
        (&with("GET", &[("proxy-connection", "x")]), "a header of HTTP/1 connections"),
        (&with("GET", &[("transfer-encoding", "chunked")]), "a header of HTTP/1 connections"),
        (&with("GET", &[("upgrade", "x")]), "a header of HTTP/1 connections"),
        (&with("GET", &[("te", "gzip")]), "TE other than trailers"),
        (&with("GET", &[("te", "trailers, gzip")]), "TE other than trailers"),
        (&with("GET", &[("x", "a\nb")]), "a control byte in a header value"),
        (&with("GET", &[("x", "a\t")]), "white space around a header value"),
        (&with("GET", &[("", "a")]), "a header without a name"),
        (&with("GET", &[("a b", "a")]), "a header name that is no token"),
        (&with("GET", &[("content-length", "1")]), "content of a wrong length"),
        (&with("GET", &[("content-length", "-1")]), "Content-Length is not a number of at most 63 bits"),
        (&with("GET", &[("content-length", "")]), "Content-Length is not a number of at most 63 bits"),
        (
            &with("GET", &[("content-length", "9223372036854775808")]),
            "Content-Length is not a number of at most 63 bits",
        ),
        (&with("GET", &[("content-length", "0"), ("content-length", "0")]), "more than one Content-Length"),
    ];
    for (fields, why) in rows {
        // The connection goes on, and later frames on the stream are excused.
        let bytes =
            [request(1, fields, true), raw(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]), request(3, GET, true)];
        let (is_ok, events, out) = fed(SERVER, &bytes.concat());
        assert!(is_ok, "{fields:?}");
        assert_eq!(events[0], ServerEvent::Rejected { stream: 1, why }, "{fields:?}");
        assert!(matches!(events[1..], [ServerEvent::Head { stream: 3, .. }]), "{fields:?}");
        assert_eq!(frames(&out), [(kind::RST_STREAM, 0, 1, &[0, 0, 0, 1][..])]);
    }
    let capital = [&encode_request(GET)[..], b"\x00\x01X\x01y"].concat();
    let (is_ok, events, _) = fed(SERVER, &raw(kind::HEADERS, 5, 1, &capital));
    assert_eq!(
        (is_ok, &events[..]),
        (true, &[ServerEvent::Rejected { stream: 1, why: "a header name with capitals" }][..])
    );
    let long = "v".repeat(9_000);
    let too_long: Vec<_> = with("GET", &vec![("x", &long[..]); 30]);
    let block = encode_request(&too_long);
    let mut bytes = raw(kind::HEADERS, 1, 1, &block[..16_384]);
    let rest: Vec<_> = block[16_384..].chunks(16_384).collect();
    for (at, part) in rest.iter().enumerate() {
        bytes.extend(raw(kind::CONTINUATION, if at + 1 == rest.len() { 4 } else { 0 }, 1, part));
    }
    assert_eq!(fed(SERVER, &bytes).1, [ServerEvent::Rejected { stream: 1, why: "a header list too long" }]);
}

#[test]
fn bad_bodies_are_found_out() {
    let post = |length| request(1, &with("POST", &[("content-length", length)]), false);
    let data = |bytes: &[u8], end: u8| raw(kind::DATA, end, 1, bytes);
    let trailers = |fields: &[(&str, &str)], end| request(1, fields, end);
    let rows: &[(Vec<u8>, &str)] = &[
        ([post("3"), data(b"abcd", 0)].concat(), "content of a wrong length"),
        ([post("3"), data(b"ab", 1)].concat(), "content of a wrong length"),
        ([post("3"), data(b"ab", 0), trailers(&[("x", "y")], true)].concat(), "content of a wrong length"),
        ([post("0"), trailers(&[("x", "y")], false)].concat(), "trailers that are not the end"),
        ([post("0"), trailers(&[(":path", "/")], true)].concat(), "a pseudo-header in trailers"),
        ([post("0"), trailers(&[("connection", "x")], true)].concat(), "a header of HTTP/1 connections"),
        ([post("0"), raw(kind::WINDOW_UPDATE, 0, 1, &[0; 4])].concat(), "WINDOW_UPDATE of nothing"),
    ];
    for (bytes, why) in rows {
        let (is_ok, events, _) = fed(SERVER, bytes);
        assert!(is_ok);
        assert_eq!(events.last(), Some(&ServerEvent::Rejected { stream: 1, why }));
    }
    let good = [post("3"), data(b"ab", 0), data(b"c", 0), trailers(&[("x", "y")], true)].concat();
    assert!(matches!(fed(SERVER, &good).1.last(), Some(ServerEvent::Trailers { stream: 1, .. })));
}

#[test]
fn violations_end_the_connection() {
    let get = |stream| request(stream, GET, true);
    let rows: &[(Vec<u8>, u32)] = &[
        (get(2), code::PROTOCOL_ERROR),
        (raw(kind::DATA, 0, 1, b"a"), code::PROTOCOL_ERROR),
        (raw(kind::RST_STREAM, 0, 1, &[0; 4]), code::PROTOCOL_ERROR),
        (raw(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]), code::PROTOCOL_ERROR),
        ([get(3), raw(kind::DATA, 0, 1, b"a")].concat(), code::STREAM_CLOSED),
        ([get(1), raw(kind::DATA, 0, 1, b"a")].concat(), code::STREAM_CLOSED),
        ([get(1), get(1)].concat(), code::STREAM_CLOSED),
        ([get(3), get(1)].concat(), code::STREAM_CLOSED),
        (raw(kind::HEADERS, 5, 1, b"\x80"), code::COMPRESSION_ERROR),
        (raw(kind::SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 2]), code::PROTOCOL_ERROR),
        (raw(kind::WINDOW_UPDATE, 0, 0, &[0x7f, 255, 255, 255]), code::FLOW_CONTROL_ERROR),
    ];
    for (bytes, expected) in rows {
        let (is_ok, _, out) = fed(SERVER, bytes);
        let last = frames(&out).last().map(|frame| (frame.0, frame.3[4..8].to_vec()));
        assert!(!is_ok && last == Some((kind::GOAWAY, expected.to_be_bytes().to_vec())), "{bytes:?}");
    }
    for hello in [&b"GET / HTTP/1.1\r\n"[..], &[&PREFACE[..], &raw(kind::PING, 0, 0, &[0; 8])].concat()] {
        assert!(Server::new(SERVER).feed(hello, &mut Vec::new(), &mut Vec::new()).is_err());
    }
    // Both windows: what the default allows, and a byte more.
    let full = raw(kind::DATA, 0, 1, &[0; 16_384]).repeat(3);
    let full = [full, raw(kind::DATA, 0, 1, &[0; 16_383])].concat();
    let post = request(1, &with("POST", &[]), false);
    assert!(fed(SERVER, &[post, full].concat()).0, "windows are given back");
}

#[test]
fn small_windows_hold_once_the_client_knows_them() {
    let options = ServerOptions { window: 10, ..SERVER };
    let mut server = greeted(options);
    let (mut out, mut events) = (Vec::new(), Vec::new());
    let post = request(1, &with("POST", &[]), false);
    let before = [post, raw(kind::DATA, 0, 1, &[0; 100])].concat();
    assert_eq!(server.feed(&before, &mut out, &mut events), Ok(()));
    assert_eq!(frames(&out), []);
    // Known now: 100 of 10 are used, and all are given back.
    assert_eq!(server.feed(&raw(kind::SETTINGS, 1, 0, b""), &mut out, &mut events), Ok(()));
    assert_eq!(frames(&out), [(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 100][..])]);
    out.clear();
    assert_eq!(server.feed(&raw(kind::DATA, 0, 1, &[0; 10]), &mut out, &mut events), Ok(()));
    assert_eq!(frames(&out), [(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 10][..])]);
    // Padding counts: 1 of content, 9 of padding, and its length.
    let padded = [&[9][..], &[0; 10]].concat();
    assert_eq!(server.feed(&raw(kind::DATA, 8, 1, &padded), &mut out, &mut events), Ok(()));
    assert!(
        matches!(events.last(), Some(ServerEvent::Rejected { stream: 1, why }) if why.contains("window"))
    );
    assert!(server.feed(&raw(kind::SETTINGS, 1, 0, b""), &mut out, &mut events).is_err());
}

#[test]
fn more_streams_than_allowed_are_refused() {
    let options = ServerOptions { max_streams: 1, ..SERVER };
    let (is_ok, events, out) = fed(options, &[request(1, GET, true), request(3, GET, true)].concat());
    assert!(is_ok && events.len() == 1);
    assert_eq!(frames(&out), [(kind::RST_STREAM, 0, 3, &[0, 0, 0, 7][..])]);
}

#[test]
fn going_away_serves_what_was_begun() {
    let (mut server, mut out, mut events) = (greeted(SERVER), Vec::new(), Vec::new());
    assert_eq!(server.feed(&request(1, GET, true), &mut out, &mut events), Ok(()));
    server.go_away(&mut out);
    server.go_away(&mut out);
    assert_eq!(frames(&out), [(kind::GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0][..])]);
    // What the client sent before it knew is ignored.
    let late = [request(3, &with("POST", &[]), false), raw(kind::DATA, 1, 3, b"a")].concat();
    assert_eq!(server.feed(&late, &mut out, &mut events), Ok(()));
    assert!(events.len() == 1 && server.is_closing() && server.open_streams() == 1);
    server.answer::<&str, &str>(1, 200, &[], true, &mut out);
    assert_eq!(server.open_streams(), 0);
}

#[test]
fn nothing_is_sent_on_streams_that_are_gone() {
    let (mut server, mut out, mut events) = (greeted(SERVER), Vec::new(), Vec::new());
    let reset = raw(kind::RST_STREAM, 0, 1, &[0, 0, 0, 8]);
    assert_eq!(server.feed(&[request(1, GET, true), reset].concat(), &mut out, &mut events), Ok(()));
    assert_eq!(events[1], ServerEvent::Reset { stream: 1 });
    server.interim(1, 100, &[("a", "b")], &mut out);
    server.answer(1, 200, &[("a", "b")], false, &mut out);
    assert_eq!(server.data(1, b"abc", true, &mut out), 0);
    assert_eq!(server.data_shared(1, &Arc::from(&b"abc"[..]), true, &mut out), 0);
    server.trailers(1, &[("a", "b")], &mut out);
    server.reset(1, code::CANCEL, &mut out);
    assert!(out.is_empty());
    // Nor content before the head, nor anything behind the end.
    assert_eq!(server.feed(&request(3, GET, true), &mut out, &mut events), Ok(()));
    assert_eq!(server.data(3, b"abc", true, &mut out), 0);
    server.trailers(3, &[("a", "b")], &mut out);
    assert!(out.is_empty());
    server.answer::<&str, &str>(3, 200, &[], true, &mut out);
    let length = out.len();
    server.answer::<&str, &str>(3, 200, &[], true, &mut out);
    assert_eq!(server.data(3, b"abc", true, &mut out), 0);
    assert_eq!(out.len(), length);
}

#[test]
fn answers_wait_for_windows_in_turns() {
    let (mut server, mut out, mut events) = (greeted(SERVER), Vec::new(), Vec::new());
    let mut bytes = Vec::new();
    frame::settings(&[(setting::INITIAL_WINDOW_SIZE, 40_000)], &mut bytes);
    bytes.extend([request(1, GET, true), request(3, GET, true)].concat());
    assert_eq!(server.feed(&bytes, &mut out, &mut events), Ok(()));
    let shared = body(50_000, 0);
    for stream in [1, 3] {
        server.answer::<&str, &str>(stream, 200, &[], false, &mut out);
        server.data_shared(stream, &shared, true, &mut out);
    }
    assert_eq!((server.pending(1), server.pending(3)), (10_000, 50_000 - 25_535));
    out.clear();
    // The connection opens: stream 3 is held by its own window, stream 1 still is.
    assert_eq!(server.feed(&raw(kind::WINDOW_UPDATE, 0, 0, &[0, 1, 0, 0]), &mut out, &mut events), Ok(()));
    assert_eq!((server.pending(1), server.pending(3)), (10_000, 10_000));
    let update = [1, 3].map(|stream| raw(kind::WINDOW_UPDATE, 0, stream, &[0, 0, 0x40, 0])).concat();
    assert_eq!(server.feed(&update, &mut out, &mut events), Ok(()));
    assert_eq!((server.pending(1), server.open_streams()), (0, 0));
}
