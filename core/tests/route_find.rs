//! What `docs/configuration.md` says of matching, row by row, on compiled documents.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed helper fails its test")]

use std::path::Path;

use pinion_core::config::{Ids, Snapshot, compile};
use pinion_core::http::OwnedRequest;
use pinion_core::id::ListenerIndex;
use pinion_core::route::MatchScratch;

fn snapshot(routes: &[(&str, &str)]) -> Snapshot {
    let mut text = String::from("[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n");
    for (name, conditions) in routes {
        text +=
            &format!("[[routes]]\nname = \"{name}\"\ndirect_response = {{ status = 200 }}\n{conditions}\n");
    }
    compile(&text, "t", Path::new("/"), &mut Ids::default(), 1, None)
        .unwrap_or_else(|problems| panic!("{problems}"))
}

/// `METHOD host/path?query` and header lines, and the name of the route that must take it.
#[track_caller]
fn check(routes: &[(&str, &str)], requests: &[(&str, &[&str], Option<&str>)]) {
    let snapshot = snapshot(routes);
    let mut scratch = MatchScratch::new();
    for (line, headers, expected) in requests {
        let (method, url) = line.split_once(' ').unwrap();
        let (host, target) = url.split_at(url.find(['/', '*']).unwrap_or(url.len()));
        let mut request = OwnedRequest::new(method.as_bytes(), host.as_bytes(), target.as_bytes()).unwrap();
        for header in *headers {
            let (name, value) = header.split_once(": ").unwrap();
            request = request.with_header(name.as_bytes(), value.as_bytes());
        }
        let found = snapshot.routes.find(ListenerIndex(0), &request, &mut scratch);
        assert_eq!(found.map(|route| &*route.name), *expected, "{line} {headers:?}");
    }
}

