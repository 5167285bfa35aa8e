//! Explanations of one configuration, by text and by JSON.

use std::path::Path;

use super::*;
use crate::config::{Ids, compile};

const TEXT: &str = r#"
[[listeners]]
name = "web"
address = "127.0.0.1:8080"

[[listeners]]
name = "inner"
address = "unix:/run/inner.sock"

[[routes]]
name = "all"
cluster = "a"

[[routes]]
name = "items"
listeners = ["web"]
hosts = ["shop.example"]
path = { prefix = "/items" }
methods = ["GET", "HEAD"]
headers = { user = { prefix = "j" } }
query = { page = { range = { start = 1, end = 10 } } }
split = [{ cluster = "a", weight = 1 }, { cluster = "b", weight = 3 }]
timeout = "1500ms"
retry = { attempts = 2, on = ["5xx"], retriable_status_codes = [409] }
request_headers = { set = { x-a = "1" }, remove = ["x-b"] }

[[routes]]
name = "teapot"
path = "/teapot"
direct_response = { status = 418, body = "short and stout" }

[[clusters]]
name = "a"
endpoints = ["127.0.0.1:9001"]

[[clusters]]
name = "b"
endpoints = ["127.0.0.1:9002", { address = "unix:/run/b.sock", zone = "z" }]
"#;

fn snapshot() -> Snapshot {
    compile(TEXT, "t", Path::new("/"), &mut Ids::default(), 7, None).unwrap()
}

fn question(url: &str, headers: &[(&str, &str)]) -> Question {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Question { url: url.to_owned(), headers, ..Question::default() }
}

