//! Frames that break a rule of their own type (RFC 9113 sections 4 and 6), and the preface (3.4).

use super::*;
use crate::http::h2::frame::setting;

const SIZE: ErrorCode = ErrorCode::FRAME_SIZE_ERROR;
const PROTOCOL: ErrorCode = ErrorCode::PROTOCOL_ERROR;

#[test]
fn each_type_has_its_size() {
    #[rustfmt::skip]
    let rows: &[(&str, Vec<u8>, Comes)] = &[
        ("PING of 7", frame(Kind::Ping, 0, 0, &[0; 7]), Broken(SIZE)),
        ("PING of 9", frame(Kind::Ping, 0, 0, &[0; 9]), Broken(SIZE)),
        ("PING", frame(Kind::Ping, 0, 0, &[0; 8]), Fine),
        ("SETTINGS of 5", frame(Kind::Settings, 0, 0, &[0; 5]), Broken(SIZE)),
        ("SETTINGS acknowledged with a payload", frame(Kind::Settings, ACK, 0, &[0; 6]), Broken(SIZE)),
        ("WINDOW_UPDATE of 3", frame(Kind::WindowUpdate, 0, 0, &[0; 3]), Broken(SIZE)),
        ("WINDOW_UPDATE of 5", frame(Kind::WindowUpdate, 0, 0, &[0; 5]), Broken(SIZE)),
        ("RST_STREAM of 3", frame(Kind::RstStream, 0, 1, &[0; 3]), Broken(SIZE)),
        ("RST_STREAM of 5", frame(Kind::RstStream, 0, 1, &[0; 5]), Broken(SIZE)),
        ("GOAWAY of 7", frame(Kind::GoAway, 0, 0, &[0; 7]), Broken(SIZE)),
        ("GOAWAY with words", frame(Kind::GoAway, 0, 0, &[0; 20]), Fine),
        ("PRIORITY of 4, idle", frame(Kind::Priority, 0, 1, &[0; 4]), Broken(SIZE)),
        ("DATA over the limit", data(1, 0, &[0; 16_385]), Broken(SIZE)),
        ("HEADERS over the limit", headers(1, WHOLE, &[0; 16_385]), Broken(SIZE)),
        ("unknown over the limit", frame(Kind::Other(200), 0, 0, &[0; 16_385]), Broken(SIZE)),
        ("padded HEADERS without a length", headers(1, WHOLE | flags::PADDED, &[]), Broken(SIZE)),
        ("HEADERS without its priority", headers(1, WHOLE | flags::PRIORITY, &[0; 4]), Broken(SIZE)),
    ];
    for (name, bytes, expected) in rows {
        check(name, &[In(bytes.clone())], *expected);
    }
    check("padded DATA without a length", &[In(post(1)), In(data(1, flags::PADDED, b""))], Broken(SIZE));
}

#[test]
fn each_type_has_its_stream() {
    #[rustfmt::skip]
    let rows: &[(&str, Vec<u8>)] = &[
        ("PING", frame(Kind::Ping, 0, 1, &[0; 8])),
        ("SETTINGS", frame(Kind::Settings, 0, 1, &[])),
        ("GOAWAY", frame(Kind::GoAway, 0, 1, &[0; 8])),
        ("DATA", data(0, 0, b"x")),
        ("HEADERS", headers(0, WHOLE, GET)),
        ("RST_STREAM", rst(0, ErrorCode::CANCEL)),
        ("PRIORITY", frame(Kind::Priority, 0, 0, &[0; 5])),
        ("CONTINUATION", frame(Kind::Continuation, WHOLE, 0, GET)),
    ];
    for (name, bytes) in rows {
        check(name, &[In(get(1)), In(bytes.clone())], Broken(PROTOCOL));
    }
}

