//! Flow control in both directions (RFC 9113 sections 5.2 and 6.9).

use super::*;
use crate::http::h2::frame::setting;

const FLOW: ErrorCode = ErrorCode::FLOW_CONTROL_ERROR;
const PROTOCOL: ErrorCode = ErrorCode::PROTOCOL_ERROR;
const MAX: u32 = 0x7fff_ffff;

fn window(bytes: u32) -> Vec<u8> {
    settings(&[(setting::INITIAL_WINDOW_SIZE, bytes)])
}

/// A server with requests 1, 3, … whose answers have begun.
fn answering(streams: u32) -> Side {
    let mut side = Side::server(Limits::server());
    for id in (0..streams).map(|n| 2 * n + 1) {
        side.feed(&get(id)).expect("a request");
        assert!(side.answer(id, false));
    }
    side.out.clear();
    side
}

#[test]
fn updates_have_ranges() {
    let open = || In(post(1));
    check("nothing, on a stream", &[open(), In(update(1, 0))], Stream(1, PROTOCOL));
    check("nothing, on the connection", &[In(update(0, 0))], Broken(PROTOCOL));
    check("up to the most, on a stream", &[open(), In(update(1, MAX - 65_535))], Fine);
    check("more than the most, on a stream", &[open(), In(update(1, MAX - 65_534))], Stream(1, FLOW));
    check("more in two steps", &[open(), In(update(1, MAX - 65_535)), In(update(1, 1))], Stream(1, FLOW));
    check("up to the most, on the connection", &[In(update(0, MAX - 65_535))], Fine);
    check("more than the most, on the connection", &[In(update(0, MAX - 65_534))], Broken(FLOW));
    check("by settings", &[open(), In(update(1, 1)), In(window(MAX))], Broken(FLOW));
    check("settings up to the most", &[open(), In(window(MAX)), In(window(0)), In(window(MAX))], Fine);
}

#[test]
fn content_is_sent_as_far_as_the_streams_window_goes() {
    let mut side = answering(1);
    let bytes = vec![7; 100_000];
    side.feed(&update(0, 1_000_000)).expect("an update");
    assert_eq!(side.send(1, &bytes, true), Sent::Some(65_535));
    let lengths: Vec<_> = side.sent().iter().map(|frame| (frame.0, frame.1, frame.3.len())).collect();
    let full = (Kind::Data, 0, 16_384);
    assert_eq!(lengths, [full, full, full, (Kind::Data, 0, 16_383)]);
    assert_eq!(side.send(1, &bytes[65_535..], true), Sent::Some(0));
    assert_eq!(side.sent(), []);
    assert_eq!(side.feed(&update(1, 100_000)), Ok(vec![Seen::Writable(1)]));
    assert_eq!(side.feed(&update(1, 1)), Ok(vec![]), "told once");
    assert_eq!(side.send(1, &bytes[65_535..], true), Sent::Some(34_465));
    let lengths: Vec<_> = side.sent().iter().map(|frame| (frame.1, frame.3.len())).collect();
    assert_eq!(lengths, [(0, 16_384), (0, 16_384), (END, 1_697)]);
    assert_eq!(side.machine.active(), 0);
}

#[test]
fn an_end_without_content_needs_no_window() {
    let mut side = answering(1);
    assert_eq!(side.send(1, &[0; 65_535], false), Sent::Some(65_535));
    assert_eq!(side.send(1, b"", false), Sent::Some(0));
    side.out.clear();
    assert_eq!(side.send(1, b"", true), Sent::Some(0));
    assert_eq!(side.sent(), [(Kind::Data, END, 1, vec![])]);
}

#[test]
fn those_that_wait_for_the_connections_window_take_turns() {
    let mut side = answering(4);
    assert_eq!(side.send(1, &[1; 70_000], false), Sent::Some(65_535));
    for id in [1, 3, 5, 7] {
        assert_eq!(side.send(id, &[1; 50_000], false), Sent::Some(0));
    }
    side.out.clear();
    let seen = side.feed(&update(0, 10_000));
    assert_eq!(seen, Ok(vec![Seen::Writable(3)]), "1 has no window of its own; 5 and 7 come later");
    assert_eq!(side.send(3, &[1; 50_000], false), Sent::Some(10_000));
    let seen = side.feed(&update(0, 40_000));
    assert_eq!(seen, Ok(vec![Seen::Writable(5), Seen::Writable(7), Seen::Writable(3)]));
}

