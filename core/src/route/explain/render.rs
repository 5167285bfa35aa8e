//! The two forms of an explanation: text for people, JSON for programs. Both say the same.

use std::fmt::{self, Write as _};
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::{Explanation, Others, Tunnel};
use crate::config::snapshot::{Cluster, SendHeader};
use crate::http::HeaderEdits;
use crate::http::edits::Line;
use crate::http::grpc::Codes;
use crate::id::ClusterIndex;
use crate::route::{Action, Retry, Route, RouteSpec};

/// The text of configured or received bytes.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `1.5s`, as `Duration` shows it.
fn time(time: Duration) -> String {
    format!("{time:?}")
}

/// The conditions of a route, one phrase each.
fn conditions(spec: &RouteSpec, stream: bool) -> Vec<String> {
    let hosts: Vec<_> = spec.hosts.iter().map(ToString::to_string).collect();
    if stream {
        return vec![format!("server name {}", hosts.join(" or "))];
    }
    let mut conditions = vec![format!("host {}", hosts.join(" or ")), format!("path {}", spec.path)];
    if !spec.methods.is_empty() {
        let methods: Vec<_> = spec.methods.iter().map(|method| text(method)).collect();
        conditions.push(format!("method {}", methods.join(" or ")));
    }
    conditions.extend(
        spec.headers.iter().map(|header| format!("header `{}` {}", text(&header.name), header.value)),
    );
    conditions.extend(spec.query.iter().map(|item| format!("query `{}` {}", text(&item.name), item.value)));
    conditions
}

/// The conditions for another try, in the configuration's words.
fn retry_words(retry: &Retry) -> Vec<String> {
    let on = &retry.on;
    let words = [
        ("connect-failure", on.connect_failure),
        ("refused-stream", on.refused_stream),
        ("reset", on.reset),
        ("5xx", on.server_error),
        ("gateway-error", on.gateway_error),
    ];
    let grpc = Codes::RETRIABLE.map(|(word, code)| (word, on.grpc.has(code)));
    let words = words.into_iter().chain(grpc).filter(|(_, set)| *set).map(|(word, _)| word.to_owned());
    words.chain(on.statuses.iter().map(u16::to_string)).collect()
}

/// The PROXY header that a cluster's endpoints get, in the configuration's words.
fn header_words(header: &SendHeader) -> String {
    let values = header.values;
    let words = [
        ("authority", values.authority),
        ("alpn", values.alpn),
        ("tls", values.tls),
        ("unique-id", values.unique_id),
        ("crc32c", values.crc32c),
    ];
    let words: Vec<_> = words.into_iter().filter(|(_, set)| *set).map(|(word, _)| word).collect();
    let with = if words.is_empty() { String::new() } else { format!(" with {}", words.join(", ")) };
    format!("{}{with}", header.version.label())
}

/// The edits of a head, one phrase each.
fn edit_words(edits: &HeaderEdits) -> Vec<String> {
    let line = |verb: &str, (name, value): &Line| format!("{verb} {}: {}", text(name), text(value));
    let removed = edits.remove.iter().map(|name| format!("remove {}", text(name)));
    let set = edits.set.iter().map(|field| line("set", field));
    let added = edits.add.iter().map(|field| line("add", field));
    removed.chain(set).chain(added).collect()
}

