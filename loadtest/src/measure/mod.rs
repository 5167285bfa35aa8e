//! What a run measures: two times of every request, and counts.
//!
//! ```text
//! due ──lateness──▶ noticed ──no free connection──▶ sent ──service time──▶ answered
//!  └──────────────────────────── latency ─────────────────────────────────────┘
//! ```
//!
//! Latency begins when the request was due: what a user would have waited. A time-out counts in both
//! histograms with the time that was waited, a request that was never sent counts in the latency; an
//! error that comes early has no time, because a quick failure must not look like a quick answer.
//!
//! Invariants: each request ends in exactly one of [`Measure::on_answer`] and [`Measure::on_failure`];
//! merging is exact, so that it does not matter how many threads or machines counted.

pub(crate) mod buckets;
pub(crate) mod intervals;

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use crate::client::failure::Failure;
use crate::client::wire::Answer;
use intervals::Intervals;

/// The longest time that is told apart, in nanoseconds: an hour.
pub(crate) const NANOS_MAX: u64 = 3_600_000_000_000;

/// How many different values of the counted header are told apart; the rest are `(other)`.
const COUNTED_VALUES_MAX: usize = 1000;

/// Every kind of error.
pub(crate) const FAILURES: [Failure; 9] = [
    Failure::Connect,
    Failure::Tls,
    Failure::Reset,
    Failure::Closed,
    Failure::Malformed,
    Failure::Refused,
    Failure::Stream,
    Failure::Timeout,
    Failure::Unsent,
];

/// A histogram of nanoseconds with three significant digits.
pub(crate) fn histogram() -> Histogram<u64> {
    // INVARIANT: the bounds are constants that the histogram accepts.
    #[expect(clippy::unwrap_used, reason = "constant arguments, checked by every test of this file")]
    Histogram::new_with_bounds(1, NANOS_MAX, 3).unwrap()
}

/// When a request was due and sent, in nanoseconds of the run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    pub(crate) due: u64,
    pub(crate) sent: u64,
}

/// TLS handshakes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Handshakes {
    /// With the whole exchange of keys and certificates.
    pub(crate) full: u64,
    /// That continued an earlier session.
    pub(crate) resumed: u64,
}

/// The part of one target, when there are several.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TargetMeasure {
    /// From the due time to the end of the answer.
    pub(crate) latency: Histogram<u64>,
    /// Answers by status.
    pub(crate) statuses: BTreeMap<u16, u64>,
    /// Requests without an answer, by reason.
    pub(crate) failures: BTreeMap<Failure, u64>,
}

impl TargetMeasure {
    fn new() -> Self {
        TargetMeasure { latency: histogram(), statuses: BTreeMap::new(), failures: BTreeMap::new() }
    }
}

/// The result of one thread, or of all.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Measure {
    /// From the due time to the end of the answer.
    pub(crate) latency: Histogram<u64>,
    /// From the actual send to the end of the answer.
    pub(crate) service: Histogram<u64>,
    /// From the due time to when this program came round to it.
    pub(crate) lateness: Histogram<u64>,
    /// From when a request was due and a connection free to the return of the send.
    pub(crate) send_lag: Histogram<u64>,
    /// How late a sending thread came back from a wait for a time.
    pub(crate) stalls: Histogram<u64>,
    /// Setting up a connection, with TLS.
    pub(crate) connect_times: Histogram<u64>,
    /// Requests that were sent.
    pub(crate) sent: u64,
    /// Answers by status.
    pub(crate) statuses: BTreeMap<u16, u64>,
    /// Answers of gRPC by their own status.
    pub(crate) grpc_statuses: BTreeMap<u16, u64>,
    /// Answers that say that something went wrong: a status from 400 on, a gRPC status but 0.
    pub(crate) error_answers: u64,
    /// Requests without an answer, by reason.
    pub(crate) failures: BTreeMap<Failure, u64>,
    /// Answers by the value of the counted header.
    pub(crate) counted: BTreeMap<String, u64>,
    /// Bytes of content received.
    pub(crate) content_bytes: u64,
    /// Bytes received, with everything around the content.
    pub(crate) bytes_in: u64,
    /// Bytes sent.
    pub(crate) bytes_out: u64,
    /// Requests that were due while every connection was busy.
    pub(crate) blocked: u64,
    /// Requests sent again because a kept connection had just been closed.
    pub(crate) resent: u64,
    /// Connections opened.
    pub(crate) connects: u64,
    /// Connections that were to stay idle and ended.
    pub(crate) idle_lost: u64,
    /// TLS handshakes.
    pub(crate) handshakes: Handshakes,
    /// When the last request was answered or given up, or the run was ended early, in nanoseconds of the run.
    pub(crate) last: u64,
    /// Each target by itself; empty if there is only one.
    pub(crate) targets: Vec<TargetMeasure>,
    /// The run in slices of time.
    pub(crate) intervals: Intervals,
    /// Requests in flight now.
    in_flight: u64,
}

