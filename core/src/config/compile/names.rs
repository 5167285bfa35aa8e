//! The names that routes may use, and whether what they stand for can do what a route wants of it.

use std::collections::{HashMap, HashSet};

use super::super::http2::ClusterProtocol;
use super::super::problem::Problems;
use super::super::read::At;
use super::super::schema::Document;
use super::super::snapshot::Protocol;
use super::conditions;
use crate::id::{ClusterIndex, ListenerIndex};

/// The names that routes may use, each with the place of its first definition.
pub(super) struct Names<'a> {
    listeners: HashMap<&'a str, ListenerIndex>,
    /// What each speaks and whether it sees server names, by [`ListenerIndex`].
    pub(super) protocols: Box<[(Protocol, bool)]>,
    clusters: HashMap<&'a str, ClusterIndex>,
    /// By [`ClusterIndex`].
    cluster_protocols: Box<[ClusterProtocol]>,
    /// Clusters that some route names.
    pub(super) used: HashSet<ClusterIndex>,
}

impl<'a> Names<'a> {
    pub(super) fn of(document: &'a Document) -> Self {
        let mut listeners = HashMap::new();
        for (place, listener) in document.listeners.iter().enumerate() {
            if let Some(name) = &listener.value.name {
                listeners.entry(name.value.as_str()).or_insert(ListenerIndex(place as u32));
            }
        }
        let mut clusters = HashMap::new();
        for (place, cluster) in document.clusters.iter().enumerate() {
            if let Some(name) = &cluster.value.name {
                clusters.entry(name.value.as_str()).or_insert(ClusterIndex(place as u32));
            }
        }
        let protocols = document.listeners.iter().map(|listener| {
            let protocol = listener.value.protocol.value;
            let passing = protocol == Protocol::TlsPassthrough;
            (protocol, passing || (protocol == Protocol::Tcp && listener.value.tls.is_some()))
        });
        let protocols = protocols.collect();
        let cluster_protocols =
            document.clusters.iter().map(|cluster| cluster.value.protocol.value).collect();
        Names { listeners, protocols, clusters, cluster_protocols, used: HashSet::new() }
    }

    /// What the listener of that name speaks, and whether it sees server names.
    pub(super) fn protocol(&self, name: &At<String>) -> Option<(Protocol, bool)> {
        let index = self.listeners.get(name.value.as_str())?;
        self.protocols.get(index.index()).copied()
    }

    fn speaking(&self, wanted: impl Fn(&(Protocol, bool)) -> bool) -> Box<[ListenerIndex]> {
        let all = self.protocols.iter().enumerate().filter(|(_, protocol)| wanted(protocol));
        all.map(|(place, _)| ListenerIndex(place as u32)).collect()
    }

    /// Listeners that see server names.
    pub(super) fn seeing_names(&self) -> Box<[ListenerIndex]> {
        self.speaking(|(_, sees_names)| *sees_names)
    }

    /// The cluster of that name, which must speak what is asked of it: bytes with `stream`, else requests.
    pub(super) fn cluster(
        &mut self,
        name: &At<String>,
        stream: bool,
        problems: &mut Problems,
    ) -> Option<ClusterIndex> {
        let found = self.clusters.get(name.value.as_str()).copied();
        match found {
            Some(index) => {
                self.used.insert(index);
                match (stream, self.cluster_protocols.get(index.index())) {
                    (true, Some(ClusterProtocol::Http2 | ClusterProtocol::Auto)) => {
                        problems
                            .error(name.span.clone(), format!("the cluster `{}` speaks HTTP/2", name.value))
                            .label("connections are passed on to it")
                            .suggest("give it `protocol = \"tcp\"`");
                    }
                    (false, Some(ClusterProtocol::Tcp)) => {
                        problems
                            .error(
                                name.span.clone(),
                                format!("the cluster `{}` takes no requests", name.value),
                            )
                            .suggest("give it `protocol = \"http1\"`, or leave that out");
                    }
                    _ => {}
                }
            }
            None => {
                problems
                    .error(name.span.clone(), format!("there is no cluster `{}`", name.value))
                    .suggest_from(&name.value, sorted(self.clusters.keys()), "clusters");
            }
        }
        found
    }

    /// The listed listeners; without a list every one that reads requests.
    pub(super) fn listeners(
        &self,
        list: Option<&At<Vec<At<String>>>>,
        problems: &mut Problems,
    ) -> Option<Box<[ListenerIndex]>> {
        let Some(list) = list else { return Some(self.speaking(|(protocol, _)| !protocol.is_stream())) };
        conditions::not_empty(list, "listeners", "every listener", problems)?;
        let mut found = Vec::with_capacity(list.value.len());
        let mut whole = true;
        for name in &list.value {
            match self.listeners.get(name.value.as_str()) {
                Some(index) if found.contains(index) => {
                    problems
                        .warning(name.span.clone(), format!("the listener `{}` is listed twice", name.value));
                }
                Some(index) => found.push(*index),
                None => {
                    whole = false;
                    problems
                        .error(name.span.clone(), format!("there is no listener `{}`", name.value))
                        .suggest_from(&name.value, sorted(self.listeners.keys()), "listeners");
                }
            }
        }
        whole.then(|| found.into())
    }
}

/// Names in an order that does not change from run to run.
fn sorted<'a>(names: impl Iterator<Item = &'a &'a str>) -> impl Iterator<Item = &'a str> + Clone {
    let mut names: Vec<&str> = names.copied().collect();
    names.sort_unstable();
    names.into_iter()
}
