//! Who counts where: the totals of each name, one a shard, kept over reloads.
//!
//! ```text
//!   "web" ─▶ [Arc<ListenerStats> of shard 0, of shard 1, …]      shards write, everybody reads
//! ```
//!
//! Invariants:
//! - a name that stays keeps its totals, whatever else changes: counters never go back;
//! - a name that goes is still reported for [`KEPT_AFTER`], so that its last counts are scraped, and goes
//!   on from them when it comes back within that time;
//! - names that are gone are bounded by [`GONE_MAX`], the oldest go first.
//!
//! Not here: metric names and the exposition.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pinion_core::config::Snapshot;
use pinion_core::config::snapshot::Address;
use pinion_core::route::Route;
use pinion_core::telemetry::GrpcStats;
use pinion_core::telemetry::stats::{ClusterStats, EndpointStats, ListenerStats, RouteStats};

use crate::shard::link::SharedCount;

/// How long a name that is no longer configured is reported: two scrapes at the usual longest interval.
pub(crate) const KEPT_AFTER: Duration = Duration::from_secs(120);
/// Names of one kind that are kept after they went.
pub(crate) const GONE_MAX: usize = 256;

/// The totals of one name: one a shard.
pub(crate) type PerShard<S> = Arc<[Arc<S>]>;

/// Names with their totals, in the order of names.
pub(crate) type Named<K, S> = Box<[(K, PerShard<S>)]>;

/// Everything there is to report, as of one publishing: names don't change, totals go on.
#[derive(Debug)]
pub(crate) struct View {
    /// By listener name.
    pub(crate) listeners: Named<Box<str>, ListenerStats>,
    /// By route name.
    pub(crate) routes: Named<Box<str>, RouteStats>,
    /// By route name and gRPC method.
    pub(crate) methods: Named<(Box<str>, Box<str>), GrpcStats>,
    /// By cluster name.
    pub(crate) clusters: Named<Box<str>, ClusterStats>,
    /// By cluster name and endpoint address.
    pub(crate) endpoints: Named<(Box<str>, Box<str>), EndpointStats>,
    /// What each listener is bound to: differs from its address for port 0.
    pub(crate) bound: Box<[(Box<str>, Address)]>,
}

/// The totals of every name of one kind.
#[derive(Debug)]
pub(crate) struct Series<K, S> {
    names: BTreeMap<K, Entry<S>>,
}

#[derive(Debug)]
struct Entry<S> {
    shards: PerShard<S>,
    gone: Option<Instant>,
}

impl<K, S> Default for Series<K, S> {
    fn default() -> Self {
        Series { names: BTreeMap::new() }
    }
}

impl<K: Ord + Clone, S: Default> Series<K, S> {
    /// The totals of `name`, new ones if it has none.
    fn of(&mut self, name: K, shards: usize) -> PerShard<S> {
        let new = || Entry { shards: (0..shards).map(|_| Arc::default()).collect(), gone: None };
        Arc::clone(&self.names.entry(name).or_insert_with(new).shards)
    }

    /// Marks what is not `kept` as gone and forgets what went long ago.
    fn settle(&mut self, now: Instant, kept: impl Fn(&K) -> bool) {
        for (name, entry) in &mut self.names {
            entry.gone = if kept(name) { None } else { entry.gone.or(Some(now)) };
        }
        self.names.retain(|_, entry| entry.gone.is_none_or(|gone| now.duration_since(gone) < KEPT_AFTER));
        let mut gone: Vec<(Instant, K)> =
            self.names.iter().filter_map(|(name, entry)| Some((entry.gone?, name.clone()))).collect();
        if gone.len() > GONE_MAX {
            gone.sort();
            for (_, name) in &gone[..gone.len() - GONE_MAX] {
                self.names.remove(name);
            }
        }
    }

    /// Every name with its totals, in the order of names.
    fn list(&self) -> Named<K, S> {
        self.names.iter().map(|(name, entry)| (name.clone(), Arc::clone(&entry.shards))).collect()
    }
}

/// The totals of everything that is or lately was configured.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    /// By listener name.
    listeners: Series<Box<str>, ListenerStats>,
    /// By route name.
    routes: Series<Box<str>, RouteStats>,
    /// By route name and gRPC method.
    methods: Series<(Box<str>, Box<str>), GrpcStats>,
    /// By cluster name.
    clusters: Series<Box<str>, ClusterStats>,
    /// By cluster name and endpoint address.
    endpoints: Series<(Box<str>, Box<str>), EndpointStats>,
    /// Connections of each listener, all shards.
    listener_connections: Shared,
    /// Upstream connections of each cluster, all shards.
    cluster_connections: Shared,
    /// Waiting requests of each cluster, all shards.
    cluster_pending: Shared,
    /// Downstream connections of the proxy.
    pub(crate) proxy_connections: Arc<SharedCount>,
}

/// Counts that limit the whole proxy, by name. A name's count lives as long as anybody holds it.
#[derive(Debug, Default)]
struct Shared(BTreeMap<Box<str>, Arc<SharedCount>>);

impl Shared {
    fn of(&mut self, name: &str) -> Arc<SharedCount> {
        Arc::clone(self.0.entry(name.into()).or_default())
    }

    /// Forgets what only this table knows: a count somebody holds may still be above zero.
    fn settle(&mut self) {
        self.0.retain(|_, count| Arc::strong_count(count) > 1);
    }
}

