//! The run in slices of time: what happened when.
//!
//! ```text
//! begin ├─ length ─┼─ length ─┼─ …            at most INTERVALS_MAX; then neighbours are merged and the
//!       │ latencies of what was DUE here      length doubles
//!       │ answers and failures that CAME here
//! ```
//!
//! A latency belongs to the interval in which its request was due: that is where its user met the stall.
//! Answers and failures are counted where they came, so that a rate over time shows what was seen.
//!
//! Invariants: memory is bounded by the number of intervals and of buckets; merging two threads' intervals
//! gives what one thread would have counted (but for the most in flight, which is a sum).

use std::collections::BTreeMap;

use super::buckets::{FINE, bucket, highest};
use crate::stats::Counts;

/// The most intervals that are told apart.
pub(crate) const INTERVALS_MAX: usize = 1_000;

/// The shortest interval, in nanoseconds.
const LENGTH_MIN: u64 = 100_000_000;

/// The longest interval that is chosen for short runs, in nanoseconds.
const LENGTH_MAX: u64 = 1_000_000_000;

/// What happened in one interval.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Interval {
    /// Latencies of the requests that were due in it: how many fell into each bucket.
    latency: BTreeMap<u16, u64>,
    /// Requests due in it that were sent.
    pub(crate) sent: u64,
    /// Answers that came in it.
    pub(crate) answered: u64,
    /// Requests that were found to have failed in it.
    pub(crate) failed: u64,
    /// The most requests in flight, summed over threads.
    pub(crate) in_flight: u64,
}

impl Interval {
    /// The latencies of what was due in it.
    pub(crate) fn counts(&self) -> Counts {
        Counts(self.latency.iter().map(|(&bucket, &count)| (highest::<FINE>(bucket), count)).collect())
    }

    fn merge(&mut self, other: &Interval, together: impl Fn(u64, u64) -> u64) {
        for (&bucket, count) in &other.latency {
            *self.latency.entry(bucket).or_default() += count;
        }
        self.sent += other.sent;
        self.answered += other.answered;
        self.failed += other.failed;
        self.in_flight = together(self.in_flight, other.in_flight);
    }
}

/// The intervals of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Intervals {
    /// When the first one begins, in nanoseconds of the run.
    begin: u64,
    /// The length of each, in nanoseconds.
    length: u64,
    list: Vec<Interval>,
}

impl Intervals {
    /// The length for a run of `duration` nanoseconds: a hundredth of it, from 100 ms to one second; more
    /// for runs that would have more than [`INTERVALS_MAX`].
    pub(crate) fn length_for(duration: u64) -> u64 {
        (duration / 100).clamp(LENGTH_MIN, LENGTH_MAX).max(duration.div_ceil(INTERVALS_MAX as u64))
    }

    /// Intervals of `length` nanoseconds from `begin` on.
    pub(crate) fn new(begin: u64, length: u64) -> Self {
        Intervals { begin, length: length.max(1), list: Vec::new() }
    }

    /// Intervals that something else has counted, for example another machine.
    pub(crate) fn of(begin: u64, length: u64, list: impl Iterator<Item = (Counts, [u64; 4])>) -> Self {
        let interval = |(counts, [sent, answered, failed, in_flight]): (Counts, [u64; 4])| Interval {
            latency: counts.0.into_iter().map(|(value, count)| (bucket::<FINE>(value), count)).collect(),
            sent,
            answered,
            failed,
            in_flight,
        };
        Intervals { list: list.take(INTERVALS_MAX).map(interval).collect(), ..Intervals::new(begin, length) }
    }

    /// The length of each, in nanoseconds.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// The intervals in their order.
    pub(crate) fn list(&self) -> &[Interval] {
        &self.list
    }

    /// The latencies of each.
    pub(crate) fn counts(&self) -> Vec<Counts> {
        self.list.iter().map(Interval::counts).collect()
    }

    /// Notes a latency, where its request was due.
    pub(super) fn record(&mut self, due: u64, latency: u64) {
        *self.at(due).latency.entry(bucket::<FINE>(latency)).or_default() += 1;
    }

    /// The interval of a time; what is before the first one belongs to it.
    pub(super) fn at(&mut self, time: u64) -> &mut Interval {
        loop {
            let index = (time.saturating_sub(self.begin) / self.length) as usize;
            if index < INTERVALS_MAX {
                if index >= self.list.len() {
                    self.list.resize_with(index + 1, Interval::default);
                }
                return &mut self.list[index];
            }
            self.coarsen();
        }
    }

    /// Merges neighbours pairwise.
    fn coarsen(&mut self) {
        self.length = self.length.saturating_mul(2);
        self.list = self
            .list
            .chunks(2)
            .map(|pair| {
                let mut one = pair[0].clone();
                pair[1..].iter().for_each(|other| one.merge(other, u64::max));
                one
            })
            .collect();
    }

    /// Adds what another thread counted.
    pub(super) fn merge(&mut self, other: &Intervals) {
        let mut other = other.clone();
        while self.length < other.length {
            self.coarsen();
        }
        while other.length < self.length {
            other.coarsen();
        }
        for (index, theirs) in other.list.iter().enumerate() {
            let time = self.begin.saturating_add((index as u64).saturating_mul(self.length));
            self.at(time).merge(theirs, |one, two| one + two);
        }
    }
}
