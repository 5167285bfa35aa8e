//! Heads, trailers and content of requests (RFC 9113 section 8), as a server takes them.

use super::*;

const PROTOCOL: ErrorCode = ErrorCode::PROTOCOL_ERROR;

/// POST with `content-length`.
fn post_of(length: &str) -> Vec<u8> {
    let mut block = POST.to_vec();
    block.extend_from_slice(&[0x0f, 0x0d, length.len() as u8]);
    block.extend_from_slice(length.as_bytes());
    headers(1, WHOLE, &block)
}

#[test]
fn a_request_comes_as_text_with_content_and_trailers() {
    for pieces in [usize::MAX, 1, 3] {
        let mut side = Side::server(Limits::server());
        side.pieces = pieces;
        let bytes = [
            headers(1, 0, &POST[..1]),
            frame(Kind::Continuation, WHOLE, 1, &POST[1..]),
            data(1, 0, b"hello "),
            get(3),
            data(1, 0, b"world"),
            headers(1, WHOLE | END, TRAILER),
        ];
        let seen = side.feed(&bytes.concat()).expect("no fault");
        let text = |method: &str| format!("{method} / HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(
            seen,
            [
                Seen::Head { id: 1, end: false, text: text("POST") },
                Seen::Data { id: 1, bytes: b"hello ".to_vec(), end: false },
                Seen::Head { id: 3, end: true, text: text("GET") },
                Seen::Data { id: 1, bytes: b"world".to_vec(), end: false },
                Seen::Trailers { id: 1, text: "x: y\r\n".into() },
            ]
        );
        assert_eq!(side.machine.active(), 2);
    }
}

#[test]
fn content_is_as_long_as_declared() {
    let trailers = || In(headers(1, WHOLE | END, TRAILER));
    check("as declared", &[In(post_of("5")), In(data(1, 0, b"12")), In(data(1, END, b"345"))], Fine);
    check(
        "an empty frame ends it",
        &[In(post_of("5")), In(data(1, 0, b"12345")), In(data(1, END, b""))],
        Fine,
    );
    check("trailers end it", &[In(post_of("5")), In(data(1, 0, b"12345")), trailers()], Fine);
    check("nothing declared, nothing sent", &[In(post_of("0")), In(data(1, END, b""))], Fine);
    check("too much", &[In(post_of("5")), In(data(1, 0, b"123456"))], Stream(1, PROTOCOL));
    check(
        "too much in parts",
        &[In(post_of("5")), In(data(1, 0, b"12345")), In(data(1, 0, b"6"))],
        Stream(1, PROTOCOL),
    );
    check("too little", &[In(post_of("5")), In(data(1, END, b"1234"))], Stream(1, PROTOCOL));
    check("too little, empty end", &[In(post_of("5")), In(data(1, END, b""))], Stream(1, PROTOCOL));
    check(
        "too little before trailers",
        &[In(post_of("5")), In(data(1, 0, b"1234")), trailers()],
        Stream(1, PROTOCOL),
    );
    let padded = data(1, flags::PADDED | END, b"\x0212345\0\0");
    check("padding does not count", &[In(post_of("5")), In(padded)], Fine);
    let padded = data(1, flags::PADDED | END, b"\x021234\0\0");
    check("padding does not count, too little", &[In(post_of("5")), In(padded)], Stream(1, PROTOCOL));
}

#[test]
fn the_rest_of_a_refused_frame_is_not_passed_on() {
    for pieces in [usize::MAX, 1] {
        let mut side = Side::server(Limits::server());
        side.pieces = pieces;
        let bytes = [post_of("5"), data(1, 0, b"123456"), data(1, END, b"7"), get(3)].concat();
        let seen = side.feed(&bytes).expect("no connection error");
        let reset = Seen::Reset { id: 1, code: PROTOCOL, by_peer: false, processed: true };
        assert_eq!(seen[1], reset);
        assert!(matches!(seen[2], Seen::Head { id: 3, .. }), "{seen:?}");
        assert_eq!(seen.len(), 3);
    }
}

#[test]
fn malformed_heads_reset_their_stream() {
    #[rustfmt::skip]
    let rows: &[(&str, &[u8])] = &[
        ("no :path", &[0x82, 0x86, 0x41, 1, b'a']),
        (":method twice", &[0x82, 0x82, 0x86, 0x84, 0x41, 1, b'a']),
        ("a response's", &[0x88]),
        ("empty", &[]),
        ("an upper-case name", &[0x82, 0x86, 0x84, 0x41, 1, b'a', 0x00, 1, b'X', 1, b'y']),
    ];
    for (name, block) in rows {
        check(name, &[In(headers(1, WHOLE | END, block))], Stream(1, PROTOCOL));
    }
    let mut side = Side::server(Limits::server());
    let seen =
        side.feed(&[headers(1, WHOLE | END, rows[0].1), get(3)].concat()).expect("no connection error");
    assert!(
        matches!(seen[0], Seen::Refused { id: 1, error: BlockError::Malformed(_), end: true }),
        "{seen:?}"
    );
    assert!(matches!(seen[1], Seen::Head { id: 3, .. }), "{seen:?}");
    assert!(!side.answer(1, true), "it is reset already");
    let bad_trailers = [0x82];
    check(
        "pseudo-header in trailers",
        &[In(post(1)), In(headers(1, WHOLE | END, &bad_trailers))],
        Stream(1, PROTOCOL),
    );
}

