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
    let mut sections = vec![("Gates".to_owned(), table(&numbered))];
    let mut scenarios: Vec<&str> = Vec::new();
    for outcome in reports.iter().flat_map(|report| &report.scenarios) {
        if !scenarios.contains(&outcome.scenario.as_str()) {
            scenarios.push(&outcome.scenario);
        }
    }
    for scenario in scenarios {
        let charts: Vec<String> = std::iter::once(changes(scenario, &numbered))
            .chain(Measure::ALL.iter().filter_map(|&measure| levels(scenario, measure, &numbered)))
            .map(|chart| format!("<figure>{}</figure>", chart.svg()))
            .collect();
        sections.push((scenario.to_owned(), charts.concat()));
    }
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

/// Change against the base, with its interval, of all measures.
fn changes(scenario: &str, reports: &[Numbered<'_>]) -> Chart {
    let percent = |ratio: f64| (ratio - 1.0) * 100.0;
    let series = Measure::ALL.iter().filter_map(|&measure| {
        let points: Vec<(f64, f64)> = findings(scenario, measure, reports)
            .map(|(number, finding)| (number, percent(finding.ratio)))
            .collect();
        let bounds = |(number, finding): (f64, &Finding)| {
            Some((number, percent(finding.low?), percent(finding.high?)))
        };
        let band = findings(scenario, measure, reports).filter_map(bounds).collect();
        (!points.is_empty()).then(|| Series { name: measure.label().to_owned(), points, band })
    });
    chart(format!("{scenario}: change against the base"), "change", Unit::Percent, series.collect())
}

/// The level of one measure, if the record has any.
fn levels(scenario: &str, measure: Measure, reports: &[Numbered<'_>]) -> Option<Chart> {
    let series = |name: &str, value: fn(&Finding) -> f64| Series {
        name: name.to_owned(),
        points: findings(scenario, measure, reports).map(|(number, f)| (number, value(f))).collect(),
        band: Vec::new(),
    };
    let candidate = series("candidate", |finding| finding.candidate);
    if candidate.points.is_empty() {
        return None;
    }
    let unit = match measure {
        Measure::P50 | Measure::P99 | Measure::P999 | Measure::Cpu => Unit::Nanos,
        Measure::MemoryIdle | Measure::MemoryLoaded => Unit::Bytes,
        Measure::SystemCalls | Measure::Instructions => Unit::Plain,
    };
    let title = format!("{scenario}: {}", measure.label());
    Some(chart(title, measure.label(), unit, vec![candidate, series("base", |finding| finding.base)]))
}

fn chart(title: String, label: &str, unit: Unit, series: Vec<Series>) -> Chart {
    let x = Axis { label: "gate".to_owned(), scale: Scale::Linear, unit: Unit::Plain };
    let y = Axis { label: label.to_owned(), scale: Scale::Linear, unit };
    Chart { title, x, y, series, marks: true, step: false }
}
