//! The comparison as one page: plots first, then the tables, then what was compared.

use std::fmt::Write as _;

use pinion_load::plot::{Axis, Bars, Chart, Scale, Series, Unit, escape, page};

use super::{Setup, tables};
use crate::peers::address::Transport;
use crate::peers::plan::{Case, Section};
use crate::peers::results::{Figure, Results, Row};
use crate::peers::subject::Subject;
use crate::peers::traffic::Traffic;

/// The whole document.
pub(in crate::peers) fn render(results: &Results, setup: &Setup) -> String {
    let mut sections = vec![("", facts(setup))];
    for (heading, plots) in [
        ("CPU time per request, lockstep", costs(results)),
        ("CPU time per request, by transport", transports(results)),
        ("Throughput at saturation", throughput(results)),
        ("Latency at fixed rates", latency(results)),
        ("Memory", memory(results)),
    ] {
        if !plots.is_empty() {
            sections.push((heading, plots.concat()));
        }
    }
    let tables = tables::all(results);
    sections.extend(tables.iter().map(|table| (table.heading.as_str(), table.html())));
    sections.push(("What was compared", subjects(setup)));
    page("Pinion and its peers", &sections)
}

fn facts(setup: &Setup) -> String {
    let debug = if cfg!(debug_assertions) {
        "<p class=\"note bad\">A debug build: figures of programs from it say nothing.</p>\n"
    } else {
        ""
    };
    format!(
        "{debug}<p>{}</p>\n<p class=\"soft\">{}</p>\n",
        escape(&setup.machine.to_string()),
        escape(&setup.command),
    )
}

fn subjects(setup: &Setup) -> String {
    let mut out =
        String::from("<div class=\"scroll\"><table>\n<tr><th></th><th>version</th><th>command</th></tr>\n");
    for described in &setup.subjects {
        // INVARIANT: writing to a string does not fail.
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td class=\"t\">{}</td><td class=\"t\">{}</td></tr>",
            escape(described.subject.label()),
            escape(&described.version),
            escape(&described.command)
        );
    }
    out.push_str("</table></div>\n");
    out
}

fn axis(label: &str, scale: Scale, unit: Unit) -> Axis {
    Axis { label: label.to_owned(), scale, unit }
}

fn names(subjects: &[Subject]) -> Vec<String> {
    subjects.iter().map(|subject| subject.label().to_owned()).collect()
}

/// Bars for the cases that `wanted` picks, one a subject; nothing if nothing was measured.
fn bars(
    results: &Results,
    title: &str,
    y: Axis,
    wanted: impl Fn(&Case) -> bool,
    name: impl Fn(Case) -> String,
    value: impl Fn(Case, Subject) -> Option<f64>,
) -> Option<String> {
    let cases = results.cases(wanted);
    let of_cases = |subject: &Subject| cases.iter().any(|&case| value(case, *subject).is_some());
    let subjects: Vec<Subject> = results.subjects().into_iter().filter(of_cases).collect();
    let heights =
        |case: Case| subjects.iter().map(|&subject| value(case, subject).unwrap_or(f64::NAN)).collect();
    let groups: Vec<(String, Vec<f64>)> = cases.iter().map(|&case| (name(case), heights(case))).collect();
    let found = !subjects.is_empty();
    found.then(|| Bars { title: title.to_owned(), y, groups, names: names(&subjects) }.svg())
}

/// One plot of bars for each size of bodies and kind of socket in `section`: they are too far apart for one.
fn by_kind(
    results: &Results,
    section: Section,
    y: &Axis,
    what: &str,
    value: impl Fn(&Row) -> Option<f64>,
) -> Vec<String> {
    let cases = results.cases(|case| case.section == section);
    let mut kinds: Vec<(Transport, usize)> = cases.iter().map(|case| (case.transport, case.bytes)).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let plot = |(transport, bytes)| {
        let of_kind =
            |case: &Case| case.section == section && case.transport == transport && case.bytes == bytes;
        let sockets = if transport == Transport::Tcp { "TCP" } else { "Unix sockets" };
        let size = results.cases(of_kind).first().map_or(String::new(), |case| case.label());
        let size = size.split(',').next().unwrap_or_default().to_owned();
        bars(
            results,
            &format!("{size} over {sockets}: {what}, by connections"),
            y.clone(),
            of_kind,
            |case| case.connections.to_string(),
            |case, subject| value(results.row(case, subject)?),
        )
    };
    kinds.into_iter().filter_map(plot).collect()
}

fn costs(results: &Results) -> Vec<String> {
    let y = axis("CPU time per request", Scale::Linear, Unit::Nanos);
    by_kind(results, Section::Lockstep, &y, "first quartile", |row| row.first_quartile(Figure::Cpu))
}

/// A plot of bars for each kind of traffic.
fn transports(results: &Results) -> Vec<String> {
    let mut kinds: Vec<(Traffic, usize)> = results
        .cases(|case| case.section == Section::Transports)
        .iter()
        .map(|case| (case.traffic, case.bytes))
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    let plot = |(traffic, bytes): (Traffic, usize)| {
        bars(
            results,
            &format!("{}: first quartile", traffic.label()),
            axis("CPU time per request", Scale::Linear, Unit::Nanos),
            |case| (case.section, case.traffic, case.bytes) == (Section::Transports, traffic, bytes),
            |case| case.label().rsplit(", ").next().unwrap_or_default().to_owned(),
            |case, subject| results.row(case, subject)?.first_quartile(Figure::Cpu),
        )
    };
    kinds.into_iter().filter_map(plot).collect()
}

