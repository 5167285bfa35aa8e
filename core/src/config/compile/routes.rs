//! Compiles `[[routes]]`: conditions, actions, names, and what routes mean together.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::super::problem::Problems;
use super::super::read::At;
use super::super::schema::{self, Document, RetryCondition};
use super::conditions::{self, Named};
use super::edits::{self, Head};
use super::names::Names;
use super::{positive, streams, unique_name, within};
use crate::http::grpc::Methods;
use crate::id::{ClusterIndex, ListenerIndex, RouteId, RouteIndex};
use crate::limits::{GRPC_METHODS_MAX, RETRY_ATTEMPTS_MAX};
use crate::route::{Action, Conflict, Grpc, HostMatch, Retry, RetryOn, Route, RouteSpec, Split, conflicts};

/// The routes that could be compiled, in the order written.
pub(super) fn compile(document: &Document, problems: &mut Problems) -> Vec<RouteSpec> {
    let mut names = Names::of(document);
    let mut given = HashMap::new();
    let mut specs = Vec::with_capacity(document.routes.len());
    let mut spans = Vec::with_capacity(document.routes.len());
    for section in &document.routes {
        if let Some(name) = &section.value.name {
            unique_name(name, "route", &mut given, problems);
        }
        let stream = streams::is_stream(&section.value, &names);
        let compiled = if stream { streams::one } else { one }(section, &mut names, problems);
        // A route that is not what was meant is not compared with others.
        if let Some(spec) = compiled.filter(|_| !section.damaged) {
            specs.push(spec);
            spans.push(section.span.clone());
        }
    }
    let whole = specs.len() == document.routes.len();
    for (place, listener) in document.listeners.iter().enumerate() {
        let cluster = listener.value.cluster.as_ref().filter(|_| listener.value.protocol.value.is_stream());
        if let Some(cluster) = cluster
            && let Some(spec) =
                streams::of_listener(ListenerIndex(place as u32), cluster, &mut names, problems)
        {
            specs.push(spec);
            spans.push(cluster.span.clone());
        }
    }
    derive_names(&mut specs, &given, document);
    report_conflicts(&specs, &spans, document, problems);
    // A route that could not be compiled may be the one that is missed.
    if whole {
        report_idle_parts(document, &names, &specs, problems);
    }
    specs
}

fn one(section: &At<schema::Route>, names: &mut Names<'_>, problems: &mut Problems) -> Option<RouteSpec> {
    let route = &section.value;
    // All parts are compiled before any is given up, so that all problems are found.
    let listeners = http_listeners(section, names, problems);
    let hosts = conditions::hosts(route.hosts.as_ref(), "hosts", problems);
    let path = conditions::path(route.path.as_ref(), problems);
    let methods = conditions::methods(route.methods.as_ref(), problems);
    let headers = conditions::named(route.headers.as_ref(), Named::Header, problems);
    let query = conditions::named(route.query.as_ref(), Named::Query, problems);
    let action = action(section, names, false, problems);
    let timeout = route.timeout.as_ref().map(|timeout| positive(timeout, "timeout", problems));
    let retry = route.retry.as_ref().map(|retry| self::retry(&retry.value, 1, problems));
    let grpc = grpc(&route.grpc, problems);
    let request_headers = edits::edits(&route.request_headers, Head::Request, problems);
    let response_headers = edits::edits(&route.response_headers, Head::Response, problems);
    let lists_connect =
        |list: &At<Vec<At<String>>>| list.value.iter().find(|method| method.value == "CONNECT").cloned();
    if let Some(method) = route.methods.as_ref().and_then(lists_connect).filter(|_| !route.connect.value) {
        problems
            .warning(method.span, "CONNECT requests will be refused")
            .suggest("add `connect = true` if they shall become tunnels to the route's cluster");
    }
    if route.direct_response.is_some() {
        let useless = [
            ("timeout", route.timeout.as_ref().map(|timeout| &timeout.span)),
            ("retry", route.retry.as_ref().map(|retry| &retry.span)),
            ("connect", route.connect.value.then_some(&route.connect.span)),
        ];
        for (key, span) in useless.into_iter().filter_map(|(key, span)| Some((key, span?))) {
            problems.warning(span.clone(), format!("`{key}` means nothing with `direct_response`"));
        }
    }
    Some(RouteSpec {
        route: Route {
            id: RouteId(0),
            index: RouteIndex(0),
            name: route.name.as_ref().map_or("", |name| &name.value).into(),
            action: action?,
            connect: route.connect.value,
            timeout,
            retry,
            grpc,
            request_headers,
            response_headers,
        },
        listeners: listeners?,
        hosts: hosts?,
        path: path?,
        methods: methods?,
        headers: headers?,
        query: query?,
        order: 0,
    })
}