impl Explanation<'_> {
    /// The chosen route with its conditions.
    pub(super) fn chosen(&self) -> Option<(&Route, &RouteSpec)> {
        let index = self.route?.index();
        Some((&self.snapshot.routes.routes()[index], &self.snapshot.routes.specs()[index]))
    }

    /// The clusters of an action with their share of the requests.
    fn clusters(&self, action: &Action) -> Vec<(&Cluster, f64)> {
        let cluster = |index: ClusterIndex| &*self.snapshot.clusters[index.index()];
        match action {
            Action::Cluster(index) => vec![(cluster(*index), 1.0)],
            Action::Split(split) => {
                let total = split.total() as f64;
                split.parts().map(|(index, weight)| (cluster(index), weight as f64 / total)).collect()
            }
            Action::Direct(_) => Vec::new(),
        }
    }

    /// The form for programs (`--json`).
    pub fn json(&self) -> Json {
        let listener = json!({
            "name": &*self.listener.name,
            "address": self.listener.address.to_string(),
            "chosen": self.listener_reason,
            "protocol": self.listener.protocol.label(),
        });
        let request = self.request.as_ref().map(|request| {
            json!({
                "method": text(&request.method),
                "host": text(&request.host),
                "path": text(&request.path),
                "query": request.query.as_deref().map(text),
            })
        });
        let outcome = match (&self.request, self.route) {
            (_, None) if self.listener.protocol.is_stream() => json!({ "kind": "no_route" }),
            (None, _) => json!({ "kind": "refused", "status": 400 }),
            (_, None) => json!({ "kind": "no_route", "status": 404 }),
            _ => json!({ "kind": "route" }),
        };
        let others = |others: &Others| -> Json {
            others
                .list
                .iter()
                .map(|(index, reasons)| {
                    let name = &*self.snapshot.routes.routes()[index.index()].name;
                    json!({ "route": name, "reasons": reasons })
                })
                .collect()
        };
        json!({
            "generation": self.snapshot.generation,
            "listener": listener,
            "request": request,
            "outcome": outcome,
            "tunnel": self.tunnel().map(|tunnel| tunnel.json()),
            "route": self.chosen().map(|(route, spec)| self.route_json(route, spec)),
            "also_match": others(&self.also),
            "also_match_more": self.also.more,
            "near_misses": others(&self.misses),
            "near_misses_more": self.misses.more,
        })
    }

    fn route_json(&self, route: &Route, spec: &RouteSpec) -> Json {
        let clusters: Json = self
            .clusters(&route.action)
            .into_iter()
            .map(|(cluster, share)| {
                let endpoints = cluster.endpoints.iter().map(|endpoint| {
                    json!({
                        "address": endpoint.address.to_string(),
                        "weight": endpoint.weight,
                        "zone": endpoint.zone.as_deref(),
                    })
                });
                json!({
                    "name": &*cluster.name,
                    "share": share,
                    "balance": cluster.balance.label(),
                    "proxy_protocol": cluster.proxy_protocol.as_ref().map(header_words),
                    "endpoints": endpoints.collect::<Json>(),
                    "timeouts": {
                        "connect_seconds": cluster.timeouts.connect.as_secs_f64(),
                        "first_byte_seconds": cluster.timeouts.first_byte.as_secs_f64(),
                        "idle_seconds": cluster.timeouts.idle.as_secs_f64(),
                        "pending_seconds": cluster.limits.pending_timeout.as_secs_f64(),
                    },
                })
            })
            .collect();
        let direct = match &route.action {
            Action::Direct(direct) => json!({ "status": direct.status, "body_bytes": direct.body.len() }),
            _ => Json::Null,
        };
        json!({
            "name": &*route.name,
            "conditions": conditions(spec, self.is_stream(spec)),
            "clusters": clusters,
            "direct_response": direct,
            "timeout_seconds": route.timeout.map(|timeout| timeout.as_secs_f64()),
            "grpc": json!({
                "web": route.grpc.web,
                "methods": route.grpc.methods.iter().map(|(service, method)| format!("{service}/{method}")).collect::<Vec<_>>(),
            }),
            "retry": route.retry.as_ref().map(|retry| json!({ "attempts": retry.attempts, "on": retry_words(retry) })),
            "request_headers": edit_words(&route.request_headers),
            "response_headers": edit_words(&route.response_headers),
        })
    }

    fn write_route(&self, f: &mut fmt::Formatter<'_>, route: &Route, spec: &RouteSpec) -> fmt::Result {
        row(f, "route", &route.name)?;
        let stream = self.is_stream(spec);
        row(f, "", &conditions(spec, stream).join("; "))?;
        if let Action::Direct(direct) = &route.action {
            row(f, "answer", &format!("by the proxy: {}, {} bytes", direct.status, direct.body.len()))?;
        }
        for (cluster, share) in self.clusters(&route.action) {
            let mut words = format!("{} ({}", cluster.name, cluster.balance.label());
            if matches!(route.action, Action::Split(_)) {
                let what = if stream { "connections" } else { "requests" };
                write!(words, ", {:.2} % of {what}", share * 100.0)?;
            }
            row(f, "cluster", &(words + ")"))?;
            for endpoint in &cluster.endpoints {
                let zone = endpoint.zone.as_ref().map_or_else(String::new, |zone| format!(", zone {zone}"));
                row(f, "", &format!("{} weight {}{zone}", endpoint.address, endpoint.weight))?;
            }
            let (timeouts, limits) = (&cluster.timeouts, &cluster.limits);
            let words = format!(
                "connection {}, connect {}, first byte {}, idle {}",
                time(limits.pending_timeout),
                time(timeouts.connect),
                time(timeouts.first_byte),
                time(timeouts.idle)
            );
            row(f, "waits", &words)?;
            if let Some(header) = &cluster.proxy_protocol {
                row(f, "header", &format!("PROXY {}", header_words(header)))?;
            }
        }
        row(f, "timeout", &route.timeout.map_or_else(|| "none".to_owned(), time))?;
        let retries = route.retry.as_ref().map_or_else(
            || "only what is always safe".to_owned(),
            |retry| format!("{} more on {}", retry.attempts, retry_words(retry).join(", ")),
        );
        row(f, "retries", &retries)?;
        for (head, edits) in [("request", &route.request_headers), ("response", &route.response_headers)] {
            for words in edit_words(edits) {
                row(f, head, &words)?;
            }
        }
        Ok(())
    }

    fn write_others(&self, f: &mut fmt::Formatter<'_>, title: &str, others: &Others) -> fmt::Result {
        if others.list.is_empty() {
            return Ok(());
        }
        writeln!(f, "{title}")?;
        for (index, reasons) in &others.list {
            let name = &self.snapshot.routes.routes()[index.index()].name;
            writeln!(f, "  {name}")?;
            for reason in reasons {
                writeln!(f, "    {reason}")?;
            }
        }
        if others.more > 0 {
            writeln!(f, "  and {} more", others.more)?;
        }
        Ok(())
    }
}

