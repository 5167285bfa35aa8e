//! The table of a comparison, in Markdown.

use std::fmt::Write as _;
use std::fs;

use super::measure::{Case, OpenSample, Sample};
use super::subject::Subject;

/// What was found about one proxy in one case.
pub(super) struct Row {
    pub(super) case: Case,
    pub(super) subject: Subject,
    pub(super) samples: Vec<Sample>,
    /// Per request, if it could be counted.
    pub(super) system_calls: Option<f64>,
}

impl Row {
    /// A quantile of the CPU times, between the two nearest samples in proportion.
    fn cpu(&self, quantile: f64) -> Option<f64> {
        self::quantile(self.samples.iter().map(|sample| sample.cpu_micros), quantile)
    }

    /// How far the samples lie apart: the range between the quartiles as a share of the median.
    fn spread(&self) -> Option<f64> {
        Some((self.cpu(0.75)? - self.cpu(0.25)?) / self.cpu(0.5)?)
    }
}

fn quantile(values: impl Iterator<Item = f64>, quantile: f64) -> Option<f64> {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let place = quantile * sorted.len().checked_sub(1)? as f64;
    let (low, share) = (place.floor() as usize, place.fract());
    let high = sorted[(low + 1).min(sorted.len() - 1)];
    Some(sorted[low] + (high - sorted[low]) * share)
}

/// The table of the lockstep measurements.
pub(super) fn lockstep(rows: &[Row], repeats: u32) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut out = format!(
        "CPU time of the proxy per request in µs, lockstep on one CPU, {repeats} interleaved repeats.\n\n"
    );
    out.push_str("| case | proxy | first quartile | median | spread | / nginx | / HAProxy | system calls | round trip µs |\n");
    out.push_str("|---|---|---|---|---|---|---|---|---|\n");
    for row in rows {
        let ratio = |peer: Subject| {
            let peer = rows.iter().find(|other| other.case == row.case && other.subject == peer)?;
            Some(row.cpu(0.25)? / peer.cpu(0.25)?)
        };
        let few = match row.samples.len() {
            count if count < repeats as usize => format!(" ({count} samples)"),
            _ => String::new(),
        };
        let trip = quantile(row.samples.iter().map(|sample| sample.round_trip_micros), 0.5);
        // INVARIANT: writing to a string does not fail.
        let _ = writeln!(
            out,
            "| {} | {}{few} | {} | {} | {} | {} | {} | {} | {} |",
            row.case.label(),
            row.subject.label(),
            show(row.cpu(0.25), 2),
            show(row.cpu(0.5), 2),
            row.spread().map_or("-".to_owned(), |spread| format!("{:.0} %", spread * 100.0)),
            show(ratio(Subject::Nginx), 2),
            show(ratio(Subject::Haproxy), 2),
            show(row.system_calls, 2),
            show(trip, 0),
        );
    }
    out.push('\n');
    out
}

/// The table of the open-loop measurements.
pub(super) fn open_loop(rows: &[(Subject, Vec<OpenSample>)], rate: u32) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut out =
        format!("Open loop, {rate} requests/s of 100 bytes, the proxy alone on its CPU; medians in µs.\n\n");
    out.push_str(
        "| proxy | runs | CPU per request | p50 | p99 | best and worst p99 |\n|---|---|---|---|---|---|\n",
    );
    for (subject, samples) in rows {
        let at = |field: fn(&OpenSample) -> f64, share| quantile(samples.iter().map(field), share);
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} – {} |",
            subject.label(),
            samples.len(),
            show(at(|s| s.cpu_micros, 0.5), 2),
            show(at(|s| s.p50_micros, 0.5), 0),
            show(at(|s| s.p99_micros, 0.5), 0),
            show(at(|s| s.p99_micros, 0.0), 0),
            show(at(|s| s.p99_micros, 1.0), 0),
        );
    }
    out.push('\n');
    out
}

/// What the figures depend on: machine, versions, command lines.
pub(super) fn setting(versions: &[(&str, String)], commands: &[(&str, String)]) -> String {
    let mut out = format!("Machine: {}\n\n", machine());
    if cfg!(debug_assertions) {
        out.push_str("**A debug build: the figures of Pinion say nothing.** Use `cargo run --release`.\n\n");
    }
    for (label, version) in versions {
        let _ = writeln!(out, "- {label}: {version}");
    }
    out.push('\n');
    for (label, command) in commands {
        let _ = writeln!(out, "- {label}: `{command}`");
    }
    out
}

fn show(value: Option<f64>, digits: usize) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
}

/// What a reader has to know about the machine.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(':'));
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{cpus} CPUs ({}), Linux {}, TCP congestion control {}, loopback",
        model.map_or("unknown", |(_, name)| name.trim()),
        read("/proc/sys/kernel/osrelease").trim(),
        read("/proc/sys/net/ipv4/tcp_congestion_control").trim(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(subject: Subject, micros: &[f64]) -> Row {
        let samples =
            micros.iter().map(|&cpu_micros| Sample { cpu_micros, round_trip_micros: 100.0 }).collect();
        Row { case: Case { bytes: 100, in_flight: 64 }, subject, samples, system_calls: Some(0.07) }
    }

    #[test]
    fn ratios_compare_first_quartiles() {
        let rows =
            [row(Subject::Pinion, &[9.0, 10.0, 11.0, 99.0]), row(Subject::Nginx, &[12.0, 12.0, 12.0, 12.0])];
        let text = lockstep(&rows, 4);
        let line = text.lines().find(|line| line.contains("pinion")).unwrap();
        // First quartile 9.75, a quarter of the way from the first to the second: 9.75 / 12 = 0.81.
        assert!(line.contains("| 9.75 | 10.50 |") && line.contains("| 0.81 | - | 0.07 |"), "{line}");
    }

    #[test]
    fn open_loops_show_medians_and_extremes() {
        let sample = |p99_micros| OpenSample { cpu_micros: 20.0, p50_micros: 100.0, p99_micros };
        let text = open_loop(&[(Subject::Nginx, vec![sample(900.0), sample(300.0), sample(500.0)])], 1000);
        assert!(text.contains("| nginx | 3 | 20.00 | 100 | 500 | 300 – 900 |"), "{text}");
        assert_eq!(open_loop(&[], 1000), "");
    }

    #[test]
    fn quantiles_of_few_samples() {
        let of = |values: &[f64], at| quantile(values.iter().copied(), at);
        assert_eq!(of(&[], 0.5), None);
        assert_eq!(of(&[3.0], 0.25), Some(3.0));
        assert_eq!(of(&[2.0, 1.0], 0.5), Some(1.5));
    }
}
