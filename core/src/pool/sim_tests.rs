//! The simulation finds planted bugs: each is in the ledger itself, under `cfg(test)`, and the sweep that
//! passes without it must fail with it, naming seed and step.

use super::ledger::Planted;
use super::{IdleLimits, PoolLedger};
use crate::sim::pool::{Failure, run};

const SEEDS: u64 = 40;
const STEPS: u32 = 300;

fn sweep(ledger: fn(IdleLimits) -> PoolLedger) -> Result<(), Failure> {
    (0..SEEDS).try_for_each(|seed| run(seed, STEPS, ledger).map(drop))
}

fn planted(limits: IdleLimits, bug: Planted) -> PoolLedger {
    let mut ledger = PoolLedger::new(limits);
    ledger.planted = Some(bug);
    ledger
}

#[track_caller]
fn check(ledger: fn(IdleLimits) -> PoolLedger, symptom: &str) {
    let failure = sweep(ledger).expect_err("the planted bug was not found");
    let text = failure.to_string();
    assert!(text.contains(symptom), "{text}");
    assert!(text.contains(&format!("seed {}, step {}", failure.seed, failure.step)), "{text}");
    // The same seed fails at the same step: the failure can be replayed.
    let again = run(failure.seed, STEPS, ledger).expect_err("the seed does not replay");
    assert_eq!(again.to_string(), text);
}

#[test]
fn without_a_bug_the_sweep_passes() {
    if let Err(failure) = sweep(PoolLedger::new) {
        panic!("{failure}");
    }
}

#[test]
fn a_credit_leaked_by_a_failed_connect_is_found() {
    check(|limits| planted(limits, Planted::LeakOnConnectFailure), "idle, active, connecting");
}

#[test]
fn reuse_of_the_oldest_is_found() {
    check(|limits| planted(limits, Planted::OldestFirst), "acquire: Reuse");
}

#[test]
fn a_connection_kept_while_draining_is_found() {
    check(|limits| planted(limits, Planted::KeptWhileDraining), "instead of Close");
}

#[test]
fn an_idle_connection_handed_out_past_its_time_is_found() {
    check(|limits| planted(limits, Planted::ReuseAfterExpiry), "instead of");
}
