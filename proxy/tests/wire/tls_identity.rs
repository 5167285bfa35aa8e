//! Who comes in by TLS, who does not and why, and what upstreams and the log are told.

use serde_json::json;

use crate::pki::{Authority, Odd};
use crate::support::{Driver, eventually};
use crate::tls::{Realm, Said, Secure};
use crate::tunnels::{logged, logging};
use crate::wire::{Message, Proxy, Setup, Upstream, both, ok};

/// An upstream that answers with what it is told of the client.
fn telling() -> Upstream {
    Upstream::serve(|request: &Message| {
        let told = |name: &str| request.head.all(name).join(" | ");
        ok(&format!("{} {}", told("x-forwarded-proto"), told("x-forwarded-client-cert")))
    })
}

fn setup(driver: Driver, lines: &str) -> Setup {
    logging(driver).listener(lines)
}

#[test]
fn upstream_and_log_learn_who_the_client_is() {
    both(|driver| {
        let (realm, upstream) = (Realm::new(), telling());
        let lines = realm.mutual(&[
            "tls.permitted_peers = [\"spiffe://td/shop/*\"]",
            "forwarding.client_cert = \"sanitize_set\"",
            "forwarding.client_cert_details = [\"uri\"]",
        ]);
        let proxy = setup(driver, &lines).start(&[&upstream]);
        let config = realm.client(Some(&realm.ca.issue(&["spiffe://td/shop/cart"])));
        let mut client = Secure::connect(proxy.pinion.address("web"), &config, "web.example").unwrap();
        let claims = "X-Forwarded-Client-Cert: URI=spiffe://td/admin\r\nX-Forwarded-Proto: http\r\n";
        for request in 0..3 {
            let Said(status, body) = client.get("/", claims).unwrap();
            assert_eq!(status, 200);
            let (proto, cert) = body.split_once(' ').unwrap();
            assert_eq!(proto, "https");
            let (by, rest) = cert.split_once(";Hash=").unwrap();
            let (hash, uri) = rest.split_once(';').unwrap();
            assert_eq!(
                (by, hash.len(), uri),
                ("By=spiffe://td/web", 64, "URI=spiffe://td/shop/cart"),
                "{request}"
            );
        }
        let line = logged(&proxy, 3);
        for (key, value) in [
            ("downstream_tls_version", json!("TLSv1.3")),
            ("downstream_tls_cipher", json!("TLS_AES_128_GCM_SHA256")),
            ("requested_server_name", json!("web.example")),
            ("downstream_peer_uri_san", json!("spiffe://td/shop/cart")),
            ("downstream_peer_subject", json!("O=Pinion\\, tests,CN=spiffe://td/shop/cart")),
        ] {
            assert_eq!(line[key], value, "{key} of {line:#}");
        }
        proxy.expect_no_faults();
    });
}

#[test]
fn by_default_nothing_is_told_and_nothing_passes() {
    both(|driver| {
        let (realm, upstream) = (Realm::new(), telling());
        let proxy = setup(driver, &realm.mutual(&[])).start(&[&upstream]);
        let config = realm.client(Some(&realm.ca.issue(&["spiffe://td/a"])));
        let mut client = Secure::connect(proxy.pinion.address("web"), &config, "web.example").unwrap();
        let said = client.get("/", "X-Forwarded-Client-Cert: URI=spiffe://td/admin\r\n").unwrap();
        assert_eq!(said, Said(200, "https ".to_owned()));
    });
}

#[test]
fn who_may_not_come_in_is_refused_with_the_reason() {
    both(|driver| {
        let (realm, other, upstream) = (Realm::new(), Authority::new("other"), telling());
        let lines = realm.mutual(&["tls.permitted_peers = [\"spiffe://td/shop/*\"]"]);
        let proxy = setup(driver, &lines).start(&[&upstream]);
        let odd = Odd { expired: true, ..Odd::default() };
        for (identity, reason) in [
            (Some(realm.ca.issue(&["spiffe://td/bank"])), "peer_not_permitted"),
            (Some(other.issue(&["spiffe://td/shop/a"])), "unknown_ca"),
            (Some(other.issue(&["spiffe://elsewhere/a"])), "unknown_ca"),
            (Some(realm.ca.issue_odd(&["spiffe://td/shop/a"], odd)), "expired"),
            (Some(realm.ca.issue(&["spiffe://td/shop/a", "spiffe://td/shop/b"])), "bad_certificate"),
            (None, "no_client_certificate"),
        ] {
            let before = refused(&proxy, reason);
            let config = realm.client(identity.as_ref());
            let address = proxy.pinion.address("web");
            let asked =
                Secure::connect(address, &config, "web.example").and_then(|mut client| client.get("/", ""));
            assert!(asked.is_err(), "{reason}: {asked:?}");
            eventually(reason, || (refused(&proxy, reason) - before - 1.0).abs() < 0.5);
        }
        assert_eq!(upstream.accepted(), 0);
    });
}

fn refused(proxy: &Proxy, reason: &str) -> f64 {
    proxy.metric("pinion_tls_handshake_failures_total", &[("reason", reason)])
}

