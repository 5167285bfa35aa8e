//! What must hold after every step of the pools' simulation, and at its end.
//!
//! Invariants: looking changes nothing; `finish` ends everything that is under way.
//!
//! Not here: what one ledger should hold (`shadow`).

use std::time::Duration;

use super::{Outcome, Shard, World};

impl World {
    pub(super) fn audit(&self) -> Outcome {
        let mut held = 0;
        for (place, shard) in self.shards.iter().enumerate() {
            for endpoint in &shard.endpoints {
                held += endpoint.audit()?;
            }
            if shard.pending.len() != shard.waiting.len() {
                return Err(format!("{} wait on {place}, expected {:?}", shard.pending.len(), shard.waiting));
            }
            let may_go_on = shard.waiting.iter().any(|waiter| self.now < waiter.deadline);
            if may_go_on && shard.idle() > 0 {
                return Err(format!("{:?} wait beside {} idle connections", shard.waiting, shard.idle()));
            }
        }
        if held != self.credits_taken {
            return Err(format!("ledgers hold {held} credits of {} taken", self.credits_taken));
        }
        Ok(())
    }

    /// Two ticks must let everybody go on who can; then everything ends and nothing may be left.
    pub(super) fn finish(&mut self) -> Outcome {
        self.tick()?;
        self.tick()?;
        self.audit()?;
        let waiting = self.shards.iter().any(|shard| !shard.waiting.is_empty());
        let idle: usize = self.shards.iter().map(Shard::idle).sum();
        if waiting && (self.credits_taken < self.credit_limit || idle > 0) {
            let (taken, limit) = (self.credits_taken, self.credit_limit);
            return Err(format!("requests wait although {taken} of {limit} are taken, {idle} of them idle"));
        }
        self.now = self.now.after(Duration::from_secs(1));
        self.tick()?;
        for shard in 0..self.shards.len() {
            for endpoint in 0..self.shards[shard].endpoints.len() {
                let closed = self.shards[shard].endpoints[endpoint].drain()?;
                self.credits_came_free(shard, closed)?;
                while self.shards[shard].endpoints[endpoint].connecting > 0 {
                    let success = self.rng.below(2) == 0;
                    self.connect_done(shard, endpoint, success)?;
                }
                while !self.shards[shard].endpoints[endpoint].active.is_empty() {
                    self.request_done(shard, endpoint, true)?;
                }
            }
        }
        self.audit()?;
        let ended = self.report.reused + self.report.connected + self.report.served + self.report.timed_out;
        let ended = ended + self.report.overflowed + self.report.cancelled;
        if self.credits_taken != 0 || ended != self.report.arrived {
            return Err(format!("{} credits leaked; {ended} ends: {:?}", self.credits_taken, self.report));
        }
        Ok(())
    }
}
