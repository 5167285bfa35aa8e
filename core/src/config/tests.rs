//! Tables of documents and what is said about them.

use std::path::Path;
use std::time::Duration;

use super::snapshot::{AccessLogFormat, AccessLogPath, Address, DriverChoice, Protocol};
use super::{Ids, Problems, Severity, Snapshot, compile, json_schema};
use crate::balance::Balance;
use crate::route::Action;

pub(super) fn take(text: &str) -> Result<Snapshot, Problems> {
    compile(text, "pinion.toml", Path::new("/etc/pinion"), &mut Ids::default(), 1, None)
}

#[track_caller]
pub(super) fn taken(text: &str) -> Snapshot {
    take(text).map_err(|problems| problems.to_string()).unwrap()
}

/// A listener, a cluster `c` and a route before what is tested.
const BASE: &str = r#"
clusters = [{ name = "c", endpoints = ["127.0.0.1:1"] }, { name = "cluster-two", endpoints = ["127.0.0.1:2"] }]
listeners = [{ name = "web", address = "127.0.0.1:0" }, { name = "other", address = "127.0.0.1:0" }]
"#;

/// Expects exactly these errors: the text that each points at, and a part of its message or suggestion.
#[track_caller]
pub(super) fn check(text: &str, expected: &[(&str, &str)]) {
    check_severity(text, Severity::Error, expected);
}

#[track_caller]
pub(super) fn check_severity(text: &str, severity: Severity, expected: &[(&str, &str)]) {
    let problems = match take(text) {
        Ok(snapshot) => snapshot.warnings,
        Err(problems) => problems,
    };
    let found: Vec<(&str, String)> = problems
        .iter()
        .filter(|problem| problem.severity == severity)
        .map(|problem| {
            let suggestion = problem.suggestion.clone().unwrap_or_default();
            let label = problem.label.clone().unwrap_or_default();
            (&text[problem.span.clone()], format!("{} | {label} | {suggestion}", problem.message))
        })
        .collect();
    let fits = found.len() == expected.len()
        && found.iter().zip(expected).all(|(found, expected)| {
            found.0 == expected.0 && expected.1.split(" … ").all(|part| found.1.contains(part))
        });
    assert!(fits, "expected {expected:#?}\nfound {found:#?}\nin {text}");
}

#[track_caller]
fn check_route(route: &str, expected: &[(&str, &str)]) {
    check(&format!("{BASE}\n[[routes]]\n{route}\n"), expected);
}

#[track_caller]
fn check_routes(routes: &[&str], expected: &[(&str, &str)]) {
    check(&format!("{BASE}\n[[routes]]\n{}\n", routes.join("\n[[routes]]\n")), expected);
}

#[test]
fn the_simplest_document_has_the_documented_defaults() {
    let snapshot = taken(
        r#"
        [[listeners]]
        name = "web"
        address = "127.0.0.1:8080"

        [[routes]]
        cluster = "c"

        [[clusters]]
        name = "c"
        endpoints = ["127.0.0.1:9001"]
        "#,
    );
    assert!(snapshot.warnings.is_empty(), "{}", snapshot.warnings);
    let seconds = Duration::from_secs;
    let proxy = &snapshot.proxy;
    assert_eq!((proxy.shards, proxy.driver, proxy.drain), (None, DriverChoice::Auto, seconds(10)));
    assert_eq!(proxy.admin.to_string(), "127.0.0.1:9901");
    assert_eq!((proxy.connections, proxy.shard_memory), (262_144, 256 << 20));
    assert_eq!(proxy.access_log, None);
    let listener = &snapshot.listeners[0];
    assert_eq!((listener.protocol, listener.half_close), (Protocol::Auto, false));
    let times = listener.timeouts;
    assert_eq!([times.header, times.body, times.write, times.idle], [10, 30, 30, 60].map(seconds));
    assert_eq!(times.min_rate, 240);
    assert_eq!((times.tunnel_idle, times.tunnel_max), (seconds(3_600), None));
    assert_eq!(listener.upgrades.words().collect::<Vec<_>>(), ["websocket"]);
    let limits = listener.limits;
    assert_eq!((limits.connections, limits.requests_per_connection), (65_536, u64::MAX));
    assert_eq!((limits.header_bytes, limits.uri_bytes), (32 * 1024, 8 * 1024));
    assert!(listener.trusted.is_empty());
    let cluster = &snapshot.clusters[0];
    assert_eq!((cluster.balance, cluster.endpoints[0].weight), (Balance::LeastRequest, 1));
    let times = cluster.timeouts;
    assert_eq!([times.connect, times.first_byte, times.idle], [5, 60, 60].map(seconds));
    let limits = cluster.limits;
    assert_eq!((limits.connections, limits.pending, limits.idle_connections), (1024, 1024, 1024));
    assert_eq!(limits.pending_timeout, seconds(1));
    let route = &snapshot.routes.routes()[0];
    assert_eq!((route.timeout, &route.retry, &*route.name), (None, &None, "*/*"));
    assert!(!route.connect);
    assert!(route.request_headers.is_empty() && route.response_headers.is_empty());
}

