//! Tables of the queue, and any sequence of calls against the plainest model there is: a list.

use proptest::prelude::*;

use super::*;

fn at(millis: u64) -> Instant {
    Instant::from_nanos(millis * 1_000_000)
}

fn expired(queue: &mut Pending, now: Instant) -> Vec<u32> {
    let mut keys = Vec::new();
    queue.expire(now, &mut keys);
    keys
}

#[test]
fn first_in_first_out_up_to_the_limit() {
    let mut queue = Pending::new(2);
    assert!(queue.is_empty());
    queue.push(7, at(10)).unwrap();
    queue.push(5, at(10)).unwrap();
    assert_eq!(queue.push(9, at(10)), Err(Full));
    assert_eq!(queue.len(), 2);
    assert_eq!((queue.pop(at(0)), queue.pop(at(0)), queue.pop(at(0))), (Some(7), Some(5), None));
    assert!(queue.is_empty());
    queue.push(9, at(10)).unwrap();
    assert_eq!(Pending::new(0).push(1, at(10)), Err(Full));
}

#[test]
fn the_cancelled_are_skipped_and_make_room() {
    let mut queue = Pending::new(2);
    let first = queue.push(1, at(10)).unwrap();
    queue.push(2, at(10)).unwrap();
    assert!(queue.cancel(first));
    assert!(!queue.cancel(first));
    let third = queue.push(3, at(10)).unwrap();
    assert_eq!((queue.pop(at(0)), queue.pop(at(0))), (Some(2), Some(3)));
    assert!(!queue.cancel(third), "served already");
}

#[test]
fn the_expired_are_refused_in_order_and_never_served() {
    let mut queue = Pending::new(9);
    assert_eq!(queue.next_deadline(), Instant::NEVER);
    for (key, deadline) in [(1, 30), (2, 10), (3, 20), (4, 40)] {
        queue.push(key, at(deadline)).unwrap();
    }
    assert_eq!(queue.next_deadline(), at(10));
    assert!(expired(&mut queue, at(9)).is_empty());
    // A deadline that has come is past: 1, 2 and 3 stay for `expire`.
    assert_eq!(queue.pop(at(30)), Some(4));
    assert_eq!(queue.len(), 3);
    assert_eq!(expired(&mut queue, at(30)), [1, 2, 3]);
    assert_eq!((queue.next_deadline(), queue.pop(at(0))), (Instant::NEVER, None));
}

#[test]
fn one_that_waits_without_end_does_not_hoard_the_cancelled() {
    let mut queue = Pending::new(4);
    queue.push(0, Instant::NEVER).unwrap();
    for key in 1..10_000 {
        let ticket = queue.push(key, at(1)).unwrap();
        assert!(queue.cancel(ticket));
        assert!(queue.queue.len() <= 2 * queue.len() + GONE_SLACK + 1);
    }
    assert_eq!(queue.pop(at(0)), Some(0));
}

#[test]
fn a_lower_limit_keeps_those_who_wait() {
    let mut queue = Pending::new(3);
    for key in 0..3 {
        queue.push(key, at(10)).unwrap();
    }
    queue.set_limit(1);
    assert_eq!(queue.len(), 3);
    assert_eq!((queue.pop(at(0)), queue.pop(at(0))), (Some(0), Some(1)));
    assert_eq!(queue.push(9, at(10)), Err(Full));
    assert_eq!(queue.pop(at(0)), Some(2));
    queue.push(9, at(10)).unwrap();
}

#[derive(Clone, Debug)]
enum Call {
    Push { wait: u64 },
    Pop,
    Cancel { which: usize },
    Expire,
    Pass { millis: u64 },
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let call = prop_oneof![
        4 => (0_u64..50).prop_map(|wait| Call::Push { wait }),
        2 => Just(Call::Pop),
        3 => (0_usize..200).prop_map(|which| Call::Cancel { which }),
        1 => Just(Call::Expire),
        2 => (0_u64..20).prop_map(|millis| Call::Pass { millis }),
    ];
    prop::collection::vec(call, 0..400)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn behaves_as_a_list(calls in calls(), limit in 0_usize..60) {
        let mut queue = Pending::new(limit);
        let mut list: Vec<(u32, Instant)> = Vec::new();
        let mut tickets = Vec::new();
        let mut now = 0;
        for call in calls {
            match call {
                Call::Push { wait } => {
                    let key = tickets.len() as u32;
                    let pushed = queue.push(key, at(now + wait));
                    prop_assert_eq!(pushed.is_err(), list.len() >= limit);
                    if let Ok(ticket) = pushed {
                        tickets.push(ticket);
                        list.push((key, at(now + wait)));
                    }
                }
                Call::Pop => {
                    let first = list.iter().position(|&(_, deadline)| at(now) < deadline);
                    prop_assert_eq!(queue.pop(at(now)), first.map(|place| list.remove(place).0));
                }
                Call::Cancel { which } => {
                    // Often one that has left already.
                    let Some(&ticket) = tickets.get(which) else { continue };
                    let place = list.iter().position(|&(key, _)| key as usize == which);
                    prop_assert_eq!(queue.cancel(ticket), place.map(|place| list.remove(place)).is_some());
                }
                Call::Expire => {
                    let due = list.iter().filter(|&&(_, deadline)| at(now) >= deadline).map(|&(key, _)| key);
                    prop_assert_eq!(due.collect::<Vec<_>>(), expired(&mut queue, at(now)));
                    list.retain(|&(_, deadline)| at(now) < deadline);
                }
                Call::Pass { millis } => now += millis,
            }
            prop_assert_eq!(queue.len(), list.len());
            prop_assert!(queue.queue.len() <= 2 * list.len() + GONE_SLACK + 1);
            let earliest = list.iter().map(|&(_, deadline)| deadline).min().unwrap_or(Instant::NEVER);
            prop_assert!(queue.next_deadline() <= earliest);
        }
    }
}

#[test]
fn beyond_the_high_water_mark_nothing_is_allocated() {
    let mut queue = Pending::new(100);
    let mut capacity = 0;
    for round in 0..1_000 {
        let tickets: Vec<_> = (0..100).map(|key| queue.push(key, at(round + 1)).unwrap()).collect();
        for ticket in tickets.iter().skip(1).step_by(3) {
            assert!(queue.cancel(*ticket));
        }
        assert_eq!(queue.pop(at(round)), Some(0));
        assert_eq!(expired(&mut queue, at(round + 1)).len(), 66);
        if round == 0 {
            capacity = queue.queue.capacity();
        }
    }
    assert_eq!(queue.queue.capacity(), capacity);
}
