//! The files of HdrHistogram's public tools: the percentile distribution (`.hgrm`) and the interval log
//! (`.hlog`). Both are in milliseconds where people read them; the histograms inside the log are in
//! nanoseconds.

use std::fmt::Write as _;
use std::io;
use std::time::{Duration, UNIX_EPOCH};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, IntervalLogWriterError};

use crate::result::{Report, histogram_of};
use crate::timestamp;

/// Nanoseconds in the unit of these files.
const MILLISECOND: f64 = 1e6;

/// Steps to half of what is left to 100 %, as the tools' own default.
const STEPS: u32 = 5;

/// The latencies as a percentile distribution.
pub(super) fn percentiles(report: &Report) -> String {
    let histogram = report.latency.histogram();
    let mut out =
        format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let mut below = 0;
    // INVARIANT: writing to a string does not fail.
    for step in histogram.iter_quantiles(STEPS) {
        below += step.count_since_last_iteration();
        let (value, quantile) = (step.value_iterated_to() as f64 / MILLISECOND, step.quantile_iterated_to());
        let _ = write!(out, "{value:12.6} {quantile:2.12} {below:10}");
        let _ =
            if quantile < 1.0 { writeln!(out, " {:14.2}", 1.0 / (1.0 - quantile)) } else { writeln!(out) };
    }
    let (mean, deviation) = (histogram.mean() / MILLISECOND, histogram.stdev() / MILLISECOND);
    let _ = writeln!(out, "#[Mean    = {mean:12.6}, StdDeviation   = {deviation:12.6}]");
    let largest = if histogram.is_empty() { 0.0 } else { histogram.max() as f64 / MILLISECOND };
    let _ = writeln!(out, "#[Max     = {largest:12.6}, Total count    = {:12}]", histogram.len());
    let sub_buckets = histogram.distinct_values() / (usize::from(histogram.buckets()) + 1) * 2;
    let _ = writeln!(out, "#[Buckets = {:12}, SubBuckets     = {sub_buckets:12}]", histogram.buckets());
    out
}

/// The latencies of each interval as a log of histograms.
///
/// # Errors
/// None in memory; the writer's own kinds.
pub(super) fn intervals(report: &Report) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let started = timestamp::parse_rfc3339(&report.started).and_then(|nanos| u64::try_from(nanos).ok());
    let started = UNIX_EPOCH + Duration::from_nanos(started.unwrap_or(0));
    let begin = started + Duration::from_secs_f64(report.warmup_seconds);
    let mut writer = IntervalLogWriterBuilder::new()
        .add_comment("[Histogram log format version 1.3]")
        .add_comment(&format!("latency in nanoseconds, by the time a request was due; {}", report.program))
        .with_start_time(begin)
        .with_max_value_divisor(MILLISECOND)
        .begin_log_with(&mut out, &mut serializer)?;
    let length = Duration::from_nanos(report.interval_nanos);
    for interval in &report.intervals {
        let start = Duration::from_secs_f64(interval.start_seconds);
        let histogram = histogram_of(interval.counts());
        writer.write_histogram(&histogram, start, length, None).map_err(|error| match error {
            IntervalLogWriterError::IoError(error) => error,
            IntervalLogWriterError::SerializeError(error) => io::Error::other(error),
        })?;
    }
    Ok(out)
}
