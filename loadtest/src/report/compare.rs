//! Several reports beside one another: which percentiles differ by more than the runs' own noise.
//!
//! Every report is compared with the first one. A difference counts as one when the confidence interval of
//! the ratio of the two percentiles does not hold 1; both runs are resampled by their own intervals
//! (`stats`), so that a run which fluctuates much has to differ much.

use std::io;
use std::path::PathBuf;

use super::plots;
use super::table::Table;
use super::text::{range, shown};
use super::{show, write_file};
use crate::cli::Problem;
use crate::cli::report::CompareOptions;
use crate::plot::{escape, page};
use crate::result::{PERCENTILES, Report, label};
use crate::stats::{self, Counts, Estimate};

/// A report and what it is called here.
struct Named {
    name: String,
    report: Report,
    counts: Vec<Counts>,
}

/// Compares the reports, on stdout and as a page.
///
/// # Errors
/// A report can't be read, or the page can't be written.
pub(crate) fn run(options: &CompareOptions) -> Result<(), Problem> {
    let mut reports = Vec::new();
    for (path, name) in options.reports.iter().zip(names(&options.reports)) {
        let report = Report::read(path).map_err(|e| Problem::Failed(e.to_string()))?;
        let counts = report.interval_counts();
        reports.push(Named { name, report, counts });
    }
    let (overview, percentiles) = (overview(&reports), percentiles(&reports));
    let mut text = format!("{}\n{}\n", overview.text(""), percentiles.text(""));
    for line in warnings(&reports) {
        text.push_str(&line);
        text.push('\n');
    }
    let written = |e: io::Error| Problem::io("can't write the comparison", &e);
    show(&text).map_err(written)?;
    if let Some(path) = &options.html {
        let html = html(&reports, &overview, &percentiles);
        write_file(path, html.as_bytes()).map_err(written)?;
    }
    Ok(())
}

/// The files' names without what all share, as long as they differ.
fn names(paths: &[PathBuf]) -> Vec<String> {
    let stem = |path: &PathBuf| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let short: Vec<String> = paths.iter().filter_map(stem).collect();
    let is_unique = |name: &String| short.iter().filter(|other| *other == name).count() == 1;
    if short.len() == paths.len() && short.iter().all(is_unique) {
        return short;
    }
    paths.iter().map(|path| path.display().to_string()).collect()
}

fn overview(reports: &[Named]) -> Table {
    let mut table =
        Table::new(&["run", "rate", "connections", "answered", "errors", "measured", "certified"], 2);
    for Named { name, report, .. } in reports {
        table.row(vec![
            name.clone(),
            report.rate.clone(),
            report.connections.to_string(),
            format!("{:.1}/s", report.answered_per_second),
            report.errors_total.to_string(),
            format!("{:.1} s", report.measured_seconds),
            if report.certified.valid { "yes" } else { "INVALID" }.to_owned(),
        ]);
    }
    table
}

fn percentiles(reports: &[Named]) -> Table {
    let mut table = Table::new(&["latency", "run", "value", "95 % confidence", "change", "verdict"], 2);
    for percentile in PERCENTILES {
        for (index, named) in reports.iter().enumerate() {
            let name = label(percentile);
            let confidence = named.report.confidence.get(&name).map(range).unwrap_or_default();
            let (change, verdict) = match reports.first().filter(|_| index > 0) {
                Some(first) => judge(first, named, percentile),
                None => (String::new(), String::new()),
            };
            let value = shown(&named.report.latency, percentile);
            let first = if index == 0 { name } else { String::new() };
            table.row(vec![first, named.name.clone(), value, confidence, change, verdict]);
        }
    }
    table
}

/// The change of a percentile against the first run with its range, and what that means.
fn judge(first: &Named, other: &Named, percentile: f64) -> (String, String) {
    let values = (first.report.latency.percentile(percentile), other.report.latency.percentile(percentile));
    let (Some(before), Some(after)) = values else { return (String::new(), "can't tell".to_owned()) };
    let percent = |ratio: f64| format!("{:+.1} %", (ratio - 1.0) * 100.0);
    match stats::ratio(&first.counts, &other.counts, percentile) {
        Some(ratio) => {
            let change =
                format!("{} ({} … {})", percent(ratio.value), percent(ratio.low), percent(ratio.high));
            (change, verdict(&ratio).to_owned())
        }
        None => (percent(after as f64 / before.max(1) as f64), "can't tell".to_owned()),
    }
}

fn verdict(ratio: &Estimate) -> &'static str {
    if ratio.low > 1.0 {
        "slower"
    } else if ratio.high < 1.0 {
        "faster"
    } else {
        "within the noise"
    }
}

/// What makes the comparison doubtful.
fn warnings(reports: &[Named]) -> Vec<String> {
    let mut lines = Vec::new();
    for Named { name, report, .. } in reports {
        for reason in &report.certified.reasons {
            lines.push(format!("INVALID      {name}: {reason}"));
        }
    }
    let differs = |what: &dyn Fn(&Report) -> String| {
        reports
            .iter()
            .any(|named| reports.first().is_some_and(|first| what(&named.report) != what(&first.report)))
    };
    if differs(&|report| report.rate.clone()) {
        lines.push("note         the rates differ: so do the loads that the servers had".to_owned());
    }
    if differs(&|report| format!("{:?}", report.machine)) {
        lines.push("note         the machines differ".to_owned());
    }
    lines
}

fn html(reports: &[Named], overview: &Table, percentiles: &Table) -> String {
    let lines = reports.iter().map(|named| plots::latency_line(&named.name, &named.report)).collect();
    let warnings: String =
        warnings(reports).iter().map(|line| format!("<li>{}</li>", escape(line))).collect();
    let warnings = if warnings.is_empty() {
        warnings
    } else {
        format!("<div class=\"note bad\"><ul>{warnings}</ul></div>")
    };
    let commands: String = reports
        .iter()
        .map(|named| {
            let (name, report) = (escape(&named.name), &named.report);
            let started = escape(&report.started);
            format!("<h3>{name}</h3><p>{started}</p><pre>{}</pre>", escape(&report.command))
        })
        .collect();
    let names: Vec<&str> = reports.iter().map(|named| named.name.as_str()).collect();
    let title = format!("Load tests compared: {}", names.join(", "));
    page(
        &title,
        &[
            ("", format!("{}{warnings}", overview.html())),
            ("How long requests took", plots::spectra("Latency by percentile", lines)),
            (
                "Percentiles",
                format!(
                    "{}<p class=\"soft\">Each run against the first. The change has the range that holds the \
                     true one with 95 % confidence, from resampling the runs' intervals; a change is slower \
                     or faster when that range does not hold zero.</p>",
                    percentiles.html()
                ),
            ),
            ("How they were run", commands),
        ],
    )
}

#[cfg(test)]
mod tests;
