//! What a server may and may not do to the client.

use super::*;
use crate::http2::client::Cause;
use crate::http2::frame::{code, kind, setting};

/// A client that has sent `requests` GET requests (streams 1, 3, …, tickets 1, 2, …) to a server that
/// said nothing but its settings.
fn asked(requests: u32) -> Both {
    let mut both = Both::new(CLIENT, SERVER);
    for ticket in 1..=requests {
        both.client.request(ticket, &get(), &body(0, 0), &mut both.to_server);
    }
    both.to_server.clear();
    both
}

fn head(stream: u32, status: u16, fields: &[(&str, &str)], end: bool) -> Vec<u8> {
    raw(kind::HEADERS, 4 | u8::from(end), stream, &encode_answer(status, fields))
}

fn block(stream: u32, fields: &[(&str, &str)], end: bool) -> Vec<u8> {
    raw(kind::HEADERS, 4 | u8::from(end), stream, &encode_request(fields))
}

fn answered(ticket: Ticket, status: u16, content_bytes: u64) -> ClientEvent {
    ClientEvent::Answered { ticket, status, grpc_status: None, content_bytes, counted: None }
}

/// After these frames on its only stream the client says this, and its connection goes on.
fn check(bytes: &[u8], expected: Result<ClientEvent, Cause>) {
    let mut both = asked(1);
    assert_eq!(both.inject(bytes), Ok(()), "{bytes:?}");
    let expected = expected.unwrap_or_else(|cause| ClientEvent::Failed { ticket: 1, cause });
    assert_eq!(both.client_events, [expected], "{bytes:?}");
    assert_eq!(both.client.in_flight(), 0);
    assert!(!both.client.is_closing());
    // The next request works.
    both.client.request(1, &get(), &body(0, 0), &mut both.to_server);
    both.client_events.clear();
    assert_eq!(both.inject(&head(3, 200, &[], true)), Ok(()));
    assert_eq!(both.client_events, [answered(1, 200, 0)]);
}

/// These frames are the connection's end.
fn check_fatal(bytes: &[u8], expected: u32) {
    let mut both = asked(2);
    assert!(both.inject(bytes).is_err(), "{bytes:?}");
    let written = frames(&both.to_server);
    let last = written.last().map(|frame| (frame.0, frame.3[4..8].to_vec()));
    assert_eq!(last, Some((kind::GOAWAY, expected.to_be_bytes().to_vec())), "{bytes:?}");
    assert!(both.client.is_closing() && both.client.room() == 0);
    assert!(both.inject(&head(1, 200, &[], true)).is_err(), "it stays so");
}

#[test]
fn good_answers() {
    let data = |bytes: &[u8], end: u8| raw(kind::DATA, end, 1, bytes);
    check(&head(1, 200, &[], true), Ok(answered(1, 200, 0)));
    check(
        &[head(1, 200, &[("content-length", "3")], false), data(b"abc", 1)].concat(),
        Ok(answered(1, 200, 3)),
    );
    check(&[head(1, 200, &[], false), data(b"abc", 0), data(b"", 1)].concat(), Ok(answered(1, 200, 3)));
    check(
        &[head(1, 100, &[], false), head(1, 103, &[], false), head(1, 404, &[], true)].concat(),
        Ok(answered(1, 404, 0)),
    );
    check(&[head(1, 200, &[], false), block(1, &[("x", "y")], true)].concat(), Ok(answered(1, 200, 0)));
    check(&[head(1, 304, &[("content-length", "9")], true)].concat(), Ok(answered(1, 304, 0)));
    let grpc = |status: &str| head(1, 200, &[("grpc-status", status), ("x-server", "s")], true);
    for (text, number) in [("0", 0), ("16", 16), ("x", 2)] {
        let answer = ClientEvent::Answered {
            ticket: 1,
            status: 200,
            grpc_status: Some(number),
            content_bytes: 0,
            counted: Some("s".into()),
        };
        check(&grpc(text), Ok(answer));
    }
}

#[test]
fn a_head_request_has_no_content_whatever_its_length() {
    let mut both = Both::new(CLIENT, SERVER);
    let head_block = encode_request(&[(":method", "HEAD"), (":scheme", "http"), (":path", "/")]);
    for ticket in [1, 2] {
        both.client.request(ticket, &head_block, &body(0, 0), &mut both.to_server);
    }
    assert_eq!(both.inject(&head(1, 200, &[("content-length", "12")], true)), Ok(()));
    assert_eq!(both.client_events, [answered(1, 200, 0)]);
    let wrong = [head(3, 200, &[], false), raw(kind::DATA, 1, 3, b"a")].concat();
    assert_eq!(both.inject(&wrong), Ok(()));
    assert!(matches!(both.client_events[1], ClientEvent::Failed { ticket: 2, cause: Cause::Malformed(_) }));
}

