//! The summary for people. One percentile a line, latency from the due time first, service time after.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

use super::{Outcome, PERCENTILES, label};
use crate::cli::Rate;
use crate::units::Nanos;

/// The whole summary.
pub(super) fn render(outcome: &Outcome<'_>) -> String {
    let mut out = String::new();
    // INVARIANT: writing to a string does not fail.
    let _ = write(&mut out, outcome);
    out
}

fn write(out: &mut String, outcome: &Outcome<'_>) -> std::fmt::Result {
    let (measure, options) = (outcome.measure, outcome.options);
    let seconds = outcome.seconds();
    let per_second = |count: u64| count as f64 / seconds;
    let open = options.rate != Rate::Max;
    writeln!(out, "target       {}", outcome.target)?;
    match &options.rate {
        Rate::Max => write!(out, "load         closed loop")?,
        rate => write!(out, "load         open loop, {rate}, {} arrivals", options.arrivals)?,
    }
    writeln!(out, ", {} connections, {:?}", options.connections, options.duration)?;
    if outcome.interrupted {
        writeln!(out, "ended early  by a signal; what was in flight then is not counted")?;
    }
    writeln!(out, "sent         {} ({:.1}/s)", measure.sent, per_second(measure.sent))?;
    writeln!(out, "answered     {} ({:.1}/s)", measure.answered(), per_second(measure.answered()))?;
    writeln!(out, "failed       {}", measure.failed())?;
    writeln!(out, "content      {:.3} MB ({:.3} MB/s)", measure.content_bytes as f64 / 1e6, {
        measure.content_bytes as f64 / 1e6 / seconds
    })?;
    if open {
        writeln!(out, "blocked      {} were due while all connections were busy", measure.blocked)?;
    }
    if measure.resent > 0 {
        writeln!(out, "resent       {} met a kept connection that was being closed", measure.resent)?;
    }

    let title = if open { "latency, from the due time" } else { "latency (closed loop: from the send)" };
    spectrum(out, title, &measure.latency)?;
    spectrum(out, "service time, from the send", &measure.service)?;

    writeln!(out, "\nanswers by status")?;
    for (status, count) in &measure.statuses {
        writeln!(out, "{status}  {count}")?;
    }
    if let Some(name) = &options.count_header {
        writeln!(out, "\nanswers by {name}")?;
        for (value, count) in &measure.counted {
            writeln!(out, "{value}  {count}")?;
        }
    }
    if !measure.failures.is_empty() {
        writeln!(out, "\nerrors by kind")?;
        for (failure, count) in &measure.failures {
            writeln!(out, "{}  {count}", failure.label())?;
        }
    }
    if open && !measure.lateness.is_empty() {
        let at = |percentile| Nanos(measure.lateness.value_at_percentile(percentile));
        writeln!(
            out,
            "\nlateness of this program: median {}, 99 % within {}, at most {}",
            at(50.0),
            at(99.0),
            Nanos(measure.lateness.max())
        )?;
    }
    Ok(())
}

fn spectrum(out: &mut String, title: &str, histogram: &Histogram<u64>) -> std::fmt::Result {
    writeln!(out, "\n{title}")?;
    if histogram.is_empty() {
        return writeln!(out, "nothing measured");
    }
    for percentile in PERCENTILES {
        writeln!(out, "{}  {}", label(percentile), Nanos(histogram.value_at_percentile(percentile)))?;
    }
    writeln!(out, "mean  {}", Nanos(histogram.mean() as u64))
}
