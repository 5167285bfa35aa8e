//! What a sending thread decides: which request goes where, and what is counted. Nothing here waits.
//!
//! Invariants: a request is in the waiting queue of its group, or on a slot, or measured; the list of slots
//! with room may name some that have none any more, never the other way round.

use std::collections::VecDeque;
use std::rc::Weak;
use std::sync::atomic::Ordering;

use super::Shared;
use super::slot::{Phase, Slot};
use crate::client::failure::Failure;
use crate::client::wire::{Answer, Event, Output, Ticket};
use crate::clock::Clock;
use crate::job::{Job, Pace};
use crate::measure::{Measure, Stamp};
use crate::random::Random;
use crate::samples::{Ending, Samples};
use crate::scenario::mix::Mix;
use crate::schedule::recorded::Due;

/// How often the user's wish to stop and time-outs are looked at, in nanoseconds.
const LOOK_NANOS: u64 = 20_000_000;

/// A request that is due.
#[derive(Clone, Copy)]
struct Waiting {
    due: u64,
    /// How long after that this thread came round to it.
    lateness: u64,
    item: usize,
    /// Seeds what is random in it, so that it is the same whenever it is sent.
    lot: u64,
}

/// A request on a connection.
#[derive(Clone, Copy)]
struct Pending {
    due: u64,
    lateness: u64,
    sent: u64,
    item: usize,
    lot: u64,
    slot: usize,
    /// Its place among the slot's tickets.
    place: usize,
    /// Tells it from those that had its ticket before.
    serial: u64,
}

/// The connections of a group and what waits for them.
#[derive(Default)]
pub(super) struct Pool {
    /// Slots with room.
    pub(super) free: VecDeque<usize>,
    waiting: VecDeque<Waiting>,
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
    lots: Random,
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
    pub(super) unconnected: Option<Failure>,
    requests: Vec<Option<Pending>>,
    unused: Vec<Ticket>,
    /// Requests in the order of their sending, for time-outs: when, which.
    sent: VecDeque<(u64, Ticket, u64)>,
    serial: u64,
    in_flight: usize,
    /// Whether the clock of the run goes: before, nothing is sent.
    is_running: bool,
    /// When to look for time-outs next.
    look: u64,
    dirty: Vec<usize>,
    plain_in: Vec<u8>,
    /// What is to be encrypted; empty between calls.
    pub(super) plain_out: Vec<u8>,
    events: Vec<Event>,
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
            pools: (0..job.groups.len()).map(|_| Pool::default()).collect(),
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
            requests: Vec::new(),
            unused: Vec::new(),
            sent: VecDeque::new(),
            serial: 0,
            in_flight: 0,
            is_running: false,
            look: 0,
            dirty: Vec::new(),
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
    fn release(&mut self, now: u64) {
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
                pool.waiting.push_back(Waiting { due: at, lateness: now - at, item, lot });
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
                let item = self.mix.choose(&mut self.lots);
                let waiting = Waiting { due: now, lateness: 0, item, lot: self.lots.bits() };
                match self.job.group_of[item] {
                    own if own == group => self.send(slot, waiting, now),
                    other => {
                        self.pools[other].waiting.push_back(waiting);
                        self.pools[group].free.push_front(slot);
                        self.slots[slot].is_listed = true;
                        // That group has its turn; this one would draw lots for ever.
                        if other > group {
                            return;
                        }
                        self.fill(other);
                    }
                }
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
        let Waiting { due, lateness, item, lot } = waiting;
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
        self.requests[ticket as usize] =
            Some(Pending { due, lateness, sent: now, item, lot, slot: index, place, serial: self.serial });
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
        self.mark_dirty(index);
        self.list(index);
    }

    pub(super) fn mark_dirty(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        if !slot.is_dirty {
            slot.is_dirty = true;
            self.dirty.push(index);
        }
    }

