//! Seeded sweep over the simulation of HTTP/2 connections: client and server machine, torn bytes, small windows,
//! resets, drains.

#![expect(clippy::panic, reason = "helpers of tests fail as tests do")]

use pinion_core::sim::h2::{Report, run};

#[path = "common/sweep.rs"]
mod sweep;

const RUNS: u64 = 400;
const STEPS: u32 = 600;

fn one(seed: u64) -> Report {
    sweep::one(seed, |seed| run(seed, STEPS))
}

#[test]
fn connections_hold_their_invariants() {
    sweep::sweep(RUNS, 40, one, Report::add, Report::counts);
}

#[test]
fn a_seed_replays_exactly() {
    assert_eq!(format!("{:?}", one(7)), format!("{:?}", one(7)));
    assert_ne!(format!("{:?}", one(7)), format!("{:?}", one(8)));
}
