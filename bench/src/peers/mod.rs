//! The comparison with other proxies: CPU time and system calls per request, measured in turns.
//!
//! ```text
//! for each case: for each repeat: pinion, nginx, HAProxy, then HAProxy, nginx, pinion, …
//!     one CPU, SCHED_BATCH:  lockstep client ⇄ proxy ⇄ origin, all started afresh
//! ```
//!
//! Interleaving and turning the order round spreads whatever else the machine does over all of them.
//! The figure to compare is the first quartile: disturbance only ever adds time.

mod cpu;
pub(crate) mod lockstep;
mod measure;
mod report;
mod subject;

use std::time::{Duration, Instant};

use crate::programs::Programs;
use crate::signals::Stop;
use crate::{Problem, units};
use measure::{Case, Sample, Setting};
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
    /// The CPU that client, proxy and upstream share
    #[arg(long, default_value_t = 0, value_name = "CPU")]
    cpu: u32,
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
        warmup: options.warmup,
        measure: options.measure,
    };
    let deadline = Instant::now() + options.time_limit;
    let over = || stop.is_set() || Instant::now() >= deadline;
    let chosen = |case: &&Case| {
        (options.bodies.is_empty() || options.bodies.contains(&case.bytes))
            && (options.in_flight.is_empty() || options.in_flight.contains(&case.in_flight))
    };
    let mut rows = Vec::new();
    let mut measured = 0;
    for &case in CASES.iter().filter(chosen) {
        let samples = series(&setting, &options.subjects, case, options.repeats, &over)?;
        for (&subject, samples) in options.subjects.iter().zip(samples) {
            measured += samples.len();
            let system_calls = if over() { None } else { setting.system_calls(subject, case)? };
            rows.push(Row { case, subject, samples, system_calls });
        }
    }
    if measured == 0 {
        return Err("nothing was measured: no case was chosen, or there was no time".to_owned());
    }
    let mut commands = Vec::new();
    for &subject in &options.subjects {
        commands.push((subject.label(), setting.command_lines(subject)?));
    }
    print!("{}", report::render(&rows, &versions, &commands, options.repeats));
    if over() {
        println!("\nThe measurement was ended early: rows with fewer samples say so.");
    }
    Ok(())
}

/// Measures all proxies in one case, in turns; a list of samples for each.
fn series(
    setting: &Setting<'_>,
    subjects: &[Subject],
    case: Case,
    repeats: u32,
    over: &impl Fn() -> bool,
) -> Result<Vec<Vec<Sample>>, Problem> {
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); subjects.len()];
    for repeat in 0..repeats {
        for turn in order(subjects.len(), repeat) {
            if over() {
                return Ok(samples);
            }
            let sample = setting.cpu_time(subjects[turn], case)?;
            eprintln!(
                "{:<12} {:<18} {:>8.2} µs CPU, round trip {:.0} µs",
                case.label(),
                subjects[turn].label(),
                sample.cpu_micros,
                sample.round_trip_micros
            );
            samples[turn].push(sample);
        }
    }
    Ok(samples)
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
