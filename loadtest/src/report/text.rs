//! The summary for people. One percentile a line, latency from the due time first, service time after; then
//! both beside each other with how sure they are.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use super::table::Table;
use crate::result::{Confidence, PERCENTILES, Report, Spectrum, label};
use crate::units::Nanos;

/// The whole summary.
pub(super) fn render(report: &Report) -> String {
    let mut out = String::new();
    // INVARIANT: writing to a string does not fail.
    let _ = head(&mut out, report)
        .and_then(|()| counts(&mut out, report))
        .and_then(|()| times(&mut out, report))
        .and_then(|()| answers(&mut out, report))
        .and_then(|()| parts(&mut out, report))
        .and_then(|()| tail(&mut out, report));
    out
}

fn head(out: &mut String, report: &Report) -> fmt::Result {
    writeln!(out, "target       {}", report.target)?;
    if report.open_loop {
        write!(out, "load         open loop, {}, {} arrivals", report.rate, report.arrivals)?;
    } else {
        write!(out, "load         closed loop")?;
    }
    writeln!(out, ", {} connections, {} s", report.connections, report.duration_seconds)?;
    if report.certified.valid {
        writeln!(out, "certified    yes: this program kept up")?;
    } else {
        for reason in &report.certified.reasons {
            writeln!(out, "INVALID      {reason}")?;
        }
    }
    match report.ended.as_str() {
        "signal" => writeln!(out, "ended early  by a signal; what was in flight then is not counted"),
        "sure" => writeln!(out, "ended early  as sure as --until-ci wants it"),
        _ => Ok(()),
    }
}

fn counts(out: &mut String, report: &Report) -> fmt::Result {
    let per_second = |count: u64| count as f64 / report.measured_seconds;
    let megabytes =
        |bytes: u64| format!("{:.3} MB ({:.3} MB/s)", bytes as f64 / 1e6, per_second(bytes) / 1e6);
    writeln!(out, "sent         {} ({:.1}/s)", report.sent, per_second(report.sent))?;
    writeln!(out, "answered     {} ({:.1}/s)", report.answered, report.answered_per_second)?;
    writeln!(out, "failed       {}", report.failed)?;
    writeln!(out, "errors       {}{}", report.errors_total, share(report))?;
    writeln!(out, "content      {}", megabytes(report.content_bytes))?;
    if report.bytes_in + report.bytes_out > 0 {
        writeln!(out, "received     {}", megabytes(report.bytes_in))?;
        writeln!(out, "transmitted  {}", megabytes(report.bytes_out))?;
    }
    if report.open_loop {
        writeln!(out, "blocked      {} were due while all connections were busy", report.blocked)?;
    }
    if report.resent > 0 {
        writeln!(out, "resent       {} met a kept connection that was being closed", report.resent)?;
    }
    write!(out, "connections  {} opened", report.connections_opened)?;
    if let Some(median) = report.connect_times.percentile(50.0) {
        let most = report.connect_times.percentile(100.0).unwrap_or(median);
        write!(out, ", median {}, at most {}", Nanos(median), Nanos(most))?;
    }
    writeln!(out)?;
    if report.idle_lost > 0 {
        writeln!(out, "idle lost    {} connections that were to stay idle ended", report.idle_lost)?;
    }
    if report.handshakes.full + report.handshakes.resumed > 0 {
        writeln!(out, "handshakes   {} full, {} resumed", report.handshakes.full, report.handshakes.resumed)?;
    }
    Ok(())
}

/// Errors as a share of all requests that came to an end.
fn share(report: &Report) -> String {
    let ended = report.answered + report.failed;
    if report.errors_total == 0 || ended == 0 {
        return String::new();
    }
    format!(" ({:.3} % of the requests)", report.errors_total as f64 / ended as f64 * 100.0)
}

fn times(out: &mut String, report: &Report) -> fmt::Result {
    let title = if report.open_loop {
        "latency, from the due time"
    } else {
        "latency (closed loop: from the send, which hides waiting)"
    };
    spectrum(out, title, &report.latency)?;
    spectrum(out, "service time, from the send", &report.service_time)?;
    if report.latency.count == 0 || report.service_time.count == 0 {
        return Ok(());
    }
    writeln!(out, "\nside by side")?;
    out.push_str(&beside(report).text("  "));
    Ok(())
}

fn spectrum(out: &mut String, title: &str, spectrum: &Spectrum) -> fmt::Result {
    writeln!(out, "\n{title}")?;
    if spectrum.count == 0 {
        return writeln!(out, "nothing measured");
    }
    for percentile in PERCENTILES {
        writeln!(out, "{}  {}", label(percentile), shown(spectrum, percentile))?;
    }
    writeln!(out, "mean  {}", Nanos(spectrum.mean_nanos as u64))
}

