//! TLS that is passed on by the name that the client asks for.

use crate::support::Driver;
use crate::tunnels::logged;
use crate::wire::{MOMENT, Proxy, Setup, Upstream, both, noise};
use serde_json::Value;
use std::process::{Command, Stdio};

/// A ClientHello of OpenSSL that asks for `db.example`.
const OPENSSL: &str = include_str!("../../../core/src/tls/hellos/openssl.txt");

fn recorded(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// A ClientHello that asks for `name`.
fn hello(name: &str) -> Vec<u8> {
    let long = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
    let server_name = long(&[&[0][..], &long(name.as_bytes())].concat());
    let extensions = if name.is_empty() { vec![] } else { [&[0, 0][..], &long(&server_name)].concat() };
    let body = [&[3, 3][..], &[7; 32], &[0], &[0, 2, 0x13, 1], &[1, 0], &long(&extensions)].concat();
    let message = [&[1][..], &(body.len() as u32).to_be_bytes()[1..], &body].concat();
    [&[22, 3, 1][..], &long(&message)].concat()
}

/// The same message in records of `size` bytes.
fn in_records(hello: &[u8], size: usize) -> Vec<u8> {
    let record = |part: &[u8]| [&[22, 3, 1, 0, part.len() as u8], part].concat();
    hello[5..].chunks(size).flat_map(record).collect()
}

/// Three clusters by name, and the rest.
struct Names {
    proxy: Proxy,
    exact: Upstream,
    wild: Upstream,
    rest: Upstream,
}

fn names(driver: Driver, more: &str) -> Names {
    let (exact, wild, rest) = (Upstream::start(), Upstream::start(), Upstream::start());
    let routes = "[[routes]]\nsni = [\"a.example\"]\ncluster = \"app\"\n[[routes]]\nsni = [\"*.example\", \"db.example\"]\ncluster = \"wild\"\n";
    let clusters = format!(
        "[[clusters]]\nname = \"wild\"\nendpoints = [{:?}]\n[[clusters]]\nname = \"rest\"\nendpoints = [{:?}]",
        wild.address(),
        rest.address()
    );
    let proxy = Setup::on(driver)
        .proxy("access_log = { path = \"{folder}/access.log\" }")
        .listener("protocol = \"tls-passthrough\"")
        .listener(more)
        .routes(routes)
        .more(&clusters)
        .start(&[&exact]);
    Names { proxy, exact, wild, rest }
}

#[test]
fn the_name_chooses_and_nothing_is_lost() {
    both(|driver| {
        let names = names(driver, "cluster = \"rest\"");
        let cases = [
            ("a.example", &names.exact, "tls a.example"),
            ("A.Example.", &names.exact, "tls a.example"),
            ("b.example", &names.wild, "tls *.example+1"),
            ("x.y.example", &names.wild, "tls *.example+1"),
            ("db.example", &names.wild, "tls *.example+1"),
            ("example", &names.rest, "tcp web"),
            ("other.org", &names.rest, "tcp web"),
            ("", &names.rest, "tcp web"),
        ];
        for (number, (name, upstream, route)) in cases.into_iter().enumerate() {
            let bytes = [hello(name), b"and more".to_vec()].concat();
            let mut client = names.proxy.client();
            client.send(&bytes);
            let mut end = upstream.accept();
            assert_eq!(end.read_exact(bytes.len()), bytes, "{name}");
            end.send("server hello");
            assert_eq!(client.read_exact(12), b"server hello");
            drop(end);
            client.expect_closed();
            drop(client);
            let line = logged(&names.proxy, number + 1);
            let lower = name.trim_end_matches('.').to_ascii_lowercase();
            for (key, value) in [
                ("requested_server_name", if name.is_empty() { Value::Null } else { lower.into() }),
                ("protocol", "TLS".into()),
                ("route_name", route.into()),
                ("bytes_received", bytes.len().into()),
                ("bytes_sent", 12.into()),
            ] {
                assert_eq!(line[key], value, "{key} of {line:#}");
            }
        }
        names.proxy.expect_no_faults();
    });
}

#[test]
fn a_hello_in_any_pieces() {
    both(|driver| {
        let names = names(driver, "");
        let whole = recorded(OPENSSL);
        // Byte by byte; in records of few bytes, torn anywhere; records byte by byte.
        let mut client = names.proxy.client();
        client.send_pieces(whole.chunks(1));
        assert_eq!(names.wild.accept().read_exact(whole.len()), whole);
        drop(client);
        for size in [1, 7, 100] {
            let bytes = in_records(&whole, size);
            for cut in [1, 5, 6, bytes.len() / 2, bytes.len() - 1] {
                let mut client = names.proxy.client();
                let (first, rest) = bytes.split_at(cut);
                client.send_pieces([first, rest]);
                assert_eq!(names.wild.accept().read_exact(bytes.len()), bytes, "{size}, {cut}");
            }
        }
        let bytes = in_records(&hello("a.example"), 3);
        let mut client = names.proxy.client();
        for byte in &bytes {
            client.send([*byte]);
            std::thread::sleep(MOMENT / 2);
        }
        assert_eq!(names.exact.accept().read_exact(bytes.len()), bytes);
        drop(client);
        names.proxy.expect_no_faults();
    });
}

#[test]
fn a_large_hello_up_to_the_limit() {
    both(|driver| {
        let names = names(driver, "");
        // Session tickets and post-quantum keys make them large: beyond a small buffer, in two records.
        let long = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
        let with = |padding: usize| {
            let small = hello("a.example");
            let extensions_at = 5 + 4 + 2 + 32 + 1 + 4 + 2;
            let extensions = [&small[extensions_at + 2..], &[0, 21], &long(&noise(padding, 3))[..]].concat();
            let body = [&small[9..extensions_at], &long(&extensions)].concat();
            let message = [&[1][..], &(body.len() as u32).to_be_bytes()[1..], &body].concat();
            let (first, second) = message.split_at(message.len() / 2);
            [&[22, 3, 1][..], &long(first), &[22, 3, 3], &long(second)].concat()
        };
        let largest = with(16_384 - with(0).len());
        assert_eq!(largest.len(), 16_384);
        let mut client = names.proxy.client();
        client.send(&largest);
        assert_eq!(names.exact.accept().read_exact(largest.len()), largest);
        let mut client = names.proxy.client();
        client.send(with(16_384 - with(0).len() + 1));
        client.expect_gone();
        names.proxy.expect_faults("hello_too_large", 1);
    });
}

#[test]
fn what_can_not_be_routed_is_closed() {
    both(|driver| {
        let names = names(driver, "timeouts.header = \"1s\"");
        let twice = {
            let mut bytes = hello("a.example");
            // A name with a NUL in it.
            let at = bytes.windows(9).position(|part| part == b"a.example").unwrap();
            bytes[at + 1] = 0;
            bytes
        };
        for (number, (bytes, fault, flag)) in [
            (b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n".to_vec(), "hello_not_tls", "DPE"),
            (b"\x16\x03\x01\x00\x00".to_vec(), "hello_malformed", "DPE"),
            (twice, "hello_malformed", "DPE"),
            (hello("other.org"), "no_route", "NR"),
            (hello(""), "no_route", "NR"),
            (hello("a.example")[..20].to_vec(), "hello_timeout", "DT"),
        ]
        .into_iter()
        .enumerate()
        {
            let before = names.proxy.metric("pinion_faults_total", &[("reason", fault)]);
            let mut client = names.proxy.client();
            client.send(&bytes);
            client.expect_gone();
            names.proxy.expect_metric("pinion_faults_total", &[("reason", fault)], before + 1.0);
            let line = logged(&names.proxy, number + 1);
            assert_eq!(
                (&line["response_flags"], &line["response_code_details"]),
                (&flag.into(), &fault.into())
            );
        }
        assert_eq!(logged(&names.proxy, 4)["requested_server_name"], "other.org");
        for upstream in [&names.exact, &names.wild, &names.rest] {
            upstream.expect_no_connection();
        }
        // Who says nothing and leaves has done nothing wrong; who stays is closed in time.
        let faults = names.proxy.metric("pinion_faults_total", &[]);
        drop(names.proxy.client());
        names.proxy.expect_metric("pinion_shard_connections_active", &[], 0.0);
        assert_eq!(names.proxy.metric("pinion_faults_total", &[]), faults);
        let mut client = names.proxy.client();
        client.expect_gone();
        names.proxy.expect_faults("hello_timeout", 2);
        names.proxy.expect_metric("pinion_shard_buffers_in_use", &[], 0.0);
    });
}

#[test]
fn one_that_has_said_nothing_is_closed_when_the_proxy_drains() {
    both(|driver| {
        let mut names = names(driver, "");
        let mut client = names.proxy.client();
        names.proxy.expect_metric("pinion_shard_connections_active", &[], 1.0);
        names.proxy.pinion.signal(crate::support::Signal::TERM);
        client.expect_gone();
        assert!(names.proxy.pinion.wait_exit().success());
    });
}

/// A certificate for `localhost` in files, made by openssl.
fn certificate(folder: &std::path::Path) -> bool {
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=localhost", "-keyout"])
        .arg(folder.join("key.pem"))
        .arg("-out")
        .arg(folder.join("cert.pem"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    made.is_ok_and(|status| status.success())
}

#[test]
fn a_real_handshake_passes_through() {
    let folder = tempfile::tempdir().unwrap();
    if !certificate(folder.path()) {
        println!("SKIPPED: no openssl");
        return;
    }
    both(|driver| {
        let port = crate::support::free_address();
        let mut server = Command::new("openssl")
            .args(["s_server", "-quiet", "-rev", "-accept", &port.to_string(), "-alpn", "echo", "-key"])
            .arg(folder.path().join("key.pem"))
            .arg("-cert")
            .arg(folder.path().join("cert.pem"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        crate::support::eventually("the server listens", || std::net::TcpStream::connect(port).is_ok());
        let proxy = Setup::on(driver)
            .proxy("access_log = { path = \"{folder}/access.log\" }")
            .listener("protocol = \"tls-passthrough\"")
            .routes("[[routes]]\nsni = [\"*.test\"]\ncluster = \"app\"\n")
            .start_with(&[port.to_string()]);
        let address = proxy.pinion.address("web").to_string();
        for version in ["-tls1_2", "-tls1_3"] {
            let mut client = Command::new("openssl")
                .args(["s_client", "-quiet", "-connect", &address, "-servername", "Echo.Test", version])
                .args(["-alpn", "echo", "-verify_return_error", "-CAfile"])
                .arg(folder.path().join("cert.pem"))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            use std::io::{BufRead, BufReader, Write};
            client.stdin.as_mut().unwrap().write_all(b"stressed\n").unwrap();
            let mut line = String::new();
            BufReader::new(client.stdout.take().unwrap()).read_line(&mut line).unwrap();
            assert_eq!(line, "desserts\n", "{version}");
            client.kill().unwrap();
            client.wait().unwrap();
        }
        for number in [1, 2] {
            assert_eq!(logged(&proxy, number)["requested_server_name"], "echo.test");
        }
        server.kill().unwrap();
        server.wait().unwrap();
    });
}

#[test]
fn what_comes_behind_a_hello_in_bulk() {
    both(|driver| {
        let names = names(driver, "");
        let bytes = [hello("a.example"), noise(3_000_017, 11)].concat();
        let mut client = names.proxy.client();
        std::thread::scope(|scope| {
            let mut sender = client.twin();
            let sent = &bytes;
            scope.spawn(move || {
                sender.send(sent);
                sender.finish_sending();
            });
            let (received, _) = names.exact.accept().read_to_end();
            assert!(received == bytes, "{} bytes of {}", received.len(), bytes.len());
        });
        client.expect_closed();
        names.proxy.expect_no_faults();
    });
}
