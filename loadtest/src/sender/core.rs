//! What a sending thread decides: which request goes where, and what is counted. Nothing here waits.
//!
//! Invariants: a request is in the waiting queue of its group, or on a slot, or measured; the list of slots
//! with room may name some that have none any more, never the other way round.

use std::collections::VecDeque;
use std::rc::Weak;
use std::sync::atomic::Ordering;

use super::Shared;
use super::slot::Slot;
use crate::client::wire::{Event, Output, Ticket};
use crate::clock::Clock;
use crate::job::{Job, Pace};
use crate::measure::Measure;
use crate::random::Random;
use crate::samples::Samples;
use crate::scenario::mix::Mix;
use crate::schedule::recorded::Due;

/// How often the user's wish to stop and time-outs are looked at, in nanoseconds.
const LOOK_NANOS: u64 = 20_000_000;

/// A request that is due.
#[derive(Clone, Copy)]
pub(super) struct Waiting {
    pub(super) due: u64,
    /// How long after that this thread came round to it.
    pub(super) lateness: u64,
    pub(super) item: usize,
    /// Seeds what is random in it, so that it is the same whenever it is sent.
    pub(super) lot: u64,
    /// How often it was sent before.
    pub(super) resends: u32,
}

/// A request on a connection.
#[derive(Clone, Copy)]
pub(super) struct Pending {
    pub(super) due: u64,
    pub(super) lateness: u64,
    pub(super) sent: u64,
    pub(super) item: usize,
    pub(super) lot: u64,
    pub(super) resends: u32,
    pub(super) slot: usize,
    /// Its place among the slot's tickets.
    pub(super) place: usize,
    /// Tells it from those that had its ticket before.
    pub(super) serial: u64,
}

/// The connections of a group and what waits for them.
pub(super) struct Pool {
    /// Slots with room.
    pub(super) free: VecDeque<usize>,
    pub(super) waiting: VecDeque<Waiting>,
    /// How many of its slots are [`Phase::Ready`](super::slot::Phase::Ready).
    pub(super) ready: usize,
    /// The group's items, and which of them a closed loop sends next.
    items: Vec<usize>,
    mix: Mix,
}

impl Pool {
    fn new(job: &Job, group: usize) -> Self {
        let items: Vec<usize> = (0..job.items.len()).filter(|&item| job.group_of[item] == group).collect();
        let mix = Mix::new(items.iter().map(|&item| job.items[item].weight));
        Pool { free: VecDeque::new(), waiting: VecDeque::new(), ready: 0, items, mix }
    }
}

/// Everything a thread knows.
pub(super) struct Core {
    pub(super) job: Job,
    pub(super) me: Weak<Shared>,
    pub(super) clock: Clock,
    pub(super) measure: Measure,
    pub(super) samples: Samples,
    pub(super) random: Random,
    mix: Mix,
    /// Chooses targets; nothing else draws from it, so that they follow from the seed.
    pub(super) lots: Random,
    pub(super) pools: Vec<Pool>,
    pub(super) slots: Vec<Slot>,
    /// Slots without a connection, and when to try again.
    pub(super) broken: VecDeque<(u64, usize)>,
    /// Slots whose connections are to be made when fewer are under way.
    pub(super) unopened: VecDeque<usize>,
    /// Connections under way.
    pub(super) opening: usize,
    /// When the next connection is replaced by a new one, and which.
    pub(super) churn: Option<(f64, usize)>,
    /// Connections that failed because this machine had no port or descriptor for them.
    pub(super) exhausted: u64,
    /// Why the last connection did not come about.
    pub(super) unconnected: Option<String>,
    /// What the kernel or the TLS session said of the mistake that is being handled.
    pub(super) why: Option<String>,
    pub(super) requests: Vec<Option<Pending>>,
    pub(super) unused: Vec<Ticket>,
    /// Requests in the order of their sending, for time-outs: when, which.
    pub(super) sent: VecDeque<(u64, Ticket, u64)>,
    serial: u64,
    pub(super) in_flight: usize,
    /// Whether the clock of the run goes: before, nothing is sent.
    pub(super) is_running: bool,
    /// When to look for time-outs next.
    look: u64,
    dirty: Vec<usize>,
    /// Requests that are to be written.
    unflushed: u64,
    pub(super) plain_in: Vec<u8>,
    /// What is to be encrypted; empty between calls.
    pub(super) plain_out: Vec<u8>,
    pub(super) events: Vec<Event>,
}

