//! The counted measures: system calls and instructions per request, one request at a time.
//!
//! Each is the cost of many requests less the cost of fewer, divided by the difference: what is left is
//! neither the program's start nor that of a connection. One request at a time, all programs in turns on
//! one CPU, client and origin with the lowest priority: so the program does the same for each, whatever
//! else the machine is doing. Otherwise it is chance whether an answer is there before the program looks,
//! and a busy machine makes a count vary by percents.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::measure::Measure;
use super::scenario::{Count, Scenario};
use super::side::Side;
use super::stage::{Layout, Setting, Stage};
use crate::process::command_line;
use crate::{Problem, counting, cpu};

/// How much longer everything may take under callgrind.
const CALLGRIND_SLOWDOWN: u32 = 60;

/// How long a program may take to end under callgrind.
const END_PATIENCE: Duration = Duration::from_secs(60);

/// How instructions are counted on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counter {
    /// By the hardware.
    Hardware,
    /// By running under callgrind.
    Callgrind,
    /// Not at all.
    Missing,
}

impl Counter {
    /// How reports call it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Counter::Hardware => "the hardware's counter",
            Counter::Callgrind => "callgrind",
            Counter::Missing => "not counted",
        }
    }

    /// What this machine has.
    pub(crate) fn detect() -> Self {
        if counting::has_instructions() {
            return Counter::Hardware;
        }
        let valgrind = Command::new("valgrind").arg("--version").output();
        if valgrind.is_ok_and(|output| output.status.success()) {
            Counter::Callgrind
        } else {
            Counter::Missing
        }
    }
}

/// Counts one measure once. `None` if this machine has no means to.
///
/// # Errors
/// A program failed.
pub(crate) fn per_request(
    setting: &Setting<'_>,
    counter: Counter,
    side: &Side,
    scenario: &Scenario,
    count: &Count,
    measure: Measure,
) -> Result<Option<f64>, Problem> {
    let mut costs = [0.0; 2];
    match (measure, counter) {
        (Measure::Instructions, Counter::Missing) => return Ok(None),
        (Measure::Instructions, Counter::Callgrind) => {
            for (cost, requests) in costs.iter_mut().zip(count.requests) {
                *cost = under_callgrind(setting, side, scenario, requests)?;
            }
        }
        _ => {
            let stage = Stage::start(setting, side, scenario, Layout::Counting(&[], 1))?;
            let processes = cpu::tree(stage.subject.id());
            // The first connection of all sets things up that stay.
            client(setting, &stage, scenario, count.requests[0]).and_then(succeeded)?;
            for (cost, requests) in costs.iter_mut().zip(count.requests) {
                let client = || client_command(setting, &stage, scenario, requests);
                let counted = if measure == Measure::Instructions {
                    counting::instructions(&processes, setting.folder, &client())
                } else {
                    counting::system_calls(&processes, setting.folder, client)?
                };
                let Some((counted, _)) = counted else { return Ok(None) };
                *cost = counted as f64;
            }
        }
    }
    let [fewer, more] = count.requests;
    Ok(Some((costs[1] - costs[0]) / (more - fewer) as f64))
}

/// All instructions of a program that serves so many requests, from its start to its end.
fn under_callgrind(
    setting: &Setting<'_>,
    side: &Side,
    scenario: &Scenario,
    requests: u64,
) -> Result<f64, Problem> {
    let out = setting.folder.join("callgrind.%p");
    let tool = [
        "valgrind".to_owned(),
        "--tool=callgrind".to_owned(),
        format!("--callgrind-out-file={}", out.display()),
    ];
    let stage = Stage::start(setting, side, scenario, Layout::Counting(&tool, CALLGRIND_SLOWDOWN))?;
    let process = stage.subject.id();
    client(setting, &stage, scenario, requests).and_then(succeeded)?;
    // Its status is its own business; what counts is what callgrind wrote.
    let _ = stage.subject.stop(END_PATIENCE);
    let out: PathBuf = setting.folder.join(format!("callgrind.{process}"));
    let text =
        std::fs::read_to_string(&out).map_err(|e| format!("callgrind wrote no {}: {e}", out.display()))?;
    let _ = std::fs::remove_file(&out);
    total(&text).ok_or_else(|| "callgrind's file has no total".to_owned())
}

/// The sum in a callgrind file: `summary:` or, in others, `totals:`.
fn total(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|l| l.strip_prefix("summary:").or_else(|| l.strip_prefix("totals:")))?;
    line.split_whitespace().next()?.parse().ok()
}

/// A closed loop on one connection.
fn client_command(setting: &Setting<'_>, stage: &Stage<'_>, scenario: &Scenario, requests: u64) -> Command {
    let mut client = setting.yielding(setting.load);
    client.args(["--quiet", "--rate", "max", "--connections", "1", "--duration", "10m", "--timeout", "60s"]);
    client.args(["--requests", &requests.to_string(), "--json", "-"]);
    client.arg(format!("http://{}{}", stage.listen, scenario.path()));
    client
}

fn client(
    setting: &Setting<'_>,
    stage: &Stage<'_>,
    scenario: &Scenario,
    requests: u64,
) -> Result<(u64, String), Problem> {
    let mut client = client_command(setting, stage, scenario, requests);
    let output = client.output().map_err(|e| format!("can't run {}: {e}", command_line(&client)))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    Ok((requests, String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// Counting means something only if each request was answered, and properly.
fn succeeded((requests, report): (u64, String)) -> Result<(), Problem> {
    let report: serde_json::Value =
        serde_json::from_str(&report).map_err(|e| format!("the client's report can't be read: {e}"))?;
    if report["answered"] == requests && report["statuses"]["200"] == requests {
        return Ok(());
    }
    Err(format!("not all of {requests} requests were answered with 200: {}", report["statuses"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callgrinds_total_is_found() {
        assert_eq!(total("events: Ir\nfn=(1) main\n16 400\nsummary: 2043123\n\n"), Some(2_043_123.0));
        assert_eq!(total("totals: 7\n"), Some(7.0));
        assert_eq!(total("events: Ir\n"), None);
    }

    #[test]
    fn a_count_needs_every_answer() {
        let report =
            |answered: u64| format!("{{\"answered\": {answered}, \"statuses\": {{\"200\": {answered}}}}}");
        assert!(succeeded((10, report(10))).is_ok());
        assert!(succeeded((10, report(9))).is_err());
        assert!(succeeded((10, "{\"answered\": 10, \"statuses\": {\"503\": 10}}".to_owned())).is_err());
    }
}
