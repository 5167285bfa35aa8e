//! When requests fall due. The schedule is made before anything is sent and knows nothing of answers:
//! that is what makes the load open-loop.
//!
//! Invariants: due times never fall; the n-th one does not depend on when it is asked for; constant
//! due times are computed from n, so that rounding does not add up; the same seed and number of threads
//! give the same times.

pub(crate) mod profile;
pub(crate) mod recorded;

use std::sync::Arc;

use crate::random::Random;
use profile::{Profile, Walk};
use recorded::Due;

/// How the due times of a run come about.
#[derive(Clone, Debug)]
pub(crate) enum Timing {
    /// Evenly spaced along a profile of rates.
    Constant(Profile),
    /// Independent of one another, as many users are: a Poisson process with the rates of a profile.
    Poisson(Profile),
    /// At times that were recorded.
    Recorded(Arc<[Due]>),
}

/// One thread's share of the due times.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    source: Source,
    /// The next one.
    next: Option<Due>,
    /// So many after the next one, at most.
    left: u64,
    /// None at or after this, in nanoseconds.
    end: u64,
}

#[derive(Clone, Debug)]
enum Source {
    /// The area under the profile at this thread's next arrival, and how far apart they are.
    Constant {
        walk: Walk,
        index: u64,
        thread: u64,
        threads: u64,
    },
    Poisson {
        walk: Walk,
        area: f64,
        threads: f64,
        random: Random,
    },
    Recorded {
        due: Arc<[Due]>,
        index: usize,
        threads: usize,
    },
}

impl Source {
    fn next(&mut self) -> Option<Due> {
        match self {
            Source::Constant { walk, index, thread, threads } => {
                let number = *index * *threads + *thread;
                *index += 1;
                walk.time_of(number as f64).map(Due::at)
            }
            Source::Poisson { walk, area, threads, random } => {
                *area += random.exponential() * *threads;
                walk.time_of(*area).map(Due::at)
            }
            Source::Recorded { due, index, threads } => {
                let next = due.get(*index).copied();
                *index += *threads;
                next
            }
        }
    }
}

impl Schedule {
    /// The share of thread `thread` of `threads`: due times before `end` nanoseconds, and at most `limit` in
    /// all shares. Constant shares interleave into one even spacing.
    pub(crate) fn new(
        arrivals: &Timing,
        end: u64,
        limit: u64,
        (thread, threads): (u32, u32),
        seed: u64,
    ) -> Self {
        let (thread, threads) = (u64::from(thread), u64::from(threads));
        let source = match arrivals {
            Timing::Constant(profile) => {
                Source::Constant { walk: Walk::new(profile.clone()), index: 0, thread, threads }
            }
            Timing::Poisson(profile) => Source::Poisson {
                walk: Walk::new(profile.clone()),
                area: 0.0,
                threads: threads as f64,
                random: Random::seeded(seed.wrapping_add(thread.wrapping_mul(0x9E37_79B9))),
            },
            Timing::Recorded(due) => {
                Source::Recorded { due: Arc::clone(due), index: thread as usize, threads: threads as usize }
            }
        };
        let left = limit / threads + u64::from(thread < limit % threads);
        let mut schedule = Schedule { source, next: None, left, end };
        schedule.advance();
        schedule
    }

    /// The next due time; `None` when there are no more.
    pub(crate) fn peek(&self) -> Option<Due> {
        self.next
    }

    /// Goes on to the due time after the one that [`Schedule::peek`] gives.
    pub(crate) fn advance(&mut self) {
        self.next = None;
        if self.left > 0 {
            self.left -= 1;
            self.next = self.source.next().filter(|due| due.at < self.end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::profile::Stage;
    use super::*;

    fn all(mut schedule: Schedule) -> Vec<u64> {
        let mut due = Vec::new();
        while let Some(next) = schedule.peek() {
            due.push(next.at);
            schedule.advance();
        }
        due
    }

    const SECOND: u64 = 1_000_000_000;

    fn flat(rate: f64, length: u64) -> Profile {
        Profile::new(&[Stage { from: rate, to: rate, length }])
    }

    #[test]
    fn constant_due_times_are_evenly_spaced_without_drift() {
        let arrivals = Timing::Constant(flat(3000.0, 10 * SECOND));
        let due = all(Schedule::new(&arrivals, 10 * SECOND, u64::MAX, (0, 1), 1));
        assert_eq!(due.len(), 30_000);
        assert_eq!(due[0], 0);
        assert_eq!(due[29_997], 9_999 * SECOND / 1000);
        assert!(due.windows(2).all(|w| (333_332..=333_334).contains(&(w[1] - w[0]))));
    }

    #[test]
    fn threads_share_one_even_spacing() {
        let arrivals = Timing::Constant(flat(1000.0, SECOND));
        let mut due: Vec<u64> =
            (0..3).flat_map(|t| all(Schedule::new(&arrivals, SECOND, u64::MAX, (t, 3), 1))).collect();
        due.sort_unstable();
        assert_eq!(due.len(), 1000);
        assert!(due.windows(2).all(|w| (999_990..=1_000_010).contains(&(w[1] - w[0]))));
    }

    #[test]
    fn the_limit_is_shared_without_loss() {
        let arrivals = Timing::Constant(flat(1e6, SECOND));
        let count: usize = (0..4).map(|t| all(Schedule::new(&arrivals, SECOND, 10, (t, 4), 1)).len()).sum();
        assert_eq!(count, 10);
    }

    #[test]
    fn poisson_gaps_have_the_mean_and_spread_of_their_distribution() {
        let arrivals = Timing::Poisson(flat(10_000.0, 10 * SECOND));
        let due = all(Schedule::new(&arrivals, 10 * SECOND, u64::MAX, (0, 1), 7));
        // 100,000 arrivals expected, standard deviation 316.
        assert!((98_500..101_500).contains(&due.len()), "{}", due.len());
        let gaps: Vec<f64> = due.windows(2).map(|w| (w[1] - w[0]) as f64).collect();
        // A share e^-1 of exponential gaps is longer than the mean.
        let longer = gaps.iter().filter(|&&gap| gap > 100_000.0).count() as f64 / gaps.len() as f64;
        assert!((0.36..0.376).contains(&longer), "{longer}");
        assert_eq!(due, all(Schedule::new(&arrivals, 10 * SECOND, u64::MAX, (0, 1), 7)));
        assert_ne!(due, all(Schedule::new(&arrivals, 10 * SECOND, u64::MAX, (0, 1), 8)));
    }

    #[test]
    fn a_poisson_ramp_has_its_arrivals_where_the_rate_is_high() {
        let ramp = Profile::new(&[Stage { from: 0.0, to: 10_000.0, length: 10 * SECOND }]);
        let due = all(Schedule::new(&Timing::Poisson(ramp), 10 * SECOND, u64::MAX, (0, 1), 7));
        let early = due.iter().filter(|&&at| at < 5 * SECOND).count() as f64 / due.len() as f64;
        assert!((0.24..0.26).contains(&early), "{early}");
    }

    #[test]
    fn recorded_times_are_dealt_out_in_turn() {
        let due: Arc<[Due]> = [5, 7, 9, 30].map(Due::at).into();
        let arrivals = Timing::Recorded(due);
        assert_eq!(all(Schedule::new(&arrivals, 20, u64::MAX, (0, 2), 1)), [5, 9]);
        assert_eq!(all(Schedule::new(&arrivals, 20, u64::MAX, (1, 2), 1)), [7]);
    }
}
