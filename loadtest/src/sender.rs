//! One sending thread: releases requests when they fall due, never because an answer came.
//!
//! ```text
//!            due                  free connection
//! Schedule ───────▶ waiting queue ───────────────▶ Connection ──answer──▶ Measure
//!                        ▲                              │
//!                        └─ sent again if it met a kept connection closing under it
//! ```
//!
//! Invariants: a due time enters the queue whether or not a connection is free, and keeps its place; a
//! connection carries one request at a time; every request that left the schedule is measured as
//! answered or failed exactly once, unless the user ends the run.
//!
//! Not here: how answers are read (`client`), what is done with the numbers (`report`).

use std::collections::VecDeque;
use std::io;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::client::connection::{Connection, Event, Failure, Stamp};
use crate::client::h1::Answer;
use crate::clock::Clock;
use crate::job::{Job, Pace};
use crate::measure::Measure;
use crate::poller::Poller;

/// How much is read from a socket at once.
const READ_BYTES: usize = 64 * 1024;

/// How long to wait after a failed connect before the next try on the same slot, in nanoseconds.
const RECONNECT_NANOS: u64 = 50_000_000;

/// How long connecting may take before the run starts without the missing connections, in nanoseconds.
const CONNECT_NANOS_MAX: u64 = 5_000_000_000;

/// How often the user's wish to stop is looked at, in nanoseconds.
const LOOK_NANOS: u64 = 20_000_000;

/// Sends one thread's share.
///
/// # Errors
/// The kernel refuses what every run needs, or not one connection came about.
pub(crate) fn run(job: Job) -> io::Result<Measure> {
    // Timers of an ordinary thread may be 50 µs late on purpose; failing to change that costs accuracy
    // only, which the report shows as lateness.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    let start = Arc::clone(&job.start);
    let prepared = Sender::new(job).and_then(|mut sender| sender.connect_all().map(|()| sender));
    // Whatever happened, the other threads must not wait for this one for ever.
    start.barrier.wait();
    let mut sender = prepared?;
    sender.begin(*start.clock.get_or_init(Clock::start));
    sender.run()?;
    Ok(sender.measure)
}

/// A request that is due.
#[derive(Clone, Copy)]
struct Waiting {
    due: u64,
    /// How late it was noticed.
    lateness: u64,
    /// In which round of the loop it fell due.
    round: u64,
}

struct Sender {
    job: Job,
    poller: Poller,
    /// Slots with something to do, from one wait.
    ready: Vec<usize>,
    clock: Clock,
    slots: Vec<Option<Connection>>,
    idle: VecDeque<usize>,
    /// Slots without a connection, and when to try again.
    broken: VecDeque<(u64, usize)>,
    waiting: VecDeque<Waiting>,
    in_flight: usize,
    round: u64,
    /// When to look for time-outs next.
    look: u64,
    scratch: Vec<u8>,
    measure: Measure,
}

impl Sender {
    fn new(job: Job) -> io::Result<Self> {
        let slots = (0..job.connections).map(|_| None).collect();
        let measure = Measure::new(job.interval, 1).after(job.warmup);
        Ok(Sender {
            job,
            poller: Poller::new()?,
            ready: Vec::new(),
            clock: Clock::start(),
            slots,
            idle: VecDeque::new(),
            broken: VecDeque::new(),
            waiting: VecDeque::new(),
            in_flight: 0,
            round: 0,
            look: 0,
            scratch: vec![0; READ_BYTES],
            measure,
        })
    }

