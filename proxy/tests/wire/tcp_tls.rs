//! Connections that are passed on with TLS on one side or both, or through it; PROXY headers around it.

use std::io::Write;
use std::net::TcpStream;

use serde_json::json;

use crate::support::Driver;
use crate::tls::{Realm, Said, Secure};
use crate::tunnels::{logged, logging};
use crate::wire::{Ended, Link, Setup, Upstream, both, ok};

/// A listener that ends TLS and passes on by server name: `web.example` to `app`, the rest to `other`.
fn ending(driver: Driver, realm: &Realm, more: &[&str]) -> Setup {
    logging(driver)
        .listener("protocol = \"tcp\"\ncluster = \"other\"")
        .listener(&realm.mutual(&[&["tls.client_certificate = \"request\""], more].concat()))
        .routes("[[routes]]\nsni = [\"web.example\"]\ncluster = \"app\"\n")
}

fn other(upstream: &Upstream) -> String {
    format!("[[clusters]]\nname = \"other\"\nendpoints = [{:?}]", upstream.address())
}

#[test]
fn tls_ends_here_and_the_name_chooses() {
    both(|driver| {
        let realm = Realm::new();
        let (app, rest) = (Upstream::serve(|_| ok("app")), Upstream::serve(|_| ok("rest")));
        let proxy = ending(driver, &realm, &[]).more(&other(&rest)).start(&[&app]);
        let address = proxy.pinion.address("web");
        let config = realm.client(None);
        for (number, (name, answer, route)) in
            [("web.example", "app", "tls web.example"), ("else.example", "rest", "tcp web")]
                .into_iter()
                .enumerate()
        {
            let mut client = Secure::connect(address, &config, name).unwrap();
            for _ in 0..3 {
                assert_eq!(client.get("/", "").unwrap(), Said(200, answer.to_owned()));
            }
            client.close();
            let line = logged(&proxy, number + 1);
            assert_eq!((&line["requested_server_name"], &line["route_name"]), (&json!(name), &json!(route)));
            assert_eq!(
                (&line["protocol"], &line["downstream_tls_version"]),
                (&json!("TCP"), &json!("TLSv1.3"))
            );
        }
        proxy.expect_no_faults();
    });
}

#[test]
fn an_end_that_tls_does_not_confirm_is_a_reset() {
    both(|driver| {
        let (realm, app) = (Realm::new(), Upstream::start());
        let proxy = ending(driver, &realm, &[]).more(&other(&app)).start(&[&app]);
        let (address, config) = (proxy.pinion.address("web"), realm.client(None));
        for confirmed in [true, false] {
            let client = Secure::connect(address, &config, "web.example").unwrap();
            let mut end = app.accept();
            if confirmed {
                client.close();
            } else {
                drop(client);
            }
            let expected = if confirmed { Ended::Closed } else { Ended::Reset };
            assert_eq!(end.read_to_end().1, expected);
        }
        proxy.expect_faults("client_gone", 1);
    });
}

#[test]
fn endpoints_are_told_of_the_tls_that_ended_here() {
    both(|driver| {
        let (realm, app) = (Realm::new(), Upstream::start());
        let proxy =
            ending(driver, &realm, &[]).cluster("proxy_protocol = \"v2\"").more(&other(&app)).start(&[&app]);
        let address = proxy.pinion.address("web");
        for shows in [false, true] {
            let identity = realm.ca.issue(&["spiffe://td/shop/cart"]);
            let config = realm.client(shows.then_some(&identity));
            let client =
                std::thread::spawn(move || Secure::connect(address, &config, "web.example").unwrap());
            let mut end = app.accept();
            let fixed = end.read_exact(16);
            let rest = end.read_exact(u16::from_be_bytes([fixed[14], fixed[15]]).into());
            assert_eq!((fixed[12], fixed[13]), (0x21, 0x11));
            let values = &rest[12..];
            let has = |part: &[u8]| values.windows(part.len()).any(|window| window == part);
            assert!(has(&[&[2, 0, 11][..], b"web.example"].concat()), "{values:?}");
            assert!(has(&[&[0x21, 0, 7][..], b"TLSv1.3"].concat()), "{values:?}");
            let ssl = values.iter().position(|&byte| byte == 0x20).unwrap();
            // With a certificate: on this connection and in its session, verified.
            let expected = if shows { [7, 0, 0, 0, 0] } else { [1, 0, 0, 0, 1] };
            assert_eq!(values[ssl + 3..ssl + 8], expected);
            assert_eq!(has(b"spiffe://td/shop/cart"), shows);
            drop(client.join().unwrap());
        }
    });
}

