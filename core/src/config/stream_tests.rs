//! Tables of documents about connections that are passed on, and about PROXY headers.

use super::snapshot::{Protocol, SendHeader, SendValues};
use super::tests::{check, check_severity, taken};
use super::{Severity, Snapshot};
use crate::id::ListenerIndex;
use crate::proxy_protocol::Version;
use crate::route::{Action, MatchScratch, Question, explain};

/// Three listeners and three clusters before what is tested.
const BASE: &str = r#"
clusters = [
    { name = "a", endpoints = ["127.0.0.1:1"] },
    { name = "b", endpoints = ["127.0.0.1:2"] },
    { name = "c", endpoints = ["127.0.0.1:3"] },
]
listeners = [
    { name = "db", address = "127.0.0.1:5432", protocol = "tcp", cluster = "a" },
    { name = "edge", address = "127.0.0.1:443", protocol = "tls-passthrough" },
    { name = "web", address = "127.0.0.1:80" },
]
"#;

fn with(routes: &[&str]) -> String {
    format!("{BASE}\n[[routes]]\n{}\n", routes.join("\n[[routes]]\n"))
}

/// The name of the route that a connection takes whose client asks for `name`.
fn route<'s>(snapshot: &'s Snapshot, listener: u32, name: &str) -> Option<&'s str> {
    struct Named<'a>(&'a [u8]);
    impl crate::http::RequestView for Named<'_> {
        fn method(&self) -> &[u8] {
            b""
        }
        fn host(&self) -> &[u8] {
            self.0
        }
        fn path(&self) -> &[u8] {
            b""
        }
        fn query(&self) -> Option<&[u8]> {
            None
        }
        fn for_each_header(&self, _: &[u8], _: &mut dyn FnMut(&[u8])) {}
    }
    let mut scratch = MatchScratch::new();
    let found = snapshot.routes.find(ListenerIndex(listener), &Named(name.as_bytes()), &mut scratch);
    found.map(|route| &*route.name)
}

#[test]
fn server_names_choose() {
    let snapshot = taken(&with(&[
        "sni = [\"a.example\"]\ncluster = \"a\"",
        "sni = [\"*.example\"]\ncluster = \"b\"",
        "sni = [\"*.deep.example\", \"x.org\"]\nsplit = [{ cluster = \"a\", weight = 1 }, { cluster = \"c\", weight = 3 }]",
        "name = \"rest\"\nlisteners = [\"edge\"]\ncluster = \"c\"\nretry = { attempts = 0 }",
        "cluster = \"a\"",
    ]));
    assert!(snapshot.warnings.is_empty(), "{}", snapshot.warnings);
    for (name, expected) in [
        ("a.example", "tls a.example"),
        ("b.example", "tls *.example"),
        ("deep.example", "tls *.example"),
        ("x.deep.example", "tls *.deep.example+1"),
        ("x.org", "tls *.deep.example+1"),
        ("y.org", "rest"),
        ("", "rest"),
    ] {
        assert_eq!(route(&snapshot, 1, name), Some(expected), "{name}");
        assert_eq!(route(&snapshot, 0, name), Some("tcp db"), "every connection of the other listener");
        assert_eq!(route(&snapshot, 2, name), Some("*/*"), "requests have routes of their own");
    }
    let routes = snapshot.routes.routes();
    let attempts: Vec<_> =
        routes.iter().map(|route| route.retry.as_ref().map(|retry| retry.attempts)).collect();
    assert_eq!(attempts, [Some(2), Some(2), Some(2), None, None, Some(2)]);
    assert!(routes[0].retry.as_ref().unwrap().on.connect_failure);
    assert!(matches!(routes[2].action, Action::Split(_)));
    let protocols: Vec<_> = snapshot.listeners.iter().map(|listener| listener.protocol).collect();
    assert_eq!(protocols, [Protocol::Tcp, Protocol::TlsPassthrough, Protocol::Auto]);
}

#[test]
fn a_listeners_cluster_takes_what_no_route_takes() {
    let text = "listeners = [{ name = \"l\", address = \"127.0.0.1:1\", protocol = \"tls-passthrough\", cluster = \"c\" }]\n\
                clusters = [{ name = \"c\", endpoints = [\"127.0.0.1:9\"] }, { name = \"d\", endpoints = [\"127.0.0.1:8\"] }]\n\
                routes = [{ sni = [\"d.example\"], cluster = \"d\" }]";
    let snapshot = taken(text);
    assert!(snapshot.warnings.is_empty(), "{}", snapshot.warnings);
    assert_eq!(route(&snapshot, 0, "d.example"), Some("tls d.example"));
    assert_eq!(route(&snapshot, 0, "other"), Some("tcp l"));
}

#[test]
fn where_tls_ends_names_are_seen_too() {
    let text = "listeners = [{ name = \"l\", address = \"127.0.0.1:1\", protocol = \"tcp\", cluster = \"c\", tls = { certificate = \"c\", private_key = \"k\" } }]\n\
                clusters = [{ name = \"c\", endpoints = [\"127.0.0.1:9\"] }, { name = \"d\", endpoints = [\"127.0.0.1:8\"] }]\n\
                routes = [{ sni = [\"d.example\"], cluster = \"d\" }]";
    let snapshot = taken(text);
    assert!(snapshot.listeners[0].sees_names());
    assert_eq!(route(&snapshot, 0, "d.example"), Some("tls d.example"));
}