    /// Opens every connection, before the clock of the run starts.
    fn connect_all(&mut self) -> io::Result<()> {
        for slot in 0..self.slots.len() {
            self.open(slot);
        }
        while self.idle.len() < self.slots.len()
            && self.clock.now() < CONNECT_NANOS_MAX
            && !self.job.stop.load(Ordering::Relaxed)
        {
            self.reopen();
            self.wait(self.clock.now() + LOOK_NANOS)?;
            // Nothing listens there: known without waiting for the time to pass.
            if self.idle.is_empty() && self.slots.iter().all(Option::is_none) {
                break;
            }
        }
        if self.idle.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotConnected, "no connection could be made"));
        }
        Ok(())
    }

    fn begin(&mut self, clock: Clock) {
        self.clock = clock;
        self.look = 0;
        // Times of the old clock: try again at once.
        for (at, _) in &mut self.broken {
            *at = 0;
        }
    }

    fn run(&mut self) -> io::Result<()> {
        loop {
            let now = self.clock.now();
            self.round += 1;
            self.release(now);
            if now >= self.look {
                if self.job.stop.load(Ordering::Relaxed) {
                    return Ok(());
                }
                self.expire(now);
                self.look = now + (self.job.timeout / 10).clamp(1_000_000, LOOK_NANOS);
                self.job.totals.waiting.store(self.waiting.len() as u64, Ordering::Relaxed);
            }
            self.reopen();
            let next = self.next_due();
            if next.is_none() && self.waiting.is_empty() && self.in_flight == 0 {
                return Ok(());
            }
            if next.is_none() && now > self.job.end.saturating_add(self.job.timeout) {
                self.give_up();
            }
            let broken = self.broken.front().map_or(u64::MAX, |&(at, _)| at);
            self.wait(next.unwrap_or(u64::MAX).min(self.look).min(broken))?;
        }
    }

    /// The next time at which something has to be sent.
    fn next_due(&self) -> Option<u64> {
        match &self.job.pace {
            Pace::Open(schedule) => schedule.peek(),
            Pace::Closed { left } => (*left > 0 && self.clock.now() < self.job.end).then_some(self.job.end),
        }
    }

    /// Sends everything that is due and finds a free connection.
    fn release(&mut self, now: u64) {
        if let Pace::Open(schedule) = &mut self.job.pace {
            while let Some(due) = schedule.peek().filter(|&due| due <= now) {
                schedule.advance();
                self.waiting.push_back(Waiting { due, lateness: now - due, round: self.round });
            }
        }
        loop {
            let now = self.clock.now();
            if self.waiting.is_empty() && !self.closed_loop_wants_more(now) {
                return;
            }
            let Some(slot) = self.take_idle() else { return };
            match self.waiting.pop_front() {
                Some(request) => {
                    if request.round != self.round && request.due >= self.job.warmup {
                        self.measure.blocked += 1;
                    }
                    self.send(slot, Stamp { due: request.due, sent: now }, request.lateness);
                }
                None => {
                    if let Pace::Closed { left } = &mut self.job.pace {
                        *left -= 1;
                    }
                    self.send(slot, Stamp { due: now, sent: now }, 0);
                }
            }
        }
    }

    fn closed_loop_wants_more(&self, now: u64) -> bool {
        matches!(self.job.pace, Pace::Closed { left } if left > 0 && now < self.job.end)
    }

    /// The connection that has been free for longest, so that all of them are used in turn.
    fn take_idle(&mut self) -> Option<usize> {
        while let Some(slot) = self.idle.pop_front() {
            // One that closed while it was free has left its number behind.
            if self.slots[slot].as_ref().is_some_and(Connection::is_idle) {
                return Some(slot);
            }
        }
        None
    }

    fn send(&mut self, slot: usize, stamp: Stamp, lateness: u64) {
        let Some(connection) = &mut self.slots[slot] else { return };
        self.in_flight += 1;
        if stamp.due >= self.job.warmup {
            self.measure.on_sent(stamp.due, lateness);
        }
        self.job.totals.sent.fetch_add(1, Ordering::Relaxed);
        if let Err(failure) = connection.send(&self.job.request, stamp) {
            self.on_failure(slot, failure);
        }
    }

    /// Waits for events until `until` at the latest, and handles them.
    fn wait(&mut self, until: u64) -> io::Result<()> {
        let mut ready = std::mem::take(&mut self.ready);
        self.poller.wait(self.clock, until, &mut ready)?;
        for &slot in &ready {
            self.on_ready(slot);
            // What fell due while events were handled does not wait for the rest of them.
            if self.clock_running() {
                let now = self.clock.now();
                if self.next_due().is_some_and(|due| due <= now) {
                    self.round += 1;
                    self.release(now);
                }
            }
        }
        self.ready = ready;
        Ok(())
    }

    /// Whether the run has begun: before, nothing is sent.
    fn clock_running(&self) -> bool {
        self.round > 0
    }

    fn on_ready(&mut self, slot: usize) {
        let Some(connection) = &mut self.slots[slot] else { return };
        let stamp = connection.stamp();
        match connection.on_ready(&self.job.request, &mut self.scratch, self.job.counted) {
            Ok(Event::Nothing) => {}
            Ok(Event::Connected) => {
                self.measure.connects += 1;
                self.idle.push_back(slot);
            }
            Ok(Event::Answered(answer)) => {
                let keep = answer.keep_alive;
                if let Some(stamp) = stamp {
                    self.in_flight -= 1;
                    self.on_answer(stamp, answer);
                }
                if keep {
                    self.idle.push_back(slot);
                } else {
                    self.open(slot);
                }
            }
            Err(failure) => self.on_failure(slot, failure),
        }
        // A closed loop and a queue both go on with the connection that has just become free.
        if self.clock_running() && (!self.waiting.is_empty() || matches!(self.job.pace, Pace::Closed { .. }))
        {
            self.round += 1;
            let now = self.clock.now();
            self.release(now);
        }
    }

    fn on_answer(&mut self, stamp: Stamp, answer: Answer) {
        let now = self.clock.now();
        self.measure.last = self.measure.last.max(now);
        self.job.totals.on_answer(now - stamp.due, answer.status >= 400);
        if stamp.due < self.job.warmup {
            return;
        }
        self.measure.on_answer(now, stamp, 0, &answer);
        if self.job.counted.is_some() {
            self.measure.count(answer.counted);
        }
    }

    /// A connection is of no more use; the request on it, if there is one, failed.
    fn on_failure(&mut self, slot: usize, failure: Failure) {
        let Some(connection) = self.slots[slot].take() else { return };
        if let Some(stamp) = connection.stamp() {
            self.in_flight -= 1;
            if self.job.request.is_idempotent && connection.was_stale(failure) {
                self.waiting.push_front(Waiting { due: stamp.due, lateness: 0, round: self.round });
                if stamp.due >= self.job.warmup {
                    self.measure.on_resend(stamp.due);
                }
            } else {
                self.fail(Some(stamp), stamp.due, failure);
            }
        }
        let had_request = connection.stamp().is_some();
        drop(connection);
        match failure {
            Failure::Connect => self.on_connect_failure(slot),
            _ if had_request => self.open(slot),
            // Closed while it was free: a peer that does so at once must not be asked again at once.
            _ => self.broken.push_back((self.clock.now() + RECONNECT_NANOS, slot)),
        }
    }

    /// A slot has no connection for now. While nothing at all is connected, the requests that wait fail
    /// with it, as each would have if it had tried by itself.
    fn on_connect_failure(&mut self, slot: usize) {
        self.broken.push_back((self.clock.now() + RECONNECT_NANOS, slot));
        if self.slots.iter().flatten().all(Connection::is_connecting) {
            while let Some(request) = self.waiting.pop_front() {
                self.fail(None, request.due, Failure::Connect);
            }
        }
    }

    fn fail(&mut self, stamp: Option<Stamp>, due: u64, failure: Failure) {
        let now = self.clock.now();
        self.measure.last = self.measure.last.max(now);
        self.job.totals.failed.fetch_add(1, Ordering::Relaxed);
        if due < self.job.warmup {
            return;
        }
        self.measure.on_failure(now, stamp, due, 0, failure);
    }

    /// Gives up requests whose answers take too long.
    fn expire(&mut self, now: u64) {
        for slot in 0..self.slots.len() {
            let stamp = self.slots[slot].as_ref().and_then(Connection::stamp);
            if stamp.is_some_and(|stamp| now.saturating_sub(stamp.sent) >= self.job.timeout) {
                self.on_failure(slot, Failure::Timeout);
            }
        }
    }

    /// The run is over and its time of grace too: what waits is not sent any more. What was sent has its
    /// own time-out still.
    fn give_up(&mut self) {
        while let Some(request) = self.waiting.pop_front() {
            self.fail(None, request.due, Failure::Unsent);
        }
    }

    /// Tries the slots again whose last connect failed long enough ago.
    fn reopen(&mut self) {
        while let Some(&(at, slot)) = self.broken.front() {
            if at > self.clock.now() {
                return;
            }
            self.broken.pop_front();
            self.open(slot);
        }
    }

    fn open(&mut self, slot: usize) {
        self.slots[slot] = None;
        let opened = Connection::open(&self.job.peer, self.job.request.is_head).and_then(|connection| {
            self.poller.watch(&connection, slot)?;
            Ok(connection)
        });
        match opened {
            Ok(connection) => self.slots[slot] = Some(connection),
            Err(_) => self.on_connect_failure(slot),
        }
    }
}
