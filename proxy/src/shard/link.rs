//! What crosses threads: immutable tables going in, a small closed set of messages, totals others read.
//!
//! ```text
//!   control thread                                   shard thread
//!   tables.store(new); published.store(generation)   every request: published == mine? else adopt
//!   inbox.push(message); wake                        inbox task: pop, act; adopted.store(generation)
//! ```
//!
//! Invariants:
//! - a shard reads `tables` only when `published` changed, and once per request;
//! - the inbox is bounded; a full inbox is the sender's problem, never a wait of the shard;
//! - `SharedCount`s are the only memory several shards write, and only when connections open and close or
//!   requests have to wait.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use crossbeam::queue::ArrayQueue;
use pinion_core::config::Snapshot;
use pinion_core::id::ListenerId;
use pinion_core::telemetry::{ClusterStats, EndpointStats, GrpcStats, ListenerStats, RouteStats, ShardStats};

use crate::net::parked::Parked;
use crate::tls::client::ClientTls;
use crate::tls::server::ServerTls;

/// Messages one shard can have waiting: listener changes of one reload and connections being moved.
pub(crate) const INBOX_MESSAGES: usize = 4_096;

/// A whole-proxy count with a limit, alone in its cache line.
#[repr(align(128))]
#[derive(Debug, Default)]
pub(crate) struct SharedCount(AtomicU64);

impl SharedCount {
    /// Counts one more unless `limit` are counted already.
    pub(crate) fn try_take(&self, limit: u64) -> bool {
        self.0
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |count| (count < limit).then_some(count + 1))
            .is_ok()
    }

    /// Counts one less.
    pub(crate) fn give(&self) {
        let before = self.0.fetch_sub(1, Ordering::AcqRel);
        debug_assert!(before > 0, "given more than taken");
    }

    /// The count now.
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A connection's place in the counts of its listener and of the proxy, given up on drop. It goes with the
/// connection from shard to shard.
pub(crate) struct Counted {
    listener: Arc<SharedCount>,
    proxy: Arc<SharedCount>,
}

impl Counted {
    /// A place, unless a limit is reached. `listener` is the listener's place in the tables.
    pub(crate) fn take(tables: &ShardTables, listener: usize) -> Option<Self> {
        let snapshot = &tables.snapshot;
        Self::within(
            tables,
            listener,
            snapshot.listeners[listener].limits.connections,
            snapshot.proxy.connections,
        )
    }

    /// A place for a connection that was let in before.
    pub(crate) fn again(tables: &ShardTables, listener: usize) -> Option<Self> {
        Self::within(tables, listener, u64::MAX, u64::MAX)
    }

    fn within(tables: &ShardTables, listener: usize, most: u64, most_of_proxy: u64) -> Option<Self> {
        let (listener, proxy) = (&tables.listener_connections[listener], &tables.proxy_connections);
        if !proxy.try_take(most_of_proxy) {
            return None;
        }
        if !listener.try_take(most) {
            proxy.give();
            return None;
        }
        Some(Counted { listener: listener.clone(), proxy: proxy.clone() })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.listener.give();
        self.proxy.give();
    }
}

/// One generation's tables as one shard sees them: the shared snapshot and this shard's own totals, each
/// list in the order of the snapshot's.
pub(crate) struct ShardTables {
    /// The compiled configuration.
    pub(crate) snapshot: Arc<Snapshot>,
    /// This shard's totals per listener, by `ListenerIndex`.
    pub(crate) listeners: Box<[Arc<ListenerStats>]>,
    /// This shard's totals per route, by `RouteIndex`.
    pub(crate) routes: Box<[Arc<RouteStats>]>,
    /// This shard's totals per gRPC method, by `RouteIndex` and the method's place in the route's list.
    pub(crate) methods: Box<[Box<[Arc<GrpcStats>]>]>,
    /// This shard's totals per cluster, by `ClusterIndex`.
    pub(crate) clusters: Box<[Arc<ClusterStats>]>,
    /// This shard's totals per endpoint, by `ClusterIndex` and place in the cluster.
    pub(crate) endpoints: Box<[Box<[Arc<EndpointStats>]>]>,
    /// Connections per listener, all shards, by `ListenerIndex`.
    pub(crate) listener_connections: Box<[Arc<SharedCount>]>,
    /// Upstream connections per cluster, all shards, by `ClusterIndex`.
    pub(crate) cluster_connections: Box<[Arc<SharedCount>]>,
    /// Waiting requests per cluster, all shards, by `ClusterIndex`.
    pub(crate) cluster_pending: Box<[Arc<SharedCount>]>,
    /// Downstream connections of the whole proxy.
    pub(crate) proxy_connections: Arc<SharedCount>,
    /// The TLS of listeners, by `ListenerIndex`; `None` is plain text.
    pub(crate) tls_listeners: Box<[Option<Arc<ServerTls>>]>,
    /// The TLS of clusters, by `ClusterIndex`; `None` is plain text.
    pub(crate) tls_clusters: Box<[Option<Arc<ClientTls>>]>,
}

/// What the control thread and other shards can ask of a shard.
pub(crate) enum ShardMessage {
    /// Accept on this socket for this listener.
    Listen {
        /// Whose socket it is.
        id: ListenerId,
        /// The bound, listening, non-blocking socket; closed by the shard.
        fd: OwnedFd,
    },
    /// Accept what is queued, then close the listener's socket.
    Unlisten {
        /// Whose socket to close.
        id: ListenerId,
    },
    /// Serve this connection from now on.
    Adopt(Box<Parked>, Counted),
    /// Close idle connections, answer with `Connection: close`, end what is left at the deadline.
    Drain {
        /// Nanoseconds of the process clock (`net::clock`).
        deadline_nanos: u64,
    },
    /// End the thread now.
    Stop,
    /// Look at `published` again.
    Refresh,
}

/// The shared side of one shard.
pub(crate) struct ShardLink {
    /// Which shard, from 0.
    pub(crate) index: usize,
    /// The tables in force.
    pub(crate) tables: ArcSwap<ShardTables>,
    /// The generation of `tables`, stored after them.
    pub(crate) published: AtomicU64,
    /// The generation the shard serves new requests from.
    pub(crate) adopted: AtomicU64,
    /// Messages to the shard; push, then [`ShardLink::wake`].
    pub(crate) inbox: ArrayQueue<ShardMessage>,
    /// Written to wake the shard.
    pub(crate) wake: OwnedFd,
    /// The shard's totals.
    pub(crate) stats: Arc<ShardStats>,
    /// The CPU the shard is pinned to, if any.
    pub(crate) cpu: Option<usize>,
    /// The driver in use: `io_uring` or `epoll`.
    pub(crate) driver: &'static str,
}

impl ShardLink {
    /// Publishes new tables: in force for every request that begins from now on.
    pub(crate) fn publish(&self, tables: Arc<ShardTables>) {
        let generation = tables.snapshot.generation;
        self.tables.store(tables);
        self.published.store(generation, Ordering::Release);
        let _ = self.send(ShardMessage::Refresh);
    }

    /// Sends a message and wakes the shard; gives the message back when the inbox is full.
    pub(crate) fn send(&self, message: ShardMessage) -> Result<(), ShardMessage> {
        let result = self.inbox.push(message);
        self.wake();
        result
    }

    /// Wakes the shard's inbox task.
    pub(crate) fn wake(&self) {
        // The counter saturates only after 2^64 wakes; EAGAIN would mean that it is awake anyway.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}
