//! What of a run is worth plotting.

use crate::plot::{Axis, Chart, HeatMap, Scale, Series, Unit};
use crate::result::{IntervalResult, Report, Spectrum};
use crate::stats;

/// Points of a spectrum for each nine of the percentile.
const POINTS_PER_NINE: f64 = 40.0;

/// Points of a spectrum's band for each nine.
const BAND_POINTS_PER_NINE: f64 = 12.0;

/// Rows of a heat map.
const ROWS: f64 = 48.0;

/// Less of an interval than this says nothing of a rate.
const SHARE_MIN: f64 = 0.25;

fn axis(label: &str, scale: Scale, unit: Unit) -> Axis {
    Axis { label: label.to_owned(), scale, unit }
}

fn time_axis() -> Axis {
    axis("time since the start", Scale::Linear, Unit::Nanos)
}

fn series(name: &str, points: Vec<(f64, f64)>) -> Series {
    Series { name: name.to_owned(), points, band: Vec::new() }
}

/// A plot in a page: on a narrow screen it scrolls instead of becoming too small to read.
fn figure(svg: &str) -> String {
    format!("<figure class=\"scroll\">{svg}</figure>")
}

/// Percentiles from 0 to the highest that so many values tell apart, evenly by nines.
fn percentiles(count: u64, per_nine: f64) -> Vec<f64> {
    let nines = (count.max(2) as f64).log10().min(8.0);
    let last = (nines * per_nine).ceil();
    (0..=last as u32).map(|n| 100.0 - 100.0 * 10_f64.powf(-(f64::from(n) / last * nines))).collect()
}

/// A spectrum as a line.
fn line(name: &str, spectrum: &Spectrum) -> Series {
    let histogram = spectrum.histogram();
    let points = percentiles(spectrum.count, POINTS_PER_NINE);
    let value = |percentile: f64| (percentile, histogram.value_at_percentile(percentile) as f64);
    let points = if histogram.is_empty() { Vec::new() } else { points.into_iter().map(value).collect() };
    series(name, points)
}

/// The latencies of a run as a line with the band of its confidence.
pub(super) fn latency_line(name: &str, report: &Report) -> Series {
    let asked = percentiles(report.latency.count, BAND_POINTS_PER_NINE);
    let found = stats::estimates(&report.interval_counts(), &asked);
    let band =
        asked.iter().zip(found).filter_map(|(&at, found)| found.map(|found| (at, found.low, found.high)));
    Series { band: band.collect(), ..line(name, &report.latency) }
}

/// Lines over the percentiles, with a word on their bands.
pub(super) fn spectra(title: &str, series: Vec<Series>) -> String {
    let note = if series.iter().all(|series| series.band.is_empty()) {
        ""
    } else {
        "<p class=\"soft\">The shaded band holds the true latency with 95 % confidence, as far up as the run can \
         tell.</p>"
    };
    let chart = Chart {
        title: title.to_owned(),
        x: axis("share of the requests that took at most so long", Scale::Percentile, Unit::Percent),
        y: axis("time (logarithmic)", Scale::Log, Unit::Nanos),
        series,
        marks: false,
        step: false,
    };
    figure(&chart.svg()) + note
}

/// Latency and service time by percentile.
pub(super) fn spectrum(report: &Report) -> String {
    let latency = if report.open_loop { "latency, from the due time" } else { "latency (closed loop)" };
    let lines =
        vec![latency_line(latency, report), line("service time, from the send", &report.service_time)];
    spectra("Latency by percentile", lines)
}

/// The begin of each interval, and the share of it that belongs to the run.
fn moments(report: &Report) -> impl Iterator<Item = (f64, f64)> + '_ {
    let length = report.interval_nanos as f64 / 1e9;
    report.intervals.iter().map(move |interval| {
        let covered = (report.measured_seconds - interval.start_seconds) / length;
        (interval.start_seconds * 1e9, covered.clamp(0.0, 1.0))
    })
}

fn over_time(title: &str, y: Axis, series: Vec<Series>, step: bool) -> String {
    let chart = Chart { title: title.to_owned(), x: time_axis(), y, series, marks: false, step };
    figure(&chart.svg())
}