#[test]
fn routes_that_can_not_be() {
    let means_nothing = "means nothing for connections that are passed on";
    for (key, at) in [
        ("hosts = [\"a\"]", "[\"a\"]"),
        ("path = \"/\"", "\"/\""),
        ("methods = [\"GET\"]", "[\"GET\"]"),
        ("headers = { a = \"b\" }", "{ a = \"b\" }"),
        ("query = { a = \"b\" }", "{ a = \"b\" }"),
        ("connect = true", "true"),
        ("timeout = \"1s\"", "\"1s\""),
    ] {
        check(&with(&[&format!("sni = [\"x\"]\ncluster = \"b\"\n{key}")]), &[(at, means_nothing)]);
    }
    check(
        &with(&["listeners = [\"edge\"]\ndirect_response = { status = 200 }"]),
        &[("{ status = 200 }", means_nothing)],
    );
    check(&with(&["sni = []\ncluster = \"b\""]), &[("[]", "`sni` is empty")]);
    check(&with(&["sni = [\"a:443\"]\ncluster = \"b\""]), &[("\"a:443\"", "has no port")]);
    check(
        &with(&["sni = [\"a\"]\nlisteners = [\"web\"]\ncluster = \"b\""]),
        &[("\"web\"", "reads requests … `hosts`")],
    );
    check(
        &with(&["sni = [\"a\"]\nlisteners = [\"db\"]\ncluster = \"b\""]),
        &[("\"db\"", "sees no server names")],
    );
    check(
        &with(&["hosts = [\"a\"]\nlisteners = [\"web\", \"db\"]\ncluster = \"b\""]),
        &[("\"db\"", "passes connections on unread")],
    );
    check(
        &with(&["sni = [\"a\"]\ncluster = \"b\"", "sni = [\"A\"]\ncluster = \"c\""]),
        &[("[[routes]]", "tie: both match the same connections for `a`")],
    );
    check(&with(&["listeners = [\"db\"]\ncluster = \"b\""]), &[("\"a\"", "tie")]);
    check(
        &with(&["sni = [\"a\"]\ncluster = \"b\""]).replace(
            "\"tls-passthrough\"",
            "\"tls-passthrough\", tls = { certificate = \"c\", private_key = \"k\" }",
        ),
        &[("{ certificate = \"c\", private_key = \"k\" }", "has none of its own … `protocol = \"tcp\"`")],
    );
    for (protocol, refused) in [("http2", true), ("auto", true), ("http1", false), ("tcp", false)] {
        let text = with(&["sni = [\"a\"]\ncluster = \"b\"", "cluster = \"c\""]);
        let text = text.replace("\"127.0.0.1:2\"]", &format!("\"127.0.0.1:2\"], protocol = \"{protocol}\""));
        let expected = [("\"b\"", "speaks HTTP/2 … protocol = \"tcp\"")];
        check(&text, if refused { &expected } else { &[] });
    }
    let text = with(&["sni = [\"a\"]\ncluster = \"b\"", "cluster = \"c\""]);
    check(
        &text.replace("\"127.0.0.1:3\"]", "\"127.0.0.1:3\"], protocol = \"tcp\""),
        &[("\"c\"", "takes no requests … \"http1\"")],
    );
    let only = "listeners = [{ name = \"l\", address = \"127.0.0.1:1\", protocol = \"tcp\" }]\n\
                clusters = [{ name = \"c\", endpoints = [\"127.0.0.1:9\"] }]\n";
    check(
        &format!("{only}[[routes]]\ncluster = \"c\"\n"),
        &[("[[routes]]", "no listener reads requests … listeners = [")],
    );
    check(
        &format!("{only}[[routes]]\ncluster = \"c\"\nsni = [\"x\"]\n"),
        &[("[\"x\"]", "no listener sees server names")],
    );
    check_severity(
        only,
        Severity::Warning,
        &[("\"l\"", "has no route … it would close every connection"), ("\"c\"", "no route uses")],
    );
    check(
        "listeners = [{ name = \"l\", address = \"127.0.0.1:1\", cluster = \"c\" }]",
        &[("\"c\"", "for listeners that pass connections on … protocol = \"tcp\"")],
    );
    check(
        "listeners = [{ name = \"l\", address = \"127.0.0.1:1\", protocol = \"tcp\", cluster = \"d\" }]",
        &[("\"d\"", "there is no cluster `d`")],
    );
}

fn listener(lines: &str) -> String {
    format!("[[listeners]]\nname = \"l\"\naddress = \"127.0.0.1:1\"\n{lines}\n")
}

