//! An agent with its leader: orders are carried out, one after the other.
//!
//! ```text
//! this thread ── order ──▶ runner: connect ─▶ begin? … send … ─▶ report
//!      ▲  │                     │       ▲
//!      │  └── begin, stop ──────┼───────┘
//!      └─── ready, told, done ──┘ (a bounded queue: counters that find it full are left out)
//! ```
//!
//! Invariants: a leader that is gone or silent ends the run; nothing of a run outlives it, no file either.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use clap::{CommandFactory as _, FromArgMatches as _};

use super::link::{Broken, Link};
use super::message::{ToAgent, ToLeader};
use super::order::{self, Order};
use crate::cli::{Arguments, LoadOptions};
use crate::clock::monotonic;
use crate::generator::{Conditions, Share, run_once};
use crate::job::Begin;
use crate::plan;
use crate::progress::Reading;
use crate::report::Outcome;
use crate::result::Report;
use crate::scenario::file::Scenario;

/// How long a leader may say nothing.
const SILENCE: Duration = Duration::from_secs(10);

/// How often the queue of the runner is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// How long an agent that is ready waits to be told when to begin.
const READY: Duration = Duration::from_secs(60);

/// Messages of the runner that may wait to be sent.
const QUEUE: usize = 16;

/// Serves one leader until it leaves.
///
/// # Errors
/// Why the connection ended, unless the leader closed it between two runs.
pub(super) fn serve(link: &mut Link, busy: &AtomicBool, ending: &AtomicBool) -> Result<(), Broken> {
    let program = concat!("pinion-load ", env!("CARGO_PKG_VERSION")).to_owned();
    link.send(&ToLeader::Welcome { program, cpus: plan::allowed_cpus().len() as u32 })?;
    let mut heard = Instant::now();
    loop {
        match link.receive(Instant::now() + LOOK) {
            Ok(Some(message)) => {
                heard = Instant::now();
                match message {
                    ToAgent::Order(order) => {
                        carry_out(link, &order, busy, ending)?;
                        heard = Instant::now();
                    }
                    ToAgent::Ping => link.send(&ToLeader::Pong { clock: monotonic() })?,
                    ToAgent::Begin { .. } | ToAgent::Stop | ToAgent::Alive => {}
                }
            }
            Ok(None) if heard.elapsed() > SILENCE => return Err(Broken::Silent),
            Ok(None) if ending.load(Ordering::Relaxed) => return Ok(()),
            Ok(None) => {}
            Err(Broken::Closed) => return Ok(()),
            Err(broken) => return Err(broken),
        }
    }
}

fn carry_out(link: &mut Link, order: &Order, busy: &AtomicBool, ending: &AtomicBool) -> Result<(), Broken> {
    if busy.swap(true, Ordering::AcqRel) {
        return link.send(&ToLeader::Failed { reason: "it is busy with another run".to_owned() });
    }
    let (to_session, from_runner) = sync_channel(QUEUE);
    let (to_runner, begin) = channel();
    let stop = Arc::new(AtomicBool::new(false));
    let outcome = thread::scope(|scope| {
        let runner = Runner { stop: Arc::clone(&stop), out: to_session, begin: Arc::new(Mutex::new(begin)) };
        let running = scope.spawn(move || runner.run(order));
        let (mut talked, mut heard) = (Ok(()), Instant::now());
        while !running.is_finished() {
            // The run has to end before anything else can happen, whatever became of the leader.
            match talked.is_ok().then(|| talk(link, &from_runner, &to_runner, &stop)) {
                Some(Ok(true)) => heard = Instant::now(),
                Some(Ok(false)) if heard.elapsed() > SILENCE => talked = Err(Broken::Silent),
                Some(Ok(false)) => {}
                Some(Err(broken)) => talked = Err(broken),
                None => thread::sleep(LOOK),
            }
            if talked.is_err() || ending.load(Ordering::Relaxed) {
                stop.store(true, Ordering::Relaxed);
            }
        }
        let result = running.join().unwrap_or_else(|_| Err("the run panicked".to_owned()));
        talked.map(|()| result)
    });
    // Before the leader learns that it is over: it may have another order at once.
    busy.store(false, Ordering::Release);
    match outcome? {
        Ok(report) => link.send(&ToLeader::Done(Box::new(report))),
        Err(reason) => link.send(&ToLeader::Failed { reason }),
    }
}

