//! Simulation of pools: several shards, one shared counter of credits, requests that wait, and a shadow of
//! everything that the ledgers and queues should hold.
//!
//! One step is one random action: a request arrives, a connect ends, a request ends, a peer closes an idle
//! connection, a waiter gives up, time passes, limits change, an endpoint leaves. The world does what the
//! module comment of `pool` asks of a shard. After each step all counts are compared.
//!
//! Invariants that are checked:
//! - idle + active + connecting, over all shards, is the number of credits taken, for ledger and shadow;
//! - a credit is never taken beyond the limit, which may have been lowered below what is taken;
//! - reuse is last-in first-out, never past the idle time, never of a key in use;
//! - a waiter is served in its queue's order and before its deadline, or refused or cancelled: exactly once;
//! - nobody waits on a shard that has idle connections, and after two ticks nobody waits anywhere while a
//!   credit is free or idle;
//! - after draining, no credit is taken and nobody waits.
//!
//! Not here: reading the environment, sweeping seeds (`tests/sim_pool.rs`).

use std::time::Duration;

use crate::pool::{Acquire, IdleLimits, Pending, PoolLedger, Ticket, short_by};
use crate::rng::Rng;
use crate::time::Instant;
pub use report::{Failure, Report};
use shadow::Shadow;

mod audit;
mod report;
mod shadow;

/// Runs one world of `steps` steps, whose whole course follows from `seed`, on ledgers made by `ledger`.
///
/// # Errors
/// The first invariant that did not hold.
pub fn run(seed: u64, steps: u32, ledger: fn(IdleLimits) -> PoolLedger) -> Result<Report, Failure> {
    let mut world = World::new(seed, ledger);
    for step in 0..steps {
        world.step().and_then(|()| world.audit()).map_err(|what| Failure { seed, step, what })?;
    }
    world.finish().map_err(|what| Failure { seed, step: steps, what })?;
    Ok(world.report)
}

/// A step's outcome; an error says which invariant did not hold.
type Outcome<T = ()> = Result<T, String>;

#[derive(Debug)]
struct Waiter {
    request: u32,
    ticket: Ticket,
    deadline: Instant,
}

#[derive(Debug)]
struct Shard {
    endpoints: Vec<Shadow>,
    pending: Pending,
    /// The queue as it should be.
    waiting: Vec<Waiter>,
    /// Tickets of those who left, to be cancelled in vain.
    left: Vec<Ticket>,
}

impl Shard {
    fn idle(&self) -> usize {
        self.endpoints.iter().map(|endpoint| endpoint.idle.len()).sum()
    }
}

#[derive(Debug)]
struct World {
    rng: Rng,
    now: Instant,
    ledger: fn(IdleLimits) -> PoolLedger,
    shards: Vec<Shard>,
    credit_limit: usize,
    credits_taken: usize,
    /// Of all shards together, as the cluster's `pending` is.
    pending_limit: usize,
    /// How often requests arrive, relative to all else, which is 65.
    arrivals: u64,
    next: u32,
    report: Report,
}

impl World {
    fn new(seed: u64, ledger: fn(IdleLimits) -> PoolLedger) -> Self {
        let mut rng = Rng::seeded(seed);
        let shards = 1 + rng.below(4);
        let endpoints = 1 + rng.below(3);
        let pending_limit = 1 + rng.below(8) as usize;
        let credit_limit = 1 + rng.below(12) as usize;
        let limits = idle_limits(&mut rng);
        let shard = |_| Shard {
            endpoints: (0..endpoints).map(|_| Shadow::new(ledger(limits), limits)).collect(),
            pending: Pending::new(pending_limit),
            waiting: Vec::new(),
            left: Vec::new(),
        };
        World {
            shards: (0..shards).map(shard).collect(),
            rng,
            now: Instant::ZERO,
            ledger,
            credit_limit,
            credits_taken: 0,
            pending_limit,
            arrivals: 30,
            next: 0,
            report: Report::default(),
        }
    }

    fn step(&mut self) -> Outcome {
        let shard = self.below(self.shards.len());
        let endpoint = self.below(self.shards[shard].endpoints.len());
        // Calm and crowded times take turns: most of reuse and expiry happens in the former, most of
        // waiting in the latter.
        if self.rng.below(40) == 0 {
            self.arrivals = [4, 12, 30, 80][self.below(4)];
        }
        match self.rng.below(65 + self.arrivals) {
            0..15 => {
                let success = self.rng.below(4) > 0;
                let endpoint = self.having(shard, endpoint, |shadow| shadow.connecting > 0);
                self.connect_done(shard, endpoint, success)
            }
            15..37 => {
                let reusable = self.rng.below(8) > 0;
                let endpoint = self.having(shard, endpoint, |shadow| !shadow.active.is_empty());
                self.request_done(shard, endpoint, reusable)
            }
            37..42 => self.peer_closes(shard, endpoint),
            42..47 => self.cancel(shard),
            47..60 => {
                self.now = self.now.after(Duration::from_millis(self.rng.below(12)));
                // A tick may come late: what is due must not be used meanwhile.
                if self.rng.below(4) == 0 { Ok(()) } else { self.tick() }
            }
            60..64 => self.change_limits(shard, endpoint),
            64..65 => self.drain(shard, endpoint),
            _ => self.arrive(shard, endpoint),
        }
    }

