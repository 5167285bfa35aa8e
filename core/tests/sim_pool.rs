//! Seeded sweep over the pools' simulation: ledger, queue and shared credits of several shards.

#![expect(clippy::panic, reason = "helpers of tests fail as tests do")]

use pinion_core::pool::PoolLedger;
use pinion_core::sim::pool::{Report, run};

#[path = "common/sweep.rs"]
mod sweep;

const RUNS: u64 = 300;
const STEPS: u32 = 400;

fn one(seed: u64) -> Report {
    sweep::one(seed, |seed| run(seed, STEPS, PoolLedger::new))
}

#[test]
fn pools_hold_their_invariants() {
    sweep::sweep(RUNS, 4, one, Report::add, Report::counts);
}

#[test]
fn a_seed_replays_exactly() {
    assert_eq!(format!("{:?}", one(7)), format!("{:?}", one(7)));
    assert_ne!(format!("{:?}", one(7)), format!("{:?}", one(8)));
}
