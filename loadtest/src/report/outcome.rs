//! A finished run, with everything that its outputs tell.

use std::time::Duration;

use super::{Ended, build, machine};
use crate::cli::{Arrivals, Driver, LoadOptions, StageOption};
use crate::generator::Finished;
use crate::measure::Measure;
use crate::plan::Plan;
use crate::result::{AgentResult, Certified, Machine, Report};

/// Headers whose values are secrets: reports are passed on.
const SECRET_HEADERS: [&str; 5] =
    ["authorization", "proxy-authorization", "cookie", "x-api-key", "x-auth-token"];

/// What was asked for, as far as a report tells it.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// `1000/s`, `max`.
    pub(crate) rate: String,
    /// Whether requests fell due by a schedule.
    pub(crate) is_open: bool,
    /// `constant`, `poisson`.
    pub(crate) arrivals: String,
    pub(crate) connections: u32,
    pub(crate) threads: u32,
    pub(crate) duration: Duration,
    pub(crate) warmup: Duration,
    /// Whether a number of requests could end it before its duration.
    pub(crate) is_limited: bool,
}

/// A finished run.
pub(crate) struct Outcome {
    /// How the program was called.
    pub(crate) command: String,
    pub(crate) target: String,
    /// The names of the targets that the measure tells apart.
    pub(crate) target_names: Vec<String>,
    pub(crate) load: Load,
    pub(crate) seed: u64,
    /// When sending began, RFC 3339.
    pub(crate) started: String,
    /// The response header whose values were counted.
    pub(crate) counted_header: Option<String>,
    pub(crate) machine: Machine,
    pub(crate) measure: Measure,
    pub(crate) certificate: Certified,
    pub(crate) ended: Ended,
    /// The parts of several machines.
    pub(crate) agents: Vec<AgentResult>,
}

impl Outcome {
    /// What this program, on this machine, came to.
    pub(crate) fn of(options: &LoadOptions, finished: Finished) -> Self {
        let Finished { plan, measure, certificate, driver, started, ended, samples: _ } = finished;
        let driver = match driver {
            Driver::Epoll => "epoll",
            Driver::IoUring | Driver::Auto => "io_uring",
        };
        Outcome {
            command: command_line(std::env::args()),
            target: target(options, plan.items.len()),
            target_names: plan.items.iter().map(|item| item.name.clone()).collect(),
            load: Load::of(options, &plan),
            seed: options.seed,
            started,
            counted_header: options.count_header.clone(),
            machine: machine::machine(driver),
            measure,
            certificate: Certified { valid: certificate.is_valid(), reasons: certificate.reasons },
            ended,
            agents: Vec::new(),
        }
    }

    /// How long the measured part took, in seconds: until the last answer, at least until the last due
    /// time.
    pub(super) fn seconds(&self) -> f64 {
        let end = (self.measure.last as f64 / 1e9 - self.load.warmup.as_secs_f64()).max(1e-9);
        let planned = self.load.duration.as_secs_f64();
        if self.ended != Ended::Planned || self.load.is_limited { end } else { end.max(planned) }
    }

    /// The report of it, without assertions.
    pub(crate) fn report(&self) -> Report {
        build::report(self)
    }
}

impl Load {
    fn of(options: &LoadOptions, plan: &Plan) -> Self {
        let (rate, arrivals) = rate(options);
        Load {
            rate,
            is_open: plan.timing.is_some(),
            arrivals,
            connections: options.connections,
            threads: plan.threads,
            duration: plan.duration(),
            warmup: options.warmup,
            is_limited: options.requests.is_some(),
        }
    }
}

/// The rate and the arrivals that were asked for.
pub(crate) fn rate(options: &LoadOptions) -> (String, String) {
    match (&options.replay, options.stage.as_slice()) {
        (Some(log), _) => (format!("replayed from {}", log.display()), "recorded".to_owned()),
        (None, _) if matches!(options.arrivals, Arrivals::Recorded(_)) => {
            ("recorded gaps".to_owned(), options.arrivals.to_string())
        }
        (None, []) => (options.rate.to_string(), options.arrivals.to_string()),
        (None, stages) => {
            let stage =
                |stage: &StageOption| format!("{}..{}/s for {:?}", stage.from, stage.to, stage.length);
            let stages: Vec<String> = stages.iter().map(stage).collect();
            (stages.join(", "), options.arrivals.to_string())
        }
    }
}

/// Where the requests went, to so many targets.
pub(crate) fn target(options: &LoadOptions, targets: usize) -> String {
    match (&options.url, &options.scenario) {
        (Some(url), _) => url.to_string(),
        (None, Some(scenario)) if targets > 1 => format!("{} ({targets} targets)", scenario.display()),
        (None, Some(scenario)) => scenario.display().to_string(),
        (None, None) => "nothing".to_owned(),
    }
}

/// The arguments as a shell takes them, without secrets.
pub(crate) fn command_line(arguments: impl Iterator<Item = String>) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut is_header = false;
    for (index, argument) in arguments.enumerate() {
        let word = if index == 0 {
            // Only the name: where it lies is no part of the run.
            argument.rsplit('/').next().unwrap_or_default().to_owned()
        } else if is_header {
            hidden(&argument, "")
        } else if let Some(header) = argument.strip_prefix("--header=") {
            hidden(header, "--header=")
        } else if let Some(header) = argument.strip_prefix("-H").filter(|header| !header.is_empty()) {
            hidden(header, "-H")
        } else {
            argument.clone()
        };
        is_header = argument == "-H" || argument == "--header";
        words.push(quoted(&word));
    }
    words.join(" ")
}

/// A header without its value if that is a secret.
fn hidden(header: &str, before: &str) -> String {
    match header.split_once(':') {
        Some((name, _)) if SECRET_HEADERS.contains(&name.trim().to_ascii_lowercase().as_str()) => {
            format!("{before}{name}: (hidden)")
        }
        _ => format!("{before}{header}"),
    }
}

/// A word as a POSIX shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_can_be_pasted_and_hold_no_secrets() {
        let check = |words: &[&str], expected: &str| {
            let words = ["/usr/bin/pinion-load"].iter().chain(words).map(|&word| word.to_owned());
            assert_eq!(command_line(words), format!("pinion-load {expected}"));
        };
        check(&["--rate", "5", "http://a/b?c=d"], "--rate 5 'http://a/b?c=d'");
        check(&["--assert", "p99 < 5ms"], "--assert 'p99 < 5ms'");
        check(&["--body", "it's", ""], "--body 'it'\\''s' ''");
        check(&["-H", "Authorization: Bearer x", "-H", "a: b"], "-H 'Authorization: (hidden)' -H 'a: b'");
        check(
            &["--header=cookie: x", "-Hx-api-key:y"],
            "'--header=cookie: (hidden)' '-Hx-api-key: (hidden)'",
        );
        check(&["--body", "cookie: x"], "--body 'cookie: x'");
    }
}
