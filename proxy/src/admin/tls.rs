//! What `/listeners` and `/clusters` say of TLS: facts and names, no key.

use pinion_core::config::snapshot::{Cluster, Listener, Roots, TlsVersion, Trust};
use serde_json::{Value, json};

use crate::tls::store::{Report, TlsStore};

/// The TLS of a listener; null for plain text.
pub(super) fn of_listener(store: &TlsStore, listener: &Listener) -> Value {
    let part = store.listeners.iter().flatten().find(|part| part.name == listener.name);
    let (Some(settings), Some(part)) = (&listener.tls, part) else { return Value::Null };
    let current = part.tls.current();
    json!({
        "mode": settings.mode.label(),
        "names": current.names().collect::<Vec<_>>(),
        "alpn": settings.alpn,
        "client_certificate": settings.client.label(),
        "trust": trust(&settings.trust),
        "versions": versions(settings.parameters.min_version, settings.parameters.max_version),
        "tickets": settings.tickets,
        "ktls": settings.ktls.label(),
        "handshakes_active": part.tls.handshakes(),
        "handshakes_max": settings.handshakes_max,
        "handshake_timeout_seconds": settings.handshake_timeout.as_secs_f64(),
        "files": files(&part.report()),
    })
}

/// The TLS of a cluster; null for plain text.
pub(super) fn of_cluster(store: &TlsStore, cluster: &Cluster) -> Value {
    let part = store.clusters.iter().flatten().find(|part| part.name == cluster.name);
    let (Some(settings), Some(part)) = (&cluster.tls, part) else { return Value::Null };
    json!({
        "server_name": settings.server_name,
        "certificate": settings.certificate.is_some(),
        "alpn": settings.alpn,
        "trust": trust(&settings.trust),
        "versions": versions(settings.parameters.min_version, settings.parameters.max_version),
        "resumption": settings.resumption,
        "ktls": settings.ktls.label(),
        "files": files(&part.report()),
    })
}

fn trust(trust: &Trust) -> Value {
    let (roots, domains) = match &trust.roots {
        Roots::None => (Value::Null, None),
        Roots::System => (json!("system"), None),
        Roots::Files(_) => (json!("files"), None),
        Roots::Spiffe(bundles) => {
            (json!("spiffe"), Some(bundles.iter().map(|(domain, _)| domain.as_str()).collect::<Vec<_>>()))
        }
    };
    json!({
        "roots": roots,
        "trust_domains": domains,
        "permitted_peers": trust.permitted.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "revocation_lists": trust.crl.len(),
    })
}

fn versions(min: TlsVersion, max: TlsVersion) -> Value {
    let spoken =
        [TlsVersion::Tls12, TlsVersion::Tls13].into_iter().filter(|version| (min..=max).contains(version));
    spoken.map(|version| if version == TlsVersion::Tls12 { "1.2" } else { "1.3" }).collect()
}

/// Certificates and roots with their end, and whether the files in force are those that are there now.
fn files(report: &Report) -> Value {
    let expiries = report.expiries.iter().map(|expiry| {
        json!({
            "file": expiry.path.to_string_lossy(),
            "subject": expiry.subject,
            "not_after_unix": expiry.not_after,
        })
    });
    json!({
        "is_current": report.is_current,
        "reloads_total": report.successes,
        "reload_failures_total": report.failures,
        "expire": expiries.collect::<Vec<_>>(),
    })
}
