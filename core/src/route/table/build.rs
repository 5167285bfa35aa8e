//! Builds a route table: gives names and patterns their slots, indexes routes by listener, host and path.
//!
//! Invariants: candidates are inserted in the order of their rank, so that every list is sorted; listeners
//! with the same routes share one index; equal names and patterns share one slot.
//!
//! Not here: looking up (`table`), conflicts between routes (`conflict`).

use std::collections::HashMap;
use std::sync::Arc;

use regex_automata::meta;

use super::{Candidate, Hosts, Paths, RouteTable};
use crate::id::RouteIndex;
use crate::route::Route;
use crate::route::matcher::{HostMatch, PathMatch, Pattern, RouteSpec, ValueMatch};
use crate::route::order::Precedence;

impl RouteTable {
    /// Indexes `specs` for listeners `0..listeners`. Each spec's route gets its place as index; a route
    /// equal to one in `previous` is shared with it.
    pub fn build(mut specs: Vec<RouteSpec>, listeners: usize, previous: Option<&RouteTable>) -> Self {
        let mut slots = Slots::knowing(previous);
        for (place, spec) in specs.iter_mut().enumerate() {
            spec.route.index = RouteIndex(place as u32);
            slots.assign(spec);
        }
        let (listeners, hosts) = index(&specs, listeners);
        let routes = specs.iter().map(|spec| share(&spec.route, previous)).collect();
        // Equal patterns keep the list's identity, so that shards keep their caches.
        let patterns = match previous {
            Some(previous) if previous.texts().eq(slots.patterns.iter().map(|(text, _)| &**text)) => {
                Arc::clone(&previous.patterns)
            }
            _ => slots.patterns.into_iter().map(|(_, regex)| regex).collect(),
        };
        RouteTable {
            routes,
            specs: specs.into(),
            listeners,
            hosts: hosts.into(),
            patterns,
            header_names: slots.headers.len(),
            query_names: slots.query.len(),
        }
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        // Slots were given in the order of first use, so the texts in that order are the list's.
        let mut texts = vec![""; self.patterns.len()];
        for spec in &self.specs {
            for pattern in patterns_of(spec) {
                texts[pattern.slot as usize] = pattern.text();
            }
        }
        texts.into_iter()
    }
}

fn patterns_of(spec: &RouteSpec) -> impl Iterator<Item = &Pattern> {
    let path = match &spec.path {
        PathMatch::Regex(pattern) => Some(pattern),
        _ => None,
    };
    let values = spec.headers.iter().chain(&spec.query).filter_map(|named| match &named.value {
        ValueMatch::Regex(pattern) => Some(pattern),
        _ => None,
    });
    path.into_iter().chain(values)
}

/// Gives each distinct name and pattern its place in the scratch.
#[derive(Default)]
struct Slots {
    headers: HashMap<Box<[u8]>, u32>,
    query: HashMap<Box<[u8]>, u32>,
    pattern_of: HashMap<Box<str>, u32>,
    patterns: Vec<(Box<str>, meta::Regex)>,
    /// The programs of the table before, by text.
    before: HashMap<Box<str>, meta::Regex>,
}

impl Slots {
    fn knowing(previous: Option<&RouteTable>) -> Self {
        let patterns = previous.into_iter().flat_map(|table| &table.specs).flat_map(patterns_of);
        let before = patterns.map(|pattern| (pattern.text().into(), pattern.regex.clone())).collect();
        Slots { before, ..Slots::default() }
    }

    fn assign(&mut self, spec: &mut RouteSpec) {
        if let PathMatch::Regex(pattern) = &mut spec.path {
            self.pattern(pattern);
        }
        for (names, list) in [(true, &mut spec.headers), (false, &mut spec.query)] {
            for named in list.iter_mut() {
                let slots = if names { &mut self.headers } else { &mut self.query };
                let next = slots.len() as u32;
                named.slot = *slots.entry(named.name.clone()).or_insert(next);
                if let ValueMatch::Regex(pattern) = &mut named.value {
                    self.pattern(pattern);
                }
            }
        }
    }

    fn pattern(&mut self, pattern: &mut Pattern) {
        let next = self.patterns.len() as u32;
        pattern.slot = *self.pattern_of.entry(pattern.text().into()).or_insert_with(|| {
            let program = self.before.get(pattern.text()).unwrap_or(&pattern.regex);
            self.patterns.push((pattern.text().into(), program.clone()));
            next
        });
        // One program per text, over reloads too: a cache fits only the program that made it.
        pattern.regex = self.patterns[pattern.slot as usize].1.clone();
    }
}

