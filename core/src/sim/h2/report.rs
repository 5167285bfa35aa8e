//! What a run of the HTTP/2 simulation says: what happened how often, or which invariant broke where.
//!
//! Invariants: a failure names seed and step, so that it can be replayed.
//!
//! Not here: running anything.

use std::fmt;

/// What one run saw, so that a sweep can tell that it tested something.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// Streams that were opened.
    pub opened: u64,
    /// Streams that came to their regular end.
    pub answered: u64,
    /// Resets that arrived.
    pub resets: u64,
    /// Those of streams that the server had not looked at.
    pub refused: u64,
    /// Sends that were short and told to go on.
    pub short: u64,
    /// Interim heads.
    pub interim: u64,
    /// Trailers.
    pub trailers: u64,
    /// Answers that began before their request ended.
    pub early: u64,
    /// GOAWAYs that arrived.
    pub drained: u64,
}

impl Report {
    /// Every count with its name.
    pub const fn counts(&self) -> [(&'static str, u64); 9] {
        [
            ("opened", self.opened),
            ("answered", self.answered),
            ("resets", self.resets),
            ("refused", self.refused),
            ("short", self.short),
            ("interim", self.interim),
            ("trailers", self.trailers),
            ("early", self.early),
            ("drained", self.drained),
        ]
    }

    /// Adds another run's counts.
    pub const fn add(&mut self, other: &Report) {
        self.opened += other.opened;
        self.answered += other.answered;
        self.resets += other.resets;
        self.refused += other.refused;
        self.short += other.short;
        self.interim += other.interim;
        self.trailers += other.trailers;
        self.early += other.early;
        self.drained += other.drained;
    }
}

/// An invariant that did not hold, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The run's seed.
    pub seed: u64,
    /// The step at which it showed.
    pub step: u32,
    /// What did not hold.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { seed, step, what } = self;
        write!(f, "HTTP/2 simulation, seed {seed}, step {step}: {what} (replay with PINION_SIM_SEED={seed})")
    }
}

impl std::error::Error for Failure {}
