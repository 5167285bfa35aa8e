//! Seeded sweep over the simulation of exchanges: hostile upstreams, torn bytes, closing connections.

#![expect(clippy::panic, reason = "helpers of tests fail as tests do")]

use pinion_core::http::h1::conn::Exchange;
use pinion_core::sim::conn::{Report, run};

#[path = "common/sweep.rs"]
mod sweep;

const RUNS: u64 = 2_000;
const STEPS: u32 = 300;

fn one(seed: u64) -> Report {
    sweep::one(seed, |seed| run(seed, STEPS, Exchange::new))
}

#[test]
fn exchanges_hold_their_invariants() {
    sweep::sweep(RUNS, 100, one, Report::add, Report::counts);
}

#[test]
fn a_seed_replays_exactly() {
    assert_eq!(format!("{:?}", one(7)), format!("{:?}", one(7)));
}