fn share(route: &Route, previous: Option<&RouteTable>) -> Arc<Route> {
    let same =
        previous.and_then(|table| table.routes.get(route.index.index())).filter(|old| ***old == *route);
    same.map_or_else(|| Arc::new(route.clone()), Arc::clone)
}

/// Groups listeners by the routes they have and indexes each group.
fn index(specs: &[RouteSpec], listeners: usize) -> (Box<[u32]>, Vec<Hosts>) {
    let mut routes_of = vec![Vec::new(); listeners];
    for (place, spec) in specs.iter().enumerate() {
        for listener in &spec.listeners {
            routes_of[listener.index()].push(place as u32);
        }
    }
    let mut hosts = Vec::new();
    let mut known: HashMap<Vec<u32>, u32> = HashMap::new();
    let places = routes_of
        .into_iter()
        .map(|routes| match known.get(&routes) {
            Some(&place) => place,
            None => {
                let place = hosts.len() as u32;
                hosts.push(index_hosts(specs, &routes));
                known.insert(routes, place);
                place
            }
        })
        .collect();
    (places, hosts)
}

fn index_hosts(specs: &[RouteSpec], routes: &[u32]) -> Hosts {
    let mut entries: Vec<(Precedence, u32, &HostMatch)> = routes
        .iter()
        .flat_map(|&route| {
            let spec = &specs[route as usize];
            spec.hosts.iter().map(move |host| (Precedence::of(spec, host), route, host))
        })
        .collect();
    // The greater precedence first, then the lower index: total.
    entries.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut hosts = Hosts::default();
    for (rank, (_, route, host)) in entries.into_iter().enumerate() {
        let paths = match host {
            HostMatch::Exact(host) => hosts.exact.entry(host.clone()).or_default(),
            HostMatch::Suffix(suffix) => {
                hosts.suffix_bytes_max = hosts.suffix_bytes_max.max(suffix.len());
                hosts.suffix.entry(suffix.clone()).or_default()
            }
            HostMatch::Any => hosts.any.get_or_insert_with(Paths::default),
        };
        paths.insert(&specs[route as usize], Candidate { rank: rank as u32, route: RouteIndex(route) });
    }
    hosts
}

impl Paths {
    /// Candidates are inserted in the order of their rank, so each list is sorted.
    fn insert(&mut self, spec: &RouteSpec, candidate: Candidate) {
        self.first_match |= spec.order != 0;
        match &spec.path {
            PathMatch::Exact(path) => self.exact.entry(path.clone()).or_default().push(candidate),
            PathMatch::Regex(_) => self.regex.push(candidate),
            PathMatch::Prefix(prefix) if prefix.is_empty() => self.all.push(candidate),
            PathMatch::Prefix(prefix) => {
                self.prefix_bytes_max = self.prefix_bytes_max.max(prefix.len());
                let segments = prefix.iter().filter(|&&byte| byte == b'/').count();
                self.prefix_segments_max = self.prefix_segments_max.max(segments);
                self.prefix.entry(prefix.clone()).or_default().push(candidate);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Ids, Snapshot, compile};

    fn load(regexes: &[&str], previous: Option<&Snapshot>) -> Snapshot {
        let mut text = String::from("listeners = [{ name = \"l\", address = \"127.0.0.1:0\" }]\n");
        for regex in regexes {
            let route = format!("path = {{ regex = \"{regex}\" }}\ndirect_response = {{ status = 200 }}\n");
            text += &format!("[[routes]]\n{route}");
        }
        compile(&text, "f", Path::new("/"), &mut Ids::default(), 1, previous).unwrap()
    }

    #[test]
    fn a_reload_with_the_same_patterns_keeps_the_shards_caches() {
        let first = load(&["/a", "/bb"], None);
        let same = load(&["/a", "/bb"], Some(&first));
        assert!(Arc::ptr_eq(&first.routes.patterns, &same.routes.patterns));
        for patterns in [&["/bb", "/a"][..], &["/a"], &["/a", "/bb", "/ccc"], &["/a", "/cc"]] {
            let other = load(patterns, Some(&first));
            assert!(!Arc::ptr_eq(&first.routes.patterns, &other.routes.patterns), "{patterns:?}");
        }
    }
}