    /// The first endpoint from `endpoint` on that has something to act on, else `endpoint`.
    fn having(&self, shard: usize, endpoint: usize, has: impl Fn(&Shadow) -> bool) -> usize {
        let endpoints = &self.shards[shard].endpoints;
        let mut places = (endpoint..endpoints.len()).chain(0..endpoint);
        places.find(|&place| has(&endpoints[place])).unwrap_or(endpoint)
    }

    fn arrive(&mut self, shard: usize, endpoint: usize) -> Outcome {
        self.report.arrived += 1;
        // Nobody overtakes those who wait; those whose time is over do not count.
        self.refuse_expired(shard)?;
        if !self.shards[shard].pending.is_empty() {
            return self.join(shard);
        }
        let mut answer = self.acquire(shard, endpoint)?;
        // More than once when the limit was lowered below what is taken.
        while answer == Acquire::Wait && self.evict(shard, 1)? > 0 {
            answer = self.acquire(shard, endpoint)?;
        }
        match answer {
            Acquire::Reuse(_) => self.report.reused += 1,
            Acquire::Connect => self.report.connected += 1,
            Acquire::Wait => return self.join(shard),
        }
        Ok(())
    }

    fn acquire(&mut self, shard: usize, endpoint: usize) -> Outcome<Acquire> {
        let (taken, limit) = (&mut self.credits_taken, self.credit_limit);
        self.shards[shard].endpoints[endpoint].acquire(self.now, || {
            let free = *taken < limit;
            *taken += usize::from(free);
            free
        })
    }

    fn join(&mut self, shard: usize) -> Outcome {
        let waiting: usize = self.shards.iter().map(|shard| shard.waiting.len()).sum();
        if waiting >= self.pending_limit {
            self.report.overflowed += 1;
            return Ok(());
        }
        let (request, deadline) =
            (self.name(), self.now.after(Duration::from_millis(1 + self.rng.below(40))));
        let shard = &mut self.shards[shard];
        let Ok(ticket) = shard.pending.push(request, deadline) else {
            return Err(format!("the queue is full with {} of {}", shard.waiting.len(), self.pending_limit));
        };
        shard.waiting.push(Waiter { request, ticket, deadline });
        Ok(())
    }

    fn connect_done(&mut self, shard: usize, endpoint: usize, success: bool) -> Outcome {
        let key = self.name();
        let shadow = &mut self.shards[shard].endpoints[endpoint];
        if shadow.connecting == 0 {
            return Ok(());
        }
        if success {
            shadow.on_connected(key);
            return Ok(());
        }
        shadow.on_connect_failed();
        self.report.connect_failed += 1;
        self.credit_came_free(shard)
    }

    fn request_done(&mut self, shard: usize, endpoint: usize, reusable: bool) -> Outcome {
        let over = self.credits_taken > self.credit_limit;
        let chance = self.rng.bits() as usize;
        let active = &self.shards[shard].endpoints[endpoint].active;
        let Some(&key) = active.get(chance % active.len().max(1)) else { return Ok(()) };
        // The first waiter takes the connection over as it is.
        if reusable && !over && self.pop(shard)?.is_some() {
            self.report.served += 1;
            return Ok(());
        }
        let keep = reusable && self.short_by(shard) == 0;
        let shadow = &mut self.shards[shard].endpoints[endpoint];
        if let Some(closed) = shadow.release(key, keep, self.now)? {
            self.report.evicted += u64::from(closed != key);
            self.credit_came_free(shard)?;
        }
        Ok(())
    }

    fn peer_closes(&mut self, shard: usize, endpoint: usize) -> Outcome {
        let chance = self.rng.bits() as usize;
        if self.shards[shard].endpoints[endpoint].on_closed(chance)? {
            self.credit_came_free(shard)?;
        }
        Ok(())
    }

    fn cancel(&mut self, shard: usize) -> Outcome {
        let chance = self.rng.bits() as usize;
        let shard = &mut self.shards[shard];
        if let Some(&left) = shard.left.get(chance % shard.left.len().max(1))
            && shard.pending.cancel(left)
        {
            return Err(format!("{left:?} left already and was cancelled"));
        }
        if shard.waiting.is_empty() {
            return Ok(());
        }
        let waiter = shard.waiting.remove(chance % shard.waiting.len());
        if !shard.pending.cancel(waiter.ticket) {
            return Err(format!("request {} waits and could not be cancelled", waiter.request));
        }
        shard.left.push(waiter.ticket);
        self.report.cancelled += 1;
        Ok(())
    }

