//! The tables: an overview of costs and ratios, then every section with its spread.

use std::fmt::Write as _;

use super::Setup;
use crate::peers::plan::{Case, Section};
use crate::peers::results::{Figure, Results, Row};
use crate::peers::subject::Subject;
use crate::peers::targets::target;
use crate::table::{Table, show};

/// All tables for which there is something.
pub(in crate::peers) fn all(results: &Results) -> Vec<Table> {
    let tables = [
        costs(results),
        ratios(results),
        lockstep(results),
        transports(results),
        saturation(results),
        latency(results),
        memory(results),
    ];
    tables.into_iter().filter(|table| !table.rows.is_empty()).collect()
}

/// What the figures depend on: machine, versions, command lines.
pub(in crate::peers) fn setup(setup: &Setup) -> String {
    let mut out = format!("Command: `{}`\n\nMachine: {}\n\n", setup.command, setup.machine);
    if cfg!(debug_assertions) {
        out.push_str(
            "**A debug build: figures of programs from it say nothing.** Use `cargo run --release`.\n\n",
        );
    }
    for described in &setup.subjects {
        // INVARIANT: writing to a string does not fail.
        let _ =
            writeln!(out, "- {}: {}, `{}`", described.subject.label(), described.version, described.command);
    }
    out
}

fn table(heading: &str, note: &str, columns: &[&str]) -> Table {
    Table {
        heading: heading.to_owned(),
        note: note.to_owned(),
        columns: columns.iter().map(|&column| column.to_owned()).collect(),
        rows: Vec::new(),
    }
}

/// Whether its cost is compared: all programs on one CPU.
fn is_in_turns(case: &Case) -> bool {
    matches!(case.section, Section::Lockstep | Section::Transports)
}

/// One line a case, one column a subject.
fn costs(results: &Results) -> Table {
    let mut table = table(
        "CPU time per request",
        "In µs, of the proxy alone, all programs in turns on one CPU: the first quartile of the runs.",
        &["case"],
    );
    let subjects = results.subjects();
    table.columns.extend(subjects.iter().map(|subject| subject.label().to_owned()));
    for case in results.cases(is_in_turns) {
        let mut line = vec![case.label()];
        line.extend(subjects.iter().map(|&subject| {
            let row = results.row(case, subject);
            show(row.and_then(|row| row.first_quartile(Figure::Cpu)).map(|nanos| nanos / 1e3), 2)
        }));
        table.rows.push(line);
    }
    table
}

/// Pinion's cost as a share of each peer's.
fn ratios(results: &Results) -> Table {
    let mut table = table(
        "Pinion's CPU time as a share of the others'",
        "Ratios of the first quartiles above, Pinion on io_uring; below 1 Pinion needs less. In brackets what it \
         must be and the goal, where there are any; ✗ is more than it must be. The floor forwards bytes and \
         understands nothing.",
        &["case"],
    );
    let others: Vec<Subject> =
        results.subjects().into_iter().filter(|subject| *subject != Subject::Pinion).collect();
    table.columns.extend(others.iter().map(|subject| format!("/ {}", subject.label())));
    for case in results.cases(is_in_turns) {
        let cost = |subject| results.row(case, subject)?.first_quartile(Figure::Cpu);
        let Some(own) = cost(Subject::Pinion) else { continue };
        let mut line = vec![case.label()];
        line.extend(others.iter().map(|&other| {
            let ratio = cost(other).map(|cost| own / cost);
            match (ratio, target(case, other)) {
                (Some(ratio), Some(target)) => target.judge(ratio),
                _ => show(ratio, 2),
            }
        }));
        if !others.is_empty() {
            table.rows.push(line);
        }
    }
    table
}

fn rows(results: &Results, section: Section) -> impl Iterator<Item = &Row> {
    results.rows.iter().filter(move |row| row.case.section == section && !row.samples.is_empty())
}

/// The number of runs; fewer than wanted are marked.
fn runs(row: &Row, results: &Results) -> String {
    match row.runs() {
        runs if row.case.section != Section::Memory && runs < results.repeats as usize => {
            format!("{runs} of {}", results.repeats)
        }
        runs => runs.to_string(),
    }
}

fn micros(nanos: Option<f64>, digits: usize) -> String {
    show(nanos.map(|nanos| nanos / 1e3), digits)
}

