//! PROXY headers that connections begin with: who is believed, what they change, what is refused.

use crate::support::Driver;
use crate::tunnels::{logged, logging, on_all, on_tcp};
use crate::wire::{Link, Setup, Upstream, both, get, ok, own_ip};
use serde_json::Value;

const V1: &str = "PROXY TCP4 192.0.2.7 198.51.100.2 4711 443\r\n";

/// A version 2 header of these parts.
pub(crate) fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = (rest.len() as u16).to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length, rest].concat()
}

/// 192.0.2.7:4711 to 198.51.100.2:443.
pub(crate) const V4: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 2, 0x12, 0x67, 1, 187];

fn requiring(driver: Driver) -> Setup {
    logging(driver).listener("proxy_protocol = \"require\"")
}

/// One request behind `header`, and the X-Forwarded-For that the upstream got.
#[track_caller]
fn forwarded(client: &mut Link, upstream: &Upstream, header: impl AsRef<[u8]>) -> Option<String> {
    client.send([header.as_ref(), get("/").as_bytes()].concat());
    let mut end = upstream.accept();
    let asked = end.request().get("x-forwarded-for").map(str::to_owned);
    end.send(ok("x"));
    assert_eq!(client.response().status(), 200);
    asked
}

#[test]
fn its_source_is_the_client() {
    on_all(requiring, |stage| {
        let v6 = [&[0xfd; 16][..], &[0; 15], &[1], &[0, 9, 0, 80]].concat();
        let udp = [&V4[..], &[4, 0, 3, 0, 0, 0]].concat();
        for (number, (header, ip, peer)) in [
            (V1.as_bytes().to_vec(), "192.0.2.7", "192.0.2.7:4711"),
            (b"PROXY TCP6 2001:db8::7 ::1 1 2\r\n".to_vec(), "2001:db8::7", "2001:db8::7:1"),
            (v2(0x21, 0x11, &V4), "192.0.2.7", "192.0.2.7:4711"),
            (v2(0x21, 0x12, &udp), "192.0.2.7", "192.0.2.7:4711"),
            (
                v2(0x21, 0x21, &v6),
                "fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd",
                "fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:9",
            ),
        ]
        .into_iter()
        .enumerate()
        {
            let mut client = stage.client();
            let forwarded = forwarded(&mut client, &stage.upstream, header);
            assert_eq!(forwarded.as_deref(), Some(ip));
            let line = logged(&stage.proxy, 2 * number + 1);
            let logged_peer = line["downstream_remote_address"].as_str().unwrap().to_owned();
            assert_eq!(logged_peer.replace(['[', ']'], ""), peer);
            // The whole connection is that client's.
            client.send(get("/again"));
            let mut end = stage.upstream.accept();
            assert_eq!(end.request().get("x-forwarded-for"), Some(ip));
            end.send(ok("y"));
            assert_eq!(client.response().text(), "y");
            assert_eq!(
                logged(&stage.proxy, 2 * number + 2)["downstream_remote_address"],
                line["downstream_remote_address"]
            );
        }
        stage.proxy.expect_no_faults();
    });
}

#[test]
fn torn_anywhere_it_is_the_same() {
    on_tcp(requiring, |stage| {
        stage.proxy.metric("pinion_ready", &[]);
        for header in [V1.as_bytes().to_vec(), v2(0x21, 0x11, &[&V4[..], &[2, 0, 3], b"a.b"].concat())] {
            let all = [&header[..], get("/").as_bytes()].concat();
            for cut in (1..header.len() + 3).step_by(3) {
                let mut client = stage.client();
                let (first, rest) = all.split_at(cut);
                client.send_pieces([first, rest]);
                let mut end = stage.upstream.accept();
                assert_eq!(end.request().get("x-forwarded-for"), Some("192.0.2.7"), "{cut}");
                end.send("HTTP/1.1 204 x\r\nConnection: close\r\n\r\n");
                assert_eq!(client.response().status(), 204);
            }
        }
        stage.proxy.expect_no_faults();
    });
}

#[test]
fn without_addresses_the_sender_is_the_client() {
    on_tcp(requiring, |stage| {
        for header in [
            b"PROXY UNKNOWN\r\n".to_vec(),
            b"PROXY UNKNOWN 1 2 3 4\r\n".to_vec(),
            v2(0x20, 0x11, &V4),
            v2(0x20, 0x00, &[]),
            v2(0x21, 0x00, &[]),
            v2(0x21, 0x31, &[0; 216]),
        ] {
            let mut client = stage.client();
            let own = client.local().ip().to_string();
            assert_eq!(forwarded(&mut client, &stage.upstream, header), Some(own));
        }
        stage.proxy.expect_no_faults();
    });
}

