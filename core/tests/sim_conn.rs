//! Seeded sweep over the simulation of exchanges: hostile upstreams, torn bytes, closing connections.
//!
//! `PINION_SIM_SEED` replays one seed, `PINION_SIM_RUNS` sets how many seeds are swept.

#![expect(clippy::panic, reason = "helpers of tests fail as tests do")]

use pinion_core::http::h1::conn::Exchange;
use pinion_core::sim::conn::{Report, run};

const RUNS_DEFAULT: u64 = 2_000;
const STEPS: u32 = 300;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")))
}

fn one(seed: u64) -> Report {
    let report = std::panic::catch_unwind(|| run(seed, STEPS, Exchange::new));
    match report.unwrap_or_else(|_| panic!("panic in seed {seed}: replay with PINION_SIM_SEED={seed}")) {
        Ok(report) => report,
        Err(failure) => panic!("{failure}"),
    }
}

#[test]
fn exchanges_hold_their_invariants() {
    if let Some(seed) = number("PINION_SIM_SEED") {
        println!("seed {seed}: {:?}", one(seed));
        return;
    }
    let runs = number("PINION_SIM_RUNS").unwrap_or(RUNS_DEFAULT);
    assert!(runs > 0, "no runs prove nothing");
    let mut total = Report::default();
    for seed in 0..runs {
        total.add(&one(seed));
    }
    println!("{runs} runs of {STEPS} steps: {total:?}");
    // A sweep in which something never happened would prove nothing about it.
    for (name, count) in total.counts() {
        assert!(count >= runs / 100, "{name} happened {count} times in {runs} runs");
    }
}

#[test]
fn a_seed_replays_exactly() {
    assert_eq!(format!("{:?}", one(7)), format!("{:?}", one(7)));
}
