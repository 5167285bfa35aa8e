//! The leader of a run on several machines.
//!
//! ```text
//! greet all ─▶ deal threads ─▶ orders ─▶ all ready ─▶ clocks ─▶ begin at one time ─▶ watch ─▶ merge ─▶ one outcome
//! ```
//!
//! Invariants: nobody begins before everybody is connected; an agent that is lost or not certified makes the
//! run invalid, and the others' numbers are still told; a leader that is interrupted ends all agents.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, OnceLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use clap::ArgMatches;

use super::access::Access;
use super::link::{Broken, Link};
use super::merge;
use super::message::{ToAgent, ToLeader};
use super::offset::Offset;
use super::order::{self, Argument, Order};
use crate::cli::{LoadOptions, Problem, Threads};
use crate::clock::{Clock, monotonic, nanos};
use crate::job::Start;
use crate::measure::Measure;
use crate::progress::{Totals, Watch};
use crate::report::{Ended, Load, Outcome, command_line, machine, rate, target};
use crate::result::{Certified, Report};
use crate::timestamp;

/// The most agents of a run.
const AGENTS_MAX: usize = 256;

/// How long an agent may take to connect to the target, and how long it may then say nothing.
const READY: Duration = Duration::from_secs(40);
const SILENCE: Duration = Duration::from_secs(10);

/// How often a leader says that it is still there.
const ALIVE: Duration = Duration::from_secs(1);

/// How long one agent is listened to before the next one is.
const LOOK: Duration = Duration::from_millis(5);

/// Messages there and back that a clock is judged by.
const PINGS: u32 = 30;

/// From the last word to the common start, at least: several times what a word takes across a continent.
const AHEAD: Duration = Duration::from_millis(500);

/// An agent of this run.
struct Remote {
    address: String,
    link: Link,
    cpus: u32,
    offset: Option<Offset>,
    heard: Instant,
    totals: Arc<Totals>,
    state: State,
}

enum State {
    Preparing,
    Running,
    Done(Box<Report>),
    /// It is lost, or could not do what it was asked.
    Lost(String),
}

impl Remote {
    fn is_over(&self) -> bool {
        matches!(self.state, State::Done(_) | State::Lost(_))
    }

    fn lose(&mut self, reason: impl std::fmt::Display) {
        self.state = State::Lost(reason.to_string());
    }

    fn tell(&mut self, message: &ToAgent) {
        if !self.is_over()
            && let Err(broken) = self.link.send(message)
        {
            self.lose(broken);
        }
    }

    /// Takes what has come, for a moment.
    fn listen(&mut self) {
        if self.is_over() {
            return;
        }
        match self.link.receive(Instant::now() + LOOK) {
            Ok(None) if self.heard.elapsed() > SILENCE && matches!(self.state, State::Running) => {
                self.lose(Broken::Silent);
            }
            Ok(None) => {}
            Ok(Some(message)) => {
                self.heard = Instant::now();
                match message {
                    ToLeader::Ready => self.state = State::Running,
                    ToLeader::Told(reading) => self.totals.set(&reading),
                    ToLeader::Done(report) => self.state = State::Done(report),
                    ToLeader::Failed { reason } => self.lose(reason),
                    ToLeader::Welcome { .. } | ToLeader::Pong { .. } => {}
                }
            }
            Err(broken) => self.lose(broken),
        }
    }

    /// Asks for its clock, many times.
    fn estimate_clock(&mut self) -> Result<(), Broken> {
        for _ in 0..PINGS {
            let asked = monotonic();
            self.link.send(&ToAgent::Ping)?;
            let until = Instant::now() + SILENCE;
            let clock = loop {
                match self.link.expect(until)? {
                    ToLeader::Pong { clock } => break clock,
                    ToLeader::Told(_) => {}
                    ToLeader::Failed { reason } => return Err(Broken::Malformed(reason)),
                    ToLeader::Welcome { .. } | ToLeader::Ready | ToLeader::Done(_) => {
                        return Err(Broken::Malformed("another answer than its clock".to_owned()));
                    }
                }
            };
            let offset = Offset::of(asked, clock, monotonic());
            self.offset = Some(self.offset.map_or(offset, |best| best.or(offset)));
        }
        self.heard = Instant::now();
        Ok(())
    }
}