/// The totals that one snapshot needs, each list in the snapshot's order.
pub(super) struct Chosen {
    pub(super) listeners: Vec<PerShard<ListenerStats>>,
    pub(super) routes: Vec<PerShard<RouteStats>>,
    pub(super) methods: Vec<Vec<PerShard<GrpcStats>>>,
    pub(super) clusters: Vec<PerShard<ClusterStats>>,
    pub(super) endpoints: Vec<Vec<PerShard<EndpointStats>>>,
    pub(super) listener_connections: Vec<Arc<SharedCount>>,
    pub(super) cluster_connections: Vec<Arc<SharedCount>>,
    pub(super) cluster_pending: Vec<Arc<SharedCount>>,
}

impl Totals {
    /// The totals for `snapshot` on `shards` shards.
    pub(super) fn choose(&mut self, snapshot: &Snapshot, shards: usize) -> Chosen {
        let listeners = snapshot.listeners.iter();
        let clusters = snapshot.clusters.iter();
        Chosen {
            listeners: listeners.clone().map(|l| self.listeners.of(l.name.clone(), shards)).collect(),
            routes: snapshot.routes.routes().iter().map(|r| self.routes.of(r.name.clone(), shards)).collect(),
            methods: snapshot
                .routes
                .routes()
                .iter()
                .map(|route| methods(route).map(|key| self.methods.of(key, shards)).collect())
                .collect(),
            clusters: clusters.clone().map(|c| self.clusters.of(c.name.clone(), shards)).collect(),
            endpoints: clusters
                .clone()
                .map(|c| {
                    let key = |address: String| (c.name.clone(), address.into_boxed_str());
                    let endpoints = c.endpoints.iter().map(|e| key(e.address.to_string()));
                    endpoints.map(|key| self.endpoints.of(key, shards)).collect()
                })
                .collect(),
            listener_connections: listeners.map(|l| self.listener_connections.of(&l.name)).collect(),
            cluster_connections: clusters.clone().map(|c| self.cluster_connections.of(&c.name)).collect(),
            cluster_pending: clusters.map(|c| self.cluster_pending.of(&c.name)).collect(),
        }
    }

    /// What there is to report, with what listeners are bound to.
    pub(super) fn view(&self, bound: Box<[(Box<str>, Address)]>) -> View {
        View {
            bound,
            listeners: self.listeners.list(),
            routes: self.routes.list(),
            methods: self.methods.list(),
            clusters: self.clusters.list(),
            endpoints: self.endpoints.list(),
        }
    }

    /// Follows a snapshot that came into force: what it does not name is going.
    pub(super) fn settle(&mut self, snapshot: &Snapshot, now: Instant) {
        use std::collections::HashSet;
        let listeners: HashSet<&str> = snapshot.listeners.iter().map(|l| &*l.name).collect();
        let routes: HashSet<&str> = snapshot.routes.routes().iter().map(|r| &*r.name).collect();
        let clusters: HashSet<&str> = snapshot.clusters.iter().map(|c| &*c.name).collect();
        let endpoints: HashSet<(&str, String)> = snapshot
            .clusters
            .iter()
            .flat_map(|c| c.endpoints.iter().map(move |e| (&*c.name, e.address.to_string())))
            .collect();
        self.listeners.settle(now, |name| listeners.contains(&**name));
        self.routes.settle(now, |name| routes.contains(&**name));
        let methods: HashSet<(Box<str>, Box<str>)> =
            snapshot.routes.routes().iter().flat_map(|route| methods(route)).collect();
        self.methods.settle(now, |name| methods.contains(name));
        self.clusters.settle(now, |name| clusters.contains(&**name));
        self.endpoints
            .settle(now, |(cluster, address)| endpoints.contains(&(&**cluster, address.to_string())));
        self.listener_connections.settle();
        self.cluster_connections.settle();
        self.cluster_pending.settle();
    }
}

/// Where gRPC methods that no route lists are counted.
pub(crate) const OTHER_METHODS: &str = "other/other";

/// The names of a route's gRPC totals, in the order of the methods' places: none if it lists none.
fn methods(route: &Route) -> impl Iterator<Item = (Box<str>, Box<str>)> {
    let listed = &route.grpc.methods;
    let other = (!listed.is_empty()).then(|| OTHER_METHODS.to_owned());
    let names = listed.iter().map(|(service, method)| format!("{service}/{method}")).chain(other);
    names.map(|name| (route.name.clone(), name.into_boxed_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_totals_while_it_stays_and_shortly_after() {
        let mut series = Series::<&str, ListenerStats>::default();
        let start = Instant::now();
        let first = series.of("web", 2);
        first[1].requests_total.add(3);
        series.settle(start, |_| true);
        series.settle(start, |_| false);
        let soon = start + KEPT_AFTER / 2;
        series.settle(soon, |_| false);
        assert_eq!(series.of("web", 2)[1].requests_total.get(), 3, "back in time: goes on");
        series.settle(soon, |_| true);
        series.settle(soon, |_| false);
        series.settle(soon + KEPT_AFTER, |_| false);
        assert_eq!(series.list().len(), 0);
        assert_eq!(series.of("web", 2)[1].requests_total.get(), 0, "a new life");
    }

    #[test]
    fn names_that_went_are_bounded_and_the_oldest_go_first() {
        let mut series = Series::<usize, ListenerStats>::default();
        let start = Instant::now();
        for name in 0..GONE_MAX + 10 {
            series.of(name, 1);
            series.settle(start + Duration::from_millis(name as u64), |_| false);
        }
        let left: Vec<usize> = series.list().iter().map(|(name, _)| *name).collect();
        assert_eq!(left, (10..GONE_MAX + 10).collect::<Vec<_>>());
    }
}