fn spread(row: &Row, figure: Figure) -> String {
    row.spread(figure).map_or("-".to_owned(), |spread| format!("{:.0} %", spread * 100.0))
}

/// First quartile of CPU time, and how it splits into the program's own and the kernel's.
fn cpu(row: &Row) -> [String; 3] {
    let all = row.first_quartile(Figure::Cpu);
    let user = all.zip(row.user_share()).map(|(all, share)| all * share);
    let system = all.zip(row.user_share()).map(|(all, share)| all * (1.0 - share));
    [micros(all, 2), micros(user, 2), micros(system, 2)]
}

fn lockstep(results: &Results) -> Table {
    let mut table = table(
        "Lockstep",
        "Client, proxy and origin take turns on one CPU. CPU time in µs per request: first quartile, its \
         split into the program's own time and the kernel's, median, and spread (the range between the \
         quartiles as a share of the median). Round trip: a whole batch, median, in µs.",
        &["case", "proxy", "runs", "CPU", "user", "system", "median", "spread", "system calls", "round trip"],
    );
    for row in rows(results, Section::Lockstep) {
        let [all, user, system] = cpu(row);
        table.rows.push(vec![
            row.case.label(),
            row.subject.label().to_owned(),
            runs(row, results),
            all,
            user,
            system,
            micros(row.median(Figure::Cpu), 2),
            spread(row, Figure::Cpu),
            show(row.median(Figure::SystemCalls), 2),
            micros(row.median(Figure::RoundTrip), 0),
        ]);
    }
    table
}

fn transports(results: &Results) -> Table {
    let mut table = table(
        "Transports",
        "Closed loops with so many connections (× streams on each), client, proxy and origin in turns on one CPU. \
         CPU time in µs per request, which with TLS handshakes is one of those too: first quartile, its split into \
         the program's own time and the kernel's, median, spread. Per second: what one CPU of the proxy alone would \
         do at that cost.",
        &["case", "proxy", "runs", "CPU", "user", "system", "median", "spread", "system calls", "per second"],
    );
    for row in rows(results, Section::Transports) {
        let [all, user, system] = cpu(row);
        table.rows.push(vec![
            row.case.label(),
            row.subject.label().to_owned(),
            runs(row, results),
            all,
            user,
            system,
            micros(row.median(Figure::Cpu), 2),
            spread(row, Figure::Cpu),
            show(row.median(Figure::SystemCalls), 2),
            show(row.first_quartile(Figure::Cpu).map(|nanos| 1e9 / nanos), 0),
        ]);
    }
    table
}

fn saturation(results: &Results) -> Table {
    let mut table = table(
        "Saturation",
        "A closed loop, the proxy alone on its CPU, client and origin on another: what gets through is \
         the proxy's limit only where it used nearly all of its CPU. Medians; CPU time in µs per request \
         (first quartile); latency in µs, from the send.",
        &["case", "proxy", "runs", "requests/s", "spread", "CPU used", "CPU", "user", "system", "p50", "p99"],
    );
    for row in rows(results, Section::Saturation) {
        let [all, user, system] = cpu(row);
        table.rows.push(vec![
            row.case.label(),
            row.subject.label().to_owned(),
            runs(row, results),
            show(row.median(Figure::PerSecond), 0),
            spread(row, Figure::PerSecond),
            row.median(Figure::CpuUsed).map_or("-".to_owned(), |used| format!("{used:.0} %")),
            all,
            user,
            system,
            micros(row.median(Figure::P50), 0),
            micros(row.median(Figure::P99), 0),
        ]);
    }
    table
}

fn latency(results: &Results) -> Table {
    let mut table = table(
        "Latency at fixed rates",
        "An open loop of 100-byte answers over 128 connections, the proxy alone on its CPU. Latency in µs \
         from the time each request was due: medians of the runs, and the best and the worst run's p99. \
         CPU time in µs per request (first quartile). Not certified: runs in which the load generator or \
         the machine was late, or the rate was more than what got through.",
        &[
            "rate",
            "proxy",
            "runs",
            "p50",
            "p99",
            "p99.9",
            "best – worst p99",
            "CPU",
            "user",
            "system",
            "not certified",
        ],
    );
    for row in rows(results, Section::Latency) {
        let [all, user, system] = cpu(row);
        let at = |q| micros(row.quantile(Figure::P99, q), 0);
        let uncertified = row.values(Figure::Uncertified);
        table.rows.push(vec![
            row.case.label(),
            row.subject.label().to_owned(),
            runs(row, results),
            micros(row.median(Figure::P50), 0),
            micros(row.median(Figure::P99), 0),
            micros(row.median(Figure::P999), 0),
            format!("{} – {}", at(0.0), at(1.0)),
            all,
            user,
            system,
            if uncertified.is_empty() { "-".to_owned() } else { show(Some(uncertified.iter().sum()), 0) },
        ]);
    }
    table
}