impl Tunnel {
    /// Whether there can be a tunnel.
    fn passes(&self) -> bool {
        match self {
            Tunnel::Connect(allowed) => *allowed,
            Tunnel::Upgrade { passed, .. } => !passed.is_empty(),
        }
    }

    fn words(&self) -> String {
        match self {
            Tunnel::Connect(true) => "by CONNECT, to an endpoint of the cluster".to_owned(),
            Tunnel::Connect(false) => "refused, 501: the route lacks `connect = true`".to_owned(),
            Tunnel::Upgrade { asked: false, offer, .. } => {
                format!("none: `Upgrade: {offer}` means nothing without `Connection: upgrade`")
            }
            Tunnel::Upgrade { passed, offer, .. } if passed.is_empty() => {
                format!(
                    "none: `{offer}` is not in the listener's `upgrades`, the request goes on as an ordinary one"
                )
            }
            Tunnel::Upgrade { passed, .. } => {
                format!("if the upstream switches to {}", passed.join(" or "))
            }
        }
    }

    fn json(&self) -> Json {
        let (kind, passed) = match self {
            Tunnel::Connect(_) => ("connect", &[][..]),
            Tunnel::Upgrade { passed, .. } => ("upgrade", &passed[..]),
        };
        json!({ "kind": kind, "passes": self.passes(), "protocols": passed, "meaning": self.words() })
    }
}

/// One line of the text form.
fn row(f: &mut fmt::Formatter<'_>, name: &str, words: &str) -> fmt::Result {
    writeln!(f, "  {name:<9} {words}")
}

impl fmt::Display for Explanation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.url)?;
        let listener = self.listener;
        row(f, "listener", &format!("{} ({}), {}", listener.name, listener.address, self.listener_reason))?;
        let Some(request) = &self.request else {
            let stream = listener.protocol.is_stream();
            let words = if stream { "no host name" } else { "400: the host or path is malformed" };
            return row(f, "refused", words);
        };
        let stream = listener.protocol.is_stream();
        if stream {
            let name = if request.host.is_empty() { "-".to_owned() } else { text(&request.host) };
            row(f, "name", &name)?;
        } else {
            row(f, "host", &text(&request.host))?;
            row(f, "path", &text(&request.path))?;
        }
        if let Some(query) = &request.query {
            row(f, "query", &text(query))?;
        }
        match self.chosen() {
            Some((route, spec)) => {
                self.write_route(f, route, spec)?;
                let tunnel = self.tunnel();
                if let Some(tunnel) = &tunnel {
                    row(f, "tunnel", &tunnel.words())?;
                }
                if stream || tunnel.is_some_and(|tunnel| tunnel.passes()) {
                    let times = &self.listener.timeouts;
                    let most = times.tunnel_max.map_or_else(|| "for any time".to_owned(), time);
                    let words = format!("idle {}, at most {most}; no other timeout", time(times.tunnel_idle));
                    row(f, if stream { "lasts" } else { "" }, &words)?;
                }
            }
            None if stream => row(f, "route", "none: the connection is closed")?,
            None => row(f, "route", "none: 404")?,
        }
        self.write_others(f, "also match, but the chosen route comes first because", &self.also)?;
        self.write_others(f, "do not match:", &self.misses)
    }
}
