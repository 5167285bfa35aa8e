//! Finding a request's route in tables of ten to a hundred thousand.
//!
//! Requests are spread over the whole table in a mixed order, so that at the large sizes entries are not in
//! the processor's caches, as they would not be.

use std::hint::black_box;

use pinion_core::http::{HeaderEdits, OwnedRequest};
use pinion_core::id::{ClusterIndex, ListenerIndex, RouteId, RouteIndex};
use pinion_core::route::{Action, Grpc, HostMatch, MatchScratch, PathMatch, Route, RouteSpec, RouteTable};
use pinion_load::random::Random;

use super::{Group, Work, in_turn};

/// How many routes there are.
const ROUTES: &[usize] = &[10, 1_000, 100_000];

/// Most requests that are asked in turn: their own memory must not be what is measured.
const REQUESTS_MAX: usize = 4_096;

pub(super) const HOSTS: Group = Group {
    name: "route-hosts",
    what: "find the route by an exact host",
    unit: "routes",
    sizes: ROUTES,
    flat: true,
    make: |size| find(Kind::Host, size),
};

pub(super) const WILDCARDS: Group = Group {
    name: "route-wildcards",
    what: "find the route by a wildcard host",
    unit: "routes",
    sizes: ROUTES,
    flat: true,
    make: |size| find(Kind::Wildcard, size),
};

pub(super) const EXACT_PATHS: Group = Group {
    name: "route-exact-paths",
    what: "find the route by an exact path of one host",
    unit: "routes",
    sizes: ROUTES,
    flat: true,
    make: |size| find(Kind::ExactPath, size),
};

pub(super) const PREFIXES: Group = Group {
    name: "route-prefixes",
    what: "find the route by a path prefix of one host",
    unit: "routes",
    sizes: ROUTES,
    flat: true,
    make: |size| find(Kind::Prefix, size),
};

/// What tells the routes of a table apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::micro) enum Kind {
    Host,
    Wildcard,
    ExactPath,
    Prefix,
}

impl Kind {
    #[cfg(test)]
    pub(in crate::micro) const ALL: [Kind; 4] = [Kind::Host, Kind::Wildcard, Kind::ExactPath, Kind::Prefix];

    /// Host and path conditions of a table's route. Names have the same length in every table.
    fn conditions(self, number: usize) -> (HostMatch, PathMatch) {
        let exact = |host: String| HostMatch::Exact(host.into_bytes().into());
        match self {
            Kind::Host => (exact(format!("service-{number:06}.example")), PathMatch::prefix(b"/")),
            Kind::Wildcard => {
                let suffix = format!(".service-{number:06}.example");
                (HostMatch::Suffix(suffix.into_bytes().into()), PathMatch::prefix(b"/"))
            }
            Kind::ExactPath => {
                let path = format!("/api/product-{number:06}");
                (exact("shop.example".to_owned()), PathMatch::Exact(path.into_bytes().into()))
            }
            Kind::Prefix => {
                let path = format!("/api/product-{number:06}");
                (exact("shop.example".to_owned()), PathMatch::prefix(path.as_bytes()))
            }
        }
    }

    /// Host and path of a request for that route.
    fn request(self, number: usize) -> (String, String) {
        match self {
            Kind::Host => (format!("service-{number:06}.example"), "/api/reviews".to_owned()),
            Kind::Wildcard => (format!("eu.service-{number:06}.example"), "/api/reviews".to_owned()),
            Kind::ExactPath => ("shop.example".to_owned(), format!("/api/product-{number:06}")),
            Kind::Prefix => ("shop.example".to_owned(), format!("/api/product-{number:06}/reviews")),
        }
    }
}

/// A table with `size` routes of one kind.
pub(in crate::micro) fn table(kind: Kind, size: usize) -> RouteTable {
    let spec = |number: usize| {
        let (host, path) = kind.conditions(number);
        RouteSpec {
            route: Route {
                id: RouteId(number as u32),
                index: RouteIndex(number as u32),
                name: "route".into(),
                action: Action::Cluster(ClusterIndex(0)),
                connect: false,
                timeout: None,
                retry: None,
                grpc: Grpc::default(),
                request_headers: HeaderEdits::default(),
                response_headers: HeaderEdits::default(),
            },
            listeners: [ListenerIndex(0)].into(),
            hosts: [host].into(),
            path,
            methods: [].into(),
            headers: [].into(),
            query: [].into(),
            order: 0,
        }
    };
    RouteTable::build((0..size).map(spec).collect(), 1, None)
}

/// Requests for routes from the whole table, in a mixed order.
pub(in crate::micro) fn requests(kind: Kind, size: usize) -> Vec<OwnedRequest> {
    let count = size.min(REQUESTS_MAX);
    let mut numbers: Vec<usize> = (0..count).map(|at| at * (size / count)).collect();
    let mut random = Random::seeded(1);
    for at in (1..numbers.len()).rev() {
        numbers.swap(at, (random.bits() % (at as u64 + 1)) as usize);
    }
    let request = |number: usize| {
        let (host, path) = kind.request(number);
        OwnedRequest::new(b"GET", host.as_bytes(), path.as_bytes())
    };
    numbers.into_iter().filter_map(request).collect()
}

fn find(kind: Kind, size: usize) -> Work {
    let table = table(kind, size);
    let mut scratch = MatchScratch::new();
    in_turn(requests(kind, size), move |request| {
        let found = table.find(ListenerIndex(0), request, &mut scratch);
        debug_assert!(found.is_some());
        black_box(found);
    })
}
