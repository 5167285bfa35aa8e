//! Closed and open loops of `pinion-load`: throughput, latency, CPU time. In the section `transports` all programs
//! share one CPU, in turns; else the proxy is alone on its own.
//!
//! ```text
//!   client    ├─ connects, warms up ─┼──────────── measures ────────────┤
//!   CPU time                            ├────────── a window ────────┤
//! ```
//!
//! CPU time per request is the CPU time inside a window of the measured time, divided by the answers that the
//! client's intervals of 100 ms tell of for that window: connecting is not in it.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Problem;
use crate::counting;
use crate::cpu::{self, Ticks};
use crate::peers::address::Address;
use crate::peers::plan::{Case, Section};
use crate::peers::results::{Figure, Sample};
use crate::peers::stage::{Layout, Setting, Stage, number, report, run_client};
use crate::peers::subject::Subject;
use crate::peers::traffic::Traffic;

/// How much longer than in lockstep: a percentile needs many requests.
const MEASURE_TIMES: u32 = 4;

/// Least time to warm up: connecting 512 times is in it.
const WARMUP_MIN: Duration = Duration::from_millis(500);

/// Between the beginning of the measured time and the window's, and between their ends.
const MARGIN: Duration = Duration::from_millis(100);

/// Full handshakes for each that resumed, where all but the first ones should.
const RESUMED_SHARE: f64 = 0.05;

/// The load generator's name for requests that never found a free connection.
const UNSENT: &str = "unsent";

/// What the proxy had used at some time.
struct Account {
    at: Instant,
    nanos: u64,
    ticks: Ticks,
}

/// What a client found, and what the proxy used meanwhile.
struct Run {
    report: Value,
    /// When the client began to measure, but for the milliseconds that a program takes to start.
    began: Instant,
    before: Account,
    after: Account,
}

impl Account {
    fn of(processes: &[u32]) -> Self {
        Account { ticks: Ticks::of(processes), nanos: cpu::run_nanos(processes), at: Instant::now() }
    }
}

/// Runs the load of `case` once.
///
/// # Errors
/// A program failed, or a request did.
pub(super) fn flow(setting: &Setting<'_>, subject: Subject, case: Case) -> Result<Sample, Problem> {
    let stage = setting.start(subject, case.traffic, case.transport, layout(case))?;
    let warmup = setting.warmup.max(WARMUP_MIN);
    let measure = (setting.measure * MEASURE_TIMES).max(MARGIN * 4);
    let mut client = client(setting, &stage, case, warmup, measure);
    let processes = stage.processes();
    let began = Instant::now() + warmup;
    let (before, after, report) = thread::scope(|scope| {
        let client = scope.spawn(|| run_client(&mut client));
        thread::sleep(warmup + MARGIN);
        let before = Account::of(&processes);
        thread::sleep(measure - MARGIN * 2);
        let after = Account::of(&processes);
        (before, after, client.join())
    });
    let report = report.map_err(|_| "the thread of the client failed")??;
    sample(&Run { report, began, before, after }, case)
}

/// Counts system calls, those of connecting in the count, and all requests. Empty if this machine has no means to
/// count.
///
/// # Errors
/// A program failed.
pub(super) fn system_calls(setting: &Setting<'_>, subject: Subject, case: Case) -> Result<Sample, Problem> {
    let stage = setting.start(subject, case.traffic, case.transport, layout(case))?;
    let measure = setting.warmup.max(WARMUP_MIN);
    let client = || client(setting, &stage, case, Duration::ZERO, measure);
    let counted = counting::system_calls(&stage.processes(), stage.folder.path(), client)?;
    let Some((count, output)) = counted else { return Ok(Sample::default()) };
    let answered = number(&report(&output.stdout)?["answered"], "answered")?;
    Ok(Sample(vec![(Figure::SystemCalls, count as f64 / answered)]))
}

/// Where the programs run.
fn layout(case: Case) -> Layout {
    if case.section == Section::Transports { Layout::Lockstep } else { Layout::Apart }
}

fn client(setting: &Setting<'_>, stage: &Stage, case: Case, warmup: Duration, measure: Duration) -> Command {
    let mut client = Command::new(&setting.programs.load);
    let rate = if case.rate == 0 { "max".to_owned() } else { case.rate.to_string() };
    client.args(["--quiet", "--json", "-", "--timeout", "10s", "--rate", &rate]);
    client.args(["--connections", &case.connections.to_string()]);
    client.args(["--warmup", &format!("{}ms", warmup.as_millis())]);
    client.args(["--duration", &format!("{}ms", measure.as_millis())]);
    if let Address::Unix(path) = &stage.listen {
        client.arg("--unix").arg(path);
    }
    if case.section == Section::Transports {
        client.args(["--driver", "epoll", "--streams", &case.streams.to_string()]);
        let authority = setting.certificate.authority.display().to_string();
        client.args(case.traffic.options(case.bytes, &authority));
    }
    client.arg(case.traffic.url(&stage.listen.authority(), case.bytes));
    setting.client(&client, layout(case))
}

