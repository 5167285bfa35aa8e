//! One run of one side: what the load generator, the scheduler and the memory's account say of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use pinion_load::result::Report;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::measure::Measure;
use super::scenario::Scenario;
use super::side::Side;
use super::stage::{Layout, Setting, Stage, resident_bytes};
use crate::process::{Process, command_line};
use crate::{Problem, cpu};

/// The name of the generator's report in the gate's folder.
pub(crate) const REPORT: &str = "load.json";

/// How often memory is looked at while the load runs.
const POLL: Duration = Duration::from_millis(20);

/// How much longer than its load a client may take.
const CLIENT_PATIENCE: Duration = Duration::from_secs(60);

/// What one run found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    /// All measures but percentiles, which are computed from the histogram, and counted ones.
    pub(crate) values: BTreeMap<Measure, f64>,
    /// Latency from the due time, in nanoseconds.
    pub(crate) latency: Option<Histogram<u64>>,
    /// Requests that were answered.
    pub(crate) answered: u64,
    /// Requests without an answer, or with one of 400 and above.
    pub(crate) errors: u64,
    /// Why the load generator does not vouch for the latencies, if it does not.
    pub(crate) doubt: Option<String>,
}

/// Runs one side once under a scenario's load.
///
/// # Errors
/// A program did not come up, ended early or wrote what can't be read.
pub(crate) fn run(setting: &Setting<'_>, side: &Side, scenario: &Scenario) -> Result<Sample, Problem> {
    match (scenario.load.lockstep, scenario.load.rate) {
        (Some(in_flight), _) => lockstep(setting, side, scenario, in_flight),
        (None, rate) => open_loop(setting, side, scenario, rate.unwrap_or(0.0)),
    }
}

fn open_loop(setting: &Setting<'_>, side: &Side, scenario: &Scenario, rate: f64) -> Result<Sample, Problem> {
    let mut stage = Stage::start(setting, side, scenario, Layout::Apart)?;
    let mut sample = Sample::default();
    let idle = resident_bytes(&cpu::tree(stage.subject.id()));
    sample.values.insert(Measure::MemoryIdle, idle as f64);
    let report = setting.folder.join(REPORT);
    let url = format!("http://{}{}", stage.listen, scenario.path());
    let client = |duration: Duration| {
        let mut client = setting.on(&setting.other_cpus, setting.load);
        client.args(["--quiet", "--arrivals", "poisson", "--timeout", "10s", "--rate", &rate.to_string()]);
        client.args(["--connections", &scenario.load.connections.to_string()]);
        client.args(["--duration", &format!("{}ms", duration.as_millis()), "--json"]).arg(&report);
        client.arg(&url);
        Process::start("load", &mut client, setting.folder)
    };
    let warmup = client(scenario.load.warmup)?;
    attend(&mut stage, warmup, scenario, scenario.load.warmup, false)?;
    let processes = cpu::tree(stage.subject.id());
    let before = cpu::run_nanos(&processes);
    let load = client(scenario.load.measure)?;
    let loaded = attend(&mut stage, load, scenario, scenario.load.measure, true)?;
    let nanos = cpu::run_nanos(&processes).saturating_sub(before);
    sample.values.insert(Measure::MemoryLoaded, loaded as f64);
    take(&Report::read(&report).map_err(|e| e.to_string())?, &mut sample);
    if sample.answered == 0 {
        return Err(format!("{} answered no request\n{}", side.label, stage.subject.output()));
    }
    sample.values.insert(Measure::Cpu, nanos as f64 / sample.answered as f64);
    Ok(sample)
}

/// Waits for the client, disturbs meanwhile as the scenario says, and gives the most memory that was seen.
fn attend(
    stage: &mut Stage<'_>,
    mut load: Process,
    scenario: &Scenario,
    duration: Duration,
    disturb: bool,
) -> Result<u64, Problem> {
    let begin = Instant::now();
    let every = scenario.reload.as_ref().filter(|_| disturb).map(|reload| reload.every);
    let (mut most, mut reloads) = (0, 0_u32);
    loop {
        stage.subject.check()?;
        if load.has_succeeded()? {
            return Ok(most);
        }
        let since = begin.elapsed();
        if since > duration + CLIENT_PATIENCE {
            return Err("the load generator does not end".to_owned());
        }
        if let Some(every) = every
            && since >= every * (reloads + 1)
            && since < duration
        {
            reloads += 1;
            stage.configure(scenario, reloads)?;
            let process = i32::try_from(stage.subject.id()).ok().and_then(Pid::from_raw);
            // `taskset` becomes the program: its process is the one to tell.
            process
                .map_or(Ok(()), |process| kill_process(process, Signal::HUP))
                .map_err(|e| format!("can't signal: {e}"))?;
        }
        most = most.max(resident_bytes(&cpu::tree(stage.subject.id())));
        std::thread::sleep(POLL);
    }
}

fn lockstep(
    setting: &Setting<'_>,
    side: &Side,
    scenario: &Scenario,
    in_flight: u32,
) -> Result<Sample, Problem> {
    let stage = Stage::start(setting, side, scenario, Layout::Lockstep)?;
    let mut sample = Sample::default();
    let processes = cpu::tree(stage.subject.id());
    sample.values.insert(Measure::MemoryIdle, resident_bytes(&processes) as f64);
    let mut client = setting.batch(setting.bench);
    client.args(["lockstep", "--connect", &stage.listen.to_string(), "--path", &scenario.path()]);
    client.args(["--in-flight", &in_flight.to_string(), "--watch", &stage.subject.id().to_string()]);
    client.args(["--expect-bytes", &scenario.bytes.unwrap_or(0).to_string()]);
    client.args(["--warmup", &format!("{}ms", scenario.load.warmup.as_millis())]);
    client.args(["--measure", &format!("{}ms", scenario.load.measure.as_millis())]);
    let output = client.output().map_err(|e| format!("can't run {}: {e}", command_line(&client)))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{}: {}", side.label, words.trim()));
    }
    let report: Value = serde_json::from_slice(&output.stdout)
        .map_err(|e| format!("the client's report can't be read: {e}"))?;
    let number =
        |name: &str| report[name].as_f64().ok_or_else(|| format!("the client's report has no {name}"));
    let requests = number("requests")?;
    sample.answered = requests as u64;
    sample.values.insert(Measure::Cpu, number("cpu_nanos")? / requests);
    sample.values.insert(Measure::P50, number("round_trip_p50_nanos")?);
    sample.values.insert(Measure::MemoryLoaded, resident_bytes(&processes) as f64);
    Ok(sample)
}

/// What the generator's report says.
fn take(report: &Report, sample: &mut Sample) {
    sample.answered = report.answered;
    sample.errors = report.errors_total;
    if !report.certified.valid {
        sample.doubt = Some(report.certified.reasons.join("; "));
    }
    sample.latency = Some(report.latency.histogram());
}
