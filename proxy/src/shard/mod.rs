//! One shard: a pinned thread with its own driver, sockets, buffers, timers and totals.
//!
//! ```text
//!   accept ──> connection ──(first byte)──> seat: requests ──> record
//!      ^            │  ^                         │
//!   listeners    idle, parked             upstream pools
//! ```
//!
//! Invariants:
//! - nothing here is shared with other shards but what `link` names;
//! - the request path reads `tables` once a request; a change of generation is noticed by one load.

mod chores;
mod inbox;
pub(crate) mod lease;
pub(crate) mod link;
pub(crate) mod slots;
pub(crate) mod start;
pub(crate) mod tables;
pub(crate) mod timer;

use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::rc::{Rc, Weak};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use pinion_core::id::ListenerId;
use pinion_core::rng::Rng;
use pinion_core::route::MatchScratch;
use pinion_core::telemetry::ShardStats;
use pinion_core::time::Instant;

use crate::h2::workers::Shared;
use crate::net::Driver;
use crate::net::buffers::BufferPool;
use crate::net::splice::Pipes;
use crate::serve::listen::Listening;
use crate::serve::seat::Seats;
use crate::serve::trip::Trips;
use crate::sys::alloc;
use crate::telemetry::access::AccessSink;
use crate::tls::TlsShard;
use crate::upstream::Upstreams;
use link::ShardLink;
use slots::Slots;
use tables::Tables;

/// All shards' links, known once all have started.
pub(crate) type Peers = Arc<OnceLock<Box<[Arc<ShardLink>]>>>;

/// Everything one shard owns.
pub(crate) struct Shard {
    pub(crate) link: Arc<ShardLink>,
    pub(crate) peers: Peers,
    pub(crate) driver: Driver,
    pub(crate) stats: Arc<ShardStats>,
    pub(crate) buffers: BufferPool,
    pub(crate) pipes: Pipes,
    pub(crate) slots: Slots,
    pub(crate) tls: Rc<TlsShard>,
    pub(crate) seats: Seats,
    pub(crate) trips: Trips,
    pub(crate) h2: Rc<Shared>,
    pub(crate) upstreams: Upstreams,
    pub(crate) listening: Listening,
    pub(crate) rng: RefCell<Rng>,
    pub(crate) matching: RefCell<MatchScratch>,
    pub(crate) access: RefCell<AccessSink>,
    tables: RefCell<Rc<Tables>>,
    drain: Cell<Option<Instant>>,
    me: OnceCell<Weak<Shard>>,
}

impl Shard {
    /// A shard on the current thread; its driver must be running.
    pub(crate) fn new(
        link: Arc<ShardLink>,
        peers: Peers,
        driver: Driver,
        access: AccessSink,
        seed: u64,
    ) -> io::Result<Rc<Self>> {
        let shared = link.tables.load_full();
        let buffers = BufferPool::new(shared.snapshot.proxy.shard_memory);
        let slots = Slots::new(link.stats.clone())?;
        let upstreams = Upstreams::default();
        let tables = Tables::new(shared, &upstreams, None);
        let generation = tables.shared.snapshot.generation;
        let shard = Rc::new(Shard {
            stats: link.stats.clone(),
            tls: TlsShard::new(buffers.clone(), slots.clone(), link.stats.clone()),
            peers,
            driver,
            buffers,
            pipes: Pipes::default(),
            slots,
            seats: Seats::default(),
            trips: Trips::default(),
            h2: Rc::default(),
            upstreams,
            listening: Listening::default(),
            rng: RefCell::new(Rng::seeded(seed)),
            matching: RefCell::new(MatchScratch::default()),
            access: RefCell::new(access),
            tables: RefCell::new(Rc::new(tables)),
            drain: Cell::new(None),
            me: OnceCell::new(),
            link,
        });
        let _ = shard.me.set(Rc::downgrade(&shard));
        shard.acknowledge(generation);
        Ok(shard)
    }

    /// The shard for a task of its own; always there, because whoever asks has a reference.
    pub(crate) fn handle(&self) -> Option<Rc<Shard>> {
        self.me.get().and_then(Weak::upgrade)
    }

    /// The tables in force, for one request.
    pub(crate) fn tables(&self) -> Rc<Tables> {
        if self.link.published.load(Ordering::Acquire) != self.stats.generation.get() {
            self.adopt();
        }
        self.tables.borrow().clone()
    }

    /// Whether the tables in force name the listener.
    pub(crate) fn has_listener(&self, id: ListenerId) -> bool {
        self.tables.borrow().shared.snapshot.listeners.iter().any(|listener| listener.id == id)
    }

    /// Takes over the published tables and says so.
    pub(crate) fn adopt(&self) {
        let shared = self.link.tables.load_full();
        let generation = shared.snapshot.generation;
        let old = self.tables.borrow().clone();
        if generation != old.shared.snapshot.generation {
            let new = Rc::new(Tables::new(shared, &self.upstreams, Some(&old)));
            self.tables.replace(new);
        }
        self.acknowledge(generation);
    }

    fn acknowledge(&self, generation: u64) {
        self.stats.generation.set(generation);
        self.link.adopted.store(generation, Ordering::Release);
    }

    /// Has every other shard look at what this one may need of it.
    pub(crate) fn wake_peers(&self) {
        for link in self.peers.get().into_iter().flatten() {
            if link.index != self.link.index {
                link.wake();
            }
        }
    }

    /// Brings the count of the thread's allocations up to date.
    pub(crate) fn count_allocations(&self) {
        let allocations = alloc::allocations();
        self.stats.allocations.add(allocations - self.stats.allocations.get());
    }

    /// Until when what is in progress may go on, if the proxy drains.
    pub(crate) fn draining(&self) -> Option<Instant> {
        self.drain.get()
    }
}
