//! Floods end the connection; busy honest clients do not.

use std::time::Duration;

use super::*;
use crate::http::h2::frame::setting;

/// What the script comes to when it is sent again and again: the flood, and after how many times.
fn flooded(
    side: &mut Side,
    times: u32,
    mut script: impl FnMut(&mut Side, u32) -> Vec<u8>,
) -> Option<(Flood, u32)> {
    for n in 0..times {
        let bytes = script(side, n);
        if let Err(error) = side.feed(&bytes) {
            assert_eq!(error.code, ErrorCode::ENHANCE_YOUR_CALM);
            return error.flood.map(|flood| (flood, n));
        }
        side.out.clear();
    }
    None
}

fn burst(flood: Flood) -> u32 {
    limits::H2_BUDGETS[flood as usize].burst
}

/// It is ended, as that flood, and not before the burst; the clock hardly moves.
fn ends(name: &str, flood: Flood, least: u32, script: impl FnMut(&mut Side, u32) -> Vec<u8>) {
    let mut side = Side::server(Limits::server());
    // The first time a budget runs out, it is filled for the time so far.
    let ended = flooded(&mut side, 100_000, script);
    let Some((found, after)) = ended else { panic!("{name} goes on for ever") };
    assert_eq!(found, flood, "{name}");
    assert!(after >= least && after <= 3 * least + 10, "{name}: after {after}");
}

fn id(n: u32) -> u32 {
    2 * n + 1
}

#[test]
fn each_flood_has_its_end() {
    use Flood::*;
    ends("rapid reset", RapidReset, burst(RapidReset), |_, n| {
        [get(id(n)), rst(id(n), ErrorCode::CANCEL)].concat()
    });
    ends("provoked by a window", ProvokedReset, burst(ProvokedReset), |_, n| {
        [post(id(n)), update(id(n), 0)].concat()
    });
    ends("provoked by content after the end", ProvokedReset, burst(ProvokedReset), |_, n| {
        [get(id(n)), data(id(n), 0, b"x")].concat()
    });
    ends("provoked by malformed heads", ProvokedReset, burst(ProvokedReset), |_, n| {
        headers(id(n), WHOLE | END, &[0x82])
    });
    ends("pings", Ping, burst(Ping), |_, _| frame(Kind::Ping, 0, 0, &[0; 8]));
    ends("acknowledgements of pings", Ping, burst(Ping), |_, _| frame(Kind::Ping, ACK, 0, &[0; 8]));
    ends("settings", Settings, burst(Settings) - 1, |_, _| settings(&[]));
    ends("settings that change windows", Settings, burst(Settings) - 1, |_, n| {
        settings(&[(setting::INITIAL_WINDOW_SIZE, n)])
    });
    ends("priorities", Priority, burst(Priority), |_, n| frame(Kind::Priority, 0, id(n), &[0; 5]));
    ends("priority updates", Priority, burst(Priority), |_, _| frame(Kind::Other(0x10), 0, 0, &[0; 4]));
    ends("unknown frames", Empty, burst(Empty), |_, _| frame(Kind::Other(99), 0, 0, b"x"));
    ends("goaways", Empty, burst(Empty), |_, _| goaway(0, ErrorCode::NO_ERROR));
    ends("updates of the connection", WindowUpdate, burst(WindowUpdate), |_, _| update(0, 1));
}

#[test]
fn floods_on_streams_have_their_end() {
    use Flood::*;
    let open = |n: u32| if n == 0 { post(1) } else { Vec::new() };
    ends("empty content", Empty, burst(Empty), |_, n| [open(n), data(1, 0, b"")].concat());
    ends("padding alone", Empty, burst(Empty), |_, n| [open(n), data(1, flags::PADDED, b"\x01\0")].concat());
    ends("updates of a stream", WindowUpdate, burst(WindowUpdate), |_, n| [open(n), update(1, 1)].concat());
    ends("content on a stream that is gone", Empty, burst(Empty), |side, n| {
        if n == 1 {
            let key = side.key(1);
            side.machine.reset(key, ErrorCode::CANCEL, &mut side.out);
        }
        [open(n), data(1, 0, b"x")].concat()
    });
    ends("resets of a stream that is gone", Empty, burst(Empty), |side, n| {
        if n == 1 {
            assert!(side.answer(1, true));
        }
        if n == 0 { get(1) } else { rst(1, ErrorCode::CANCEL) }
    });
    ends("streams beyond the limit", Refused, burst(Refused), |_, n| get(id(n)));
}