#[test]
fn headers_that_are_taken() {
    let accept = |lines: &str| taken(&listener(lines)).listeners[0].proxy_protocol.clone();
    let ip = |text: &str| Some(text.parse().unwrap());
    assert_eq!(accept(""), None);
    assert_eq!(accept("proxy_protocol = \"off\""), None);
    let all = accept("proxy_protocol = \"require\"").unwrap();
    assert!(all.required && all.believes(ip("192.0.2.1")) && all.believes(None));
    let shared =
        accept("proxy_protocol = \"optional\"\nforwarding.trusted_proxies = [\"10.0.0.0/8\"]").unwrap();
    assert!(!shared.required && shared.believes(ip("::ffff:10.1.2.3")) && !shared.believes(ip("11.0.0.1")));
    let own = accept("proxy_protocol = { mode = \"require\", trusted = [\"192.0.2.1\"] }\nforwarding.trusted_proxies = [\"10.0.0.0/8\"]").unwrap();
    assert!(own.required && own.believes(ip("192.0.2.1")) && !own.believes(ip("10.0.0.1")));
    let unix = taken("[[listeners]]\nname = \"l\"\naddress = \"unix:l\"\nproxy_protocol = \"optional\"\n");
    assert!(unix.listeners[0].proxy_protocol.as_ref().unwrap().believes(None));
    for (lines, at, what) in [
        ("proxy_protocol = \"on\"", "\"on\"", "unknown value `on`"),
        ("proxy_protocol = true", "true", "expected \"off\", \"optional\""),
        ("proxy_protocol = { trusted = [\"::1\"] }", "{ trusted = [\"::1\"] }", "missing key `mode`"),
        ("proxy_protocol = { mode = \"require\", trusted = [] }", "[]", "nobody could send"),
        ("proxy_protocol = \"optional\"", "\"optional\"", "whom to believe … another one … trusted = ["),
    ] {
        check(&listener(lines), &[(at, what)]);
    }
}

#[test]
fn headers_that_are_sent() {
    let cluster = |lines: &str| {
        format!("{}[[clusters]]\nname = \"c\"\nendpoints = [\"127.0.0.1:9\"]\n{lines}\n", listener(""))
    };
    let send = |lines: &str| taken(&cluster(lines)).clusters[0].proxy_protocol;
    let usual = SendValues { authority: true, alpn: true, tls: true, ..SendValues::default() };
    let none = SendValues::default();
    for (lines, version, values) in [
        ("proxy_protocol = \"v1\"", Version::V1, none),
        ("proxy_protocol = \"v2\"", Version::V2, usual),
        ("proxy_protocol = { version = \"v2\" }", Version::V2, usual),
        ("proxy_protocol = { version = \"v1\" }", Version::V1, none),
        ("proxy_protocol = { version = \"v2\", values = [] }", Version::V2, none),
        (
            "proxy_protocol = { version = \"v2\", values = [\"unique-id\", \"crc32c\"] }",
            Version::V2,
            SendValues { unique_id: true, crc32c: true, ..none },
        ),
    ] {
        assert_eq!(send(lines), Some(SendHeader { version, values }), "{lines}");
    }
    assert_eq!(send(""), None);
    for (lines, at, what) in [
        ("proxy_protocol = 2", "2", "expected \"v1\" or \"v2\""),
        ("protocol = \"http2\"\nproxy_protocol = \"v1\"", "\"v1\"", "tell of one client"),
        ("protocol = \"auto\"\nproxy_protocol = \"v2\"", "\"v2\"", "tell of one client … \"http1\""),
        ("proxy_protocol = \"v3\"", "\"v3\"", "unknown value"),
        ("proxy_protocol = { version = \"v1\", values = [\"alpn\"] }", "\"alpn\"", "has no values … \"v2\""),
        ("proxy_protocol = { version = \"v2\", values = [\"cn\"] }", "\"cn\"", "unknown value"),
    ] {
        check(&cluster(lines), &[(at, what)]);
    }
}

#[test]
fn connections_are_explained() {
    let snapshot =
        taken(&with(&["sni = [\"*.example\"]\ncluster = \"b\"", "hosts = [\"h\"]\ncluster = \"c\""]));
    let ask = |url: &str| {
        let question = Question { url: url.to_owned(), ..Question::default() };
        let explanation = explain(&snapshot, &question).unwrap();
        (explanation.route().map(str::to_owned), explanation.to_string(), explanation.json())
    };
    let (route, text, json) = ask("tls://A.Example");
    assert_eq!(route.as_deref(), Some("tls *.example"));
    for part in [
        "tls://A.Example\n",
        "name      a.example",
        "server name *.example",
        "lasts     idle 3600s",
        "retries   2 more on connect-failure",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains("path"), "{text}");
    assert_eq!(
        (&json["outcome"]["kind"], &json["route"]["clusters"][0]["name"]),
        (&"route".into(), &"b".into())
    );
    let (route, text, json) = ask("tls://other:443");
    assert_eq!(route, None);
    assert!(text.contains("none: the connection is closed") && text.contains("is not *.example"), "{text}");
    assert_eq!(json["outcome"], serde_json::json!({ "kind": "no_route" }));
    assert_eq!(ask("tcp://db.internal:5432").0.as_deref(), Some("tcp db"));
    assert_eq!(ask("http://h/").0.as_deref(), Some("h/*"));
}
