//! PROXY headers that endpoints get: what they say, and that a connection with one serves one client.

use crate::support::{Driver, eventually, free_address};
use crate::tcp_pass::tcp;
use crate::tunnels::{logged, on_tcp, on_unix};
use crate::wire::{Link, Setup, Upstream, both, get, ok, own_ip};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use crate::proxy_header_in::{V4, v2};

/// Reads a version 2 header: command and family, and what follows.
#[track_caller]
fn read_v2(end: &mut Link) -> (u8, u8, Vec<u8>) {
    let fixed = end.read_exact(16);
    assert_eq!(fixed[..12], *b"\r\n\r\n\0\r\nQUIT\n");
    let length = u16::from_be_bytes([fixed[14], fixed[15]]);
    (fixed[12], fixed[13], end.read_exact(length.into()))
}

/// Both addresses of `family` 0x11, as its 12 bytes.
fn v4_bytes(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let ip = |address: SocketAddr| match address.ip() {
        std::net::IpAddr::V4(ip) => ip.octets(),
        std::net::IpAddr::V6(ip) => panic!("{ip}"),
    };
    let ports = [source.port().to_be_bytes(), destination.port().to_be_bytes()];
    [ip(source), ip(destination), [ports[0][0], ports[0][1], ports[1][0], ports[1][1]]].concat()
}

#[test]
fn version_1() {
    on_tcp(
        |driver| tcp(driver).cluster("proxy_protocol = \"v1\""),
        |stage| {
            let mut client = stage.client();
            client.send("hello");
            let mut end = stage.upstream.accept();
            let (from, to) = (client.local(), stage.proxy.pinion.address("web"));
            let line = format!("PROXY TCP4 {} {} {} {}\r\n", from.ip(), to.ip(), from.port(), to.port());
            assert_eq!(end.read_until(b"\r\n"), line.as_bytes());
            assert_eq!(end.read_exact(5), b"hello");
            // It is no part of what the client sent.
            stage.proxy.expect_metric("pinion_cluster_tunnel_sent_bytes_total", &[], 5.0);
            end.send("bye");
            assert_eq!(client.read_exact(3), b"bye");
        },
    );
    on_unix(
        |driver| tcp(driver).cluster("proxy_protocol = \"v1\""),
        |stage| {
            let _client = stage.client();
            assert_eq!(stage.upstream.accept().read_until(b"\r\n"), b"PROXY UNKNOWN\r\n");
        },
    );
}

#[test]
fn version_2_with_values() {
    let all = "{ version = \"v2\", values = [\"authority\", \"alpn\", \"tls\", \"unique-id\", \"crc32c\"] }";
    on_tcp(
        |driver| tcp(driver).cluster(&format!("proxy_protocol = {all}")),
        |stage| {
            let mut ids = vec![];
            for _ in 0..2 {
                let client = stage.client();
                let mut end = stage.upstream.accept();
                let (command, family, rest) = read_v2(&mut end);
                assert_eq!((command, family), (0x21, 0x11));
                let (addresses, values) = rest.split_at(12);
                assert_eq!(addresses, v4_bytes(client.local(), stage.proxy.pinion.address("web")));
                // An id of 16 bytes, and a checksum; nothing is known of a name, a protocol or TLS.
                assert_eq!(
                    (&values[..3], &values[19..22], values.len()),
                    (&[5, 0, 16][..], &[3, 0, 4][..], 26)
                );
                ids.push(values[3..19].to_vec());
                drop((client, end));
                let id: String = values[3..19].iter().map(|byte| format!("{byte:02x}")).collect();
                assert_eq!(logged(&stage.proxy, ids.len())["request_id"], id);
            }
            assert_ne!(ids[0], ids[1]);
        },
    );
    on_unix(
        |driver| tcp(driver).cluster("proxy_protocol = \"v2\""),
        |stage| {
            let _client = stage.client();
            assert_eq!(read_v2(&mut stage.upstream.accept()), (0x21, 0x00, vec![]));
        },
    );
}