    /// Writes what the slots have to say; `since` is when the requests among it were free to go.
    pub(super) fn flush_dirty(&mut self, since: u64) {
        if self.dirty.is_empty() {
            return;
        }
        let mut dirty = std::mem::take(&mut self.dirty);
        for &index in &dirty {
            self.slots[index].is_dirty = false;
            self.flush(index);
        }
        if self.is_running {
            let lag = self.clock.now().saturating_sub(since);
            self.measure.send_lag.saturating_record_n(lag, dirty.len() as u64);
        }
        // Ending a connection may have made others dirty.
        dirty.clear();
        if self.dirty.is_empty() {
            self.dirty = dirty;
        } else {
            self.flush_dirty(since);
        }
    }

    /// Takes what came on a connection; says whether more of it is wanted.
    pub(super) fn on_bytes(&mut self, index: usize, generation: u32, bytes: &[u8]) -> bool {
        if self.slots[index].generation != generation {
            return false;
        }
        let now = self.clock.now();
        self.measure.bytes_in += bytes.len() as u64;
        let outcome = self.feed(index, bytes);
        // What was answered before the mistake was answered.
        self.take_events(index);
        if self.slots[index].generation != generation {
            return false;
        }
        if let Err(failure) = outcome {
            self.flush(index);
            if self.slots[index].generation == generation {
                self.lose(index, failure);
            }
        } else if self.slots[index].is_spent() {
            self.replace(index);
        } else {
            self.list(index);
            self.mark_dirty(index);
        }
        if self.is_running {
            // The queue, and what fell due while answers were handled, go on with what has become free.
            self.release(now);
        } else {
            self.flush_dirty(now);
        }
        self.slots[index].generation == generation
    }

    fn feed(&mut self, index: usize, bytes: &[u8]) -> Result<(), Failure> {
        let Some(mut session) = self.slots[index].tls.take() else {
            let slot = &mut self.slots[index];
            let Some(wire) = &mut slot.wire else { return Err(Failure::Malformed) };
            let mut out = Output { bytes: &mut slot.out, random: &mut self.random };
            return wire.feed(bytes, &mut out, &mut self.events);
        };
        self.plain_in.clear();
        let received = session.receive(bytes, &mut self.plain_in, &mut self.slots[index].out);
        let secured = received.is_ok() && !session.is_handshaking();
        if secured && self.slots[index].phase == Phase::Securing {
            self.on_secured(index, &session, self.clock.now());
        }
        let slot = &mut self.slots[index];
        let mut outcome = received;
        if let Some(wire) = &mut slot.wire {
            let mut out = Output { bytes: &mut self.plain_out, random: &mut self.random };
            outcome = outcome.and(wire.feed(&self.plain_in, &mut out, &mut self.events));
            session.send(&self.plain_out, &mut slot.out);
            self.plain_out.clear();
        }
        slot.tls = Some(session);
        outcome
    }

    pub(super) fn take_events(&mut self, index: usize) {
        let mut events = std::mem::take(&mut self.events);
        for event in events.drain(..) {
            match event {
                Event::Answered { ticket, answer } => {
                    // An answer before the whole request went out leaves the connection of no use.
                    let slot = &mut self.slots[index];
                    let unsent = slot.written < slot.out.len();
                    if unsent && matches!(slot.wire, Some(crate::client::wire::Wire::Http1(_))) {
                        slot.is_retiring = true;
                    }
                    if let Some(pending) = self.take(ticket) {
                        self.on_answer(&pending, &answer);
                    }
                }
                Event::Failed { ticket, failure, is_unprocessed } => {
                    let Some(pending) = self.take(ticket) else { continue };
                    if is_unprocessed { self.send_again(&pending) } else { self.fail(&pending, failure) }
                }
            }
        }
        self.events = events;
    }

    /// The events of a machine whose connection its peer ended.
    pub(super) fn on_close(&mut self, index: usize) {
        if let Some(wire) = &mut self.slots[index].wire {
            wire.on_close(&mut self.events);
        }
        self.take_events(index);
    }

    /// Takes a request off its slot.
    fn take(&mut self, ticket: Ticket) -> Option<Pending> {
        let pending = self.requests[ticket as usize].take()?;
        self.unused.push(ticket);
        self.in_flight -= 1;
        let tickets = &mut self.slots[pending.slot].tickets;
        tickets.swap_remove(pending.place);
        if let Some(&moved) = tickets.get(pending.place)
            && let Some(other) = &mut self.requests[moved as usize]
        {
            other.place = pending.place;
        }
        Some(pending)
    }

