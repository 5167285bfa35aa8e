//! A run of the generator: from the options to the report.
//!
//! ```text
//! options ─ request bytes ─ address ─▶ sender threads: connect │ (all wait for each other) │ send … ─▶ merge ─▶ report
//! ```

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, OnceLock};

use crate::cli::{LoadOptions, Problem, Rate};
use crate::client::connection::Peer;
use crate::client::request::prepare;
use crate::clock::nanos;
use crate::job::{Job, Pace, Start};
use crate::measure::Measure;
use crate::progress::{self, Totals};
use crate::report::{self, Outcome};
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
    let (stop, totals) = (Arc::new(AtomicBool::new(false)), Arc::new(Totals::default()));
    watch_signals(&stop)?;

    let jobs = (0..threads).map(|thread| Job {
        peer: peer.clone(),
        request: Arc::clone(&request),
        counted,
        connections: share(options.connections, thread, threads),
        pace: pace(options, thread, threads),
        warmup: nanos(options.warmup),
        end: nanos(options.warmup.saturating_add(options.duration)),
        timeout: nanos(options.timeout),
        start: Arc::clone(&start),
        stop: Arc::clone(&stop),
        totals: Arc::clone(&totals),
    });
    let measure = run_jobs(jobs, options.report.quiet, &totals, &start)?;
    let outcome = Outcome { options, target, measure: &measure, interrupted: stop.load(Ordering::Relaxed) };
    report::write(&outcome).map_err(|e| Problem::io("can't write the report", &e))?;
    if measure.answered() == 0 {
        return Err(Problem::Failed("no request was answered".to_owned()));
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
    quiet: bool,
    totals: &Totals,
    start: &Start,
) -> Result<Measure, Problem> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let senders: Vec<_> = jobs.map(|job| scope.spawn(move || sender::run(job))).collect();
        if !quiet {
            scope.spawn(|| progress::show(totals, start, &done));
        }
        let mut measure = Measure::new();
        let mut outcome = Ok(());
        for sender in senders {
            match sender.join() {
                Ok(Ok(part)) => measure.merge(&part),
                Ok(Err(error)) => outcome = Err(Problem::io("can't send", &error)),
                Err(_) => outcome = Err(Problem::Failed("a sending thread panicked".to_owned())),
            }
        }
        done.store(true, Ordering::Relaxed);
        outcome.map(|()| measure)
    })
}