#[test]
fn what_is_no_header_closes_the_connection() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = requiring(driver).listener("timeouts.header = \"1s\"").start(&[&upstream]);
        let checksum = [&V4[..], &[3, 0, 4, 1, 2, 3, 4]].concat();
        for (number, (bytes, fault, flag)) in [
            (get("/").into_bytes(), "proxy_header_missing", "DPE"),
            (b"\x16\x03\x01".to_vec(), "proxy_header_missing", "DPE"),
            (b"PROXY TCP4 192.0.2.7 198.51.100.2 4711\r\n".to_vec(), "proxy_header_malformed", "DPE"),
            (b"PROXY TCP4 192.0.2.07 198.51.100.2 1 2\r\n".to_vec(), "proxy_header_malformed", "DPE"),
            (v2(0x31, 0x11, &V4), "proxy_header_malformed", "DPE"),
            (v2(0x21, 0x11, &[&V4[..], &[1, 0, 9, 1]].concat()), "proxy_header_malformed", "DPE"),
            (v2(0x21, 0x11, &checksum), "proxy_header_checksum", "DPE"),
            (v2(0x21, 0x11, &[0; 9_000])[..16].to_vec(), "proxy_header_too_long", "DPE"),
            (format!("PROXY UNKNOWN {}", "x".repeat(100)).into_bytes(), "proxy_header_too_long", "DPE"),
            (b"PROXY TCP4 192.0.2.7".to_vec(), "proxy_header_timeout", "DT"),
            (vec![], "proxy_header_timeout", "DT"),
        ]
        .into_iter()
        .enumerate()
        {
            let before = proxy.metric("pinion_faults_total", &[("reason", fault)]);
            let mut client = proxy.client();
            client.send(&bytes);
            let (answer, _) = client.read_to_end();
            assert!(answer.is_empty(), "nobody knows what would be understood: {answer:?}");
            proxy.expect_metric("pinion_faults_total", &[("reason", fault)], before + 1.0);
            let line = logged(&proxy, number + 1);
            assert_eq!(
                (&line["response_flags"], &line["response_code_details"]),
                (&flag.into(), &fault.into())
            );
            assert_eq!((&line["method"], &line["response_code"]), (&Value::Null, &0.into()));
        }
        upstream.expect_no_connection();
        // Health checks that only connect are no fault.
        let faults = proxy.metric("pinion_faults_total", &[]);
        drop(proxy.client());
        proxy.expect_metric("pinion_shard_connections_active", &[], 0.0);
        assert_eq!(proxy.metric("pinion_faults_total", &[]), faults);
        assert_eq!(proxy.metric("pinion_requests_total", &[]), 0.0);
    });
}

#[test]
fn only_who_is_trusted_is_believed() {
    let own = own_ip();
    for (listener, header, expected) in [
        (
            format!("proxy_protocol = {{ mode = \"require\", trusted = [\"{own}\"] }}"),
            V1,
            Ok("192.0.2.7".to_owned()),
        ),
        (
            "proxy_protocol = { mode = \"require\", trusted = [\"203.0.113.0/24\"] }".to_owned(),
            V1,
            Err("proxy_header_untrusted"),
        ),
        (
            format!("proxy_protocol = \"require\"\nforwarding.trusted_proxies = [\"{own}\"]"),
            V1,
            Ok("192.0.2.7".to_owned()),
        ),
        (
            "proxy_protocol = \"require\"\nforwarding.trusted_proxies = [\"203.0.113.0/24\"]".to_owned(),
            V1,
            Err("proxy_header_untrusted"),
        ),
        (
            format!("proxy_protocol = {{ mode = \"optional\", trusted = [\"{own}\"] }}"),
            V1,
            Ok("192.0.2.7".to_owned()),
        ),
        (
            format!("proxy_protocol = {{ mode = \"optional\", trusted = [\"{own}\"] }}"),
            "",
            Ok("own".to_owned()),
        ),
        (
            "proxy_protocol = { mode = \"optional\", trusted = [\"203.0.113.0/24\"] }".to_owned(),
            "",
            Ok("own".to_owned()),
        ),
        // It is the beginning of a request then, and no good one.
        (
            "proxy_protocol = { mode = \"optional\", trusted = [\"203.0.113.0/24\"] }".to_owned(),
            V1,
            Err("bad_request"),
        ),
    ] {
        on_tcp(
            |driver| logging(driver).listener(&listener),
            |stage| {
                let mut client = stage.client();
                // Over loopback the client's address is one of two: the listener's own or 127.0.0.1.
                let own = client.local().ip().to_string();
                let believed = own == own_ip().to_string() || !listener.contains(&own_ip().to_string());
                if !believed {
                    return;
                }
                match &expected {
                    Ok(ip) => {
                        let ip = if ip == "own" { own } else { ip.clone() };
                        assert_eq!(forwarded(&mut client, &stage.upstream, header), Some(ip), "{listener}");
                    }
                    Err(fault) => {
                        client.send([header.as_bytes(), get("/").as_bytes()].concat());
                        client.expect_gone();
                        stage.proxy.expect_faults(fault, 1);
                    }
                }
            },
        );
    }
}

