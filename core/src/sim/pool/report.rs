//! What a run of the pools' simulation says: what happened how often, or which invariant broke where.
//!
//! Invariants: a failure names seed and step, so that it can be replayed.
//!
//! Not here: running anything.

use std::fmt;

/// What one run saw, so that a sweep can tell that it tested something.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// Requests that came.
    pub arrived: u64,
    /// Got an idle connection at once.
    pub reused: u64,
    /// Got the right to connect at once.
    pub connected: u64,
    /// Got a connection or the right to connect after waiting.
    pub served: u64,
    /// Waited until their deadline.
    pub timed_out: u64,
    /// Found the queue full.
    pub overflowed: u64,
    /// Gave up while waiting.
    pub cancelled: u64,
    /// Idle connections closed after their time.
    pub expired: u64,
    /// Idle connections closed because their credit or place was needed.
    pub evicted: u64,
    /// Connects that failed.
    pub connect_failed: u64,
    /// Endpoints drained.
    pub drained: u64,
}

impl Report {
    /// Every count with its name.
    pub const fn counts(&self) -> [(&'static str, u64); 11] {
        [
            ("arrived", self.arrived),
            ("reused", self.reused),
            ("connected", self.connected),
            ("served", self.served),
            ("timed_out", self.timed_out),
            ("overflowed", self.overflowed),
            ("cancelled", self.cancelled),
            ("expired", self.expired),
            ("evicted", self.evicted),
            ("connect_failed", self.connect_failed),
            ("drained", self.drained),
        ]
    }

    /// Adds another run's counts.
    pub const fn add(&mut self, other: &Report) {
        self.arrived += other.arrived;
        self.reused += other.reused;
        self.connected += other.connected;
        self.served += other.served;
        self.timed_out += other.timed_out;
        self.overflowed += other.overflowed;
        self.cancelled += other.cancelled;
        self.expired += other.expired;
        self.evicted += other.evicted;
        self.connect_failed += other.connect_failed;
        self.drained += other.drained;
    }
}

/// A broken invariant: which, and how to see it again.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The run.
    pub seed: u64,
    /// The step of the run; equal to the number of steps: the drain at the end.
    pub step: u32,
    /// What was expected and what was found.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { seed, step, what } = self;
        write!(f, "pool simulation, seed {seed}, step {step}: {what} (replay with PINION_SIM_SEED={seed})")
    }
}
