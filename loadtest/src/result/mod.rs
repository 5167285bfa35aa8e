//! The result of a run as programs write and read it: the JSON report, its names, its version.
//!
//! ```text
//! Measure ─▶ Report ─▶ JSON ─▶ Report ─▶ histograms, percentiles, intervals; merged and compared
//! ```
//!
//! Invariants: what is written can be read again without loss (histograms are kept whole, in HdrHistogram's
//! encoding); a field never changes its meaning within a format; fields may be added. docs/load-report.md
//! describes them all.
//!
//! Not here: how a run is shown to people (`report`).

mod hdr;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::stats::Counts;
pub(crate) use hdr::histogram_of;
use hdr::{Hdr, HdrCounts};

/// The version of the report's format.
pub const FORMAT: u32 = 1;

/// The longest report that is read, in bytes: a thousand intervals of a busy run have a few MiB.
const REPORT_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// The percentiles that are named; 100 is `max`.
pub const PERCENTILES: [f64; 8] = [50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99, 100.0];

/// `p99`, `p99.9`; the largest value is `max`.
#[must_use]
pub fn label(percentile: f64) -> String {
    if percentile >= 100.0 { "max".to_owned() } else { format!("p{percentile}") }
}

/// The result of a run. Times are nanoseconds unless the name says seconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// [`FORMAT`].
    pub format: u32,
    /// Program and version.
    pub program: String,
    /// How the program was called.
    pub command: String,
    /// When sending began, RFC 3339.
    pub started: String,
    /// The seed of schedule, targets and payloads.
    pub seed: u64,
    /// Where the requests went.
    pub target: String,
    /// `"1000/s"`, or `"max"` for a closed loop.
    pub rate: String,
    /// How due times are spread.
    pub arrivals: String,
    /// Whether requests fell due by a schedule; a closed loop's latencies hide waiting.
    pub open_loop: bool,
    /// Connections held open.
    pub connections: u32,
    /// Sending threads.
    pub threads: u32,
    /// The length that was asked for.
    pub duration_seconds: f64,
    /// What was sent before measuring began.
    pub warmup_seconds: f64,
    /// The length of the measured part.
    pub measured_seconds: f64,
    /// Whether a signal ended it early.
    pub interrupted: bool,
    /// `planned`, `signal`, or `sure` (the wanted confidence was reached).
    pub ended: String,
    /// Whether the generator kept up, and what speaks against it.
    pub certified: Certified,
    /// What was asserted of the run, and whether it holds.
    pub assertions: Vec<Asserted>,
    /// The machine that sent.
    pub machine: Machine,
    /// Requests sent.
    pub sent: u64,
    /// Requests answered.
    pub answered: u64,
    /// Requests without a proper answer.
    pub failed: u64,
    /// Failed requests, and answers with a status from 400 on or a gRPC status but 0.
    pub errors_total: u64,
    /// Requests that were due while every connection was busy.
    pub blocked: u64,
    /// Requests sent again because a kept connection had just been closed.
    pub resent: u64,
    /// Connections opened; the same as `connections_opened`.
    pub connects: u64,
    /// Connections opened.
    pub connections_opened: u64,
    /// Connections that were to stay idle and ended.
    pub idle_lost: u64,
    /// TLS handshakes.
    pub handshakes: Handshakes,
    /// Bytes of content received.
    pub content_bytes: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Answers a second.
    pub answered_per_second: f64,
    /// From the due time to the end of the answer.
    pub latency: Spectrum,
    /// From the send to the end of the answer.
    pub service_time: Spectrum,
    /// From the due time to when the generator came round to it.
    pub lateness: Spectrum,
    /// From when a request could be sent to the return of the send.
    pub send_lag: Spectrum,
    /// How late a sending thread came back from a wait for a time.
    pub stalls: Spectrum,
    /// Setting up a connection.
    pub connect_times: Spectrum,
    /// Confidence intervals of latency percentiles, by name, where the data can tell.
    pub confidence: BTreeMap<String, Confidence>,
    /// Answers by status.
    pub statuses: BTreeMap<String, u64>,
    /// Answers by gRPC status.
    pub grpc_statuses: BTreeMap<String, u64>,
    /// Requests without an answer, by kind.
    pub errors: BTreeMap<String, u64>,
    /// Answers by the value of a header, if one was counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<Counted>,
    /// Each target by itself, if there were several.
    pub targets: Vec<TargetResult>,
    /// When the last request was answered or given up, in nanoseconds from the start.
    pub last_nanos: u64,
    /// The length of each interval, in nanoseconds.
    pub interval_nanos: u64,
    /// The measured part in slices of time.
    pub intervals: Vec<IntervalResult>,
    /// The part of each agent, if there were some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<AgentResult>,
}