#[test]
fn what_came_in_goes_out() {
    let values = [
        &[1, 0, 2][..],
        b"h2",
        &[2, 0, 9],
        b"a.example",
        &[5, 0, 2, 0xab, 1],
        &[0x20, 0, 15, 1, 0, 0, 0, 1, 0x21, 0, 7],
        b"TLSv1.3",
    ]
    .concat();
    let came = [&V4[..], &values].concat();
    let cut = |ranges: &[std::ops::Range<usize>]| {
        ranges.iter().fold(V4.to_vec(), |mut all, range| {
            all.extend_from_slice(&values[range.clone()]);
            all
        })
    };
    for (wanted, expected) in [
        ("\"v2\"", cut(&[0..17, 22..40])),
        ("{ version = \"v2\", values = [] }", V4.to_vec()),
        ("{ version = \"v2\", values = [\"unique-id\", \"alpn\"] }", cut(&[0..5, 17..22])),
        ("{ version = \"v2\", values = [\"tls\"] }", [&V4[..], &values[22..40]].concat()),
    ] {
        on_tcp(
            |driver| {
                tcp(driver)
                    .listener("proxy_protocol = \"require\"")
                    .cluster(&format!("proxy_protocol = {wanted}"))
            },
            |stage| {
                let mut client = stage.client();
                client.send(v2(0x21, 0x11, &came));
                assert_eq!(read_v2(&mut stage.upstream.accept()), (0x21, 0x11, expected.clone()), "{wanted}");
                // A header of the sender's own connection leaves its real addresses.
                let mut client = stage.client();
                client.send(v2(0x20, 0, &[]));
                let (_, _, rest) = read_v2(&mut stage.upstream.accept());
                assert_eq!(rest[..12], v4_bytes(client.local(), stage.proxy.pinion.address("web")));
            },
        );
    }
}

#[test]
fn the_name_of_a_client_hello() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver)
            .listener("protocol = \"tls-passthrough\"\ncluster = \"app\"")
            .routes("")
            .cluster("proxy_protocol = \"v2\"")
            .start(&[&upstream]);
        let text = include_str!("../../../core/src/tls/hellos/openssl.txt");
        let digits: Vec<u8> =
            text.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
        let hello: Vec<u8> = digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect();
        let mut client = proxy.client();
        client.send(&hello);
        let mut end = upstream.accept();
        let (_, _, rest) = read_v2(&mut end);
        assert_eq!(rest[12..], [&[2, 0, 10][..], b"db.example"].concat());
        assert_eq!(end.read_exact(hello.len()), hello);
    });
}

#[test]
fn requests_have_connections_of_their_own() {
    on_tcp(
        |driver| Setup::on(driver).cluster("proxy_protocol = \"v1\""),
        |stage| {
            for client in [stage.client(), stage.client()] {
                let mut client = client;
                for _ in 0..2 {
                    client.send(get("/"));
                    let mut end = stage.upstream.accept();
                    let line = String::from_utf8(end.read_until(b"\r\n")).unwrap();
                    let (ip, port) = (client.local().ip(), client.local().port());
                    assert!(line.starts_with(&format!("PROXY TCP4 {ip} ")), "{line}");
                    assert!(line.contains(&format!(" {port} ")), "{line}");
                    assert_eq!(end.request().head.line, "GET / HTTP/1.1");
                    end.send(ok("x"));
                    assert_eq!(client.response().text(), "x");
                    end.expect_closed();
                }
            }
            stage.proxy.expect_metric("pinion_cluster_connections_active", &[], 0.0);
            assert_eq!(stage.proxy.metric("pinion_cluster_connections_reused_total", &[]), 0.0);
            stage.proxy.expect_no_faults();
        },
    );
}

#[test]
fn before_tunnels_too() {
    on_tcp(
        |driver| Setup::on(driver).cluster("proxy_protocol = \"v1\""),
        |stage| {
            let mut client = stage.client();
            client.send(crate::tunnels::ASK);
            let mut end = stage.upstream.accept();
            assert!(end.read_until(b"\r\n").starts_with(b"PROXY TCP4 "));
            end.request();
            end.send(crate::tunnels::SWITCH);
            assert_eq!(client.head().status(), 101);
            client.send("x");
            assert_eq!(end.read_exact(1), b"x");
        },
    );
}