#[test]
fn permissive_takes_plain_text_too_and_strict_does_not() {
    both(|driver| {
        for mode in ["permissive", "strict"] {
            let (realm, upstream) = (Realm::new(), telling());
            let mode_line = format!("tls.mode = \"{mode}\"");
            let lines = realm.mutual(&[&mode_line, "forwarding.client_cert = \"append_forward\""]);
            let proxy = setup(driver, &lines).start(&[&upstream]);
            let config = realm.client(Some(&realm.ca.issue(&["spiffe://td/a"])));
            let mut client = Secure::connect(proxy.pinion.address("web"), &config, "web.example").unwrap();
            let Said(status, told) = client.get("/", "").unwrap();
            assert!(status == 200 && told.contains("URI=spiffe://td/a"), "{told}");

            let mut plain = proxy.client();
            plain.send(
                "GET / HTTP/1.1\r\nHost: test\r\nX-Forwarded-Client-Cert: URI=spiffe://td/admin\r\n\r\n",
            );
            let answer = plain.response();
            let secured =
                |how: &str| proxy.metric("pinion_listener_secured_connections_total", &[("security", how)]);
            if mode == "permissive" {
                // A plain client has no identity, whatever it claims.
                assert_eq!((answer.status(), answer.body.as_slice()), (200, &b"http "[..]));
                assert_eq!((secured("plain"), secured("mutual_tls")), (1.0, 1.0));
            } else {
                assert_eq!(answer.status(), 400);
                assert_eq!((secured("plain"), secured("mutual_tls")), (0.0, 1.0));
                eventually("counted", || refused(&proxy, "plain_http") > 0.5);
            }
        }
    });
}

#[test]
fn the_server_name_chooses_the_certificate() {
    both(|driver| {
        let (realm, upstream) = (Realm::new(), telling());
        let api = realm.ca.issue(&["*.api.example", "web.example"]);
        api.write(realm.path(), "api");
        let pair = "tls.certificates = [{ certificate = \"{}/api.pem\", private_key = \"{}/api.key\" }]";
        let proxy = setup(driver, &realm.listener(&[pair])).start(&[&upstream]);
        let config = realm.client(None);
        let shown = |name: &str| {
            let mut client = Secure::connect(proxy.pinion.address("web"), &config, name).unwrap();
            assert_eq!(client.get("/", "").unwrap().0, 200);
            client.shown()
        };
        let (default, wildcard) = (shown("unknown.example"), shown("a.api.example"));
        assert_ne!(default, wildcard);
        assert_eq!(shown("a.b.api.example"), default);
        assert_eq!(shown("B.API.example"), wildcard);
    });
}

#[test]
fn each_host_has_a_connection_that_was_verified_for_it() {
    both(|driver| {
        let realm = Realm::new();
        let endpoint = realm.endpoint(&realm.ca.issue(&["a.example", "b.example"]));
        let lines = realm.lines(&["tls.ca = \"{}/ca.pem\""], &[]);
        let proxy = Setup::on(driver).cluster(&lines).start_with(&[endpoint.address()]);
        let mut client = proxy.client();
        for host in ["a.example", "b.example"].repeat(3) {
            client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
            let answer = client.response();
            assert!(answer.status() == 200 && answer.body.ends_with(host.as_bytes()), "{host}");
        }
        proxy.expect_metric("pinion_cluster_connects_total", &[], 2.0);
        proxy.expect_no_faults();
    });
}

#[test]
fn endpoints_prove_who_they_are() {
    both(|driver| {
        let (realm, other) = (Realm::new(), Authority::new("other"));
        let cluster = |more: &[&str]| {
            let own = ["tls.certificate = \"{}/web.pem\"", "tls.private_key = \"{}/web.key\""];
            realm.lines(&own, more)
        };
        let spiffe = "tls.trust_bundles = { td = \"{}/ca.pem\" }";
        let check = |identity: &crate::pki::Identity, lines: &[&str], expected: Option<&str>| {
            let endpoint = realm.endpoint(identity);
            let proxy = Setup::on(driver).cluster(&cluster(lines)).start_with(&[endpoint.address()]);
            let mut client = proxy.client();
            client.send("GET / HTTP/1.1\r\nHost: back.example\r\n\r\n");
            let answer = client.response();
            match expected {
                Some(said) => {
                    assert_eq!((answer.status(), answer.body.as_slice()), (200, said.as_bytes()));
                    proxy.expect_no_faults();
                }
                None => {
                    assert_eq!(answer.status(), 503);
                    proxy.expect_faults("upstream_tls", 1);
                }
            }
        };
        let back = realm.ca.issue(&["spiffe://td/back", "back.example"]);
        let permitted = "tls.permitted_peers = [\"spiffe://td/back\"]";
        check(&back, &[spiffe, permitted], Some("mutual back.example"));
        check(&realm.ca.issue(&["spiffe://td/front"]), &[spiffe, permitted], None);
        check(&other.issue(&["spiffe://td/back"]), &[spiffe, permitted], None);
        // By name: the request's host, or the configured one.
        let ca = "tls.ca = \"{}/ca.pem\"";
        check(&back, &[ca], Some("mutual back.example"));
        check(&back, &[ca, "tls.server_name = \"other.example\""], None);
        let named = realm.ca.issue(&["other.example"]);
        check(&named, &[ca, "tls.server_name = \"other.example\""], Some("mutual other.example"));
        check(&other.issue(&["back.example"]), &[ca], None);
    });
}