    fn on_answer(&mut self, pending: &Pending, answer: &Answer) {
        let now = self.clock.now();
        self.job.totals.on_answer(now - pending.due, answer.is_error());
        if pending.due >= self.job.warmup {
            let stamp = Stamp { due: pending.due, sent: pending.sent };
            self.measure.on_answer(now, stamp, pending.item, answer);
            self.samples.note(pending.due, Some(stamp), now, pending.item, Ending::Status(answer.status));
            if self.job.counted.is_some() {
                self.measure.count(answer.counted.clone());
            }
        }
    }

    fn fail(&mut self, pending: &Pending, failure: Failure) {
        let stamp = Stamp { due: pending.due, sent: pending.sent };
        self.fail_at(pending.due, Some(stamp), pending.item, failure);
    }

    fn fail_at(&mut self, due: u64, stamp: Option<Stamp>, item: usize, failure: Failure) {
        let now = self.clock.now();
        self.job.totals.failed.fetch_add(1, Ordering::Relaxed);
        if due >= self.job.warmup {
            self.measure.on_failure(now, stamp, due, item, failure);
            self.samples.note(due, stamp, now, item, Ending::Failed(failure));
        }
    }

    fn send_again(&mut self, pending: &Pending) {
        if pending.due >= self.job.warmup {
            self.measure.on_resend(pending.due);
        }
        let group = self.job.group_of[pending.item];
        let Pending { due, lateness, item, lot, .. } = *pending;
        let waiting = Waiting { due, lateness, item, lot };
        self.pools[group].waiting.push_front(waiting);
    }

    /// The requests on a connection that ended: sent again where nothing can have come of them, else failed.
    pub(super) fn abandon(&mut self, index: usize, failure: Failure, is_stale: bool) {
        while let Some(&ticket) = self.slots[index].tickets.last() {
            let Some(pending) = self.take(ticket) else { return };
            if is_stale && self.job.items[pending.item].request.is_idempotent {
                self.send_again(&pending);
            } else {
                self.fail(&pending, failure);
            }
        }
    }

    /// What waits for a group that can't connect fails with it, as each would have if it had tried by itself.
    pub(super) fn fail_waiting(&mut self, group: usize, failure: Failure) {
        while let Some(Waiting { due, item, .. }) = self.pools[group].waiting.pop_front() {
            self.fail_at(due, None, item, failure);
        }
    }

    /// Gives up requests whose answers take too long.
    fn expire(&mut self, now: u64) {
        while let Some(&(sent, ticket, serial)) = self.sent.front() {
            let current = self.requests[ticket as usize].filter(|pending| pending.serial == serial);
            match current {
                None => {}
                Some(_) if now.saturating_sub(sent) < self.job.timeout => return,
                Some(pending) => {
                    self.take(ticket);
                    self.fail(&pending, Failure::Timeout);
                    self.drop_request(pending.slot, ticket);
                }
            }
            self.sent.pop_front();
        }
    }

    /// A request that was given up leaves its connection, if that can go on without it.
    fn drop_request(&mut self, index: usize, ticket: Ticket) {
        let slot = &mut self.slots[index];
        let Some(wire) = &mut slot.wire else { return };
        let lives = match &mut slot.tls {
            Some(tls) => {
                let lives = wire.cancel(ticket, &mut self.plain_out);
                tls.send(&self.plain_out, &mut slot.out);
                self.plain_out.clear();
                lives
            }
            None => wire.cancel(ticket, &mut slot.out),
        };
        if lives {
            self.flush(index);
            self.list(index);
        } else {
            self.lose(index, Failure::Closed);
        }
    }

    /// The run is over and its time of grace too: what waits is not sent any more. What was sent has its own
    /// time-out still.
    fn give_up(&mut self) {
        for group in 0..self.pools.len() {
            self.fail_waiting(group, Failure::Unsent);
        }
    }
}
