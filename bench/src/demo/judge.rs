//! Whether what the demo saw is what the configuration says.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::plan::{HEADER_VALUE, SERVICE, WEIGHTS};
use crate::Problem;

/// How far the split may be from its weights, in standard deviations of a fair draw: five are met by
/// chance once in two million runs.
const SPLIT_SIGMAS: f64 = 5.0;

/// What one load generator saw.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Requests that were to be answered.
    pub(super) requests: u64,
    /// Requests without an answer, by kind.
    pub(super) errors: BTreeMap<String, u64>,
    /// Answers by status code.
    pub(super) statuses: BTreeMap<String, u64>,
    /// Answers by who served them.
    pub(super) served_by: BTreeMap<String, u64>,
    /// Percentile, latency from the due time, service time; in nanoseconds.
    pub(super) spectrum: Vec<(String, f64, f64)>,
}

/// The percentiles that are shown.
const SHOWN: [&str; 6] = ["p50", "p90", "p99", "p99.9", "p99.99", "max"];

impl Seen {
    /// Reads a generator's report.
    pub(super) fn read(file: &Path) -> Result<Self, Problem> {
        let text = std::fs::read(file).map_err(|e| format!("can't read {}: {e}", file.display()))?;
        let report =
            serde_json::from_slice(&text).map_err(|e| format!("{} is not a report: {e}", file.display()))?;
        Ok(Self::of(&report))
    }

    fn of(report: &Value) -> Self {
        let counts = |value: &Value| -> BTreeMap<String, u64> {
            let entries = value.as_object().into_iter().flatten();
            entries.map(|(key, count)| (key.clone(), count.as_u64().unwrap_or(0))).collect()
        };
        let nanos = |kind: &str, percentile: &str| report[kind]["percentiles_nanos"][percentile].as_f64();
        let spectrum = SHOWN.iter().filter_map(|&percentile| {
            Some((percentile.to_owned(), nanos("latency", percentile)?, nanos("service_time", percentile)?))
        });
        let number = |name: &str| report[name].as_u64().unwrap_or(0);
        Seen {
            requests: number("answered") + number("failed"),
            errors: counts(&report["errors"]),
            statuses: counts(&report["statuses"]),
            served_by: counts(&report["counted"]["values"]),
            spectrum: spectrum.collect(),
        }
    }

    /// How many requests version `version` served.
    pub(super) fn by_version(&self, version: &str) -> u64 {
        self.served_by.get(&format!("{SERVICE}/{version}")).copied().unwrap_or(0)
    }
}

/// What is wrong; nothing if all is well.
pub(super) fn judge(plain: &Seen, jason: &Seen) -> Vec<Problem> {
    let mut complaints = Vec::new();
    for (who, seen) in [("plain", plain), (HEADER_VALUE, jason)] {
        if seen.requests == 0 {
            complaints.push(format!("no {who} request was sent"));
        }
        for (kind, count) in &seen.errors {
            complaints.push(format!("{count} {who} requests failed: {kind}"));
        }
        for (status, count) in seen.statuses.iter().filter(|(status, _)| *status != "200") {
            complaints.push(format!("{count} {who} requests were answered with {status}"));
        }
    }
    if jason.by_version("v2") != jason.requests {
        let (arrived, all) = (jason.by_version("v2"), jason.requests);
        complaints.push(format!("only {arrived} of {all} requests of {HEADER_VALUE} reached v2"));
    }
    if plain.by_version("v1") + plain.by_version("v2") != plain.requests {
        complaints.push("some plain requests reached neither v1 nor v2".to_owned());
    }
    let share = f64::from(WEIGHTS.1) / f64::from(WEIGHTS.0 + WEIGHTS.1);
    let (expected, allowed) = expectation(plain.requests, share);
    let light = plain.by_version("v2") as f64;
    if (light - expected).abs() > allowed {
        complaints.push(format!(
            "the split is off: v2 served {light} of {} plain requests, {expected:.0} ± {allowed:.0} were expected",
            plain.requests
        ));
    }
    complaints
}

/// The mean of a fair draw, and how far it may be missed.
fn expectation(requests: u64, share: f64) -> (f64, f64) {
    let count = requests as f64;
    (count * share, SPLIT_SIGMAS * (count * share * (1.0 - share)).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(v1: u64, v2: u64, status: &str) -> Seen {
        let counts = |pairs: &[(&str, u64)]| pairs.iter().map(|&(k, v)| (k.to_owned(), v)).collect();
        Seen {
            requests: v1 + v2,
            statuses: counts(&[(status, v1 + v2)]),
            served_by: counts(&[("my-service/v1", v1), ("my-service/v2", v2)]),
            ..Seen::default()
        }
    }

    #[test]
    fn what_the_weights_say_is_right() {
        assert_eq!(judge(&seen(4500, 500, "200"), &seen(0, 1000, "200")), Vec::<String>::new());
        // The allowance is 5 × sqrt(5000 × 0.1 × 0.9) = 106.
        assert!(judge(&seen(4400, 600, "200"), &seen(0, 1000, "200")).is_empty());
        assert_eq!(judge(&seen(4390, 610, "200"), &seen(0, 1000, "200")).len(), 1);
        assert_eq!(judge(&seen(5000, 0, "200"), &seen(0, 1000, "200")).len(), 1);
    }

    #[test]
    fn every_stray_or_failed_request_is_wrong() {
        assert_eq!(judge(&seen(4500, 500, "200"), &seen(1, 999, "200")).len(), 1);
        assert_eq!(judge(&seen(4500, 500, "503"), &seen(0, 1000, "200")).len(), 1);
        let mut failing = seen(4500, 500, "200");
        failing.requests += 1;
        failing.errors.insert("timeout".to_owned(), 1);
        let complaints = judge(&failing, &seen(0, 1000, "200"));
        assert!(complaints.iter().any(|c| c.contains("timeout")), "{complaints:?}");
        assert!(!judge(&Seen::default(), &Seen::default()).is_empty());
    }

    #[test]
    fn reports_are_read_field_by_field() {
        let report = serde_json::json!({
            "answered": 9, "failed": 1, "errors": {"reset": 1}, "statuses": {"200": 9},
            "counted": {"header": "x-served-by", "values": {"my-service/v2": 9}},
            "latency": {"percentiles_nanos": {"p99": 2000}},
            "service_time": {"percentiles_nanos": {"p99": 1000}},
        });
        let seen = Seen::of(&report);
        assert_eq!((seen.requests, seen.by_version("v2"), seen.errors["reset"]), (10, 9, 1));
        assert_eq!(seen.spectrum, [("p99".to_owned(), 2000.0, 1000.0)]);
    }
}