#[test]
fn every_key_reaches_the_snapshot() {
    let snapshot = taken(
        r#"
        [proxy]
        shards = 4
        admin = "unix:admin.sock"
        driver = "epoll"
        drain = "0s"
        connections = 10
        shard_memory = "64MiB"
        [proxy.access_log]
        path = "log/access.log"
        format = "text"

        [[listeners]]
        name = "web"
        address = "unix:web.sock"
        protocol = "http1"
        upgrades = ["tcp", "SPDY/3.1"]
        half_close = true
        [listeners.timeouts]
        header = "1s"
        body = "2s"
        write = "3s"
        idle = "1m30s"
        min_rate = "0B"
        tunnel_idle = "4s"
        tunnel_max = "5s"
        [listeners.limits]
        connections = 5
        requests_per_connection = 1000
        header_bytes = "16KiB"
        uri_bytes = "4KiB"
        [listeners.forwarding]
        trusted_proxies = ["10.1.2.3/8", "::1"]
        x_forwarded_host = true
        forwarded = true
        via = true
        request_id = true
        client_cert = "append_forward"
        client_cert_details = ["cert", "chain"]

        [[routes]]
        name = "r"
        split = [{ cluster = "c", weight = 3 }, { cluster = "d", weight = 1 }]
        timeout = "250ms"
        connect = true
        [routes.retry]
        attempts = 3
        on = ["5xx", "retriable-status-codes"]
        retriable_status_codes = [409]
        [routes.request_headers]
        set = { X-A = "1", host = "inner" }
        add = { x-b = ["2", "3"] }
        remove = ["X-C"]

        [[routes]]
        path = "/health"
        direct_response = { status = 200, body = "ok", headers = { Content-Type = "text/plain" } }

        [[clusters]]
        name = "c"
        endpoints = [{ address = "[::1]:80", weight = 2, zone = "a" }]
        balance = "round-robin"
        [clusters.timeouts]
        connect = "1s"
        first_byte = "2s"
        idle = "3s"
        [clusters.limits]
        connections = 1
        pending = 0
        pending_timeout = "0s"
        idle_connections = 0

        [[clusters]]
        name = "d"
        endpoints = ["unix:d.sock"]
        "#,
    );
    assert!(snapshot.warnings.is_empty(), "{}", snapshot.warnings);
    let text = format!("{snapshot:?}");
    for part in [
        "shards: Some(4)",
        "admin: Unix(\"/etc/pinion/admin.sock\")",
        "driver: Epoll",
        "connections: 10, shard_memory: 67108864",
        "address: Unix(\"/etc/pinion/web.sock\"), protocol: Http1",
        "header: 1s, body: 2s, write: 3s, idle: 90s, min_rate: 0, tunnel_idle: 4s, tunnel_max: Some(5s)",
        "connections: 5, requests_per_connection: 1000, header_bytes: 16384, uri_bytes: 4096",
        "trusted: [10.0.0.0/8, ::1/128]",
        "x_forwarded_host: true, forwarded: true, via: true, request_id: true, client_cert: AppendForward, client_cert_details: CertDetails { subject: false, uri: false, dns: false, cert: true, chain: true } }, half_close: true, upgrades: Upgrades { any: false, names: [\"tcp\", \"SPDY/3.1\"] }",
        "zone: Some(\"a\")",
        "balance: RoundRobin",
        "connect: 1s, first_byte: 2s, idle: 3s",
        "connections: 1, pending: 0, pending_timeout: 0ns, idle_connections: 0",
        "Unix(\"/etc/pinion/d.sock\")",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let log = snapshot.proxy.access_log.as_ref().unwrap();
    assert_eq!(log.format, AccessLogFormat::Text);
    assert_eq!(log.path, AccessLogPath::File("/etc/pinion/log/access.log".into()));
    let (route, direct) = (&snapshot.routes.routes()[0], &snapshot.routes.routes()[1]);
    assert_eq!((&*route.name, route.timeout, route.connect), ("r", Some(Duration::from_millis(250)), true));
    let retry = route.retry.as_ref().unwrap();
    assert!(retry.attempts == 3 && retry.on.server_error && *retry.on.statuses == [409] && !retry.on.reset);
    let field = |name: &str, value: &str| (name.as_bytes().into(), value.as_bytes().into());
    assert_eq!(*route.request_headers.set, [field("x-a", "1"), field("host", "inner")]);
    assert_eq!(*route.request_headers.add, [field("x-b", "2"), field("x-b", "3")]);
    assert_eq!(*route.request_headers.remove, [Box::from(&b"x-c"[..])]);
    assert!(matches!(&route.action, Action::Split(split) if split.total() == 4));
    let Action::Direct(direct) = &direct.action else { panic!("{direct:?}") };
    assert_eq!(
        (direct.status, &*direct.body, &*direct.headers),
        (200, &b"ok"[..], &[field("content-type", "text/plain")][..])
    );
}

#[test]
fn unknown_keys_and_wrong_types() {
    check_route("clster = \"c\"", &[("clster", "unknown key `clster` … did you mean `cluster`?")]);
    check_route(
        "cluster = \"c\"\nzzz = 1\nretry = { atempts = 1 }",
        &[("zzz", "known keys: name, listeners"), ("atempts", "did you mean `attempts`?")],
    );
    check_route("cluster = 1", &[("1", "expected a string, found an integer")]);
    check_route("cluster = \"c\"\nhosts = \"a\"", &[("\"a\"", "expected a list … write a list: `[\"a\"]`")]);
    check_route("cluster = \"c\"\nhosts = [1]", &[("1", "expected a string")]);
    check_route("cluster = \"c\"\nheaders = [1]", &[("[1]", "expected a table of names")]);
    check_route("cluster = \"c\"\nretry = 3", &[("3", "expected a table ([routes.retry])")]);
    check_route(
        "cluster = \"c\"\ngrpc = { methods = [\"a.S\"] }",
        &[("\"a.S\"", "not a method of a service")],
    );
    check_route(
        "cluster = \"c\"\ngrpc = { methods = [\"a.S/M\", \"a.S/M\"] }",
        &[("\"a.S/M\"", "this method is in the list twice")],
    );
    check_route(
        "cluster = \"c\"\nheaders = { a = { prefx = \"x\" } }",
        &[("prefx", "did you mean `prefix`?")],
    );
    check_route(
        "cluster = \"c\"\nrequest_headers = { set = { a = 1 } }",
        &[("1", "a string or a list of strings")],
    );
    check(&format!("{BASE}\nlistener = []\n"), &[("listener", "did you mean `listeners`?")]);
    check(
        &format!("{BASE}\nproxy = {{ driver = \"uring\" }}\n"),
        &[("\"uring\"", "did you mean `io_uring`?")],
    );
    check(&format!("{BASE}\nproxy = {{ connections = -1 }}\n"), &[("-1", "out of range")]);
    check(&format!("{BASE}\nproxy = {{ admin_public = \"yes\" }}\n"), &[("\"yes\"", "`true` or `false`")]);
}

#[test]
fn quantities_need_units() {
    check_route("cluster = \"c\"\ntimeout = 2", &[("2", "expected a duration … add the unit: `\"2s\"`")]);
    check_route("cluster = \"c\"\ntimeout = \"2\"", &[("\"2\"", "the unit is missing")]);
    check_route("cluster = \"c\"\ntimeout = \"0s\"", &[("\"0s\"", "`timeout` must be more than zero")]);
    let memory = |value: &str| format!("{BASE}\nproxy = {{ shard_memory = {value} }}\n");
    check(&memory("64"), &[("64", "add the unit: `\"64B\"`")]);
    check(&memory("\"64kb\""), &[("\"64kb\"", "unknown unit")]);
    check(&memory("\"64KiB\""), &[("\"64KiB\"", "at least 4MiB")]);
}

#[test]
fn what_later_versions_do_is_refused_by_name() {
    let listener = |more: &str| format!("[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n{more}\n");
    check(&listener("protocol = \"http3\""), &[("\"http3\"", "unknown value `http3`")]);
    check(
        "[[listeners]]\nname = \"web\"\naddress = \"localhost:80\"",
        &[("\"localhost:80\"", "host names are not supported yet … write `127.0.0.1:80`")],
    );
}

#[test]
fn tunnels() {
    let listener = |more: &str| format!("[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n{more}\n");
    for word in ["h2c", "H2", "HTTP/2.0"] {
        let word = format!("\"{word}\"");
        check(&listener(&format!("upgrades = [{word}]")), &[(&word, "is never passed on … leave it out")]);
    }
    check(&listener("upgrades = [\"a b\"]"), &[("\"a b\"", "expected a protocol such as \"websocket\"")]);
    check(&listener("upgrades = [\"\"]"), &[("\"\"", "expected a protocol such as")]);
    check(&listener("upgrades = [\"*\", 1]"), &[("1", "expected a protocol such as")]);
    check(
        &listener("timeouts = { tunnel_idle = \"0s\" }"),
        &[("\"0s\"", "`tunnel_idle` must be more than zero")],
    );
    check(
        &listener("timeouts = { tunnel_max = \"0s\" }"),
        &[("\"0s\"", "`tunnel_max` must be more than zero")],
    );
    check_route("cluster = \"c\"\nconnect = \"yes\"", &[("\"yes\"", "`true` or `false`")]);
}

#[test]
fn listeners() {
    check("", &[("", "there is no listener")]);
    check(
        "[[listeners]]\n",
        &[("[[listeners]]", "missing key `address`"), ("[[listeners]]", "missing key `name`")],
    );
    check(
        r#"listeners = [{ name = "a", address = "127.0.0.1:80" }, { name = "a", address = "127.0.0.1:80" }]"#,
        &[("\"a\"", "name `a` is used twice"), ("\"127.0.0.1:80\"", "already used by another listener")],
    );
    check(
        r#"listeners = [{ name = "a", address = "unix:x.sock" }, { name = "b", address = "unix:/etc/pinion/x.sock" }]"#,
        &[("\"unix:/etc/pinion/x.sock\"", "already used by another listener")],
    );
    check(
        r#"listeners = [{ name = "a", address = "127.0.0.1:9901" }]"#,
        &[("\"127.0.0.1:9901\"", "already used by the admin port")],
    );
    check(r#"listeners = [{ name = "", address = "127.0.0.1:0" }]"#, &[("\"\"", "1 to 128 bytes")]);
    let limits = |more: &str| {
        format!("[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n[listeners.limits]\n{more}\n")
    };
    check(&limits("header_bytes = \"61KiB\""), &[("\"61KiB\"", "at most 60KiB")]);
    check(
        &limits("header_bytes = \"100B\"\nuri_bytes = \"64B\""),
        &[("\"100B\"", "at least 1KiB"), ("\"64B\"", "at least 128B")],
    );
    check(
        &limits("header_bytes = \"4KiB\"\nuri_bytes = \"5KiB\""),
        &[("\"5KiB\"", "is more than `header_bytes` (4KiB)")],
    );
    check(
        &limits("requests_per_connection = 0\nconnections = 0"),
        &[("0", "at least 1"), ("0", "`connections` must be at least 1")],
    );
    check(&limits("requests_per_connection = \"none\""), &[("\"none\"", "or \"unlimited\"")]);
    taken(&limits("requests_per_connection = \"unlimited\""));
    let forwarding = |nets: &str| {
        format!(
            "[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\nforwarding = {{ trusted_proxies = {nets} }}"
        )
    };
    check(
        &forwarding("[\"10.0.0.0/33\", \"example\"]"),
        &[("\"10.0.0.0/33\"", "a network or address"), ("\"example\"", "a network or address")],
    );
    let listener = &taken(&forwarding("[\"10.0.0.0/8\"]")).listeners[0];
    assert!(listener.trusts([10, 1, 2, 3].into()) && !listener.trusts([11, 1, 2, 3].into()));
    assert!(listener.trusts(std::net::Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped().into()));
}

#[test]
fn the_admin_port_is_private_unless_said_otherwise() {
    let proxy = |keys: &str| format!("{BASE}\nproxy = {{ {keys} }}\n");
    check(
        &proxy("admin = \"0.0.0.0:1\""),
        &[("\"0.0.0.0:1\"", "reachable from other machines … admin_public")],
    );
    check(&proxy("admin = \"[::]:1\""), &[("\"[::]:1\"", "reachable from other machines")]);
    taken(&proxy("admin = \"0.0.0.0:1\", admin_public = true"));
    taken(&proxy("admin = \"unix:/run/x.sock\""));
    check(&proxy("shards = 0"), &[("0", "`shards` must be at least 1")]);
    check(&proxy("access_log = { path = \"\" }"), &[("\"\"", "the path is empty")]);
}

#[test]
fn clusters() {
    let cluster = |keys: &str| {
        format!("listeners = [{{ name = \"web\", address = \"127.0.0.1:0\" }}]\n[[clusters]]\n{keys}\n")
    };
    check(&cluster("name = \"c\""), &[("[[clusters]]", "missing key `endpoints`")]);
    check(&cluster("name = \"c\"\nendpoints = []"), &[("[]", "the cluster has no endpoint")]);
    check(&cluster("name = \"c\"\nendpoints = [1]"), &[("1", "expected an address, or {")]);
    check(&cluster("name = \"c\"\nendpoints = [\"127.0.0.1\"]"), &[("\"127.0.0.1\"", "the port is missing")]);
    check(
        &cluster("name = \"c\"\nendpoints = [\"127.0.0.1:0\"]"),
        &[("\"127.0.0.1:0\"", "a port other than 0")],
    );
    check(
        &cluster("name = \"c\"\nendpoints = [\"a.example:80\"]"),
        &[("\"a.example:80\"", "host names are not supported yet")],
    );
    check(
        &cluster(
            "name = \"c\"\nendpoints = [\"127.0.0.1:1\", { address = \"127.0.0.1:1\", weight = 0 }, { weight = 1 }]",
        ),
        &[
            ("\"127.0.0.1:1\"", "listed twice"),
            ("0", "weight must be at least 1"),
            ("{ weight = 1 }", "missing key `address`"),
        ],
    );
    check(
        &cluster("name = \"c\"\nendpoints = [\"127.0.0.1:1\"]\nbalance = \"random\""),
        &[("\"random\"", "`least-request` or `round-robin`")],
    );
    check(
        &cluster(
            "name = \"c\"\nendpoints = [\"127.0.0.1:1\"]\n[clusters.timeouts]\nconnect = \"0s\"\n[clusters.limits]\nconnections = 0",
        ),
        &[("\"0s\"", "more than zero"), ("0", "at least 1")],
    );
    check(
        &(cluster("name = \"c\"\nendpoints = [\"127.0.0.1:1\"]")
            + "[[clusters]]\nname = \"c\"\nendpoints = [\"127.0.0.1:1\"]"),
        &[("\"c\"", "the cluster name `c` is used twice")],
    );
}

#[test]
fn hosts_and_paths_that_can_never_match() {
    let host = |host: &str, expected: &str| {
        check_route(&format!("cluster = \"c\"\nhosts = [{host}]"), &[(host, expected)])
    };
    host("\"a.example:80\"", "has no port … write `a.example`");
    host("\"*.example:80\"", "write `*.example`");
    host("\"[::1]:80\"", "write `[::1]`");
    host("\"http://a.example\"", "without scheme");
    host("\"a.*\"", "is not a host pattern");
    host("\"*a\"", "is not a host pattern");
    host("\"*.*.a\"", "is not a host pattern");
    host("\"\"", "is not a host pattern");
    host("\"bücher.example\"", "ASCII form");
    check_route("cluster = \"c\"\nhosts = []", &[("[]", "`hosts` is empty … leave `hosts` out")]);
    let path = |path: &str, expected: &str| {
        check_route(&format!("cluster = \"c\"\npath = {path}"), &[(path, expected)])
    };
    path("\"a\"", "write `/a`");
    path("\"/a?b=c\"", "write `/a`");
    path("\"/a#b\"", "write `/a`");
    path("\"/a/../b\"", "write `/b`");
    path("\"/a//b\"", "write `/a/b`");
    path("\"/%61\"", "write `/a`");
    path("\"/a%2fb\"", "refused with 400");
    path("{ exact = \"/a\", prefix = \"/b\" }", "exactly one kind");
    path("{}", "exactly one kind");
    check_route("cluster = \"c\"\npath = { prefix = \"a\" }", &[("\"a\"", "write `/a`")]);
    check_route(
        "cluster = \"c\"\npath = { regex = \"(\" }",
        &[("\"(\"", "bad regular expression: unclosed group")],
    );
    check_route("cluster = \"c\"\npath = { regex = \"a)(b\" }", &[("\"a)(b\"", "bad regular expression")]);
    check_route(
        "cluster = \"c\"\npath = { regex = '(\\w{1000}){1000}' }",
        &[("'(\\w{1000}){1000}'", "larger than")],
    );
    let snapshot =
        taken(&format!("{BASE}\n[[routes]]\nhosts = [\"A.Example.\", \"*.X\", \"[::1]\"]\ncluster = \"c\""));
    let hosts: Vec<_> = snapshot.routes.specs()[0].hosts.iter().map(ToString::to_string).collect();
    assert_eq!(hosts, ["a.example", "*.x", "[::1]"]);
}

#[test]
fn methods_headers_and_query() {
    check_route("cluster = \"c\"\nmethods = [\"get\"]", &[("\"get\"", "write `GET`")]);
    check_route("cluster = \"c\"\nmethods = [\"A B\", \"purge\"]", &[("\"A B\"", "is not a method")]);
    check_route("cluster = \"c\"\nmethods = []", &[("[]", "`methods` is empty")]);
    check_route("cluster = \"c\"\nheaders = { host = \"a\" }", &[("host", "written as `hosts`")]);
    check_route(
        "cluster = \"c\"\nheaders = { \"a b\" = \"a\" }",
        &[("\"a b\"", "is not a header field name")],
    );
    check_route(
        "cluster = \"c\"\nheaders = { \":path\" = \"a\" }",
        &[("\":path\"", "is not a header field name")],
    );
    check_route("cluster = \"c\"\nheaders = { a = \"1\", A = \"2\" }", &[("A", "two conditions on `A`")]);
    check_route("cluster = \"c\"\nquery = { a = \"1\", A = \"2\", \"b c\" = \"\" }", &[]);
    check_route(
        "cluster = \"c\"\nquery = { a = { exact = \"1\", prefix = \"2\" }, b = { regex = \"[\" } }",
        &[("{ exact = \"1\", prefix = \"2\" }", "exactly one kind"), ("\"[\"", "bad regular expression")],
    );
    check_route(
        "cluster = \"c\"\nheaders = { a = { range = { start = 5, end = 5 } }, b = { range = {} } }",
        &[("{ start = 5, end = 5 }", "no integer"), ("{}", "no integer")],
    );
    let kinds = r#"headers = { a = "x", b = { exact = "x" }, c = { prefix = "x" }, d = { suffix = "x" }, e = { contains = "x" },
        f = { regex = "x" }, g = { present = true }, h = { present = false }, i = { absent = true }, j = { absent = false },
        k = { range = { start = 1, end = 3 } }, l = { range = { end = 3 } }, m = { range = { start = 1 } } }"#;
    let snapshot = taken(&format!("{BASE}\n[[routes]]\ncluster = \"c\"\n{}", kinds.replace('\n', " ")));
    let shown: Vec<_> =
        snapshot.routes.specs()[0].headers.iter().map(|header| header.value.to_string()).collect();
    assert_eq!(
        shown,
        [
            "exactly `x`",
            "exactly `x`",
            "prefix `x`",
            "suffix `x`",
            "containing `x`",
            "regex `x`",
            "present",
            "absent",
            "absent",
            "present",
            "an integer from 1 to below 3",
            "an integer below 3",
            "an integer from 1",
        ]
    );
}

#[test]
fn actions() {
    check_route("hosts = [\"a\"]", &[("[[routes]]", "does not say who answers")]);
    check_route(
        "cluster = \"c\"\nsplit = [{ cluster = \"c\", weight = 1 }]",
        &[("[[routes]]", "says more than once who answers")],
    );
    check_route("cluster = \"cc\"", &[("\"cc\"", "there is no cluster `cc` … clusters: c, cluster-two")]);
    check_route("cluster = \"cluster-tow\"", &[("\"cluster-tow\"", "did you mean `cluster-two`?")]);
    check_route("cluster = \"nothing-like-it\"", &[("\"nothing-like-it\"", "clusters: c, cluster-two")]);
    check_route(
        "cluster = \"c\"\nlisteners = [\"wbe\"]",
        &[("\"wbe\"", "there is no listener `wbe` … `web`")],
    );
    check_route("cluster = \"c\"\nlisteners = []", &[("[]", "`listeners` is empty")]);
    check_route("split = []", &[("[]", "`split` is empty")]);
    check_route("split = [{ cluster = \"c\" }]", &[("{ cluster = \"c\" }", "missing key `weight`")]);
    check_route(
        "split = [{ cluster = \"c\", weight = 0 }, { cluster = \"x\", weight = 1 }]",
        &[("\"x\"", "there is no cluster `x`")],
    );
    let zero = "[{ cluster = \"c\", weight = 0 }]";
    check_route(&format!("split = {zero}"), &[(zero, "every weight of the split is zero")]);
    check_route(
        "split = [{ cluster = \"c\", weight = 1 }, { cluster = \"c\", weight = 2 }]",
        &[("{ cluster = \"c\", weight = 2 }", "in the split twice")],
    );
    check_route("direct_response = { body = \"x\" }", &[("{ body = \"x\" }", "missing key `status`")]);
    check_route("direct_response = { status = 101 }", &[("101", "from 200 to 599")]);
    check_route("direct_response = { status = 304, body = \"x\" }", &[("\"x\"", "has no body")]);
    check_route(
        "direct_response = { status = 200, headers = { content-length = \"5\", a = \" x\" } }",
        &[("content-length", "can't be edited"), ("\" x\"", "not a header field value")],
    );
}

#[test]
fn retries_and_header_edits() {
    check_route("cluster = \"c\"\nretry = { attempts = 0 }", &[("0", "at least 1")]);
    check_route("cluster = \"c\"\nretry = { attempts = 11 }", &[("11", "at most 10")]);
    check_route("cluster = \"c\"\nretry = { on = [] }", &[("[]", "`on` is empty")]);
    check_route("cluster = \"c\"\nretry = { on = [\"4xx\"] }", &[("\"4xx\"", "did you mean `5xx`?")]);
    check_route(
        "cluster = \"c\"\nretry = { on = [\"retriable-status-codes\"] }",
        &[("\"retriable-status-codes\"", "retriable_status_codes = [")],
    );
    check_route("cluster = \"c\"\nretry = { retriable_status_codes = [99] }", &[("99", "from 200 to 599")]);
    check_route("cluster = \"c\"\nretry = { on = [], retriable_status_codes = [409] }", &[]);
    check_route(
        "cluster = \"c\"\n[routes.request_headers]\nset = { connection = \"x\", \"a b\" = \"x\", a = \"x\\ny\", host = [\"a\", \"b\"] }\nadd = { Host = \"x\" }\nremove = [\"host\", \"transfer-encoding\"]",
        &[
            ("connection", "can't be edited"),
            ("\"a b\"", "is not a header field name"),
            ("\"x\\ny\"", "is not a header field value"),
            ("host", "one value"),
            ("Host", "`host` can't be edited by `add`"),
            ("\"host\"", "every request must have one"),
            ("\"transfer-encoding\"", "can't be edited"),
        ],
    );
    check_route(
        "cluster = \"c\"\n[routes.response_headers]\nset = { a = \"x\", host = \"x\" }\nremove = [\"A\"]",
        &[("host", "`host` can't be edited"), ("\"A\"", "both set and removed")],
    );
}

#[test]
fn ties_only_where_one_request_can_meet_both() {
    let tie = &[("[[routes]]", "tie: both match")][..];
    let none = &[][..];
    let check = |a: &str, b: &str, expected| {
        check_routes(&[&format!("cluster = \"c\"\n{a}"), &format!("cluster = \"c\"\n{b}")], expected);
    };
    check("", "", tie);
    check("path = { prefix = \"/\" }", "", tie);
    check("path = { prefix = \"/a\" }", "path = { prefix = \"/a/\" }", tie);
    check("hosts = [\"a\", \"b\"]", "hosts = [\"b\", \"c\"]", tie);
    check("hosts = [\"a\"]", "hosts = [\"b\"]", none);
    check("hosts = [\"*.a\"]", "hosts = [\"*.b\"]", none);
    check("hosts = [\"*.a\"]", "hosts = [\"*\"]", none);
    check("listeners = [\"web\"]", "listeners = [\"other\"]", none);
    check("listeners = [\"web\"]", "", tie);
    check("methods = [\"GET\"]", "methods = [\"PUT\"]", none);
    check("methods = [\"GET\"]", "methods = [\"PUT\", \"GET\"]", tie);
    check("methods = [\"GET\"]", "", none);
    check("headers = { a = \"1\" }", "headers = { a = \"2\" }", none);
    check("headers = { a = \"1\" }", "headers = { b = \"2\" }", tie);
    check("headers = { a = \"1\" }", "query = { b = \"2\" }", none);
    check("headers = { a = \"12\" }", "headers = { a = { prefix = \"1\" } }", tie);
    check("headers = { a = \"12\" }", "headers = { a = { regex = \"2.*\" } }", none);
    check("headers = { a = { prefix = \"x\" } }", "headers = { a = { prefix = \"y\" } }", none);
    check("headers = { a = { prefix = \"x\" } }", "headers = { a = { suffix = \"y\" } }", tie);
    check("headers = { a = { present = true } }", "headers = { a = { absent = true } }", none);
    check("query = { a = { range = { end = 5 } } }", "query = { a = { range = { start = 5 } } }", none);
    check("query = { a = { range = { end = 6 } } }", "query = { a = { range = { start = 5 } } }", tie);
    check("path = { regex = \"/a+\" }", "path = { regex = \"/b+\" }", tie);
    check("path = { regex = \"/a+\" }", "path = { regex = \"/bb+\" }", none);
}

#[test]
fn unreachable_routes() {
    let everything = "cluster = \"c\"\npath = { regex = \"/.*\" }";
    check_routes(
        &[everything, "cluster = \"c\"\npath = { prefix = \"/a\" }"],
        &[("[[routes]]", "is unreachable: `*~/.*` takes")],
    );
    check_routes(&[everything, "cluster = \"c\"\npath = \"/a\""], &[]);
    check_routes(&[everything, "cluster = \"c\"\nhosts = [\"a\"]"], &[]);
    check_routes(
        &["cluster = \"c\"\npath = { regex = \".*\" }\nheaders = { a = \"1\" }", "cluster = \"c\""],
        &[],
    );
    check_routes(
        &["cluster = \"c\"\npath = { regex = \".*\" }\nlisteners = [\"web\"]", "cluster = \"c\""],
        &[],
    );
    check_routes(
        &[
            "cluster = \"c\"\npath = { regex = \".*\" }\nlisteners = [\"web\"]",
            "cluster = \"c\"\npath = { regex = \".*\" }\nlisteners = [\"other\"]",
            "cluster = \"c\"\npath = { prefix = \"/a\" }",
        ],
        &[("[[routes]]", "is unreachable")],
    );
}

#[test]
fn warnings_do_not_refuse() {
    let warn = |text: String, expected: &[(&str, &str)]| {
        taken(&text);
        check_severity(&text, Severity::Warning, expected);
    };
    warn(
        format!("{BASE}\n[[routes]]\ncluster = \"c\"\nlisteners = [\"web\", \"web\"]"),
        &[
            ("\"cluster-two\"", "no route uses the cluster"),
            ("\"other\"", "the listener `other` has no route"),
            ("\"web\"", "listed twice"),
        ],
    );
    warn(
        format!(
            "{BASE}\n[[routes]]\nsplit = [{{ cluster = \"c\", weight = 1 }}, {{ cluster = \"cluster-two\", weight = 0 }}]"
        ),
        &[("0", "gets no request")],
    );
    warn(
        format!(
            "{BASE}\n[[routes]]\nsplit = [{{ cluster = \"c\", weight = 1 }}, {{ cluster = \"cluster-two\", weight = 1 }}]\nhosts = [\"a\", \"A\"]\nmethods = [\"GET\", \"GET\"]"
        ),
        &[("\"A\"", "listed twice"), ("\"GET\"", "listed twice")],
    );
    warn(
        "listeners = [{ name = \"l\", address = \"127.0.0.1:80\" }]\nroutes = [{ cluster = \"c\" }]\nclusters = [{ name = \"c\", endpoints = [\"127.0.0.1:80\"] }]".to_owned(),
        &[("\"127.0.0.1:80\"", "own listener")],
    );
    warn(
        "listeners = [{ name = \"l\", address = \"127.0.0.1:80\" }]\nroutes = [{ direct_response = { status = 200 }, timeout = \"1s\" }]".to_owned(),
        &[("\"1s\"", "means nothing with `direct_response`")],
    );
    warn(
        "listeners = [{ name = \"l\", address = \"127.0.0.1:80\" }]\nroutes = [{ direct_response = { status = 200 }, connect = true }]".to_owned(),
        &[("true", "`connect` means nothing with `direct_response`")],
    );
    warn(
        format!(
            "{BASE}\nroutes = [{{ cluster = \"c\", methods = [\"GET\", \"CONNECT\"] }}, {{ cluster = \"cluster-two\", hosts = [\"a\"], methods = [\"CONNECT\"], connect = true }}]"
        ),
        &[("\"CONNECT\"", "CONNECT requests will be refused … add `connect = true`")],
    );
}

#[test]
fn syntax_errors_are_all_reported_without_their_consequences() {
    let text = format!(
        "{BASE}\n[[routes]]\ncluster = c\ntimeout = 2s\nretries = 1\n[[routes]\npath = \"/x\"\n[[routes]]\nhsots = [\"a\"]\n"
    );
    let problems = take(&text).unwrap_err();
    let found: Vec<(usize, &str)> =
        problems.iter().map(|problem| (problem.line, problem.message.as_str())).collect();
    let lines: Vec<usize> = found.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [6, 7, 8, 9, 12], "{found:#?}");
    assert!(
        found[2].1.contains("unknown key `retries`") && found[4].1.contains("unknown key `hsots`"),
        "{found:#?}"
    );
}

