//! Budgets: how much of what costs us more than the peer one connection may ask for.
//!
//! ```text
//!             per second ─┐
//!   per useful frame ─────┼─▶ [ tokens, at most `burst` ] ─▶ one for each such frame; none left: GOAWAY
//!   per answered stream ──┘
//! ```
//!
//! What honest peers send grows with the work they ask for (pings with content, window updates with downloads,
//! cancels with requests), so budgets are refilled by useful frames and answered streams too: a busy connection is
//! never judged by a bare rate, and one that only floods lives on the rate.
//!
//! Invariants: a charge is a decrement; clocks and sums are looked at only when a budget has run out.
//!
//! HOT: no allocation, no lock. Not here: the numbers and their reasons ([`crate::limits`]).

use super::error::{ConnectionError, Flood};
use crate::limits;
use crate::time::Instant;

/// How one budget is filled, in frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// The most it holds, and what it begins with.
    pub burst: u32,
    /// Added for each whole second.
    pub per_second: u32,
    /// Added for each useful frame: a stream opened, content received, about 4 KiB of content sent.
    pub per_useful: u32,
    /// Added for each stream that came to its regular end.
    pub per_answered: u32,
}

/// All budgets of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget(pub [Rate; Flood::COUNT]);

impl Budget {
    /// What [`limits`] says.
    pub const DEFAULT: Budget = Budget(limits::H2_BUDGETS);
}

/// What is left of the budgets of one connection.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    budget: &'static Budget,
    left: [u32; Flood::COUNT],
    useful: u32,
    answered: u32,
    /// Up to when seconds have been added; unknown before the first time a budget runs out.
    filled: Instant,
}

const NANOS_PER_SECOND: u64 = 1_000_000_000;

impl Meter {
    pub(super) fn new(budget: &'static Budget) -> Self {
        let mut left = [0; Flood::COUNT];
        for (left, rate) in left.iter_mut().zip(&budget.0) {
            *left = rate.burst;
        }
        Meter { budget, left, useful: 0, answered: 0, filled: Instant::ZERO }
    }

    /// The peer asked for something, or took something.
    #[inline]
    pub(super) fn useful(&mut self, times: u32) {
        self.useful = self.useful.saturating_add(times);
    }

    /// A stream came to its regular end.
    #[inline]
    pub(super) fn answered(&mut self) {
        self.answered = self.answered.saturating_add(1);
    }

    /// Takes one of `flood`.
    ///
    /// # Errors
    /// There is none left.
    #[inline]
    pub(super) fn charge(&mut self, flood: Flood, now: Instant) -> Result<(), ConnectionError> {
        let place = flood as usize;
        if self.left[place] == 0 {
            self.fill(now);
        }
        match self.left[place].checked_sub(1) {
            Some(left) => {
                self.left[place] = left;
                Ok(())
            }
            None => Err(ConnectionError::flood(flood)),
        }
    }

    #[cold]
    fn fill(&mut self, now: Instant) {
        let nanos = now.nanos().saturating_sub(self.filled.nanos());
        let seconds = nanos / NANOS_PER_SECOND;
        self.filled = Instant::from_nanos(self.filled.nanos() + seconds * NANOS_PER_SECOND);
        let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
        for (left, rate) in self.left.iter_mut().zip(&self.budget.0) {
            let more = rate
                .per_second
                .saturating_mul(seconds)
                .saturating_add(rate.per_useful.saturating_mul(self.useful))
                .saturating_add(rate.per_answered.saturating_mul(self.answered));
            *left = left.saturating_add(more).min(rate.burst);
        }
        self.useful = 0;
        self.answered = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    static BUDGET: Budget =
        Budget([Rate { burst: 3, per_second: 2, per_useful: 1, per_answered: 0 }; Flood::COUNT]);

    fn charged(meter: &mut Meter, times: usize, now: Instant) -> usize {
        (0..times).take_while(|_| meter.charge(Flood::Ping, now).is_ok()).count()
    }

    #[test]
    fn a_burst_then_what_seconds_and_use_bring() {
        let mut now = Instant::from_nanos(77);
        let mut meter = Meter::new(&BUDGET);
        meter.filled = now;
        assert_eq!(charged(&mut meter, 10, now), 3);
        now = now.after(Duration::from_millis(999));
        assert_eq!(charged(&mut meter, 10, now), 0, "seconds count whole");
        now = now.after(Duration::from_millis(1));
        assert_eq!(charged(&mut meter, 10, now), 2);
        now = now.after(Duration::from_secs(1_000_000));
        assert_eq!(charged(&mut meter, 10, now), 3, "never more than a burst");
        meter.useful(2);
        assert_eq!(charged(&mut meter, 10, now), 2);
        assert_eq!(meter.charge(Flood::Settings, now), Ok(()), "budgets are apart");
        let error = meter.charge(Flood::Ping, now);
        assert_eq!(error, Err(ConnectionError::flood(Flood::Ping)));
    }

    #[test]
    fn the_first_fill_may_be_late() {
        let mut meter = Meter::new(&BUDGET);
        let now = Instant::from_nanos(u64::MAX / 2);
        assert_eq!(charged(&mut meter, 10, now), 6, "the first burst, and one filled at once");
        assert_eq!(charged(&mut meter, 10, now), 0);
        assert_eq!(charged(&mut meter, 10, now.after(Duration::from_secs(1))), 2);
    }
}
