//! Upstream connections of one shard: pools per endpoint, one idle table, credits of the whole proxy.
//!
//! Invariants:
//! - a connection holds one credit of its cluster from the moment it is tried until it is dropped;
//! - an idle connection has a receive in flight; whatever that brings closes it.

pub(crate) mod client;
pub(crate) mod cluster;
pub(crate) mod connection;
mod dial;
pub(crate) mod pool;
mod shared;
mod waiting;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use pinion_core::config::Endpoint;
use pinion_core::id::EndpointId;
use slab::Slab;

use crate::net::clock;
use cluster::EndpointState;
use connection::Upstream;

/// The upstream side of a shard.
#[derive(Default)]
pub(crate) struct Upstreams {
    endpoints: RefCell<HashMap<EndpointId, Rc<EndpointState>>>,
    idle: RefCell<Slab<Box<Upstream>>>,
    /// What waiters were given and have not taken yet, by the key of their slot.
    handed: RefCell<Vec<(u32, waiting::Handed)>>,
}

impl Upstreams {
    /// The state of an endpoint, made when it is first named.
    fn endpoint(&self, endpoint: &Endpoint, made: impl FnOnce() -> EndpointState) -> Rc<EndpointState> {
        self.endpoints.borrow_mut().entry(endpoint.id).or_insert_with(|| Rc::new(made())).clone()
    }

    /// Closes connections that have been idle for too long, or whose peer closed them.
    pub(crate) fn expire(&self) {
        let now = clock::now();
        let mut closed = Vec::new();
        for endpoint in self.endpoints.borrow().values() {
            endpoint.ledger.borrow_mut().expire(now, &mut closed);
        }
        for key in closed.drain(..) {
            self.close(key);
        }
        for (key, upstream) in self.idle.borrow_mut().iter_mut() {
            if upstream.surprised() && upstream.endpoint.ledger.borrow_mut().on_idle_closed(key as u32) {
                closed.push(key as u32);
            }
        }
        for key in closed {
            self.close(key);
        }
    }

    /// Closes every idle connection and keeps none from now on: the proxy drains.
    pub(crate) fn close_idle(&self) {
        let mut closed = Vec::new();
        for endpoint in self.endpoints.borrow().values() {
            endpoint.ledger.borrow_mut().drain(&mut closed);
            while endpoint.shared.evict_oldest() {}
        }
        for key in closed {
            self.close(key);
        }
    }

    /// Drops endpoints that no cluster names any more, with their idle connections.
    pub(crate) fn forget_unclaimed(&self) {
        let mut closed = Vec::new();
        self.endpoints.borrow_mut().retain(|_, endpoint| {
            // The map and nobody else: no cluster, no connection in use.
            let idle = endpoint.ledger.borrow().idle();
            let claimed =
                endpoint.shared.idle().is_none_or(|shared| Rc::strong_count(endpoint) > 1 + idle + shared);
            if !claimed {
                endpoint.ledger.borrow_mut().drain(&mut closed);
                endpoint.shared.drain();
            }
            claimed
        });
        for key in closed {
            self.close(key);
        }
    }

    fn close(&self, key: u32) {
        // Taken out first: dropping gives a credit back, which may wake a waiter.
        let upstream = self.idle.borrow_mut().try_remove(key as usize);
        drop(upstream);
    }
}
