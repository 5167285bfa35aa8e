//! Everything one scrape says, gathered by reference from the shards' stats.
//!
//! Invariants:
//! - gathering takes references only; numbers are read when they are written out;
//! - things of the same name are added up, so that no series comes twice.
//!
//! Not here: who owns the stats (publisher), the text ([`expose`](super::expose)).

use std::collections::BTreeMap;
use std::time::Duration;

use pinion_core::telemetry::GrpcStats;
use pinion_core::telemetry::stats::{ClusterStats, EndpointStats, ListenerStats, RouteStats, ShardStats};

use super::process::ProcessFacts;
use super::writer::LogStats;
use crate::tls::store::Report;

/// What reloads did; the publisher keeps it.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConfigStatus {
    /// Generation of the snapshot in force.
    pub(crate) generation: u64,
    /// Whether the last attempt was put in force.
    pub(crate) last_successful: bool,
    /// Unix time at which a configuration was last put in force.
    pub(crate) last_success: Duration,
    /// Unix time at which a configuration was last rejected; zero if never.
    pub(crate) last_failure: Duration,
    /// Configurations put in force, the first one included.
    pub(crate) successes: u64,
    /// Configurations rejected.
    pub(crate) failures: u64,
}

/// The stats of things by the labels that name them, each with one reference per shard.
pub(crate) type Named<'a, T, const LABELS: usize = 1> = BTreeMap<[String; LABELS], Vec<&'a T>>;

/// What one scrape covers.
#[derive(Debug, Default)]
pub(crate) struct Collected<'a> {
    /// The I/O driver's name.
    pub(crate) driver: &'static str,
    /// Whether `/ready` says so.
    pub(crate) ready: bool,
    /// What reloads did.
    pub(crate) config: ConfigStatus,
    /// The shards in their order.
    pub(crate) shards: Vec<&'a ShardStats>,
    /// Listeners by name.
    pub(crate) listeners: Named<'a, ListenerStats>,
    /// Routes by name.
    pub(crate) routes: Named<'a, RouteStats>,
    /// gRPC methods by route, service and name.
    pub(crate) methods: Named<'a, GrpcStats, 3>,
    /// Clusters by name.
    pub(crate) clusters: Named<'a, ClusterStats>,
    /// Endpoints by cluster and address.
    pub(crate) endpoints: Named<'a, EndpointStats, 2>,
    /// The access log's writer.
    pub(crate) log: Option<&'a LogStats>,
    /// The TLS of listeners and clusters.
    pub(crate) tls: Vec<Report>,
    /// What the kernel says.
    pub(crate) process: ProcessFacts,
}

impl<'a> Collected<'a> {
    /// Adds one shard's stats of the listener `name`.
    pub(crate) fn listener(&mut self, name: &str, stats: &'a ListenerStats) {
        self.listeners.entry([name.to_owned()]).or_default().push(stats);
    }

    /// Adds one shard's stats of the route `name`.
    pub(crate) fn route(&mut self, name: &str, stats: &'a RouteStats) {
        self.routes.entry([name.to_owned()]).or_default().push(stats);
    }

    /// Adds one shard's stats of a route's gRPC `method`, `package.Service/Method`.
    pub(crate) fn method(&mut self, route: &str, method: &str, stats: &'a GrpcStats) {
        let (service, method) = method.split_once('/').unwrap_or((method, ""));
        let key = [route, service, method].map(str::to_owned);
        self.methods.entry(key).or_default().push(stats);
    }

    /// Adds one shard's stats of the cluster `name`.
    pub(crate) fn cluster(&mut self, name: &str, stats: &'a ClusterStats) {
        self.clusters.entry([name.to_owned()]).or_default().push(stats);
    }

    /// Adds one shard's stats of the endpoint of `cluster` at `address`.
    pub(crate) fn endpoint(&mut self, cluster: &str, address: String, stats: &'a EndpointStats) {
        self.endpoints.entry([cluster.to_owned(), address]).or_default().push(stats);
    }
}