/// Runs the load on all agents; gives the one outcome of it.
///
/// # Errors
/// An agent can't be reached, does not know the secret, or can't do what it is asked; or all were lost.
pub(crate) fn run(
    options: &LoadOptions,
    given: &ArgMatches,
    stop: &Arc<AtomicBool>,
) -> Result<Outcome, Problem> {
    let arguments = order::arguments(given)?;
    let mut remotes = greet(options)?;
    let all = deal(options, &mut remotes, &arguments)?;
    prepare(&mut remotes, stop)?;
    let started = begin(&mut remotes)?;
    let is_sure = watch(options, &mut remotes, started.clock, stop);
    let ended = match stop.load(Ordering::Relaxed) {
        _ if is_sure => Ended::Sure,
        true => Ended::Signal,
        false => Ended::Planned,
    };
    outcome(options, &remotes, (all, started.at, ended))
}

fn failed(remote: &str, what: impl std::fmt::Display) -> Problem {
    Problem::Failed(format!("agent {remote}: {what}"))
}

fn greet(options: &LoadOptions) -> Result<Vec<Remote>, Problem> {
    let addresses = &options.leader.agents;
    if addresses.len() > AGENTS_MAX {
        return Err(Problem::Usage(format!("there can be {AGENTS_MAX} agents at most")));
    }
    let access = Access::of_leader(&options.leader)?;
    let mut remotes = Vec::new();
    for address in addresses {
        let mut link = access.greet_agent(address).map_err(|e| failed(address, e))?;
        let welcome = link.expect(Instant::now() + SILENCE).map_err(|e| failed(address, e))?;
        let ToLeader::Welcome { cpus, .. } = welcome else {
            return Err(failed(address, "it does not say what it is"));
        };
        remotes.push(Remote {
            address: address.clone(),
            link,
            cpus,
            offset: None,
            heard: Instant::now(),
            totals: Arc::new(Totals::default()),
            state: State::Preparing,
        });
    }
    Ok(remotes)
}

/// Gives each agent its threads and its order; says how many threads there are.
fn deal(options: &LoadOptions, remotes: &mut [Remote], arguments: &[Argument]) -> Result<u32, Problem> {
    let threads: Vec<u32> = remotes
        .iter()
        .map(|remote| match options.threads {
            Threads::Count(count) => count,
            Threads::Auto => remote.cpus.clamp(1, 256),
        })
        .map(|threads| threads.min(options.connections))
        .collect();
    let all = threads.iter().sum();
    if all > options.connections {
        return Err(Problem::Usage(format!(
            "{} connections are too few for {all} threads on {} agents",
            options.connections,
            remotes.len()
        )));
    }
    let mut first = 0;
    for (remote, threads) in remotes.iter_mut().zip(threads) {
        let order = Order { arguments: arguments.to_vec(), first, threads, all };
        remote.link.send(&ToAgent::Order(Box::new(order))).map_err(|e| failed(&remote.address, e))?;
        first += threads;
    }
    Ok(all)
}

/// Waits until every agent is connected, and asks for their clocks.
fn prepare(remotes: &mut [Remote], stop: &AtomicBool) -> Result<(), Problem> {
    let until = Instant::now() + READY;
    let mut alive = Instant::now();
    while remotes.iter().any(|remote| matches!(remote.state, State::Preparing)) {
        let is_due = alive.elapsed() > ALIVE;
        for remote in remotes.iter_mut() {
            if is_due {
                remote.tell(&ToAgent::Alive);
            }
            remote.listen();
            if let State::Lost(reason) = &remote.state {
                return Err(failed(&remote.address, reason));
            }
            if Instant::now() > until && matches!(remote.state, State::Preparing) {
                return Err(failed(&remote.address, "it did not become ready in time"));
            }
        }
        if is_due {
            alive = Instant::now();
        }
        if stop.load(Ordering::Relaxed) {
            return Err(Problem::Failed("ended before the agents were ready".to_owned()));
        }
    }
    for remote in remotes {
        remote.estimate_clock().map_err(|e| failed(&remote.address, e))?;
    }
    Ok(())
}

/// The common start.
struct Started {
    /// On the leader's monotonic clock.
    clock: u64,
    /// In the calendar, RFC 3339.
    at: String,
}

