//! The admin port of the real program: every path, its refusals, and its bounds.
//!
//! Not here: reloading (`reload.rs`), pages whose numbers need traffic.

#![allow(clippy::unwrap_used, reason = "a test's help fails by panicking")]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use support::{Answer, Driver, Pinion, drivers, free_address};

const CONFIG: &str = r#"
[[listeners]]
name = "web"
address = "127.0.0.1:0"

[[routes]]
cluster = "app"

[[clusters]]
name = "app"
endpoints = [{ address = "127.0.0.1:9", weight = 3 }]
"#;

#[test]
fn every_page_answers_on_both_drivers() {
    for driver in drivers() {
        let pinion = Pinion::with(driver).proxy("shards = 2").config(CONFIG).start();
        for page in ["/live", "/ready", "/config", "/listeners", "/clusters", "/shards", "/log-level"] {
            let answer = pinion.get(page);
            assert_eq!(
                (answer.status, &*answer.headers["content-type"]),
                (200, "application/json"),
                "{page}"
            );
            assert!(answer.json().is_object());
        }
        let ready = pinion.get("/ready").json();
        assert_eq!((&ready["ready"], &ready["status"]), (&true.into(), &"serving".into()));
        assert_eq!((&ready["generation"], &ready["reload"]["ok"]), (&1.into(), &true.into()));

        let config = pinion.get("/config").json();
        assert_eq!(config["source"], pinion.text(CONFIG));
        assert_eq!(config["adopted"], serde_json::json!([1, 1]));
        assert_eq!(config["digest"], ready["digest"]);

        let shards = pinion.get("/shards").json();
        let shards = shards["shards"].as_array().unwrap();
        assert_eq!(shards.len(), 2);
        for (index, shard) in shards.iter().enumerate() {
            assert_eq!((&shard["shard"], &shard["driver"]), (&index.into(), &driver.label().into()));
            assert_eq!(shard["adopted"], 1);
        }
        let listeners = pinion.get("/listeners").json();
        assert_eq!(listeners["listeners"][0]["name"], "web");
        assert_ne!(pinion.address("web").port(), 0);
        let clusters = pinion.get("/clusters").json();
        assert_eq!(clusters["clusters"][0]["endpoints"][0]["address"], "127.0.0.1:9");
        assert_eq!(clusters["clusters"][0]["endpoints"][0]["weight"], 3);

        let metrics = pinion.metrics();
        assert_eq!(metrics.value("pinion_config_generation", &[]), 1.0);
        assert_eq!(metrics.value("pinion_ready", &[]), 1.0);
        assert_eq!(metrics.value("pinion_requests_total", &[("listener", "web")]), 0.0);
        assert!(metrics.has("pinion_requests_total") && metrics.has("pinion_cluster_connects_total"));
    }
}

/// Every key of every object in `value`.
fn keys(value: &serde_json::Value, into: &mut std::collections::BTreeSet<String>) {
    match value {
        serde_json::Value::Object(object) => {
            into.extend(object.keys().cloned());
            object.values().for_each(|value| keys(value, into));
        }
        serde_json::Value::Array(list) => list.iter().for_each(|value| keys(value, into)),
        _ => {}
    }
}

#[test]
fn every_field_is_documented() {
    let document = include_str!("../../docs/admin.md");
    let pinion = Pinion::with(Driver::Epoll).config(CONFIG).start();
    let mut fields = std::collections::BTreeSet::new();
    for page in ["/live", "/ready", "/config", "/listeners", "/clusters", "/shards", "/log-level", "/nothing"]
    {
        keys(&pinion.get(page).json(), &mut fields);
    }
    for action in ["/reload", "/drain?accept_for=5s"] {
        keys(&pinion.post(action).json(), &mut fields);
    }
    assert!(fields.len() > 60, "{fields:?}");
    let named = |field: &String| {
        document.contains(&format!("`{field}`"))
            || document.contains(&format!("`reload.{field}`"))
            || document.contains(&format!("\"{field}\":"))
    };
    let missing: Vec<_> = fields.iter().filter(|field| !named(field) && *field != "reload").collect();
    assert!(missing.is_empty(), "not in docs/admin.md: {missing:?}");
}

#[test]
fn explain_answers_by_what_is_in_force() {
    let pinion = Pinion::with(Driver::Epoll).config(CONFIG).start();
    let answer = pinion.get("/explain?url=http%3A%2F%2Fa%2Fcart&header=x%3A%201&method=PUT");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.json().to_string().contains("\"app\""), "{answer:?}");
    let answer = pinion.get("/explain?url=http%3A%2F%2Fa%2F&format=text");
    assert!(
        answer.headers["content-type"].starts_with("text/plain") && answer.body.contains("app"),
        "{answer:?}"
    );
    for bad in [
        "",
        "?url=",
        "?url=http%3A%2F%2Fa%2F&x=y",
        "?url=a&header=b",
        "?url=a&format=xml",
        "?url=a&listener=z",
    ] {
        assert_eq!(pinion.get(&format!("/explain{bad}")).status, 400, "{bad}");
    }
}