#[test]
fn plain_text_goes_out_by_tls() {
    both(|driver| {
        let realm = Realm::new();
        let endpoint = realm.endpoint(&realm.ca.issue(&["db.example"]));
        let proxy = logging(driver)
            .listener("protocol = \"tcp\"\ncluster = \"app\"")
            .routes("")
            .cluster(&realm.lines(
                &["protocol = \"tcp\"", "tls.ca = \"{}/ca.pem\"", "tls.server_name = \"db.example\""],
                &[],
            ))
            .start_with(&[endpoint.address()]);
        let mut client = proxy.client();
        for _ in 0..3 {
            client.send("GET / HTTP/1.1\r\n\r\n");
            assert_eq!(client.response().text(), "tls db.example");
        }
        drop(client);
        assert_eq!(logged(&proxy, 1)["protocol"], "TCP");
    });
}

#[test]
fn tls_on_both_sides() {
    both(|driver| {
        let realm = Realm::new();
        let endpoint = realm.endpoint(&realm.ca.issue(&["db.example"]));
        let proxy = ending(driver, &realm, &[])
            .cluster(&realm.lines(
                &["protocol = \"tcp\"", "tls.ca = \"{}/ca.pem\"", "tls.server_name = \"db.example\""],
                &[],
            ))
            .more("[[clusters]]\nname = \"other\"\nendpoints = [\"127.0.0.1:1\"]")
            .start_with(&[endpoint.address()]);
        let mut client =
            Secure::connect(proxy.pinion.address("web"), &realm.client(None), "web.example").unwrap();
        for _ in 0..3 {
            assert_eq!(client.get("/", "").unwrap(), Said(200, "tls db.example".to_owned()));
        }
    });
}

#[test]
fn an_endpoint_that_can_not_be_verified_is_none() {
    both(|driver| {
        let realm = Realm::new();
        let endpoint = realm.endpoint(&realm.ca.issue(&["else.example"]));
        let proxy = logging(driver)
            .listener("protocol = \"tcp\"\ncluster = \"app\"")
            .routes("")
            .cluster(&realm.lines(
                &["protocol = \"tcp\"", "tls.ca = \"{}/ca.pem\"", "tls.server_name = \"db.example\""],
                &[],
            ))
            .start_with(&[endpoint.address()]);
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\n\r\n");
        client.expect_gone();
        proxy.expect_faults("upstream_tls", 1);
        assert_eq!(logged(&proxy, 1)["response_flags"], "UF");
    });
}

#[test]
fn tls_passes_through_to_its_end() {
    both(|driver| {
        let realm = Realm::new();
        let identity = realm.ca.issue(&["spiffe://td/client"]);
        let endpoint = realm.endpoint(&realm.ca.issue(&["web.example"]));
        let proxy = logging(driver)
            .listener("protocol = \"tls-passthrough\"")
            .routes("[[routes]]\nsni = [\"web.example\"]\ncluster = \"app\"\n")
            .start_with(&[endpoint.address()]);
        let address = proxy.pinion.address("web");
        // The endpoint sees the client's certificate: nobody is in between.
        for (shows, kind) in [(None, "tls"), (Some(&identity), "mutual")] {
            let mut client = Secure::connect(address, &realm.client(shows), "web.example").unwrap();
            for _ in 0..3 {
                assert_eq!(client.get("/", "").unwrap(), Said(200, format!("{kind} web.example")));
            }
        }
        assert!(Secure::connect(address, &realm.client(None), "other.example").is_err());
        proxy.expect_faults("no_route", 1);
        assert!(logged(&proxy, 3)["requested_server_name"].is_string());
    });
}

#[test]
fn a_header_comes_before_tls() {
    both(|driver| {
        let realm = Realm::new();
        let upstream = Upstream::serve(|request| ok(request.get("x-forwarded-for").unwrap_or_default()));
        let proxy = logging(driver)
            .listener("proxy_protocol = \"require\"")
            .listener(&realm.listener(&[]))
            .start(&[&upstream]);
        let address = proxy.pinion.address("web");
        let config = realm.client(None);
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"PROXY TCP4 192.0.2.7 198.51.100.2 4711 443\r\n").unwrap();
        let mut client = Secure::over(stream, &config, "web.example").unwrap();
        assert_eq!(client.get("/", "").unwrap(), Said(200, "192.0.2.7".to_owned()));
        drop(client);
        let line = logged(&proxy, 1);
        assert_eq!(
            (&line["downstream_remote_address"], &line["downstream_tls_version"]),
            (&json!("192.0.2.7:4711"), &json!("TLSv1.3"))
        );
        // Without one, TLS is something else.
        assert!(Secure::connect(address, &config, "web.example").is_err());
        proxy.expect_faults("proxy_header_missing", 1);
        let mut plain = Link::connect(address);
        plain.send("PROXY TCP4 192.0.2.7 198.51.100.2 4711 443\r\n");
        plain.finish_sending();
        plain.expect_gone();
    });
}
