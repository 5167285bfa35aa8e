//! Finds the route of a request. Hot: no allocation, no lock, no formatting.
//!
//! ```text
//!  listener ─▶ hosts ┬ exact   hash of the host                ─▶ paths ┐
//!                    ├ suffix  hash per label, longest first   ─▶ paths ├▶ the first that matches, else on
//!                    └ any                                     ─▶ paths ┘
//!  paths ┬ exact   hash of the path                             ─▶ candidates ┐
//!        ├ regex   in order of precedence                       ─▶ candidates ├▶ method, headers, query
//!        └ prefix  hash per segment, longest first              ─▶ candidates ┘
//! ```
//!
//! Invariants:
//! - the result equals a scan of all routes in order of [`Precedence`] (`tests/prop_route.rs`);
//! - the cost follows the request (labels of its host, segments of its path) and the number of routes that
//!   share one host and path, never the number of hosts and of exact or prefix paths (`tests/route_cost.rs`);
//! - candidates stand in the order of their rank, which is unique in the table.
//!
//! With explicit orders (first-match imports) under one host the kinds of path no longer follow each other,
//! so all of them are asked and the lowest rank wins.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;
use regex_automata::meta;

use super::Route;
use super::matcher::{HostMatch, PathMatch, Pattern, RouteSpec, ValueMatch};
use super::order::Precedence;
use super::scratch::MatchScratch;
use crate::http::RequestView;
use crate::id::{ListenerIndex, RouteIndex};

/// The hash is fixed: keys come from the configuration, peers only look up.
type Table<T> = HashMap<Box<[u8]>, T, FixedState>;

/// All routes of a snapshot, indexed for lookup.
#[derive(Debug)]
pub struct RouteTable {
    routes: Box<[Arc<Route>]>,
    /// By [`RouteIndex`], as `routes`.
    specs: Box<[RouteSpec]>,
    /// By [`ListenerIndex`]: a place in `hosts`; listeners with the same routes share one.
    listeners: Box<[u32]>,
    hosts: Box<[Hosts]>,
    patterns: Arc<[meta::Regex]>,
    header_names: usize,
    query_names: usize,
}

/// The routes of a listener by host.
#[derive(Debug, Default)]
struct Hosts {
    exact: Table<Paths>,
    suffix: Table<Paths>,
    /// The longest key of `suffix`, in bytes.
    suffix_bytes_max: usize,
    any: Option<Paths>,
}

/// The routes of a host by path.
#[derive(Debug, Default)]
struct Paths {
    exact: Table<Vec<Candidate>>,
    regex: Vec<Candidate>,
    prefix: Table<Vec<Candidate>>,
    /// The longest key of `prefix`, in bytes and in segments.
    prefix_bytes_max: usize,
    prefix_segments_max: usize,
    /// Some route here carries an explicit order.
    first_match: bool,
}

/// A route that remains to be checked for method, headers and query (and its pattern, in `Paths::regex`).
#[derive(Clone, Copy, Debug)]
struct Candidate {
    /// The place in the total order of the table; the lowest matching one wins.
    rank: u32,
    route: RouteIndex,
}

impl RouteTable {
    /// Indexes `specs` for listeners `0..listeners`. Each spec's route gets its place as index; a route
    /// equal to one in `previous` is shared with it.
    pub fn build(mut specs: Vec<RouteSpec>, listeners: usize, previous: Option<&RouteTable>) -> Self {
        let mut slots = Slots::default();
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

    /// Every route, by [`RouteIndex`].
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// Every route with its conditions, by [`RouteIndex`].
    pub fn specs(&self) -> &[RouteSpec] {
        &self.specs
    }

    /// The route of the request that `view` shows, `None` if no route matches.
    pub fn find<V: RequestView + ?Sized>(
        &self,
        listener: ListenerIndex,
        view: &V,
        scratch: &mut MatchScratch,
    ) -> Option<&Arc<Route>> {
        let hosts = &self.hosts[*self.listeners.get(listener.index())? as usize];
        scratch.begin(&self.patterns, self.header_names, self.query_names);
        Lookup { table: self, view, scratch }.hosts(hosts).map(|route| &self.routes[route.index()])
    }
}

/// One lookup under way.
struct Lookup<'a, V: ?Sized> {
    table: &'a RouteTable,
    view: &'a V,
    scratch: &'a mut MatchScratch,
}