impl Core {
    /// A thread that has yet to connect.
    pub(super) fn new(job: Job, me: Weak<Shared>) -> Self {
        let mut slots = Vec::new();
        for group in 0..job.groups.len() {
            slots.extend((0..job.connections).map(|_| Slot::vacant(group, false)));
        }
        slots.extend((0..job.idle_connections).map(|_| Slot::vacant(0, true)));
        let seed =
            job.seed.wrapping_add(u64::from(job.thread).wrapping_mul(0x9E37_79B9)).wrapping_add(0x5bd1);
        Core {
            measure: Measure::new(job.interval, job.items.len()).after(job.warmup),
            samples: Samples::new(job.keeps_samples),
            random: Random::seeded(seed),
            lots: Random::seeded(!seed),
            mix: Mix::new(job.items.iter().map(|item| item.weight)),
            pools: (0..job.groups.len()).map(|group| Pool::new(&job, group)).collect(),
            churn: job.churn.map(|gap| (gap, 0)),
            job,
            me,
            clock: Clock::start(),
            slots,
            broken: VecDeque::new(),
            unopened: VecDeque::new(),
            opening: 0,
            exhausted: 0,
            unconnected: None,
            why: None,
            requests: Vec::new(),
            unused: Vec::new(),
            sent: VecDeque::new(),
            serial: 0,
            in_flight: 0,
            is_running: false,
            look: 0,
            dirty: Vec::new(),
            unflushed: 0,
            plain_in: Vec::new(),
            plain_out: Vec::new(),
            events: Vec::new(),
        }
    }

    /// The run begins, or will when `clock` reads zero.
    pub(super) fn prepare(&mut self, clock: Clock) {
        self.clock = clock;
        self.is_running = true;
        // Times of the old clock: try again at once.
        for (at, _) in &mut self.broken {
            *at = 0;
        }
        for slot in &mut self.slots {
            slot.opened = 0;
        }
    }

    /// What was measured.
    pub(super) fn finish(&mut self) -> (Measure, Samples) {
        if self.is_stopped() {
            // What was not answered by now took its time too.
            self.measure.last = self.measure.last.max(self.clock.now());
        }
        let measure = std::mem::replace(&mut self.measure, Measure::new(self.job.interval, 0));
        (measure, std::mem::take(&mut self.samples))
    }

    /// Whether the user wants an end.
    pub(super) fn is_stopped(&self) -> bool {
        self.job.stop.load(Ordering::Relaxed)
    }

    /// Everything that is due now.
    pub(super) fn turn(&mut self) {
        let now = self.clock.now();
        self.release(now);
        if now >= self.look {
            self.expire(now);
            self.look = now + (self.job.timeout / 10).clamp(1_000_000, LOOK_NANOS);
            let waiting: usize = self.pools.iter().map(|pool| pool.waiting.len()).sum();
            self.job.totals.waiting.store(waiting as u64, Ordering::Relaxed);
            if self.next_due().is_none() && now > self.job.end.saturating_add(self.job.timeout) {
                self.give_up();
            }
        }
        self.reopen();
        self.churn(now);
    }

    /// Whether there is nothing left to do.
    pub(super) fn is_over(&self) -> bool {
        let idle = self.in_flight == 0 && self.pools.iter().all(|pool| pool.waiting.is_empty());
        self.is_stopped() || (idle && self.next_due().is_none())
    }

    /// When [`Core::turn`] is wanted next, in nanoseconds of the run.
    pub(super) fn next_wake(&self) -> u64 {
        let broken = self.broken.front().map_or(u64::MAX, |&(at, _)| at);
        let churn = self.churn.map_or(u64::MAX, |(at, _)| at as u64);
        self.next_due().unwrap_or(u64::MAX).min(self.look).min(broken).min(churn)
    }

    /// The thread woke up that wanted to at `until`.
    pub(super) fn on_wake(&mut self, until: u64) {
        let late = self.clock.now().saturating_sub(until);
        if until >= self.job.warmup {
            self.measure.stalls.saturating_record(late);
        }
    }

    /// The next time at which something has to be sent.
    fn next_due(&self) -> Option<u64> {
        match &self.job.pace {
            Pace::Open(schedule) => schedule.peek().map(|due| due.at),
            Pace::Closed { left } => (*left > 0 && self.clock.now() < self.job.end).then_some(self.job.end),
        }
    }