#[test]
fn metrics_are_openmetrics_when_asked() {
    let pinion = Pinion::with(Driver::Epoll).config(CONFIG).start();
    assert!(pinion.get("/metrics").headers["content-type"].starts_with("text/plain; version=0.0.4"));
    let answer = pinion.ask(
        "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n\r\n",
    );
    assert!(answer.headers["content-type"].starts_with("application/openmetrics-text"));
    assert!(answer.body.ends_with("# EOF\n"));
}

#[test]
fn everything_else_is_refused() {
    let pinion = Pinion::with(Driver::Epoll).config(CONFIG).start();
    let is = |answer: &Answer, status: u16, error: &str| {
        assert_eq!((answer.status, &answer.json()["error"]), (status, &error.into()), "{answer:?}");
    };
    is(&pinion.get("/"), 404, "not_found");
    is(&pinion.get("/ready/"), 404, "not_found");
    is(&pinion.post("/ready"), 405, "method_not_allowed");
    is(&pinion.get("/reload"), 405, "method_not_allowed");
    is(&pinion.get("/drain"), 405, "method_not_allowed");
    is(&pinion.post("/drain?accept_for=5"), 400, "parameter");
    is(&pinion.post("/drain?x=5s"), 400, "parameter");
    assert_eq!(pinion.get("/ready").status, 200, "a refused drain is none");

    // A page in somebody's browser can send such a request, but not without saying where it is from.
    let forged = "POST /drain HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\n\
                  Connection: close\r\nContent-Length: 0\r\n\r\n";
    is(&pinion.ask(forged), 403, "origin");

    let body = "x".repeat(5_000);
    let large = format!(
        "POST /log-level HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(pinion.ask(&large).status, 413);
    let head = format!("GET /live HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    assert_eq!(pinion.ask(&head).status, 431);
    assert_eq!(pinion.get("/ready").status, 200);
}

#[test]
fn a_loopback_port_answers_only_to_local_names() {
    let admin = free_address();
    let pinion = Pinion::with(Driver::Epoll).admin(&admin.to_string()).config(CONFIG).spawn();
    let ask = |host: &str| {
        let mut stream = TcpStream::connect(admin).ok()?;
        write!(stream, "GET /live HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        text.get(9..12).map(str::to_owned)
    };
    support::eventually("the admin port", || ask(&admin.to_string()).as_deref() == Some("200"));
    assert_eq!(ask("localhost").as_deref(), Some("200"));
    assert_eq!(ask("rebound.example").as_deref(), Some("403"));
    drop(pinion);
}

#[test]
fn the_log_level_can_be_changed() {
    let pinion = Pinion::with(Driver::Epoll).arg("--log-level").arg("warn").config(CONFIG).start();
    assert_eq!(pinion.get("/log-level").json()["level"], "warn");
    assert!(!pinion.stderr().contains("listening"), "started quietly");
    assert_eq!(pinion.post("/log-level?level=info").json()["level"], "info");
    pinion.wait_stderr("log level changed");
    assert_eq!(pinion.post("/log-level?level=a%3Db%3Dc").status, 400);
    assert_eq!(pinion.post("/log-level").status, 400);
    assert_eq!(pinion.get("/log-level").json()["level"], "info");
}

#[test]
fn json_log_lines_are_objects() {
    let pinion = Pinion::with(Driver::Epoll).arg("--log-format").arg("json").config(CONFIG).start();
    pinion.wait_stderr("listening");
    for line in pinion.stderr().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["level"].is_string() && line["message"].is_string(), "{line}");
    }
}

#[test]
fn connections_that_say_nothing_leave_room_for_others() {
    let pinion = Pinion::with(Driver::Epoll).config(CONFIG).start();
    let mut silent: Vec<_> = (0..40).map(|_| UnixStream::connect(pinion.admin_socket()).unwrap()).collect();
    for stream in &mut silent {
        stream.write_all(b"GET /ready HTTP/1.1\r\nHo").unwrap();
    }
    assert_eq!(pinion.get("/ready").status, 200);
    // Beyond the bound a connection waits for a place, and gets it.
    silent.extend((0..60).map(|_| UnixStream::connect(pinion.admin_socket()).unwrap()));
    let mut waiting = UnixStream::connect(pinion.admin_socket()).unwrap();
    waiting.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    waiting.write_all(b"GET /live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    assert!(waiting.read_to_string(&mut text).is_err(), "no place yet");
    silent.clear();
    waiting.set_read_timeout(Some(support::PATIENCE)).unwrap();
    waiting.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
}