#[test]
fn the_queue_is_first_in_first_out() {
    let mut side = answering(5);
    assert_eq!(side.send(1, &[1; 65_535], false), Sent::Some(65_535));
    for id in [9, 3, 5, 7] {
        assert_eq!(side.send(id, &[1; 50_000], false), Sent::Some(0));
    }
    // Two frames' worth: two streams are told.
    let seen = side.feed(&update(0, 30_000)).expect("an update");
    assert_eq!(seen, [Seen::Writable(9), Seen::Writable(3)]);
    assert_eq!(side.send(9, &[1; 10_000], false), Sent::Some(10_000));
    // The first took less than was thought: the next is told, too.
    assert_eq!(side.feed(b""), Ok(vec![Seen::Writable(5), Seen::Writable(7)]));
    assert_eq!(side.send(3, &[1; 50_000], false), Sent::Some(20_000));
    assert_eq!(side.send(3, &[1; 30_000], false), Sent::Some(0));
    assert_eq!(side.send(5, &[1; 30_000], false), Sent::Some(0));
    let key = side.key(3);
    side.machine.reset(key, ErrorCode::CANCEL, &mut side.out);
    assert_eq!(side.feed(&update(0, 1)), Ok(vec![Seen::Writable(5)]));
}

#[test]
fn one_that_was_told_and_does_not_send_holds_up_nobody_for_long() {
    let mut side = answering(3);
    assert_eq!(side.send(1, &[1; 65_535], false), Sent::Some(65_535));
    assert_eq!(side.send(3, &[1; 9], false), Sent::Some(0));
    assert_eq!(side.send(5, &[1; 9], false), Sent::Some(0));
    assert_eq!(side.feed(&update(0, 100)), Ok(vec![Seen::Writable(3)]));
    assert_eq!(side.feed(b""), Ok(vec![]));
    side.machine.on_time(side.now, &mut side.out).expect("no fault");
    assert_eq!(side.feed(b""), Ok(vec![Seen::Writable(5)]));
}

#[test]
fn settings_change_the_windows_of_open_streams_below_zero() {
    let mut side = answering(2);
    side.feed(&update(0, 1_000_000)).expect("an update");
    assert_eq!(side.send(1, &[1; 60_000], false), Sent::Some(60_000));
    side.feed(&window(1_000)).expect("settings");
    assert_eq!(side.send(1, &[1; 10], false), Sent::Some(0), "59,000 below zero");
    assert_eq!(side.feed(&update(1, 59_000)), Ok(vec![]), "at zero");
    assert_eq!(side.feed(&update(1, 5)), Ok(vec![Seen::Writable(1)]));
    assert_eq!(side.send(1, &[1; 10], false), Sent::Some(5));
    assert_eq!(side.send(3, &[1; 2_000], false), Sent::Some(1_000));
    assert_eq!(side.send(3, &[1; 1_000], false), Sent::Some(0));
    assert_eq!(side.feed(&window(1_500)), Ok(vec![Seen::Settings, Seen::Writable(1), Seen::Writable(3)]));
    side.feed(&get(5)).expect("a request");
    assert!(side.answer(5, false));
    assert_eq!(side.send(5, &[1; 2_000], false), Sent::Some(1_500), "new ones begin with it");
}

#[test]
fn a_window_taken_away_from_one_that_waits_is_waited_for_again() {
    let mut side = answering(2);
    assert_eq!(side.send(1, &[1; 65_535], false), Sent::Some(65_535));
    assert_eq!(side.send(3, &[1; 10], false), Sent::Some(0));
    side.feed(&window(0)).expect("settings");
    assert_eq!(side.feed(&update(0, 100)), Ok(vec![]), "no window of its own");
    assert_eq!(side.feed(&window(10)), Ok(vec![Seen::Settings, Seen::Writable(3)]));
    assert_eq!(side.send(3, &[1; 10], true), Sent::Some(10));
}

#[test]
fn larger_frames_are_sent_where_they_are_taken() {
    let mut side = answering(1);
    side.feed(&settings(&[(setting::MAX_FRAME_SIZE, 60_000)])).expect("settings");
    side.out.clear();
    assert_eq!(side.send(1, &[1; 65_000], true), Sent::Some(65_000));
    let lengths: Vec<_> = side.sent().iter().map(|frame| (frame.1, frame.3.len())).collect();
    assert_eq!(lengths, [(0, 60_000), (END, 5_000)]);
}

#[test]
fn a_frames_head_alone_counts_as_the_frame() {
    let mut side = answering(1);
    let key = side.key(1);
    assert_eq!(side.machine.send_data_head(key, &mut side.out, 20_000, true), Sent::Some(16_384));
    assert_eq!(side.machine.send_data_head(key, &mut side.out, 3_616, true), Sent::Some(3_616));
    assert_eq!(side.out.len(), 2 * HEAD_BYTES);
    assert_eq!(side.machine.send.bytes(), 65_535 - 20_000);
    assert_eq!(side.machine.active(), 0);
}

/// A server with small windows.
fn small() -> Limits {
    Limits { stream_window: 1_000, connection_window: 65_535, ..Limits::server() }
}