#[test]
fn padding_stays_within_its_frame() {
    let padded = flags::PADDED;
    let headers_with = |length: u8, block: &[u8], padding: usize| {
        headers(1, WHOLE | END | padded, &[&[length], block, &vec![0; padding]].concat())
    };
    check("HEADERS", &[In(headers_with(3, GET, 3))], Fine);
    check("HEADERS, all padding", &[In(headers_with(200, GET, 3))], Broken(PROTOCOL));
    let both = [&[2, 0x80, 0, 0, 5, 1], GET, &[0, 0]].concat();
    check("padding and priority", &[In(headers(1, WHOLE | END | padded | flags::PRIORITY, &both))], Fine);
    check("DATA", &[In(post(1)), In(data(1, padded, b"\x02x\0\0"))], Fine);
    check("DATA, nothing else", &[In(post(1)), In(data(1, padded | END, b"\x02\0\0"))], Fine);
    check("DATA, a byte too much", &[In(post(1)), In(data(1, padded, b"\x03x\0"))], Broken(PROTOCOL));
    check("DATA, its length alone", &[In(post(1)), In(data(1, padded, b"\x01"))], Broken(PROTOCOL));
    check("DATA, empty padding", &[In(post(1)), In(data(1, padded, b"\x00"))], Fine);
}

#[test]
fn padded_content_comes_without_its_padding() {
    for pieces in [usize::MAX, 1, 3] {
        let mut side = Side::server(Limits::server());
        side.pieces = pieces;
        side.feed(&post(1)).expect("a request");
        let bytes =
            [data(1, flags::PADDED, b"\x03abc\0\0\0"), data(1, flags::PADDED | END, b"\x02\0\0")].concat();
        let expected = Seen::Data { id: 1, bytes: b"abc".to_vec(), end: true };
        assert_eq!(side.feed(&bytes), Ok(vec![expected]));
    }
}

#[test]
fn header_blocks_are_not_interrupted() {
    let begun = || In(headers(1, END, &GET[..2]));
    let rest = |id: u32, flags: u8| In(frame(Kind::Continuation, flags, id, &GET[2..]));
    check("two frames", &[begun(), rest(1, WHOLE)], Fine);
    check("many frames", &[begun(), In(frame(Kind::Continuation, 0, 1, &[])), rest(1, WHOLE)], Fine);
    check("another stream's", &[begun(), rest(3, WHOLE)], Broken(PROTOCOL));
    for (name, bytes) in [
        ("DATA", data(1, 0, b"x")),
        ("HEADERS", headers(1, WHOLE, TRAILER)),
        ("HEADERS of another", get(3)),
        ("PRIORITY", frame(Kind::Priority, 0, 1, &[0; 5])),
        ("PING", frame(Kind::Ping, 0, 0, &[0; 8])),
        ("unknown", frame(Kind::Other(99), 0, 1, &[])),
    ] {
        check(name, &[begun(), In(bytes)], Broken(PROTOCOL));
    }
    check("CONTINUATION after the end", &[In(get(1)), rest(1, WHOLE)], Broken(PROTOCOL));
}

#[test]
fn unknown_frames_and_flags_are_ignored() {
    check("unknown on the connection", &[In(frame(Kind::Other(99), 0xff, 0, b"abc")), In(get(1))], Fine);
    check("unknown on an idle stream", &[In(frame(Kind::Other(99), 0, 7, b"")), In(get(1))], Fine);
    check("PRIORITY_UPDATE", &[In(frame(Kind::Other(0x10), 0, 0, b"\0\0\0\x01u=1")), In(get(1))], Fine);
    check(
        "unknown flags",
        &[In(frame(Kind::Ping, 0xf0, 0, &[0; 8])), In(headers(1, 0xc2 | WHOLE | END, GET))],
        Fine,
    );
    check("setting that nobody knows", &[In(settings(&[(0xaaaa, 5)])), In(get(1))], Fine);
}

