//! Whether a run may be believed: the generator judges itself.
//!
//! A latency that was measured by a program which came late, or waited for its CPU, is partly that program's
//! own. Such a run is marked invalid, with the reasons; its numbers are shown all the same.
//!
//! | what | bound |
//! |---|---|
//! | lateness: due time to this program coming round to it | at p50, p99, p99.9: a floor, or a quarter of the latency there |
//! | wake-ups that came late | the same |
//! | time on the CPU | 95 % of a thread's time: it was the bottleneck |
//! | time runnable without a CPU | 10 % of a thread's time: other programs had it |
//! | steal: another virtual machine had the CPU | 2 % of all CPUs' time |
//! | connections that failed for want of local ports or descriptors | none |

use std::fs;

use hdrhistogram::Histogram;

use crate::measure::Measure;
use crate::sender::Facts;
use crate::units::Nanos;

/// Percentiles that are looked at, and how late is never held against a run there, in nanoseconds.
const FLOORS: [(f64, u64); 3] = [(50.0, 100_000), (99.0, 250_000), (99.9, 1_000_000)];

/// The share of a latency that may be this program's own lateness.
const SHARE_MAX: f64 = 0.25;

/// The share of a thread's time on its CPU from which on it is the bottleneck.
const RUNNING_MAX: f64 = 0.95;

/// The share of a thread's time that it may be runnable without a CPU.
const WAITING_MAX: f64 = 0.10;

/// The share of all CPUs' time that other machines may have.
const STEAL_MAX: f64 = 0.02;

/// A percentile of so many values needs so many above it to mean something.
const BEYOND_MIN: f64 = 10.0;

/// The judgement on a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// Why it is invalid; empty if it is not.
    pub(crate) reasons: Vec<String>,
}

impl Certificate {
    /// Whether the run may be believed.
    pub(crate) fn is_valid(&self) -> bool {
        self.reasons.is_empty()
    }

    /// Judges a run by what was measured, what the kernel says of each thread, and the share of steal.
    pub(crate) fn of(measure: &Measure, threads: &[Facts], steal: Option<f64>) -> Self {
        let mut reasons = Vec::new();
        reasons.extend(late(&measure.lateness, &measure.latency, "requests were noticed late"));
        reasons.extend(late(&measure.stalls, &measure.latency, "the generator's threads woke up late"));
        for (index, facts) in threads.iter().enumerate().filter(|(_, facts)| facts.is_known) {
            let share = |part: u64| part as f64 / (facts.elapsed.max(1)) as f64;
            let (running, waiting) = (share(facts.running), share(facts.waiting));
            if running > RUNNING_MAX {
                let percent = running * 100.0;
                reasons.push(format!(
                    "thread {index} used {percent:.0} % of a CPU: the generator was the bottleneck"
                ));
            }
            if waiting > WAITING_MAX {
                let percent = waiting * 100.0;
                reasons.push(format!(
                    "thread {index} waited for a CPU {percent:.0} % of the time: other programs had it"
                ));
            }
        }
        if let Some(steal) = steal.filter(|&steal| steal > STEAL_MAX) {
            let percent = steal * 100.0;
            reasons.push(format!("other virtual machines took {percent:.1} % of the CPUs' time (steal)"));
        }
        let exhausted: u64 = threads.iter().map(|facts| facts.exhausted).sum();
        if exhausted > 0 {
            reasons.push(format!(
                "{exhausted} connections failed for want of local ports or descriptors (see --source, ulimit -n)"
            ));
        }
        Certificate { reasons }
    }
}

