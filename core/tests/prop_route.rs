//! The route table against a naive reading of the rules: `find` equals a scan of every route by a model
//! that shares no code with it, on random tables and requests; and precedence is a total order, checked
//! against the criteria written out one by one.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed helper fails its test")]

use std::cmp::Ordering;

use pinion_core::http::{HeaderEdits, OwnedRequest};
use pinion_core::id::{ClusterIndex, ListenerIndex, RouteId, RouteIndex};
use pinion_core::route::{
    Action, Grpc, HostMatch, MatchScratch, NamedMatch, PathMatch, Pattern, Precedence, Route, RouteSpec,
    RouteTable, ValueMatch,
};
use proptest::collection::vec;
use proptest::prelude::*;

const HOSTS: [&str; 6] = ["a.x", "b.a.x", "c.b.a.x", "x", "other", ""];
const HOST_PATTERNS: [&str; 8] = ["a.x", "b.a.x", "x", "*.x", "*.a.x", "*.b.a.x", "*", "other"];
const PATHS: [&str; 11] = ["/", "/a", "/a/", "/a/b", "/a/b/c", "/ab", "/b", "/b/c/d/e", "/x/y", "*", ""];
const EXACT_PATHS: [&str; 4] = ["/", "/a", "/a/b", "*"];
const PREFIXES: [&str; 6] = ["/", "/a", "/a/", "/a/b", "/b/c/d", "/ab"];
const PATH_REGEXES: [&str; 4] = ["/a.*", "/[ab]", "/.+/c", ".*"];
const METHODS: [&str; 3] = ["GET", "POST", "PURGE"];
const NAMES: [&str; 3] = ["k", "l", "m"];
const VALUES: [&str; 8] = ["", "j", "ja", "jason", "5", "12", "-3", "j, 5"];