    /// Sends everything that is due and finds room on a connection.
    pub(super) fn release(&mut self, now: u64) {
        if let Pace::Open(schedule) = &mut self.job.pace {
            while let Some(due) = schedule.peek().filter(|due| due.at <= now) {
                schedule.advance();
                let Due { at, target } = due;
                let item = target.map_or_else(|| self.mix.choose(&mut self.lots), |item| item as usize);
                let pool = &mut self.pools[self.job.group_of[item]];
                if at >= self.job.warmup {
                    self.measure.blocked += u64::from(pool.free.is_empty() || !pool.waiting.is_empty());
                }
                let lot = self.lots.bits();
                pool.waiting.push_back(Waiting { due: at, lateness: now - at, item, lot, resends: 0 });
            }
        }
        for group in 0..self.pools.len() {
            self.fill(group);
        }
        self.flush_dirty(now);
    }

    /// Puts what waits for the connections of a group on those that have room.
    fn fill(&mut self, group: usize) {
        while let Some(slot) = self.take_free(group) {
            let now = self.clock.now();
            if let Some(waiting) = self.pools[group].waiting.pop_front() {
                self.send(slot, waiting, now);
            } else if self.closed_loop_wants_more(now) {
                if let Pace::Closed { left } = &mut self.job.pace {
                    *left -= 1;
                }
                // Each host's connections keep to that host's targets.
                let pool = &self.pools[group];
                let item = pool.items[pool.mix.choose(&mut self.lots)];
                let lot = self.lots.bits();
                self.send(slot, Waiting { due: now, lateness: 0, item, lot, resends: 0 }, now);
            } else {
                self.pools[group].free.push_front(slot);
                self.slots[slot].is_listed = true;
                return;
            }
        }
    }

    fn closed_loop_wants_more(&self, now: u64) -> bool {
        matches!(self.job.pace, Pace::Closed { left } if left > 0 && now < self.job.end)
    }

    /// The slot with room that has been listed for longest, so that all of them are used in turn.
    fn take_free(&mut self, group: usize) -> Option<usize> {
        while let Some(slot) = self.pools[group].free.pop_front() {
            self.slots[slot].is_listed = false;
            if self.slots[slot].has_room() {
                return Some(slot);
            }
        }
        None
    }

    /// Lists a slot that has room and is not listed.
    pub(super) fn list(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        if slot.has_room() && !slot.is_listed {
            slot.is_listed = true;
            self.pools[slot.group].free.push_back(index);
        }
    }

    fn send(&mut self, index: usize, waiting: Waiting, now: u64) {
        let Waiting { due, lateness, item, lot, resends } = waiting;
        let ticket = self.unused.pop().unwrap_or_else(|| {
            self.requests.push(None);
            (self.requests.len() - 1) as Ticket
        });
        let slot = &mut self.slots[index];
        let Some(wire) = &mut slot.wire else { return };
        self.serial += 1;
        let place = slot.tickets.len();
        slot.tickets.push(ticket);
        slot.requests += 1;
        if slot.requests >= self.job.requests_per_connection {
            slot.is_retiring = true;
        }
        self.requests[ticket as usize] = Some(Pending {
            due,
            lateness,
            sent: now,
            item,
            lot,
            resends,
            slot: index,
            place,
            serial: self.serial,
        });
        self.sent.push_back((now, ticket, self.serial));
        self.in_flight += 1;
        let request = &self.job.items[item].request;
        let bytes = if slot.tls.is_some() { &mut self.plain_out } else { &mut slot.out };
        wire.send(ticket, request, &mut Output { bytes, random: &mut Random::seeded(lot) });
        if let Some(tls) = &mut slot.tls {
            tls.send(&self.plain_out, &mut slot.out);
            self.plain_out.clear();
        }
        if due >= self.job.warmup {
            self.measure.on_sent(due, lateness);
        }
        self.job.totals.sent.fetch_add(1, Ordering::Relaxed);
        self.unflushed += 1;
        self.mark_dirty(index);
        self.list(index);
    }

    /// Notes that a slot may have something to write.
    pub(super) fn mark_dirty(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        if !slot.is_dirty && slot.written < slot.out.len() {
            slot.is_dirty = true;
            self.dirty.push(index);
        }
    }

    /// Writes what the slots have to say; `since` is when the requests among it were free to go.
    pub(super) fn flush_dirty(&mut self, since: u64) {
        // Ending a connection may make others dirty, which is why this is no loop over a list.
        while let Some(index) = self.dirty.pop() {
            self.slots[index].is_dirty = false;
            self.flush(index);
        }
        if self.unflushed > 0 {
            let lag = self.clock.now().saturating_sub(since);
            self.measure.send_lag.saturating_record_n(lag, self.unflushed);
            self.unflushed = 0;
        }
    }
}
