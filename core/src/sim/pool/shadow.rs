//! One endpoint's ledger beside the plainest record of what it should hold; each call is checked at once.
//!
//! Invariants: the record changes only as the call's contract says, never as the ledger answered.
//!
//! Not here: credits and waiters, which belong to the world.

use super::Outcome;
use crate::pool::{Acquire, IdleLimits, PoolLedger, Released};
use crate::time::Instant;

#[derive(Debug)]
pub(super) struct Shadow {
    pub(super) ledger: PoolLedger,
    pub(super) limits: IdleLimits,
    /// Oldest first, with the instant of its release.
    pub(super) idle: Vec<(u32, Instant)>,
    pub(super) active: Vec<u32>,
    pub(super) connecting: u32,
    pub(super) draining: bool,
}

impl Shadow {
    pub(super) fn new(ledger: PoolLedger, limits: IdleLimits) -> Self {
        Shadow { ledger, limits, idle: Vec::new(), active: Vec::new(), connecting: 0, draining: false }
    }

    pub(super) fn acquire(&mut self, now: Instant, mut credit: impl FnMut() -> bool) -> Outcome<Acquire> {
        let mut credited = None;
        let answer = self.ledger.acquire(now, || *credited.insert(credit()));
        let newest = self.idle.last().filter(|(_, since)| now < since.after(self.limits.time));
        let expected = match (newest, credited) {
            (Some(&(key, _)), _) => Acquire::Reuse(key),
            (None, Some(true)) => Acquire::Connect,
            (None, _) => Acquire::Wait,
        };
        if answer != expected || credited.is_some() != newest.is_none() {
            return Err(format!("acquire: {answer:?} instead of {expected:?}, credit {credited:?}"));
        }
        match answer {
            Acquire::Reuse(key) => {
                self.idle.pop();
                self.active.push(key);
            }
            Acquire::Connect => self.connecting += 1,
            Acquire::Wait => {}
        }
        Ok(answer)
    }

    pub(super) fn on_connected(&mut self, key: u32) {
        self.ledger.on_connected(key);
        self.connecting -= 1;
        self.active.push(key);
    }

    pub(super) fn on_connect_failed(&mut self) {
        self.ledger.on_connect_failed();
        self.connecting -= 1;
    }

    /// Returns the connection that is closed for it, if any.
    pub(super) fn release(&mut self, key: u32, reusable: bool, now: Instant) -> Outcome<Option<u32>> {
        self.active.retain(|&active| active != key);
        let answer = self.ledger.release(key, reusable, now);
        let expected = if !reusable || self.draining || self.limits.connections == 0 {
            Released::Close
        } else {
            self.idle.push((key, now));
            match self.idle.len() > self.limits.connections {
                true => Released::KeptEvict(self.idle.remove(0).0),
                false => Released::Kept,
            }
        };
        if answer != expected {
            return Err(format!("release of {key}: {answer:?} instead of {expected:?}"));
        }
        Ok(match answer {
            Released::Kept => None,
            Released::KeptEvict(oldest) => Some(oldest),
            Released::Close => Some(key),
        })
    }

    /// The peer closes one of the connections, idle or active; true if an idle one is gone.
    pub(super) fn on_closed(&mut self, chance: usize) -> Outcome<bool> {
        let count = self.idle.len() + self.active.len();
        if count == 0 {
            return Ok(false);
        }
        let place = chance % count;
        let was_idle = place < self.idle.len();
        let key = if was_idle { self.idle.remove(place).0 } else { self.active[place - self.idle.len()] };
        if self.ledger.on_idle_closed(key) != was_idle {
            return Err(format!("{key} is closed: idle is {was_idle}, the ledger says otherwise"));
        }
        Ok(was_idle)
    }

    pub(super) fn expire(&mut self, now: Instant) -> Outcome<usize> {
        let mut closed = Vec::new();
        self.ledger.expire(now, &mut closed);
        let due = self.idle.iter().filter(|(_, since)| now >= since.after(self.limits.time)).count();
        self.gone("expire", due, &closed)
    }

    pub(super) fn set_limits(&mut self, limits: IdleLimits) -> Outcome<usize> {
        self.limits = limits;
        let mut closed = Vec::new();
        self.ledger.set_limits(limits, &mut closed);
        self.gone("set_limits", self.idle.len().saturating_sub(limits.connections), &closed)
    }

    pub(super) fn drain(&mut self) -> Outcome<usize> {
        self.draining = true;
        let mut closed = Vec::new();
        self.ledger.drain(&mut closed);
        self.gone("drain", self.idle.len(), &closed)
    }

    pub(super) fn evict_oldest(&mut self) -> Outcome<bool> {
        let closed = self.ledger.evict_oldest();
        self.gone("evict_oldest", self.idle.len().min(1), closed.as_slice()).map(|count| count > 0)
    }

    /// The ledger gave up `closed`, which must be the oldest `expected` idle ones, in order.
    fn gone(&mut self, call: &str, expected: usize, closed: &[u32]) -> Outcome<usize> {
        let oldest: Vec<u32> = self.idle.drain(..expected).map(|(key, _)| key).collect();
        if oldest != closed {
            return Err(format!("{call}: gave up {closed:?} instead of {oldest:?}"));
        }
        Ok(expected)
    }

    /// Compares all counts; returns the credits held.
    pub(super) fn audit(&self) -> Outcome<usize> {
        let found = (self.ledger.idle(), self.ledger.active() as usize, self.ledger.connecting());
        let expected = (self.idle.len(), self.active.len(), self.connecting);
        if found != expected {
            return Err(format!("idle, active, connecting: {found:?} instead of {expected:?}"));
        }
        let held = expected.0 + expected.1 + expected.2 as usize;
        if self.ledger.credits() != held || self.idle.len() > self.limits.connections {
            return Err(format!("{} credits, expected {held}; {:?}", self.ledger.credits(), self.idle));
        }
        let expiry = self.idle.first().map(|(_, since)| since.after(self.limits.time));
        if self.ledger.next_expiry() != expiry {
            return Err(format!("next expiry {:?}, expected {expiry:?}", self.ledger.next_expiry()));
        }
        Ok(held)
    }
}
