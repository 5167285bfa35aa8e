//! The latency ledger: where the time of one request went, phase by phase.
//!
//! ```text
//!   begin        stamp(Codec)   stamp(Route)   stamp(Pool)   stamp(Connect)   stamp(Exchange)   stamp(Respond)
//!     ├── codec ──────┼──── route ────┼──── pool ────┼──── connect ───┼──── exchange ────┼──── respond ────┤
//! ```
//!
//! Each stamp ends a phase: the time since the stamp before is added to it. A retry passes through
//! phases again and adds to them.
//!
//! Invariants: the phases sum to the time from the beginning to the last stamp, exactly.
//!
//! Not here: reading the clock; histograms of phases.

use crate::time::Instant;

/// A phase of a request; stages that can't wait are part of their neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// From the first byte of the head to its last, and reading it.
    Codec,
    /// Normalising, finding the route, policies, choosing an endpoint.
    Route,
    /// Waiting for an upstream connection to become free.
    Pool,
    /// Making a new upstream connection.
    Connect,
    /// Sending the request and waiting for the response's head.
    Exchange,
    /// From the response's head to its last byte handed to the kernel.
    Respond,
}

impl Phase {
    /// How many phases there are.
    pub const COUNT: usize = Self::ALL.len();
    /// Every phase, in the order of a request's life.
    pub const ALL: [Phase; 6] =
        [Phase::Codec, Phase::Route, Phase::Pool, Phase::Connect, Phase::Exchange, Phase::Respond];

    /// The word used in logs and documentation.
    pub const fn label(self) -> &'static str {
        match self {
            Phase::Codec => "codec",
            Phase::Route => "route",
            Phase::Pool => "pool",
            Phase::Connect => "connect",
            Phase::Exchange => "exchange",
            Phase::Respond => "respond",
        }
    }
}

/// Nanoseconds per phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases(pub [u64; Phase::COUNT]);

impl Phases {
    /// Nanoseconds spent in `phase`.
    pub const fn of(&self, phase: Phase) -> u64 {
        self.0[phase as usize]
    }

    /// Nanoseconds in all.
    pub fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum, &phase| sum.saturating_add(phase))
    }
}

/// A ledger being written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ledger {
    last: Instant,
    phases: Phases,
}

impl Ledger {
    /// A ledger whose first phase begins at `now`.
    pub const fn begin(now: Instant) -> Self {
        Ledger { last: now, phases: Phases([0; Phase::COUNT]) }
    }

    /// Ends `phase` at `now`: adds the time since the last stamp. A `now` before that adds nothing.
    #[inline]
    pub fn stamp(&mut self, phase: Phase, now: Instant) {
        let spent = now.nanos().saturating_sub(self.last.nanos());
        self.phases.0[phase as usize] = self.phases.0[phase as usize].saturating_add(spent);
        self.last = if now > self.last { now } else { self.last };
    }

    /// When the last stamp was.
    pub const fn last(&self) -> Instant {
        self.last
    }

    /// The phases up to the last stamp.
    pub const fn phases(&self) -> &Phases {
        &self.phases
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn phases_are_what_lies_between_stamps() {
        let mut ledger = Ledger::begin(Instant::from_nanos(100));
        ledger.stamp(Phase::Codec, Instant::from_nanos(150));
        ledger.stamp(Phase::Pool, Instant::from_nanos(350));
        ledger.stamp(Phase::Exchange, Instant::from_nanos(300));
        ledger.stamp(Phase::Pool, Instant::from_nanos(360));
        assert_eq!(ledger.phases().of(Phase::Codec), 50);
        assert_eq!(ledger.phases().of(Phase::Pool), 210);
        assert_eq!(ledger.phases().of(Phase::Exchange), 0);
        assert_eq!(ledger.last(), Instant::from_nanos(360));
    }

    proptest! {
        #[test]
        fn phases_sum_to_the_whole(
            start in 0_u64..1 << 40,
            steps in proptest::collection::vec((0_usize..Phase::COUNT, 0_u64..1 << 40), 0..50),
        ) {
            let mut ledger = Ledger::begin(Instant::from_nanos(start));
            let mut end = start;
            for (phase, at) in steps {
                ledger.stamp(Phase::ALL[phase], Instant::from_nanos(at));
                end = end.max(at);
            }
            prop_assert_eq!(ledger.phases().total(), end - start);
        }
    }
}