#[test]
fn broken_compression_breaks_the_connection() {
    let broken = || headers(1, WHOLE | END, &[0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    check("a request", &[In(broken())], Broken(ErrorCode::COMPRESSION_ERROR));
    check("trailers", &[In(post(1)), In(broken())], Broken(ErrorCode::COMPRESSION_ERROR));
    check("nobody's", &[In(post(1)), Reset(1), In(broken())], Broken(ErrorCode::COMPRESSION_ERROR));
}

#[test]
fn heads_too_large_can_be_answered() {
    let limits = Limits { header_list_bytes: 200, uri_bytes: 20, ..Limits::server() };
    let mut side = Side::server(limits);
    let mut block = POST.to_vec();
    for _ in 0..4 {
        block.extend_from_slice(&[0x00, 1, b'x', 40]);
        block.extend_from_slice(&[b'y'; 40]);
    }
    let seen = side.feed(&headers(1, WHOLE, &block)).expect("no connection error");
    assert_eq!(seen, [Seen::Refused { id: 1, error: BlockError::TooLarge, end: false }]);
    assert_eq!(side.sent(), []);
    assert!(side.answer(1, true));
    assert_eq!(side.feed(&data(1, END, b"x")).map(|seen| seen.len()), Ok(1), "what comes still comes");
    assert_eq!(side.machine.active(), 0);
    let path = [&[0x82, 0x86, 0x04, 30, b'/'], &[b'p'; 29][..], &[0x41, 1, b'a']].concat();
    let seen = side.feed(&headers(3, WHOLE | END, &path)).expect("no connection error");
    assert_eq!(seen, [Seen::Refused { id: 3, error: BlockError::UriTooLong, end: true }]);
}

#[test]
fn more_streams_than_allowed_are_refused() {
    let mut side = Side::server(Limits { concurrent_streams: 2, ..Limits::server() });
    let seen =
        side.feed(&[get(1), get(3), post(5), data(5, END, b"late")].concat()).expect("no connection error");
    assert_eq!(seen.len(), 2);
    assert_eq!(side.resets(), [(5, ErrorCode::REFUSED_STREAM)]);
    assert!(side.answer(1, true));
    assert_eq!(side.feed(&get(7)).map(|seen| seen.len()), Ok(1), "there is room again");
    assert_eq!(side.machine.active(), 2);
}

#[test]
fn extended_connect_is_taken_only_where_offered() {
    let mut block = vec![0x02, 7];
    block.extend_from_slice(b"CONNECT");
    block.extend_from_slice(&[0x00, 9]);
    block.extend_from_slice(b":protocol\x09websocket");
    block.extend_from_slice(&[0x86, 0x84, 0x41, 1, b'a']);
    let request = headers(1, WHOLE, &block);
    check("not offered", &[In(request.clone())], Stream(1, PROTOCOL));
    let mut side = Side::server(Limits { extended_connect: true, ..Limits::server() });
    let seen = side.feed(&[request, data(1, 0, b"frames")].concat()).expect("no connection error");
    assert!(matches!(seen[0], Seen::Head { id: 1, end: false, .. }), "{seen:?}");
    assert_eq!(seen[1], Seen::Data { id: 1, bytes: b"frames".to_vec(), end: false });
}

#[test]
fn large_heads_are_sent_in_several_frames() {
    let mut side = Side::server(Limits::server());
    side.feed(&get(1)).expect("a request");
    let key = side.key(1);
    let block: Vec<u8> = (0..40_000_u32).map(|n| n as u8).collect();
    assert!(side.machine.send_head(key, &mut side.out, true, |_, out| out.extend_from_slice(&block)));
    let frames = side.sent();
    let shape: Vec<_> = frames.iter().map(|frame| (frame.0, frame.1, frame.2, frame.3.len())).collect();
    #[rustfmt::skip]
    let expected = [
        (Kind::Headers, END, 1, 16_384),
        (Kind::Continuation, 0, 1, 16_384),
        (Kind::Continuation, WHOLE, 1, 7_232),
    ];
    assert_eq!(shape, expected);
    let sent: Vec<u8> = frames.into_iter().flat_map(|frame| frame.3).collect();
    assert_eq!(sent, block);
}

#[test]
fn trailers_end_what_is_sent() {
    let mut side = Side::server(Limits::server());
    side.feed(&[get(1), get(3)].concat()).expect("requests");
    for id in [1, 3] {
        assert!(side.answer(id, false));
    }
    side.out.clear();
    let key = side.key(1);
    assert!(side.machine.send_trailers(key, &mut side.out, b"grpc-status: 0\r\n"));
    let key = side.key(3);
    assert!(side.machine.send_trailers(key, &mut side.out, b""));
    let sent = side.sent();
    assert_eq!((sent[0].0, sent[0].1, sent[0].2), (Kind::Headers, WHOLE | END, 1));
    assert_eq!(sent[1], (Kind::Data, END, 3, vec![]));
    assert_eq!(side.machine.active(), 0);
}
