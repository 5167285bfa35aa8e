//! Certificates that are renewed under load, sessions that are resumed on whatever shard, and listeners that change
//! while connections begin or last.

use std::collections::HashSet;
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::support::{PATIENCE, eventually};
use crate::tls::{Realm, Said, Secure};
use crate::wire::{Link, Proxy, Setup, Upstream, both, get, ok, own_ip};

#[test]
fn a_renewal_under_load_drops_nothing() {
    const RENEWALS: usize = 4;
    both(|driver| {
        let (realm, upstream) = (Realm::new(), Upstream::serve(|_| ok("fine")));
        let proxy = Setup::sharded(driver, 2).listener(&realm.mutual(&[])).start(&[&upstream]);
        let address = proxy.pinion.address("web");
        let config = realm.client(Some(&realm.ca.issue(&["spiffe://td/a"])));
        let (stop, asked) = (AtomicBool::new(false), AtomicU64::new(0));
        let asked_at_least = |more: u64| {
            let goal = asked.load(Ordering::SeqCst) + more;
            eventually("requests go on", || asked.load(Ordering::SeqCst) >= goal);
        };
        std::thread::scope(|scope| {
            // Connections that live through everything.
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut client = Secure::connect(address, &config, "web.example").unwrap();
                    while !stop.load(Ordering::SeqCst) {
                        assert_eq!(client.get("/", "").unwrap(), Said(200, "fine".to_owned()));
                        asked.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            // Connections that are made meanwhile, without resumption: each sees the certificate of its time.
            let fresh = scope.spawn(|| {
                let mut shown = HashSet::new();
                while !stop.load(Ordering::SeqCst) {
                    let mut config = (*config).clone();
                    config.resumption = rustls::client::Resumption::disabled();
                    let mut client = Secure::connect(address, &config.into(), "web.example").unwrap();
                    assert_eq!(client.get("/", "").unwrap().0, 200);
                    shown.insert(client.shown());
                    asked.fetch_add(1, Ordering::SeqCst);
                }
                shown.len()
            });
            let labels = [("kind", "listener"), ("name", "web"), ("result", "success")];
            let renewed = || proxy.metric("pinion_tls_reloads_total", &labels);
            for renewal in 1..=RENEWALS {
                asked_at_least(20);
                realm.renew();
                eventually("the renewal is noticed", || renewed() > renewal as f64 - 0.5);
                asked_at_least(20);
            }
            stop.store(true, Ordering::SeqCst);
            assert!(fresh.join().unwrap() > RENEWALS, "every certificate was seen");
        });
        proxy.expect_no_faults();
        proxy.expect_metric("pinion_tls_handshake_failures_total", &[], 0.0);
    });
}

#[test]
fn sessions_are_resumed_on_every_shard_until_trust_changes() {
    const SHARDS: u32 = 3;
    both(|driver| {
        let (realm, upstream) = (Realm::new(), Upstream::serve(|_| ok("fine")));
        let lines = realm.mutual(&["forwarding.client_cert = \"sanitize_set\""]);
        let proxy = Setup::sharded(driver, SHARDS).listener(&lines).start(&[&upstream]);
        let address = proxy.pinion.address("web");
        let config = realm.client(Some(&realm.ca.issue(&["spiffe://td/a"])));
        let visit = || {
            let mut client = Secure::connect(address, &config, "web.example").unwrap();
            assert_eq!(client.get("/", "").unwrap().0, 200);
            client.resumed()
        };
        assert!(!visit());
        // The kernel spreads connections by their ports: some of so many meet each shard.
        let used =
            |shard: u32| proxy.metric("pinion_shard_requests_total", &[("shard", &shard.to_string())]) > 0.5;
        let start = std::time::Instant::now();
        while !(0..SHARDS).all(used) {
            assert!(visit(), "a session is resumed wherever it comes");
            assert!(start.elapsed() < PATIENCE, "a shard got no connection");
        }
        // Whom the listener believes changes: no session outlives that.
        let bundle = realm.path().join("ca.pem");
        let more = format!("{}{}", realm.ca.pem(), crate::pki::Authority::new("more").pem());
        std::fs::write(bundle, more).unwrap();
        assert_eq!(proxy.pinion.reload().status, 200);
        assert!(!visit() && visit());
    });
}

/// Puts another configuration in force.
fn change(proxy: &Proxy, change: impl Fn(&str) -> String) {
    let text = std::fs::read_to_string(proxy.pinion.config()).unwrap();
    proxy.pinion.write_whole(&change(&text));
    let answer = proxy.pinion.reload();
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn a_connection_that_begins_while_listeners_change_is_never_plain() {
    both(|driver| {
        let (realm, upstream) = (Realm::new(), Upstream::serve(|_| ok("fine")));
        let lines = realm.mutual(&["proxy_protocol = \"require\""]);
        let proxy = Setup::on(driver).listener(&lines).start(&[&upstream]);
        let begin = || TcpStream::connect(proxy.pinion.address("web")).unwrap();
        let (mut secure, plain) = (begin(), begin());
        let mut plain = Link::over(plain);
        proxy.expect_metric("pinion_listener_connections_active", &[("listener", "web")], 2.0);
        // Both wait for their header while another listener takes the first place.
        let other = format!("[[listeners]]\nname = \"other\"\naddress = \"{}:0\"\n", own_ip());
        change(&proxy, |text| text.replacen("[[listeners]]", &format!("{other}[[listeners]]"), 1));
        let header = "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n";
        plain.send(format!("{header}GET / HTTP/1.1\r\nHost: web.example\r\n\r\n"));
        assert_eq!(plain.response().status(), 400);
        secure.write_all(header.as_bytes()).unwrap();
        let config = realm.client(Some(&realm.ca.issue(&["spiffe://td/a"])));
        let mut client = Secure::over(secure, &config, "web.example").unwrap();
        assert_eq!(client.get("/", "").unwrap(), Said(200, "fine".to_owned()));
        assert_eq!(proxy.metric("pinion_requests_total", &[("listener", "web")]), 1.0);
    });
}

#[test]
fn plain_connections_end_when_their_listener_becomes_strict() {
    both(|driver| {
        let (realm, upstream) = (Realm::new(), Upstream::serve(|_| ok("fine")));
        let lines = realm.mutual(&["tls.mode = \"permissive\""]);
        let proxy = Setup::on(driver).listener(&lines).start(&[&upstream]);
        let config = realm.client(Some(&realm.ca.issue(&["spiffe://td/a"])));
        let mut secure = Secure::connect(proxy.pinion.address("web"), &config, "web.example").unwrap();
        let mut plain = proxy.client();
        for _ in 0..2 {
            plain.send(get("/"));
            assert_eq!(plain.response().get("connection"), None);
            assert_eq!(secure.get("/", "").unwrap().0, 200);
        }
        change(&proxy, |text| text.replace("permissive", "strict"));
        plain.send(get("/"));
        let last = plain.response();
        assert_eq!((last.status(), last.get("connection")), (200, Some("close")));
        plain.expect_closed();
        assert_eq!(secure.get("/", "").unwrap().0, 200, "those with TLS go on");
    });
}