/// Hands messages on in both directions, for a moment; says whether the leader was heard.
fn talk(
    link: &mut Link,
    from_runner: &Receiver<ToLeader>,
    to_runner: &Sender<u64>,
    stop: &AtomicBool,
) -> Result<bool, Broken> {
    while let Ok(message) = from_runner.try_recv() {
        link.send(&message)?;
    }
    match link.receive(Instant::now() + LOOK)? {
        Some(ToAgent::Ping) => link.send(&ToLeader::Pong { clock: monotonic() })?,
        // A runner that has ended already needs no begin.
        Some(ToAgent::Begin { at }) => drop(to_runner.send(at)),
        Some(ToAgent::Stop) => stop.store(true, Ordering::Relaxed),
        Some(ToAgent::Alive) => {}
        Some(ToAgent::Order(_)) => {
            return Err(Broken::Malformed("an order in the middle of a run".to_owned()));
        }
        None => return Ok(false),
    }
    Ok(true)
}

/// The thread of a run.
struct Runner {
    stop: Arc<AtomicBool>,
    out: SyncSender<ToLeader>,
    begin: Arc<Mutex<Receiver<u64>>>,
}

impl Runner {
    fn run(&self, order: &Order) -> Result<Report, String> {
        let folder = tempfile::tempdir().map_err(|e| format!("no folder for files: {e}"))?;
        let line = order::command_line(&order.arguments, folder.path())?;
        let (options, scenario) = options(&line)?;
        let (threads, _) = plan::threads(&options).map_err(|e| e.to_string())?;
        if threads != order.threads || order.first.saturating_add(threads) > order.all {
            return Err(format!("it would send with {threads} threads, not {}", order.threads));
        }
        let tell = |reading: Reading| {
            // A leader that does not keep up misses some of them.
            let _ = self.out.try_send(ToLeader::Told(reading));
        };
        let conditions = Conditions {
            stop: &self.stop,
            share: Some(Share { first: order.first, all: order.all }),
            begin: Some(self.begin()),
            tell: Some(&tell),
        };
        let finished = run_once(&options, scenario.as_ref(), &conditions).map_err(|e| e.to_string())?;
        Ok(Outcome::of(&options, finished).report())
    }

    /// Says that everything is connected, and waits for the leader's word; without it the run ends at once.
    fn begin(&self) -> Begin {
        let (stop, out, begin) = (Arc::clone(&self.stop), self.out.clone(), Arc::clone(&self.begin));
        Arc::new(move || {
            let ready = out.try_send(ToLeader::Ready).is_ok();
            let until = Instant::now() + READY;
            while ready && !stop.load(Ordering::Relaxed) && Instant::now() < until {
                let told = begin.lock().ok().and_then(|begin| begin.recv_timeout(LOOK).ok());
                if let Some(at) = told {
                    return at;
                }
            }
            stop.store(true, Ordering::Relaxed);
            monotonic()
        })
    }
}

/// The options and the scenario of a command line.
fn options(line: &[String]) -> Result<(LoadOptions, Option<Scenario>), String> {
    let given = Arguments::command()
        .no_binary_name(true)
        .try_get_matches_from(line)
        .map_err(|e| format!("it does not take these options: {e}"))?;
    let mut options = Arguments::from_arg_matches(&given).map_err(|e| e.to_string())?.load;
    let scenario = options.scenario.as_deref().map(Scenario::read).transpose().map_err(|e| e.to_string())?;
    if let Some(scenario) = &scenario {
        if scenario.names_files() {
            return Err("its scenario names files, which are not here".to_owned());
        }
        scenario.apply(&mut options, &given).map_err(|e| e.to_string())?;
    }
    Ok((options, scenario))
}
