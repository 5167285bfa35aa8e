//! Compiles routes of listeners that forward bytes: by server name, or all to one place.
//!
//! They are routes like any other, whose hosts are server names and whose other conditions all hold, so that
//! finding, precedence, ties and splits are the same.

use std::ops::Range;

use super::super::problem::Problems;
use super::super::read::At;
use super::super::schema;
use super::conditions;
use super::edits::{self, Head};
use super::names::Names;
use super::routes::{action, retry};
use crate::http::HeaderEdits;
use crate::id::{ListenerIndex, RouteId, RouteIndex};
use crate::limits::TCP_RETRIES_DEFAULT;
use crate::route::{Action, Grpc, HostMatch, PathMatch, Retry, RetryOn, Route, RouteSpec};

/// Whether the route is one of bytes: it has server names, or stands on listeners that forward bytes only.
pub(super) fn is_stream(route: &schema::Route, names: &Names<'_>) -> bool {
    let mut listed = route.listeners.iter().flat_map(|list| &list.value).peekable();
    route.sni.is_some()
        || (listed.peek().is_some()
            && listed.all(|name| names.protocol(name).is_some_and(|(protocol, _)| protocol.is_stream())))
}

/// The route of `section`.
pub(super) fn one(
    section: &At<schema::Route>,
    names: &mut Names<'_>,
    problems: &mut Problems,
) -> Option<RouteSpec> {
    let route = &section.value;
    let listeners = listeners(section, names, problems);
    let hosts = conditions::hosts(route.sni.as_ref(), "sni", problems);
    refuse_http(section, problems);
    let action = match action(section, names, true, problems) {
        Some(Action::Direct(_)) | None => None,
        Some(action) => Some(action),
    };
    let retry = match &route.retry {
        Some(written) => retry(&written.value, 0, problems),
        None => connect_failures(),
    };
    let name = route.name.as_ref().map_or("", |name| &name.value);
    Some(spec(name, listeners?, hosts?, action?, retry))
}

/// The route that `cluster` of a listener means: everything that no other route takes.
pub(super) fn of_listener(
    index: ListenerIndex,
    cluster: &At<String>,
    names: &mut Names<'_>,
    problems: &mut Problems,
) -> Option<RouteSpec> {
    let cluster = names.cluster(cluster, true, problems)?;
    let retry = connect_failures();
    Some(spec("", [index].into(), [HostMatch::Any].into(), Action::Cluster(cluster), retry))
}

fn spec(
    name: &str,
    listeners: Box<[ListenerIndex]>,
    hosts: Box<[HostMatch]>,
    action: Action,
    retry: Retry,
) -> RouteSpec {
    RouteSpec {
        route: Route {
            id: RouteId(0),
            index: RouteIndex(0),
            name: name.into(),
            action,
            connect: false,
            timeout: None,
            retry: (retry.attempts > 0).then_some(retry),
            grpc: Grpc::default(),
            request_headers: HeaderEdits::default(),
            response_headers: HeaderEdits::default(),
        },
        listeners,
        hosts,
        path: PathMatch::prefix(b"/"),
        methods: Box::default(),
        headers: Box::default(),
        query: Box::default(),
        order: 0,
    }
}

/// Nothing was sent to an endpoint that could not be reached, so that another try is always safe.
fn connect_failures() -> Retry {
    Retry { attempts: TCP_RETRIES_DEFAULT, on: RetryOn { connect_failure: true, ..RetryOn::default() } }
}

/// The listed listeners, else all that see server names; each must be able to see what the route asks for.
fn listeners(
    section: &At<schema::Route>,
    names: &Names<'_>,
    problems: &mut Problems,
) -> Option<Box<[ListenerIndex]>> {
    let route = &section.value;
    let Some(list) = &route.listeners else {
        let all = names.seeing_names();
        if let (Some(sni), true) = (&route.sni, all.is_empty()) {
            problems.error(sni.span.clone(), "no listener sees server names").suggest(
                "give one `protocol = \"tls-passthrough\"`, or TLS to one with `protocol = \"tcp\"`",
            );
        }
        return (!all.is_empty()).then_some(all);
    };
    let found = names.listeners(Some(list), problems)?;
    let mut fits = true;
    for name in &list.value {
        let Some((protocol, sees_names)) = names.protocol(name) else { continue };
        if !protocol.is_stream() {
            fits = false;
            problems
                .error(name.span.clone(), format!("the listener `{}` reads requests", name.value))
                .label("a route with `sni` is for connections that are passed on")
                .suggest("write `hosts` instead of `sni`, or leave this listener out");
        } else if route.sni.is_some() && !sees_names {
            fits = false;
            problems
                .error(name.span.clone(), format!("the listener `{}` sees no server names", name.value))
                .suggest("give it `protocol = \"tls-passthrough\"` or a `tls` table, or leave `sni` out");
        }
    }
    fits.then_some(found)
}

/// Conditions and changes that only requests can have.
fn refuse_http(section: &At<schema::Route>, problems: &mut Problems) {
    fn at<T>(key: Option<&At<T>>) -> Option<Range<usize>> {
        key.map(|key| key.span.clone())
    }
    let route = &section.value;
    let entries = |list: Option<&At<_>>| at::<_>(list);
    let mut keys = vec![
        ("hosts", at(route.hosts.as_ref())),
        ("path", at(route.path.as_ref())),
        ("methods", at(route.methods.as_ref())),
        ("headers", entries(route.headers.as_ref())),
        ("query", entries(route.query.as_ref())),
        ("direct_response", at(route.direct_response.as_ref())),
        ("connect", route.connect.value.then(|| route.connect.span.clone())),
        ("timeout", at(route.timeout.as_ref())),
        ("grpc", route.grpc.web.value.then(|| route.grpc.web.span.clone())),
        ("grpc", at(route.grpc.methods.as_ref())),
    ];
    for (key, edits, head) in [
        ("request_headers", &route.request_headers, Head::Request),
        ("response_headers", &route.response_headers, Head::Response),
    ] {
        let is_empty = edits::edits(edits, head, problems).is_empty();
        keys.push((key, (!is_empty).then(|| section.span.clone())));
    }
    for (key, span) in keys.into_iter().filter_map(|(key, span)| Some((key, span?))) {
        let problem =
            problems.error(span, format!("`{key}` means nothing for connections that are passed on"));
        match key {
            "hosts" => problem.suggest("write `sni` to choose by server name"),
            "timeout" => problem.suggest("`tunnel_max` of the listener limits how long a connection lasts"),
            _ => problem.suggest("leave it out, or put the route on a listener that reads requests"),
        };
    }
}