/// Percentiles of each interval, where its requests were due.
pub(super) fn latency_over_time(report: &Report) -> String {
    let named = |name: &str| {
        let value = |(interval, (at, _)): (&IntervalResult, (f64, f64))| {
            (at, interval.percentiles_nanos.get(name).map_or(f64::NAN, |&nanos| nanos as f64))
        };
        series(name, report.intervals.iter().zip(moments(report)).map(value).collect())
    };
    let lines = vec![named("p50"), named("p99"), named("max")];
    let y = axis("latency of the requests due then (logarithmic)", Scale::Log, Unit::Nanos);
    over_time("Latency over time", y, lines, false)
}

/// Requests and answers a second.
pub(super) fn rate_over_time(report: &Report) -> String {
    let length = report.interval_nanos as f64 / 1e9;
    let rate = |name: &str, count: &dyn Fn(&IntervalResult) -> u64, end: f64| {
        let points = report.intervals.iter().zip(moments(report)).map(|(interval, (at, covered))| {
            let is_over = covered < SHARE_MIN || interval.start_seconds >= end;
            (at, if is_over { f64::NAN } else { count(interval) as f64 / (length * covered) })
        });
        series(name, points.collect())
    };
    let lines = vec![
        rate("due and sent", &|interval| interval.sent, report.duration_seconds),
        rate("answered", &|interval| interval.answered, f64::INFINITY),
    ];
    over_time("Rate over time", axis("requests a second", Scale::Linear, Unit::PerSecond), lines, true)
}

/// The most requests in flight.
pub(super) fn in_flight_over_time(report: &Report) -> String {
    // Where nothing was sent and nothing came, what was in flight before still is.
    let mut last = 0;
    let mut value = |interval: &IntervalResult| {
        if interval.sent + interval.answered + interval.failed > 0 {
            last = interval.in_flight_max;
        }
        last as f64
    };
    let points = report.intervals.iter().zip(moments(report));
    let points = points.map(|(interval, (at, _))| (at, value(interval))).collect();
    let y = axis("requests sent and not answered, the most in each interval", Scale::Linear, Unit::Plain);
    over_time("In flight over time", y, vec![series("in flight", points)], true)
}

/// Failures, if there were some.
pub(super) fn failures_over_time(report: &Report) -> Option<String> {
    let points = report.intervals.iter().zip(moments(report));
    let points: Vec<_> = points.map(|(interval, (at, _))| (at, interval.failed as f64)).collect();
    let y = axis("requests without an answer, in each interval", Scale::Linear, Unit::Plain);
    (report.failed > 0).then(|| over_time("Failures over time", y, vec![series("failed", points)], true))
}

/// How many requests took how long, by when they were due.
pub(super) fn heat_map(report: &Report) -> String {
    let values =
        || report.intervals.iter().flat_map(|interval| &interval.counts().0).map(|&(value, _)| value);
    let low = values().min().unwrap_or(1).max(1) as f64;
    let high = values().max().unwrap_or(1).max(1) as f64 * 1.001;
    // Rows are evenly high on paper; those of a narrow range are no finer than the histogram.
    let ratio = (high / low).powf(1.0 / ROWS).max(1.01);
    let cells = |interval: &IntervalResult| {
        let mut rows: Vec<(f64, f64, u64)> = Vec::new();
        for &(value, count) in &interval.counts().0 {
            let row = ((value.max(1) as f64 / low).ln() / ratio.ln()).floor().max(0.0);
            let (from, to) = (low * ratio.powf(row), low * ratio.powf(row + 1.0));
            match rows.last_mut().filter(|last| last.0 >= from) {
                Some(last) => last.2 += count,
                None => rows.push((from, to, count)),
            }
        }
        rows
    };
    // After the last request was due there is nothing to show.
    let last = report.intervals.iter().rposition(|interval| !interval.counts().0.is_empty());
    let columns = report.intervals.iter().zip(moments(report)).take(last.map_or(0, |last| last + 1));
    let map = HeatMap {
        title: "Where the latencies lay".to_owned(),
        x: time_axis(),
        y: axis("latency of the requests due then (logarithmic)", Scale::Log, Unit::Nanos),
        columns: columns.map(|(interval, (at, _))| (at, cells(interval))).collect(),
    };
    figure(&map.svg())
}
