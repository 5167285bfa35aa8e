//! What is told to a measure comes back, and merging loses nothing.

use super::*;
use crate::random::Random;

const SECOND: u64 = 1_000_000_000;

fn measure() -> Measure {
    Measure::new(SECOND, 2)
}

fn answer(status: u16) -> Answer {
    Answer { status, content_bytes: 10, ..Answer::default() }
}

#[test]
fn latency_runs_from_the_due_time_and_service_from_the_send() {
    let mut measure = measure();
    measure.on_sent(1_000, 50);
    measure.on_answer(9_000, Stamp { due: 1_000, sent: 4_000 }, 0, &answer(200));
    assert_eq!((measure.latency.max(), measure.service.max(), measure.lateness.max()), (8_003, 5_003, 50));
    assert_eq!((measure.sent, measure.answered(), measure.failed(), measure.errors()), (1, 1, 0, 0));
    assert_eq!((measure.content_bytes, measure.last), (10, 9_000));
}

#[test]
fn failures_have_a_time_only_if_it_was_waited() {
    let mut measure = measure();
    let stamp = Stamp { due: 0, sent: 500 };
    for failure in [Failure::Reset, Failure::Closed, Failure::Malformed] {
        measure.on_failure(1_000, Some(stamp), 0, 0, failure);
    }
    measure.on_failure(1_000, None, 0, 0, Failure::Connect);
    assert!(measure.latency.is_empty() && measure.service.is_empty());
    measure.on_failure(SECOND, Some(stamp), 0, 1, Failure::Timeout);
    assert_eq!((measure.latency.len(), measure.service.len()), (1, 1));
    measure.on_failure(SECOND, None, 0, 1, Failure::Unsent);
    assert_eq!((measure.latency.len(), measure.service.len()), (2, 1));
    assert_eq!((measure.failed(), measure.errors(), measure.answered()), (6, 6, 0));
    assert_eq!(measure.targets[1].latency.len(), 2);
    assert_eq!(measure.targets[0].failures.values().sum::<u64>(), 4);
}

#[test]
fn errors_are_failures_and_answers_that_say_so_each_counted_once() {
    let mut measure = measure();
    let stamp = Stamp { due: 0, sent: 0 };
    for status in [200, 304, 404, 503] {
        measure.on_answer(1, stamp, 0, &answer(status));
    }
    measure.on_answer(1, stamp, 0, &Answer { grpc_status: Some(0), ..answer(200) });
    measure.on_answer(1, stamp, 0, &Answer { grpc_status: Some(14), ..answer(200) });
    measure.on_answer(1, stamp, 0, &Answer { grpc_status: Some(14), ..answer(503) });
    measure.on_failure(1, Some(stamp), 0, 0, Failure::Reset);
    assert_eq!((measure.answered(), measure.error_answers, measure.errors()), (7, 4, 5));
    assert_eq!(measure.grpc_statuses[&14], 2);
}

#[test]
fn a_request_that_is_sent_again_is_one_request() {
    let mut measure = measure();
    measure.on_sent(5, 0);
    measure.on_resend(5);
    measure.on_sent(5, 0);
    measure.on_answer(20, Stamp { due: 5, sent: 10 }, 0, &answer(200));
    assert_eq!((measure.sent, measure.resent, measure.answered()), (1, 1, 1));
    let interval = &measure.intervals.list()[0];
    assert_eq!((interval.sent, interval.answered, interval.in_flight), (1, 1, 1));
}

/// A random run, told to one measure or dealt to several.
fn tell(measures: &mut [Measure]) {
    let mut random = Random::seeded(11);
    for request in 0..5_000_u64 {
        let measure = &mut measures[request as usize % measures.len()];
        let due = request * 2_000_000;
        let stamp = Stamp { due, sent: due + (random.unit() * 1e6) as u64 };
        let at = stamp.sent + (random.exponential() * 1e7) as u64;
        measure.on_sent(due, 100);
        measure.count(Some((request % 7).to_string()));
        match request % 50 {
            0 => measure.on_failure(at, Some(stamp), due, 1, Failure::Timeout),
            1 => measure.on_failure(at, Some(stamp), due, 1, Failure::Reset),
            _ => measure.on_answer(at, stamp, request as usize % 2, &answer(200 + (request % 3) as u16)),
        }
    }
}