#[test]
fn header_blocks_have_their_end() {
    let mut side = Side::server(Limits::server());
    let mut bytes = headers(1, END, GET);
    for _ in 0..limits::H2_BLOCK_FRAMES_MAX {
        bytes.extend(frame(Kind::Continuation, 0, 1, &[]));
    }
    let error = side.feed(&bytes).expect_err("too many frames");
    assert_eq!(error.flood, Some(Flood::Continuation));
    let mut side = Side::server(Limits::server());
    let mut bytes = headers(1, END, GET);
    for _ in 0..20 {
        bytes.extend(frame(Kind::Continuation, 0, 1, &[0; 16_384]));
    }
    let error = side.feed(&bytes).expect_err("too many bytes");
    assert_eq!(error.flood, Some(Flood::Continuation));
    assert!(side.machine.block.capacity() <= 128 * 1024);
}

#[test]
fn bombs_cost_little_and_have_their_end() {
    // A line of 4,000 bytes enters the table, and is then named 16,000 times: 64 MB in a frame.
    let mut block = GET.to_vec();
    block.extend_from_slice(&[0x40, 1, b'x', 0x7f, 0xa1, 0x1e]);
    block.extend_from_slice(&[b'y'; 4_000]);
    block.resize(16_000, 0xbe);
    let mut side = Side::server(Limits::server());
    let ended = flooded(&mut side, 1_000, |side, n| {
        if n > 0 {
            assert!(side.answer(id(n - 1), true));
        }
        headers(id(n), WHOLE | END, &block)
    });
    let Some((Flood::HeaderList, after)) = ended else { panic!("{ended:?}") };
    assert!(after >= burst(Flood::HeaderList) && side.text.capacity() < 256 * 1024, "{after}");
}

#[test]
fn tiny_windows_have_their_end() {
    let mut side = Side::server(Limits::server());
    let hello = settings(&[(setting::INITIAL_WINDOW_SIZE, 0)]);
    side.feed(&[hello, get(1)].concat()).expect("a request");
    assert!(side.answer(1, false));
    let ended = flooded(&mut side, 10_000, |side, _| {
        let _ = side.send(1, &[1; 100], false);
        update(1, 1)
    });
    let Some((flood, after)) = ended else { panic!("it goes on for ever") };
    assert!(matches!(flood, Flood::TinyWindow | Flood::WindowUpdate), "{flood:?}");
    assert!(after < 2_000, "{after}");
}

#[test]
fn streams_without_a_window_are_reset_and_many_end_the_connection() {
    let stalled = |streams: u32, trickle: u32| {
        let mut side = Side::server(Limits::server());
        side.feed(&settings(&[(setting::INITIAL_WINDOW_SIZE, 0)])).expect("settings");
        for n in 0..streams {
            side.feed(&get(id(n))).expect("a request");
            assert!(side.answer(id(n), false));
            assert_eq!(side.send(id(n), &[1; 100_000], false), Sent::Some(0));
        }
        let end = side.now.after(limits::H2_STALL * 2);
        while side.now < end {
            let next = side.machine.on_time(side.now, &mut side.out)?;
            if side.machine.active() == 0 {
                break;
            }
            assert!(next > side.now && next <= side.now.after(limits::H2_LOOK));
            side.now = next;
            for n in 0..streams {
                let more = [update(0, trickle), update(id(n), trickle)].concat();
                if trickle > 0 && side.feed(&more)?.contains(&Seen::Writable(id(n))) {
                    let sent = side.send(id(n), &[1; 100_000], false);
                    assert_eq!(sent, Sent::Some(trickle as usize));
                }
            }
        }
        let mut lost = 0;
        while let Some(event) = side.machine.next_queued() {
            assert!(matches!(event, Event::Reset { code: ErrorCode::CANCEL, by_peer: false, .. }));
            lost += 1;
        }
        Ok::<_, ConnectionError>((side.machine.active(), lost))
    };
    assert_eq!(stalled(3, 0), Ok((0, 3)), "one user's paused downloads");
    assert_eq!(stalled(3, 8), Ok((0, 3)), "a trickle is no window");
    assert_eq!(stalled(3, 2_000), Ok((3, 0)), "slow, but it goes on");
    assert_eq!(stalled(90, 0), Err(ConnectionError::flood(Flood::WindowStall)));
}

