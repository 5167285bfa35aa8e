//! Finds the knee: the highest rate at which a condition on the latency holds.
//!
//! ```text
//! rate ─ double while it holds, halve while it does not ─▶ one that holds, one that does not
//!      ─ halve the distance until it is small ─▶ try the best one again ─▶ knee
//! ```
//!
//! A rate holds if the percentile is within its limit, every request was answered, and the generator kept up.
//! A generator that did not keep up ends the search: what is beyond says nothing about the server.

use std::fmt::{self, Write as _};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use crate::cli::{Arrivals, LoadOptions, Problem, Rate};
use crate::generator::{Conditions, Finished, run_once};
use crate::plot::{self, Axis, Chart, Scale, Series, Unit};
use crate::report::{show, write_file};
use crate::scenario::file::Scenario;
use crate::units::{self, Nanos};

/// The search ends when the rates that hold and do not are this close, as a share of the one that holds.
const CLOSE: f64 = 0.05;

/// The most trials of a search.
const TRIALS_MAX: usize = 40;

/// What has to hold: a percentile of the latency below a limit, as in `p99 < 10ms`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Knee {
    percentile: f64,
    /// Nanoseconds.
    limit: u64,
}

impl FromStr for Knee {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a condition such as 'p99 < 10ms'");
        let (name, limit) = text.split_once('<').ok_or_else(wrong)?;
        let number = name.trim().strip_prefix('p').ok_or_else(wrong)?;
        let percentile: f64 = number.parse().map_err(|_| wrong())?;
        if !(percentile > 0.0 && percentile < 100.0) {
            return Err(wrong());
        }
        let limit = crate::clock::nanos(units::duration(limit.trim())?);
        Ok(Knee { percentile, limit })
    }
}

impl fmt::Display for Knee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{} < {}", self.percentile, Nanos(self.limit))
    }
}

/// What became of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Holds,
    TooSlow,
    Failures,
    /// The generator did not keep up.
    NotCertified,
}

/// One rate that was tried.
#[derive(Clone, Debug, Serialize)]
struct Trial {
    rate: f64,
    answered_per_second: f64,
    p50_nanos: u64,
    p99_nanos: u64,
    p999_nanos: u64,
    /// Of the percentile that the condition is about.
    value_nanos: u64,
    failed: u64,
    verdict: Verdict,
}

impl Trial {
    fn of(rate: f64, knee: Knee, finished: &Finished) -> Self {
        let measure = &finished.measure;
        let at = |percentile| measure.latency.value_at_percentile(percentile);
        let value = at(knee.percentile);
        let verdict = if !finished.certificate.is_valid() {
            Verdict::NotCertified
        } else if measure.failed() > 0 || measure.answered() == 0 {
            Verdict::Failures
        } else if value >= knee.limit {
            Verdict::TooSlow
        } else {
            Verdict::Holds
        };
        Trial {
            rate,
            answered_per_second: measure.answered() as f64 / finished.plan.duration().as_secs_f64(),
            p50_nanos: at(50.0),
            p99_nanos: at(99.0),
            p999_nanos: at(99.9),
            value_nanos: value,
            failed: measure.failed(),
            verdict,
        }
    }
}

/// The next rate of a search, by what is known: the highest that holds, and the lowest that does not.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Search {
    holds: Option<f64>,
    breaks: Option<f64>,
    next: f64,
}

impl Search {
    fn from(rate: f64) -> Self {
        Search { holds: None, breaks: None, next: rate }
    }

    /// Notes what became of the rate that was to be tried; says whether the search goes on.
    fn note(&mut self, held: bool) -> bool {
        if held {
            self.holds = Some(self.next);
        } else {
            self.breaks = Some(self.next);
        }
        match (self.holds, self.breaks) {
            (Some(holds), Some(breaks)) if breaks - holds <= CLOSE * holds => return false,
            (Some(holds), Some(breaks)) => self.next = (holds + breaks) / 2.0,
            (Some(holds), None) => self.next = holds * 2.0,
            (None, Some(breaks)) => self.next = breaks / 2.0,
            (None, None) => {}
        }
        // Below one request a second there is nothing to find.
        self.next >= 1.0
    }
}

