//! What a user asserts of a run: `p99 < 5ms`, `errors = 0`.
//!
//! ```text
//! METRIC OPERATOR VALUE
//! p99    <        5ms       a time has a unit, a size may have one, a share is in percent
//! ```
//!
//! Invariants: an assertion on times of which there are none does not hold; a run that is not certified
//! fails every assertion, because its numbers say more of the generator than of the server.

use std::fmt;
use std::str::FromStr;

use crate::client::failure::Failure;
use crate::measure::FAILURES;
use crate::result::{Asserted, Report, Spectrum};
use crate::units::{self, Nanos};

/// What is asserted upon, for error messages.
const METRICS: &str = "p50, p99.9 (any percentile), mean, max, service_p99, service_mean, service_max, rate, \
                       sent, answered, failed, errors, error_rate, 5xx (or another class), 503 (or another \
                       status), timeout (or another kind of error), bytes, bytes_in, bytes_out";

/// One of the distributions of times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Times {
    Latency,
    Service,
}

/// A number of a distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Point {
    /// From 0 to 100.
    Percentile(f64),
    Mean,
    Max,
}

/// A count of requests or answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Count {
    Sent,
    Answered,
    Failed,
    Errors,
    Status(u16),
    /// 5 for all from 500 to 599.
    Class(u16),
    Kind(Failure),
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bytes {
    Content,
    In,
    Out,
}

/// What is asserted upon.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Metric {
    Time(Times, Point),
    Count(Count),
    Bytes(Bytes),
    /// Answers a second.
    Rate,
    /// Errors of all requests, in percent.
    ErrorRate,
}

/// How the two sides have to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    Unequal,
}

impl Operator {
    /// Longer ones first: `<=` begins as `<` does.
    const ALL: [(&'static str, Operator); 7] = [
        ("<=", Operator::LessOrEqual),
        (">=", Operator::GreaterOrEqual),
        ("!=", Operator::Unequal),
        ("==", Operator::Equal),
        ("<", Operator::Less),
        (">", Operator::Greater),
        ("=", Operator::Equal),
    ];

    #[expect(clippy::float_cmp, reason = "counts and bounds are whole numbers, and `=` means what it says")]
    fn holds(self, found: f64, bound: f64) -> bool {
        match self {
            Operator::Less => found < bound,
            Operator::LessOrEqual => found <= bound,
            Operator::Greater => found > bound,
            Operator::GreaterOrEqual => found >= bound,
            Operator::Equal => found == bound,
            Operator::Unequal => found != bound,
        }
    }
}

/// An assertion, as a user wrote it and as it is checked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Assertion {
    metric: Metric,
    operator: Operator,
    bound: f64,
    text: String,
}

impl FromStr for Assertion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.find(['<', '>', '=', '!']).and_then(|at| {
            let (metric, rest) = text.split_at(at);
            let (sign, operator) = Operator::ALL.into_iter().find(|(sign, _)| rest.starts_with(sign))?;
            Some((metric.trim(), operator, rest[sign.len()..].trim()))
        });
        let (metric, operator, bound) =
            parts.ok_or_else(|| format!("`{text}` compares nothing; write for example 'p99 < 5ms'"))?;
        let metric = Metric::named(metric)
            .ok_or_else(|| format!("`{metric}` is nothing to assert upon; there are {METRICS}"))?;
        let bound = metric.bound(bound)?;
        Ok(Assertion { metric, operator, bound, text: text.trim().to_owned() })
    }
}

impl fmt::Display for Assertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Assertion {
    /// What a run says to it.
    pub(crate) fn check(&self, report: &Report) -> Asserted {
        let found = self.metric.value(report);
        let holds = found.is_some_and(|found| self.operator.holds(found, self.bound));
        let found = found.map_or_else(|| "nothing measured".to_owned(), |found| self.metric.shown(found));
        Asserted { assertion: self.text.clone(), holds, found }
    }
}

impl Metric {
    fn named(name: &str) -> Option<Self> {
        let (times, point) = match name.strip_prefix("service_") {
            Some(point) => (Times::Service, point),
            None => (Times::Latency, name),
        };
        if let Some(point) = Point::named(point) {
            return Some(Metric::Time(times, point));
        }
        Some(match name {
            "rate" => Metric::Rate,
            "error_rate" => Metric::ErrorRate,
            "sent" => Metric::Count(Count::Sent),
            "answered" => Metric::Count(Count::Answered),
            "failed" => Metric::Count(Count::Failed),
            "errors" => Metric::Count(Count::Errors),
            "bytes" => Metric::Bytes(Bytes::Content),
            "bytes_in" => Metric::Bytes(Bytes::In),
            "bytes_out" => Metric::Bytes(Bytes::Out),
            _ => {
                let kind = FAILURES.into_iter().find(|failure| failure.label() == name).map(Count::Kind);
                let class = name.strip_suffix("xx").and_then(|class| class.parse().ok());
                let class = class.filter(|class| (1..=5).contains(class)).map(Count::Class);
                let status = name.parse().ok().filter(|status| (100..=599).contains(status));
                Metric::Count(kind.or(class).or(status.map(Count::Status))?)
            }
        })
    }