/// A program that is killed when the test is over.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// HAProxy with that configuration, once it listens at `door`; `None` where there is none.
fn haproxy(folder: &std::path::Path, text: &str, door: SocketAddr) -> Option<Running> {
    let file = folder.join("haproxy.cfg");
    let head = "defaults\n mode tcp\n timeout connect 10s\n timeout client 60s\n timeout server 60s\n";
    std::fs::write(&file, format!("{head}{text}")).unwrap();
    let started = Command::new("haproxy")
        .args(["-db", "-f"])
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let running = Running(started.ok()?);
    eventually("HAProxy listens", || std::net::TcpStream::connect(door).is_ok());
    Some(running)
}

#[test]
fn nginx_takes_them() {
    both(|driver: Driver| {
        for version in ["v1", "v2"] {
            let folder = tempfile::tempdir().unwrap();
            let door = free_address();
            let text = format!(
                "daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n\
                 client_body_temp_path {folder};\nproxy_temp_path {folder};\nfastcgi_temp_path {folder};\n\
                 uwsgi_temp_path {folder};\nscgi_temp_path {folder};\n\
                 server {{ listen {door} proxy_protocol; location / {{ return 200 \"$proxy_protocol_addr:$proxy_protocol_port\"; }} }}\n}}\n",
                folder = folder.path().display()
            );
            std::fs::write(folder.path().join("nginx.conf"), text).unwrap();
            let started = Command::new("nginx")
                .arg("-c")
                .arg(folder.path().join("nginx.conf"))
                .args([std::ffi::OsStr::new("-p"), folder.path().as_os_str()])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn();
            let Ok(child) = started else {
                println!("SKIPPED: no nginx");
                return;
            };
            let _running = Running(child);
            eventually("nginx listens", || std::net::TcpStream::connect(door).is_ok());
            let proxy = Setup::on(driver)
                .cluster(&format!("proxy_protocol = \"{version}\""))
                .start_with(&[door.to_string()]);
            for _ in 0..2 {
                let mut client = proxy.client();
                for _ in 0..2 {
                    client.send(get("/"));
                    assert_eq!(client.response().text(), client.local().to_string(), "{version}");
                }
            }
            proxy.expect_no_faults();
        }
    });
}

#[test]
fn haproxy_sends_and_takes_them() {
    both(|driver: Driver| {
        for version in ["v1", "v2"] {
            let folder = tempfile::tempdir().unwrap();
            let (front, back) = (free_address(), free_address());
            let upstream = Upstream::start();
            // client -> HAProxy (front) -> pinion -> HAProxy (back) -> upstream
            let proxy = tcp(driver)
                .listener("proxy_protocol = \"require\"")
                .cluster(&format!("proxy_protocol = \"{version}\""))
                .start_with(&[back.to_string()]);
            let send = if version == "v1" {
                "send-proxy"
            } else {
                "send-proxy-v2-ssl-cn proxy-v2-options authority,unique-id,crc32c"
            };
            let text = format!(
                "listen front\n bind {front}\n server pinion {} {send}\n\
                 listen back\n bind {back} accept-proxy\n server app {} send-proxy\n",
                proxy.pinion.address("web"),
                upstream.address()
            );
            let Some(_running) = haproxy(folder.path(), &text, front) else {
                println!("SKIPPED: no haproxy");
                return;
            };
            // The look whether it listens came this far as well, and ended.
            let mut client = Link::connect(front);
            client.send("hello");
            let local = client.local();
            let expected =
                format!("PROXY TCP4 {} {} {} {}\r\n", local.ip(), front.ip(), local.port(), front.port());
            let mut end = loop {
                let mut end = upstream.accept();
                if end.read_until(b"\r\n") == expected.as_bytes() {
                    break end;
                }
            };
            assert_eq!(end.read_exact(5), b"hello");
            end.send("you");
            assert_eq!(client.read_exact(3), b"you");
            assert_eq!(proxy.metric("pinion_faults_total", &[("stage", "accept")]), 0.0);
            assert!(own_ip().is_loopback());
        }
    });
}
