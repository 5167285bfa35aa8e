//! What a run of the exchanges' simulation says: what happened how often, or which invariant broke where.
//!
//! Invariants: a failure names seed and step, so that it can be replayed.
//!
//! Not here: running anything.

use std::fmt;

/// What one run saw, so that a sweep can tell that it tested something.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// Answers from upstreams that the client got whole.
    pub relayed: u64,
    /// The proxy's own answers.
    pub own: u64,
    /// Requests that went out on a connection that had served before.
    pub reused: u64,
    /// Requests sent again.
    pub retried: u64,
    /// Responses that began before their request ended.
    pub early: u64,
    /// Upstream connections with bytes behind a response.
    pub surplus: u64,
    /// Client connections closed in the middle of a response.
    pub aborted: u64,
    /// Client connections that served more than one request.
    pub kept: u64,
}

impl Report {
    /// Every count with its name.
    pub const fn counts(&self) -> [(&'static str, u64); 8] {
        [
            ("relayed", self.relayed),
            ("own", self.own),
            ("reused", self.reused),
            ("retried", self.retried),
            ("early", self.early),
            ("surplus", self.surplus),
            ("aborted", self.aborted),
            ("kept", self.kept),
        ]
    }

    /// Adds another run's counts.
    pub const fn add(&mut self, other: &Report) {
        self.relayed += other.relayed;
        self.own += other.own;
        self.reused += other.reused;
        self.retried += other.retried;
        self.early += other.early;
        self.surplus += other.surplus;
        self.aborted += other.aborted;
        self.kept += other.kept;
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
        write!(
            f,
            "exchange simulation, seed {seed}, step {step}: {what} (replay with PINION_SIM_SEED={seed})"
        )
    }
}

impl std::error::Error for Failure {}
