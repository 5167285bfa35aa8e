//! When requests fall due. The schedule is made before anything is sent and knows nothing of answers:
//! that is what makes the load open-loop.
//!
//! Invariants: due times never fall; the n-th one does not depend on when it is asked for; constant
//! due times are computed from n, so that rounding does not add up.

use crate::cli::Arrivals;
use crate::random::Random;

/// One thread's share of the due times.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    arrivals: Arrivals,
    /// Nanoseconds between two of this thread's requests (their mean, for random arrivals).
    interval: f64,
    /// Of the first due time, in nanoseconds.
    offset: f64,
    /// How many due times were given out.
    index: u64,
    /// At most so many.
    limit: u64,
    /// None at or after this, in nanoseconds.
    end: u64,
    /// Sum of the random gaps so far, in nanoseconds.
    elapsed: f64,
    random: Random,
}

impl Schedule {
    /// The share of thread `thread` of `threads` in `rate` requests a second for `end` nanoseconds, and
    /// at most `limit` requests in all. Constant shares interleave into one even spacing.
    pub(crate) fn new(
        arrivals: Arrivals,
        rate: f64,
        end: u64,
        limit: u64,
        (thread, threads): (u32, u32),
        seed: u64,
    ) -> Self {
        let (thread, threads) = (u64::from(thread), u64::from(threads));
        let interval = 1e9 / rate * threads as f64;
        let share = limit / threads + u64::from(thread < limit % threads);
        let mut schedule = Schedule {
            arrivals,
            interval,
            offset: interval * thread as f64 / threads as f64,
            index: 0,
            limit: share,
            end,
            elapsed: 0.0,
            random: Random::seeded(seed.wrapping_add(thread.wrapping_mul(0x9E37_79B9))),
        };
        if arrivals == Arrivals::Poisson {
            schedule.elapsed = schedule.gap();
        }
        schedule
    }

    /// The next due time, in nanoseconds from the start; `None` when there are no more.
    pub(crate) fn peek(&self) -> Option<u64> {
        if self.index >= self.limit {
            return None;
        }
        let due = match self.arrivals {
            Arrivals::Constant => self.offset + self.interval * self.index as f64,
            Arrivals::Poisson => self.elapsed,
        };
        Some(due as u64).filter(|&due| due < self.end)
    }

    /// Goes on to the due time after the one that [`Schedule::peek`] gives.
    pub(crate) fn advance(&mut self) {
        self.index += 1;
        if self.arrivals == Arrivals::Poisson {
            self.elapsed += self.gap();
        }
    }

    /// An exponentially distributed gap with the mean of the interval.
    fn gap(&mut self) -> f64 {
        self.interval * self.random.exponential()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(mut schedule: Schedule) -> Vec<u64> {
        let mut due = Vec::new();
        while let Some(at) = schedule.peek() {
            due.push(at);
            schedule.advance();
        }
        due
    }

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn constant_due_times_are_evenly_spaced_without_drift() {
        let due = all(Schedule::new(Arrivals::Constant, 3000.0, 10 * SECOND, u64::MAX, (0, 1), 1));
        assert_eq!(due.len(), 30_000);
        assert_eq!(due[0], 0);
        assert_eq!(due[29_997], 9_999 * SECOND / 1000);
        assert!(due.windows(2).all(|w| (333_332..=333_334).contains(&(w[1] - w[0]))));
    }

    #[test]
    fn threads_share_one_even_spacing() {
        let mut due: Vec<u64> = (0..3)
            .flat_map(|t| all(Schedule::new(Arrivals::Constant, 1000.0, SECOND, u64::MAX, (t, 3), 1)))
            .collect();
        due.sort_unstable();
        assert_eq!(due.len(), 1000);
        assert!(due.windows(2).all(|w| (999_990..=1_000_010).contains(&(w[1] - w[0]))));
    }

    #[test]
    fn the_limit_is_shared_without_loss() {
        let count: usize =
            (0..4).map(|t| all(Schedule::new(Arrivals::Constant, 1e6, SECOND, 10, (t, 4), 1)).len()).sum();
        assert_eq!(count, 10);
    }

    #[test]
    fn poisson_gaps_have_the_mean_and_spread_of_their_distribution() {
        let due = all(Schedule::new(Arrivals::Poisson, 10_000.0, 10 * SECOND, u64::MAX, (0, 1), 7));
        // 100,000 arrivals expected, standard deviation 316.
        assert!((98_500..101_500).contains(&due.len()), "{}", due.len());
        let gaps: Vec<f64> = due.windows(2).map(|w| (w[1] - w[0]) as f64).collect();
        // A share e^-1 of exponential gaps is longer than the mean.
        let longer = gaps.iter().filter(|&&gap| gap > 100_000.0).count() as f64 / gaps.len() as f64;
        assert!((0.36..0.376).contains(&longer), "{longer}");
        let again = all(Schedule::new(Arrivals::Poisson, 10_000.0, 10 * SECOND, u64::MAX, (0, 1), 7));
        assert_eq!(due, again);
    }
}