fn begin(remotes: &mut [Remote]) -> Result<Started, Problem> {
    let slowest = remotes.iter().filter_map(|remote| remote.offset).map(|offset| offset.error).max();
    let ahead = nanos(AHEAD).max(slowest.unwrap_or(0).saturating_mul(10));
    let clock = monotonic() + ahead;
    for remote in remotes {
        let Some(offset) = remote.offset else { continue };
        let message = ToAgent::Begin { at: offset.there(clock) };
        remote.link.send(&message).map_err(|e| failed(&remote.address, e))?;
        remote.heard = Instant::now();
    }
    Ok(Started { clock, at: timestamp::of(SystemTime::now() + Duration::from_nanos(ahead)) })
}

/// Follows the agents to the end, with the display; says whether the run was ended because it was sure enough.
fn watch(options: &LoadOptions, remotes: &mut [Remote], clock: u64, stop: &Arc<AtomicBool>) -> bool {
    let totals: Vec<_> = remotes.iter().map(|remote| Arc::clone(&remote.totals)).collect();
    let start =
        Start { barrier: Barrier::new(1), clock: OnceLock::from(Clock::starting_at(clock)), begin: None };
    let stages: Duration = options.stage.iter().map(|stage| stage.length).sum();
    let length = if options.stage.is_empty() { options.duration } else { stages };
    let watch = Watch {
        totals: &totals,
        start: &start,
        end: nanos(options.warmup.saturating_add(length)),
        done: &AtomicBool::new(false),
        stop,
        quiet: options.report.quiet,
        until: options.report.until_ci,
        tell: None,
    };
    thread::scope(|scope| {
        let watcher = scope.spawn(|| watch.run());
        follow(remotes, stop);
        watch.done.store(true, Ordering::Relaxed);
        watcher.join().unwrap_or(false)
    })
}

fn follow(remotes: &mut [Remote], stop: &AtomicBool) {
    let mut is_told = false;
    let mut alive = Instant::now();
    while !remotes.iter().all(Remote::is_over) {
        remotes.iter_mut().for_each(Remote::listen);
        if alive.elapsed() > ALIVE {
            alive = Instant::now();
            remotes.iter_mut().for_each(|remote| remote.tell(&ToAgent::Alive));
        }
        if !is_told && stop.load(Ordering::Relaxed) {
            is_told = true;
            remotes.iter_mut().for_each(|remote| remote.tell(&ToAgent::Stop));
        }
    }
}

/// One outcome of all agents' reports.
fn outcome(
    options: &LoadOptions,
    remotes: &[Remote],
    (threads, started, mut ended): (u32, String, Ended),
) -> Result<Outcome, Problem> {
    let is_planned = ended == Ended::Planned;
    let mut reasons = Vec::new();
    let mut merged: Option<(&Report, Measure)> = None;
    let mut agents = Vec::new();
    for remote in remotes {
        let address = &remote.address;
        let report = match &remote.state {
            State::Done(report) => report,
            State::Lost(reason) => {
                reasons.push(format!("agent {address} was lost: {reason}"));
                continue;
            }
            State::Preparing | State::Running => continue,
        };
        reasons.extend(report.certified.reasons.iter().map(|reason| format!("agent {address}: {reason}")));
        if is_planned && report.ended != "planned" {
            reasons.push(format!("agent {address} was ended early"));
            ended = Ended::Signal;
        }
        agents.push(merge::line(address, remote.offset.map_or(0, |offset| offset.error), report));
        let part = merge::measure(report);
        match &mut merged {
            Some((_, measure)) => measure.merge(&part),
            None => merged = Some((report, part)),
        }
    }
    let Some((first, measure)) = merged else {
        return Err(Problem::Failed(reasons.join("; ")));
    };
    // An agent knows files by names of its own.
    let (rate, arrivals) = rate(options);
    Ok(Outcome {
        command: command_line(std::env::args()),
        target: target(options, first.targets.len()),
        target_names: first.targets.iter().map(|target| target.name.clone()).collect(),
        load: Load {
            rate,
            is_open: first.open_loop,
            arrivals,
            connections: first.connections,
            threads,
            duration: Duration::from_secs_f64(first.duration_seconds),
            warmup: Duration::from_secs_f64(first.warmup_seconds),
            is_limited: options.requests.is_some(),
        },
        seed: first.seed,
        started,
        counted_header: options.count_header.clone(),
        machine: machine(&first.machine.driver),
        measure,
        certificate: Certified { valid: reasons.is_empty(), reasons },
        ended,
        agents,
    })
}
