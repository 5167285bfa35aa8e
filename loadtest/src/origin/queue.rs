//! Workers that serve one request at a time, first come, first served: the origin of a proof, whose
//! waiting times queueing theory knows (M/M/1 with `exp:2ms`, M/D/1 with `2ms`, both with one worker).
//!
//! ```text
//! arrived ──waits for the first free worker──▶ begun ──service time──▶ ready
//! ```
//!
//! The queue is reckoned, not acted: a request's `ready` follows from its arrival and from when the
//! workers are free (Lindley's recursion), so an answer that leaves late delays no other, and no error
//! adds up. Invariant: requests begin in the order in which they were handed in.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::delay::Delay;
use crate::random::Random;

/// The workers, shared by all threads.
pub(crate) struct Queue {
    service_time: Delay,
    workers: usize,
    /// When each worker that was ever needed is free again, the earliest first.
    free: Mutex<BinaryHeap<Reverse<Instant>>>,
}

impl Queue {
    /// So many idle workers.
    pub(crate) fn new(service_time: Delay, workers: u32) -> Self {
        let workers = workers as usize;
        Queue { service_time, workers, free: Mutex::new(BinaryHeap::with_capacity(workers)) }
    }

    /// When a request that arrives at `arrived` has been served.
    pub(super) fn ready(&self, arrived: Instant, random: &mut Random) -> Instant {
        let time = self.service_time.sample(random);
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = match free.len() < self.workers {
            true => arrived,
            false => free.pop().map_or(arrived, |Reverse(at)| at.max(arrived)),
        };
        free.push(Reverse(begun + time));
        begun + time
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn requests_wait_for_the_first_free_worker() {
        let check = |workers, arrivals: &[u64], expected: &[u64]| {
            let queue = Queue::new("10ms".parse().unwrap(), workers);
            let (start, mut random) = (Instant::now(), Random::seeded(1));
            let ready: Vec<u128> = arrivals
                .iter()
                .map(|&at| queue.ready(start + Duration::from_millis(at), &mut random))
                .map(|at| at.duration_since(start).as_millis())
                .collect();
            assert_eq!(ready, expected.iter().map(|&at| u128::from(at)).collect::<Vec<_>>());
        };
        check(1, &[0, 1, 2, 50], &[10, 20, 30, 60]);
        check(2, &[0, 1, 2, 3, 50], &[10, 11, 20, 21, 60]);
        check(3, &[0, 0, 0, 0, 0], &[10, 10, 10, 20, 20]);
    }

    /// The mean time in an M/M/1 queue is 1 / (service rate - arrival rate).
    #[test]
    fn the_mean_time_is_that_of_an_m_m_1_queue() {
        let queue = Queue::new("exp:2ms".parse().unwrap(), 1);
        let (mut arrivals, mut random) = (Random::seeded(1), Random::seeded(2));
        let start = Instant::now();
        let (mut at, mut sum) = (0.0, 0.0);
        for _ in 0..200_000 {
            at += arrivals.exponential() / 250.0;
            let arrived = start + Duration::from_secs_f64(at);
            sum += queue.ready(arrived, &mut random).duration_since(arrived).as_secs_f64();
        }
        let mean = sum / 200_000.0;
        // 1 / (500 - 250) s; the seeds are fixed, so this either always holds or never.
        assert!((mean - 0.004).abs() < 0.0002, "{mean}");
    }
}