#[test]
fn more_than_a_streams_window_is_the_streams_fault() {
    let mut side = Side::server(small());
    side.consumes = false;
    side.feed(&[post(1), post(3), data(1, 0, &[0; 1_000])].concat()).expect("no fault");
    let seen = side.feed(&[data(1, 0, b"x"), data(3, 0, b"y")].concat()).expect("no connection error");
    let reset = Seen::Reset { id: 1, code: FLOW, by_peer: false, processed: true };
    assert_eq!(seen, [reset, Seen::Data { id: 3, bytes: b"y".to_vec(), end: false }]);
    assert_eq!(side.resets(), [(1, FLOW)]);
}

#[test]
fn more_than_the_connections_window_is_its_end() {
    let limits = Limits { connection_window: 65_535, ..Limits::server() };
    let mut side = Side::server(limits);
    side.consumes = false;
    side.feed(&post(1)).expect("a request");
    for _ in 0..3 {
        side.feed(&data(1, 0, &[0; 16_384])).expect("within the window");
    }
    side.feed(&data(1, 0, &[0; 16_383])).expect("to its last byte");
    assert_eq!(side.feed(&data(1, 0, b"")), Ok(vec![]), "nothing is always allowed");
    assert_eq!(side.feed(&data(1, 0, b"x")).map_err(|error| error.code), Err(FLOW));
}

#[test]
fn what_is_consumed_is_announced_by_halves() {
    let mut side = Side::server(small());
    side.consumes = false;
    side.feed(&[post(1), data(1, 0, &[0; 900])].concat()).expect("content");
    let key = side.key(1);
    side.machine.consumed(key, 499, &mut side.out);
    assert_eq!(side.sent(), []);
    side.machine.consumed(key, 1, &mut side.out);
    assert_eq!(side.sent(), [(Kind::WindowUpdate, 0, 1, 500_u32.to_be_bytes().to_vec())]);
    side.feed(&data(1, 0, &[0; 600])).expect("the window is 600 now");
    let error = side.feed(&data(1, 0, b"x")).expect("no connection error");
    assert!(matches!(error[0], Seen::Reset { code: FLOW, .. }));
}

#[test]
fn the_connections_window_is_given_back_for_streams_that_are_gone() {
    let limits = Limits { connection_window: 65_536, ..Limits::server() };
    let mut side = Side::server(limits);
    side.consumes = false;
    side.feed(&[post(1), data(1, 0, &[0; 16_384])].concat()).expect("content");
    let key = side.key(1);
    side.machine.reset(key, ErrorCode::CANCEL, &mut side.out);
    side.out.clear();
    // What comes late is given back at once, what the caller holds when it says so.
    side.feed(&data(1, 0, &[0; 16_384])).expect("late content");
    assert_eq!(side.sent(), []);
    side.machine.consumed(key, 16_384, &mut side.out);
    assert_eq!(side.sent(), [(Kind::WindowUpdate, 0, 0, 32_768_u32.to_be_bytes().to_vec())]);
}

#[test]
fn padding_is_given_back_at_once() {
    let mut side = Side::server(small());
    side.consumes = false;
    side.feed(&post(1)).expect("a request");
    let padded = data(1, flags::PADDED, &[&[200, b'x'][..], &[0; 200]].concat());
    for _ in 0..20 {
        let seen = side.feed(&padded).expect("no connection error");
        assert!(
            matches!(seen[..], [Seen::Data { id: 1, .. }]),
            "padding uses no window up for good: {seen:?}"
        );
    }
}

#[test]
fn no_window_is_announced_that_nobody_needs() {
    let mut side = Side::server(small());
    side.consumes = false;
    let mut block = POST.to_vec();
    block.extend_from_slice(&[0x0f, 0x0d, 3]);
    block.extend_from_slice(b"900");
    side.feed(&[headers(1, WHOLE, &block), data(1, 0, &[0; 800])].concat()).expect("content");
    let key = side.key(1);
    side.machine.consumed(key, 800, &mut side.out);
    assert_eq!(side.sent(), [], "the last 100 fit");
    side.feed(&[post(3), data(3, END, &[0; 800])].concat()).expect("content");
    let key = side.key(3);
    side.machine.consumed(key, 800, &mut side.out);
    assert_eq!(side.sent(), [], "it has ended");
}

#[test]
fn a_small_window_holds_from_its_acknowledgement_on() {
    let mut out = Vec::new();
    let machine = Connection::server(small(), &mut out);
    let mut side = Side::new(machine, out);
    side.consumes = false;
    let hello = [PREFACE.to_vec(), settings(&[]), post(1), data(1, 0, &[0; 5_000])].concat();
    let seen = side.feed(&hello).expect("the client does not know yet");
    assert_eq!(seen.len(), 3);
    side.feed(&[frame(Kind::Settings, ACK, 0, &[]), post(3)].concat()).expect("it knows now");
    let seen = side.feed(&[data(1, 0, b"x"), data(3, 0, &[0; 1_001])].concat()).expect("no connection error");
    let reset = |id| Seen::Reset { id, code: FLOW, by_peer: false, processed: true };
    assert_eq!(seen, [reset(1), reset(3)]);
}
