//! The comparison with other proxies: CPU time and system calls per request, measured in turns.
//!
//! ```text
//! for each case: for each repeat: pinion, nginx, HAProxy, then HAProxy, nginx, pinion, …
//!     one CPU, SCHED_BATCH:  lockstep client ⇄ proxy ⇄ origin, all started afresh
//!     and in an open loop, the proxy alone on one CPU, client and origin on another
//! ```
//!
//! Interleaving and turning the order round spreads whatever else the machine does over all of them.
//! The figure to compare is the first quartile: disturbance only ever adds time.

pub(crate) mod lockstep;
mod measure;
mod report;
mod subject;

use std::time::{Duration, Instant};

use crate::programs::Programs;
use crate::signals::Stop;
use crate::{Problem, units};
use measure::{Case, Setting};
use report::Row;
use subject::Subject;

/// The cases: cost of one isolated request, moderate, saturated, more than saturated, larger bodies.
const CASES: [Case; 6] = [
    Case { bytes: 100, in_flight: 1 },
    Case { bytes: 100, in_flight: 8 },
    Case { bytes: 100, in_flight: 64 },
    Case { bytes: 100, in_flight: 128 },
    Case { bytes: 10 * 1024, in_flight: 8 },
    Case { bytes: 1024 * 1024, in_flight: 4 },
];

/// Connections of the open loop.
const OPEN_CONNECTIONS: u32 = 128;

/// Options of the comparison.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Build the programs first
    #[arg(long)]
    build: bool,
    /// The proxies to compare
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAMES",
          default_values = ["pinion", "pinion-epoll", "nginx", "haproxy"])]
    subjects: Vec<Subject>,
    /// Only the cases with these body sizes, in bytes
    #[arg(long, value_delimiter = ',', value_name = "BYTES")]
    bodies: Vec<usize>,
    /// Only the cases with so many requests in flight
    #[arg(long, value_delimiter = ',', value_name = "K")]
    in_flight: Vec<u32>,
    /// How often each proxy is measured in each case
    #[arg(long, default_value_t = 6, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=50))]
    repeats: u32,
    /// Before each measurement
    #[arg(long, default_value = "200ms", value_name = "D", value_parser = units::duration)]
    warmup: Duration,
    /// Of each measurement
    #[arg(long, default_value = "600ms", value_name = "D", value_parser = units::duration)]
    measure: Duration,
    /// Stop measuring after this long and report what there is
    #[arg(long, default_value = "15m", value_name = "D", value_parser = units::duration)]
    time_limit: Duration,
    /// The proxy's CPU, which client and upstream share in lockstep
    #[arg(long, default_value_t = 0, value_name = "CPU")]
    cpu: u32,
    /// The CPU of client and upstream in the open loop
    #[arg(long, default_value_t = 1, value_name = "CPU")]
    other_cpu: u32,
    /// Requests a second of the open loop, over 128 connections; 0 leaves it out
    #[arg(long, default_value_t = 10_000, value_name = "R")]
    rate: u32,
}

/// Measures and prints a table.
///
/// # Errors
/// A program is missing or fails.
pub(crate) fn run(options: &Options) -> Result<(), Problem> {
    let programs = Programs::find(options.build)?;
    let stop = Stop::watch()?;
    let mut versions = Vec::new();
    for subject in &options.subjects {
        versions.push((subject.label(), subject.version(&programs)?));
    }
    let folder = tempfile::tempdir().map_err(|e| format!("no temporary folder: {e}"))?;
    let setting = Setting {
        programs: &programs,
        folder: folder.path(),
        cpu: options.cpu,
        other_cpu: options.other_cpu,
        warmup: options.warmup,
        measure: options.measure,
    };
    let deadline = Instant::now() + options.time_limit;
    let over = || stop.is_set() || Instant::now() >= deadline;
    let chosen = |case: &&Case| {
        (options.bodies.is_empty() || options.bodies.contains(&case.bytes))
            && (options.in_flight.is_empty() || options.in_flight.contains(&case.in_flight))
    };
    let mut turns =
        Turns { subjects: &options.subjects, repeats: options.repeats, over: &over, failures: Vec::new() };
    let mut rows = Vec::new();
    for &case in CASES.iter().filter(chosen) {
        let samples = turns.measure(&case.label(), |subject| setting.cpu_time(subject, case));
        for (&subject, samples) in options.subjects.iter().zip(samples) {
            let system_calls =
                turns.once(&case.label(), subject, || setting.system_calls(subject, case)).flatten();
            rows.push(Row { case, subject, samples, system_calls });
        }
    }
    let mut open_rows = Vec::new();
    if options.rate > 0 {
        let label = format!("{}/s", options.rate);
        let samples =
            turns.measure(&label, |subject| setting.open_loop(subject, options.rate, OPEN_CONNECTIONS));
        open_rows.extend(options.subjects.iter().copied().zip(samples));
    }
    let mut commands = Vec::new();
    for &subject in &options.subjects {
        commands.push((subject.label(), setting.command_line(subject)?));
    }
    print!("{}", report::lockstep(&rows, options.repeats));
    print!("{}", report::open_loop(&open_rows, options.rate));
    print!("{}", report::setting(&versions, &commands));
    if over() {
        println!("\nThe measurement was ended early: rows with fewer samples say so.");
    }
    match turns.failures.as_slice() {
        [] => Ok(()),
        failures => Err(format!("some measurements failed:\n{}", failures.join("\n"))),
    }
}

/// Measures the proxies in turns.
struct Turns<'a> {
    subjects: &'a [Subject],
    repeats: u32,
    /// Whether it is time to stop.
    over: &'a dyn Fn() -> bool,
    /// What failed. One failure says something about that proxy and nothing about the others, which are
    /// measured all the same.
    failures: Vec<Problem>,
}

impl Turns<'_> {
    /// Measures all proxies, there and back again; a list of samples for each.
    fn measure<T: std::fmt::Display>(
        &mut self,
        label: &str,
        measure: impl Fn(Subject) -> Result<T, Problem>,
    ) -> Vec<Vec<T>> {
        let mut samples: Vec<Vec<T>> = self.subjects.iter().map(|_| Vec::new()).collect();
        for repeat in 0..self.repeats {
            for turn in order(self.subjects.len(), repeat) {
                let subject = self.subjects[turn];
                if let Some(sample) = self.once(label, subject, || measure(subject)) {
                    eprintln!("{label:<14} {:<18} {sample}", subject.label());
                    samples[turn].push(sample);
                }
            }
        }
        samples
    }

    /// One measurement of one proxy, if there is time.
    fn once<T>(
        &mut self,
        label: &str,
        subject: Subject,
        measure: impl Fn() -> Result<T, Problem>,
    ) -> Option<T> {
        if (self.over)() {
            return None;
        }
        measure()
            .map_err(|problem| {
                let failure = format!("{label}, {}: {problem}", subject.label());
                eprintln!("{failure}");
                self.failures.push(failure);
            })
            .ok()
    }
}

/// There and back again.
fn order(count: usize, repeat: u32) -> Vec<usize> {
    if repeat.is_multiple_of(2) { (0..count).collect() } else { (0..count).rev().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_turns_round() {
        assert_eq!(order(3, 0), [0, 1, 2]);
        assert_eq!(order(3, 1), [2, 1, 0]);
    }
}
