//! A run of the generator: from the options to the report.
//!
//! ```text
//! options, scenario ─▶ Plan ─▶ sender threads: connect │ (all wait for each other) │ send … ─▶ merge ─▶ judge ─▶ report
//! ```

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, OnceLock};

use clap::ArgMatches;
use clap::parser::ValueSource;

use crate::certify::{Certificate, CpuTime};
use crate::cli::{Arrivals, Driver, LoadOptions, Problem, ReportOptions};
use crate::client::failure::Failure;
use crate::clock::nanos;
use crate::job::{Begin, Job, Pace, Start};
use crate::measure::Measure;
use crate::measure::intervals::Intervals;
use crate::plan::Plan;
use crate::progress::{Tell, Totals, Watch};
use crate::report::{self, Ended, Outcome};
use crate::samples::Samples;
use crate::scenario::file::Scenario;
use crate::schedule::Schedule;
use crate::sender::Part;
use crate::{agent, knee, sender, sys, timestamp};

/// Descriptors for what is no connection: rings, timers, files.
const DESCRIPTORS_BESIDE: u64 = 64;

/// Sends the load and reports.
///
/// # Errors
/// What was asked for makes no sense, nothing could be connected to, or no request was answered.
pub(crate) fn run(mut options: LoadOptions, given: &ArgMatches) -> Result<(), Problem> {
    sys::block_termination();
    let scenario = options.scenario.as_deref().map(Scenario::read).transpose()?;
    if let Some(scenario) = &scenario {
        scenario.apply(&mut options, given)?;
    }
    check_outputs(&options)?;
    let has_rate =
        ["rate", "stage"].iter().any(|name| given.value_source(name) == Some(ValueSource::CommandLine));
    if has_rate && matches!(options.arrivals, Arrivals::Recorded(_)) {
        return Err(Problem::Usage(
            "recorded arrivals have their own rate: leave --rate and --stage out".to_owned(),
        ));
    }
    let stop = Arc::new(AtomicBool::new(false));
    watch_signals(&stop)?;
    if !options.leader.agents.is_empty() {
        return conclude(&agent::lead(&options, given, &stop)?, &options, Vec::new());
    }
    if let Some(knee) = &options.find_knee {
        return knee::find(&options, scenario.as_ref(), knee, &stop);
    }
    let mut finished = run_once(&options, scenario.as_ref(), &Conditions::alone(&stop))?;
    let mut failures = Vec::new();
    if let Some(path) = &options.samples {
        match std::mem::take(&mut finished.samples).write(path) {
            Ok(0) => {}
            Ok(lost) => {
                eprintln!("pinion-load: {lost} requests are not in {}: there were too many", path.display());
            }
            Err(error) => failures.push(format!("can't write the samples to {}: {error}", path.display())),
        }
    }
    conclude(&Outcome::of(&options, finished), &options, failures)
}

fn check_outputs(options: &LoadOptions) -> Result<(), Problem> {
    let ReportOptions { json, html, hgrm, hlog, .. } = &options.report;
    let files = [html, hgrm, hlog, &options.samples];
    if files.into_iter().flatten().any(|path| path.as_os_str() == "-") {
        return Err(Problem::Usage("of the outputs only --json can go to stdout (`-`)".to_owned()));
    }
    report::check_outputs(files.into_iter().chain([json]).flatten())
}

/// Writes what the user wants of a run, and says what fails it beside the `failures` so far.
fn conclude(outcome: &Outcome, options: &LoadOptions, mut failures: Vec<String>) -> Result<(), Problem> {
    failures.extend(report::write(outcome, &options.report));
    if outcome.measure.answered() == 0 {
        let why = match outcome.measure.sent {
            0 if !options.warmup.is_zero() => " after the --warmup, which --requests counts too",
            _ => "",
        };
        failures.insert(0, format!("no request was answered{why}"));
    }
    if !failures.is_empty() {
        return Err(Problem::Failed(failures.join("\npinion-load: ")));
    }
    Ok(())
}

