//! The client's role: responses, refusals, GOAWAY, limits of the server (RFC 9113 sections 5.1.2, 6.8 and 8).

use super::*;
use crate::http::h2::frame::setting;

const PROTOCOL: ErrorCode = ErrorCode::PROTOCOL_ERROR;

/// `:status`, and `content-length` if given.
fn head(status: &str, length: Option<&str>) -> Vec<u8> {
    let mut block = vec![0x08, 3];
    block.extend_from_slice(status.as_bytes());
    if let Some(length) = length {
        block.extend_from_slice(&[0x0f, 0x0d, length.len() as u8]);
        block.extend_from_slice(length.as_bytes());
    }
    block
}

/// What a server's frames come to for a client that has asked once.
fn answered(name: &str, method: Method, frames: &[Vec<u8>], expected: Comes) {
    for pieces in [usize::MAX, 1, 7] {
        let mut side = Side::client(Limits::client());
        side.pieces = pieces;
        assert_eq!(side.ask(method), 1);
        side.out.clear();
        let came = match side.feed(&frames.concat()) {
            Err(error) => Broken(error.code),
            Ok(_) => side.resets().first().map_or(Fine, |&(id, code)| Stream(id, code)),
        };
        assert_eq!(came, expected, "{name}");
    }
}

#[test]
fn responses_follow_the_rules() {
    let whole =
        |flags: u8, status: &str, length: Option<&str>| headers(1, WHOLE | flags, &head(status, length));
    let fine = |name: &str, method, frames: &[Vec<u8>]| answered(name, method, frames, Fine);
    let bad = |name: &str, method, frames: &[Vec<u8>]| answered(name, method, frames, Stream(1, PROTOCOL));
    fine("no content", Method::Get, &[whole(END, "200", None)]);
    fine("content", Method::Get, &[whole(0, "200", None), data(1, END, b"x")]);
    fine("content as declared", Method::Get, &[whole(0, "200", Some("1")), data(1, END, b"x")]);
    fine("interim", Method::Get, &[whole(0, "103", None), whole(0, "100", None), whole(END, "200", None)]);
    fine(
        "trailers",
        Method::Get,
        &[whole(0, "200", None), data(1, 0, b"x"), headers(1, WHOLE | END, TRAILER)],
    );
    fine("trailers only", Method::Get, &[whole(0, "200", None), headers(1, WHOLE | END, TRAILER)]);
    fine("HEAD has a length", Method::Head, &[whole(END, "200", Some("5"))]);
    fine("HEAD ends late", Method::Head, &[whole(0, "200", Some("5")), data(1, END, b"")]);
    fine("304 has a length", Method::Get, &[whole(END, "304", Some("5"))]);
    bad("HEAD with content", Method::Head, &[whole(0, "200", Some("1")), data(1, END, b"x")]);
    bad("204 with content", Method::Get, &[whole(0, "204", None), data(1, END, b"x")]);
    bad("304 with content", Method::Get, &[whole(0, "304", None), data(1, END, b"x")]);
    bad("too much", Method::Get, &[whole(0, "200", Some("1")), data(1, END, b"xy")]);
    bad("too little", Method::Get, &[whole(0, "200", Some("2")), data(1, END, b"x")]);
    bad("length without content", Method::Get, &[whole(END, "200", Some("2"))]);
    bad("interim ends", Method::Get, &[whole(END, "103", None)]);
    bad("content before the head", Method::Get, &[data(1, 0, b"x")]);
    bad("content after an interim head", Method::Get, &[whole(0, "100", None), data(1, 0, b"x")]);
    bad("trailers that don't end", Method::Get, &[whole(0, "200", None), whole(0, "200", None)]);
    bad("101", Method::Get, &[whole(0, "101", None)]);
    bad("a request's head", Method::Get, &[headers(1, WHOLE | END, GET)]);
    let many: Vec<_> = (0..=limits::INTERIM_RESPONSES_MAX).map(|_| whole(0, "103", None)).collect();
    bad("interim for ever", Method::Get, &many);
}

#[test]
fn servers_break_the_connection_as_clients_do() {
    let ok = || headers(1, WHOLE | END, OK);
    answered("idle", Method::Get, &[headers(3, WHOLE | END, OK)], Broken(PROTOCOL));
    answered("DATA on an idle one", Method::Get, &[data(3, 0, b"x")], Broken(PROTOCOL));
    answered("an even one", Method::Get, &[headers(2, WHOLE | END, OK)], Broken(PROTOCOL));
    answered(
        "a push",
        Method::Get,
        &[frame(Kind::PushPromise, WHOLE, 1, &[0, 0, 0, 2, 0x82])],
        Broken(PROTOCOL),
    );
    answered("after the end", Method::Get, &[ok(), data(1, 0, b"x")], Broken(ErrorCode::STREAM_CLOSED));
    answered("pushes allowed", Method::Get, &[settings(&[(setting::ENABLE_PUSH, 1)])], Broken(PROTOCOL));
    let after_end = [headers(1, WHOLE | END, OK), headers(1, WHOLE | END, TRAILER)];
    answered("half-closed", Method::Post, &after_end, Stream(1, ErrorCode::STREAM_CLOSED));
}

#[test]
fn a_tunnel_has_no_length() {
    let mut side = Side::client(Limits::client());
    let open = side.machine.open(&mut side.out, Method::Connect, false, |_, out| out.extend_from_slice(GET));
    assert!(open.is_some());
    let seen = side.feed(&[headers(1, WHOLE, OK), data(1, 0, b"bytes"), data(1, END, b"")].concat());
    assert_eq!(seen.expect("no fault")[1], Seen::Data { id: 1, bytes: b"bytes".to_vec(), end: true });
}

