//! The tables of one generation as a shard uses them: the shared part, and its own state per cluster.
//!
//! Invariants: a cluster that did not change keeps its state (turns, pools, waiters) over reloads; endpoints
//! keep their connections as long as some cluster names them.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use pinion_core::id::ClusterIndex;

use super::link::ShardTables;
use crate::upstream::Upstreams;
use crate::upstream::cluster::ClusterState;

/// One generation on one shard.
pub(crate) struct Tables {
    pub(crate) shared: Arc<ShardTables>,
    /// Made when first used: most clusters of a large configuration are idle on most shards.
    clusters: Box<[OnceCell<Rc<ClusterState>>]>,
}

impl Tables {
    /// Wraps `shared`; carries over from `old` what did not change, and lets go of what is no longer named.
    pub(crate) fn new(shared: Arc<ShardTables>, upstreams: &Upstreams, old: Option<&Tables>) -> Self {
        let clusters = shared.snapshot.clusters.iter().map(|_| OnceCell::new()).collect();
        let tables = Tables { shared, clusters };
        if let Some(old) = old {
            tables.carry_over(old, upstreams);
        }
        tables
    }

    fn carry_over(&self, old: &Tables, upstreams: &Upstreams) {
        let clusters = &self.shared.snapshot.clusters;
        let places: HashMap<_, _> =
            clusters.iter().enumerate().map(|(place, cluster)| (cluster.id, place)).collect();
        for state in old.used() {
            let Some(&place) = places.get(&state.cluster.id) else {
                continue;
            };
            let unchanged = Arc::ptr_eq(&clusters[place], &state.cluster);
            if unchanged {
                let _ = self.clusters[place].set(state.clone());
            } else {
                // Built now, so that it claims the endpoints it shares with the old one.
                self.cluster(ClusterIndex(place as u32), upstreams);
            }
        }
    }

    /// The clusters that this shard has used.
    pub(crate) fn used(&self) -> impl Iterator<Item = &Rc<ClusterState>> {
        self.clusters.iter().filter_map(OnceCell::get)
    }

    /// This shard's state of a cluster.
    pub(crate) fn cluster(&self, index: ClusterIndex, upstreams: &Upstreams) -> &Rc<ClusterState> {
        self.clusters[index.index()]
            .get_or_init(|| Rc::new(ClusterState::new(&self.shared, index, upstreams)))
    }
}
