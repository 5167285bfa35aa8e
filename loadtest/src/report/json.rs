//! The result for programs. Field names and meanings are stable; times are in nanoseconds.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::{Outcome, PERCENTILES, label};

#[derive(Serialize)]
struct Report<'a> {
    program: &'static str,
    target: String,
    /// `"1000/s"` or `"max"`.
    rate: String,
    connections: u32,
    threads: u32,
    duration_seconds: f64,
    measured_seconds: f64,
    interrupted: bool,
    sent: u64,
    answered: u64,
    failed: u64,
    blocked: u64,
    resent: u64,
    connects: u64,
    content_bytes: u64,
    answered_per_second: f64,
    latency: Spectrum,
    service_time: Spectrum,
    lateness: Spectrum,
    statuses: BTreeMap<String, u64>,
    errors: BTreeMap<&'static str, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    counted: Option<Counted<'a>>,
}

#[derive(Serialize)]
struct Counted<'a> {
    header: &'a str,
    values: &'a BTreeMap<String, u64>,
}

#[derive(Serialize)]
struct Spectrum {
    count: u64,
    mean_nanos: f64,
    percentiles_nanos: BTreeMap<String, u64>,
}

impl Spectrum {
    fn of(histogram: &Histogram<u64>) -> Self {
        Spectrum {
            count: histogram.len(),
            mean_nanos: histogram.mean(),
            percentiles_nanos: PERCENTILES
                .iter()
                .map(|&percentile| (label(percentile), histogram.value_at_percentile(percentile)))
                .collect(),
        }
    }
}

/// The whole report, with a line end.
pub(super) fn render(outcome: &Outcome<'_>) -> String {
    let (measure, options) = (outcome.measure, outcome.options);
    let seconds = outcome.seconds();
    let report = Report {
        program: concat!("pinion-load ", env!("CARGO_PKG_VERSION")),
        target: outcome.target.to_string(),
        rate: options.rate.to_string(),
        connections: options.connections,
        threads: outcome.threads,
        duration_seconds: options.duration.as_secs_f64(),
        measured_seconds: seconds,
        interrupted: outcome.interrupted,
        sent: measure.sent,
        answered: measure.answered(),
        failed: measure.failed(),
        blocked: measure.blocked,
        resent: measure.resent,
        connects: measure.connects,
        content_bytes: measure.content_bytes,
        answered_per_second: measure.answered() as f64 / seconds,
        latency: Spectrum::of(&measure.latency),
        service_time: Spectrum::of(&measure.service),
        lateness: Spectrum::of(&measure.lateness),
        statuses: measure.statuses.iter().map(|(status, &count)| (status.to_string(), count)).collect(),
        errors: measure.failures.iter().map(|(failure, &count)| (failure.label(), count)).collect(),
        counted: options.count_header.as_deref().map(|header| Counted { header, values: &measure.counted }),
    };
    // INVARIANT: numbers, strings and maps with string keys are always JSON.
    let mut text = serde_json::to_string_pretty(&report).unwrap_or_default();
    text.push('\n');
    text
}
