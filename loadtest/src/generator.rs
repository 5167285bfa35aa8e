//! A run of the generator: from the options to the report.
//!
//! ```text
//! options ─ request bytes ─ address ─▶ sender threads: connect │ (all wait for each other) │ send … ─▶ merge ─▶ report
//! ```

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, OnceLock};
use std::time::SystemTime;

use crate::cli::{LoadOptions, Problem, Rate};
use crate::client::connection::Peer;
use crate::client::request::prepare;
use crate::clock::nanos;
use crate::job::{Job, Pace, Start};
use crate::measure::Measure;
use crate::measure::intervals::Intervals;
use crate::progress::{Totals, Watch};
use crate::report::{self, Certificate, Ended, Load, Outcome};
use crate::schedule::Schedule;
use crate::{sender, sys};

/// Sends the load and reports.
///
/// # Errors
/// What was asked for makes no sense, nothing could be connected to, or no request was answered.
pub(crate) fn run(options: &LoadOptions) -> Result<(), Problem> {
    sys::block_termination();
    let target = options.url.as_ref().ok_or_else(|| Problem::Usage("a URL is needed".to_owned()))?;
    check(options)?;
    let request = Arc::new(prepare(options, target)?);
    let peer = match &options.unix {
        Some(path) => Peer::Unix(path.clone()),
        None => Peer::Tcp(
            target.resolve().map_err(|e| Problem::io(format_args!("can't find {}", target.authority), &e))?,
        ),
    };
    // The name lives as long as the program, so that no answer has to copy it.
    let counted =
        options.count_header.as_ref().map(|name| &*Box::leak(name.to_ascii_lowercase().into_boxed_str()));
    let threads = options.threads.min(options.connections);
    let start = Arc::new(Start { barrier: Barrier::new(threads as usize), clock: OnceLock::new() });
    let stop = Arc::new(AtomicBool::new(false));
    let totals: Vec<_> = (0..threads).map(|_| Arc::new(Totals::default())).collect();
    watch_signals(&stop)?;

    let interval = Intervals::length_for(nanos(options.duration));
    let jobs = (0..threads).map(|thread| Job {
        peer: peer.clone(),
        request: Arc::clone(&request),
        counted,
        connections: share(options.connections, thread, threads),
        pace: pace(options, thread, threads),
        warmup: nanos(options.warmup),
        end: nanos(options.warmup.saturating_add(options.duration)),
        interval,
        timeout: nanos(options.timeout),
        start: Arc::clone(&start),
        stop: Arc::clone(&stop),
        totals: Arc::clone(&totals[thread as usize]),
    });
    let empty = Measure::new(interval, 1).after(nanos(options.warmup));
    let watch = Watch {
        totals: &totals,
        start: &start,
        end: nanos(options.warmup.saturating_add(options.duration)),
        done: &AtomicBool::new(false),
        stop: &stop,
        quiet: options.report.quiet,
        until: options.report.until_ci,
    };
    let started = SystemTime::now();
    let (measure, is_sure) = run_jobs(jobs, empty, &watch)?;
    let ended = match stop.load(Ordering::Relaxed) {
        _ if is_sure => Ended::Sure,
        true => Ended::Signal,
        false => Ended::Planned,
    };
    let outcome = Outcome {
        command: std::env::args().collect::<Vec<_>>().join(" "),
        target: target.to_string(),
        target_names: Vec::new(),
        load: Load {
            rate: options.rate.to_string(),
            is_open: options.rate != Rate::Max,
            arrivals: format!("{:?}", options.arrivals).to_lowercase(),
            connections: options.connections,
            threads,
            duration: options.duration,
            warmup: options.warmup,
            is_limited: options.requests.is_some(),
        },
        seed: options.seed,
        started,
        counted_header: options.count_header.clone(),
        machine: report::machine("epoll"),
        measure,
        certificate: Certificate { valid: true, ..Certificate::default() },
        ended,
        agents: Vec::new(),
    };
    let failures =
        report::write(&outcome, &options.report).map_err(|e| Problem::io("can't write the report", &e))?;
    if outcome.measure.answered() == 0 {
        return Err(Problem::Failed("no request was answered".to_owned()));
    }
    if !failures.is_empty() {
        return Err(Problem::Failed(failures.join("\npinion-load: ")));
    }
    Ok(())
}

fn check(options: &LoadOptions) -> Result<(), Problem> {
    if options.duration.is_zero() {
        return Err(Problem::Usage("a run needs a --duration above zero".to_owned()));
    }
    if options.timeout.is_zero() {
        return Err(Problem::Usage("answers need a --timeout above zero".to_owned()));
    }
    Ok(())
}

/// Part `index` of `parts` of a whole that need not divide evenly.
fn share(whole: u32, index: u32, parts: u32) -> usize {
    (whole / parts + u32::from(index < whole % parts)) as usize
}

fn pace(options: &LoadOptions, thread: u32, threads: u32) -> Pace {
    let limit = options.requests.unwrap_or(u64::MAX);
    match options.rate {
        Rate::PerSecond(rate) => {
            let end = nanos(options.warmup.saturating_add(options.duration));
            Pace::Open(Schedule::new(options.arrivals, rate, end, limit, (thread, threads), options.seed))
        }
        Rate::Max => {
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

fn run_jobs(
    jobs: impl Iterator<Item = Job>,
    mut measure: Measure,
    watch: &Watch<'_>,
) -> Result<(Measure, bool), Problem> {
    std::thread::scope(|scope| {
        let senders: Vec<_> = jobs.map(|job| scope.spawn(move || sender::run(job))).collect();
        let watcher = scope.spawn(|| watch.run());
        let mut outcome = Ok(());
        for sender in senders {
            match sender.join() {
                Ok(Ok(part)) => measure.merge(&part),
                Ok(Err(error)) => outcome = Err(Problem::io("can't send", &error)),
                Err(_) => outcome = Err(Problem::Failed("a sending thread panicked".to_owned())),
            }
        }
        watch.done.store(true, Ordering::Relaxed);
        let is_sure = watcher.join().unwrap_or(false);
        outcome.map(|()| (measure, is_sure))
    })
}
