//! TLS under a socket, and what it is made with: after a handshake every operation of the
//! [`Socket`](crate::net::socket::Socket) carries plaintext.
//!
//! ```text
//!   settings ─▶ files ─▶ read together ─▶ context of a listener or cluster, swapped in
//!                 └ watched: changed ──────────────▲      │  a bad set is kept out, the last good one stays
//!                                                         ▼
//!                             accept / connect ──handshake──> session ──bulk or tunnel──> kernel session
//!                                                                └────────closed──────────┴──> gone
//! ```
//!
//! - [`server`], [`client`]: the contexts that handshakes take;
//! - [`verify`]: whose certificates are believed, who is permitted, and why not;
//! - `identity`: what a verified certificate says of its owner;
//! - `material`, `files`, `ocsp`: reading and checking files;
//! - [`store`]: the contexts of one configuration;
//! - [`handshake`], [`session`], [`kernel`]: connections.
//!
//! Invariants:
//! - one pump on the library's unbuffered connections serves the handshake, the data and the way to the kernel;
//! - a session holds a pooled buffer only while it has part of a record, or plaintext that nobody has taken.
//!
//! Not here: noticing that files changed (`config::reload`).

pub(crate) mod client;
mod context;
mod engine;
pub(crate) mod facts;
pub(crate) mod failure;
mod files;
pub(crate) mod handshake;
mod identity;
pub(crate) mod kernel;
mod material;
mod ocsp;
pub(crate) mod server;
pub(crate) mod session;
pub(crate) mod steps;
pub(crate) mod store;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub(crate) mod verify;

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