#[test]
fn bad_answers_end_their_stream() {
    let data = |bytes: &[u8], end: u8| raw(kind::DATA, end, 1, bytes);
    let rows: &[(Vec<u8>, &str)] = &[
        (block(1, &[("x", "y")], true), "a response without a status"),
        (block(1, &[(":status", "20")], true), "a status that is not three digits"),
        (block(1, &[(":status", "099")], true), "a status that is not three digits"),
        (block(1, &[(":status", "200"), (":status", "200")], true), "more than one status"),
        (block(1, &[("x", "y"), (":status", "200")], true), "a pseudo-header behind a regular one"),
        (block(1, &[(":path", "/")], true), "an unknown pseudo-header in a response"),
        (head(1, 101, &[], false), "101, which HTTP/2 does not have"),
        (head(1, 100, &[], true), "an interim response that is the end"),
        (raw(kind::HEADERS, 5, 1, b"\x88\x00\x01X\x01y"), "a header name with capitals"),
        (raw(kind::HEADERS, 5, 1, b"\x88\x00\x01 \x01y"), "a header name that is no token"),
        (raw(kind::HEADERS, 5, 1, b"\x88\x00\x00\x01y"), "a header without a name"),
        (head(1, 200, &[("x", "a\rb")], true), "a control byte in a header value"),
        (head(1, 200, &[("x", " a")], true), "white space around a header value"),
        (head(1, 200, &[("connection", "close")], true), "a header of HTTP/1 connections"),
        (head(1, 200, &[("transfer-encoding", "chunked")], true), "a header of HTTP/1 connections"),
        (head(1, 200, &[("te", "trailers")], true), "TE in a response"),
        (head(1, 200, &[("content-length", "1")], true), "content of a wrong length"),
        (
            head(1, 200, &[("content-length", "+1")], true),
            "Content-Length is not a number of at most 63 bits",
        ),
        (
            head(1, 200, &[("content-length", "0"), ("content-length", "0")], true),
            "more than one Content-Length",
        ),
        (
            [head(1, 200, &[("content-length", "1")], false), data(b"ab", 0)].concat(),
            "content of a wrong length",
        ),
        ([head(1, 204, &[], false), data(b"a", 1)].concat(), "content where none may be"),
        (data(b"a", 0), "content before a response"),
        ([head(1, 103, &[], false), data(b"a", 0)].concat(), "content before a response"),
        ([head(1, 200, &[], false), head(1, 200, &[], true)].concat(), "a pseudo-header in trailers"),
        (
            [head(1, 200, &[], false), block(1, &[("x", "y")], false)].concat(),
            "trailers that are not the end",
        ),
        (raw(kind::WINDOW_UPDATE, 0, 1, &[0; 4]), "WINDOW_UPDATE of nothing"),
        (raw(kind::WINDOW_UPDATE, 0, 1, &[0x7f, 255, 255, 255]), "a stream's window above the limit"),
    ];
    for (bytes, why) in rows {
        check(bytes, Err(Cause::Malformed(why)));
    }
    check(&raw(kind::RST_STREAM, 0, 1, &[0, 0, 0, 7]), Err(Cause::Unprocessed));
    check(&raw(kind::RST_STREAM, 0, 1, &[0, 0, 0, 2]), Err(Cause::Reset(2)));
}

