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

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use crate::client::connection::Failure;

/// The longest time that is told apart, in nanoseconds: an hour.
const NANOS_MAX: u64 = 3_600_000_000_000;

/// How many different values of the counted header are told apart; the rest are `(other)`.
const COUNTED_VALUES_MAX: usize = 1000;

/// A histogram of nanoseconds with three significant digits.
pub(crate) fn histogram() -> Histogram<u64> {
    // INVARIANT: the bounds are constants that the histogram accepts.
    #[expect(clippy::unwrap_used, reason = "constant arguments, checked by every test of this file")]
    Histogram::new_with_bounds(1, NANOS_MAX, 3).unwrap()
}

/// The result of one thread, or of all.
#[derive(Clone)]
pub(crate) struct Measure {
    /// From the due time to the end of the answer.
    pub(crate) latency: Histogram<u64>,
    /// From the actual send to the end of the answer.
    pub(crate) service: Histogram<u64>,
    /// From the due time to when this program came round to it.
    pub(crate) lateness: Histogram<u64>,
    /// Requests that were sent.
    pub(crate) sent: u64,
    /// Answers by status.
    pub(crate) statuses: BTreeMap<u16, u64>,
    /// Requests without an answer, by reason.
    pub(crate) failures: BTreeMap<Failure, u64>,
    /// Answers by the value of the counted header.
    pub(crate) counted: BTreeMap<String, u64>,
    /// Bytes of content received.
    pub(crate) content_bytes: u64,
    /// Requests that were due while every connection was busy.
    pub(crate) blocked: u64,
    /// Requests sent again because a kept connection had just been closed.
    pub(crate) resent: u64,
    /// Connections opened.
    pub(crate) connects: u64,
    /// When the last request was answered or given up, in nanoseconds of the run.
    pub(crate) last: u64,
}

impl Measure {
    /// Nothing measured yet.
    pub(crate) fn new() -> Self {
        Measure {
            latency: histogram(),
            service: histogram(),
            lateness: histogram(),
            sent: 0,
            statuses: BTreeMap::new(),
            failures: BTreeMap::new(),
            counted: BTreeMap::new(),
            content_bytes: 0,
            blocked: 0,
            resent: 0,
            connects: 0,
            last: 0,
        }
    }

    /// Notes a value of the counted header.
    pub(crate) fn count(&mut self, value: Option<String>) {
        let value = value.unwrap_or_else(|| "(none)".to_owned());
        let known = self.counted.len() < COUNTED_VALUES_MAX || self.counted.contains_key(&value);
        *self.counted.entry(if known { value } else { "(other)".to_owned() }).or_default() += 1;
    }

    /// Answers of every status.
    pub(crate) fn answered(&self) -> u64 {
        self.statuses.values().sum()
    }

    /// Requests without an answer.
    pub(crate) fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Adds another thread's result.
    pub(crate) fn merge(&mut self, other: &Measure) {
        let pairs = [
            (&mut self.latency, &other.latency),
            (&mut self.service, &other.service),
            (&mut self.lateness, &other.lateness),
        ];
        for (mine, theirs) in pairs {
            // INVARIANT: both have the bounds of `histogram`, so that every value fits.
            let added = mine.add(theirs);
            debug_assert!(added.is_ok());
        }
        for (&status, count) in &other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        for (&failure, count) in &other.failures {
            *self.failures.entry(failure).or_default() += count;
        }
        for (value, count) in &other.counted {
            *self.counted.entry(value.clone()).or_default() += count;
        }
        self.sent += other.sent;
        self.content_bytes += other.content_bytes;
        self.blocked += other.blocked;
        self.resent += other.resent;
        self.connects += other.connects;
        self.last = self.last.max(other.last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_adds_everything() {
        let mut one = Measure::new();
        one.latency.saturating_record(1_000);
        one.statuses.insert(200, 2);
        one.failures.insert(Failure::Reset, 1);
        one.count(Some("v1".to_owned()));
        one.last = 5;
        let mut all = one.clone();
        all.merge(&one);
        assert_eq!(all.latency.len(), 2);
        assert_eq!((all.answered(), all.failed(), all.last), (4, 2, 5));
        assert_eq!(all.counted["v1"], 2);
    }

    #[test]
    fn values_of_the_counted_header_are_bounded() {
        let mut measure = Measure::new();
        for value in 0..COUNTED_VALUES_MAX + 50 {
            measure.count(Some(value.to_string()));
        }
        measure.count(Some("1".to_owned()));
        assert_eq!(measure.counted.len(), COUNTED_VALUES_MAX + 1);
        assert_eq!((measure.counted["(other)"], measure.counted["1"]), (50, 2));
    }
}