    /// What every shard does at its tick.
    fn tick(&mut self) -> Outcome {
        for shard in 0..self.shards.len() {
            for endpoint in 0..self.shards[shard].endpoints.len() {
                let shadow = &mut self.shards[shard].endpoints[endpoint];
                if shadow.draining && shadow.ledger.is_empty() {
                    // Another endpoint comes into the configuration.
                    *shadow = Shadow::new((self.ledger)(shadow.limits), shadow.limits);
                }
                let closed = shadow.expire(self.now)?;
                self.report.expired += closed as u64;
                self.credits_came_free(shard, closed)?;
            }
            self.refuse_expired(shard)?;
            self.evict(shard, self.short_by(shard))?;
            while !self.shards[shard].waiting.is_empty() && self.credits_taken < self.credit_limit {
                self.credits_taken += 1;
                self.credit_came_free(shard)?;
            }
        }
        Ok(())
    }

    fn refuse_expired(&mut self, shard: usize) -> Outcome {
        let now = self.now;
        let shard = &mut self.shards[shard];
        let mut refused = Vec::new();
        shard.pending.expire(now, &mut refused);
        let due = shard.waiting.extract_if(.., |waiter| now >= waiter.deadline);
        let due: Vec<Waiter> = due.collect();
        if !due.iter().map(|waiter| waiter.request).eq(refused.iter().copied()) {
            return Err(format!("refused {refused:?}, due were {due:?}"));
        }
        shard.left.extend(due.iter().map(|waiter| waiter.ticket));
        self.report.timed_out += due.len() as u64;
        Ok(())
    }

    fn change_limits(&mut self, shard: usize, endpoint: usize) -> Outcome {
        if self.rng.below(2) == 0 {
            self.credit_limit = 1 + self.rng.below(12) as usize;
            return Ok(());
        }
        let limits = idle_limits(&mut self.rng);
        let closed = self.shards[shard].endpoints[endpoint].set_limits(limits)?;
        self.credits_came_free(shard, closed)
    }

    /// The endpoint leaves the configuration.
    fn drain(&mut self, shard: usize, endpoint: usize) -> Outcome {
        self.report.drained += 1;
        let closed = self.shards[shard].endpoints[endpoint].drain()?;
        self.credits_came_free(shard, closed)
    }

    /// Closes up to `count` of a shard's longest idle connections.
    fn evict(&mut self, shard: usize, count: usize) -> Outcome<usize> {
        let mut evicted = 0;
        for endpoint in 0..self.shards[shard].endpoints.len() {
            while evicted < count && self.shards[shard].endpoints[endpoint].evict_oldest()? {
                evicted += 1;
                self.credits_taken -= 1;
            }
        }
        self.report.evicted += evicted as u64;
        Ok(evicted)
    }

    fn credits_came_free(&mut self, shard: usize, count: usize) -> Outcome {
        (0..count).try_for_each(|_| self.credit_came_free(shard))
    }

    /// A connection went: its credit, still taken, serves the first waiter or is given back.
    fn credit_came_free(&mut self, shard: usize) -> Outcome {
        while self.credits_taken <= self.credit_limit && self.pop(shard)?.is_some() {
            self.report.served += 1;
            let endpoint = self.below(self.shards[shard].endpoints.len());
            match self.shards[shard].endpoints[endpoint].acquire(self.now, || true)? {
                Acquire::Connect => return Ok(()),
                Acquire::Reuse(_) => {}
                Acquire::Wait => return Err("waits although a credit was offered".into()),
            }
        }
        self.credits_taken -= 1;
        Ok(())
    }

    /// Takes the first waiter out, who must be the first in the shadow whose deadline has not come.
    fn pop(&mut self, shard: usize) -> Outcome<Option<u32>> {
        let now = self.now;
        let shard = &mut self.shards[shard];
        let popped = shard.pending.pop(now);
        let place = shard.waiting.iter().position(|waiter| now < waiter.deadline);
        let first = place.map(|place| shard.waiting.remove(place));
        if popped != first.as_ref().map(|waiter| waiter.request) {
            return Err(format!("{popped:?} was taken from the queue instead of {first:?}"));
        }
        shard.left.extend(first.map(|waiter| waiter.ticket));
        Ok(popped)
    }

    fn short_by(&self, shard: usize) -> usize {
        let all: usize = self.shards.iter().map(|shard| shard.waiting.len()).sum();
        let elsewhere = all - self.shards[shard].waiting.len();
        short_by(self.credits_taken as u64, self.credit_limit as u64, elsewhere as u64) as usize
    }

    fn below(&mut self, bound: usize) -> usize {
        self.rng.below(bound as u64) as usize
    }

    fn name(&mut self) -> u32 {
        self.next += 1;
        self.next
    }
}

fn idle_limits(rng: &mut Rng) -> IdleLimits {
    IdleLimits { connections: rng.below(5) as usize, time: Duration::from_millis(5 + rng.below(60)) }
}