#[test]
fn violations_end_the_connection() {
    let ended = head(1, 200, &[], true);
    let rows: &[(Vec<u8>, u32)] = &[
        (head(2, 200, &[], true), code::PROTOCOL_ERROR),
        (head(5, 200, &[], true), code::PROTOCOL_ERROR),
        (raw(kind::DATA, 0, 5, b"a"), code::PROTOCOL_ERROR),
        (raw(kind::RST_STREAM, 0, 5, &[0; 4]), code::PROTOCOL_ERROR),
        (raw(kind::WINDOW_UPDATE, 0, 5, &[0, 0, 0, 1]), code::PROTOCOL_ERROR),
        (raw(kind::WINDOW_UPDATE, 0, 0, &[0; 4]), code::PROTOCOL_ERROR),
        (raw(kind::WINDOW_UPDATE, 0, 0, &[0x7f, 255, 255, 255]), code::FLOW_CONTROL_ERROR),
        ([ended.clone(), ended.clone()].concat(), code::STREAM_CLOSED),
        ([ended.clone(), raw(kind::DATA, 0, 1, b"a")].concat(), code::STREAM_CLOSED),
        (raw(kind::HEADERS, 5, 1, b"\xff"), code::COMPRESSION_ERROR),
        (raw(kind::SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 1]), code::PROTOCOL_ERROR),
        (raw(kind::SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0]), code::FLOW_CONTROL_ERROR),
        (raw(kind::SETTINGS, 0, 0, &[0, 5, 0, 0, 0x3f, 0xff]), code::PROTOCOL_ERROR),
        (raw(kind::SETTINGS, 0, 0, &[0, 5, 1, 0, 0, 0]), code::PROTOCOL_ERROR),
        (raw(kind::SETTINGS, 0, 0, &[0, 8, 0, 0, 0, 2]), code::PROTOCOL_ERROR),
        (raw(kind::SETTINGS, 1, 0, b""), code::PROTOCOL_ERROR),
        (raw(kind::PUSH_PROMISE, 4, 1, &[0, 0, 0, 2, 0x88]), code::PROTOCOL_ERROR),
        (
            [raw(kind::GOAWAY, 0, 0, &[0; 8]), raw(kind::GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0])].concat(),
            code::PROTOCOL_ERROR,
        ),
    ];
    for (bytes, expected) in rows {
        check_fatal(bytes, *expected);
    }
    let mut client = Client::new(CLIENT);
    assert!(client.feed(&raw(kind::PING, 0, 0, &[0; 8]), &mut Vec::new(), &mut Vec::new()).is_err());
}

#[test]
fn go_away_tells_what_was_not_processed() {
    let mut both = asked(3);
    assert_eq!(both.inject(&raw(kind::GOAWAY, 0, 0, &[0, 0, 0, 3, 0, 0, 0, 0])), Ok(()));
    let failed = ClientEvent::Failed { ticket: 3, cause: Cause::Unprocessed };
    assert_eq!(both.client_events, std::slice::from_ref(&failed));
    assert!(both.client.is_closing() && both.client.room() == 0 && both.client.in_flight() == 2);
    // A server that answers it all the same is late, not wrong.
    let late = [head(5, 200, &[], true), head(3, 200, &[], true), head(1, 200, &[], true)].concat();
    assert_eq!(both.inject(&late), Ok(()));
    assert_eq!(both.client_events, [failed, answered(2, 200, 0), answered(1, 200, 0)]);
}

#[test]
fn cancelled_streams_are_excused() {
    let mut both = asked(2);
    both.client.cancel(1, &mut both.to_server);
    assert_eq!(frames(&both.to_server), [(kind::RST_STREAM, 0, 1, &[0, 0, 0, 8][..])]);
    let late = [head(1, 200, &[], false), raw(kind::DATA, 1, 1, b"abc"), head(3, 200, &[], true)].concat();
    assert_eq!(both.inject(&late), Ok(()));
    assert_eq!(both.client_events, [answered(2, 200, 0)]);
}

#[test]
fn settings_change_open_windows() {
    let mut both = Both::new(CLIENT, SERVER);
    let window = |bytes: u32| {
        let mut out = Vec::new();
        frame::settings(&[(setting::INITIAL_WINDOW_SIZE, bytes)], &mut out);
        out
    };
    let sent = |both: &mut Both| {
        let bytes = std::mem::take(&mut both.to_server);
        let data = frames(&bytes).into_iter().filter(|frame| frame.0 == kind::DATA);
        data.map(|frame| frame.3.len()).sum::<usize>()
    };
    assert_eq!(both.inject(&window(100)), Ok(()));
    both.client.request(1, &post(), &body(1_000, 0), &mut both.to_server);
    assert_eq!(sent(&mut both), 100);
    // Below zero: 50 - 100. It takes 51 to send one byte.
    assert_eq!(both.inject(&window(50)), Ok(()));
    assert_eq!(both.inject(&raw(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 50])), Ok(()));
    assert_eq!(sent(&mut both), 0);
    assert_eq!(both.inject(&raw(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])), Ok(()));
    assert_eq!(sent(&mut both), 1);
    assert_eq!(both.inject(&window(60)), Ok(()));
    assert_eq!(sent(&mut both), 10);
    assert_eq!(both.inject(&window(65_535)), Ok(()));
    assert_eq!(sent(&mut both), 889);
}