impl Measure {
    /// Nothing measured yet, in intervals of `interval` nanoseconds and of so many targets.
    pub(crate) fn new(interval: u64, targets: usize) -> Self {
        let targets = if targets > 1 { targets } else { 0 };
        Measure {
            latency: histogram(),
            service: histogram(),
            lateness: histogram(),
            send_lag: histogram(),
            stalls: histogram(),
            connect_times: histogram(),
            sent: 0,
            statuses: BTreeMap::new(),
            grpc_statuses: BTreeMap::new(),
            error_answers: 0,
            failures: BTreeMap::new(),
            counted: BTreeMap::new(),
            content_bytes: 0,
            bytes_in: 0,
            bytes_out: 0,
            blocked: 0,
            resent: 0,
            connects: 0,
            idle_lost: 0,
            handshakes: Handshakes::default(),
            last: 0,
            targets: vec![TargetMeasure::new(); targets],
            intervals: Intervals::new(0, interval),
            in_flight: 0,
        }
    }

    /// The same with intervals that begin after the warm-up, `begin` nanoseconds into the run.
    pub(crate) fn after(mut self, begin: u64) -> Self {
        self.intervals = Intervals::new(begin, self.intervals.length());
        self
    }

    /// A request due at `due` was sent: `lateness` nanoseconds after its due time this program had come
    /// round to it.
    pub(crate) fn on_sent(&mut self, due: u64, lateness: u64) {
        self.sent += 1;
        self.lateness.saturating_record(lateness);
        self.in_flight += 1;
        let interval = self.intervals.at(due);
        interval.sent += 1;
        interval.in_flight = interval.in_flight.max(self.in_flight);
    }

    /// What [`Measure::on_sent`] told of met a connection that was just being closed: the request waits to
    /// be sent again, and will be told of again.
    pub(crate) fn on_resend(&mut self, due: u64) {
        self.resent += 1;
        self.sent = self.sent.saturating_sub(1);
        self.in_flight = self.in_flight.saturating_sub(1);
        let interval = self.intervals.at(due);
        interval.sent = interval.sent.saturating_sub(1);
    }

    /// The answer to a request is complete.
    pub(crate) fn on_answer(&mut self, at: u64, stamp: Stamp, target: usize, answer: &Answer) {
        let latency = at.saturating_sub(stamp.due).min(NANOS_MAX);
        self.last = self.last.max(at);
        self.latency.saturating_record(latency);
        self.service.saturating_record(at.saturating_sub(stamp.sent).min(NANOS_MAX));
        self.intervals.record(stamp.due, latency);
        let interval = self.intervals.at(at);
        interval.answered += 1;
        interval.in_flight = interval.in_flight.max(self.in_flight);
        self.in_flight = self.in_flight.saturating_sub(1);
        *self.statuses.entry(answer.status).or_default() += 1;
        if let Some(status) = answer.grpc_status {
            *self.grpc_statuses.entry(status).or_default() += 1;
        }
        if answer.is_error() {
            self.error_answers += 1;
        }
        self.content_bytes += answer.content_bytes;
        if let Some(target) = self.targets.get_mut(target) {
            target.latency.saturating_record(latency);
            *target.statuses.entry(answer.status).or_default() += 1;
        }
    }

