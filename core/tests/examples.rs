//! The examples that users copy compile without an error or a warning, and decide what they say they do.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed helper fails its test")]

use std::path::{Path, PathBuf};

use pinion_core::config::{Ids, Snapshot, compile};
use pinion_core::route::{Question, explain};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

fn load(path: &Path) -> Snapshot {
    let text = std::fs::read_to_string(path).unwrap();
    let name = path.display().to_string();
    compile(&text, &name, &folder(), &mut Ids::default(), 1, None)
        .unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn every_example_compiles_without_a_remark() {
    let mut seen = 0;
    for folder in [folder(), folder().join("mtls")] {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        for path in entries.filter(|path| path.extension().is_some_and(|extension| extension == "toml")) {
            let snapshot = load(&path);
            assert!(snapshot.warnings.is_empty(), "{}", snapshot.warnings);
            seen += 1;
        }
    }
    assert!(seen >= 7, "only {seen} examples");
}

/// The name of the route that takes a request.
#[track_caller]
fn check(file: &str, method: &str, url: &str, headers: &[(&str, &str)], expected: Option<&str>) {
    let snapshot = load(&folder().join(file));
    let question = Question {
        method: method.to_owned(),
        url: url.to_owned(),
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        listener: None,
    };
    let explanation = explain(&snapshot, &question).unwrap();
    assert_eq!(explanation.route(), expected, "{explanation}");
}

#[test]
fn examples_route_as_their_comments_say() {
    check("mtls/web.toml", "GET", "http://web:15443/", &[], Some("web"));
    check("mtls/cart.toml", "GET", "http://web/", &[], Some("web"));
    check("mtls/cart.toml", "GET", "http://web/", &[("x-pretend", "stranger")], Some("pretended"));
    check("mtls/cart.toml", "GET", "http://bank/", &[], None);
    check("tunnels.toml", "GET", "ws://chat.example/room/1", &[], Some("chat.example/*"));
    check("tunnels.toml", "CONNECT", "db.internal:5432", &[], Some("db.internal/* CONNECT"));
    check("tunnels.toml", "GET", "http://db.internal/", &[], None);
    check("tcp.toml", "GET", "tcp://127.0.0.1:5432", &[], Some("tcp postgres"));
    check("tcp.toml", "GET", "tls://a.shop.example:8443", &[], Some("shop"));
    check("tcp.toml", "GET", "tls://api.example:8443", &[], Some("api"));
    check("tcp.toml", "GET", "tls://else.example:8443", &[], Some("tcp edge"));
    check("minimal.toml", "GET", "http://anything:8080/at/all", &[], Some("*/*"));
    check(
        "canary.toml",
        "GET",
        "http://my-service/",
        &[("End-User", "jason")],
        Some("my-service/* end-user"),
    );
    check("canary.toml", "GET", "http://my-service/", &[("End-User", "jasper")], Some("my-service/*"));
    check("canary.toml", "GET", "http://other/", &[], None);
    check("sidecar.toml", "GET", "http://app:8080/x", &[], Some("app"));
    check("sidecar.toml", "GET", "http://app:8080/-/alive", &[], Some("alive"));
    check("sidecar.toml", "GET", "http://billing:15001/", &[], Some("billing"));
    check("sidecar.toml", "GET", "http://other:15001/", &[], None);
    check("edge.toml", "GET", "http://shop.example/", &[], Some("shop"));
    check("edge.toml", "GET", "http://www.shop.example/x", &[], Some("shop"));
    check("edge.toml", "PUT", "http://www.shop.example/x", &[], Some("shop-writes"));
    check("edge.toml", "GET", "http://shop.example/item-7.html", &[], Some("shop-old-items"));
    check("edge.toml", "GET", "http://shop.example/item-x.html", &[], Some("shop"));
    check("edge.toml", "GET", "http://api.example/v1/x", &[], Some("api"));
    check("edge.toml", "GET", "http://api.example/v1/x", &[("x-client-build", "2001")], Some("api-beta"));
    check("edge.toml", "GET", "http://api.example/v1/x", &[("x-client-build", "1999")], Some("api"));
    check(
        "edge.toml",
        "GET",
        "http://api.example/v1",
        &[("x-client-build", "2001"), ("x-opt-out", "")],
        Some("api"),
    );
    check("edge.toml", "GET", "http://api.example/v1?a=b&debug=yes", &[], Some("api-debug"));
    check("edge.toml", "GET", "http://api.example/v10", &[], Some("nobody"));
}