impl<V: RequestView + ?Sized> Lookup<'_, V> {
    fn hosts(&mut self, hosts: &Hosts) -> Option<RouteIndex> {
        let host = self.view.host();
        self.scratch.steps += 1;
        if let Some(route) = hosts.exact.get(host).and_then(|paths| self.paths(paths)) {
            return Some(route);
        }
        if hosts.suffix_bytes_max > 0 {
            // From the longest suffix that leaves a label before it to the shortest.
            let skip = host.len().saturating_sub(hosts.suffix_bytes_max).max(1);
            for (at, _) in host.iter().enumerate().skip(skip).filter(|&(_, &byte)| byte == b'.') {
                self.scratch.steps += 1;
                if let Some(route) = hosts.suffix.get(&host[at..]).and_then(|paths| self.paths(paths)) {
                    return Some(route);
                }
            }
        }
        hosts.any.as_ref().and_then(|paths| self.paths(paths))
    }

    fn paths(&mut self, paths: &Paths) -> Option<RouteIndex> {
        let path = self.view.path();
        let mut best: Option<Candidate> = None;
        self.scratch.steps += 1;
        if let Some(candidates) = paths.exact.get(path) {
            self.candidates(candidates, &mut best, None);
            if best.is_some() && !paths.first_match {
                return best.map(|best| best.route);
            }
        }
        if !paths.regex.is_empty() {
            self.candidates(&paths.regex, &mut best, Some(path));
            if best.is_some() && !paths.first_match {
                return best.map(|best| best.route);
            }
        }
        if !paths.prefix.is_empty() {
            self.prefixes(paths, path, &mut best);
        }
        best.map(|best| best.route)
    }

    /// Asks the prefixes of `path`, longest first, no more than the table has segments.
    fn prefixes(&mut self, paths: &Paths, path: &[u8], best: &mut Option<Candidate>) {
        let mut end = longest_prefix(path, paths.prefix_bytes_max, paths.prefix_segments_max);
        loop {
            self.scratch.steps += 1;
            if let Some(candidates) = paths.prefix.get(&path[..end]) {
                self.candidates(candidates, best, None);
                if best.is_some() && !paths.first_match {
                    return;
                }
            }
            if end == 0 {
                return;
            }
            end = memchr::memrchr(b'/', &path[..end]).unwrap_or(0);
        }
    }

    /// The first of `candidates` that matches and ranks before `best` takes its place.
    fn candidates(&mut self, candidates: &[Candidate], best: &mut Option<Candidate>, path: Option<&[u8]>) {
        for candidate in candidates {
            if best.is_some_and(|best| best.rank < candidate.rank) {
                return;
            }
            self.scratch.steps += 1;
            let spec = &self.table.specs[candidate.route.index()];
            let fits = match (path, &spec.path) {
                (Some(path), PathMatch::Regex(pattern)) => self.scratch.search(pattern, path),
                _ => true,
            };
            if fits && self.conditions(spec) {
                *best = Some(*candidate);
                return;
            }
        }
    }

    fn conditions(&mut self, spec: &RouteSpec) -> bool {
        let (view, scratch) = (self.view, &mut *self.scratch);
        let method = view.method();
        (spec.methods.is_empty() || spec.methods.iter().any(|allowed| **allowed == *method))
            && spec.headers.iter().all(|header| {
                scratch
                    .header(view, header.slot, &header.name, |value, search| header.value.fits(value, search))
            })
            && spec.query.iter().all(|parameter| {
                scratch.query(view.query(), parameter.slot, &parameter.name, |value, search| {
                    parameter.value.fits(value, search)
                })
            })
    }
}

/// The end of the longest leading part of `path` that could be a prefix: at a segment's end, at most
/// `bytes_max` long and `segments_max` segments deep.
fn longest_prefix(path: &[u8], bytes_max: usize, segments_max: usize) -> usize {
    // A segment ends before the next slash or at the end; the leading slash ends none.
    let ends = memchr::memchr_iter(b'/', path).skip(1).chain(std::iter::once(path.len()));
    ends.take(segments_max).take_while(|&end| end <= bytes_max).last().unwrap_or(0)
}

impl RouteTable {
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
}

impl Slots {
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
            self.patterns.push((pattern.text().into(), pattern.regex.clone()));
            next
        });
        // One compiled program per text, so that a cache fits whichever route asks.
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
            PathMatch::Prefix(prefix) => {
                self.prefix_bytes_max = self.prefix_bytes_max.max(prefix.len());
                let segments = prefix.iter().filter(|&&byte| byte == b'/').count();
                self.prefix_segments_max = self.prefix_segments_max.max(segments);
                self.prefix.entry(prefix.clone()).or_default().push(candidate);
            }
        }
    }
}
