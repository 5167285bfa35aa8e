//! How long operations take: all sizes of one in turns.

use std::time::{Duration, Instant};

use super::Finding;
use super::work::{Group, Work};

/// The fewest operations of a slice, so that the clock's own time does not count.
const OPERATIONS_MIN: u64 = 64;

/// Times every size of `group`, there and back again, `repeats` times for `slice` each.
pub(super) fn measure(group: &'static Group, repeats: u32, slice: Duration) -> Vec<Finding> {
    let mut works: Vec<(Work, u64)> = group
        .sizes
        .iter()
        .map(|&size| {
            let mut work = (group.make)(size);
            let operations = operations_in(&mut work, slice);
            (work, operations)
        })
        .collect();
    let finding = |&size: &usize| Finding { group, size, nanos: Vec::new(), instructions: None };
    let mut findings: Vec<Finding> = group.sizes.iter().map(finding).collect();
    for repeat in 0..repeats {
        for turn in 0..works.len() {
            let turn = if repeat.is_multiple_of(2) { turn } else { works.len() - 1 - turn };
            let (work, operations) = &mut works[turn];
            let spent = time_of(work, *operations);
            findings[turn].nanos.push(spent.as_nanos() as f64 / *operations as f64);
        }
    }
    findings
}

/// How many operations fill a slice, found by doubling; warms everything up on the way.
fn operations_in(work: &mut Work, slice: Duration) -> u64 {
    let mut operations = OPERATIONS_MIN;
    loop {
        let spent = time_of(work, operations);
        if spent >= slice {
            return operations;
        }
        // An eighth at least, so that a coarse clock does not end it far too early.
        let factor = slice.as_secs_f64() / spent.as_secs_f64().max(1e-9);
        operations = (operations as f64 * factor.clamp(1.125, 8.0)).ceil() as u64;
    }
}

fn time_of(work: &mut Work, operations: u64) -> Duration {
    let start = Instant::now();
    work(operations);
    start.elapsed()
}
