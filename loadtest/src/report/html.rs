//! The report as one page: what it says at a glance, plots, tables, and what is needed to repeat it.

use std::collections::BTreeMap;

use super::plots;
use super::table::Table;
use super::text::{agents, beside, shown, targets};
use crate::plot::{escape, page};
use crate::result::{Certified, Report, Spectrum};

/// The whole page.
pub(super) fn render(report: &Report) -> String {
    let mut sections = vec![("", head(report))];
    let spectrum = format!("{}{}", plots::spectrum(report), beside(report).html());
    sections.push(("How long requests took", spectrum));
    let over_time: String = [
        Some(plots::latency_over_time(report)),
        Some(plots::heat_map(report)),
        Some(plots::rate_over_time(report)),
        Some(plots::in_flight_over_time(report)),
        plots::failures_over_time(report),
    ]
    .into_iter()
    .flatten()
    .collect();
    sections.push(("When it happened", over_time));
    sections.push(("Answers and errors", answers(report)));
    if let Some(table) = targets(report) {
        sections.push(("Targets", table.html()));
    }
    if let Some(table) = agents(report) {
        sections.push(("Agents", table.html()));
    }
    if !report.assertions.is_empty() {
        sections.push(("Assertions", assertions(report)));
    }
    sections.push(("The generator itself", generator(report)));
    sections.push(("To repeat it", repeat(report)));
    page(&format!("Load test of {}", report.target), &sections)
}

fn head(report: &Report) -> String {
    let load = if report.open_loop {
        format!("Open loop, {}, {} arrivals", report.rate, report.arrivals)
    } else {
        "Closed loop: each connection sends when its last answer is there, which hides waiting".to_owned()
    };
    let ended = match report.ended.as_str() {
        "signal" => " Ended early by a signal.",
        "sure" => " Ended as soon as the wanted confidence was reached.",
        _ => "",
    };
    let p = |percentile| shown(&report.latency, percentile);
    let facts = [
        (p(50.0), "median latency"),
        (p(99.0), "99 % took at most"),
        (p(99.9), "99.9 % took at most"),
        (p(100.0), "the slowest took"),
        (format!("{:.1}/s", report.answered_per_second), "answers"),
        (report.errors_total.to_string(), "errors"),
    ];
    let fact = |(value, name): &(String, &str)| {
        let value = if value.is_empty() { "–" } else { value };
        format!("<div><b>{}</b><span>{}</span></div>", escape(value), escape(name))
    };
    format!(
        "<p>{}, {} connections, {:.1} s. Started <span class=\"keep\">{}</span>.{ended}</p>\n{}\n<div class=\"facts\">{}</div>",
        escape(&load),
        report.connections,
        report.measured_seconds,
        escape(&report.started),
        certificate(&report.certified),
        facts.iter().map(fact).collect::<String>()
    )
}

/// Whether the numbers can be relied on, as a box.
pub(super) fn certificate(certified: &Certified) -> String {
    if certified.valid {
        return "<div class=\"note good\"><strong>Certified</strong>\
                The generator kept up: these times are the server's and the network's.</div>"
            .to_owned();
    }
    let reasons: String =
        certified.reasons.iter().map(|reason| format!("<li>{}</li>", escape(reason))).collect();
    format!(
        "<div class=\"note bad\"><strong>INVALID</strong>The generator did not keep up: these times are \
         in part its own.<ul>{reasons}</ul></div>"
    )
}

fn answers(report: &Report) -> String {
    let megabytes = |bytes: u64| format!("{:.3} MB", bytes as f64 / 1e6);
    let mut totals = Table::new(&["", "count"], 1);
    for (name, value) in [
        ("requests sent", report.sent.to_string()),
        ("answered", report.answered.to_string()),
        ("failed (no proper answer)", report.failed.to_string()),
        ("errors (failed, or an answer that says so)", report.errors_total.to_string()),
        ("were due while all connections were busy", report.blocked.to_string()),
        ("sent again, a kept connection was closing", report.resent.to_string()),
        ("connections opened", report.connections_opened.to_string()),
        ("connections idle and lost", report.idle_lost.to_string()),
        ("TLS handshakes, full", report.handshakes.full.to_string()),
        ("TLS handshakes, resumed", report.handshakes.resumed.to_string()),
        ("content received", megabytes(report.content_bytes)),
        ("bytes received", megabytes(report.bytes_in)),
        ("bytes sent", megabytes(report.bytes_out)),
    ] {
        totals.row(vec![name.to_owned(), value]);
    }
    let mut out = counts("Answers by status", "status", &report.statuses);
    out += &counts("Answers by gRPC status", "status", &report.grpc_statuses);
    out += &counts("Errors by kind", "kind", &report.errors);
    if let Some(counted) = &report.counted {
        out += &counts(&format!("Answers by {}", counted.header), "value", &counted.values);
    }
    format!("{out}<h3>Totals</h3>{}", totals.html())
}

fn counts(title: &str, name: &str, counts: &BTreeMap<String, u64>) -> String {
    if counts.is_empty() {
        return String::new();
    }
    let all = counts.values().sum::<u64>().max(1) as f64;
    let mut table = Table::new(&[name, "count", "share"], 1);
    for (name, count) in counts {
        let share = format!("{:.3} %", *count as f64 / all * 100.0);
        table.row(vec![name.clone(), count.to_string(), share]);
    }
    format!("<h3>{}</h3>{}", escape(title), table.html())
}

fn assertions(report: &Report) -> String {
    let mut table = Table::new(&["assertion", "it is", "holds"], 3);
    for asserted in &report.assertions {
        let holds = if asserted.holds { "yes" } else { "NO" };
        table.row(vec![asserted.assertion.clone(), asserted.found.clone(), holds.to_owned()]);
    }
    table.html()
}

fn generator(report: &Report) -> String {
    let mut times = Table::new(&["", "count", "p50", "p99", "p99.9", "max"], 1);
    let mut row = |name: &str, spectrum: &Spectrum| {
        let mut row = vec![name.to_owned(), spectrum.count.to_string()];
        row.extend([50.0, 99.0, 99.9, 100.0].map(|percentile| shown(spectrum, percentile)));
        times.row(row);
    };
    row("lateness: from due to noticed", &report.lateness);
    row("send lag: from free to sent", &report.send_lag);
    row("late wake-ups", &report.stalls);
    row("connecting", &report.connect_times);
    times.html()
}

fn repeat(report: &Report) -> String {
    let mut table = Table::new(&["", ""], 2);
    let machine = &report.machine;
    for (name, value) in [
        ("program", report.program.clone()),
        ("seed", report.seed.to_string()),
        ("sending threads", report.threads.to_string()),
        ("processor", format!("{} ({} usable CPUs)", machine.cpu, machine.cpus)),
        ("kernel", machine.kernel.clone()),
        ("frequency governor", machine.governor.clone().unwrap_or_else(|| "none".to_owned())),
        ("congestion control", machine.congestion_control.clone().unwrap_or_else(|| "unknown".to_owned())),
        ("driver", machine.driver.clone()),
    ] {
        table.row(vec![name.to_owned(), value]);
    }
    format!("<pre>{}</pre>{}", escape(&report.command), table.html())
}