#[test]
fn settings_are_acknowledged_once_each() {
    let mut side = Side::server(Limits::server());
    let bytes = [settings(&[]), settings(&[(setting::MAX_CONCURRENT_STREAMS, 7)])].concat();
    assert_eq!(side.feed(&bytes), Ok(vec![Seen::Settings, Seen::Settings]));
    let acknowledged = (Kind::Settings, ACK, 0, vec![]);
    assert_eq!(side.sent(), [acknowledged.clone(), acknowledged]);
    assert_eq!(side.machine.peer().concurrent_streams, 7);
    check("an acknowledgement of nothing", &[In(frame(Kind::Settings, ACK, 0, &[]))], Broken(PROTOCOL));
    check("a value out of range", &[In(settings(&[(setting::ENABLE_PUSH, 2)]))], Broken(PROTOCOL));
    let window = settings(&[(setting::INITIAL_WINDOW_SIZE, 1 << 31)]);
    check("a window out of range", &[In(window)], Broken(ErrorCode::FLOW_CONTROL_ERROR));
}

#[test]
fn pings_are_answered_with_their_bytes() {
    let mut side = Side::server(Limits::server());
    let bytes = [frame(Kind::Ping, 0, 0, b"12345678"), frame(Kind::Ping, ACK, 0, b"12345678")].concat();
    assert_eq!(side.feed(&bytes), Ok(vec![]));
    assert_eq!(side.sent(), [(Kind::Ping, ACK, 0, b"12345678".to_vec())]);
    side.machine.ping(&mut side.out, side.now);
    let sent = side.sent();
    let pong = frame(Kind::Ping, ACK, 0, &sent[0].3);
    assert_eq!(side.feed(&pong), Ok(vec![Seen::Pong]));
    assert_eq!(side.feed(&pong), Ok(vec![]), "nobody asked");
}

#[test]
fn a_client_begins_with_its_preface_and_settings() {
    let fresh = || {
        let mut out = Vec::new();
        let machine = Connection::server(Limits::server(), &mut out);
        let mut side = Side::new(machine, out);
        let sent = side.sent();
        assert_eq!((sent[0].0, sent[1].0, sent.len()), (Kind::Settings, Kind::WindowUpdate, 2));
        side
    };
    let hello = |rest: Vec<u8>| [PREFACE.to_vec(), rest].concat();
    #[rustfmt::skip]
    let rows: &[(&str, Vec<u8>, bool)] = &[
        ("as it should be", hello(settings(&[])), true),
        ("HTTP/1", b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(), false),
        ("a preface that goes wrong late", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rx".to_vec(), false),
        ("no SETTINGS", hello(get(1)), false),
        ("PING first", hello(frame(Kind::Ping, 0, 0, &[0; 8])), false),
        ("an acknowledgement first", hello(frame(Kind::Settings, ACK, 0, &[])), false),
    ];
    for (name, bytes, fine) in rows {
        for pieces in [usize::MAX, 1, 5] {
            let mut side = fresh();
            side.pieces = pieces;
            assert_eq!(side.feed(bytes).is_ok(), *fine, "{name}");
        }
    }
}

#[test]
fn our_settings_say_what_differs_from_the_defaults() {
    let mut out = Vec::new();
    let limits = Limits {
        stream_window: 65_535,
        connection_window: 65_535,
        extended_connect: true,
        ..Limits::server()
    };
    let machine = Connection::server(limits, &mut out);
    let sent = Side::new(machine, out).sent();
    let ids: Vec<u16> = sent[0].3.chunks(6).map(|entry| u16::from_be_bytes([entry[0], entry[1]])).collect();
    assert_eq!((sent.len(), ids), (1, vec![3, 6, 9, 8]));
    let mut out = Vec::new();
    let limits = Limits { frame_bytes: 1 << 20, table_bytes: 0, ..Limits::client() };
    let machine = Connection::client(limits, &mut out);
    assert_eq!(&out[..PREFACE.len()], PREFACE);
    out.drain(..PREFACE.len());
    let sent = Side::new(machine, out).sent();
    let ids: Vec<u16> = sent[0].3.chunks(6).map(|entry| u16::from_be_bytes([entry[0], entry[1]])).collect();
    assert_eq!((sent.len(), ids), (2, vec![2, 6, 1, 4, 5]));
}
