//! The micro benchmarks as a table, as data, and as a page with plots of growth.

use pinion_load::plot::{Axis, Chart, Scale, Series, Unit, escape, page as whole_page};
use serde_json::{Value, json};

use super::Finding;
use super::growth::{RATIO_MAX, Verdict};
use super::work::Group;
use crate::machine::Machine;
use crate::quantile::quantile;
use crate::table::{Table, show};

/// The fields of the JSON; rises when one changes its meaning or goes.
const FORMAT: u32 = 1;

/// How many times the smallest size the largest one is that still fits on an even scale.
const SIZES_APART: f64 = 50.0;

impl Finding {
    /// The first quartile of the times: disturbance only adds.
    fn time(&self) -> Option<f64> {
        quantile(self.nanos.clone(), 0.25)
    }

    /// The range between the quartiles as a share of the median.
    fn spread(&self) -> Option<f64> {
        let at = |q| quantile(self.nanos.clone(), q);
        Some((at(0.75)? - at(0.25)?) / at(0.5)?).filter(|spread| spread.is_finite())
    }
}

/// One finding as progress.
pub(super) fn line(finding: &Finding) -> String {
    let instructions =
        finding.instructions.map_or(String::new(), |count| format!(", {count:.0} instructions"));
    format!(
        "{:<24} {:>7} {:<16} {:>9} ns{instructions}",
        finding.group.name,
        finding.size,
        finding.group.unit,
        show(finding.time(), 1),
    )
}

fn table(findings: &[Finding]) -> Table {
    let columns = ["operation", "what", "size", "ns", "spread", "instructions"];
    let row = |finding: &Finding| {
        vec![
            finding.group.name.to_owned(),
            finding.group.what.to_owned(),
            format!("{} {}", finding.size, finding.group.unit),
            show(finding.time(), 1),
            finding.spread().map_or("-".to_owned(), |spread| format!("{:.0} %", spread * 100.0)),
            show(finding.instructions, 0),
        ]
    };
    Table {
        heading: "Micro benchmarks".to_owned(),
        note: "Time of one operation (first quartile of interleaved repeats; spread: the range between the \
               quartiles as a share of the median) and its instructions (callgrind)."
            .to_owned(),
        columns: columns.map(str::to_owned).to_vec(),
        rows: findings.iter().map(row).collect(),
    }
}

/// How the verdicts read: one line each.
fn verdict_lines(verdicts: &[Verdict]) -> Vec<String> {
    let line =
        |verdict: &Verdict| format!("{}: {verdict}", if verdict.holds() { "does not grow" } else { "GROWS" });
    verdicts.iter().map(line).collect()
}

/// For people.
pub(super) fn markdown(findings: &[Finding], verdicts: &[Verdict], machine: &Machine) -> String {
    let mut out = table(findings).markdown();
    for line in verdict_lines(verdicts) {
        out.push_str(&format!("- {line}\n"));
    }
    out.push_str(&format!("\nMachine: {machine}\n"));
    if cfg!(debug_assertions) {
        out.push_str("\n**A debug build: these figures say nothing.** Use `cargo run --release`.\n");
    }
    out
}

/// For programs, with a line end.
pub(super) fn json(findings: &[Finding], verdicts: &[Verdict], machine: &Machine) -> String {
    let finding = |finding: &Finding| {
        json!({
            "name": finding.group.name,
            "what": finding.group.what,
            "size": finding.size,
            "unit": finding.group.unit,
            "nanos_first_quartile": finding.time(),
            "nanos": finding.nanos,
            "instructions": finding.instructions,
        })
    };
    let verdict = |verdict: &Verdict| json!({ "name": verdict.name, "ratio": verdict.ratio(), "ratio_max": RATIO_MAX, "holds": verdict.holds() });
    let report: Value = json!({
        "format": FORMAT,
        "program": concat!("pinion-bench ", env!("CARGO_PKG_VERSION")),
        "machine": machine,
        "debug_build": cfg!(debug_assertions),
        "findings": findings.iter().map(finding).collect::<Vec<_>>(),
        "growth": verdicts.iter().map(verdict).collect::<Vec<_>>(),
    });
    format!("{report:#}\n")
}

/// Plots of growth, then the table.
pub(super) fn page(findings: &[Finding], verdicts: &[Verdict], machine: &Machine) -> String {
    let mut sections = Vec::new();
    let lines: String = verdict_lines(verdicts)
        .iter()
        .zip(verdicts)
        .map(|(line, verdict)| {
            let class = if verdict.holds() { "good" } else { "bad" };
            format!("<p class=\"note {class}\">{}</p>\n", escape(line))
        })
        .collect();
    sections.push(("", format!("<p>{}</p>\n{lines}", escape(&machine.to_string()))));
    let mut growth = Vec::new();
    for unit in units(findings) {
        let of_unit: Vec<&Finding> = findings.iter().filter(|finding| finding.group.unit == unit).collect();
        let time = chart(&of_unit, unit, "Time of one operation", Unit::Nanos, Finding::time);
        let count = chart(&of_unit, unit, "Instructions of one operation", Unit::Plain, |f| f.instructions);
        growth.push((format!("Growth with {unit}"), [time, count].into_iter().flatten().collect::<String>()));
    }
    sections.extend(growth.iter().map(|(heading, plots)| (heading.as_str(), plots.clone())));
    let table = table(findings);
    sections.push((&table.heading, table.html()));
    whole_page("Micro benchmarks of Pinion's decisions", &sections)
}

/// What is varied by operations with several sizes.
fn units(findings: &[Finding]) -> Vec<&'static str> {
    let mut units: Vec<&'static str> = Vec::new();
    for group in findings.iter().map(|finding| finding.group) {
        if group.sizes.len() > 1 && !units.contains(&group.unit) {
            units.push(group.unit);
        }
    }
    units
}

/// One line for each operation over its sizes.
fn chart(
    findings: &[&Finding],
    unit: &str,
    label: &str,
    y: Unit,
    value: impl Fn(&Finding) -> Option<f64>,
) -> Option<String> {
    let mut groups: Vec<&'static Group> = Vec::new();
    for finding in findings {
        if !groups.iter().any(|group| group.name == finding.group.name) {
            groups.push(finding.group);
        }
    }
    let of = |group: &Group| {
        let same = findings.iter().filter(|finding| finding.group.name == group.name);
        let points = same.filter_map(|finding| Some((finding.size as f64, value(finding)?))).collect();
        Series { name: group.name.to_owned(), points, band: Vec::new() }
    };
    let series: Vec<Series> = groups.into_iter().map(of).filter(|series| !series.points.is_empty()).collect();
    let found = !series.is_empty();
    let places = || series.iter().flat_map(|series| &series.points).map(|point| point.0);
    let (least, most) = (places().fold(f64::MAX, f64::min), places().fold(0.0, f64::max));
    // What grows in proportion is to look like it, where all sizes can be seen.
    let scale = if most > least * SIZES_APART { Scale::Log } else { Scale::Linear };
    let axis = |label: &str, scale, unit| Axis { label: label.to_owned(), scale, unit };
    found.then(|| {
        Chart {
            title: label.to_owned(),
            x: axis(unit, scale, Unit::Plain),
            y: axis(label, Scale::Linear, y),
            series,
            marks: true,
            step: false,
        }
        .svg()
    })
}
