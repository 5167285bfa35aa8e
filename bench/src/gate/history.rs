//! The record of gates as a page of plots: what each change did, and where the figures went with time.

use std::fmt::Write as _;

use pinion_load::plot::{Axis, Chart, Scale, Series, Unit, escape, page};

use super::measure::Measure;
use super::report::Report;
use super::verdict::Finding;

/// A report with its number in the record, as an x.
type Numbered<'a> = (f64, &'a Report);

/// The whole document.
pub(crate) fn render(name: &str, reports: &[Report]) -> String {
    let numbered: Vec<Numbered<'_>> =
        reports.iter().enumerate().map(|(at, report)| ((at + 1) as f64, report)).collect();
    let mut sections = Vec::new();
    let mut scenarios: Vec<&str> = Vec::new();
    for outcome in reports.iter().flat_map(|report| &report.scenarios) {
        if !scenarios.contains(&outcome.scenario.as_str()) {
            scenarios.push(&outcome.scenario);
        }
    }
    for scenario in scenarios {
        let charts =
            Measure::ALL.iter().filter_map(|&measure| charts(scenario, measure, &numbered)).flatten();
        let charts: Vec<String> = charts.map(|chart| format!("<figure>{}</figure>", chart.svg())).collect();
        sections.push((scenario.to_owned(), charts.concat()));
    }
    sections.push(("Gates".to_owned(), table(&numbered)));
    let sections: Vec<(&str, String)> =
        sections.iter().map(|(heading, html)| (heading.as_str(), html.clone())).collect();
    page(&format!("Gate history: {name}"), &sections)
}

fn table(reports: &[Numbered<'_>]) -> String {
    let mut out =
        "<div class=\"scroll\"><table><tr><th class=\"n\">gate</th><th>started</th><th>candidate</th>\
                   <th>base</th><th>verdict</th><th>note</th></tr>"
            .to_owned();
    for (number, report) in reports {
        // INVARIANT: writing to a string does not fail.
        let _ = write!(
            out,
            "<tr><td class=\"n\">{number}</td><td>{}</td><td class=\"t\">{}</td><td class=\"t\">{}</td><td>{}</td>\
             <td class=\"t\">{}</td></tr>",
            escape(&report.started),
            escape(&report.candidate.label),
            escape(&report.base.label),
            report.verdict.label(),
            escape(report.note.as_deref().unwrap_or_default()),
        );
    }
    out + "</table></div><p class=\"soft\">Levels of different machines, or of one machine on different days, \
           are not comparable; changes against the base are.</p>"
}

/// A measure's findings in a scenario, with their gates' numbers.
fn findings<'a>(
    scenario: &'a str,
    measure: Measure,
    reports: &'a [Numbered<'a>],
) -> impl Iterator<Item = (f64, &'a Finding)> {
    reports.iter().flat_map(move |(number, report)| {
        let outcomes = report.scenarios.iter().filter(move |outcome| outcome.scenario == scenario);
        let found = outcomes.flat_map(|outcome| &outcome.findings);
        found.filter(move |finding| finding.measure == measure).map(|finding| (*number, finding))
    })
}

/// The change against the base with its interval, and the level, of one measure, if the record has it.
fn charts(scenario: &str, measure: Measure, reports: &[Numbered<'_>]) -> Option<[Chart; 2]> {
    let series = |name: &str, value: fn(&Finding) -> f64| Series {
        name: name.to_owned(),
        points: findings(scenario, measure, reports).map(|(number, f)| (number, value(f))).collect(),
        band: Vec::new(),
    };
    let mut change = series("candidate against base", |finding| percent(finding.ratio));
    if change.points.is_empty() {
        return None;
    }
    // As wide as half the way to the neighbours: a single gate has one to be seen, too.
    let bounds = |(number, finding): (f64, &Finding)| {
        let (low, high) = (percent(finding.low?), percent(finding.high?));
        Some([(number - 0.25, low, high), (number + 0.25, low, high)])
    };
    change.band = findings(scenario, measure, reports).filter_map(bounds).flatten().collect();
    let ends = [0.5, reports.len() as f64 + 0.5];
    let none =
        Series { name: "no change".to_owned(), points: ends.map(|x| (x, 0.0)).into(), band: Vec::new() };
    let unit = match measure {
        Measure::P50 | Measure::P99 | Measure::P999 | Measure::Cpu => Unit::Nanos,
        Measure::MemoryIdle | Measure::MemoryLoaded => Unit::Bytes,
        Measure::SystemCalls | Measure::Instructions => Unit::Plain,
    };
    let levels =
        vec![series("candidate", |finding| finding.candidate), series("base", |finding| finding.base)];
    let title = |what: &str| format!("{scenario}: {}{what}", measure.label());
    Some([
        chart(title(", change"), "change", Unit::Percent, vec![change, none]),
        chart(title(""), measure.label(), unit, levels),
    ])
}

/// A ratio as a change in percent.
fn percent(ratio: f64) -> f64 {
    (ratio - 1.0) * 100.0
}

fn chart(title: String, label: &str, unit: Unit, series: Vec<Series>) -> Chart {
    let x = Axis { label: "gate".to_owned(), scale: Scale::Linear, unit: Unit::Plain };
    let y = Axis { label: label.to_owned(), scale: Scale::Linear, unit };
    Chart { title, x, y, series, marks: true, step: false }
}