impl Run {
    /// Answers that came in the window: of an interval that lies only partly in it, that part. `None` if
    /// there were none.
    fn answered(&self) -> Option<f64> {
        let place = |at: Instant| at.saturating_duration_since(self.began).as_secs_f64();
        let (from, until) = (place(self.before.at), place(self.after.at));
        let length = self.report["interval_nanos"].as_f64()? / 1e9;
        let share = |interval: &Value| {
            let start = interval["start_seconds"].as_f64()?;
            let common = (start + length).min(until) - start.max(from);
            Some(interval["answered"].as_f64()? * (common / length).max(0.0))
        };
        let answered: f64 = self.report["intervals"].as_array()?.iter().filter_map(share).sum();
        (answered > 0.0).then_some(answered)
    }
}

/// The figures of a run.
fn sample(run: &Run, case: Case) -> Result<Sample, Problem> {
    let Run { report, before, after, .. } = run;
    let kinds = report["errors"].as_object();
    // What could not be sent in time says that the rate was more than what gets through: not certified.
    let unsent = kinds.and_then(|kinds| kinds.get(UNSENT)?.as_u64()).unwrap_or(0);
    if number(&report["failed"], "failed")? > unsent as f64 {
        return Err(format!("requests failed: {}", report["errors"]));
    }
    judge_answers(report, case.traffic)?;
    let per_second = number(&report["answered_per_second"], "answered_per_second")?;
    let wall = after.at.duration_since(before.at).as_secs_f64();
    let cpu_nanos = after.nanos.saturating_sub(before.nanos) as f64;
    let ticks = after.ticks.since(before.ticks);
    let percentile = |name: &str| number(&report["latency"]["percentiles_nanos"][name], name);
    let mut figures = vec![
        (Figure::PerSecond, per_second),
        (Figure::Cpu, cpu_nanos / run.answered().ok_or("no answer came while CPU time was measured")?),
        (Figure::UserTicks, ticks.user as f64),
        (Figure::SystemTicks, ticks.system as f64),
    ];
    if case.section == Section::Transports {
        return Ok(Sample(figures)); // Latencies of a shared CPU say nothing.
    }
    figures.extend([
        (Figure::CpuUsed, cpu_nanos / wall / 1e9 * 100.0),
        (Figure::P50, percentile("p50")?),
        (Figure::P99, percentile("p99")?),
        (Figure::P999, percentile("p99.9")?),
    ]);
    if case.section == Section::Latency {
        let certified = unsent == 0 && report["certified"]["valid"] != false;
        figures.push((Figure::Uncertified, if certified { 0.0 } else { 1.0 }));
    }
    Ok(Sample(figures))
}