/// A percentile for people; empty of nothing.
pub(super) fn shown(spectrum: &Spectrum, percentile: f64) -> String {
    spectrum.percentile(percentile).map(|nanos| Nanos(nanos).to_string()).unwrap_or_default()
}

/// Latency and service time beside each other, with confidence intervals where the data can tell.
pub(super) fn beside(report: &Report) -> Table {
    let level = report.confidence.values().next().map_or(95.0, |confidence| confidence.level * 100.0);
    let sure = format!("{level:.0} % confidence of the latency");
    let mut table = Table::new(&["percentile", "latency", "service time", &sure], 1);
    for percentile in PERCENTILES {
        let name = label(percentile);
        let confidence = report.confidence.get(&name).map(range).unwrap_or_default();
        table.row(vec![
            name,
            shown(&report.latency, percentile),
            shown(&report.service_time, percentile),
            confidence,
        ]);
    }
    let mean = |spectrum: &Spectrum| Nanos(spectrum.mean_nanos as u64).to_string();
    table.row(vec!["mean".to_owned(), mean(&report.latency), mean(&report.service_time), String::new()]);
    table
}

/// `4.95 ms … 5.21 ms`.
pub(super) fn range(confidence: &Confidence) -> String {
    format!("{} … {}", Nanos(confidence.low as u64), Nanos(confidence.high as u64))
}

fn answers(out: &mut String, report: &Report) -> fmt::Result {
    list(out, "answers by status", &report.statuses)?;
    if !report.grpc_statuses.is_empty() {
        list(out, "answers by gRPC status", &report.grpc_statuses)?;
    }
    if let Some(counted) = &report.counted {
        list(out, &format!("answers by {}", counted.header), &counted.values)?;
    }
    if !report.errors.is_empty() {
        list(out, "errors by kind", &report.errors)?;
    }
    Ok(())
}

fn list(out: &mut String, title: &str, counts: &BTreeMap<String, u64>) -> fmt::Result {
    writeln!(out, "\n{title}")?;
    for (name, count) in counts {
        writeln!(out, "{name}  {count}")?;
    }
    Ok(())
}

fn parts(out: &mut String, report: &Report) -> fmt::Result {
    if let Some(table) = targets(report) {
        writeln!(out, "\ntargets")?;
        out.push_str(&table.text("  "));
    }
    if let Some(table) = agents(report) {
        writeln!(out, "\nagents")?;
        out.push_str(&table.text("  "));
    }
    Ok(())
}

/// A line for each target, if there are several.
pub(super) fn targets(report: &Report) -> Option<Table> {
    let mut table =
        Table::new(&["target", "answered", "failed", "status ≥ 400", "p50", "p99", "p99.9", "max"], 1);
    for target in &report.targets {
        let refused = |(status, count): (&String, &u64)| {
            status.parse::<u16>().is_ok_and(|status| status >= 400).then_some(*count)
        };
        let mut row = vec![target.name.clone(), target.answered.to_string(), target.failed.to_string()];
        row.push(target.statuses.iter().filter_map(refused).sum::<u64>().to_string());
        row.extend([50.0, 99.0, 99.9, 100.0].map(|percentile| shown(&target.latency, percentile)));
        table.row(row);
    }
    (!table.is_empty()).then_some(table)
}

/// A line for each agent, if there are some.
pub(super) fn agents(report: &Report) -> Option<Table> {
    let head = ["agent", "certified", "sent", "answered", "errors", "p50", "p99", "max", "clock within"];
    let mut table = Table::new(&head, 2);
    for agent in &report.agents {
        let certified = if agent.certified.valid { "yes" } else { "INVALID" };
        let mut row = vec![agent.address.clone(), certified.to_owned()];
        row.extend([agent.sent, agent.answered, agent.errors_total].map(|count| count.to_string()));
        row.extend([50.0, 99.0, 100.0].map(|percentile| shown(&agent.latency, percentile)));
        row.push(Nanos(agent.clock_error_nanos).to_string());
        table.row(row);
    }
    (!table.is_empty()).then_some(table)
}

fn tail(out: &mut String, report: &Report) -> fmt::Result {
    if report.open_loop && report.lateness.count > 0 {
        writeln!(
            out,
            "\nlateness of this program: median {}, 99 % within {}, at most {}",
            shown(&report.lateness, 50.0),
            shown(&report.lateness, 99.0),
            shown(&report.lateness, 100.0)
        )?;
    }
    if !report.assertions.is_empty() {
        writeln!(out, "\nassertions")?;
    }
    for asserted in &report.assertions {
        let verdict = if asserted.holds { "holds " } else { "FAILED" };
        writeln!(out, "{verdict}  {}  (it is {})", asserted.assertion, asserted.found)?;
    }
    Ok(())
}
