//! A line on stderr every second, so that a long run is not silent.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::job::Start;
use crate::units::Nanos;

/// Totals that the senders add to and the display reads.
#[derive(Default)]
pub(crate) struct Totals {
    pub(crate) sent: AtomicU64,
    pub(crate) answered: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// Requests that are due and wait for a free connection.
    pub(crate) waiting: AtomicU64,
    /// The longest latency since the display last looked, in nanoseconds.
    pub(crate) slowest: AtomicU64,
}

impl Totals {
    /// An answer came, so long after its request was due.
    pub(crate) fn on_answer(&self, latency: u64) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        self.slowest.fetch_max(latency, Ordering::Relaxed);
    }
}

/// How often the display looks whether the run is over.
const TICK: Duration = Duration::from_millis(20);

/// Ticks from line to line.
const TICKS_PER_LINE: u32 = 50;

/// Shows the totals every second until `done`.
pub(crate) fn show(totals: &Totals, start: &Start, done: &AtomicBool) {
    let mut ticks = 0;
    let mut answered_before = 0;
    while !done.load(Ordering::Relaxed) {
        std::thread::sleep(TICK);
        ticks += 1;
        if ticks % TICKS_PER_LINE != 0 {
            continue;
        }
        let answered = totals.answered.load(Ordering::Relaxed);
        eprintln!(
            "{:5.0} s  sent {}  answered {answered} (+{})  failed {}  waiting {}  slowest {}",
            start.elapsed() as f64 / 1e9,
            totals.sent.load(Ordering::Relaxed),
            answered - answered_before,
            totals.failed.load(Ordering::Relaxed),
            totals.waiting.load(Ordering::Relaxed),
            Nanos(totals.slowest.swap(0, Ordering::Relaxed)),
        );
        answered_before = answered;
    }
}