#[test]
fn merging_threads_gives_what_one_thread_would_have_counted() {
    let mut one = [measure()];
    tell(&mut one);
    let mut many = [measure(), measure(), measure()];
    tell(&mut many);
    let mut merged = measure();
    many.iter().for_each(|part| merged.merge(part));
    assert_eq!(merged.latency, one[0].latency);
    assert_eq!(merged.service, one[0].service);
    assert_eq!(merged.targets, one[0].targets);
    assert_eq!((merged.counted, merged.failures.clone()), (one[0].counted.clone(), one[0].failures.clone()));
    assert_eq!(merged.intervals.counts(), one[0].intervals.counts());
    let sums = |measure: &Measure| {
        let list = measure.intervals.list();
        list.iter().map(|at| (at.sent, at.answered, at.failed)).collect::<Vec<_>>()
    };
    let mut again = measure();
    many.iter().rev().for_each(|part| again.merge(part));
    assert_eq!(sums(&again), sums(&one[0]));
}

#[test]
fn intervals_hold_every_latency_where_its_request_was_due() {
    let mut measure = measure().after(2 * SECOND);
    // Due in the second interval, answered in the sixth.
    measure.on_sent(3 * SECOND + 5, 0);
    let stamp = Stamp { due: 3 * SECOND + 5, sent: 7 * SECOND };
    measure.on_answer(7 * SECOND + 500, stamp, 0, &answer(200));
    let list = measure.intervals.list();
    assert_eq!(list.len(), 6);
    assert_eq!((list[1].sent, list[1].counts().total(), list[1].answered), (1, 1, 0));
    assert_eq!((list[5].answered, list[5].counts().total()), (1, 0));
    let mut one = [self::measure()];
    tell(&mut one);
    let total: u64 = one[0].intervals.counts().iter().map(crate::stats::Counts::total).sum();
    assert_eq!(total, one[0].latency.len());
    for percentile in [50.0, 99.0, 99.9] {
        // Enough data or not, the value comes from the same buckets.
        if let Some(estimate) = crate::stats::estimate(&one[0].intervals.counts(), percentile) {
            assert_eq!(estimate.value, one[0].latency.value_at_percentile(percentile) as f64);
        }
    }
}

#[test]
fn long_runs_have_longer_intervals_instead_of_more() {
    let mut long = Measure::new(SECOND, 1);
    let mut short = Measure::new(SECOND, 1);
    for second in 0..3_500 {
        long.on_sent(second * SECOND, 0);
        long.on_answer(second * SECOND, Stamp { due: second * SECOND, sent: 0 }, 0, &answer(200));
    }
    short.on_sent(5 * SECOND, 0);
    assert_eq!((long.intervals.length(), long.intervals.list().len()), (4 * SECOND, 875));
    assert!(long.intervals.list().iter().all(|interval| interval.sent == 4 && interval.in_flight == 1));
    short.merge(&long);
    assert_eq!((short.intervals.length(), short.intervals.list()[1].sent), (4 * SECOND, 5));
    long.merge(&Measure::new(SECOND, 1));
    assert_eq!(long.intervals.length(), 4 * SECOND);
    // Times without end do not take memory without end.
    short.on_sent(u64::MAX, 0);
    assert!(short.intervals.list().len() <= intervals::INTERVALS_MAX);
}

#[test]
fn the_length_of_intervals_follows_the_run() {
    let check = |seconds: u64, millis: u64| {
        assert_eq!(Intervals::length_for(seconds * SECOND), millis * 1_000_000, "{seconds}");
    };
    check(1, 100);
    check(10, 100);
    check(60, 600);
    check(100, 1_000);
    check(900, 1_000);
    check(3_600, 3_600);
}

#[test]
fn values_of_the_counted_header_are_bounded() {
    let mut measure = measure();
    for value in 0..COUNTED_VALUES_MAX + 50 {
        measure.count(Some(value.to_string()));
    }
    measure.count(Some("1".to_owned()));
    assert_eq!(measure.counted.len(), COUNTED_VALUES_MAX + 1);
    assert_eq!((measure.counted["(other)"], measure.counted["1"]), (50, 2));
    let mut merged = measure.clone();
    merged.merge(&measure);
    assert_eq!(merged.counted.values().sum::<u64>(), 2 * (COUNTED_VALUES_MAX as u64 + 51));
}
