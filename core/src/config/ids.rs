//! Gives out the ids that outlive snapshots: the same name keeps its id over reloads.
//!
//! Invariants: an id is given to one key only, ever (the counters never go back); keys that neither the
//! newest nor the previous configuration uses are forgotten, so that memory follows the configuration.

use std::collections::HashMap;

use super::snapshot::{Address, Snapshot};
use crate::id::{ClusterId, EndpointId, ListenerId, RouteId};

/// The registry of names, kept by the program over reloads.
#[derive(Debug, Default)]
pub struct Ids {
    listeners: Registry,
    routes: Registry,
    clusters: Registry,
    endpoints: Registry,
}

impl Ids {
    /// The id of a listener of this name and address.
    pub fn listener(&mut self, name: &str, address: &Address) -> ListenerId {
        ListenerId(self.listeners.id(format!("{name}\n{address}")))
    }

    /// The id of a route of this name.
    pub fn route(&mut self, name: &str) -> RouteId {
        RouteId(self.routes.id(name.to_owned()))
    }

    /// The id of a cluster of this name.
    pub fn cluster(&mut self, name: &str) -> ClusterId {
        ClusterId(self.clusters.id(name.to_owned()))
    }

    /// The id of an endpoint of this cluster and address.
    pub fn endpoint(&mut self, cluster: &str, address: &Address) -> EndpointId {
        EndpointId(self.endpoints.id(format!("{cluster}\n{address}")))
    }

    /// Forgets keys that neither this round nor `previous` used; ends the round.
    pub(crate) fn end_round(&mut self, previous: Option<&Snapshot>) {
        if let Some(previous) = previous {
            for listener in &previous.listeners {
                self.listeners.keep(listener.id.0);
            }
            for route in previous.routes.routes() {
                self.routes.keep(route.id.0);
            }
            for cluster in &previous.clusters {
                self.clusters.keep(cluster.id.0);
                for endpoint in &cluster.endpoints {
                    self.endpoints.keep(endpoint.id.0);
                }
            }
        }
        for registry in [&mut self.listeners, &mut self.routes, &mut self.clusters, &mut self.endpoints] {
            registry.end_round();
        }
    }
}

#[derive(Debug, Default)]
struct Registry {
    known: HashMap<String, u32>,
    used: std::collections::HashSet<u32>,
    next: u32,
}

impl Registry {
    fn id(&mut self, key: String) -> u32 {
        let next = &mut self.next;
        let id = *self.known.entry(key).or_insert_with(|| {
            let id = *next;
            *next += 1;
            id
        });
        self.used.insert(id);
        id
    }

    fn keep(&mut self, id: u32) {
        self.used.insert(id);
    }

    fn end_round(&mut self) {
        let used = std::mem::take(&mut self.used);
        self.known.retain(|_, id| used.contains(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_id_and_ids_are_not_reused() {
        let mut ids = Ids::default();
        let (a, b) = (ids.cluster("a"), ids.cluster("b"));
        assert_ne!(a, b);
        ids.end_round(None);
        assert_eq!(ids.cluster("b"), b);
        ids.end_round(None);
        let again = ids.cluster("a");
        assert!(again != a && again != b, "a forgotten name gets a fresh id");
    }
}
