//! Sweeping seeds over a simulation, the same way for each: what the environment asks for, what a failure
//! says, and that everything that can happen did.
//!
//! `PINION_SIM_SEED` replays one seed, `PINION_SIM_RUNS` sets how many seeds are swept.

use std::fmt::{Debug, Display};
use std::panic::RefUnwindSafe;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")))
}

/// Runs one seed; a broken invariant or a panic fails the test and names the seed.
pub(crate) fn one<R, E: Display>(seed: u64, run: impl Fn(u64) -> Result<R, E> + RefUnwindSafe) -> R {
    let report = std::panic::catch_unwind(|| run(seed));
    match report.unwrap_or_else(|_| panic!("panic in seed {seed}: replay with PINION_SIM_SEED={seed}")) {
        Ok(report) => report,
        Err(failure) => panic!("{failure}"),
    }
}

/// Sweeps `runs_default` seeds (or what the environment says) and adds their reports up. Each kind of event
/// must have happened at least once in `rarity` runs: a sweep in which something never happened would prove
/// nothing about it.
pub(crate) fn sweep<R: Default + Debug, const N: usize>(
    runs_default: u64,
    rarity: u64,
    one: impl Fn(u64) -> R,
    add: impl Fn(&mut R, &R),
    counts: impl Fn(&R) -> [(&'static str, u64); N],
) {
    if let Some(seed) = number("PINION_SIM_SEED") {
        println!("seed {seed}: {:?}", one(seed));
        return;
    }
    let runs = number("PINION_SIM_RUNS").unwrap_or(runs_default);
    assert!(runs > 0, "no runs prove nothing");
    let mut total = R::default();
    for seed in 0..runs {
        add(&mut total, &one(seed));
    }
    println!("{runs} runs: {total:?}");
    for (name, count) in counts(&total) {
        assert!(count >= runs / rarity, "{name} happened {count} times in {runs} runs");
    }
}
