//! From the agents' reports to one run.

use std::collections::BTreeMap;

use crate::client::failure::Failure;
use crate::measure::intervals::Intervals;
use crate::measure::{FAILURES, Handshakes, Measure, TargetMeasure};
use crate::result::{AgentResult, Report};

/// What an agent measured, as if its threads had been here.
pub(super) fn measure(report: &Report) -> Measure {
    let warmup = (report.warmup_seconds * 1e9).round() as u64;
    let mut measure = Measure::new(report.interval_nanos, report.targets.len());
    measure.latency = report.latency.histogram();
    measure.service = report.service_time.histogram();
    measure.lateness = report.lateness.histogram();
    measure.send_lag = report.send_lag.histogram();
    measure.stalls = report.stalls.histogram();
    measure.connect_times = report.connect_times.histogram();
    measure.sent = report.sent;
    measure.statuses = by_status(&report.statuses);
    measure.grpc_statuses = by_status(&report.grpc_statuses);
    measure.failures = by_kind(&report.errors);
    measure.error_answers = report.errors_total.saturating_sub(report.failed);
    measure.counted = report.counted.as_ref().map(|counted| counted.values.clone()).unwrap_or_default();
    measure.content_bytes = report.content_bytes;
    measure.bytes_in = report.bytes_in;
    measure.bytes_out = report.bytes_out;
    measure.blocked = report.blocked;
    measure.resent = report.resent;
    measure.connects = report.connects;
    measure.idle_lost = report.idle_lost;
    measure.handshakes = Handshakes { full: report.handshakes.full, resumed: report.handshakes.resumed };
    measure.last = report.last_nanos;
    measure.targets = report
        .targets
        .iter()
        .map(|target| TargetMeasure {
            latency: target.latency.histogram(),
            statuses: by_status(&target.statuses),
            failures: by_kind(&target.errors),
        })
        .collect();
    let intervals = report.intervals.iter().map(|interval| {
        let numbers = [interval.sent, interval.answered, interval.failed, interval.in_flight_max];
        (interval.counts().clone(), numbers)
    });
    measure.intervals = Intervals::of(warmup, report.interval_nanos, intervals);
    measure
}

/// The line of an agent in the report.
pub(super) fn line(address: &str, clock_error: u64, report: &Report) -> AgentResult {
    AgentResult {
        address: address.to_owned(),
        clock_error_nanos: clock_error,
        machine: report.machine.clone(),
        certified: report.certified.clone(),
        sent: report.sent,
        answered: report.answered,
        errors_total: report.errors_total,
        latency: report.latency.clone(),
    }
}

fn by_status(counts: &BTreeMap<String, u64>) -> BTreeMap<u16, u64> {
    counts.iter().filter_map(|(status, &count)| Some((status.parse().ok()?, count))).collect()
}

fn by_kind(counts: &BTreeMap<String, u64>) -> BTreeMap<Failure, u64> {
    let kind = |name: &str| FAILURES.into_iter().find(|failure| failure.label() == name);
    counts.iter().filter_map(|(name, &count)| Some((kind(name)?, count))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sample;

    #[test]
    fn a_measure_survives_its_report() {
        let mut outcome = sample();
        let json = outcome.report().json();
        outcome.measure = measure(&Report::parse(&json).unwrap());
        assert!(outcome.report().json() == json);
    }

    #[test]
    fn merged_agents_are_one_run() {
        let outcome = sample();
        let part = measure(&outcome.report());
        let mut both = part.clone();
        both.merge(&part);
        assert_eq!((both.sent, both.answered(), both.failed(), both.errors()), (2000, 1996, 4, 20));
        assert_eq!(both.latency.len(), 2 * outcome.measure.latency.len());
        assert_eq!(both.intervals.list()[3].sent, 2 * outcome.measure.intervals.list()[3].sent);
        assert_eq!(both.targets[1].latency.len(), 2 * outcome.measure.targets[1].latency.len());
    }
}