/// Whether the generator kept up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certified {
    /// It did.
    pub valid: bool,
    /// Why not, one reason each.
    pub reasons: Vec<String>,
}

/// An assertion and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asserted {
    /// As it was written.
    pub assertion: String,
    /// Whether it holds.
    pub holds: bool,
    /// What was found, for people.
    pub found: String,
}

/// The machine that sent the requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Model of the processor.
    pub cpu: String,
    /// CPUs that the program may use.
    pub cpus: u32,
    /// Kernel and its version.
    pub kernel: String,
    /// The frequency governor of the first CPU, if it has one.
    pub governor: Option<String>,
    /// TCP congestion control.
    pub congestion_control: Option<String>,
    /// `io_uring` or `epoll`.
    pub driver: String,
}

/// TLS handshakes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handshakes {
    /// Whole ones.
    pub full: u64,
    /// Those that continued a session.
    pub resumed: u64,
}

/// A distribution of times in nanoseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spectrum {
    /// How many values.
    pub count: u64,
    /// Their mean.
    pub mean_nanos: f64,
    /// Their standard deviation.
    pub deviation_nanos: f64,
    /// The values at [`PERCENTILES`], by name.
    pub percentiles_nanos: BTreeMap<String, u64>,
    hdr: Hdr,
}

impl Spectrum {
    /// The distribution of a histogram.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        Spectrum {
            count: histogram.len(),
            mean_nanos: histogram.mean(),
            deviation_nanos: histogram.stdev(),
            percentiles_nanos: PERCENTILES
                .iter()
                .map(|&percentile| (label(percentile), histogram.value_at_percentile(percentile)))
                .collect(),
            hdr: Hdr(histogram.clone()),
        }
    }

    /// The whole distribution, with three significant digits: for other percentiles, and to merge.
    #[must_use]
    pub fn histogram(&self) -> Histogram<u64> {
        self.hdr.0.clone()
    }

    /// A percentile from 0 to 100, in nanoseconds; `None` of nothing.
    #[must_use]
    pub fn percentile(&self, percentile: f64) -> Option<u64> {
        (!self.hdr.0.is_empty()).then(|| self.hdr.0.value_at_percentile(percentile))
    }
}

/// A percentile's confidence interval, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Confidence {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// How sure it is: 0.95.
    pub level: f64,
}

/// Answers by the value of a header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Its name.
    pub header: String,
    /// Answers by value.
    pub values: BTreeMap<String, u64>,
}

/// One of several targets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetResult {
    /// Its name in the scenario.
    pub name: String,
    /// Requests answered.
    pub answered: u64,
    /// Requests without an answer.
    pub failed: u64,
    /// From the due time to the end of the answer.
    pub latency: Spectrum,
    /// Answers by status.
    pub statuses: BTreeMap<String, u64>,
    /// Requests without an answer, by kind.
    pub errors: BTreeMap<String, u64>,
}

