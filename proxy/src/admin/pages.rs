//! The `GET` pages: what is in force and what it did.
//!
//! Invariants: fields are added and never renamed or retyped (`docs/admin.md` lists them); durations are
//! seconds, sizes bytes; a total is the sum over shards unless the page is about shards.
//!
//! Not here: metrics text (`telemetry::expose`).

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use pinion_core::telemetry::histogram::Histogram;
use pinion_core::telemetry::stats::{ClusterStats, EndpointStats, ListenerStats};
use serde_json::{Value, json};

use super::{Admin, refusal, tls};
use crate::config::control::{Control, Phase};
use crate::publish::totals::{Named, PerShard};
use crate::telemetry::collect::{Collected, ConfigStatus};
use crate::telemetry::expose::{self, Format};
use crate::telemetry::process::ProcessFacts;
use crate::telemetry::quantile;
use crate::telemetry::writer::AccessLog;

/// `GET /live`: the process answers, so it lives. A shard that ended has ended the process.
pub(super) async fn live() -> Response {
    Json(json!({ "live": true })).into_response()
}

/// `GET /ready`.
pub(super) async fn ready(State(admin): State<Admin>) -> Response {
    let control = &admin.control;
    let (status, ready) = match control.phase() {
        Phase::Starting => ("starting", false),
        Phase::Serving => ("serving", true),
        Phase::Draining { .. } => ("draining", false),
        Phase::Stopping => ("stopping", false),
    };
    let (in_force, reloads) = (control.in_force(), control.reloads());
    let page = json!({
        "ready": ready,
        "status": status,
        "uptime_seconds": control.started.elapsed().as_secs_f64(),
        "generation": in_force.snapshot.generation,
        "digest": digest(in_force.snapshot.digest),
        "reload": {
            "ok": reloads.problem.is_none(),
            "problem": reloads.problem.as_deref(),
            "last_success_unix": reloads.succeeded,
            "last_failure_unix": reloads.failed,
            "adopted": reloads.adopted,
            "unchanged": reloads.unchanged,
            "rejected": reloads.rejected,
        },
    });
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(page)).into_response()
}

/// `GET /config`.
pub(super) async fn config(State(admin): State<Admin>) -> Response {
    let in_force = admin.control.in_force();
    Json(json!({
        "generation": in_force.snapshot.generation,
        "digest": digest(in_force.snapshot.digest),
        "since_unix": in_force.since,
        "file": admin.control.file.display().to_string(),
        "adopted": adopted(&admin.control),
        // No key of this version is a secret: private keys stand in files, whose names are none.
        "source": in_force.text,
    }))
    .into_response()
}

/// The generation that each shard serves new requests from.
fn adopted(control: &Control) -> Vec<u64> {
    control.links.iter().map(|link| link.adopted.load(Ordering::Acquire)).collect()
}

/// `GET /listeners`.
pub(super) async fn listeners(State(admin): State<Admin>) -> Response {
    let (in_force, view) = (admin.control.in_force(), admin.control.view());
    let store = admin.control.tls();
    let pages = in_force.snapshot.listeners.iter().map(|listener| {
        let totals = find(&view.listeners, &listener.name);
        let total = |of: fn(&ListenerStats) -> u64| sum(totals, of);
        let bound = view.bound.iter().find(|(name, _)| *name == listener.name);
        let (timeouts, limits) = (&listener.timeouts, &listener.limits);
        json!({
            "name": listener.name,
            "address": listener.address.to_string(),
            "bound": bound.map(|(_, address)| address.to_string()),
            "protocol": listener.protocol.label(),
            "tls": tls::of_listener(&store, listener),
            "connections_active": total(|of| of.connections_active.get()),
            "connections_total": total(|of| of.connections_total.get()),
            "connections_refused_total": total(|of| of.connections_refused.get()),
            "requests_total": total(|of| of.requests_total.get()),
            "received_bytes_total": total(|of| of.received_bytes.get()),
            "sent_bytes_total": total(|of| of.sent_bytes.get()),
            "limits": {
                "connections": limits.connections,
                "requests_per_connection": Some(limits.requests_per_connection).filter(|&n| n != u64::MAX),
                "header_bytes": limits.header_bytes,
                "uri_bytes": limits.uri_bytes,
            },
            "timeouts": {
                "header_seconds": seconds(timeouts.header),
                "body_seconds": seconds(timeouts.body),
                "write_seconds": seconds(timeouts.write),
                "idle_seconds": seconds(timeouts.idle),
                "min_rate_bytes_per_second": timeouts.min_rate,
            },
        })
    });
    Json(json!({ "listeners": pages.collect::<Vec<_>>() })).into_response()
}