/// The listeners of a route for requests.
fn http_listeners(
    section: &At<schema::Route>,
    names: &Names<'_>,
    problems: &mut Problems,
) -> Option<Box<[ListenerIndex]>> {
    let list = section.value.listeners.as_ref();
    let found = names.listeners(list, problems);
    if found.as_ref().is_some_and(|found| found.is_empty()) && !names.protocols.is_empty() {
        problems
            .error(section.span.clone(), "no listener reads requests")
            .suggest("name listeners that pass connections on: `listeners = [\"db\"]`");
        return None;
    }
    let mut fits = true;
    for name in list.into_iter().flat_map(|list| &list.value) {
        if names.protocol(name).is_some_and(|(protocol, _)| protocol.is_stream()) {
            fits = false;
            problems
                .error(
                    name.span.clone(),
                    format!("the listener `{}` passes connections on unread", name.value),
                )
                .suggest("give connections and requests routes of their own");
        }
    }
    found.filter(|_| fits)
}

pub(super) fn action(
    section: &At<schema::Route>,
    names: &mut Names<'_>,
    stream: bool,
    problems: &mut Problems,
) -> Option<Action> {
    let schema::Route { cluster, split, direct_response, .. } = &section.value;
    let cluster_index = cluster.as_ref().map(|name| names.cluster(name, stream, problems));
    let parts = split.as_ref().map(|split| self::split(split, names, stream, problems));
    let direct = direct_response.as_ref().map(|direct| edits::direct(&direct.value, problems));
    match (cluster_index, parts, direct) {
        (Some(cluster), None, None) => cluster.map(Action::Cluster),
        (None, Some(split), None) => split.map(Action::Split),
        (None, None, Some(direct)) => direct.map(Action::Direct),
        (None, None, None) if section.damaged => None,
        (None, None, None) => {
            problems
                .error(section.span.clone(), "the route does not say who answers")
                .suggest("add one of `cluster`, `split`, `direct_response`")
                .absence();
            None
        }
        _ => {
            problems
                .error(section.span.clone(), "the route says more than once who answers")
                .suggest("keep one of `cluster`, `split`, `direct_response`");
            None
        }
    }
}

fn split(
    list: &At<Vec<At<schema::SplitPart>>>,
    names: &mut Names<'_>,
    stream: bool,
    problems: &mut Problems,
) -> Option<Split> {
    if list.damaged {
        return None;
    }
    if list.value.is_empty() {
        problems.error(list.span.clone(), "`split` is empty").suggest(
            "add parts: `split = [{ cluster = \"a\", weight = 90 }, { cluster = \"b\", weight = 10 }]`",
        );
        return None;
    }
    let mut parts: Vec<(ClusterIndex, u32)> = Vec::with_capacity(list.value.len());
    let mut whole = true;
    for part in &list.value {
        let cluster = part.value.cluster.as_ref().and_then(|name| names.cluster(name, stream, problems));
        let (Some(cluster), Some(weight)) = (cluster, &part.value.weight) else {
            whole = false;
            continue;
        };
        if parts.iter().any(|(earlier, _)| *earlier == cluster) {
            problems
                .error(part.span.clone(), "this cluster is in the split twice")
                .suggest("write it once with the sum of the weights");
        }
        parts.push((cluster, weight.value));
    }
    if !whole {
        return None;
    }
    let all_zero = parts.iter().all(|(_, weight)| *weight == 0);
    if all_zero {
        problems
            .error(list.span.clone(), "every weight of the split is zero: no cluster would get a request")
            .suggest("give at least one part a weight of 1 or more");
    } else {
        for part in &list.value {
            if let Some(weight) = part.value.weight.as_ref().filter(|weight| weight.value == 0) {
                problems.warning(weight.span.clone(), "a part of weight zero gets no request");
            }
        }
    }
    Split::new(parts)
}