/// A slice of the measured part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IntervalResult {
    /// When it began, from the start of measuring.
    pub start_seconds: f64,
    /// Requests due in it that were sent.
    pub sent: u64,
    /// Answers that came in it.
    pub answered: u64,
    /// Requests that were found to have failed in it.
    pub failed: u64,
    /// The most requests in flight, summed over threads.
    pub in_flight_max: u64,
    /// p50, p99 and the largest latency of the requests due in it; empty if there were none.
    pub percentiles_nanos: BTreeMap<String, u64>,
    hdr: HdrCounts,
}

impl IntervalResult {
    /// An interval with these latencies.
    pub(crate) fn new(
        start_seconds: f64,
        counts: Counts,
        [sent, answered, failed, in_flight_max]: [u64; 4],
    ) -> Self {
        let one = std::slice::from_ref(&counts);
        let at =
            |percentile| crate::stats::percentile(one, percentile).map(|value| (label(percentile), value));
        let percentiles_nanos = [50.0, 99.0, 100.0].into_iter().filter_map(at).collect();
        let hdr = HdrCounts(counts);
        IntervalResult { start_seconds, sent, answered, failed, in_flight_max, percentiles_nanos, hdr }
    }

    /// Latencies of the requests due in it.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.hdr.0
    }
}

/// The part of one agent of a run with several machines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentResult {
    /// Where it listened.
    pub address: String,
    /// How far its clock may have been from the leader's at the start, in nanoseconds.
    pub clock_error_nanos: u64,
    /// Its machine.
    pub machine: Machine,
    /// Whether it kept up.
    pub certified: Certified,
    /// Requests sent.
    pub sent: u64,
    /// Requests answered.
    pub answered: u64,
    /// Requests without a proper answer, and answers that say that something went wrong.
    pub errors_total: u64,
    /// From the due time to the end of the answer.
    pub latency: Spectrum,
}

/// Why a report can't be read.
#[derive(Debug)]
pub struct Unreadable(String);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unreadable {}

impl Report {
    /// Reads the report in a file.
    ///
    /// # Errors
    /// It can't be read, or as for [`Report::parse`]; the file is named.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, Unreadable> {
        let path = path.as_ref();
        let told = |what: &dyn fmt::Display| Unreadable(format!("{}: {what}", path.display()));
        let length = std::fs::metadata(path).map_err(|e| told(&e))?.len();
        if length > REPORT_BYTES_MAX {
            return Err(told(&"too long for a report"));
        }
        let text = std::fs::read_to_string(path).map_err(|e| told(&e))?;
        Report::parse(&text).map_err(|e| told(&e))
    }

    /// Reads a report.
    ///
    /// # Errors
    /// It is not JSON, not a report, or of another format.
    pub fn parse(text: &str) -> Result<Self, Unreadable> {
        #[derive(Deserialize)]
        struct Version {
            program: Option<String>,
            format: Option<u32>,
        }
        let version: Version =
            serde_json::from_str(text).map_err(|e| Unreadable(format!("not a report: {e}")))?;
        match version.format {
            Some(FORMAT) => {}
            Some(other) => {
                return Err(Unreadable(format!("a report of format {other}; this program reads {FORMAT}")));
            }
            None if version.program.is_some_and(|program| program.starts_with("pinion-load")) => {
                return Err(Unreadable("a report of an older pinion-load, without histograms".to_owned()));
            }
            None => return Err(Unreadable("not a report of pinion-load".to_owned())),
        }
        serde_json::from_str(text).map_err(|e| Unreadable(format!("not a whole report: {e}")))
    }

    /// The report as JSON, with a line end.
    #[must_use]
    pub fn json(&self) -> String {
        // INVARIANT: numbers, strings and maps with string keys are always JSON.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// The latencies of each interval, for [`crate::stats`].
    #[must_use]
    pub fn interval_counts(&self) -> Vec<Counts> {
        self.intervals.iter().map(|interval| interval.counts().clone()).collect()
    }
}
