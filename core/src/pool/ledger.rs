//! Accounting of one endpoint's connections on one shard: idle ones by key, the others by number.
//!
//! ```text
//!   idle:  [oldest] ... [newest]
//!            ^ expire, evict, over the limit      ^ release puts here, acquire takes here (LIFO)
//! ```
//!
//! LIFO keeps few connections warm and lets the rest expire; the newest is also the least likely to have
//! been closed by the upstream.
//!
//! Invariants:
//! - `idle + active + connecting` is the number of credits held: every call that lets a connection go says
//!   so, and its caller gives that one credit back;
//! - `idle` never exceeds its limit, is ordered by time, and holds no key twice;
//! - nothing is allocated except while `idle` grows to its high-water mark.
//!
//! Cost: O(1), except [`PoolLedger::on_idle_closed`] and, past those that do not fit, [`PoolLedger::reuse`]: they look
//! through the idle keys.
//!
//! Not here: who waits (`pending`), closing anything.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Instant;

/// What a request does to get a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acquire {
    /// It takes this idle connection, which is active now. No credit was taken.
    Reuse(u32),
    /// It connects; a credit was taken. [`PoolLedger::on_connected`] or
    /// [`PoolLedger::on_connect_failed`] must follow.
    Connect,
    /// Nothing idle and no credit: it waits in `Pending`, or is refused.
    Wait,
}

/// What becomes of a connection that a request is done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Released {
    /// It is idle now.
    Kept,
    /// It is idle now and this older one must be closed for it; one credit is to be given back.
    KeptEvict(u32),
    /// It must be closed; its credit is to be given back.
    Close,
}

/// How many connections may be idle, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdleLimits {
    /// Idle connections per endpoint and shard; 0 keeps none. Key `idle_connections`.
    pub connections: usize,
    /// How long one may stay idle. Key `idle` of the cluster's timeouts.
    pub time: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Idle {
    key: u32,
    since: Instant,
}

/// Bugs that the simulation must find (`sim_tests`); not compiled into anything but tests.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Planted {
    LeakOnConnectFailure,
    OldestFirst,
    KeptWhileDraining,
    ReuseAfterExpiry,
}

/// The connections of one endpoint on one shard. Keys are the shard's own and only passed through.
#[derive(Debug)]
pub struct PoolLedger {
    /// Oldest in front.
    idle: VecDeque<Idle>,
    active: u32,
    connecting: u32,
    limits: IdleLimits,
    draining: bool,
    #[cfg(test)]
    pub(super) planted: Option<Planted>,
}

impl PoolLedger {
    /// An empty ledger; allocates nothing until a connection is kept.
    pub const fn new(limits: IdleLimits) -> Self {
        PoolLedger {
            idle: VecDeque::new(),
            active: 0,
            connecting: 0,
            limits,
            draining: false,
            #[cfg(test)]
            planted: None,
        }
    }

    /// Gives a request a connection: the newest idle one, else the right to connect if `credit` (asked at
    /// most once) takes a credit, else the advice to wait.
    ///
    /// One that has been idle for its whole time is not handed out; [`PoolLedger::expire`] returns it.
    pub fn acquire(&mut self, now: Instant, mut credit: impl FnMut() -> bool) -> Acquire {
        #[cfg(test)]
        if let Some(bug @ (Planted::OldestFirst | Planted::ReuseAfterExpiry)) = self.planted
            && let Some(idle) =
                if bug == Planted::OldestFirst { self.idle.pop_front() } else { self.idle.pop_back() }
        {
            self.active += 1;
            return Acquire::Reuse(idle.key);
        }
        if let Some(key) = self.reuse(now, |_| true) {
            return Acquire::Reuse(key);
        }
        if credit() {
            self.connecting += 1;
            return Acquire::Connect;
        }
        Acquire::Wait
    }

    /// Gives a request the newest idle connection that `fits` says it can use, if there is one; it is active now.
    pub fn reuse(&mut self, now: Instant, fits: impl Fn(u32) -> bool) -> Option<u32> {
        let time = self.limits.time;
        let place = self.idle.iter().rposition(|idle| now < idle.since.after(time) && fits(idle.key))?;
        let idle = self.idle.remove(place)?;
        self.active += 1;
        Some(idle.key)
    }

    /// A connect begins for which the caller has taken a credit already.
    pub fn on_connecting(&mut self) {
        self.connecting += 1;
    }