#[test]
fn identifiers_are_odd_and_grow() {
    let mut side = Side::client(Limits::client());
    assert_eq!([0; 3].map(|_| side.ask(Method::Get)), [1, 3, 5]);
    let shape: Vec<_> = side.sent().into_iter().map(|frame| (frame.0, frame.1, frame.2)).collect();
    assert_eq!(shape, [1, 3, 5].map(|id| (Kind::Headers, WHOLE | END, id)));
    side.machine.newest = 0x7fff_fffd;
    assert!(!side.machine.may_open() || side.ask(Method::Get) == 0x7fff_ffff);
    side.machine.newest = 0x7fff_ffff;
    assert!(!side.machine.may_open(), "there are no more");
}

#[test]
fn the_servers_limit_of_streams_holds() {
    let mut side = Side::client(Limits { concurrent_streams: 3, ..Limits::client() });
    side.feed(&settings(&[(setting::MAX_CONCURRENT_STREAMS, 1)])).expect("settings");
    side.ask(Method::Get);
    assert!(!side.machine.may_open());
    let refused = side.machine.open(&mut side.out, Method::Get, true, |_, _| panic!("nothing is encoded"));
    assert_eq!(refused, None);
    side.feed(&settings(&[(setting::MAX_CONCURRENT_STREAMS, 100)])).expect("settings");
    side.ask(Method::Get);
    side.ask(Method::Get);
    assert!(!side.machine.may_open(), "our own limit");
    side.feed(&headers(1, WHOLE | END, OK)).expect("an answer");
    assert!(side.machine.may_open());
    side.feed(&settings(&[(setting::MAX_CONCURRENT_STREAMS, 0)])).expect("settings");
    assert!(!side.machine.may_open(), "none at all");
    assert_eq!(side.machine.active(), 2, "those that are open stay");
}

#[test]
fn refused_streams_may_be_asked_again() {
    let mut side = Side::client(Limits::client());
    for _ in 0..2 {
        side.ask(Method::Get);
    }
    let reset = |id, code, processed| Seen::Reset { id, code, by_peer: true, processed };
    let bytes = [rst(1, ErrorCode::REFUSED_STREAM), rst(3, ErrorCode::INTERNAL_ERROR)].concat();
    let expected = [reset(1, ErrorCode::REFUSED_STREAM, false), reset(3, ErrorCode::INTERNAL_ERROR, true)];
    assert_eq!(side.feed(&bytes).as_deref(), Ok(&expected[..]));
}

#[test]
fn a_response_may_come_before_the_request_is_over() {
    let mut side = Side::client(Limits::client());
    side.ask(Method::Post);
    let seen =
        side.feed(&[headers(1, WHOLE | END, OK), rst(1, ErrorCode::NO_ERROR)].concat()).expect("no fault");
    assert!(matches!(seen[0], Seen::Head { id: 1, end: true, .. }), "{seen:?}");
    assert_eq!(seen[1], Seen::Reset { id: 1, code: ErrorCode::NO_ERROR, by_peer: true, processed: true });
    assert_eq!(side.send(1, b"more", true), Sent::Gone);
}

#[test]
fn goaway_says_what_will_not_be_processed() {
    let mut side = Side::client(Limits::client());
    for _ in 0..4 {
        side.ask(Method::Get);
    }
    let seen = side.feed(&goaway(0x7fff_ffff, ErrorCode::NO_ERROR)).expect("no fault");
    assert_eq!(seen, [Seen::GoAway(ErrorCode::NO_ERROR)]);
    assert!(!side.machine.may_open() && side.machine.is_draining() && !side.machine.is_over());
    let seen = side.feed(&goaway(3, ErrorCode::NO_ERROR)).expect("no fault");
    let lost = |id| Seen::Reset { id, code: ErrorCode::NO_ERROR, by_peer: true, processed: false };
    assert_eq!(seen, [Seen::GoAway(ErrorCode::NO_ERROR), lost(5), lost(7)]);
    assert_eq!(side.machine.active(), 2);
    side.feed(&[headers(1, WHOLE | END, OK), headers(3, WHOLE | END, OK)].concat()).expect("answers");
    assert!(side.machine.is_over());
    assert_eq!(side.sent(), [1, 3, 5, 7].map(|id| (Kind::Headers, WHOLE | END, id, GET.to_vec())));
    let error = side.feed(&goaway(5, ErrorCode::NO_ERROR)).expect_err("it was refused before");
    assert_eq!(error.code, PROTOCOL);
}

#[test]
fn a_response_too_large_is_refused() {
    let mut side = Side::client(Limits { header_list_bytes: 100, ..Limits::client() });
    side.ask(Method::Get);
    let block = [OK, &[0x00, 1, b'x', 100], &[b'y'; 100]].concat();
    let seen = side.feed(&headers(1, WHOLE, &block)).expect("no connection error");
    assert_eq!(seen, [Seen::Refused { id: 1, error: BlockError::TooLarge, end: false }]);
    assert_eq!(side.machine.active(), 0);
}

#[test]
fn what_the_server_lets_us_compress_with_is_heeded() {
    let mut side = Side::client(Limits::client());
    side.feed(&settings(&[(setting::HEADER_TABLE_SIZE, 0)])).expect("settings");
    let opened = side.machine.open(&mut side.out, Method::Get, true, |encoder, out| {
        super::super::super::head::encode_trailers(encoder, out, b"x: y\r\n");
    });
    assert!(opened.is_some());
    let sent = side.sent().pop().expect("HEADERS");
    assert_eq!(sent.3[0], 0x20, "the table's new size comes first: {:x?}", sent.3);
}