/// Lines over `x`, one a subject, with the range between the quartiles.
fn lines(
    results: &Results,
    title: &str,
    (x, y): (Axis, Axis),
    wanted: impl Fn(&Case) -> bool,
    place: impl Fn(Case) -> f64,
    figure: Figure,
) -> Option<String> {
    let cases = results.cases(wanted);
    let series: Vec<Series> = results
        .subjects()
        .into_iter()
        .map(|subject| {
            let rows = || cases.iter().filter_map(move |&case| Some((case, results.row(case, subject)?)));
            let point = |(case, row): (Case, &Row)| Some((place(case), row.median(figure)?));
            let range = |(case, row): (Case, &Row)| {
                Some((place(case), row.quantile(figure, 0.25)?, row.quantile(figure, 0.75)?))
            };
            Series {
                name: subject.label().to_owned(),
                points: rows().filter_map(point).collect(),
                band: rows().filter_map(range).collect(),
            }
        })
        .filter(|series| !series.points.is_empty())
        .collect();
    let found = !series.is_empty() && cases.len() > 1;
    found.then(|| Chart { title: title.to_owned(), x, y, series, marks: true, step: false }.svg())
}

fn throughput(results: &Results) -> Vec<String> {
    let y = axis("requests answered", Scale::Linear, Unit::PerSecond);
    by_kind(results, Section::Saturation, &y, "median", |row| row.median(Figure::PerSecond))
}

fn latency(results: &Results) -> Vec<String> {
    let plot = |(name, figure)| {
        lines(
            results,
            &format!("{name} from the due time: median and quartiles of the runs"),
            (axis("requests due", Scale::Linear, Unit::PerSecond), axis("latency", Scale::Log, Unit::Nanos)),
            |case| case.section == Section::Latency,
            |case| f64::from(case.rate),
            figure,
        )
    };
    [("p50", Figure::P50), ("p99", Figure::P99), ("p99.9", Figure::P999)]
        .into_iter()
        .filter_map(plot)
        .collect()
}

fn memory(results: &Results) -> Vec<String> {
    let plot = |(title, figure)| {
        bars(
            results,
            title,
            axis("private memory", Scale::Linear, Unit::Bytes),
            |case| case.section == Section::Memory,
            Case::label,
            move |case, subject| results.row(case, subject)?.median(figure),
        )
    };
    [("For each idle connection", Figure::ConnectionBytes), ("Without connections", Figure::IdleBytes)]
        .into_iter()
        .filter_map(plot)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;
    use crate::peers::report::Described;
    use crate::peers::results::Sample;

    fn row(section: Section, transport: Transport, connections: u32, rate: u32) -> Row {
        let case =
            Case { section, bytes: 100, connections, streams: 1, traffic: Traffic::Http1, transport, rate };
        let figures = [
            Figure::Cpu,
            Figure::PerSecond,
            Figure::P50,
            Figure::P99,
            Figure::P999,
            Figure::IdleBytes,
            Figure::ConnectionBytes,
        ];
        let samples = vec![Sample(figures.map(|figure| (figure, 1_000.0)).to_vec())];
        Row { case, subject: Subject::Haproxy, samples }
    }

    fn page_of(rows: Vec<Row>) -> String {
        let described = Described {
            subject: Subject::Haproxy,
            version: "<2.6>".to_owned(),
            command: "haproxy -db".to_owned(),
        };
        let setup = Setup {
            machine: Machine::here(),
            command: "pinion-bench peers".to_owned(),
            started: 7,
            subjects: vec![described],
        };
        render(&Results { rows, repeats: 1, ..Results::default() }, &setup)
    }

    #[test]
    fn every_section_has_its_plots() {
        let (tcp, unix) = (Transport::Tcp, Transport::Unix);
        let rows = vec![
            row(Section::Lockstep, tcp, 1, 0),
            row(Section::Lockstep, tcp, 8, 0),
            row(Section::Lockstep, unix, 8, 0),
            row(Section::Saturation, tcp, 1, 0),
            row(Section::Saturation, tcp, 8, 0),
            row(Section::Saturation, unix, 8, 0),
            row(Section::Latency, tcp, 128, 100),
            row(Section::Latency, tcp, 128, 200),
            row(Section::Memory, tcp, 100, 0),
        ];
        let page = page_of(rows);
        // Two kinds of socket, twice; three percentiles; two amounts of memory.
        assert_eq!(page.matches("<svg").count(), 2 + 2 + 3 + 2, "{page}");
        assert!(page.contains("&lt;2.6&gt;") && page.contains("HAProxy"), "{page}");
    }

    #[test]
    fn nothing_measured_is_a_page_without_plots() {
        let page = page_of(Vec::new());
        assert!(!page.contains("<svg") && page.contains("What was compared"), "{page}");
    }
}
