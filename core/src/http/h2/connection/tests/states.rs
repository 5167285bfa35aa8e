//! Frames on idle, open, half-closed and closed streams (RFC 9113 sections 5.1 and 5.1.1).

use super::*;

const CLOSED: ErrorCode = ErrorCode::STREAM_CLOSED;
const PROTOCOL: ErrorCode = ErrorCode::PROTOCOL_ERROR;

fn priority(id: u32) -> Vec<u8> {
    frame(Kind::Priority, 0, id, &[0, 0, 0, 0, 15])
}

fn continuation(id: u32) -> Vec<u8> {
    frame(Kind::Continuation, WHOLE, id, TRAILER)
}

#[test]
fn idle_streams_take_headers_and_priority() {
    check("HEADERS", &[In(get(1))], Fine);
    check("HEADERS on a later one", &[In(get(5))], Fine);
    check("PRIORITY", &[In(priority(3))], Fine);
    check("DATA", &[In(data(1, 0, b"x"))], Broken(PROTOCOL));
    check("RST_STREAM", &[In(rst(1, ErrorCode::CANCEL))], Broken(PROTOCOL));
    check("WINDOW_UPDATE", &[In(update(1, 1))], Broken(PROTOCOL));
    check("CONTINUATION", &[In(continuation(1))], Broken(PROTOCOL));
    check("PUSH_PROMISE", &[In(frame(Kind::PushPromise, WHOLE, 1, &[0, 0, 0, 2, 0x82]))], Broken(PROTOCOL));
    check("HEADERS on an even one", &[In(get(2))], Broken(PROTOCOL));
    check("DATA on an even one", &[In(get(3)), In(data(2, 0, b"x"))], Broken(PROTOCOL));
    check("WINDOW_UPDATE on an even one", &[In(get(3)), In(update(2, 1))], Broken(PROTOCOL));
}

#[test]
fn identifiers_only_grow() {
    check("in steps", &[In(get(1)), In(get(3)), In(get(9))], Fine);
    check("back to a skipped one", &[In(get(5)), In(get(3))], Broken(PROTOCOL));
    check("DATA on a skipped one", &[In(get(5)), In(data(3, 0, b"x"))], Broken(CLOSED));
    check(
        "late frames on a skipped one",
        &[In(get(5)), In(update(3, 1)), In(rst(3, CLOSED)), In(priority(3))],
        Fine,
    );
    check("the greatest", &[In(get(0x7fff_ffff))], Fine);
}

#[test]
fn open_streams_take_what_belongs_there() {
    let trailers = headers(1, WHOLE | END, TRAILER);
    check("content and trailers", &[In(post(1)), In(data(1, 0, b"x")), In(trailers)], Fine);
    check("updates", &[In(post(1)), In(update(1, 5)), In(priority(1))], Fine);
    check("trailers that don't end", &[In(post(1)), In(headers(1, WHOLE, TRAILER))], Stream(1, PROTOCOL));
    check("RST_STREAM", &[In(post(1)), In(rst(1, ErrorCode::CANCEL))], Fine);
    check(
        "short PRIORITY",
        &[In(post(1)), In(frame(Kind::Priority, 0, 1, &[0; 4]))],
        Stream(1, ErrorCode::FRAME_SIZE_ERROR),
    );
    check(
        "PUSH_PROMISE",
        &[In(post(1)), In(frame(Kind::PushPromise, WHOLE, 1, &[0, 0, 0, 2, 0x82]))],
        Broken(PROTOCOL),
    );
}

#[test]
fn half_closed_remote_ones_take_no_content() {
    for begin in
        [vec![In(get(1))], vec![In(post(1)), In(data(1, END, b"x"))], vec![In(get(1)), Answer(1, false)]]
    {
        let after = |name: &str, bytes: Vec<u8>, expected| {
            let mut script: Vec<Step> = Vec::new();
            for step in &begin {
                script.push(match step {
                    In(bytes) => In(bytes.clone()),
                    Answer(id, end) => Answer(*id, *end),
                    Reset(id) => Reset(*id),
                });
            }
            script.push(In(bytes));
            check(name, &script, expected);
        };
        after("DATA", data(1, 0, b"x"), Stream(1, CLOSED));
        after("empty DATA", data(1, END, b""), Stream(1, CLOSED));
        after("HEADERS", headers(1, WHOLE | END, TRAILER), Stream(1, CLOSED));
        after("WINDOW_UPDATE", update(1, 1), Fine);
        after("PRIORITY", priority(1), Fine);
        after("RST_STREAM", rst(1, ErrorCode::CANCEL), Fine);
        after("CONTINUATION", continuation(1), Broken(PROTOCOL));
    }
}

#[test]
fn half_closed_local_ones_take_everything() {
    let answered = || vec![In(post(1)), Answer(1, true)];
    for (name, bytes) in [
        ("DATA", data(1, 0, b"x")),
        ("end", data(1, END, b"")),
        ("trailers", headers(1, WHOLE | END, TRAILER)),
        ("WINDOW_UPDATE", update(1, 1)),
        ("RST_STREAM", rst(1, CLOSED)),
    ] {
        let mut script = answered();
        script.push(In(bytes));
        check(name, &script, Fine);
    }
}

