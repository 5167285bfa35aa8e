//! Routes that get in each other's way: ties, and routes that no request can reach.
//!
//! Two routes *tie* if one request can match both, on the same listener and by the same host, and
//! precedence does not say which wins. Whether one request can match both is decided as far as it can be
//! (different exact values of one header exclude each other; two regular expressions count as overlapping).
//!
//! A route is *unreachable* if for each of its listeners and hosts another one takes every request first.
//! Precedence puts the more specific first, so that only a path regex for everything can do this.
//!
//! Not here: conditions that can never hold by themselves (`config` refuses them).

use std::collections::HashMap;

use super::matcher::{HostMatch, NamedMatch, PathMatch, RouteSpec, ValueMatch};
use super::order::Precedence;
use crate::id::ListenerIndex;

/// Two routes in each other's way; numbers are places in the list of specs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// Neither wins. Each `second` is reported once, with the first one it ties with.
    Tie {
        /// The earlier one.
        first: usize,
        /// The later one.
        second: usize,
        /// The host under which they meet.
        host: HostMatch,
    },
    /// No request reaches `route`.
    Unreachable {
        /// The one that is never reached.
        route: usize,
        /// One that takes its requests.
        by: usize,
    },
}

/// All conflicts among `specs`.
pub fn conflicts(specs: &[RouteSpec]) -> Vec<Conflict> {
    let mut found = ties(specs);
    found.extend(unreachable(specs));
    found
}

/// Routes that can only tie with each other: same host, same precedence, same exact path or prefix.
/// Regular expressions of one length may overlap whatever they are.
type Key<'a> = (&'a HostMatch, Precedence, Option<&'a [u8]>);

/// The routes of one key, by the first name that they want an exact value of (`None`: of no name), then by
/// that value: those that want another value of the same name need no comparison, so that a thousand
/// routes that differ in the value of one header are compared with none.
type Group<'a> = HashMap<Option<(bool, &'a [u8])>, HashMap<&'a [u8], Vec<usize>>>;

fn ties(specs: &[RouteSpec]) -> Vec<Conflict> {
    let mut groups: HashMap<Key<'_>, Group<'_>> = HashMap::new();
    let mut found = Vec::new();
    for (second, spec) in specs.iter().enumerate() {
        let path = match &spec.path {
            PathMatch::Exact(path) | PathMatch::Prefix(path) => Some(&**path),
            PathMatch::Regex(_) => None,
        };
        let (name, value) = first_exact(spec);
        let mut tie: Option<(usize, &HostMatch)> = None;
        for host in &spec.hosts {
            let group = groups.entry((host, Precedence::of(spec, host), path)).or_default();
            let comparable = group.iter().flat_map(|(other, values)| {
                let same = values.get(value).into_iter().filter(|_| *other == name && name.is_some());
                let all = values.values().filter(|_| *other != name || name.is_none());
                same.chain(all).flatten().copied()
            });
            let first = comparable.filter(|&first| overlap(&specs[first], spec)).min();
            tie = tie.or(first.map(|first| (first, host)));
            group.entry(name).or_default().entry(value).or_default().push(second);
        }
        found.extend(tie.map(|(first, host)| Conflict::Tie { first, second, host: host.clone() }));
    }
    found
}

/// The first condition on an exact value: whether on a header, its name, its value.
fn first_exact(spec: &RouteSpec) -> (Option<(bool, &[u8])>, &[u8]) {
    let named =
        spec.headers.iter().map(|named| (true, named)).chain(spec.query.iter().map(|named| (false, named)));
    let mut exact = named.filter_map(|(header, named)| match &named.value {
        ValueMatch::Exact(value) => Some((Some((header, &*named.name)), &**value)),
        _ => None,
    });
    exact.next().unwrap_or((None, b""))
}

/// Whether one request could match both, path and host aside.
fn overlap(a: &RouteSpec, b: &RouteSpec) -> bool {
    let listeners = a.listeners.iter().any(|listener| b.listeners.contains(listener));
    let methods = a.methods.is_empty()
        || b.methods.is_empty()
        || a.methods.iter().any(|method| b.methods.contains(method));
    listeners && methods && !exclude(&a.headers, &b.headers) && !exclude(&a.query, &b.query)
}

fn exclude(a: &[NamedMatch], b: &[NamedMatch]) -> bool {
    a.iter().any(|a| b.iter().any(|b| a.name == b.name && values_exclude(&a.value, &b.value)))
}

/// Whether no value can fit both conditions.
fn values_exclude(a: &ValueMatch, b: &ValueMatch) -> bool {
    use ValueMatch::{Absent, Exact, Prefix, Range, Suffix};
    match (a, b) {
        (Absent, Absent) => false,
        (Absent, _) | (_, Absent) => true,
        (Exact(value), other) | (other, Exact(value)) => !other.matches(Some(value)),
        (Prefix(a), Prefix(b)) => !a.starts_with(b) && !b.starts_with(a),
        (Suffix(a), Suffix(b)) => !a.ends_with(b) && !b.ends_with(a),
        (Range { start: a, end: b }, Range { start: c, end: d }) => b <= c || d <= a,
        _ => false,
    }
}

fn unreachable(specs: &[RouteSpec]) -> Vec<Conflict> {
    let everything: Vec<usize> = (0..specs.len())
        .filter(
            |&place| matches!(&specs[place].path, PathMatch::Regex(pattern) if pattern.matches_everything()),
        )
        .collect();
    (0..specs.len())
        .filter_map(|route| {
            let mut taken_by = specs[route].listeners.iter().flat_map(|&listener| {
                let everything = &everything;
                specs[route].hosts.iter().map(move |host| {
                    everything
                        .iter()
                        .copied()
                        .find(|&by| by != route && takes(&specs[by], &specs[route], host, listener))
                })
            });
            let by = taken_by.next()??;
            taken_by.all(|by| by.is_some()).then_some(Conflict::Unreachable { route, by })
        })
        .collect()
}

/// Whether `by`, whose path matches everything, comes before `route` under `host` and `listener` and
/// matches all that it matches.
fn takes(by: &RouteSpec, route: &RouteSpec, host: &HostMatch, listener: ListenerIndex) -> bool {
    let weaker = |by: &[NamedMatch], route: &[NamedMatch]| {
        by.iter().all(|by| route.iter().any(|route| route.name == by.name && route.value == by.value))
    };
    by.listeners.contains(&listener)
        && by.hosts.contains(host)
        && Precedence::of(by, host) > Precedence::of(route, host)
        && (by.methods.is_empty()
            || (!route.methods.is_empty() && route.methods.iter().all(|method| by.methods.contains(method))))
        && weaker(&by.headers, &route.headers)
        && weaker(&by.query, &route.query)
}