/// Searches and reports.
///
/// # Errors
/// A trial could not be run, or no rate holds.
pub(crate) fn find(
    options: &LoadOptions,
    scenario: Option<&Scenario>,
    knee: &Knee,
    stop: &Arc<AtomicBool>,
) -> Result<(), Problem> {
    let Rate::PerSecond(first) = options.rate else {
        return Err(Problem::Usage("--find-knee starts from one --rate".to_owned()));
    };
    if matches!(options.arrivals, Arrivals::Recorded(_)) {
        return Err(Problem::Usage(
            "--find-knee changes the rate; recorded --arrivals have their own".to_owned(),
        ));
    }
    let mut trials: Vec<Trial> = Vec::new();
    let mut try_rate = |rate: f64| -> Result<Verdict, Problem> {
        let mut options = options.clone();
        options.rate = Rate::PerSecond(rate);
        if options.warmup.is_zero() {
            options.warmup = options.duration / 10;
        }
        let finished = run_once(&options, scenario, &Conditions::alone(stop))?;
        if stop.load(Ordering::Relaxed) {
            // A part of a trial tells nothing; what was found before is reported.
            return Ok(Verdict::NotCertified);
        }
        let trial = Trial::of(rate, *knee, &finished);
        if !options.report.quiet {
            eprintln!("{}", line(&trial, *knee));
        }
        let verdict = trial.verdict;
        trials.push(trial);
        Ok(verdict)
    };
    let mut search = Search::from(first);
    let mut limit = None;
    for _ in 0..TRIALS_MAX {
        let rate = search.next;
        let verdict = try_rate(rate)?;
        if stop.load(Ordering::Relaxed) {
            break;
        }
        if verdict == Verdict::NotCertified {
            // Once more: a moment's disturbance is no limit.
            let again = try_rate(rate)?;
            if again == Verdict::NotCertified && !stop.load(Ordering::Relaxed) {
                limit = Some(rate);
                search.breaks = Some(rate);
                break;
            }
        }
        let held = trials_verdict(&mut try_rate, rate, verdict)?;
        if stop.load(Ordering::Relaxed) || !search.note(held) {
            break;
        }
    }
    let report = Report {
        condition: knee.to_string(),
        knee_per_second: search.holds,
        generator_limit: limit,
        interrupted: stop.load(Ordering::Relaxed),
        trials,
    };
    write(options, knee, &report)
}

/// A rate that breaks the condition is tried a second time: it holds if it holds then.
fn trials_verdict(
    try_rate: &mut impl FnMut(f64) -> Result<Verdict, Problem>,
    rate: f64,
    verdict: Verdict,
) -> Result<bool, Problem> {
    match verdict {
        Verdict::Holds => Ok(true),
        Verdict::TooSlow | Verdict::Failures | Verdict::NotCertified => {
            try_rate(rate).map(|again| again == Verdict::Holds)
        }
    }
}

#[derive(Serialize)]
struct Report {
    condition: String,
    /// The highest rate that held.
    knee_per_second: Option<f64>,
    /// The rate at which the generator did not keep up, if that ended the search.
    generator_limit: Option<f64>,
    /// Whether a signal ended the search: a higher rate may hold.
    interrupted: bool,
    trials: Vec<Trial>,
}

fn line(trial: &Trial, knee: Knee) -> String {
    let verdict = match trial.verdict {
        Verdict::Holds => "holds",
        Verdict::TooSlow => "too slow",
        Verdict::Failures => "failures",
        Verdict::NotCertified => "not certified: the generator did not keep up",
    };
    format!(
        "{:>10.1}/s  answered {:>10.1}/s  p50 {:>8}  p99 {:>8}  p{} {:>8}  {verdict}",
        trial.rate,
        trial.answered_per_second,
        Nanos(trial.p50_nanos).to_string(),
        Nanos(trial.p99_nanos).to_string(),
        knee.percentile,
        Nanos(trial.value_nanos).to_string(),
    )
}