/// Says by how much `own` times of this program show in the latencies, at the worst of the percentiles.
fn late(own: &Histogram<u64>, latency: &Histogram<u64>, what: &str) -> Option<String> {
    let enough = |histogram: &Histogram<u64>, percentile: f64| {
        histogram.len() as f64 * (100.0 - percentile) / 100.0 >= BEYOND_MIN
    };
    FLOORS
        .iter()
        .filter(|(percentile, _)| enough(own, *percentile) && enough(latency, *percentile))
        .map(|&(percentile, floor)| {
            let own = own.value_at_percentile(percentile);
            (percentile, own, floor, own as f64 / latency.value_at_percentile(percentile).max(1) as f64)
        })
        .filter(|&(_, own, floor, share)| own > floor && share > SHARE_MAX)
        .max_by(|a, b| a.3.total_cmp(&b.3))
        .map(|(percentile, own, _, share)| {
            let percent = share * 100.0;
            format!("{what}: p{percentile} of that is {}, {percent:.0} % of the latency there", Nanos(own))
        })
}

/// The time of all CPUs, and what of it other machines had; in the kernel's ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CpuTime {
    all: u64,
    steal: u64,
}

impl CpuTime {
    /// The totals so far, if the kernel tells.
    pub(crate) fn now() -> Option<Self> {
        CpuTime::read(&fs::read_to_string("/proc/stat").ok()?)
    }

    /// The first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal, and two that
    /// are part of the first.
    fn read(text: &str) -> Option<Self> {
        let numbers: Vec<u64> = text
            .lines()
            .next()?
            .strip_prefix("cpu ")?
            .split_whitespace()
            .map_while(|word| word.parse().ok())
            .collect();
        Some(CpuTime { all: numbers.iter().take(8).sum(), steal: *numbers.get(7)? })
    }

    /// The share that other machines had since `before`.
    pub(crate) fn steal_since(self, before: CpuTime) -> f64 {
        let all = self.all.saturating_sub(before.all);
        self.steal.saturating_sub(before.steal) as f64 / all.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUSY: Facts = Facts { elapsed: 1_000, running: 500, waiting: 10, is_known: true, exhausted: 0 };

    fn measured(lateness: u64, latency: u64) -> Measure {
        let mut measure = Measure::new(1_000_000_000, 1);
        measure.lateness.record_n(lateness, 10_000).unwrap();
        measure.latency.record_n(latency, 10_000).unwrap();
        measure
    }

    fn reasons(measure: &Measure, facts: Facts, steal: f64) -> String {
        Certificate::of(measure, &[facts], Some(steal)).reasons.join("\n")
    }

    #[test]
    fn a_quiet_run_is_valid() {
        assert_eq!(reasons(&measured(50_000, 200_000), BUSY, 0.0), "");
        // Late, but so are the answers.
        assert_eq!(reasons(&measured(2_000_000, 10_000_000), BUSY, 0.0), "");
    }

    #[test]
    fn each_sign_of_a_bottleneck_is_a_reason() {
        assert!(reasons(&measured(2_000_000, 4_000_000), BUSY, 0.0).contains("noticed late"));
        let fine = measured(50_000, 200_000);
        assert!(reasons(&fine, Facts { running: 990, ..BUSY }, 0.0).contains("bottleneck"));
        assert!(reasons(&fine, Facts { waiting: 300, ..BUSY }, 0.0).contains("30 %"));
        assert!(reasons(&fine, Facts { exhausted: 2, ..BUSY }, 0.0).contains("ports"));
        assert!(reasons(&fine, BUSY, 0.05).contains("steal"));
        assert_eq!(reasons(&fine, Facts { running: 990, is_known: false, ..BUSY }, 0.0), "");
    }

    #[test]
    fn percentiles_of_few_requests_are_not_looked_at() {
        let mut measure = measured(50_000, 200_000);
        // One of 10,001 is beyond p99.9, which needs ten.
        measure.lateness.record(900_000_000).unwrap();
        assert_eq!(reasons(&measure, BUSY, 0.0), "");
    }

    #[test]
    fn steal_is_found_in_the_kernels_line() {
        let before = CpuTime::read("cpu  10 0 10 80 0 0 0 0 0 0\ncpu0 1\n").unwrap();
        let after = CpuTime::read("cpu  20 0 20 140 0 0 0 20 5 0\n").unwrap();
        assert_eq!(after.steal_since(before), 0.2);
        assert_eq!(CpuTime::read("intr 1"), None);
    }
}
