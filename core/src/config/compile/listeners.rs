//! Compiles `[[listeners]]`.

use std::collections::HashMap;
use std::path::Path;

use super::super::problem::Problems;
use super::super::read::At;
use super::super::schema;
use super::super::snapshot::{Address, Forwarding, Listener, ListenerLimits, ListenerTimeouts, Protocol};
use super::super::units::Size;
use super::{address_key, http2, positive, tls, unique_name, within};
use crate::http::Upgrades;
use crate::id::ListenerId;
use crate::limits;

/// The listeners in the order written; one with a missing key stands in with an empty name, so that places
/// agree.
pub(super) fn compile(
    sections: &[At<schema::Listener>],
    admin: &At<Address>,
    base_dir: &Path,
    problems: &mut Problems,
) -> Vec<Listener> {
    if sections.is_empty() {
        problems
            .error(0..0, "there is no listener")
            .suggest("add `[[listeners]]` with `name` and `address`")
            .absence();
    }
    let mut names = HashMap::new();
    let mut addresses = HashMap::new();
    if let Some(key) = address_key(&admin.value, base_dir) {
        addresses.insert(key, (admin.span.clone(), "the admin port"));
    }
    let mut listeners = Vec::with_capacity(sections.len());
    for section in sections {
        let listener = &section.value;
        if let Some(name) = &listener.name {
            unique_name(name, "listener", &mut names, problems);
        }
        if let Some(address) = &listener.address
            && let Some(key) = address_key(&address.value, base_dir)
        {
            if let Some((first, what)) = addresses.get(&key) {
                let problem = problems
                    .error(address.span.clone(), format!("`{}` is already used by {what}", address.value));
                // A default address stands nowhere in the source.
                if !first.is_empty() {
                    problem.other(first, "first used here");
                }
                problem.suggest("give each its own port or path");
            } else {
                addresses.insert(key, (address.span.clone(), "another listener"));
            }
        }
        if let Some(cluster) = listener.cluster.as_ref().filter(|_| !listener.protocol.value.is_stream()) {
            problems
                .error(cluster.span.clone(), "`cluster` is for listeners that pass connections on")
                .suggest("add `protocol = \"tcp\"`, or say in `[[routes]]` where requests go");
        }
        if let Some(tls) =
            listener.tls.as_ref().filter(|_| listener.protocol.value == Protocol::TlsPassthrough)
        {
            problems
                .error(tls.span.clone(), "a listener that passes TLS on has none of its own")
                .suggest("leave the table out, or write `protocol = \"tcp\"` to end TLS here");
        }
        listeners.push(one(listener, base_dir, problems));
    }
    listeners
}

fn one(section: &schema::Listener, base_dir: &Path, problems: &mut Problems) -> Listener {
    let forwarding = &section.forwarding;
    let absent = Address::Tcp(std::net::SocketAddr::from(([0, 0, 0, 0], 0)));
    Listener {
        id: ListenerId(0),
        name: section.name.as_ref().map_or("", |name| &name.value).into(),
        address: section.address.as_ref().map_or(absent, |address| address.value.clone()).absolute(base_dir),
        protocol: section.protocol.value,
        timeouts: timeouts(&section.timeouts, problems),
        limits: limits(&section.limits, problems),
        trusted: forwarding
            .trusted_proxies
            .iter()
            .flat_map(|list| &list.value)
            .map(|net| net.value.0)
            .collect(),
        forwarding: Forwarding {
            x_forwarded_host: forwarding.x_forwarded_host.value,
            forwarded: forwarding.forwarded.value,
            via: forwarding.via.value,
            request_id: forwarding.request_id.value,
            client_cert: forwarding.client_cert.value,
            client_cert_details: tls::details(&forwarding.client_cert_details),
        },
        proxy_protocol: super::proxy_header::accept(section, problems),
        half_close: section.half_close.value,
        http2: http2::listener(&section.http2, problems),
        upgrades: Upgrades::new(section.upgrades.value.iter().map(|upgrade| &*upgrade.value.0)),
        tls: None,
    }
}

fn timeouts(section: &schema::ListenerTimeouts, problems: &mut Problems) -> ListenerTimeouts {
    ListenerTimeouts {
        header: positive(&section.header, "header", problems),
        body: positive(&section.body, "body", problems),
        write: positive(&section.write, "write", problems),
        idle: positive(&section.idle, "idle", problems),
        min_rate: section.min_rate.value.0,
        tunnel_idle: positive(&section.tunnel_idle, "tunnel_idle", problems),
        tunnel_max: section.tunnel_max.as_ref().map(|most| positive(most, "tunnel_max", problems)),
    }
}

fn limits(section: &schema::ListenerLimits, problems: &mut Problems) -> ListenerLimits {
    within(&section.connections, 1, u64::MAX, "connections", problems);
    let requests = &section.requests_per_connection;
    if requests.value.0 == 0 {
        problems
            .error(requests.span.clone(), "`requests_per_connection` must be at least 1, or \"unlimited\"");
    }
    let (header, uri) = (&section.header_bytes, &section.uri_bytes);
    let bytes = |bytes: usize| Size(bytes as u64);
    within(
        header,
        bytes(limits::HEADER_BYTES_MIN),
        bytes(limits::HEADER_BYTES_MAX),
        "header_bytes",
        problems,
    );
    within(uri, bytes(limits::URI_BYTES_MIN), bytes(limits::HEADER_BYTES_MAX), "uri_bytes", problems);
    if uri.value > header.value && uri.value <= bytes(limits::HEADER_BYTES_MAX) {
        // The one that was written is at fault; a default has the table's place.
        problems
            .error(
                uri.span.clone(),
                format!("`uri_bytes` ({}) is more than `header_bytes` ({})", uri.value, header.value),
            )
            .suggest("the target is part of the head: lower `uri_bytes` or raise `header_bytes`");
    }
    ListenerLimits {
        connections: section.connections.value,
        requests_per_connection: requests.value.0,
        header_bytes: header.value.0 as usize,
        uri_bytes: uri.value.0 as usize,
    }
}
