//! TLS under a socket: after a handshake every operation of the [`Socket`](crate::net::socket::Socket)
//! carries plaintext.
//!
//! ```text
//!   accept / connect ──handshake──> session ──bulk or tunnel──> kernel session
//!                                      └──────────────closed────────┴──> gone
//! ```
//!
//! Invariants:
//! - one pump on the library's unbuffered connections serves the handshake, the data and the way to the kernel;
//! - a session holds a pooled buffer only while it has part of a record, or plaintext that nobody has taken.
//!
//! Not here: configuration, certificates, who is trusted.

mod engine;
pub(crate) mod facts;
pub(crate) mod failure;
pub(crate) mod handshake;
pub(crate) mod kernel;
pub(crate) mod session;
pub(crate) mod steps;
#[cfg(test)]
pub(crate) mod testing;

use std::rc::Rc;
use std::sync::Arc;

use pinion_core::telemetry::ShardStats;

use crate::net::buffers::BufferPool;
use crate::shard::slots::Slots;
use steps::Steps;

/// What TLS needs of its shard.
pub(crate) struct TlsShard {
    pub(crate) buffers: BufferPool,
    pub(crate) slots: Slots,
    pub(crate) stats: Arc<ShardStats>,
    /// The budget of its handshakes.
    pub(crate) steps: Steps,
}

impl TlsShard {
    /// Of a shard with these.
    // ALLOC: once a shard.
    pub(crate) fn new(buffers: BufferPool, slots: Slots, stats: Arc<ShardStats>) -> Rc<Self> {
        let steps = Steps::new(stats.clone());
        Rc::new(TlsShard { buffers, slots, stats, steps })
    }
}