    /// The right side, in the unit of [`Metric::value`].
    fn bound(self, text: &str) -> Result<f64, String> {
        let number = |text: &str| {
            let number = text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
            number.ok_or_else(|| format!("`{text}` is not a number"))
        };
        match self {
            Metric::Time(..) => units::duration(text).map(|time| time.as_nanos() as f64),
            Metric::Bytes(_) => units::size(text).map(|size| size as f64),
            Metric::Count(_) => number(text),
            Metric::Rate => number(text.strip_suffix("/s").unwrap_or(text)),
            Metric::ErrorRate => match text.strip_suffix('%') {
                Some(share) => number(share.trim_end()),
                None => Err(format!("`{text}` needs its unit, for example `{text}%`")),
            },
        }
    }

    /// What the run has; `None` if it measured none of it.
    fn value(self, report: &Report) -> Option<f64> {
        let sum = |counts: &std::collections::BTreeMap<String, u64>, wanted: &dyn Fn(&str) -> bool| {
            counts.iter().filter(|(name, _)| wanted(name)).map(|(_, count)| count).sum::<u64>() as f64
        };
        Some(match self {
            Metric::Time(Times::Latency, point) => point.of(&report.latency)?,
            Metric::Time(Times::Service, point) => point.of(&report.service_time)?,
            Metric::Rate => report.answered_per_second,
            Metric::ErrorRate => {
                let ended = report.answered + report.failed;
                (ended > 0).then(|| report.errors_total as f64 / ended as f64 * 100.0)?
            }
            Metric::Bytes(Bytes::Content) => report.content_bytes as f64,
            Metric::Bytes(Bytes::In) => report.bytes_in as f64,
            Metric::Bytes(Bytes::Out) => report.bytes_out as f64,
            Metric::Count(count) => match count {
                Count::Sent => report.sent as f64,
                Count::Answered => report.answered as f64,
                Count::Failed => report.failed as f64,
                Count::Errors => report.errors_total as f64,
                Count::Status(status) => sum(&report.statuses, &|name| name == status.to_string()),
                Count::Class(class) => {
                    let class = class.to_string();
                    sum(&report.statuses, &|name| name.len() == 3 && name.starts_with(&class))
                }
                Count::Kind(failure) => sum(&report.errors, &|name| name == failure.label()),
            },
        })
    }

    /// A value for people.
    fn shown(self, value: f64) -> String {
        match self {
            Metric::Time(..) => Nanos(value as u64).to_string(),
            Metric::Count(_) => format!("{value:.0}"),
            Metric::Bytes(_) => format!("{value:.0} bytes"),
            Metric::Rate => format!("{value:.1}/s"),
            Metric::ErrorRate => format!("{value:.4} %"),
        }
    }
}

impl Point {
    fn named(name: &str) -> Option<Self> {
        match name {
            "mean" => Some(Point::Mean),
            "max" => Some(Point::Max),
            _ => {
                let percentile = name.strip_prefix('p')?.parse().ok()?;
                (0.0..=100.0).contains(&percentile).then_some(Point::Percentile(percentile))
            }
        }
    }

    fn of(self, spectrum: &Spectrum) -> Option<f64> {
        match self {
            Point::Percentile(percentile) => spectrum.percentile(percentile).map(|nanos| nanos as f64),
            Point::Max => spectrum.percentile(100.0).map(|nanos| nanos as f64),
            Point::Mean => (spectrum.count > 0).then_some(spectrum.mean_nanos),
        }
    }
}

/// What fails a run of which something was asserted: one line each, none if everything holds.
pub(crate) fn failures(report: &Report) -> Vec<String> {
    if report.assertions.is_empty() {
        return Vec::new();
    }
    let mut lines: Vec<String> = report
        .assertions
        .iter()
        .filter(|asserted| !asserted.holds)
        .map(|asserted| format!("assertion failed: {} (it is {})", asserted.assertion, asserted.found))
        .collect();
    if !report.certified.valid {
        let reasons = report.certified.reasons.join("; ");
        lines.push(format!("the run can't be asserted upon, it is not certified: {reasons}"));
    }
    lines
}

#[cfg(test)]
mod tests;