#[test]
fn a_connection_without_streams_needs_no_time() {
    let mut side = Side::server(Limits::server());
    assert_eq!(side.machine.on_time(side.now, &mut side.out), Ok(Instant::NEVER));
    assert_eq!(side.out, b"");
}

/// A client's second: so many requests, all answered, and what it does besides.
fn busy(side: &mut Side, next: &mut u32, requests: u32, besides: impl Fn(u32) -> Vec<u8>) {
    let step = Duration::from_secs(1) / requests;
    for n in 0..requests {
        side.now = side.now.after(step);
        let id = *next;
        *next += 2;
        let seen = side.feed(&[get(id), besides(n)].concat());
        assert!(seen.is_ok(), "request {n}: {seen:?}");
        assert!(side.answer(id, false));
        assert_eq!(side.send(id, &[1; 1_000], true), Sent::Some(1_000));
        // The client opens the window again, for each answer.
        assert!(side.feed(&update(0, 1_000)).is_ok());
        side.out.clear();
    }
}

#[test]
fn a_busy_client_is_no_flood() {
    let mut side = Side::server(Limits::server());
    let mut next = 1;
    for _ in 0..3 {
        busy(&mut side, &mut next, 20_000, |n| match n % 20 {
            0 => frame(Kind::Ping, 0, 0, &[0; 8]),
            1 => frame(Kind::Other(0x10), 0, 0, b"\0\0\0\x01u=1"),
            _ => Vec::new(),
        });
    }
}

#[test]
fn cancels_of_a_busy_client_are_no_flood() {
    let mut side = Side::server(Limits::server());
    let mut next = 1;
    for _ in 0..20 {
        // One call in twenty is cancelled at once, because another answer was faster.
        busy(&mut side, &mut next, 2_000, |_| Vec::new());
        for _ in 0..100 {
            let seen = side.feed(&[get(next), rst(next, ErrorCode::CANCEL)].concat());
            assert!(seen.is_ok(), "{seen:?}");
            next += 2;
        }
    }
    // A page with 100 requests is left.
    for _ in 0..3 {
        let ids: Vec<u32> = (0..100).map(|n| next + 2 * n).collect();
        next += 200;
        side.feed(&ids.iter().flat_map(|&id| get(id)).collect::<Vec<_>>()).expect("a page");
        side.feed(&ids.iter().flat_map(|&id| rst(id, ErrorCode::CANCEL)).collect::<Vec<_>>()).expect("left");
        side.now = side.now.after(Duration::from_secs(2));
    }
    // An upstream hangs: 100 calls at a time run into deadlines of 50 ms, for a minute.
    for _ in 0..60 * 20 {
        let ids: Vec<u32> = (0..100).map(|n| next + 2 * n).collect();
        next += 200;
        side.feed(&ids.iter().flat_map(|&id| get(id)).collect::<Vec<_>>()).expect("calls");
        side.now = side.now.after(Duration::from_millis(50));
        side.feed(&ids.iter().flat_map(|&id| rst(id, ErrorCode::CANCEL)).collect::<Vec<_>>())
            .expect("deadlines");
    }
}

#[test]
fn a_download_with_many_updates_is_no_flood() {
    let mut side = Side::server(Limits::server());
    side.feed(&get(1)).expect("a request");
    assert!(side.answer(1, false));
    let piece = [1; 16_384];
    for n in 0..20_000 {
        assert_eq!(side.send(1, &piece, false), Sent::Some(16_384));
        side.out.clear();
        // Both windows, for every 4 KiB that it reads.
        for _ in 0..4 {
            let seen = side.feed(&[update(1, 4_096), update(0, 4_096)].concat());
            assert!(seen.is_ok(), "after {n} pieces: {seen:?}");
        }
    }
}

#[test]
fn old_and_answered_requests_may_be_reset() {
    let mut side = Side::server(Limits::server());
    let ended = flooded(&mut side, 3_000, |side, n| {
        if n > 0 {
            assert!(side.answer(id(n - 1), false));
        }
        [if n > 0 { rst(id(n - 1), ErrorCode::CANCEL) } else { Vec::new() }, get(id(n))].concat()
    });
    assert_eq!(ended, None, "answers had begun");
}