#[test]
fn forwarded_headers_are_believed_by_the_source() {
    let trusted = "forwarding.trusted_proxies = [\"192.0.2.7\"]\nproxy_protocol = { mode = \"require\", trusted = [\"127.0.0.0/8\"] }";
    on_tcp(
        |driver| logging(driver).listener(trusted),
        |stage| {
            for (header, expected) in [
                (V1, "203.0.113.9, 192.0.2.7"),
                ("PROXY TCP4 192.0.2.8 198.51.100.2 4711 443\r\n", "192.0.2.8"),
                // The sender itself is not in the list of those whose forwarded headers count.
                ("PROXY UNKNOWN\r\n", "own"),
            ] {
                let mut client = stage.client();
                let own = client.local().ip().to_string();
                client.send(format!(
                    "{header}GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n"
                ));
                let mut end = stage.upstream.accept();
                let expected = if expected == "own" { own } else { expected.to_owned() };
                assert_eq!(end.request().get("x-forwarded-for"), Some(&*expected));
                end.send("HTTP/1.1 204 x\r\nConnection: close\r\n\r\n");
                assert_eq!(client.response().status(), 204);
            }
        },
    );
}

#[test]
fn what_it_says_is_logged() {
    on_tcp(requiring, |stage| {
        let ssl = [
            &[0x20, 0, 33 + 3, 3, 0, 0, 0, 0, 0x21, 0, 7][..],
            b"TLSv1.3",
            &[0x22, 0, 9],
            b"client-\xff1",
            &[0x23, 0, 3],
            b"AES",
            &[0x29, 0, 0],
        ]
        .concat();
        let rest = [&V4[..], &[1, 0, 2], b"h2", &[2, 0, 9], b"a.example", &[5, 0, 2, 0xab, 1], &ssl].concat();
        let mut client = stage.client();
        let sender = client.local().to_string();
        forwarded(&mut client, &stage.upstream, v2(0x21, 0x11, &rest));
        let expected = serde_json::json!({
            "sender": sender,
            "destination": "198.51.100.2:443",
            "authority": "a.example",
            "alpn": "h2",
            "tls_version": "TLSv1.3",
            "tls_cipher": "AES",
            "tls_common_name": "client-\\xff1",
            "unique_id": "ab01",
        });
        assert_eq!(logged(&stage.proxy, 1)["proxy_protocol"], expected);
        // One that was not verified names nobody.
        let unverified = [&V4[..], &[0x20, 0, 9, 3, 0, 0, 0, 1, 0x22, 0, 1, b'x']].concat();
        let mut client = stage.client();
        forwarded(&mut client, &stage.upstream, v2(0x21, 0x11, &unverified));
        let line = logged(&stage.proxy, 2);
        assert_eq!(line["proxy_protocol"]["tls_common_name"], Value::Null);
        assert_eq!(line["truncated"], false);
    });
}

#[test]
fn before_a_connection_that_is_passed_on() {
    on_all(
        |driver| requiring(driver).listener("protocol = \"tcp\"\ncluster = \"app\"").routes(""),
        |stage| {
            let mut client = stage.client();
            client.send(format!("{V1}hello"));
            let mut end = stage.upstream.accept();
            assert_eq!(end.read_exact(5), b"hello");
            end.send("you");
            assert_eq!(client.read_exact(3), b"you");
            drop((client, end));
            let line = logged(&stage.proxy, 1);
            assert_eq!(line["downstream_remote_address"], "192.0.2.7:4711");
            assert_eq!((&line["bytes_received"], &line["bytes_sent"]), (&5.into(), &3.into()));
            stage.expect_over(1);
            stage.proxy.expect_no_faults();
        },
    );
}

#[test]
fn a_moved_connection_stays_its_clients() {
    both(|driver| {
        let upstream = Upstream::serve(|request| ok(request.get("x-forwarded-for").unwrap_or_default()));
        // One shard accepts at a Unix socket and hands on.
        let proxy = Setup::sharded(driver, 3)
            .address("unix:{folder}/web.sock")
            .listener("proxy_protocol = \"require\"")
            .start(&[&upstream]);
        let path = proxy.pinion.folder().join("web.sock");
        let mut clients: Vec<_> = (0..12).map(|_| Link::connect_unix(&path)).collect();
        for round in 0..2 {
            for (number, client) in clients.iter_mut().enumerate() {
                let header = format!("PROXY TCP4 192.0.2.{number} 198.51.100.2 1 2\r\n");
                let header = if round == 0 { &*header } else { "" };
                client.send(format!("{header}{}", get("/")));
                assert_eq!(client.response().text(), format!("192.0.2.{number}"));
            }
        }
        assert!(proxy.metric("pinion_shard_connections_parked_total", &[("direction", "in")]) >= 1.0);
        proxy.expect_no_faults();
    });
}