#[test]
fn what_comes_after_a_regular_end_breaks_the_connection() {
    let over = || vec![In(get(1)), Answer(1, true)];
    let after = |name: &str, bytes: Vec<u8>, expected| {
        let mut script = over();
        script.push(In(bytes));
        check(name, &script, expected);
    };
    after("DATA", data(1, 0, b"x"), Broken(CLOSED));
    after("HEADERS", headers(1, WHOLE | END, TRAILER), Broken(CLOSED));
    after("WINDOW_UPDATE", update(1, 1), Fine);
    after("WINDOW_UPDATE of nothing", update(1, 0), Fine);
    after("RST_STREAM", rst(1, ErrorCode::CANCEL), Fine);
    after("PRIORITY", priority(1), Fine);
}

#[test]
fn what_comes_after_the_peers_reset_is_a_stream_error() {
    let after = |name: &str, bytes: Vec<u8>, expected| {
        check(name, &[In(post(1)), In(rst(1, ErrorCode::CANCEL)), In(bytes)], expected);
    };
    after("DATA", data(1, 0, b"x"), Stream(1, CLOSED));
    after("HEADERS", headers(1, WHOLE | END, TRAILER), Stream(1, CLOSED));
    after("WINDOW_UPDATE", update(1, 1), Fine);
    after("RST_STREAM", rst(1, ErrorCode::CANCEL), Fine);
    after("PRIORITY", priority(1), Fine);
}

#[test]
fn what_comes_after_our_reset_was_on_its_way() {
    let after = |name: &str, bytes: Vec<u8>| {
        check(name, &[In(post(1)), Reset(1), In(bytes)], Fine);
    };
    after("DATA", data(1, 0, b"x"));
    after("the end", data(1, END, b""));
    after("trailers", headers(1, WHOLE | END, TRAILER));
    after("RST_STREAM", rst(1, CLOSED));
    after("WINDOW_UPDATE", update(1, 1));
}

#[test]
fn what_comes_long_after_is_ignored() {
    let mut side = Side::server(Limits::server());
    side.feed(&post(1)).expect("a request");
    let mut script = Vec::new();
    for id in (3..3 + 2 * 600).step_by(2) {
        side.feed(&get(id)).expect("a request");
        assert!(side.answer(id, true));
    }
    let key = side.key(1);
    side.machine.reset(key, ErrorCode::CANCEL, &mut side.out);
    side.out.clear();
    script.extend(data(1, 0, b"x"));
    script.extend(headers(1, WHOLE | END, TRAILER));
    script.extend(update(1, 1));
    assert_eq!(side.feed(&script), Ok(vec![]));
    assert_eq!(side.sent(), []);
    assert_eq!(side.machine.active(), 0);
}

#[test]
fn a_late_header_block_keeps_the_compression_in_step() {
    let mut side = Side::server(Limits::server());
    side.feed(&post(1)).expect("a request");
    let key = side.key(1);
    side.machine.reset(key, ErrorCode::CANCEL, &mut side.out);
    // `x: y` enters the table, although nobody reads it; then it is the 63rd line, behind the authority.
    let entering = [0x40, 1, b'x', 1, b'y'];
    assert_eq!(side.feed(&headers(1, WHOLE | END, &entering)), Ok(vec![]));
    let block = [GET, &[0xbf]].concat();
    let seen = side.feed(&headers(3, WHOLE | END, &block)).expect("a request");
    let Some(Seen::Head { id: 3, text, .. }) = seen.first() else { panic!("{seen:?}") };
    assert!(text.contains("x: y\r\n"), "{text}");
}

#[test]
fn stale_keys_do_nothing() {
    let mut side = Side::server(Limits::server());
    side.feed(&get(1)).expect("a request");
    let stale = side.key(1);
    assert!(side.answer(1, true));
    side.feed(&get(3)).expect("a request");
    assert_eq!(side.machine.active(), 1);
    side.out.clear();
    assert!(!side.machine.send_head(stale, &mut side.out, true, |_, _| panic!("nothing is encoded")));
    assert_eq!(side.machine.send_data(stale, &mut side.out, b"x", true), Sent::Gone);
    assert!(!side.machine.send_trailers(stale, &mut side.out, b"x: y\r\n"));
    assert!(!side.machine.send_trailers(stale, &mut side.out, b""));
    side.machine.reset(stale, ErrorCode::CANCEL, &mut side.out);
    side.machine.consumed(stale, 0, &mut side.out);
    assert_eq!((side.out.len(), side.machine.active()), (0, 1));
}

#[test]
fn nothing_follows_our_end() {
    let mut side = Side::server(Limits::server());
    side.feed(&post(1)).expect("a request");
    assert!(side.answer(1, true));
    side.out.clear();
    assert!(!side.answer(1, true));
    assert_eq!(side.send(1, b"x", false), Sent::Gone);
    assert_eq!(side.out, b"");
    assert_eq!(side.feed(&data(1, END, b"x")).map(|seen| seen.len()), Ok(1));
    assert_eq!(side.machine.active(), 0);
}
