//! One sending thread: releases requests when they fall due, never because an answer came.
//!
//! ```text
//!            due                  room on a connection
//! Schedule ───────▶ waiting queue ────────────────────▶ slot (Wire, TLS) ──answer──▶ Measure
//!                        ▲                                   │
//!                        └─ sent again if it met a kept connection closing under it
//! ```
//!
//! One task waits for the next due time ([`timer`]); each connection has a task that reads ([`stream`]). All
//! of them call into [`core`], which decides and writes (what becomes of requests is in [`answers`], of connections in [`connections`]); nothing there waits.
//!
//! Invariants: a due time enters the queue whether or not a connection is free, and keeps its place; every
//! request that left the schedule is measured as answered or failed exactly once, unless the user ends the
//! run; requests are written at once, not with the next turn of the loop, so that the time of the send is
//! that of the kernel's taking them.
//!
//! Not here: how answers are read (`client`), what is done with the numbers (`report`).

mod answers;
mod connections;
mod core;
mod facts;
mod slot;
mod stream;
mod timer;

use std::cell::RefCell;
use std::io;
use std::num::NonZeroU64;
use std::rc::Rc;
use std::sync::Arc;

use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};

use self::core::Core;
use self::timer::Timer;
use crate::cli::Driver;
use crate::clock::monotonic;
use crate::job::Job;
use crate::measure::Measure;
use crate::samples::Samples;
pub(crate) use facts::Facts;

/// Entries of the submission ring.
const RING_ENTRIES: u32 = 4096;

/// How long connecting may take before the run starts without the missing connections, in nanoseconds.
const CONNECT_NANOS_MAX: u64 = 10_000_000_000;

/// How often connecting is looked at, in nanoseconds.
const CONNECT_LOOK_NANOS: u64 = 1_000_000;

/// A thread's part of the result.
pub(crate) struct Part {
    pub(crate) measure: Measure,
    pub(crate) samples: Samples,
    pub(crate) facts: Facts,
    /// Why the last connection that failed did so.
    pub(crate) unconnected: Option<String>,
}

/// What the tasks of a thread share.
struct Shared {
    core: RefCell<Core>,
}

/// The driver that `wanted` comes down to on this machine.
///
/// # Errors
/// io_uring was asked for and can't be had.
pub(crate) fn choose_driver(wanted: Driver) -> io::Result<Driver> {
    if wanted == Driver::Epoll {
        return Ok(Driver::Epoll);
    }
    match ring().build() {
        Ok(_) => Ok(Driver::IoUring),
        Err(error) if wanted == Driver::IoUring => Err(error),
        Err(_) => Ok(Driver::Epoll),
    }
}

fn ring() -> RuntimeBuilder<IoUringDriver> {
    let mut builder = io_uring::IoUring::builder();
    // Completions are taken when this thread asks for them, not by interrupting it.
    builder.setup_single_issuer().setup_defer_taskrun();
    RuntimeBuilder::<IoUringDriver>::new().with_entries(RING_ENTRIES).uring_builder(builder)
}

/// Sends one thread's share.
///
/// # Errors
/// The kernel refuses what every run needs, or not one connection came about.
pub(crate) fn run(job: Job) -> io::Result<Part> {
    // Timers of an ordinary thread may be 50 µs late on purpose; failing to change that costs accuracy
    // only, which the report shows as lateness.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    if let Some(cpu) = job.cpu {
        let mut set = rustix::thread::CpuSet::new();
        set.set(cpu);
        rustix::thread::sched_setaffinity(None, &set)?;
    }
    let start = Arc::clone(&job.start);
    let started = match job.driver {
        Driver::Epoll => {
            RuntimeBuilder::<LegacyDriver>::new().build().map(|mut runtime| runtime.block_on(drive(job)))
        }
        Driver::IoUring | Driver::Auto => ring().build().map(|mut runtime| runtime.block_on(drive(job))),
    };
    match started {
        Ok(outcome) => outcome,
        Err(error) => {
            // The other threads must not wait for this one for ever.
            start.barrier.wait();
            Err(error)
        }
    }
}

async fn drive(job: Job) -> io::Result<Part> {
    let start = Arc::clone(&job.start);
    let shared = Rc::new_cyclic(|me| Shared { core: RefCell::new(Core::new(job, me.clone())) });
    let connected = connect_all(&shared).await;
    // Whatever happened, the other threads must not wait for this one for ever.
    start.barrier.wait();
    let mut timer = connected?;
    let clock = start.clock();
    shared.core.borrow_mut().prepare(clock);
    if monotonic() < clock.monotonic_of(0) {
        timer.until(clock.monotonic_of(0)).await?;
    }
    let before = Facts::of_this_thread();
    loop {
        let until = {
            let mut core = shared.core.borrow_mut();
            core.turn();
            if core.is_over() {
                break;
            }
            core.next_wake()
        };
        timer.until(clock.monotonic_of(until)).await?;
        shared.core.borrow_mut().on_wake(until);
    }
    let mut facts = Facts::of_this_thread().since(&before);
    let mut core = shared.core.borrow_mut();
    facts.exhausted = core.exhausted;
    let (measure, samples) = core.finish();
    Ok(Part { measure, samples, facts, unconnected: core.unconnected.take() })
}

/// Opens every connection, before the clock of the run starts.
async fn connect_all(shared: &Rc<Shared>) -> io::Result<Timer> {
    let mut timer = Timer::new()?;
    shared.core.borrow_mut().open_all();
    let began = monotonic();
    loop {
        timer.until(monotonic() + CONNECT_LOOK_NANOS).await?;
        let mut core = shared.core.borrow_mut();
        core.reopen();
        let connected = core.connected();
        if connected == core.slots.len() || core.is_stopped() {
            return Ok(timer);
        }
        // Nothing listens there, or not to us: known without waiting for the time to pass.
        if monotonic() - began <= CONNECT_NANOS_MAX && !core.is_hopeless(connected) {
            continue;
        }
        let why = core.why_unconnected();
        if connected == 0 {
            return Err(io::Error::new(
                io::ErrorKind::NotConnected,
                format!("no connection could be made to {why}"),
            ));
        }
        eprintln!("pinion-load: starts with {connected} of {} connections; {why}", core.slots.len());
        return Ok(timer);
    }
}