#[test]
fn problems_are_shown_with_place_caret_and_suggestion() {
    let text = "[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\n[listeners.timeouts]\nhaeder = \"1s\" # é\n";
    let problems = take(text).unwrap_err();
    let expected = "\
error: unknown key `haeder` in [listeners.timeouts]
 --> pinion.toml:6:1
  |
6 | haeder = \"1s\" # é
  | ^^^^^^
  |
  = help: did you mean `header`?";
    let shown = problems.to_string();
    assert!(shown.ends_with(expected), "{shown}");
    let columns = take("é = 1\nx = { ü = 1, y = 2s }").unwrap_err();
    let places: Vec<_> = columns.iter().map(|problem| (problem.line, problem.column)).collect();
    assert_eq!(places[0], (1, 1), "{columns}");
    assert_eq!(places.last(), Some(&(2, 18)), "columns count characters: {columns}");
}

#[test]
fn unchanged_parts_are_shared_and_ids_stay() {
    use std::sync::Arc;
    let mut ids = Ids::default();
    let mut load = |text: &str, previous: Option<&Snapshot>| {
        compile(text, "f", Path::new("/"), &mut ids, 1, previous)
            .map_err(|problems| problems.to_string())
            .unwrap()
    };
    let text = format!(
        "{BASE}\n[[routes]]\npath = {{ regex = \"/a+\" }}\ncluster = \"c\"\n[[routes]]\npath = \"/b\"\ncluster = \"cluster-two\"\n"
    );
    let first = load(&text, None);
    let second = load(&text.replace("127.0.0.1:2", "127.0.0.1:3").replace("\"/b\"", "\"/c\""), Some(&first));
    assert!(Arc::ptr_eq(&first.listeners[0], &second.listeners[0]));
    assert!(Arc::ptr_eq(&first.clusters[0], &second.clusters[0]));
    assert!(!Arc::ptr_eq(&first.clusters[1], &second.clusters[1]));
    assert_eq!(first.clusters[1].id, second.clusters[1].id);
    assert_ne!(first.clusters[1].endpoints[0].id, second.clusters[1].endpoints[0].id);
    assert!(Arc::ptr_eq(&first.routes.routes()[0], &second.routes.routes()[0]));
    assert!(first.digest != second.digest && first.digest == load(&text, None).digest);
    // A refused configuration in between changes nothing.
    assert!(compile("x = 1", "f", Path::new("/"), &mut ids, 1, Some(&second)).is_err());
    let third = compile(&text, "f", Path::new("/"), &mut ids, 1, Some(&second)).unwrap();
    assert_eq!(third.clusters[0].id, first.clusters[0].id);
}