#[derive(Clone, Copy, Debug)]
enum Value {
    Exact(&'static str),
    Prefix(&'static str),
    Suffix(&'static str),
    Contains(&'static str),
    /// The pattern `j.*`.
    RegexJ,
    /// The pattern `[0-9]{2}`.
    RegexTwoDigits,
    Present,
    Absent,
    Range(i64, i64),
}

#[derive(Clone, Copy, Debug)]
enum Path {
    Exact(&'static str),
    Prefix(&'static str),
    Regex(&'static str),
}

#[derive(Clone, Debug)]
struct Rule {
    listeners: Vec<u32>,
    hosts: Vec<&'static str>,
    path: Path,
    methods: Vec<&'static str>,
    headers: Vec<(&'static str, Value)>,
    query: Vec<(&'static str, Value)>,
    order: u32,
}

#[derive(Clone, Debug)]
struct Request {
    listener: u32,
    host: &'static str,
    path: &'static str,
    method: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    query: Vec<(&'static str, &'static str)>,
}

// The model: what the documentation says, in the plainest words.

fn model_host(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some("") => true,
        Some(suffix) => host.strip_suffix(suffix).is_some_and(|label| !label.is_empty()),
        None => pattern == host,
    }
}

fn model_path(path: Path, actual: &str) -> bool {
    match path {
        Path::Exact(exact) => exact == actual,
        Path::Prefix("/") => true,
        Path::Prefix(prefix) => {
            let prefix: Vec<&str> = prefix.trim_end_matches('/').split('/').collect();
            let actual: Vec<&str> = actual.split('/').collect();
            actual.len() >= prefix.len() && actual[..prefix.len()] == prefix[..]
        }
        Path::Regex("/a.*") => actual.starts_with("/a"),
        Path::Regex("/[ab]") => actual == "/a" || actual == "/b",
        Path::Regex("/.+/c") => actual.len() > 3 && actual.starts_with('/') && actual.ends_with("/c"),
        Path::Regex(_) => true,
    }
}

fn model_value(value: Value, actual: Option<&str>) -> bool {
    let Some(actual) = actual else { return matches!(value, Value::Absent) };
    match value {
        Value::Exact(exact) => actual == exact,
        Value::Prefix(prefix) => actual.starts_with(prefix),
        Value::Suffix(suffix) => actual.ends_with(suffix),
        Value::Contains(part) => actual.contains(part),
        Value::RegexJ => actual.starts_with('j'),
        Value::RegexTwoDigits => actual.len() == 2 && actual.bytes().all(|byte| byte.is_ascii_digit()),
        Value::Present => true,
        Value::Absent => false,
        Value::Range(start, end) => actual.parse::<i64>().is_ok_and(|number| start <= number && number < end),
    }
}

fn model_matches(rule: &Rule, host: &str, request: &Request) -> bool {
    let header = |name: &str| {
        let values: Vec<&str> =
            request.headers.iter().filter(|(key, _)| *key == name).map(|(_, value)| *value).collect();
        (!values.is_empty()).then(|| values.join(", "))
    };
    let query = |name: &str| request.query.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
    rule.listeners.contains(&request.listener)
        && model_host(host, request.host)
        && model_path(rule.path, request.path)
        && (rule.methods.is_empty() || rule.methods.contains(&request.method))
        && rule.headers.iter().all(|(name, value)| model_value(*value, header(name).as_deref()))
        && rule.query.iter().all(|(name, value)| model_value(*value, query(name)))
}

/// Criterion after criterion; `Greater` means that `a` wins.
fn model_compare(a: (&Rule, &str), b: (&Rule, &str)) -> Ordering {
    let host = |pattern: &str| match pattern {
        "*" => (0, 0),
        pattern if pattern.starts_with('*') => (1, pattern.len()),
        _ => (2, 0),
    };
    let path = |path: Path| match path {
        Path::Exact(_) => (3, 0),
        Path::Regex(text) => (2, text.len()),
        Path::Prefix(text) => (1, text.trim_end_matches('/').len()),
    };
    host(a.1)
        .cmp(&host(b.1))
        .then_with(|| b.0.order.cmp(&a.0.order))
        .then_with(|| path(a.0.path).cmp(&path(b.0.path)))
        .then_with(|| (!a.0.methods.is_empty()).cmp(&!b.0.methods.is_empty()))
        .then_with(|| a.0.headers.len().cmp(&b.0.headers.len()))
        .then_with(|| a.0.query.len().cmp(&b.0.query.len()))
}

/// The winner by a scan of everything; of equals the earlier one.
fn model_find(rules: &[Rule], request: &Request) -> Option<usize> {
    let mut best: Option<(usize, &str)> = None;
    for (place, rule) in rules.iter().enumerate() {
        for host in rule.hosts.iter().filter(|host| model_matches(rule, host, request)) {
            let better = best.is_none_or(|(best, best_host)| {
                model_compare((rule, host), (&rules[best], best_host)) == Ordering::Greater
            });
            if better {
                best = Some((place, host));
            }
        }
    }
    best.map(|(place, _)| place)
}

// The same in the table's types.

fn host_match(pattern: &str) -> HostMatch {
    match pattern.strip_prefix('*') {
        Some("") => HostMatch::Any,
        Some(suffix) => HostMatch::Suffix(suffix.as_bytes().into()),
        None => HostMatch::Exact(pattern.as_bytes().into()),
    }
}

fn named(list: &[(&'static str, Value)]) -> Box<[NamedMatch]> {
    let value = |value: Value| match value {
        Value::Exact(text) => ValueMatch::Exact(text.as_bytes().into()),
        Value::Prefix(text) => ValueMatch::Prefix(text.as_bytes().into()),
        Value::Suffix(text) => ValueMatch::Suffix(text.as_bytes().into()),
        Value::Contains(text) => ValueMatch::contains(text.as_bytes()),
        Value::RegexJ => ValueMatch::Regex(Pattern::new("j.*").unwrap()),
        Value::RegexTwoDigits => ValueMatch::Regex(Pattern::new("[0-9]{2}").unwrap()),
        Value::Present => ValueMatch::Present,
        Value::Absent => ValueMatch::Absent,
        Value::Range(start, end) => ValueMatch::Range { start, end },
    };
    list.iter().map(|(name, kind)| NamedMatch::new(name.as_bytes(), value(*kind))).collect()
}

fn spec(rule: &Rule) -> RouteSpec {
    RouteSpec {
        route: Route {
            id: RouteId(0),
            index: RouteIndex(0),
            name: "r".into(),
            action: Action::Cluster(ClusterIndex(0)),
            connect: false,
            timeout: None,
            retry: None,
            grpc: Grpc::default(),
            request_headers: HeaderEdits::default(),
            response_headers: HeaderEdits::default(),
        },
        listeners: rule.listeners.iter().map(|listener| ListenerIndex(*listener)).collect(),
        hosts: rule.hosts.iter().map(|host| host_match(host)).collect(),
        path: match rule.path {
            Path::Exact(path) => PathMatch::Exact(path.as_bytes().into()),
            Path::Prefix(path) => PathMatch::prefix(path.as_bytes()),
            Path::Regex(text) => PathMatch::Regex(Pattern::new(text).unwrap()),
        },
        methods: rule.methods.iter().map(|method| method.as_bytes().into()).collect(),
        headers: named(&rule.headers),
        query: named(&rule.query),
        order: rule.order,
    }
}

fn view(request: &Request) -> OwnedRequest {
    let query: Vec<String> = request.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
    OwnedRequest {
        method: request.method.into(),
        host: request.host.into(),
        path: request.path.into(),
        query: (!query.is_empty()).then(|| query.join("&").into_bytes()),
        headers: request.headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
    }
}

// What is drawn: few names, so that routes meet often.

fn value() -> impl Strategy<Value = Value> {
    let text = prop::sample::select(&VALUES[..]);
    prop_oneof![
        text.clone().prop_map(Value::Exact),
        text.clone().prop_map(Value::Prefix),
        text.clone().prop_map(Value::Suffix),
        text.prop_map(Value::Contains),
        Just(Value::RegexJ),
        Just(Value::RegexTwoDigits),
        Just(Value::Present),
        Just(Value::Absent),
        (-5i64..15, -5i64..15).prop_map(|(start, end)| Value::Range(start, end)),
    ]
}

fn conditions() -> impl Strategy<Value = Vec<(&'static str, Value)>> {
    prop::sample::subsequence(NAMES.to_vec(), 0..=2)
        .prop_flat_map(|names| (Just(names.clone()), vec(value(), names.len())))
        .prop_map(|(names, values)| names.into_iter().zip(values).collect())
}

fn path() -> impl Strategy<Value = Path> {
    prop_oneof![
        prop::sample::select(&EXACT_PATHS[..]).prop_map(Path::Exact),
        prop::sample::select(&PREFIXES[..]).prop_map(Path::Prefix),
        prop::sample::select(&PATH_REGEXES[..]).prop_map(Path::Regex),
    ]
}

fn rule() -> impl Strategy<Value = Rule> {
    (
        prop::sample::subsequence(vec![0, 1], 1..=2),
        prop::sample::subsequence(HOST_PATTERNS.to_vec(), 1..=3),
        path(),
        prop::sample::subsequence(METHODS.to_vec(), 0..=2),
        conditions(),
        conditions(),
        prop_oneof![4 => Just(0u32), 1 => 0u32..4],
    )
        .prop_map(|(listeners, hosts, path, methods, headers, query, order)| Rule {
            listeners,
            hosts,
            path,
            methods,
            headers,
            query,
            order,
        })
}

fn request() -> impl Strategy<Value = Request> {
    let pairs = || vec((prop::sample::select(&NAMES[..]), prop::sample::select(&VALUES[..])), 0..=3);
    (
        0u32..2,
        prop::sample::select(&HOSTS[..]),
        prop::sample::select(&PATHS[..]),
        prop::sample::select(&METHODS[..]),
        pairs(),
        pairs(),
    )
        .prop_map(|(listener, host, path, method, headers, query)| Request {
            listener,
            host,
            path,
            method,
            headers,
            query,
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn find_equals_a_scan(rules in vec(rule(), 0..24), requests in vec(request(), 24), orders in any::<bool>()) {
        let rules: Vec<Rule> =
            rules.into_iter().map(|rule| Rule { order: if orders { rule.order } else { 0 }, ..rule }).collect();
        let table = RouteTable::build(rules.iter().map(spec).collect(), 2, None);
        let mut scratch = MatchScratch::new();
        for request in &requests {
            let found = table.find(ListenerIndex(request.listener), &view(request), &mut scratch);
            let found = found.map(|route| route.index.index());
            prop_assert_eq!(found, model_find(&rules, request), "{:?}", request);
        }
    }
}

/// Every combination of the criteria once.
fn all_rules() -> Vec<Rule> {
    let mut rules = Vec::new();
    let conditions =
        |count: usize| NAMES.iter().take(count).map(|name| (*name, Value::Present)).collect::<Vec<_>>();
    for host in ["*", "*.x", "*.a.x", "a.x"] {
        for order in [0, 1] {
            for path in [
                Path::Prefix("/"),
                Path::Prefix("/a"),
                Path::Prefix("/a/b"),
                Path::Regex(".*"),
                Path::Regex("/a.*"),
                Path::Exact("/a"),
            ] {
                for methods in [vec![], vec!["GET"]] {
                    for headers in 0..3 {
                        for query in 0..3 {
                            rules.push(Rule {
                                listeners: vec![0],
                                hosts: vec![host],
                                path,
                                methods: methods.clone(),
                                headers: conditions(headers),
                                query: conditions(query),
                                order,
                            });
                        }
                    }
                }
            }
        }
    }
    rules
}

#[test]
fn precedence_is_a_total_order_of_the_documented_criteria() {
    let rules = all_rules();
    let keys: Vec<Precedence> =
        rules.iter().map(|rule| Precedence::of(&spec(rule), &host_match(rule.hosts[0]))).collect();
    for (a, rule_a) in rules.iter().enumerate() {
        for (b, rule_b) in rules.iter().enumerate() {
            let expected = model_compare((rule_a, rule_a.hosts[0]), (rule_b, rule_b.hosts[0]));
            assert_eq!(keys[a].cmp(&keys[b]), expected, "{rule_a:?}\n{rule_b:?}");
            assert_eq!(expected == Ordering::Equal, a == b, "two combinations tie:\n{rule_a:?}\n{rule_b:?}");
            assert_eq!(keys[a].wins_by(&keys[b]).is_some(), expected == Ordering::Greater);
        }
    }
    // Sorted by the key, each is above all before it: with the comparison above this is transitivity.
    let mut sorted = keys.clone();
    sorted.sort();
    for (place, key) in sorted.iter().enumerate() {
        assert!(sorted[..place].iter().all(|below| below < key));
    }
}
