//! Closed and open loops of `pinion-load`, with the proxy alone on its CPU: throughput, latency, CPU time.
//!
//! ```text
//!   client    ├─ connects, warms up ─┼──────────── measures ────────────┤
//!   CPU time                            ├────────── a window ────────┤
//! ```
//!
//! CPU time per request is the CPU time per second inside a window of the measured time, divided by the
//! requests per second: connecting is not in it.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Problem;
use crate::cpu::{self, Ticks};
use crate::peers::address::Address;
use crate::peers::plan::{Case, Section};
use crate::peers::results::{Figure, Sample};
use crate::peers::stage::{Layout, Setting, Stage, number, run_client};
use crate::peers::subject::Subject;

/// How much longer than in lockstep: a percentile needs many requests.
const MEASURE_TIMES: u32 = 4;

/// Least time to warm up: connecting 512 times is in it.
const WARMUP_MIN: Duration = Duration::from_millis(500);

/// Between the beginning of the measured time and the window's, and between their ends.
const MARGIN: Duration = Duration::from_millis(100);

/// What the proxy had used at some time.
struct Account {
    at: Instant,
    nanos: u64,
    ticks: Ticks,
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
    let stage = setting.start(subject, case.transport, Layout::Apart)?;
    let warmup = setting.warmup.max(WARMUP_MIN);
    let measure = (setting.measure * MEASURE_TIMES).max(MARGIN * 4);
    let mut client = client(setting, &stage, case, warmup, measure);
    let processes = stage.processes();
    let (before, after, report) = thread::scope(|scope| {
        let client = scope.spawn(|| run_client(&mut client));
        thread::sleep(warmup + MARGIN);
        let before = Account::of(&processes);
        thread::sleep(measure - MARGIN * 2);
        let after = Account::of(&processes);
        (before, after, client.join())
    });
    let report = report.map_err(|_| "the thread of the client failed")??;
    sample(&report, &before, &after, case.section)
}

fn client(setting: &Setting<'_>, stage: &Stage, case: Case, warmup: Duration, measure: Duration) -> Command {
    let mut client = Command::new(&setting.programs.load);
    let rate = if case.rate == 0 { "max".to_owned() } else { case.rate.to_string() };
    client.args(["--quiet", "--json", "-", "--timeout", "10s", "--rate", &rate]);
    client.args(["--connections", &case.connections.to_string()]);
    client.args(["--warmup", &format!("{}ms", warmup.as_millis())]);
    client.args(["--duration", &format!("{}ms", (warmup + measure).as_millis())]);
    if let Address::Unix(path) = &stage.listen {
        client.arg("--unix").arg(path);
    }
    client.arg(format!("http://{}/bytes/{}", stage.listen.authority(), case.bytes));
    setting.client(&client, Layout::Apart)
}

/// The figures of a run.
fn sample(report: &Value, before: &Account, after: &Account, section: Section) -> Result<Sample, Problem> {
    if report["failed"] != 0 {
        return Err(format!("requests failed: {}", report["errors"]));
    }
    let statuses = report["statuses"].as_object();
    if !statuses.is_some_and(|statuses| statuses.keys().eq(["200"])) {
        return Err(format!("answers other than 200: {}", report["statuses"]));
    }
    let per_second = number(&report["answered_per_second"], "answered_per_second")?;
    let wall = after.at.duration_since(before.at).as_secs_f64();
    let cpu_nanos = after.nanos.saturating_sub(before.nanos) as f64;
    let ticks = after.ticks.since(before.ticks);
    let percentile = |name: &str| number(&report["latency"]["percentiles_nanos"][name], name);
    let mut figures = vec![
        (Figure::PerSecond, per_second),
        (Figure::Cpu, cpu_nanos / wall / per_second),
        (Figure::CpuUsed, cpu_nanos / wall / 1e9 * 100.0),
        (Figure::UserTicks, ticks.user as f64),
        (Figure::SystemTicks, ticks.system as f64),
        (Figure::P50, percentile("p50")?),
        (Figure::P99, percentile("p99")?),
        (Figure::P999, percentile("p99.9")?),
    ];
    if section == Section::Latency
        && let Some(valid) = report["certified"]["valid"].as_bool()
    {
        figures.push((Figure::Uncertified, if valid { 0.0 } else { 1.0 }));
    }
    Ok(Sample(figures))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn cpu_time_is_divided_by_the_requests_of_the_window() {
        let at = Instant::now();
        let account = |millis, nanos| Account {
            at: at + Duration::from_millis(millis),
            nanos,
            ticks: Ticks { user: 10 + millis / 100, system: 20 + millis / 50 },
        };
        let mut report = json!({
            "failed": 0, "errors": {}, "statuses": {"200": 4}, "answered_per_second": 1000.0,
            "certified": { "valid": false },
            "latency": { "percentiles_nanos": { "p50": 1, "p99": 2, "p99.9": 3 } },
        });
        let (before, after) = (account(0, 0), account(500, 100_000_000));
        let found = sample(&report, &before, &after, Section::Latency).unwrap();
        let value = |figure| found.0.iter().find(|(f, _)| *f == figure).map(|(_, value)| *value);
        // A tenth of a second of CPU in half a second, in which 500 requests were answered.
        assert_eq!(value(Figure::Cpu), Some(200_000.0));
        assert_eq!(value(Figure::CpuUsed), Some(20.0));
        assert_eq!((value(Figure::UserTicks), value(Figure::SystemTicks)), (Some(5.0), Some(10.0)));
        assert_eq!((value(Figure::P999), value(Figure::Uncertified)), (Some(3.0), Some(1.0)));

        report["statuses"] = json!({"200": 3, "503": 1});
        assert!(sample(&report, &before, &after, Section::Latency).unwrap_err().contains("503"));
        report["failed"] = json!(1);
        assert!(sample(&report, &before, &after, Section::Latency).is_err());
    }
}
