//! The comparison with other proxies: CPU time, system calls, throughput, latency and memory, in turns.
//!
//! ```text
//! find what is installed ─▶ check that each answers rightly ─▶ for each case: for each repeat:
//!     pinion, nginx, HAProxy, Envoy, …, floor, then floor, …, HAProxy, nginx, pinion
//!     lockstep             client ⇄ proxy ⇄ origin take turns on one CPU      (plan, measure/step)
//!     saturation, latency  the proxy alone on one CPU, the rest on another    (measure/flow)
//!     memory               idle connections                                   (measure/idle)
//!     transports           client ⇄ proxy ⇄ origin on one CPU, by what is spoken (traffic, measure/flow)
//! ```
//!
//! Invariants: everything is started afresh for each measurement; subjects are measured in turns, there and
//! back; a subject that does less than the others is not compared.

mod address;
mod answers;
mod certificate;
pub(crate) mod floor;
mod http;
pub(crate) mod lockstep;
mod measure;
mod memory;
mod plan;
mod report;
mod results;
mod stage;
mod subject;
mod targets;
mod traffic;
mod turns;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::cpu;
use crate::machine::Machine;
use crate::programs::Programs;
use crate::signals::Stop;
use crate::{Problem, units};
use address::Transport;
use certificate::Certificate;
use plan::{Case, Section};
use report::{Described, Setup};
use results::Results;
use stage::Setting;
use subject::Subject;
use subject::find;
use traffic::Traffic;
use turns::Turns;

/// Repeats of the memory measurement, which hardly varies.
const MEMORY_REPEATS: u32 = 3;

/// Options of the comparison.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Build Pinion's programs first
    #[arg(long)]
    build: bool,
    /// The proxies to compare; all that are found if none is named
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAMES")]
    subjects: Vec<Subject>,
    #[command(flatten)]
    find: find::Places,
    #[command(flatten)]
    plan: plan::Choice,
    /// How often each proxy is measured in each case
    #[arg(long, default_value_t = 6, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=50))]
    repeats: u32,
    /// Before each measurement
    #[arg(long, default_value = "200ms", value_name = "D", value_parser = units::duration)]
    warmup: Duration,
    /// Of each measurement in lockstep; the others take four times as long
    #[arg(long, default_value = "600ms", value_name = "D", value_parser = units::duration)]
    measure: Duration,
    /// Stop measuring after this long and report what there is
    #[arg(long, default_value = "3h", value_name = "D", value_parser = units::duration)]
    time_limit: Duration,
    /// The proxy's CPU, which client and upstream share in lockstep [default: the first that may be used]
    #[arg(long, value_name = "CPU")]
    cpu: Option<u32>,
    /// The CPU of client and upstream where the proxy is alone [default: the second]
    #[arg(long, value_name = "CPU")]
    other_cpu: Option<u32>,
    /// Write everything that was found as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page with plots
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Measures, prints tables, and writes the files that are wanted.
///
/// # Errors
/// A program is missing or fails, or some measurements did.
pub(crate) fn run(options: &Options) -> Result<(), Problem> {
    let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let programs = Programs::find(options.build)?;
    let found = find::find(&options.subjects, &options.find, &programs)?;
    let cases = options.plan.cases();
    raise_descriptor_limit();
    let (cpu, other_cpu) = cpus(options);
    let stop = Stop::watch()?;
    let folder = tempfile::tempdir().map_err(|e| format!("no temporary folder: {e}"))?;
    let certificate = Certificate::make(folder.path())?;
    let setting = Setting {
        programs: &programs,
        found: &found,
        certificate: &certificate,
        folder: folder.path(),
        cpu,
        other_cpu,
        warmup: options.warmup,
        measure: options.measure,
    };
    let setup = setup(&setting, started)?;
    let deadline = Instant::now() + options.time_limit;
    let over = || stop.is_set() || Instant::now() >= deadline;
    let results = measure_all(&setting, &cases, options.repeats, &over);
    for table in report::tables::all(&results) {
        print!("{}", table.markdown());
    }
    print!("{}", report::tables::setup(&setup));
    if results.ended_early {
        println!("\nThe measurement was ended early: rows with fewer runs say so.");
    }
    write(options.json.as_deref(), || report::json::render(&results, &setup))?;
    write(options.html.as_deref(), || report::page::render(&results, &setup))?;
    match results.failures.as_slice() {
        [] => Ok(()),
        failures => Err(format!("some measurements failed:\n{}", failures.join("\n"))),
    }
}