    /// A connection that [`Acquire::Connect`] asked for is there and in use under `key`.
    pub fn on_connected(&mut self, key: u32) {
        debug_assert!(self.connecting > 0, "connected without connecting");
        debug_assert!(!self.is_idle(key), "connection {key} is idle already");
        self.connecting = self.connecting.saturating_sub(1);
        self.active += 1;
    }

    /// A connection that [`Acquire::Connect`] asked for did not come to be, or nobody wants it any more:
    /// the caller gives one credit back.
    pub fn on_connect_failed(&mut self) {
        debug_assert!(self.connecting > 0, "connect failed without connecting");
        #[cfg(test)]
        if self.planted == Some(Planted::LeakOnConnectFailure) {
            return;
        }
        self.connecting = self.connecting.saturating_sub(1);
    }

    /// The request on `key` is done. `reusable` says that another request may use the connection.
    ///
    /// The caller closes what the answer names and gives one credit back for it. At the idle limit the
    /// oldest makes room.
    pub fn release(&mut self, key: u32, reusable: bool, now: Instant) -> Released {
        debug_assert!(self.active > 0, "released without an active connection");
        debug_assert!(!self.is_idle(key), "connection {key} released twice");
        self.active = self.active.saturating_sub(1);
        #[cfg(test)]
        if self.planted == Some(Planted::KeptWhileDraining) {
            self.draining = false;
        }
        if !reusable || self.draining || self.limits.connections == 0 {
            return Released::Close;
        }
        let evicted = if self.idle.len() >= self.limits.connections { self.evict_oldest() } else { None };
        // The order by time must hold even if a caller's clock reading is older than the last one.
        let since = self.idle.back().map_or(now, |newest| now.max(newest.since));
        self.idle.push_back(Idle { key, since });
        match evicted {
            Some(oldest) => Released::KeptEvict(oldest),
            None => Released::Kept,
        }
    }

    /// The peer closed `key`, or sent something unasked, while it was idle. True: it was idle here and is
    /// forgotten, the caller closes it and gives one credit back. False: it is not idle (it was handed out
    /// in the same turn); its user will notice.
    pub fn on_idle_closed(&mut self, key: u32) -> bool {
        let place = self.idle.iter().position(|idle| idle.key == key);
        place.and_then(|place| self.idle.remove(place)).is_some()
    }

    /// Appends to `out` every connection that has been idle for its whole time. The caller closes them and
    /// gives one credit back for each.
    pub fn expire(&mut self, now: Instant, out: &mut Vec<u32>) {
        while let Some(oldest) = self.idle.front().copied()
            && now >= oldest.since.after(self.limits.time)
        {
            self.idle.pop_front();
            out.push(oldest.key);
        }
    }

    /// When [`PoolLedger::expire`] has something to do next; `None` while nothing is idle.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.idle.front().map(|oldest| oldest.since.after(self.limits.time))
    }

    /// Gives up the connection that has been idle longest, because its credit is needed elsewhere. The
    /// caller closes it and has one credit more.
    pub fn evict_oldest(&mut self) -> Option<u32> {
        self.idle.pop_front().map(|idle| idle.key)
    }

    /// Puts new limits in force. Appends to `out` the oldest idle connections beyond them; the caller
    /// closes them and gives one credit back for each.
    pub fn set_limits(&mut self, limits: IdleLimits, out: &mut Vec<u32>) {
        self.limits = limits;
        let beyond = self.idle.len().saturating_sub(limits.connections);
        out.extend(self.idle.drain(..beyond).map(|idle| idle.key));
    }

    /// Keeps nothing from now on: the endpoint left the configuration or the proxy stops. Appends every
    /// idle connection to `out`; the caller closes them and gives one credit back for each. Active ones
    /// are closed as they are released. Requests that began earlier may still connect.
    pub fn drain(&mut self, out: &mut Vec<u32>) {
        self.draining = true;
        out.extend(self.idle.drain(..).map(|idle| idle.key));
    }

    /// Connections that wait for a request.
    pub fn idle(&self) -> usize {
        self.idle.len()
    }

    /// Connections in use.
    pub const fn active(&self) -> u32 {
        self.active
    }

    /// Connections on their way.
    pub const fn connecting(&self) -> u32 {
        self.connecting
    }

    /// The credits that this ledger holds: idle, active and connecting together.
    pub fn credits(&self) -> usize {
        self.idle.len() + self.active as usize + self.connecting as usize
    }

    /// Whether nothing is left, so that a drained ledger may be dropped.
    pub fn is_empty(&self) -> bool {
        self.credits() == 0
    }

    fn is_idle(&self, key: u32) -> bool {
        self.idle.iter().any(|idle| idle.key == key)
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
