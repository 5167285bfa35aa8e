//! Compiles `[[clusters]]`.

use std::collections::HashMap;
use std::path::Path;

use super::super::http2::ClusterProtocol;
use super::super::problem::Problems;
use super::super::read::At;
use super::super::schema::{self, EndpointEntry};
use super::super::snapshot::{Address, Cluster, ClusterLimits, ClusterTimeouts, Endpoint, Listener};
use super::{address_key, http2, positive, unique_name, within};
use crate::id::{ClusterId, EndpointId};

/// The clusters in the order written; one with a missing key stands in with an empty name, so that places
/// agree.
pub(super) fn compile(
    sections: &[At<schema::Cluster>],
    listeners: &[Listener],
    base_dir: &Path,
    problems: &mut Problems,
) -> Vec<Cluster> {
    let mut names = HashMap::new();
    let mut clusters = Vec::with_capacity(sections.len());
    for section in sections {
        let cluster = &section.value;
        if let Some(name) = &cluster.name {
            unique_name(name, "cluster", &mut names, problems);
        }
        if let Some(header) = &cluster.proxy_protocol
            && matches!(cluster.protocol.value, ClusterProtocol::Http2 | ClusterProtocol::Auto)
        {
            problems
                .error(header.span.clone(), "connections that requests share can't tell of one client")
                .suggest("write `protocol = \"http1\"`, or leave the PROXY header out");
        }
        clusters.push(Cluster {
            id: ClusterId(0),
            name: cluster.name.as_ref().map_or("", |name| &name.value).into(),
            endpoints: endpoints(cluster, listeners, base_dir, problems),
            balance: cluster.balance.value,
            timeouts: ClusterTimeouts {
                connect: positive(&cluster.timeouts.connect, "connect", problems),
                first_byte: positive(&cluster.timeouts.first_byte, "first_byte", problems),
                idle: positive(&cluster.timeouts.idle, "idle", problems),
            },
            limits: limits(&cluster.limits, problems),
            protocol: cluster.protocol.value,
            http2: http2::cluster(&cluster.http2, problems),
            tls: None,
            proxy_protocol: super::proxy_header::send(cluster.proxy_protocol.as_ref(), problems),
        });
    }
    clusters
}

fn limits(section: &schema::ClusterLimits, problems: &mut Problems) -> ClusterLimits {
    within(&section.connections, 1, u64::MAX, "connections", problems);
    ClusterLimits {
        connections: section.connections.value,
        pending: section.pending.value,
        pending_timeout: section.pending_timeout.value.0,
        idle_connections: section.idle_connections.value as usize,
    }
}

fn endpoints(
    section: &schema::Cluster,
    listeners: &[Listener],
    base_dir: &Path,
    problems: &mut Problems,
) -> Box<[Endpoint]> {
    let Some(entries) = &section.endpoints else { return Box::new([]) };
    if entries.value.is_empty() && !entries.damaged {
        problems
            .error(entries.span.clone(), "the cluster has no endpoint")
            .suggest("add at least one address, such as `endpoints = [\"127.0.0.1:9001\"]`");
    }
    let mut seen = HashMap::new();
    let mut endpoints = Vec::with_capacity(entries.value.len());
    for entry in &entries.value {
        let (address, weight, zone) = match &entry.value {
            EndpointEntry::Address(address) => (At::new(entry.span.clone(), address.clone()), 1, None),
            EndpointEntry::Table(table) => {
                if table.weight.value == 0 {
                    problems
                        .error(table.weight.span.clone(), "an endpoint's weight must be at least 1")
                        .suggest("leave the endpoint out if it shall get no request");
                }
                let Some(address) = table.address.clone() else { continue };
                (address, table.weight.value, table.zone.as_ref().map(|zone| zone.value.as_str().into()))
            }
        };
        check_address(&address, listeners, base_dir, problems);
        let absolute = address.value.clone().absolute(base_dir);
        if let Some(first) = seen.insert(absolute.clone(), address.span.clone()) {
            problems
                .error(address.span.clone(), format!("the endpoint `{}` is listed twice", address.value))
                .other(&first, "first listed here")
                .suggest("use `weight` to give it a larger share");
        }
        endpoints.push(Endpoint { id: EndpointId(0), address: absolute, weight, zone });
    }
    endpoints.into()
}

fn check_address(address: &At<Address>, listeners: &[Listener], base_dir: &Path, problems: &mut Problems) {
    match address_key(&address.value, base_dir) {
        None => {
            problems.error(address.span.clone(), "an endpoint needs a port other than 0");
        }
        Some(key) => {
            if let Some(listener) = listeners.iter().find(|listener| listener.address == key) {
                problems
                    .warning(
                        address.span.clone(),
                        format!("this is the proxy's own listener `{}`", listener.name),
                    )
                    .label("requests may go round in circles");
            }
        }
    }
}
