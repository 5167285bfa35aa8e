//! Tables of the ledger: one call after another, what it answers and what it counts afterwards. Long random
//! sequences are the simulation's (`sim_tests`).

use super::*;

const LIMITS: IdleLimits = IdleLimits { connections: 2, time: Duration::from_secs(60) };

fn at(seconds: u64) -> Instant {
    Instant::from_nanos(seconds * 1_000_000_000)
}

/// A ledger with these connections in use.
fn in_use(limits: IdleLimits, keys: &[u32]) -> PoolLedger {
    let mut ledger = PoolLedger::new(limits);
    for &key in keys {
        assert_eq!(ledger.acquire(at(0), || true), Acquire::Connect);
        ledger.on_connected(key);
    }
    ledger
}

#[track_caller]
fn check(ledger: &PoolLedger, idle: usize, active: u32, connecting: u32) {
    assert_eq!((ledger.idle(), ledger.active(), ledger.connecting()), (idle, active, connecting));
    assert_eq!(ledger.credits(), idle + active as usize + connecting as usize);
    assert_eq!(ledger.is_empty(), ledger.credits() == 0);
}

#[test]
fn without_idle_a_credit_decides() {
    let mut ledger = PoolLedger::new(LIMITS);
    assert_eq!(ledger.acquire(at(0), || false), Acquire::Wait);
    check(&ledger, 0, 0, 0);
    let mut asked = 0;
    let credit = || {
        asked += 1;
        true
    };
    assert_eq!(ledger.acquire(at(0), credit), Acquire::Connect);
    assert_eq!(asked, 1);
    check(&ledger, 0, 0, 1);
    ledger.on_connect_failed();
    check(&ledger, 0, 0, 0);
}

#[test]
fn reuse_takes_the_newest_and_no_credit() {
    let mut ledger = in_use(LIMITS, &[1, 2]);
    assert_eq!(ledger.release(1, true, at(1)), Released::Kept);
    assert_eq!(ledger.release(2, true, at(2)), Released::Kept);
    check(&ledger, 2, 0, 0);
    let untouched = || -> bool { panic!("a credit was asked for") };
    assert_eq!(ledger.acquire(at(3), untouched), Acquire::Reuse(2));
    assert_eq!(ledger.acquire(at(3), untouched), Acquire::Reuse(1));
    check(&ledger, 0, 2, 0);
}

#[test]
fn reuse_takes_the_newest_that_fits() {
    let mut ledger = in_use(IdleLimits { connections: 3, ..LIMITS }, &[1, 2, 3]);
    for key in [1, 2, 3] {
        assert_eq!(ledger.release(key, true, at(key.into())), Released::Kept);
    }
    assert_eq!(ledger.reuse(at(4), |key| key < 3), Some(2));
    assert_eq!(ledger.reuse(at(4), |key| key == 2), None);
    check(&ledger, 2, 1, 0);
    // The others keep their places and times.
    assert_eq!(ledger.next_expiry(), Some(at(61)));
    assert_eq!(ledger.reuse(at(61), |key| key == 1), None);
    assert_eq!(ledger.reuse(at(61), |_| true), Some(3));
    check(&ledger, 1, 2, 0);
}

#[test]
fn at_the_idle_limit_the_oldest_makes_room() {
    let mut ledger = in_use(LIMITS, &[1, 2, 3]);
    assert_eq!(ledger.release(1, true, at(1)), Released::Kept);
    assert_eq!(ledger.release(2, true, at(2)), Released::Kept);
    assert_eq!(ledger.release(3, true, at(3)), Released::KeptEvict(1));
    check(&ledger, 2, 0, 0);
    assert_eq!(ledger.acquire(at(4), || true), Acquire::Reuse(3));
}

#[test]
fn what_is_not_kept_is_closed() {
    let none = IdleLimits { connections: 0, ..LIMITS };
    for (limits, reusable, drained) in [(LIMITS, false, false), (none, true, false), (LIMITS, true, true)] {
        let mut ledger = in_use(limits, &[1]);
        if drained {
            ledger.drain(&mut Vec::new());
        }
        assert_eq!(ledger.release(1, reusable, at(1)), Released::Close, "{limits:?} {reusable} {drained}");
        check(&ledger, 0, 0, 0);
    }
}

#[test]
fn a_close_of_an_idle_connection_counts_once() {
    let mut ledger = in_use(LIMITS, &[1, 2]);
    assert_eq!(ledger.release(1, true, at(1)), Released::Kept);
    assert!(!ledger.on_idle_closed(2), "2 is in use");
    assert!(ledger.on_idle_closed(1));
    assert!(!ledger.on_idle_closed(1));
    check(&ledger, 0, 1, 0);
}

