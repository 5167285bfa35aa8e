//! From a finished run to its report.

use std::collections::BTreeMap;

use super::{Ended, Outcome};
use crate::client::failure::Failure;
use crate::measure::{Measure, TargetMeasure};
use crate::result::{
    Confidence, Counted, FORMAT, Handshakes, IntervalResult, PERCENTILES, Report, Spectrum, TargetResult,
    label,
};
use crate::stats;

pub(super) fn report(outcome: &Outcome) -> Report {
    let (measure, load) = (&outcome.measure, &outcome.load);
    let seconds = outcome.seconds();
    let counted = |header: &String| Counted { header: header.clone(), values: measure.counted.clone() };
    Report {
        format: FORMAT,
        program: concat!("pinion-load ", env!("CARGO_PKG_VERSION")).to_owned(),
        command: outcome.command.clone(),
        started: outcome.started.clone(),
        seed: outcome.seed,
        target: outcome.target.clone(),
        rate: load.rate.clone(),
        arrivals: load.arrivals.clone(),
        open_loop: load.is_open,
        connections: load.connections,
        threads: load.threads,
        duration_seconds: load.duration.as_secs_f64(),
        warmup_seconds: load.warmup.as_secs_f64(),
        measured_seconds: seconds,
        interrupted: outcome.ended == Ended::Signal,
        ended: match outcome.ended {
            Ended::Planned => "planned",
            Ended::Signal => "signal",
            Ended::Sure => "sure",
        }
        .to_owned(),
        certified: outcome.certificate.clone(),
        assertions: Vec::new(),
        machine: outcome.machine.clone(),
        sent: measure.sent,
        answered: measure.answered(),
        failed: measure.failed(),
        errors_total: measure.errors(),
        blocked: measure.blocked,
        resent: measure.resent,
        connects: measure.connects,
        connections_opened: measure.connects,
        idle_lost: measure.idle_lost,
        handshakes: Handshakes { full: measure.handshakes.full, resumed: measure.handshakes.resumed },
        content_bytes: measure.content_bytes,
        bytes_in: measure.bytes_in,
        bytes_out: measure.bytes_out,
        answered_per_second: measure.answered() as f64 / seconds,
        latency: Spectrum::of(&measure.latency),
        service_time: Spectrum::of(&measure.service),
        lateness: Spectrum::of(&measure.lateness),
        send_lag: Spectrum::of(&measure.send_lag),
        stalls: Spectrum::of(&measure.stalls),
        connect_times: Spectrum::of(&measure.connect_times),
        confidence: confidence(measure),
        statuses: by_status(&measure.statuses),
        grpc_statuses: by_status(&measure.grpc_statuses),
        errors: by_kind(&measure.failures),
        counted: outcome.counted_header.as_ref().map(counted),
        targets: measure.targets.iter().zip(&outcome.target_names).map(target).collect(),
        last_nanos: measure.last,
        interval_nanos: measure.intervals.length(),
        intervals: intervals(measure),
        agents: outcome.agents.clone(),
    }
}

fn confidence(measure: &Measure) -> BTreeMap<String, Confidence> {
    let found = stats::estimates(&measure.intervals.counts(), &PERCENTILES);
    let named = |(&percentile, found): (&f64, Option<stats::Estimate>)| {
        let found = found?;
        Some((label(percentile), Confidence { low: found.low, high: found.high, level: found.level }))
    };
    PERCENTILES.iter().zip(found).filter_map(named).collect()
}

fn by_status(counts: &BTreeMap<u16, u64>) -> BTreeMap<String, u64> {
    counts.iter().map(|(status, &count)| (status.to_string(), count)).collect()
}

fn by_kind(counts: &BTreeMap<Failure, u64>) -> BTreeMap<String, u64> {
    counts.iter().map(|(failure, &count)| (failure.label().to_owned(), count)).collect()
}

fn target((measure, name): (&TargetMeasure, &String)) -> TargetResult {
    TargetResult {
        name: name.clone(),
        answered: measure.statuses.values().sum(),
        failed: measure.failures.values().sum(),
        latency: Spectrum::of(&measure.latency),
        statuses: by_status(&measure.statuses),
        errors: by_kind(&measure.failures),
    }
}

fn intervals(measure: &Measure) -> Vec<IntervalResult> {
    let begin = |index: usize| (index as u64).saturating_mul(measure.intervals.length()) as f64 / 1e9;
    let list = measure.intervals.list().iter().enumerate();
    list.map(|(index, interval)| {
        let numbers = [interval.sent, interval.answered, interval.failed, interval.in_flight];
        IntervalResult::new(begin(index), interval.counts(), numbers)
    })
    .collect()
}