#[test]
fn hosts() {
    check(
        &[
            ("exact", r#"hosts = ["a.example"]"#),
            ("long", r#"hosts = ["*.b.example"]"#),
            ("short", r#"hosts = ["*.example"]"#),
            ("path", "hosts = [\"*\"]\npath = \"/only\""),
            ("v6", r#"hosts = ["[::1]"]"#),
        ],
        &[
            ("GET a.example/", &[], Some("exact")),
            ("GET A.EXAMPLE.:8080/", &[], Some("exact")),
            ("GET x.b.example/", &[], Some("long")),
            ("GET y.x.b.example/", &[], Some("long")),
            ("GET b.example/", &[], Some("short")),
            ("GET example/", &[], None),
            ("GET xexample/", &[], None),
            ("GET [::1]:80/", &[], Some("v6")),
            ("GET other/only", &[], Some("path")),
            // The more specific host wins, though its path is less specific.
            ("GET a.example/only", &[], Some("exact")),
            ("GET /only", &[], Some("path")),
        ],
    );
}

#[test]
fn a_less_specific_host_takes_what_the_more_specific_leaves() {
    check(
        &[
            ("a", "hosts = [\"a.example\"]\npath = \"/x\""),
            ("wild", r#"hosts = ["*.example"]"#),
            ("any", "methods = [\"PUT\"]"),
        ],
        &[
            ("GET a.example/x", &[], Some("a")),
            ("GET a.example/y", &[], Some("wild")),
            ("PUT other/", &[], Some("any")),
            ("GET other/", &[], None),
        ],
    );
}

#[test]
fn paths() {
    check(
        &[
            ("exact", r#"path = "/a""#),
            ("prefix", r#"path = { prefix = "/a" }"#),
            ("deeper", r#"path = { prefix = "/a/b/" }"#),
            ("regex", r#"path = { regex = "/a/[0-9]+|/r" }"#),
        ],
        &[
            ("GET h/a", &[], Some("exact")),
            ("GET h/a/", &[], Some("prefix")),
            ("GET h/a/x/y/z", &[], Some("prefix")),
            ("GET h/ab", &[], None),
            ("GET h/a/b", &[], Some("deeper")),
            ("GET h/a/b/", &[], Some("deeper")),
            ("GET h/a/bc", &[], Some("prefix")),
            ("GET h/a/./b/../b/c", &[], Some("deeper")),
            ("GET h/a/12", &[], Some("regex")),
            ("GET h/a/12x", &[], Some("prefix")),
            ("GET h/r", &[], Some("regex")),
            ("GET h/rx", &[], None),
            ("GET h/", &[], None),
        ],
    );
    check(
        &[("root", r#"path = { prefix = "/" }"#)],
        &[("OPTIONS h*", &[], Some("root")), ("GET h/x", &[], Some("root"))],
    );
}

#[test]
fn methods_and_counts_of_conditions() {
    check(
        &[
            ("plain", ""),
            ("method", "methods = [\"POST\"]"),
            ("one", "headers = { a = \"1\" }"),
            ("two", "headers = { a = \"1\", b = \"2\" }"),
            ("query", "query = { q = \"1\" }"),
        ],
        &[
            ("GET h/", &[], Some("plain")),
            ("get h/", &[], Some("plain")),
            ("POST h/", &["A: 1", "B: 2"], Some("method")),
            ("GET h/?q=1", &["A: 1"], Some("one")),
            ("GET h/?q=1", &["A: 1", "b: 2"], Some("two")),
            ("GET h/?q=1", &["a: 2"], Some("query")),
        ],
    );
}

#[test]
fn values_of_headers() {
    let one = |condition: &str, requests: &[(&[&str], bool)]| {
        let routes = [("r", format!("headers = {{ k = {condition} }}"))];
        let routes: Vec<_> = routes.iter().map(|(name, text)| (*name, text.as_str())).collect();
        let requests: Vec<_> =
            requests.iter().map(|(headers, takes)| ("GET h/", *headers, takes.then_some("r"))).collect();
        check(&routes, &requests);
    };
    one(
        "\"v\"",
        &[
            (&["K: v"], true),
            (&["k: V"], false),
            (&["k: vv"], false),
            (&[], false),
            (&["k: v", "k: w"], false),
        ],
    );
    one("\"v, w\"", &[(&["k: v", "K: w"], true), (&["k: v,w"], false), (&["k: v, w"], true)]);
    one("{ prefix = \"v\" }", &[(&["k: vx"], true), (&["k: xv"], false), (&[], false)]);
    one("{ suffix = \"v\" }", &[(&["k: xv"], true), (&["k: vx"], false), (&["k: a", "k: v"], true)]);
    one("{ contains = \"v\" }", &[(&["k: xvx"], true), (&["k: x"], false)]);
    one(
        "{ regex = \"v|w+\" }",
        &[(&["k: v"], true), (&["k: www"], true), (&["k: vw"], false), (&["k: xv"], false)],
    );
    one("{ regex = '\\w+' }", &[(&["k: aZ_9"], true), (&["k: é"], false)]);
    one("{ regex = '(?u)\\w+' }", &[(&["k: é"], true), (&["k: -"], false)]);
    one("{ regex = '(?i)É.' }", &[(&["k: Éx"], true), (&["k: É\u{e9}"], false)]);
    one("{ present = true }", &[(&["k: "], true), (&[], false)]);
    one("{ absent = true }", &[(&["k: "], false), (&[], true)]);
    one(
        "{ range = { start = -1, end = 3 } }",
        &[
            (&["k: -1"], true),
            (&["k: 2"], true),
            (&["k: 3"], false),
            (&["k: 2.0"], false),
            (&["k: "], false),
            (&["k: +1"], true),
        ],
    );
    one(
        "{ range = { start = 5 } }",
        &[(&["k: 9223372036854775806"], true), (&["k: 99999999999999999999"], false)],
    );
}

#[test]
fn values_of_query_parameters() {
    check(
        &[
            ("r", "query = { \"a b\" = \"x y\" }"),
            ("absent", "query = { q = { absent = true } }\nheaders = { h = \"1\" }"),
        ],
        &[
            ("GET h/?a+b=x%20y", &[], Some("r")),
            ("GET h/?%61%20b=x+y", &[], Some("r")),
            ("GET h/?z&a%20b=x+y&a+b=no", &[], Some("r")),
            ("GET h/?a+b=no&a+b=x+y", &[], None),
            ("GET h/?a+b=x+y+", &[], None),
            ("GET h/", &["h: 1"], Some("absent")),
            ("GET h/?q", &["h: 1"], None),
        ],
    );
}
