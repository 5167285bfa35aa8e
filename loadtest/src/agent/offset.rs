//! How far the clock of an agent is from the leader's, from messages there and back.
//!
//! ```text
//! leader   asked ─────────────── answered
//!               ╲               ╱
//! agent          ╲─── clock ───╱
//! ```
//!
//! The agent read its clock somewhere between the two: taking the middle is wrong by at most half the time
//! between them. The quickest of many tries bounds the error best.

/// An estimate of how far a clock is ahead, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offset {
    ahead: i128,
    /// The most that it is wrong by.
    pub(super) error: u64,
}

impl Offset {
    /// From one message there and back: the leader's clock before and after, the agent's in between.
    pub(super) fn of(asked: u64, clock: u64, answered: u64) -> Self {
        let trip = answered.saturating_sub(asked);
        let middle = asked + trip / 2;
        Offset { ahead: i128::from(clock) - i128::from(middle), error: trip.div_ceil(2) }
    }

    /// The better of two.
    pub(super) fn or(self, other: Offset) -> Offset {
        if other.error < self.error { other } else { self }
    }

    /// The agent's clock when the leader's is `at`.
    pub(super) fn there(self, at: u64) -> u64 {
        u64::try_from(i128::from(at) + self.ahead).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn the_error_holds_however_uneven_the_ways_are() {
        let mut random = Random::seeded(9);
        for ahead in [-3_000_000_000_i128, 0, 77, 9_000_000_000_000] {
            let mut best: Option<Offset> = None;
            for _ in 0..50 {
                let asked = 5_000_000_000_000 + (random.unit() * 1e9) as u64;
                let (there, back) = ((random.unit() * 1e6) as u64, (random.exponential() * 1e5) as u64);
                let clock = u64::try_from(i128::from(asked + there) + ahead).unwrap();
                let offset = Offset::of(asked, clock, asked + there + back);
                let at = 6_000_000_000_000;
                let truth = i128::from(at) + ahead;
                let wrong = (i128::from(offset.there(at)) - truth).unsigned_abs();
                assert!(wrong <= u128::from(offset.error) + 1, "{wrong} {offset:?}");
                best = Some(best.map_or(offset, |best| best.or(offset)));
            }
            assert!(best.unwrap().error < 200_000, "{best:?}");
        }
        assert_eq!(Offset::of(100, 5, 100).there(0), 0, "before the agent's clock began");
    }
}