/// Whether all answers were good, and handshakes of the kind that was wanted.
fn judge_answers(report: &Value, traffic: Traffic) -> Result<(), Problem> {
    let only = |name: &str, wanted: &str| {
        let found = report[name].as_object();
        if found.is_some_and(|found| found.keys().eq([wanted])) {
            return Ok(());
        }
        Err(format!("{name} other than {wanted}: {}", report[name]))
    };
    if traffic != Traffic::Tcp {
        only("statuses", "200")?;
    }
    if traffic == Traffic::Grpc {
        only("grpc_statuses", "0")?;
    }
    let count = |name: &str| number(&report["handshakes"][name], name);
    match traffic {
        Traffic::Handshakes | Traffic::HybridHandshakes if count("resumed")? > 0.0 => {
            Err("handshakes that were to be full resumed a session".to_owned())
        }
        // The first on each connection has nothing to resume.
        Traffic::ResumedHandshakes if count("full")? > count("resumed")? * RESUMED_SHARE => {
            Err(format!("too few handshakes resumed a session: {}", report["handshakes"]))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::address::Transport;
    use serde_json::json;

    fn case(section: Section, traffic: Traffic) -> Case {
        let (transport, streams) = (Transport::Tcp, 1);
        Case { section, bytes: 100, connections: 8, streams, traffic, transport, rate: 0 }
    }

    fn sample(run: &Run, section: Section) -> Result<Sample, Problem> {
        super::sample(run, case(section, Traffic::Http1))
    }

    /// A run whose window goes from 100 to 600 ms, in which the proxy used 100 ms.
    fn run(report: Value) -> Run {
        let began = Instant::now();
        let account = |millis, nanos| Account {
            at: began + Duration::from_millis(millis),
            nanos,
            ticks: Ticks { user: 10 + millis / 100, system: 20 + millis / 50 },
        };
        Run { report, began, before: account(100, 0), after: account(600, 100_000_000) }
    }

    fn report() -> Value {
        let interval = |start, answered| json!({ "start_seconds": start, "answered": answered });
        json!({
            "failed": 0, "errors": {}, "statuses": {"200": 4}, "answered_per_second": 1000.0,
            "latency": { "percentiles_nanos": { "p50": 1, "p99": 2, "p99.9": 3 } },
            "interval_nanos": 200_000_000,
            "intervals": [interval(0.0, 200), interval(0.2, 300), interval(0.4, 100), interval(0.6, 900)],
        })
    }

    fn value(sample: &Sample, figure: Figure) -> Option<f64> {
        sample.0.iter().find(|(found, _)| *found == figure).map(|(_, value)| *value)
    }

    #[test]
    fn cpu_time_is_divided_by_the_answers_of_the_window() {
        let found = sample(&run(report()), Section::Latency).unwrap();
        // Half of the first interval, all of the next two, nothing of the last: 500 answers in 100 ms of CPU.
        assert!((value(&found, Figure::Cpu).unwrap() - 200_000.0).abs() < 1.0, "{found:?}");
        assert_eq!(value(&found, Figure::CpuUsed), Some(20.0));
        assert_eq!(value(&found, Figure::UserTicks), Some(5.0));
        assert_eq!(value(&found, Figure::SystemTicks), Some(10.0));
        assert_eq!(value(&found, Figure::P999), Some(3.0));

        let mut empty = report();
        empty["intervals"] = json!([]);
        assert!(sample(&run(empty), Section::Latency).unwrap_err().contains("no answer"));
    }

    #[test]
    fn handshakes_are_of_the_kind_that_was_wanted() {
        let judge = |traffic, full: u64, resumed: u64| {
            let handshakes = json!({ "full": full, "resumed": resumed });
            judge_answers(&json!({ "statuses": {"200": 9}, "handshakes": handshakes }), traffic)
        };
        assert_eq!(judge(Traffic::Handshakes, 100, 0), Ok(()));
        assert!(judge(Traffic::HybridHandshakes, 99, 1).is_err());
        assert_eq!(judge(Traffic::ResumedHandshakes, 8, 1_000), Ok(()));
        assert!(judge(Traffic::ResumedHandshakes, 100, 900).unwrap_err().contains("too few"));
    }

    #[test]
    fn a_call_is_good_by_its_grpc_status() {
        let judge = |statuses: Value| {
            judge_answers(&json!({ "statuses": {"200": 9}, "grpc_statuses": statuses }), Traffic::Grpc)
        };
        assert_eq!(judge(json!({"0": 9})), Ok(()));
        assert!(judge(json!({"0": 8, "14": 1})).unwrap_err().contains("14"));
        assert!(judge(json!({})).is_err());
    }

    #[test]
    fn only_good_answers_are_a_sample() {
        let mut wrong = report();
        wrong["statuses"] = json!({"200": 3, "503": 1});
        assert!(sample(&run(wrong.clone()), Section::Saturation).unwrap_err().contains("503"));
        wrong["failed"] = json!(1);
        assert!(sample(&run(wrong), Section::Saturation).unwrap_err().contains("failed"));
    }

    #[test]
    fn a_rate_that_does_not_get_through_is_no_failure_but_not_certified() {
        let uncertified = |failed: u64, errors: Value, valid: bool| {
            let mut report = report();
            report["failed"] = json!(failed);
            report["errors"] = errors;
            report["certified"] = json!({ "valid": valid });
            Ok::<_, Problem>(value(&sample(&run(report), Section::Latency)?, Figure::Uncertified))
        };
        assert_eq!(uncertified(0, json!({}), true), Ok(Some(0.0)));
        assert_eq!(uncertified(0, json!({}), false), Ok(Some(1.0)));
        assert_eq!(uncertified(5, json!({"unsent": 5}), true), Ok(Some(1.0)));
        assert!(uncertified(5, json!({"unsent": 4, "reset": 1}), true).unwrap_err().contains("reset"));
    }
}