/// What a route does for gRPC.
fn grpc(section: &schema::Grpc, problems: &mut Problems) -> Grpc {
    let names = section.methods.iter().flat_map(|methods| &methods.value);
    let mut methods: Vec<Box<str>> = Vec::new();
    for name in names {
        if !Methods::check(&name.value) {
            problems
                .error(name.span.clone(), "not a method of a service")
                .suggest("write it as the path has it, without the first slash: \"package.Service/Method\"");
        } else if methods.iter().any(|earlier| **earlier == *name.value) {
            problems.error(name.span.clone(), "this method is in the list twice");
        } else {
            methods.push(name.value.as_str().into());
        }
    }
    if let Some(list) = section.methods.as_ref().filter(|list| list.value.len() > GRPC_METHODS_MAX) {
        problems.error(list.span.clone(), format!("more than {GRPC_METHODS_MAX} methods of one route"));
    }
    Grpc { web: section.web.value, methods: Methods::new(methods) }
}

/// When a route tries again: at least `least` times.
pub(super) fn retry(section: &schema::Retry, least: u32, problems: &mut Problems) -> Retry {
    within(&section.attempts, least, RETRY_ATTEMPTS_MAX, "attempts", problems);
    let mut on = RetryOn::default();
    let codes = section.retriable_status_codes.as_ref();
    for condition in &section.on.value {
        match condition.value {
            RetryCondition::ConnectFailure => on.connect_failure = true,
            RetryCondition::RefusedStream => on.refused_stream = true,
            RetryCondition::Reset => on.reset = true,
            RetryCondition::ServerError => on.server_error = true,
            RetryCondition::GatewayError => on.gateway_error = true,
            RetryCondition::StatusCodes if codes.is_none() => {
                problems
                    .error(condition.span.clone(), "`retriable-status-codes` without any")
                    .suggest("add `retriable_status_codes = [409]`");
            }
            RetryCondition::StatusCodes => {}
            RetryCondition::Grpc(code) => on.grpc.add(code),
        }
    }
    if section.on.value.is_empty() && !section.on.damaged && codes.is_none() {
        problems
            .error(section.on.span.clone(), "`on` is empty: nothing would ever be tried again")
            .suggest("leave `retry` out, or name conditions such as \"connect-failure\"");
    }
    for code in codes.iter().flat_map(|codes| &codes.value) {
        if !(200..600).contains(&code.value) {
            problems.error(code.span.clone(), "a status is from 200 to 599");
        }
    }
    on.statuses = codes.iter().flat_map(|codes| &codes.value).map(|code| code.value).collect();
    Retry { attempts: section.attempts.value, on }
}

/// Names routes that have none after their conditions: `host/path/* GET header ?parameter`, numbered if
/// that is not unique. Values of headers stay out: names are shown in metrics and logs.
fn derive_names(specs: &mut [RouteSpec], given: &HashMap<String, Range<usize>>, document: &Document) {
    let mut taken: HashSet<String> = given.keys().cloned().collect();
    // How often each name was derived, so that a thousand equal ones are not counted through again.
    let mut numbers: HashMap<String, u32> = HashMap::new();
    for spec in specs.iter_mut().filter(|spec| spec.route.name.is_empty()) {
        let base = stream_name(spec, document).unwrap_or_else(|| derived_name(spec));
        let number = numbers.entry(base.clone()).or_insert(0);
        let name = loop {
            *number += 1;
            let name = if *number == 1 { base.clone() } else { format!("{base} #{number}") };
            if taken.insert(name.clone()) {
                break name;
            }
        };
        spec.route.name = name.into();
    }
}

/// `tls *.example` or `tcp listener`, for a route of bytes.
fn stream_name(spec: &RouteSpec, document: &Document) -> Option<String> {
    let listener = &document.listeners.get(spec.listeners.first()?.index())?.value;
    if !listener.protocol.value.is_stream() {
        return None;
    }
    let more = if spec.hosts.len() > 1 { format!("+{}", spec.hosts.len() - 1) } else { String::new() };
    Some(match spec.hosts.first()? {
        HostMatch::Any => format!("tcp {}", listener.name.as_ref().map_or("", |name| &name.value)),
        name => format!("tls {name}{more}"),
    })
}

