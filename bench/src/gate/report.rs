//! The result of a gate, as it is kept: JSON for programs, one line of it for the record.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::measure::Measure;
use super::run::Runs;
use super::scenario::Scenario;
use super::verdict::{self, Figures, Finding, Verdict};
use crate::machine::Machine;

/// The form of the JSON; raised when a reader of the old one would misunderstand the new one.
pub(crate) const FORMAT: u32 = 1;

/// Everything about one gate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Report {
    pub(crate) format: u32,
    /// When it began: RFC 3339, UTC.
    pub(crate) started: String,
    pub(crate) machine: Machine,
    pub(crate) base: Described,
    pub(crate) candidate: Described,
    /// The chance that a gate without any difference says "worse" of anything.
    pub(crate) alpha: f64,
    /// How instructions were counted.
    pub(crate) counter: String,
    /// What a reader should know besides: what was planted, why there is an extra line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
    pub(crate) verdict: Verdict,
    pub(crate) scenarios: Vec<Outcome>,
}

/// A side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Described {
    pub(crate) label: String,
    /// The commit it was built from; `+` behind it: with changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) commit: Option<String>,
}

/// One scenario of a gate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Outcome {
    pub(crate) scenario: String,
    pub(crate) rounds: usize,
    /// Requests without a proper answer, and all requests, of base and of candidate.
    pub(crate) errors: [(u64, u64); 2],
    /// Runs whose latencies the load generator does not vouch for, and the first reason.
    pub(crate) doubted: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) doubt: Option<String>,
    /// Measures that this machine can't make.
    pub(crate) missing: Vec<Measure>,
    pub(crate) findings: Vec<Finding>,
}

impl Outcome {
    /// Whether the candidate loses requests where the base does not.
    pub(crate) fn has_new_errors(&self) -> bool {
        self.errors[0].0 == 0 && self.errors[1].0 > 0
    }
}

/// A/A pairs of earlier runs on this machine, by scenario and measure.
pub(crate) type Calibration = BTreeMap<(String, Measure), Vec<[f64; 2]>>;

/// Judges all scenarios of a gate together. `is_judged` says which measures count.
pub(crate) fn judge(
    runs: Vec<(Scenario, Runs)>,
    alpha: f64,
    is_judged: impl Fn(Measure) -> bool,
    calibration: &Calibration,
) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let (mut figures, mut places) = (Vec::new(), Vec::new());
    for (at, (scenario, runs)) in runs.into_iter().enumerate() {
        let mut findings = Vec::new();
        for (measure, counts) in &runs.counts {
            let threshold = scenario.judge[measure].0;
            findings.push(verdict::judge_counts(*measure, counts, threshold, is_judged(*measure)));
        }
        for (&measure, threshold) in scenario.judge.iter().filter(|(measure, _)| !measure.is_counted()) {
            let Some(mut series) = runs.series(measure) else { continue };
            if let Some(pairs) = calibration.get(&(scenario.name.clone(), measure))
                && series.merged == 1
            {
                series.same.extend(pairs);
            }
            figures.push(Figures { measure, threshold: threshold.0, judged: is_judged(measure), series });
            places.push(at);
        }
        let (doubted, doubt) = runs.doubts();
        outcomes.push(Outcome {
            scenario: scenario.name.clone(),
            rounds: runs.rounds(),
            errors: runs.errors(),
            doubted,
            doubt: doubt.map(str::to_owned),
            missing: runs.missing.clone(),
            findings,
        });
    }
    for (finding, at) in verdict::judge(figures, alpha).into_iter().zip(places) {
        outcomes[at].findings.push(finding);
    }
    for outcome in &mut outcomes {
        outcome.findings.sort_by_key(|finding| finding.measure);
    }
    outcomes
}

/// The verdict on the whole: the worst of what is judged.
pub(crate) fn overall(outcomes: &[Outcome]) -> Verdict {
    let judged = || outcomes.iter().flat_map(|outcome| &outcome.findings).filter(|finding| finding.judged);
    let any = |verdict| judged().any(|finding| finding.verdict == verdict);
    if any(Verdict::Worse) || outcomes.iter().any(Outcome::has_new_errors) {
        Verdict::Worse
    } else if any(Verdict::CantTell) || judged().next().is_none() {
        Verdict::CantTell
    } else if any(Verdict::Better) {
        Verdict::Better
    } else {
        Verdict::Same
    }
}

impl Report {
    /// One line of JSON, with five significant digits: more is noise, and the record is kept for ever.
    pub(crate) fn line(&self) -> String {
        let mut value = serde_json::to_value(self).unwrap_or_default();
        round(&mut value);
        value.to_string()
    }

    /// A line of a record.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(line: &str) -> Result<Self, String> {
        let report: Report = serde_json::from_str(line).map_err(|e| e.to_string())?;
        if report.format != FORMAT {
            return Err(format!("format {} is not {FORMAT}", report.format));
        }
        if report.verdict != overall(&report.scenarios) {
            return Err("the verdict is not the worst of its findings".to_owned());
        }
        Ok(report)
    }
}

fn round(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Number(number) if number.is_f64() => {
            let rounded = number.as_f64().and_then(|number| format!("{number:.4e}").parse::<f64>().ok());
            if let Some(rounded) = rounded {
                *value = rounded.into();
            }
        }
        serde_json::Value::Array(values) => values.iter_mut().for_each(round),
        serde_json::Value::Object(fields) => fields.values_mut().for_each(round),
        _ => {}
    }
}
