//! What a run looks like while it goes on: a display on stderr, and the wish to end it once it is sure
//! enough.
//!
//! ```text
//! sender 1 ─ Totals ─┐  relaxed counters, written by one thread each
//! sender 2 ─ Totals ─┼─▶ this thread, every 20 ms: Live ─▶ a line each second, or a bar on a terminal
//! sender 3 ─ Totals ─┘                               └──▶ stop, when a percentile is sure enough
//! ```
//!
//! Invariants: a sender never waits for the display and shares no cache line with another sender; what is
//! shown is nowhere part of the result.

mod display;
mod live;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::job::Start;
use crate::measure::NANOS_MAX;
use crate::measure::buckets::{COARSE, bucket, highest};
use crate::measure::intervals::Intervals;
use crate::stats::Counts;
use display::Display;
use live::Live;
pub(crate) use live::{Reading, Surety};

/// What one sending thread has done so far: it alone adds, the display reads.
#[repr(align(128))]
pub(crate) struct Totals {
    pub(crate) sent: AtomicU64,
    pub(crate) answered: AtomicU64,
    /// Answers that say that something went wrong.
    error_answers: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// Requests that are due and wait for a free connection.
    pub(crate) waiting: AtomicU64,
    /// Latencies, in coarse buckets.
    latency: Box<[AtomicU64]>,
}

impl Default for Totals {
    fn default() -> Self {
        Totals {
            sent: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            error_answers: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            latency: (0..=bucket::<COARSE>(NANOS_MAX)).map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

impl Totals {
    /// An answer came, so long after its request was due.
    pub(crate) fn on_answer(&self, latency: u64, is_error: bool) {
        // One thread writes: no locked instruction is needed to add.
        let add = |counter: &AtomicU64| counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        add(&self.answered);
        if is_error {
            add(&self.error_answers);
        }
        if let Some(count) = self.latency.get(usize::from(bucket::<COARSE>(latency.min(NANOS_MAX)))) {
            add(count);
        }
    }

    /// Holds what another machine's threads hold together.
    pub(crate) fn set(&self, reading: &Reading) {
        let set = |counter: &AtomicU64, value| counter.store(value, Ordering::Relaxed);
        set(&self.sent, reading.sent);
        set(&self.answered, reading.answered);
        set(&self.failed, reading.failed);
        set(&self.error_answers, reading.errors.saturating_sub(reading.failed));
        set(&self.waiting, reading.waiting);
        for (counter, &value) in self.latency.iter().zip(&reading.latency) {
            set(counter, value);
        }
    }

    /// Adds what it holds now to a reading.
    fn read(&self, reading: &mut Reading) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        reading.sent += load(&self.sent);
        reading.answered += load(&self.answered);
        reading.errors += load(&self.error_answers) + load(&self.failed);
        reading.failed += load(&self.failed);
        reading.waiting += load(&self.waiting);
        reading.latency.resize(self.latency.len(), 0);
        for (sum, count) in reading.latency.iter_mut().zip(&self.latency) {
            *sum += load(count);
        }
    }
}

/// How often the display looks whether the run is over.
const TICK: Duration = Duration::from_millis(20);

/// A run to be watched.
pub(crate) struct Watch<'a> {
    /// One of each sending thread.
    pub(crate) totals: &'a [Arc<Totals>],
    pub(crate) start: &'a Start,
    /// Nanoseconds of the run until nothing more falls due.
    pub(crate) end: u64,
    /// The run is over.
    pub(crate) done: &'a AtomicBool,
    /// Set when the run shall end early.
    pub(crate) stop: &'a AtomicBool,
    pub(crate) quiet: bool,
    /// When it is sure enough to end, if the user wants that.
    pub(crate) until: Option<Surety>,
    /// Who else is told of the counters.
    pub(crate) tell: Option<&'a Tell<'a>>,
}

/// Is told of the counters of all threads, several times a second.
pub(crate) type Tell<'a> = dyn Fn(Reading) + Sync + 'a;

/// How often it is told.
const TELL: Duration = Duration::from_millis(200);

impl Watch<'_> {
    /// Shows the run until it is done; true if it was ended because its percentile was sure enough.
    pub(crate) fn run(&self) -> bool {
        if self.quiet && self.until.is_none() && self.tell.is_none() {
            return false;
        }
        let display = Display::new(self.quiet, self.end);
        let mut live = Live::new(Intervals::length_for(self.end), self.until);
        let mut is_sure = false;
        let mut told = Instant::now();
        while !self.done.load(Ordering::Relaxed) {
            std::thread::sleep(TICK);
            if let Some(tell) = self.tell.filter(|_| told.elapsed() >= TELL) {
                told = Instant::now();
                tell(self.read());
            }
            let now = self.start.elapsed();
            if now == 0 {
                continue;
            }
            if live.wants(now) {
                live.take(now, self.read());
            }
            if let Some(view) = live.view(now) {
                display.show(&view);
                if live.is_sure() && !is_sure {
                    is_sure = true;
                    self.stop.store(true, Ordering::Relaxed);
                }
            }
        }
        display.finish();
        is_sure
    }

    /// The counters of all threads.
    fn read(&self) -> Reading {
        let mut reading = Reading::default();
        self.totals.iter().for_each(|totals| totals.read(&mut reading));
        reading
    }
}

/// The counts of what was added from one reading to the next.
fn added(before: &[u64], after: &[u64]) -> Counts {
    let added = |(index, &count): (usize, &u64)| {
        let count = count - before.get(index).copied().unwrap_or(0);
        // INVARIANT: there are as many buckets as a bucket's number can name.
        (count > 0).then(|| (highest::<COARSE>(index as u16), count))
    };
    Counts(after.iter().enumerate().filter_map(added).collect())
}

#[cfg(test)]
mod tests;