/// `GET /clusters`.
pub(super) async fn clusters(State(admin): State<Admin>) -> Response {
    let (in_force, view) = (admin.control.in_force(), admin.control.view());
    let store = admin.control.tls();
    let pages = in_force.snapshot.clusters.iter().map(|cluster| {
        let totals = find(&view.clusters, &cluster.name);
        let total = |of: fn(&ClusterStats) -> u64| sum(totals, of);
        let (timeouts, limits) = (&cluster.timeouts, &cluster.limits);
        let endpoints = cluster.endpoints.iter().map(|endpoint| {
            let key = (cluster.name.clone(), endpoint.address.to_string().into_boxed_str());
            let totals = find(&view.endpoints, &key);
            let total = |of: fn(&EndpointStats) -> u64| sum(totals, of);
            json!({
                "address": endpoint.address.to_string(),
                "weight": endpoint.weight,
                "zone": endpoint.zone,
                "requests_active": total(|of| of.requests_active.get()),
                "requests_total": total(|of| of.requests_total.get()),
                "failures_total": total(|of| of.failures_total.get()),
                "connections_active": total(|of| of.connections_active.get()),
            })
        });
        json!({
            "name": cluster.name,
            "balance": cluster.balance.label(),
            "tls": tls::of_cluster(&store, cluster),
            "endpoints": endpoints.collect::<Vec<_>>(),
            "first_byte": durations(totals.into_iter().flat_map(|of| of.iter()).map(|of| &of.first_byte)),
            "requests_active": total(|of| of.requests_active.get()),
            "requests_pending": total(|of| of.pending.get()),
            "connections_active": total(|of| of.connections_active.get()),
            "connects_total": total(|of| of.connects_total.get()),
            "connect_failures_total": total(|of| of.connect_failures.get()),
            "pending_overflows_total": total(|of| of.pending_overflow.get()),
            "retries_total": total(|of| of.retries.get()),
            "limits": {
                "connections": limits.connections,
                "pending": limits.pending,
                "pending_timeout_seconds": seconds(limits.pending_timeout),
                "idle_connections": limits.idle_connections,
            },
            "timeouts": {
                "connect_seconds": seconds(timeouts.connect),
                "first_byte_seconds": seconds(timeouts.first_byte),
                "idle_seconds": seconds(timeouts.idle),
            },
        })
    });
    Json(json!({ "clusters": pages.collect::<Vec<_>>() })).into_response()
}

/// `GET /shards`.
pub(super) async fn shards(State(admin): State<Admin>) -> Response {
    let pages = admin.control.links.iter().map(|link| {
        let stats = &link.stats;
        json!({
            "shard": link.index,
            "cpu": link.cpu,
            "driver": link.driver,
            "published": link.published.load(Ordering::Acquire),
            "adopted": link.adopted.load(Ordering::Acquire),
            "inbox": link.inbox.len(),
            "connections_active": stats.connections_active.get(),
            "requests_active": stats.requests_active.get(),
            "requests_total": stats.requests_total.get(),
            "buffers_in_use": stats.buffers_in_use.get(),
            "buffer_bytes": stats.buffer_bytes.get(),
            "loop_lag": durations([&stats.loop_lag]),
            "accept_errors_total": stats.accept_errors.get(),
            "parked_in_total": stats.parked_in.get(),
            "parked_out_total": stats.parked_out.get(),
            "rebalanced_total": stats.connections_rebalanced.get(),
            "allocations_total": stats.allocations.get(),
            "log_dropped_total": stats.log_dropped.get(),
        })
    });
    Json(json!({ "shards": pages.collect::<Vec<_>>() })).into_response()
}

/// `GET /metrics`. Written on a thread of its own: a long list must not keep a probe waiting.
pub(super) async fn metrics(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let format = Format::from_accept(accept);
    match tokio::task::spawn_blocking(move || scrape(&admin.control, format)).await {
        Ok(text) => ([(header::CONTENT_TYPE, format.content_type())], text).into_response(),
        Err(error) => refusal(StatusCode::INTERNAL_SERVER_ERROR, "metrics", &error.to_string()),
    }
}

fn scrape(control: &Control, format: Format) -> String {
    let (in_force, reloads, view) = (control.in_force(), control.reloads(), control.view());
    let unix = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or_default();
    let mut collected = Collected {
        driver: control.links.first().map_or("", |link| link.driver),
        ready: control.phase() == Phase::Serving,
        config: ConfigStatus {
            generation: in_force.snapshot.generation,
            last_successful: reloads.problem.is_none(),
            last_success: unix(reloads.succeeded),
            last_failure: unix(reloads.failed.unwrap_or_default()),
            successes: reloads.adopted + reloads.unchanged,
            failures: reloads.rejected,
        },
        shards: control.links.iter().map(|link| &*link.stats).collect(),
        process: ProcessFacts::read(),
        tls: control.tls().reports(),
        ..Collected::default()
    };
    for (name, shards) in &view.listeners {
        shards.iter().for_each(|stats| collected.listener(name, stats));
    }
    for (name, shards) in &view.routes {
        shards.iter().for_each(|stats| collected.route(name, stats));
    }
    for ((route, method), shards) in &view.methods {
        shards.iter().for_each(|stats| collected.method(route, method, stats));
    }
    for (name, shards) in &view.clusters {
        shards.iter().for_each(|stats| collected.cluster(name, stats));
    }
    for ((cluster, address), shards) in &view.endpoints {
        shards.iter().for_each(|stats| collected.endpoint(cluster, address.to_string(), stats));
    }
    let log = control.access_log();
    collected.log = log.as_ref().map(AccessLog::stats);
    expose::render(&collected, format)
}

fn digest(digest: u64) -> String {
    format!("{digest:016x}")
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

fn find<'a, K: Ord, S>(list: &'a Named<K, S>, name: &K) -> Option<&'a PerShard<S>> {
    let place = list.binary_search_by(|(found, _)| found.cmp(name)).ok()?;
    Some(&list[place].1)
}

fn sum<S>(totals: Option<&PerShard<S>>, of: impl Fn(&S) -> u64) -> u64 {
    totals.map_or(0, |shards| shards.iter().map(|stats| of(stats)).sum())
}

/// Durations of one or more shards, as `loop_lag` and `first_byte` show them.
fn durations<'a>(parts: impl IntoIterator<Item = &'a Histogram>) -> Value {
    let Some(summary) = quantile::summary(parts) else {
        return json!({ "count": 0 });
    };
    json!({
        "count": summary.count,
        "mean_seconds": summary.mean,
        "p50_seconds": summary.p50,
        "p90_seconds": summary.p90,
        "p99_seconds": summary.p99,
        "p999_seconds": summary.p999,
        "max_seconds": summary.max,
    })
}