#[test]
fn expiry_closes_the_old_and_never_hands_them_out() {
    let mut ledger = in_use(LIMITS, &[1, 2]);
    assert_eq!(ledger.next_expiry(), None);
    assert_eq!(ledger.release(1, true, at(10)), Released::Kept);
    assert_eq!(ledger.release(2, true, at(20)), Released::Kept);
    assert_eq!(ledger.next_expiry(), Some(at(70)));

    let mut closed = Vec::new();
    ledger.expire(Instant::from_nanos(at(70).nanos() - 1), &mut closed);
    assert!(closed.is_empty(), "{closed:?}");
    ledger.expire(at(70), &mut closed);
    assert_eq!(closed, [1]);
    assert_eq!(ledger.next_expiry(), Some(at(80)));
    // The tick is late: 2 is past its time and must not be used, though it is still counted.
    assert_eq!(ledger.acquire(at(80), || false), Acquire::Wait);
    check(&ledger, 1, 0, 0);
    ledger.expire(at(80), &mut closed);
    assert_eq!(closed, [1, 2]);
    check(&ledger, 0, 0, 0);
}

#[test]
fn a_clock_reading_from_before_keeps_the_order() {
    let mut ledger = in_use(LIMITS, &[1, 2]);
    assert_eq!(ledger.release(1, true, at(20)), Released::Kept);
    assert_eq!(ledger.release(2, true, at(10)), Released::Kept);
    let mut closed = Vec::new();
    ledger.expire(at(80), &mut closed);
    assert_eq!(closed, [1, 2]);
}

#[test]
fn never_is_an_idle_time_too() {
    let forever = IdleLimits { connections: 2, time: Duration::MAX };
    let mut ledger = in_use(forever, &[1]);
    assert_eq!(ledger.release(1, true, at(1)), Released::Kept);
    let mut closed = Vec::new();
    ledger.expire(at(1_000_000_000), &mut closed);
    assert!(closed.is_empty(), "{closed:?}");
    assert_eq!(ledger.acquire(at(1_000_000_000), || false), Acquire::Reuse(1));
}

#[test]
fn lower_limits_give_up_the_oldest() {
    let mut ledger = in_use(IdleLimits { connections: 8, ..LIMITS }, &[1, 2, 3]);
    for key in 1..=3 {
        assert_eq!(ledger.release(key, true, at(u64::from(key))), Released::Kept);
    }
    let mut closed = Vec::new();
    ledger.set_limits(IdleLimits { connections: 5, ..LIMITS }, &mut closed);
    assert!(closed.is_empty(), "{closed:?}");
    ledger.set_limits(IdleLimits { connections: 1, ..LIMITS }, &mut closed);
    assert_eq!(closed, [1, 2]);
    check(&ledger, 1, 0, 0);
}

#[test]
fn eviction_frees_the_oldest_for_somebody_else() {
    let mut ledger = in_use(LIMITS, &[1, 2]);
    assert_eq!(ledger.evict_oldest(), None);
    assert_eq!(ledger.release(1, true, at(1)), Released::Kept);
    assert_eq!(ledger.release(2, true, at(2)), Released::Kept);
    assert_eq!(ledger.evict_oldest(), Some(1));
    check(&ledger, 1, 0, 0);
}

#[test]
fn drained_it_keeps_nothing_but_still_connects() {
    let mut ledger = in_use(LIMITS, &[1, 2]);
    assert_eq!(ledger.release(1, true, at(1)), Released::Kept);
    let mut closed = Vec::new();
    ledger.drain(&mut closed);
    assert_eq!(closed, [1]);
    check(&ledger, 0, 1, 0);
    // A request that chose this endpoint before the change.
    assert_eq!(ledger.acquire(at(2), || true), Acquire::Connect);
    ledger.on_connected(3);
    assert_eq!(ledger.release(3, true, at(3)), Released::Close);
    assert_eq!(ledger.release(2, true, at(3)), Released::Close);
    assert!(ledger.is_empty());
}

#[test]
fn beyond_the_high_water_mark_nothing_is_allocated() {
    let mut ledger = PoolLedger::new(IdleLimits { connections: 4, ..LIMITS });
    let mut capacity = 0;
    for round in 0..1_000 {
        // Five at once, one of them new; when all are done, the one done first makes room for the last.
        let mut in_use: Vec<u32> = Vec::new();
        for _ in 0..5 {
            match ledger.acquire(at(round), || true) {
                Acquire::Reuse(key) => in_use.push(key),
                Acquire::Connect => {
                    let key = 1_000_000 + round as u32 * 5 + in_use.len() as u32;
                    ledger.on_connected(key);
                    in_use.push(key);
                }
                Acquire::Wait => panic!("there is credit"),
            }
        }
        let released: Vec<_> = in_use.iter().map(|&key| ledger.release(key, true, at(round))).collect();
        assert_eq!(released[..4], [Released::Kept; 4]);
        assert_eq!(released[4], Released::KeptEvict(in_use[0]));
        if round == 0 {
            capacity = ledger.idle.capacity();
        }
    }
    assert_eq!(ledger.idle.capacity(), capacity);
}
