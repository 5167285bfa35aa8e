//! Which shard serves a client's HTTP/2 connection: decided at its beginning, and again every period.
//!
//! Few long connections may do all the work of a proxy. So shards compare what they did, not how many connections
//! they have; the decisions are `pinion_core::balance::shards`.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use pinion_core::balance::shards;
use pinion_core::telemetry::ShardStats;

use super::session::Session;
use crate::shard::Shard;

/// After giving a connection away, for how many periods a shard gives none: until the totals show what came of it.
const PAUSE_PERIODS: u32 = 2;
/// Bytes that cost about as much as a request.
const BYTES_SHIFT: u32 = 14;

/// What a shard knows of all shards' work, and its own connections.
#[derive(Default)]
pub(crate) struct Placement {
    connections: RefCell<Vec<Weak<Session>>>,
    /// The totals of each shard at the last look.
    totals: RefCell<Vec<u64>>,
    /// What each shard did in the period before.
    work: RefCell<Vec<u64>>,
    pause: Cell<u32>,
}

/// Requests and bytes of a shard in one number.
fn total(stats: &ShardStats) -> u64 {
    let bytes = |counters: &[pinion_core::telemetry::counters::Counter]| {
        counters.iter().map(|counter| counter.get()).sum::<u64>()
    };
    let relayed = bytes(&stats.relay_bytes_copy) + bytes(&stats.relay_bytes_splice);
    stats.requests_total.get() + (relayed >> BYTES_SHIFT)
}

impl Session {
    /// What the connection did so far, in the unit of shards' work.
    pub(super) fn work(&self) -> u64 {
        self.begun.get() + (self.bytes.get() >> BYTES_SHIFT)
    }
}

impl Placement {
    /// A client's connection begins here.
    pub(super) fn add(&self, session: &Rc<Session>) {
        self.connections.borrow_mut().push(Rc::downgrade(session));
    }

    /// Compares the work of all shards since the last call, and gives a connection away if this one did far more
    /// than another. Called once a period.
    pub(crate) fn look(&self, shard: &Shard) {
        self.connections.borrow_mut().retain(|connection| connection.strong_count() > 0);
        let Some(peers) = shard.peers.get() else {
            return;
        };
        let (mut totals, mut work) = (self.totals.borrow_mut(), self.work.borrow_mut());
        let first = totals.len() != peers.len();
        totals.resize(peers.len(), 0);
        work.resize(peers.len(), 0);
        for ((total_before, work), peer) in totals.iter_mut().zip(work.iter_mut()).zip(peers) {
            let now = total(&peer.stats);
            *work = if first { 0 } else { now - *total_before };
            *total_before = now;
        }
        // Every connection's own count moves on, also when none is given.
        let connections = self.connections.borrow();
        let alive = || connections.iter().filter_map(Weak::upgrade);
        alive().for_each(|session| session.settle_work());
        if self.pause.get() > 0 {
            self.pause.set(self.pause.get() - 1);
            return;
        }
        if shard.draining().is_none()
            && let Some(gift) = shards::gift(&work, shard.link.index)
            && let Some(place) = gift.choose(alive().map(|session| session.work_done()))
            && alive().nth(place).is_some_and(|session| session.ask_to_move(gift.to))
        {
            self.pause.set(PAUSE_PERIODS);
            shard.stats.connections_rebalanced.inc();
        }
    }

    /// The shard where a connection that came to this one should begin, if that is another. `open` counts the
    /// connections of a shard that it stands beside.
    // ALLOC: once a connection.
    pub(crate) fn beginning(&self, shard: &Shard, open: impl Fn(&ShardStats) -> u64) -> Option<usize> {
        let peers = shard.peers.get()?;
        if peers.len() < 2 || shard.draining().is_some() {
            return None;
        }
        // Those on their way count as well: a burst is handed on before the first of it arrives.
        let held = peers.iter().map(|peer| open(&peer.stats) + peer.inbox.len() as u64);
        let connections: Vec<u64> = held.collect();
        let work = self.work.borrow();
        let unknown = vec![0; peers.len()];
        let work = if work.len() == peers.len() { &work[..] } else { &unknown[..] };
        shards::beginning(work, &connections, shard.link.index)
    }
}