/// What a run came to.
pub(crate) struct Finished {
    pub(crate) plan: Plan,
    pub(crate) measure: Measure,
    pub(crate) samples: Samples,
    pub(crate) certificate: Certificate,
    /// The driver that was used.
    pub(crate) driver: Driver,
    /// When it began to send, in RFC 3339.
    pub(crate) started: String,
    pub(crate) ended: Ended,
}

/// The threads of this machine among those of all machines that send the same load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// The number of the first one here.
    pub(crate) first: u32,
    /// How many there are on all machines.
    pub(crate) all: u32,
}

/// What a run has to do with whoever asked for it.
pub(crate) struct Conditions<'a> {
    /// Set to end the run early.
    pub(crate) stop: &'a Arc<AtomicBool>,
    /// The part of this machine, if it is not alone.
    pub(crate) share: Option<Share>,
    /// Who says when to start, if not as soon as everything is connected.
    pub(crate) begin: Option<Begin>,
    /// Who is told of the counters while it goes on.
    pub(crate) tell: Option<&'a Tell<'a>>,
}

impl<'a> Conditions<'a> {
    /// This machine alone.
    pub(crate) fn alone(stop: &'a Arc<AtomicBool>) -> Self {
        Conditions { stop, share: None, begin: None, tell: None }
    }
}

/// Sends the load once.
///
/// # Errors
/// What was asked for makes no sense, or nothing could be connected to.
pub(crate) fn run_once(
    options: &LoadOptions,
    scenario: Option<&Scenario>,
    conditions: &Conditions<'_>,
) -> Result<Finished, Problem> {
    let stop = conditions.stop;
    let plan = Plan::new(options, scenario)?;
    let driver =
        sender::choose_driver(options.driver).map_err(|e| Problem::io("io_uring is not to be had", &e))?;
    let start = Arc::new(Start {
        barrier: Barrier::new(plan.threads as usize),
        clock: OnceLock::new(),
        begin: conditions.begin.clone(),
    });
    let totals: Vec<_> = (0..plan.threads).map(|_| Arc::new(Totals::default())).collect();
    let share = conditions.share.unwrap_or(Share { first: 0, all: plan.threads });
    let jobs = jobs(options, &plan, (driver, share), (&start, stop, &totals));
    check_descriptors(&jobs)?;
    let watch = Watch {
        totals: &totals,
        start: &start,
        end: plan.end,
        done: &AtomicBool::new(false),
        stop,
        quiet: options.report.quiet,
        until: options.report.until_ci,
        tell: conditions.tell,
    };
    let (started, before) = (timestamp::now(), CpuTime::now());
    let (parts, is_sure) = run_jobs(jobs, &watch)?;
    let steal = CpuTime::now().zip(before).map(|(after, before)| after.steal_since(before));
    let mut measure = Measure::new(interval(&plan), plan.items.len()).after(plan.warmup);
    let mut samples = Samples::new(options.samples.is_some());
    let mut facts = Vec::new();
    let mut unconnected = None;
    for part in parts {
        measure.merge(&part.measure);
        unconnected = unconnected.or(part.unconnected);
        samples.append(part.samples);
        facts.push(part.facts);
    }
    // The counts say how many, and not why.
    let is_told = |failure| measure.failures.contains_key(&failure);
    if let Some(why) = unconnected.filter(|_| is_told(Failure::Connect) || is_told(Failure::Tls)) {
        eprintln!("pinion-load: a connection that failed: {why}");
    }
    let certificate = Certificate::of(&measure, &facts, steal);
    let ended = match stop.load(Ordering::Relaxed) {
        _ if is_sure => Ended::Sure,
        true => Ended::Signal,
        false => Ended::Planned,
    };
    Ok(Finished { plan, measure, samples, certificate, driver, started, ended })
}

/// Whether this process may open so many connections: better known now than as a crowd of failures.
fn check_descriptors(jobs: &[Job]) -> Result<(), Problem> {
    let of = |job: &Job| job.connections * job.groups.len() + job.idle_connections;
    let connections = jobs.iter().map(of).sum::<usize>() as u64;
    let limit = sys::raise_descriptors();
    if connections + DESCRIPTORS_BESIDE > limit {
        return Err(Problem::Usage(format!(
            "{connections} connections need as many file descriptors and {DESCRIPTORS_BESIDE} more; this \
             process may have {limit} (see ulimit -n)"
        )));
    }
    Ok(())
}

