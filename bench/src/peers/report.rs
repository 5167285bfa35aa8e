//! The table of a comparison, in Markdown.

use std::fmt::Write as _;
use std::fs;

use super::measure::{Case, Sample};
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

/// The whole report.
pub(super) fn render(
    rows: &[Row],
    versions: &[(&str, String)],
    commands: &[(&str, String)],
    repeats: u32,
) -> String {
    let mut out = String::new();
    // INVARIANT: writing to a string does not fail.
    let _ = write(&mut out, rows, versions, commands, repeats);
    out
}

fn write(
    out: &mut String,
    rows: &[Row],
    versions: &[(&str, String)],
    commands: &[(&str, String)],
    repeats: u32,
) -> std::fmt::Result {
    writeln!(
        out,
        "CPU time of the proxy per request in µs, lockstep on one CPU, {repeats} interleaved repeats.\n"
    )?;
    writeln!(
        out,
        "| case | proxy | first quartile | median | spread | / nginx | / HAProxy | system calls | round trip µs |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|---|---|")?;
    for row in rows {
        let ratio = |peer: Subject| {
            let peer = rows.iter().find(|other| other.case == row.case && other.subject == peer)?;
            Some(row.cpu(0.25)? / peer.cpu(0.25)?)
        };
        let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
        let few = if row.samples.len() < repeats as usize {
            format!(" ({} samples)", row.samples.len())
        } else {
            String::new()
        };
        let trip = quantile(row.samples.iter().map(|sample| sample.round_trip_micros), 0.5);
        writeln!(
            out,
            "| {} | {}{few} | {} | {} | {} | {} | {} | {} | {} |",
            row.case.label(),
            row.subject.label(),
            number(row.cpu(0.25)),
            number(row.cpu(0.5)),
            row.spread().map_or("-".to_owned(), |spread| format!("{:.0} %", spread * 100.0)),
            number(ratio(Subject::Nginx)),
            number(ratio(Subject::Haproxy)),
            number(row.system_calls),
            trip.map_or("-".to_owned(), |trip| format!("{trip:.0}")),
        )?;
    }
    writeln!(out, "\nMachine: {}\n", machine())?;
    for (label, version) in versions {
        writeln!(out, "- {label}: {version}")?;
    }
    writeln!(out)?;
    for (label, command) in commands {
        writeln!(out, "- {label}: `{command}`")?;
    }
    Ok(())
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
        let text = render(&rows, &[("nginx", "nginx/1".to_owned())], &[], 4);
        let line = text.lines().find(|line| line.contains("pinion")).unwrap();
        // First quartile 9.75, a quarter of the way from the first to the second: 9.75 / 12 = 0.81.
        assert!(line.contains("| 9.75 | 10.50 |") && line.contains("| 0.81 | - | 0.07 |"), "{line}");
    }

    #[test]
    fn quantiles_of_few_samples() {
        let of = |values: &[f64], at| quantile(values.iter().copied(), at);
        assert_eq!(of(&[], 0.5), None);
        assert_eq!(of(&[3.0], 0.25), Some(3.0));
        assert_eq!(of(&[2.0, 1.0], 0.5), Some(1.5));
    }
}
