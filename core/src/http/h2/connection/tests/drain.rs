//! The end of a connection in good order (RFC 9113 section 6.8).

use super::*;

fn last_of(frame: &Frame) -> (Kind, u32) {
    (frame.0, u32::from_be_bytes(frame.3[..4].try_into().expect("4 bytes")))
}

#[test]
fn a_server_drains_in_two_steps() {
    let mut side = Side::server(Limits::server());
    side.feed(&get(1)).expect("a request");
    side.machine.drain(&mut side.out);
    side.machine.drain(&mut side.out);
    let sent = side.sent();
    assert_eq!((last_of(&sent[0]), sent[1].0, sent.len()), ((Kind::GoAway, 0x7fff_ffff), Kind::Ping, 2));
    assert!(side.machine.is_draining() && !side.machine.is_over());
    // What was on its way is taken, until the ping is back.
    assert_eq!(side.feed(&get(3)).map(|seen| seen.len()), Ok(1));
    side.feed(&frame(Kind::Ping, ACK, 0, &sent[1].3)).expect("the answer");
    assert_eq!(side.sent().iter().map(last_of).collect::<Vec<_>>(), [(Kind::GoAway, 3)]);
    // Later ones are not, nor what belongs to them.
    let late = [post(5), data(5, END, b"x"), get(7)].concat();
    assert_eq!(side.feed(&late), Ok(vec![]));
    assert_eq!(side.sent(), []);
    assert!(side.answer(1, true) && !side.machine.is_over());
    assert!(side.answer(3, true) && side.machine.is_over());
}

#[test]
fn a_fault_behind_a_drain_raises_no_announced_stream() {
    let mut side = Side::server(Limits::server());
    side.feed(&get(1)).expect("a request");
    side.machine.drain(&mut side.out);
    let ping = side.sent()[1].3.clone();
    side.feed(&frame(Kind::Ping, ACK, 0, &ping)).expect("the answer");
    assert_eq!(side.sent().iter().map(last_of).collect::<Vec<_>>(), [(Kind::GoAway, 1)]);
    side.feed(&get(5)).expect("refused");
    side.feed(&data(9, END, b"x")).expect_err("a stream that never was");
    assert_eq!(side.sent().iter().map(last_of).collect::<Vec<_>>(), [(Kind::GoAway, 1)]);
}

#[test]
fn a_drain_does_not_wait_for_a_ping_for_ever() {
    let mut side = Side::server(Limits::server());
    side.machine.drain(&mut side.out);
    side.out.clear();
    let next = side.machine.on_time(side.now, &mut side.out).expect("no fault");
    assert_eq!(next, side.now.after(limits::H2_DRAIN_PING));
    assert_eq!(side.sent(), []);
    assert_eq!(side.machine.on_time(next, &mut side.out), Ok(Instant::NEVER));
    assert_eq!(side.sent().iter().map(last_of).collect::<Vec<_>>(), [(Kind::GoAway, 0)]);
    assert!(side.machine.is_over());
}

#[test]
fn a_client_drains_at_once() {
    let mut side = Side::client(Limits::client());
    side.ask(Method::Get);
    side.out.clear();
    side.machine.drain(&mut side.out);
    assert_eq!(side.sent().iter().map(last_of).collect::<Vec<_>>(), [(Kind::GoAway, 0)]);
    assert!(!side.machine.may_open() && !side.machine.is_over());
    side.feed(&headers(1, WHOLE | END, OK)).expect("an answer");
    assert!(side.machine.is_over());
}

#[test]
fn a_client_that_drains_is_served_to_its_end() {
    let mut side = Side::server(Limits::server());
    let seen = side.feed(&[get(1), goaway(0, ErrorCode::NO_ERROR)].concat()).expect("no fault");
    assert_eq!(seen[1], Seen::GoAway(ErrorCode::NO_ERROR));
    assert!(!side.machine.is_over());
    assert!(side.answer(1, true) && side.machine.is_over());
}

#[test]
fn an_idle_connection_holds_little() {
    let mut side = Side::server(Limits::server());
    side.pieces = 1;
    assert!(side.machine.is_idle());
    let whole = [post(1), data(1, END, b"x")].concat();
    side.feed(&whole[..5]).expect("a part");
    assert!(!side.machine.is_idle(), "a part of a frame");
    side.feed(&whole[5..]).expect("the rest");
    assert!(!side.machine.is_idle());
    assert!(side.answer(1, true) && side.machine.is_idle());
    side.machine.shrink();
    assert_eq!((side.machine.partial.capacity(), side.machine.block.capacity()), (0, 0));
    side.feed(&get(3)).expect("it goes on");
    assert_eq!(side.machine.active(), 1);
}
