//! The cost of a lookup, in steps (hash look-ups and candidates compared), follows the request and not the
//! size of the table.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed helper fails its test")]

use pinion_core::http::{HeaderEdits, OwnedRequest};
use pinion_core::id::{ClusterIndex, ListenerIndex, RouteId, RouteIndex};
use pinion_core::route::{Action, Grpc, HostMatch, MatchScratch, PathMatch, Route, RouteSpec, RouteTable};

fn spec(host: HostMatch, path: PathMatch) -> RouteSpec {
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
        listeners: [ListenerIndex(0)].into(),
        hosts: [host].into(),
        path,
        methods: [].into(),
        headers: [].into(),
        query: [].into(),
        order: 0,
    }
}

fn exact_host(name: String) -> HostMatch {
    HostMatch::Exact(name.into_bytes().into())
}

/// A table of `size` hosts (exact and wildcard) with `size` paths (exact and prefix) under one of them.
fn table(size: usize) -> RouteTable {
    let mut specs = Vec::new();
    for number in 0..size {
        specs.push(spec(exact_host(format!("h{number:05}.example")), PathMatch::prefix(b"/")));
        specs.push(spec(
            HostMatch::Suffix(format!(".w{number:05}.example").into_bytes().into()),
            PathMatch::prefix(b"/"),
        ));
        let paths = exact_host("paths.example".to_owned());
        specs.push(spec(paths.clone(), PathMatch::Exact(format!("/exact/{number:05}").into_bytes().into())));
        specs.push(spec(paths, PathMatch::prefix(format!("/prefix/{number:05}").as_bytes())));
    }
    specs.push(spec(HostMatch::Any, PathMatch::prefix(b"/")));
    RouteTable::build(specs, 1, None)
}

fn steps(table: &RouteTable, host: &str, path: &str) -> (Option<usize>, u64) {
    let mut scratch = MatchScratch::new();
    let request = OwnedRequest::new(b"GET", host.as_bytes(), path.as_bytes()).unwrap();
    let found = table.find(ListenerIndex(0), &request, &mut scratch);
    (found.map(|route| route.index.index()), scratch.steps())
}

#[test]
fn the_cost_does_not_grow_with_hosts_and_paths() {
    let requests = [
        ("h00007.example", "/some/path"),
        ("a.w00007.example", "/"),
        ("a.b.c.w00007.example", "/"),
        ("nobody.test", "/x/y/z"),
        ("paths.example", "/exact/00007"),
        ("paths.example", "/prefix/00007/more/of/it"),
        ("paths.example", "/nothing/here/at/all"),
    ];
    let small = table(10);
    for size in [100, 1_000, 10_000] {
        let large = table(size);
        for (host, path) in requests {
            let ((_, few), (found, many)) = (steps(&small, host, path), steps(&large, host, path));
            assert!(found.is_some(), "{host}{path}");
            assert_eq!(few, many, "{host}{path} with {size} hosts");
            assert!(many <= 16, "{host}{path}: {many} steps");
        }
    }
}

#[test]
fn a_deep_path_or_host_costs_no_more_than_the_table_is_deep() {
    let table = table(100);
    let (_, steps_path) = steps(&table, "paths.example", &"/a".repeat(4_000));
    assert!(steps_path <= 16, "{steps_path}");
    let host = format!("{}w00007.example", "a.".repeat(120));
    let (_, steps_host) = steps(&table, &host, "/");
    assert!(steps_host <= 24, "{steps_host}");
}

#[test]
fn unknown_listeners_and_empty_tables_find_nothing() {
    let request = OwnedRequest::new(b"GET", b"x", b"/").unwrap();
    let mut scratch = MatchScratch::new();
    assert!(table(1).find(ListenerIndex(9), &request, &mut scratch).is_none());
    assert!(RouteTable::build(Vec::new(), 1, None).find(ListenerIndex(0), &request, &mut scratch).is_none());
}

#[test]
fn one_scratch_serves_tables_of_different_ages() {
    // Large enough that their automata are built while matching, in the cache.
    let pattern = |text: &str| PathMatch::Regex(pinion_core::route::Pattern::new(text).unwrap());
    let old = RouteTable::build(vec![spec(HostMatch::Any, pattern(r"/\w{0,40}old\w{0,40}"))], 1, None);
    let new = RouteTable::build(
        vec![spec(HostMatch::Any, pattern("/new.*")), spec(HostMatch::Any, pattern("/newer.*"))],
        1,
        Some(&old),
    );
    let other = RouteTable::build(vec![spec(HostMatch::Any, pattern(r"/\w{0,40}other\w{0,40}"))], 1, None);
    let mut scratch = MatchScratch::new();
    for _ in 0..3 {
        for (table, path, found) in [
            (&old, "/old", true),
            (&other, "/other", true),
            (&other, "/old", false),
            (&old, "/other", false),
            (&new, "/old", false),
            (&new, "/newest", true),
            (&old, "/new", false),
        ] {
            let request = OwnedRequest::new(b"GET", b"x", path.as_bytes()).unwrap();
            assert_eq!(table.find(ListenerIndex(0), &request, &mut scratch).is_some(), found, "{path}");
        }
    }
}