    /// A request has no proper answer. `stamp` is `None` if it was never sent.
    pub(crate) fn on_failure(
        &mut self,
        at: u64,
        stamp: Option<Stamp>,
        due: u64,
        target: usize,
        failure: Failure,
    ) {
        self.last = self.last.max(at);
        *self.failures.entry(failure).or_default() += 1;
        let interval = self.intervals.at(at);
        interval.failed += 1;
        interval.in_flight = interval.in_flight.max(self.in_flight);
        if stamp.is_some() {
            self.in_flight = self.in_flight.saturating_sub(1);
        }
        let has_time = matches!(failure, Failure::Timeout | Failure::Unsent);
        let latency = at.saturating_sub(due).min(NANOS_MAX);
        if has_time {
            self.latency.saturating_record(latency);
            self.intervals.record(due, latency);
        }
        if let (Failure::Timeout, Some(stamp)) = (failure, stamp) {
            self.service.saturating_record(at.saturating_sub(stamp.sent).min(NANOS_MAX));
        }
        if let Some(target) = self.targets.get_mut(target) {
            *target.failures.entry(failure).or_default() += 1;
            if has_time {
                target.latency.saturating_record(latency);
            }
        }
    }

    /// Notes a value of the counted header.
    pub(crate) fn count(&mut self, value: Option<String>) {
        let value = value.unwrap_or_else(|| "(none)".to_owned());
        self.count_many(value, 1);
    }

    fn count_many(&mut self, value: String, count: u64) {
        let known = self.counted.len() < COUNTED_VALUES_MAX || self.counted.contains_key(&value);
        *self.counted.entry(if known { value } else { "(other)".to_owned() }).or_default() += count;
    }

    /// Answers of every status.
    pub(crate) fn answered(&self) -> u64 {
        self.statuses.values().sum()
    }

    /// Requests without an answer.
    pub(crate) fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Requests that went wrong in any way: without an answer, or with one that says so.
    pub(crate) fn errors(&self) -> u64 {
        self.failed() + self.error_answers
    }

    /// Adds another thread's result.
    pub(crate) fn merge(&mut self, other: &Measure) {
        let pairs = [
            (&mut self.latency, &other.latency),
            (&mut self.service, &other.service),
            (&mut self.lateness, &other.lateness),
            (&mut self.send_lag, &other.send_lag),
            (&mut self.stalls, &other.stalls),
            (&mut self.connect_times, &other.connect_times),
        ];
        for (mine, theirs) in pairs {
            add(mine, theirs);
        }
        add_counts(&mut self.statuses, &other.statuses);
        add_counts(&mut self.grpc_statuses, &other.grpc_statuses);
        add_counts(&mut self.failures, &other.failures);
        for (value, count) in &other.counted {
            self.count_many(value.clone(), *count);
        }
        self.sent += other.sent;
        self.error_answers += other.error_answers;
        self.content_bytes += other.content_bytes;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.blocked += other.blocked;
        self.resent += other.resent;
        self.connects += other.connects;
        self.idle_lost += other.idle_lost;
        self.handshakes.full += other.handshakes.full;
        self.handshakes.resumed += other.handshakes.resumed;
        self.last = self.last.max(other.last);
        self.intervals.merge(&other.intervals);
        for (mine, theirs) in self.targets.iter_mut().zip(&other.targets) {
            add(&mut mine.latency, &theirs.latency);
            add_counts(&mut mine.statuses, &theirs.statuses);
            add_counts(&mut mine.failures, &theirs.failures);
        }
    }
}

fn add(mine: &mut Histogram<u64>, theirs: &Histogram<u64>) {
    // INVARIANT: both have the bounds of `histogram`, so that every value fits.
    let added = mine.add(theirs);
    debug_assert!(added.is_ok());
}

fn add_counts<K: Copy + Ord>(mine: &mut BTreeMap<K, u64>, theirs: &BTreeMap<K, u64>) {
    for (&key, count) in theirs {
        *mine.entry(key).or_default() += count;
    }
}

#[cfg(test)]
mod tests;