fn jobs(
    options: &LoadOptions,
    plan: &Plan,
    (driver, among): (Driver, Share),
    (start, stop, totals): (&Arc<Start>, &Arc<AtomicBool>, &[Arc<Totals>]),
) -> Vec<Job> {
    // The name lives as long as the program, so that no answer has to copy it.
    let counted =
        options.count_header.as_ref().map(|name| &*Box::leak(name.to_ascii_lowercase().into_boxed_str()));
    let threads = among.all;
    let job = |here: u32| {
        let thread = among.first + here;
        Job {
            thread,
            cpu: plan.cpus[here as usize],
            driver,
            items: Arc::clone(&plan.items),
            groups: Arc::clone(&plan.groups),
            group_of: Arc::clone(&plan.group_of),
            counted,
            connections: share(options.connections, thread, threads),
            idle_connections: share(options.idle_connections, thread, threads),
            streams: options.streams,
            requests_per_connection: options.requests_per_connection.unwrap_or(u64::MAX),
            churn: options.new_connections.map(|rate| 1e9 / rate * f64::from(threads)),
            sources: options.source.clone(),
            pace: pace(options, plan, (thread, threads)),
            seed: options.seed,
            warmup: plan.warmup,
            end: plan.end,
            timeout: nanos(options.timeout),
            interval: interval(plan),
            keeps_samples: options.samples.is_some(),
            start: Arc::clone(start),
            stop: Arc::clone(stop),
            totals: Arc::clone(&totals[here as usize]),
        }
    };
    (0..plan.threads).map(job).collect()
}

/// The length of the intervals that a run is told in, in nanoseconds.
fn interval(plan: &Plan) -> u64 {
    Intervals::length_for(nanos(plan.duration()))
}

/// Part `index` of `parts` of a whole that need not divide evenly.
fn share(whole: u32, index: u32, parts: u32) -> usize {
    (whole / parts + u32::from(index < whole % parts)) as usize
}

fn pace(options: &LoadOptions, plan: &Plan, (thread, threads): (u32, u32)) -> Pace {
    let limit = options.requests.unwrap_or(u64::MAX);
    match &plan.timing {
        Some(timing) => Pace::Open(Schedule::new(timing, plan.end, limit, (thread, threads), options.seed)),
        None => {
            let threads = u64::from(threads);
            Pace::Closed { left: limit / threads + u64::from(u64::from(thread) < limit % threads) }
        }
    }
}

/// Ctrl-C ends the sending early; what was measured is still reported. A second one ends the program.
fn watch_signals(stop: &Arc<AtomicBool>) -> Result<(), Problem> {
    let stop = Arc::clone(stop);
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            sys::wait_termination();
            stop.store(true, Ordering::Relaxed);
            sys::wait_termination();
            std::process::exit(1);
        })
        .map(drop)
        .map_err(|e| Problem::io("can't start a thread", &e))
}

/// Runs all threads to their end: their parts, and whether they ended because enough was sure.
fn run_jobs(jobs: Vec<Job>, watch: &Watch<'_>) -> Result<(Vec<Part>, bool), Problem> {
    std::thread::scope(|scope| {
        let senders: Vec<_> = jobs.into_iter().map(|job| scope.spawn(move || sender::run(job))).collect();
        let watcher = scope.spawn(|| watch.run());
        let parts: Vec<_> = senders
            .into_iter()
            .map(|sender| match sender.join() {
                Ok(part) => part.map_err(|e| Problem::io("can't send", &e)),
                Err(_) => Err(Problem::Failed("a sending thread panicked".to_owned())),
            })
            .collect();
        watch.done.store(true, Ordering::Relaxed);
        let is_sure = watcher.join().unwrap_or(false);
        let parts: Result<Vec<Part>, Problem> = parts.into_iter().collect();
        parts.map(|parts| (parts, is_sure))
    })
}