#[test]
fn the_whole_text() {
    let snapshot = snapshot();
    let asked = question("http://shop.example:8080/items/x?page=3", &[("User", "jane"), ("User", "x")]);
    let expected = "\
GET http://shop.example:8080/items/x?page=3
  listener  web (127.0.0.1:8080), by the URL's port
  host      shop.example
  path      /items/x
  query     page=3
  route     items
            host shop.example; path /items/*; method GET or HEAD; header `user` prefix `j`; query `page` an integer from 1 to below 10
  cluster   a (least-request, 25.00 % of requests)
            127.0.0.1:9001 weight 1
  waits     connection 1s, connect 5s, first byte 60s, idle 60s
  cluster   b (least-request, 75.00 % of requests)
            127.0.0.1:9002 weight 1
            unix:/run/b.sock weight 1, zone z
  waits     connection 1s, connect 5s, first byte 60s, idle 60s
  timeout   1.5s
  retries   2 more on 5xx, 409
  request   remove x-b
  request   set x-a: 1
also match, but the chosen route comes first because
  all
    its host is more specific
do not match:
  teapot
    path: `/items/x` is not /teapot
";
    assert_eq!(explain(&snapshot, &asked).unwrap().to_string(), expected);
}

#[test]
fn every_failed_condition_is_a_reason() {
    let snapshot = snapshot();
    let asked = Question {
        method: "PUT".to_owned(),
        listener: Some("inner".to_owned()),
        ..question("http://other/item?page=10", &[("user", "x"), ("user", "j")])
    };
    let explanation = explain(&snapshot, &asked).unwrap();
    assert_eq!((explanation.listener(), explanation.route()), ("inner", Some("all")));
    let misses: Vec<_> = explanation.near_misses().collect();
    assert_eq!(misses[0].0, "teapot", "the one with fewer reasons comes first");
    assert_eq!(
        misses[1],
        (
            "items",
            &[
                "listener: it is only on web".to_owned(),
                "host: `other` is not shop.example".to_owned(),
                "path: `/item` is not /items/*".to_owned(),
                "method: PUT is not GET or HEAD".to_owned(),
                "header: `user` is `x, j`, not prefix `j`".to_owned(),
                "query: `page` is `10`, not an integer from 1 to below 10".to_owned(),
            ][..]
        )
    );
}

#[test]
fn json_says_the_same() {
    let snapshot = snapshot();
    let json = explain(&snapshot, &question("http://shop.example:8080/items?page=1", &[("user", "j")]))
        .unwrap()
        .json();
    assert_eq!(json["generation"], 7);
    assert_eq!(json["listener"]["name"], "web");
    assert_eq!(json["outcome"]["kind"], "route");
    assert_eq!(json["route"]["name"], "items");
    assert_eq!(json["route"]["clusters"][1]["share"], 0.75);
    assert_eq!(json["route"]["clusters"][1]["endpoints"][1]["zone"], "z");
    assert_eq!(json["route"]["timeout_seconds"], 1.5);
    assert_eq!(json["route"]["retry"], serde_json::json!({ "attempts": 2, "on": ["5xx", "409"] }));
    assert_eq!(json["also_match"][0]["route"], "all");
    assert_eq!(json["near_misses"][0]["route"], "teapot");
    let direct = explain(&snapshot, &question("/teapot", &[])).unwrap();
    assert_eq!(direct.json()["route"]["direct_response"]["status"], 418);
    assert!(direct.to_string().contains("by the proxy: 418, 15 bytes"), "{direct}");
    let refused = explain(&snapshot, &question("http://a/%00", &[])).unwrap();
    assert_eq!(refused.json()["outcome"], serde_json::json!({ "kind": "refused", "status": 400 }));
    assert_eq!(refused.route(), None);
}

#[test]
fn tunnels() {
    let text =
        format!("{TEXT}\n[[routes]]\nname = \"db\"\nhosts = [\"db\"]\nconnect = true\ncluster = \"b\"\n")
            .replace(
                "address = \"unix:/run/inner.sock\"",
                "address = \"unix:/run/inner.sock\"\nupgrades = []",
            );
    let snapshot = compile(&text, "t", Path::new("/"), &mut Ids::default(), 1, None).unwrap();
    let check = |asked: Question, passes: Option<bool>, words: &str| {
        let explanation = explain(&snapshot, &asked).unwrap();
        let json = explanation.json();
        assert_eq!(json["tunnel"]["passes"].as_bool(), passes, "{explanation}");
        assert!(explanation.to_string().contains(words), "{explanation}");
    };
    let offer = |listener: &str, fields: &[(&str, &str)]| Question {
        listener: Some(listener.to_owned()),
        ..question("http://a/", fields)
    };
    let web = &[("Connection", "keep-alive, Upgrade"), ("Upgrade", "h2c, websocket")];
    check(
        offer("web", web),
        Some(true),
        "tunnel    if the upstream switches to websocket\n            idle 3600s, at most for any time",
    );
    check(offer("inner", web), Some(false), "`h2c, websocket` is not in the listener's `upgrades`");
    check(offer("web", &web[1..]), Some(false), "means nothing without `Connection: upgrade`");
    check(offer("web", &[]), None, "route");
    check(question("ws://a:8080/chat", &[]), Some(true), "if the upstream switches to websocket");
    check(question("wss://a/chat", &[]), Some(true), "if the upstream switches to websocket");
    let connect = |to: &str| Question { method: "CONNECT".to_owned(), ..question(to, &[]) };
    check(connect("db:5432"), Some(true), "tunnel    by CONNECT, to an endpoint of the cluster");
    check(connect("other:5432"), Some(false), "refused, 501: the route lacks `connect = true`");
}

#[test]
fn listeners_and_urls() {
    let snapshot = snapshot();
    let check = |url: &str, headers: &[(&str, &str)], listener: &str, host: &str, path: &str| {
        let explanation = explain(&snapshot, &question(url, headers)).unwrap();
        let json = explanation.json();
        assert_eq!(explanation.listener(), listener, "{url}");
        assert_eq!(
            (&json["request"]["host"], &json["request"]["path"]),
            (&host.into(), &path.into()),
            "{url}"
        );
    };
    check("http://a.example:8080", &[], "web", "a.example", "/");
    check("HTTP://A.example/x#y", &[], "web", "a.example", "/x");
    check("https://a.example?q=http://b", &[], "web", "a.example", "/");
    check("a.example/x?u=http://b/", &[], "web", "a.example", "/x");
    check("/x/./y", &[("host", "b.example:1")], "web", "b.example", "/x/y");
    check("http://a.example/", &[("Host", "b.example")], "web", "b.example", "/");
    let error = |question: &Question| explain(&snapshot, question).map(drop).unwrap_err().to_string();
    assert_eq!(
        error(&question("ftp://a/", &[])),
        "the URL's scheme `ftp` is none of http, https, ws, wss, tls and tcp"
    );
    let unknown = Question { listener: Some("x".to_owned()), ..question("/", &[]) };
    assert_eq!(error(&unknown), "there is no listener `x`; listeners: web, inner");
}
