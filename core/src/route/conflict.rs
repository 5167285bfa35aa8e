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
type Group<'a> = (&'a HostMatch, Precedence, Option<&'a [u8]>);

fn ties(specs: &[RouteSpec]) -> Vec<Conflict> {
    let mut groups: HashMap<Group<'_>, Vec<usize>> = HashMap::new();
    let mut found: HashMap<usize, Conflict> = HashMap::new();
    for (second, spec) in specs.iter().enumerate() {
        for host in &spec.hosts {
            let path = match &spec.path {
                PathMatch::Exact(path) | PathMatch::Prefix(path) => Some(&**path),
                PathMatch::Regex(_) => None,
            };
            let group = groups.entry((host, Precedence::of(spec, host), path)).or_default();
            if let Some(&first) = group.iter().find(|&&first| overlap(&specs[first], spec)) {
                found.entry(second).or_insert_with(|| Conflict::Tie { first, second, host: host.clone() });
            }
            group.push(second);
        }
    }
    let mut found: Vec<_> = found.into_iter().collect();
    found.sort_by_key(|(second, _)| *second);
    found.into_iter().map(|(_, conflict)| conflict).collect()
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
