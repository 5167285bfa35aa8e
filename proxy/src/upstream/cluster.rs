//! A shard's state of one cluster: whose turn it is, who waits, and its endpoints.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use pinion_core::balance::Picker;
use pinion_core::config::{Address, Cluster};
use pinion_core::id::ClusterIndex;
use pinion_core::pool::{IdleLimits, Pending, PoolLedger};
use pinion_core::rng::Rng;
use pinion_core::telemetry::{ClusterStats, EndpointStats};

use super::Upstreams;
use super::shared::{Connections, Spoken};
use crate::h2::stream::Stream;
use crate::shard::link::{ShardTables, SharedCount};
use crate::tls::client::ClientTls;

/// One endpoint on one shard.
pub(crate) struct EndpointState {
    pub(crate) address: Address,
    /// The address as text, for the access log.
    pub(crate) name: Box<str>,
    pub(crate) ledger: RefCell<PoolLedger>,
    /// Its HTTP/2 connections.
    pub(crate) shared: Connections,
    /// Requests in hand, for balancing.
    pub(crate) load: Cell<u32>,
    pub(crate) stats: Arc<EndpointStats>,
}

impl EndpointState {
    /// What its connections speak, as far as that is known before one is made.
    pub(crate) fn speaks(&self, cluster: &ClusterState) -> Option<Spoken> {
        self.shared.speaks(cluster.cluster.protocol)
    }
}

/// One cluster on one shard.
pub(crate) struct ClusterState {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) endpoints: Box<[Rc<EndpointState>]>,
    pub(crate) stats: Arc<ClusterStats>,
    /// The TLS to its endpoints; `None` is plain text.
    pub(crate) tls: Option<Arc<ClientTls>>,
    /// Connections of all shards.
    pub(crate) connections: Arc<SharedCount>,
    /// Waiting requests of all shards.
    pub(crate) waiting: Arc<SharedCount>,
    pub(crate) pending: RefCell<Pending>,
    picker: RefCell<Picker>,
}

impl ClusterState {
    pub(crate) fn new(tables: &ShardTables, index: ClusterIndex, upstreams: &Upstreams) -> Self {
        let place = index.index();
        let cluster = tables.snapshot.clusters[place].clone();
        let limits = IdleLimits { connections: cluster.limits.idle_connections, time: cluster.timeouts.idle };
        let endpoints = cluster.endpoints.iter().zip(&tables.endpoints[place]).map(|(endpoint, stats)| {
            let state = upstreams.endpoint(endpoint, || EndpointState {
                address: endpoint.address.clone(),
                name: endpoint.address.to_string().into(),
                ledger: RefCell::new(PoolLedger::new(limits)),
                shared: Connections::default(),
                load: Cell::new(0),
                stats: stats.clone(),
            });
            upstreams.limit(&state, limits);
            state
        });
        let endpoints: Box<[_]> = endpoints.collect();
        let weights: Vec<u32> = cluster.endpoints.iter().map(|endpoint| endpoint.weight).collect();
        let seed = u64::from(cluster.id.0) ^ (Arc::as_ptr(&tables.clusters[place]) as u64);
        ClusterState {
            endpoints,
            stats: tables.clusters[place].clone(),
            tls: tables.tls_clusters.get(place).cloned().flatten(),
            connections: tables.cluster_connections[place].clone(),
            waiting: tables.cluster_pending[place].clone(),
            // The limit is the whole proxy's, kept by `waiting`.
            pending: RefCell::new(Pending::new(usize::MAX)),
            picker: RefCell::new(Picker::new(&weights, cluster.balance, seed)),
            cluster,
        }
    }

    /// A place on a shared connection of any endpoint.
    pub(crate) fn stream(&self) -> Option<(Stream, Rc<EndpointState>)> {
        self.endpoints.iter().find_map(|endpoint| Some((endpoint.shared.stream(None)?, endpoint.clone())))
    }

    /// The endpoint that takes the next request; `avoid` is one that just failed.
    pub(crate) fn pick(&self, rng: &RefCell<Rng>, avoid: Option<usize>) -> Option<usize> {
        let mut picker = self.picker.borrow_mut();
        let load = |place: usize| self.endpoints[place].load.get();
        let mut rng = rng.borrow_mut();
        let other = avoid.and_then(|avoid| picker.pick(&mut rng, load, |place| place != avoid));
        other.or_else(|| picker.pick(&mut rng, load, |_| true))
    }
}
