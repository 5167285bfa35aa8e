//! What becomes of requests: answers, failures, time-outs.
//!
//! Invariants: a ticket names one request from its send to its end; what was answered before a connection's
//! mistake was answered.

use std::sync::atomic::Ordering;

use super::core::{Core, Pending, Waiting};
use super::slot::Phase;
use crate::client::failure::Failure;
use crate::client::wire::{Answer, Event, Output, Ticket, Wire};
use crate::measure::Stamp;
use crate::samples::Ending;

/// How often one request is sent again.
const RESENDS_MAX: u32 = 5;

impl Core {
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
        if received.is_err() {
            self.why = session.why();
        }
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
                    if unsent && matches!(slot.wire, Some(Wire::Http1(_))) {
                        slot.is_retiring = true;
                    }
                    if let Some(pending) = self.take(ticket) {
                        self.on_answer(&pending, &answer);
                    }
                }
                Event::Failed { ticket, failure, is_unprocessed } => {
                    let Some(pending) = self.take(ticket) else { continue };
                    self.send_again_or_fail(&pending, failure, is_unprocessed);
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

    /// Sends again what may be, but not for ever: a peer that refuses everything would be asked without end, and
    /// without a pause.
    fn send_again_or_fail(&mut self, pending: &Pending, failure: Failure, may_again: bool) {
        if may_again && pending.resends < RESENDS_MAX {
            self.send_again(pending);
        } else {
            self.fail(pending, failure);
        }
    }

    fn send_again(&mut self, pending: &Pending) {
        if pending.due >= self.job.warmup {
            self.measure.on_resend(pending.due);
        }
        let group = self.job.group_of[pending.item];
        let Pending { due, lateness, item, lot, resends, .. } = *pending;
        let waiting = Waiting { due, lateness, item, lot, resends: resends + 1 };
        self.pools[group].waiting.push_front(waiting);
        self.job.totals.sent.fetch_sub(1, Ordering::Relaxed);
    }

    /// The requests on a connection that ended: sent again where nothing can have come of them, else failed.
    pub(super) fn abandon(&mut self, index: usize, failure: Failure, is_stale: bool) {
        while let Some(&ticket) = self.slots[index].tickets.last() {
            let Some(pending) = self.take(ticket) else { return };
            let may_again = is_stale && self.job.items[pending.item].request.is_idempotent;
            self.send_again_or_fail(&pending, failure, may_again);
        }
    }

    /// What waits for a group that can't connect fails with it, as each would have if it had tried by itself.
    pub(super) fn fail_waiting(&mut self, group: usize, failure: Failure) {
        while let Some(Waiting { due, item, .. }) = self.pools[group].waiting.pop_front() {
            self.fail_at(due, None, item, failure);
        }
    }

    /// Gives up requests whose answers take too long.
    pub(super) fn expire(&mut self, now: u64) {
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
    pub(super) fn give_up(&mut self) {
        for group in 0..self.pools.len() {
            self.fail_waiting(group, Failure::Unsent);
        }
    }
}