fn memory(results: &Results) -> Table {
    let mut table = table(
        "Memory",
        "Private memory of the proxy with its children: after its start, and what each idle connection \
         that made one request adds. Medians. What the kernel keeps for a socket is not in it.",
        &["case", "proxy", "runs", "idle, MiB", "bytes a connection", "spread"],
    );
    for row in rows(results, Section::Memory) {
        table.rows.push(vec![
            row.case.label(),
            row.subject.label().to_owned(),
            runs(row, results),
            show(row.median(Figure::IdleBytes).map(|bytes| bytes / 1_048_576.0), 1),
            show(row.median(Figure::ConnectionBytes), 0),
            spread(row, Figure::ConnectionBytes),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::address::Transport;
    use crate::peers::results::Sample;
    use crate::peers::traffic::Traffic;

    fn case(section: Section) -> Case {
        Case {
            section,
            bytes: 100,
            connections: 64,
            streams: 1,
            traffic: Traffic::Http1,
            transport: Transport::Tcp,
            rate: 500,
        }
    }

    fn row(section: Section, subject: Subject, samples: &[&[(Figure, f64)]]) -> Row {
        let samples = samples.iter().map(|figures| Sample(figures.to_vec())).collect();
        Row { case: case(section), subject, samples }
    }

    fn costs_of(subject: Subject, micros: &[f64]) -> Row {
        let samples: Vec<[(Figure, f64); 3]> = micros
            .iter()
            .map(|m| [(Figure::Cpu, m * 1e3), (Figure::UserTicks, 1.0), (Figure::SystemTicks, 3.0)])
            .collect();
        let samples: Vec<&[(Figure, f64)]> = samples.iter().map(|s| &s[..]).collect();
        row(Section::Lockstep, subject, &samples)
    }

    fn results(rows: Vec<Row>, repeats: u32) -> Results {
        Results { rows, repeats, ..Results::default() }
    }

    #[test]
    fn ratios_compare_first_quartiles() {
        let pinion = costs_of(Subject::Pinion, &[9.0, 10.0, 11.0, 99.0]);
        let nginx = costs_of(Subject::Nginx, &[12.0, 12.0, 12.0, 12.0]);
        let tables = all(&results(vec![pinion, nginx], 4));
        // First quartile 9.75, three quarters of the way from the first to the second: 9.75 / 12 = 0.81.
        assert_eq!(tables[0].rows, [["100 B, K=64", "9.75", "12.00"]]);
        assert_eq!(tables[1].rows, [["100 B, K=64", "0.81 (0.93 / 0.77)"]]);
        // A quarter of the ticks was the program's own.
        assert_eq!(tables[2].rows[0][2..8], ["4", "9.75", "2.44", "7.31", "10.50", "221 %"]);
        assert_eq!(tables.len(), 3);
    }

    #[test]
    fn fewer_runs_than_wanted_are_marked() {
        let tables = all(&results(vec![costs_of(Subject::Nginx, &[12.0])], 4));
        assert_eq!(tables[1].rows[0][2], "1 of 4");
    }

    #[test]
    fn open_loops_show_medians_and_extremes() {
        let sample = |p99: f64, uncertified| [(Figure::P99, p99), (Figure::Uncertified, uncertified)];
        let samples = [sample(900e3, 1.0), sample(300e3, 0.0), sample(500e3, 0.0)];
        let samples: Vec<&[(Figure, f64)]> = samples.iter().map(|s| &s[..]).collect();
        let tables = all(&results(vec![row(Section::Latency, Subject::Envoy, &samples)], 3));
        let line = &tables[0].rows[0];
        assert_eq!(line[..3], ["500/s", "Envoy", "3"]);
        assert_eq!((&*line[4], &*line[6], &*line[10]), ("500", "300 – 900", "1"));
    }

    #[test]
    fn nothing_measured_is_no_table() {
        assert_eq!(all(&results(Vec::new(), 1)), []);
    }
}
