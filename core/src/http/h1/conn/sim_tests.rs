//! The simulation finds planted bugs: each is in the exchange itself, under `cfg(test)`, and the sweep that
//! passes without it must fail with it, naming seed and step.

use super::*;
use crate::sim::conn::{Failure, Make, run};

const SEEDS: u64 = 600;
const STEPS: u32 = 300;

fn sweep(make: Make) -> Result<(), Failure> {
    (0..SEEDS).try_for_each(|seed| run(seed, STEPS, make).map(drop))
}

fn planted(head: &RequestHead, close_after: bool, upgrade: bool, bug: Planted) -> Exchange {
    Exchange { planted: Some(bug), ..Exchange::new(head, close_after, upgrade) }
}

#[track_caller]
fn check(make: Make, symptoms: &[&str]) {
    let failure = sweep(make).expect_err("the planted bug was not found");
    let text = failure.to_string();
    assert!(symptoms.iter().any(|symptom| text.contains(symptom)), "{text}");
    assert!(text.contains(&format!("PINION_SIM_SEED={}", failure.seed)), "{text}");
    // The same seed fails at the same step: the failure can be replayed.
    assert_eq!(run(failure.seed, STEPS, make).expect_err("the seed does not replay"), failure);
}

#[test]
fn without_a_bug_the_sweep_passes() {
    if let Err(failure) = sweep(Exchange::new) {
        panic!("{failure}");
    }
}

#[test]
fn forgiven_surplus_is_found() {
    check(|head, close, upgrade| planted(head, close, upgrade, Planted::SurplusForgiven), &["out of step"]);
}

#[test]
fn reuse_after_an_early_answer_is_found() {
    let symptoms =
        ["an upstream can't read", "became Message", "before the last one was answered", "out of step"];
    check(|head, close, upgrade| planted(head, close, upgrade, Planted::EarlyAnswerForgiven), &symptoms);
}

#[test]
fn careless_retries_are_found() {
    check(|head, close, upgrade| planted(head, close, upgrade, Planted::RetriesEverything), &["sent twice"]);
}