#[test]
fn the_other_settings_are_kept() {
    let mut both = Both::new(CLIENT, SERVER);
    assert_eq!(both.client.room(), 100);
    let mut out = Vec::new();
    let values = [
        (setting::HEADER_TABLE_SIZE, 0),
        (setting::MAX_CONCURRENT_STREAMS, 2),
        (setting::MAX_FRAME_SIZE, 20_000),
        (0x0a0a, 7),
    ];
    frame::settings(&values, &mut out);
    assert_eq!(both.inject(&out), Ok(()));
    assert_eq!(frames(&both.to_server), [(kind::SETTINGS, 1, 0, &[][..])]);
    both.to_server.clear();
    assert_eq!(both.client.room(), 2);
    both.client.request(1, &post(), &body(30_000, 0), &mut both.to_server);
    both.client.request(2, &get(), &body(0, 0), &mut both.to_server);
    assert_eq!(both.client.room(), 0);
    let written = frames(&both.to_server);
    // Only the first block says that the table is off (RFC 7541, section 4.2).
    assert_eq!(written[0].3, [&[0x20][..], &post()].concat());
    assert_eq!(written[1].3.len(), 20_000);
    assert_eq!(written[3].3, get());
}

#[test]
fn an_early_answer_lets_the_body_go_on() {
    let mut both = Both::new(CLIENT, SERVER);
    both.client.request(1, &post(), &body(100_000, 0), &mut both.to_server);
    both.to_server.clear();
    assert_eq!(both.inject(&head(1, 200, &[], true)), Ok(()));
    assert_eq!(both.client_events, [answered(1, 200, 0)]);
    assert_eq!(both.client.in_flight(), 0);
    assert_eq!(both.client.room(), 99, "its stream is still open");
    let update = [0_u32, 1].map(|stream| raw(kind::WINDOW_UPDATE, 0, stream, &[0, 1, 0, 0])).concat();
    assert_eq!(both.inject(&update), Ok(()));
    let last = frames(&both.to_server).last().map(|frame| (frame.0, frame.1));
    assert_eq!(last, Some((kind::DATA, 1)));
    assert_eq!(both.client.room(), 100);
}

#[test]
fn messages_are_counted_wherever_frames_cut_them() {
    let stream = b"\0\0\0\0\x05hello\x01\0\0\0\0\0\0\0\x01\x00".as_slice();
    let stream = [stream, &[7; 256]].concat();
    for cut in 0..stream.len() {
        let mut both = Both::new(CLIENT, SERVER);
        both.client.open_stream(9, &post(), &mut both.to_server);
        let mut bytes = head(1, 200, &[], false);
        bytes.extend(raw(kind::DATA, 0, 1, &stream[..cut]));
        bytes.extend(raw(kind::DATA, 0, 1, &stream[cut..]));
        bytes.extend(block(1, &[("grpc-status", "0")], true));
        assert_eq!(both.inject(&bytes), Ok(()));
        let message = |bytes| ClientEvent::Message { ticket: 9, bytes };
        assert_eq!(both.client_events[..3], [message(5), message(0), message(256)], "cut at {cut}");
        assert!(matches!(both.client_events[3..], [ClientEvent::Answered { grpc_status: Some(0), .. }]));
        // Nobody can finish this side any more.
        let last = frames(&both.to_server).last().map(|frame| (frame.0, frame.3.to_vec()));
        assert_eq!(last, Some((kind::RST_STREAM, vec![0; 4])));
        assert_eq!(both.client.room(), 100);
    }
    // An error page is no message.
    let mut both = Both::new(CLIENT, SERVER);
    both.client.open_stream(9, &post(), &mut both.to_server);
    let bytes = [head(1, 503, &[], false), raw(kind::DATA, 1, 1, b"<html>")].concat();
    assert_eq!(both.inject(&bytes), Ok(()));
    assert_eq!(both.client_events, [answered(9, 503, 6)]);
    for (wrong, why) in [
        (&b"\x02\0\0\0\0"[..], "a message prefix that gRPC does not have"),
        (b"\0\0\0\0\x02a", "a message cut off"),
        (b"\0\0\0", "a message cut off"),
    ] {
        let mut both = Both::new(CLIENT, SERVER);
        both.client.open_stream(9, &post(), &mut both.to_server);
        let bytes = [head(1, 200, &[], false), raw(kind::DATA, 1, 1, wrong)].concat();
        assert_eq!(both.inject(&bytes), Ok(()));
        let failed = ClientEvent::Failed { ticket: 9, cause: Cause::Malformed(why) };
        assert_eq!(both.client_events, [failed]);
    }
}

#[test]
fn the_last_stream_number_is_the_end() {
    let mut both = Both::new(CLIENT, SERVER);
    both.client.skip_to(0x7fff_fffd);
    assert_eq!(both.client.room(), 2);
    both.client.request(1, &get(), &body(0, 0), &mut both.to_server);
    assert_eq!(both.client.room(), 1);
    assert!(!both.client.is_closing());
    both.client.request(2, &get(), &body(0, 0), &mut both.to_server);
    assert!(both.client.is_closing() && both.client.room() == 0);
    assert_eq!(frames(&both.to_server)[1].2, 0x7fff_ffff);
}