fn write(options: &LoadOptions, knee: &Knee, report: &Report) -> Result<(), Problem> {
    let mut sorted: Vec<&Trial> = report.trials.iter().collect();
    sorted.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    let mut out = format!("condition  {}\n", report.condition);
    for trial in &sorted {
        // INVARIANT: writing to a string does not fail.
        let _ = writeln!(out, "{}", line(trial, *knee));
    }
    if let Some(limit) = report.generator_limit {
        let _ = writeln!(out, "the generator did not keep up at {limit:.1}/s: the search ended there");
    }
    if report.interrupted {
        let _ = writeln!(out, "the search was interrupted: what follows is what was known by then");
    }
    let _ = match report.knee_per_second {
        Some(rate) => writeln!(out, "knee  {rate:.1}/s"),
        None => writeln!(out, "knee  none: no rate held"),
    };
    // INVARIANT: numbers, strings and lists are always JSON.
    let json = serde_json::to_string_pretty(report).unwrap_or_default() + "\n";
    let (shown, json_file) = match &options.report.json {
        Some(path) if path.as_os_str() == "-" => (&json, None),
        path => (&out, path.as_ref()),
    };
    // One output that can't be written keeps no other one back.
    let mut written = vec![show(shown)];
    written.extend(json_file.map(|path| write_file(path, json.as_bytes())));
    let html = options.report.html.as_ref();
    written.extend(html.map(|path| write_file(path, page(knee, &sorted, &out).as_bytes())));
    let mut failures: Vec<String> = written
        .into_iter()
        .filter_map(Result::err)
        .map(|error| format!("can't write the report: {error}"))
        .collect();
    if report.knee_per_second.is_none() {
        failures.push("no rate held the condition".to_owned());
    }
    if failures.is_empty() { Ok(()) } else { Err(Problem::Failed(failures.join("\npinion-load: "))) }
}

/// The curve of latency over rate.
fn page(knee: &Knee, trials: &[&Trial], text: &str) -> String {
    let series = |name: &str, value: fn(&Trial) -> u64| Series {
        name: name.to_owned(),
        points: trials.iter().map(|trial| (trial.rate, value(trial) as f64)).collect(),
        band: Vec::new(),
    };
    let ends = [trials.first(), trials.last()].map(|trial| trial.map_or(0.0, |trial| trial.rate));
    let chart = Chart {
        title: "Latency over rate".to_owned(),
        x: Axis { label: "requests per second".to_owned(), scale: Scale::Linear, unit: Unit::PerSecond },
        y: Axis { label: "latency from the due time".to_owned(), scale: Scale::Log, unit: Unit::Nanos },
        series: vec![
            series("p50", |trial| trial.p50_nanos),
            series("p99", |trial| trial.p99_nanos),
            series("p99.9", |trial| trial.p999_nanos),
            Series {
                name: format!("limit: {knee}"),
                points: ends.map(|rate| (rate, knee.limit as f64)).to_vec(),
                band: Vec::new(),
            },
        ],
        marks: true,
        step: false,
    };
    let table = format!("<pre>{}</pre>", plot::escape(text));
    plot::page("pinion-load: the knee", &[("Latency over rate", chart.svg()), ("Trials", table)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_percentiles_below_a_limit() {
        assert_eq!("p99<10ms".parse(), Ok(Knee { percentile: 99.0, limit: 10_000_000 }));
        assert_eq!("p99.9 < 1s".parse(), Ok(Knee { percentile: 99.9, limit: 1_000_000_000 }));
        for wrong in ["", "p99", "99<1ms", "p100<1ms", "p99<1", "p99>1ms"] {
            assert!(wrong.parse::<Knee>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_search_closes_in_on_the_knee_from_either_side() {
        for (first, knee) in [(1000.0, 7_300.0), (100_000.0, 7_300.0), (7_300.0, 7_300.0), (3.0, 90.0)] {
            let mut search = Search::from(first);
            let mut trials = 1;
            while search.note(search.next <= knee) {
                trials += 1;
            }
            let found = search.holds.unwrap();
            assert!(found <= knee && found >= knee * 0.94, "{first}: {found}");
            assert!(trials < 20, "{trials}");
        }
        // Nothing holds: it ends.
        let mut search = Search::from(1000.0);
        while search.note(false) {}
        assert_eq!(search.holds, None);
    }
}
