//! Finds the route of a request.
//!
//! ```text
//!  listener ─▶ hosts ┬ exact   hash of the host                ─▶ paths ┐
//!                    ├ suffix  hash per label, longest first   ─▶ paths ├▶ the first that matches, else on
//!                    └ any                                     ─▶ paths ┘
//!  paths ┬ exact   hash of the path                             ─▶ candidates ┐
//!        ├ regex   in order of precedence                       ─▶ candidates ├▶ method, headers, query
//!        ├ prefix  hash per segment, longest first              ─▶ candidates ┤
//!        └ all     every path                                   ─▶ candidates ┘
//! ```
//!
//! Invariants:
//! - the result equals a scan of all routes in order of [`Precedence`](super::Precedence) (`tests/prop_route.rs`);
//! - the cost follows the request (labels of its host, segments of its path) and the number of routes that
//!   share one host and path, never the number of hosts and of exact or prefix paths (`tests/route_cost.rs`);
//! - candidates stand in the order of their rank, which is unique in the table.
//!
//! With explicit orders (first-match imports) under one host the kinds of path no longer follow each other,
//! so all of them are asked and the lowest rank wins.
//!
//! Not here: building the table (`build`), the precedence itself (`order`).
//!
//! HOT: no allocation, no lock, no formatting; a regex at most grows the caches that the shard owns.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;
use regex_automata::meta;

use super::Route;
use super::matcher::{PathMatch, RouteSpec};
use super::scratch::MatchScratch;
use crate::http::RequestView;
use crate::id::{ListenerIndex, RouteIndex};

mod build;

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
    /// Never the empty prefix: comparing no bytes at the address that an empty key has costs more than the
    /// whole lookup on some processors (a masked load that faults).
    prefix: Table<Vec<Candidate>>,
    /// Of the empty prefix, which every path has.
    all: Vec<Candidate>,
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
            if best.is_some() && !paths.first_match {
                return best.map(|best| best.route);
            }
        }
        if !paths.all.is_empty() {
            self.scratch.steps += 1;
            self.candidates(&paths.all, &mut best, None);
        }
        best.map(|best| best.route)
    }

    /// Asks the prefixes of `path`, longest first, no more than the table has segments.
    fn prefixes(&mut self, paths: &Paths, path: &[u8], best: &mut Option<Candidate>) {
        let mut end = longest_prefix(path, paths.prefix_bytes_max, paths.prefix_segments_max);
        while end > 0 {
            self.scratch.steps += 1;
            if let Some(candidates) = paths.prefix.get(&path[..end]) {
                self.candidates(candidates, best, None);
                if best.is_some() && !paths.first_match {
                    return;
                }
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