fn setup(setting: &Setting<'_>, started: u64) -> Result<Setup, Problem> {
    let describe = |(&subject, installed): (&Subject, &find::Installed)| {
        Ok(Described { subject, version: installed.version.clone(), command: setting.command_line(subject)? })
    };
    let arguments = std::env::args().skip(1);
    Ok(Setup {
        machine: Machine::here(),
        command: std::iter::once("pinion-bench".to_owned()).chain(arguments).collect::<Vec<_>>().join(" "),
        started,
        subjects: setting.found.iter().map(describe).collect::<Result<_, Problem>>()?,
    })
}

/// Checks every subject and measures every case.
fn measure_all(setting: &Setting<'_>, cases: &[Case], repeats: u32, over: &dyn Fn() -> bool) -> Results {
    let mut turns = Turns { repeats, over, failures: Vec::new() };
    let mut results = Results { repeats, ..Results::default() };
    let wrong = check_all(setting, cases, &mut turns);
    for &case in cases {
        let takes_part = |subject: &&Subject| {
            !wrong.contains(&(**subject, case.traffic, case.transport))
                && case.traffic.refused_by(**subject).is_none()
                && (subject.is_proxy() || case.section != Section::Memory)
        };
        let subjects: Vec<Subject> = setting.found.keys().filter(takes_part).copied().collect();
        turns.repeats = if case.section == Section::Memory { repeats.min(MEMORY_REPEATS) } else { repeats };
        let mut rows = turns.measure(case, &subjects, |subject| measure::measure(setting, subject, case));
        if matches!(case.section, Section::Lockstep | Section::Transports) {
            for row in &mut rows {
                let counted = turns
                    .once(&case.label(), row.subject, || measure::system_calls(setting, row.subject, case));
                row.samples.extend(counted);
            }
        }
        results.rows.extend(rows);
    }
    results.failures = turns.failures;
    results.ended_early = over();
    results
}

/// Whether each subject answers as it should in each traffic over each kind of socket that is used; those that do
/// not. What a subject can't do is told and is not its failure.
fn check_all(
    setting: &Setting<'_>,
    cases: &[Case],
    turns: &mut Turns<'_>,
) -> Vec<(Subject, Traffic, Transport)> {
    let mut wrong = Vec::new();
    let mut kinds: Vec<_> = cases.iter().map(|case| (case.traffic, case.transport)).collect();
    kinds.sort_unstable();
    kinds.dedup();
    for (traffic, transport) in kinds {
        let loads = || {
            let of_kind = move |case: &&Case| (case.traffic, case.transport) == (traffic, transport);
            cases.iter().filter(of_kind).filter(|case| case.section != Section::Memory)
        };
        let mut bodies: Vec<usize> = loads().map(|case| case.bytes).collect();
        bodies.sort_unstable();
        bodies.dedup();
        let most = loads().max_by_key(|case| case.connections * case.streams);
        let (connections, streams) = most.map_or((1, 1), |case| (case.connections, case.streams));
        let asked = answers::Asked { traffic, transport, bodies: &bodies, connections, streams };
        for &subject in setting.found.keys() {
            if let Some(reason) = traffic.refused_by(subject) {
                eprintln!("NOT COMPARED: {}, {}: {reason}", traffic.label(), subject.label());
                continue;
            }
            let label = format!("{} over {transport:?}", traffic.label());
            let checked =
                turns.once(&label, subject, || answers::check(setting, subject, &asked).map(|()| "right"));
            if checked.is_none() {
                wrong.push((subject, traffic, transport));
            }
        }
    }
    wrong
}

/// The proxy's CPU, and that of client and upstream where the proxy is alone.
fn cpus(options: &Options) -> (u32, u32) {
    let usable: Vec<u32> = cpu::allowed().into_iter().filter_map(|cpu| u32::try_from(cpu).ok()).collect();
    let cpu = options.cpu.or(usable.first().copied()).unwrap_or(0);
    let another = usable.iter().copied().find(|&usable| usable != cpu);
    let other = options.other_cpu.or(another).unwrap_or(cpu);
    if cpu == other {
        eprintln!("One CPU for everything: only the lockstep section and memory mean something.");
    }
    (cpu, other)
}

/// As many descriptors as this user may have, for this program and those it starts. Fewer are no problem
/// until a measurement needs them, which then says so.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // Raising up to one's own maximum is allowed to everybody.
    let _ = setrlimit(Resource::Nofile, raised);
}

fn write(path: Option<&Path>, text: impl FnOnce() -> String) -> Result<(), Problem> {
    match path {
        Some(path) => {
            std::fs::write(path, text()).map_err(|e| format!("can't write {}: {e}", path.display()))
        }
        None => Ok(()),
    }
}
