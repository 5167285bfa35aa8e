//! From readings of the counters to what is shown, and to how sure a percentile is. No clock and no output.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::added;
use crate::stats::{self, Counts};

/// From one view to the next, in nanoseconds.
const VIEW_NANOS: u64 = 1_000_000_000;

/// So many views in a row have to be sure enough, because one alone may be so by chance.
const SURE_VIEWS: u32 = 3;

/// When a run is sure enough: half the width of a percentile's confidence interval, as a share of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Surety {
    /// From 0 to 100.
    pub(crate) percentile: f64,
    /// 0.05 for 5 %.
    pub(crate) share: f64,
}

impl FromStr for Surety {
    type Err = String;

    /// `5%` of the 99th percentile, or `p50:2%`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (percentile, share) = text.split_once(':').unwrap_or(("p99", text));
        let number = |text: &str| text.parse::<f64>().ok();
        let percentile = percentile.strip_prefix('p').and_then(number);
        let share = share.strip_suffix('%').and_then(|share| number(share.trim_end()));
        match (percentile, share) {
            (Some(percentile), Some(share))
                if percentile > 0.0 && percentile < 100.0 && share > 0.0 && share <= 100.0 =>
            {
                Ok(Surety { percentile, share: share / 100.0 })
            }
            _ => {
                Err(format!("`{text}` is not a share such as `5%`, nor one of a percentile such as `p50:2%`"))
            }
        }
    }
}

/// The counters of all threads at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reading {
    pub(crate) sent: u64,
    pub(crate) answered: u64,
    pub(crate) failed: u64,
    /// Failed, and answers that say that something went wrong.
    pub(crate) errors: u64,
    /// Due, and waiting for a free connection.
    pub(crate) waiting: u64,
    /// Latencies, in coarse buckets.
    pub(crate) latency: Vec<u64>,
}

/// What is shown.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct View {
    /// Nanoseconds since the start.
    pub(super) now: u64,
    /// Answers a second since the last view.
    pub(super) rate: f64,
    pub(super) in_flight: u64,
    pub(super) waiting: u64,
    pub(super) errors: u64,
    /// p50, p99 and p99.9 since the last view, in nanoseconds, if there were answers.
    pub(super) percentiles: Option<[u64; 3]>,
    /// How sure the wanted percentile is, if one is and that can be told.
    pub(super) half_width: Option<f64>,
}

/// A run while it goes on.
pub(super) struct Live {
    /// The length of the intervals whose spread says how sure a percentile is.
    length: u64,
    until: Option<Surety>,
    intervals: Vec<Counts>,
    /// The last reading, that of the last view, and when they were.
    last: Reading,
    shown: Reading,
    taken_at: u64,
    shown_at: u64,
    sure_views: u32,
}

impl Live {
    pub(super) fn new(length: u64, until: Option<Surety>) -> Self {
        Live {
            length,
            until,
            intervals: Vec::new(),
            last: Reading::default(),
            shown: Reading::default(),
            taken_at: 0,
            shown_at: 0,
            sure_views: 0,
        }
    }

    /// Whether a reading is wanted.
    pub(super) fn wants(&self, now: u64) -> bool {
        now >= self.shown_at + VIEW_NANOS || (self.until.is_some() && now >= self.taken_at + self.length)
    }

    /// Takes a reading.
    pub(super) fn take(&mut self, now: u64, reading: Reading) {
        if self.until.is_some() {
            self.intervals.push(added(&self.last.latency, &reading.latency));
        }
        self.taken_at = now;
        self.last = reading;
    }

    /// What to show, once a second.
    pub(super) fn view(&mut self, now: u64) -> Option<View> {
        if now < self.shown_at + VIEW_NANOS {
            return None;
        }
        let (last, shown) = (&self.last, &self.shown);
        let counts = [added(&shown.latency, &last.latency)];
        let percentile = |percentile| stats::percentile(&counts, percentile);
        let half_width =
            self.until.and_then(|until| stats::relative_half_width(&self.intervals, until.percentile));
        let is_sure = self.until.zip(half_width).is_some_and(|(until, half)| half <= until.share);
        self.sure_views = if is_sure { self.sure_views + 1 } else { 0 };
        let view = View {
            now,
            rate: (last.answered - shown.answered) as f64 / ((now - self.shown_at) as f64 / 1e9),
            in_flight: last.sent.saturating_sub(last.answered + last.failed),
            waiting: last.waiting,
            errors: last.errors,
            percentiles: percentile(50.0)
                .map(|median| [median, percentile(99.0).unwrap_or(0), percentile(99.9).unwrap_or(0)]),
            half_width,
        };
        self.shown = self.last.clone();
        self.shown_at = now;
        Some(view)
    }

    /// Whether the percentile is as sure as the user wants it.
    pub(super) fn is_sure(&self) -> bool {
        self.sure_views >= SURE_VIEWS
    }
}
