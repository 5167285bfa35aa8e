//! Requests that wait for an upstream connection: a bounded first-in-first-out queue with deadlines.
//!
//! ```text
//!   front                 cursor                      back
//!   [gone][expired][gone] [waiting][gone][waiting] <- push
//!    everything before the cursor is gone or past      gone = served, refused or cancelled; swept out
//!    its deadline; pop looks from here on              when they are more than those that wait
//! ```
//!
//! Invariants:
//! - a waiter leaves exactly once: by [`Pending::pop`], [`Pending::expire`] or [`Pending::cancel`];
//! - `pop` never serves one past its deadline; that one stays until `expire` refuses it;
//! - entries are ordered by ticket, so that a ticket is found by bisection; gone entries are at most as
//!   many as waiting ones, plus [`GONE_SLACK`];
//! - nothing is allocated except while the queue grows to its high-water mark.
//!
//! Cost: `push` and `pop` O(1) amortised, `cancel` O(log n) amortised, `expire` O(1) before the earliest
//! deadline and O(n) after it.
//!
//! Not here: the cluster's limit over all shards (the caller takes that count first).

use std::collections::VecDeque;

use crate::time::Instant;

/// Gone entries that are always tolerated, so that a short queue is not swept at every cancel.
const GONE_SLACK: usize = 32;

/// The queue is at its limit: the request is refused, typically with 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// One waiter's place, for [`Pending::cancel`]. Never given out twice by one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

#[derive(Clone, Copy, Debug)]
struct Waiter {
    ticket: u64,
    deadline: Instant,
    key: u32,
    gone: bool,
}

/// The waiters of one cluster on one shard. Keys are the shard's own and only passed through.
#[derive(Debug)]
pub struct Pending {
    queue: VecDeque<Waiter>,
    limit: usize,
    /// Entries of `queue` that still wait.
    waiting: usize,
    /// The ticket that the next push gets.
    next: u64,
    /// Entries with a lower ticket are gone or past their deadline.
    cursor: u64,
    /// No waiter's deadline is earlier.
    earliest: Instant,
}

impl Pending {
    /// An empty queue for at most `limit` waiters; allocates nothing until somebody waits.
    pub const fn new(limit: usize) -> Self {
        Pending { queue: VecDeque::new(), limit, waiting: 0, next: 0, cursor: 0, earliest: Instant::NEVER }
    }

    /// Puts `key` at the end, to be refused at `deadline`.
    ///
    /// # Errors
    /// [`Full`] when as many wait as may.
    pub fn push(&mut self, key: u32, deadline: Instant) -> Result<Ticket, Full> {
        if self.waiting >= self.limit {
            return Err(Full);
        }
        let ticket = self.next;
        self.next += 1;
        self.queue.push_back(Waiter { ticket, deadline, key, gone: false });
        self.waiting += 1;
        self.earliest = self.earliest.min(deadline);
        Ok(Ticket(ticket))
    }

    /// Takes the first waiter whose deadline is later than `now`.
    pub fn pop(&mut self, now: Instant) -> Option<u32> {
        let mut place = self.place_of(self.cursor);
        while let Some(waiter) = self.queue.get_mut(place) {
            self.cursor = waiter.ticket + 1;
            if !waiter.gone && now < waiter.deadline {
                waiter.gone = true;
                let key = waiter.key;
                self.on_gone();
                return Some(key);
            }
            place += 1;
        }
        None
    }

    /// Takes the waiter with this ticket out, because its request ended. False when it has left already.
    pub fn cancel(&mut self, ticket: Ticket) -> bool {
        let place = self.place_of(ticket.0);
        match self.queue.get_mut(place) {
            Some(waiter) if waiter.ticket == ticket.0 && !waiter.gone => {
                waiter.gone = true;
                self.on_gone();
                true
            }
            _ => false,
        }
    }

    /// Appends to `out`, in order, every waiter whose deadline has come; they are refused.
    pub fn expire(&mut self, now: Instant, out: &mut Vec<u32>) {
        if now < self.earliest {
            return;
        }
        let mut earliest = Instant::NEVER;
        self.queue.retain(|waiter| {
            let expired = now >= waiter.deadline;
            if !waiter.gone && expired {
                out.push(waiter.key);
                self.waiting -= 1;
            } else if !waiter.gone {
                earliest = earliest.min(waiter.deadline);
            }
            !waiter.gone && !expired
        });
        self.earliest = earliest;
    }

    /// When [`Pending::expire`] may have something to do next; [`Instant::NEVER`] if nobody waits.
    pub const fn next_deadline(&self) -> Instant {
        if self.waiting == 0 { Instant::NEVER } else { self.earliest }
    }

    /// Puts a new limit in force. Those who wait beyond it stay; nobody joins until there is room.
    pub const fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// How many wait, those past their deadline and not yet refused included.
    pub const fn len(&self) -> usize {
        self.waiting
    }

    /// Whether nobody waits.
    pub const fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// The place of the first entry whose ticket is at least `ticket`.
    fn place_of(&self, ticket: u64) -> usize {
        match self.queue.front() {
            // Usual: nothing was swept out of the middle, or the one sought is in front.
            Some(front) if front.ticket >= ticket => 0,
            _ => self.queue.partition_point(|waiter| waiter.ticket < ticket),
        }
    }

    /// An entry was marked gone: counts it, and sweeps when the gone ones are too many.
    fn on_gone(&mut self) {
        self.waiting -= 1;
        while self.queue.front().is_some_and(|waiter| waiter.gone) {
            self.queue.pop_front();
        }
        if self.queue.len() > 2 * self.waiting + GONE_SLACK {
            self.queue.retain(|waiter| !waiter.gone);
        }
        if self.waiting == 0 {
            self.earliest = Instant::NEVER;
        }
    }
}

#[cfg(test)]
#[path = "pending_tests.rs"]
mod tests;