#[test]
fn the_json_schema_is_closed_and_explains_every_key() {
    fn walk(schema: &serde_json::Value, path: &str, keys: &mut usize) {
        for alternative in schema["anyOf"].as_array().into_iter().flatten() {
            walk(alternative, path, keys);
        }
        if schema["items"].is_object() {
            walk(&schema["items"], path, keys);
        }
        if let Some(properties) = schema["properties"].as_object() {
            assert_eq!(schema["additionalProperties"], false, "{path}");
            for (key, property) in properties {
                let path = format!("{path}.{key}");
                let meaning = property["description"].as_str().unwrap_or_default();
                assert!(meaning.ends_with('.') && meaning.len() > 8, "{path}: {meaning}");
                *keys += 1;
                walk(property, &path, keys);
            }
        }
    }
    let schema = json_schema();
    let path = &schema["properties"]["routes"]["items"]["properties"]["path"]["anyOf"][1];
    assert_eq!((&path["minProperties"], &path["maxProperties"]), (&1.into(), &1.into()));
    let mut keys = 0;
    walk(&schema, "", &mut keys);
    assert!(keys > 80, "{keys}");
    assert_eq!(
        schema["properties"]["listeners"]["items"]["properties"]["timeouts"]["properties"]["header"]["default"],
        "10s"
    );
    assert_eq!(
        schema["properties"]["listeners"]["items"]["required"],
        serde_json::json!(["name", "address"])
    );
}

#[test]
fn a_default_address_is_what_the_table_says() {
    assert_eq!("127.0.0.1:9901".parse::<Address>(), Ok(taken(&format!("{BASE}\n")).proxy.admin));
}