fn derived_name(spec: &RouteSpec) -> String {
    /// Long names are cut: a regex may be of any length.
    const CHARS_MAX: usize = 96;
    let mut name = spec.hosts.first().map_or_else(String::new, HostMatch::to_string);
    if spec.hosts.len() > 1 {
        name.push_str(&format!("+{}", spec.hosts.len() - 1));
    }
    name.push_str(&spec.path.to_string());
    if !spec.methods.is_empty() {
        let methods: Vec<_> = spec.methods.iter().map(|method| String::from_utf8_lossy(method)).collect();
        name.push(' ');
        name.push_str(&methods.join(","));
    }
    for header in &spec.headers {
        name.push_str(&format!(" {}", String::from_utf8_lossy(&header.name)));
    }
    for parameter in &spec.query {
        name.push_str(&format!(" ?{}", String::from_utf8_lossy(&parameter.name)));
    }
    name.chars().filter(|c| !c.is_control()).take(CHARS_MAX).collect()
}

fn report_conflicts(
    specs: &[RouteSpec],
    spans: &[Range<usize>],
    document: &Document,
    problems: &mut Problems,
) {
    for conflict in conflicts(specs) {
        match conflict {
            Conflict::Tie { first, second, host } => {
                let (path, name) = (&specs[second].path, &specs[first].route.name);
                let taken = match stream_name(&specs[second], document) {
                    Some(_) => format!("connections for `{host}`"),
                    None => format!("requests to `{host}{path}`"),
                };
                problems
                    .error(
                        spans[second].clone(),
                        format!("this route and `{name}` tie: both match the same {taken}, and neither is more specific"),
                    )
                    .other(&spans[first], "the other route")
                    .suggest("add a condition to one of them, or merge them; the order of writing decides nothing");
            }
            Conflict::Unreachable { route, by } => {
                problems
                    .error(
                        spans[route].clone(),
                        format!(
                            "this route is unreachable: `{}` takes every request that it matches",
                            specs[by].route.name
                        ),
                    )
                    .other(&spans[by], "takes them first: a path regex wins over a prefix")
                    .suggest("write the other route's path as `{ prefix = \"/\" }`, or remove this route");
            }
        }
    }
}

/// Warns of clusters and listeners that no route uses.
fn report_idle_parts(document: &Document, names: &Names<'_>, specs: &[RouteSpec], problems: &mut Problems) {
    for (place, cluster) in document.clusters.iter().enumerate() {
        if let Some(name) = &cluster.value.name
            && !names.used.contains(&ClusterIndex(place as u32))
        {
            problems.warning(name.span.clone(), format!("no route uses the cluster `{}`", name.value));
        }
    }
    for (place, listener) in document.listeners.iter().enumerate() {
        let index = ListenerIndex(place as u32);
        if let Some(name) = &listener.value.name
            && !specs.iter().any(|spec| spec.listeners.contains(&index))
        {
            let stream = listener.value.protocol.value.is_stream();
            problems.warning(name.span.clone(), format!("the listener `{}` has no route", name.value)).label(
                if stream {
                    "it would close every connection"
                } else {
                    "it would answer every request with 404"
                },
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::route::PathMatch;

    #[test]
    fn derived_names_say_the_conditions() {
        let text = r#"
            listeners = [{ name = "web", address = "127.0.0.1:0" }]
            clusters = [{ name = "c", endpoints = ["127.0.0.1:1"] }]
            routes = [
                { cluster = "c" },
                { hosts = ["a.b", "c.d"], path = "/x", methods = ["GET", "PUT"], cluster = "c" },
                { hosts = ["*.b"], path = { regex = "/[0-9]+" }, headers = { k = "secret" }, query = { q = "1" }, cluster = "c" },
                { headers = { k = "1" }, cluster = "c" },
                { headers = { k = "2" }, cluster = "c" },
                { name = "mine", path = { prefix = "/p/" }, cluster = "c" },
            ]
        "#;
        let snapshot = super::super::compile(
            text,
            "t",
            std::path::Path::new("/"),
            &mut crate::config::Ids::default(),
            1,
            None,
        );
        let snapshot = snapshot.map_err(|problems| problems.to_string()).unwrap();
        let names: Vec<_> = snapshot.routes.routes().iter().map(|route| &*route.name).collect();
        assert_eq!(names, ["*/*", "a.b+1/x GET,PUT", "*.b~/[0-9]+ k ?q", "*/* k", "*/* k #2", "mine"]);
        assert!(
            matches!(snapshot.routes.specs()[5].path, PathMatch::Prefix(ref prefix) if **prefix == *b"/p")
        );
    }
}
