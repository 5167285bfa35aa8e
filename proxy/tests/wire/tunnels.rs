//! Upgraded connections: how a tunnel begins and what passes through it (`tunnel_ends`: how it ends, `connect`:
//! those that CONNECT asks for).
//!
//! Each test runs on both drivers, most of them over TCP and over Unix sockets.

use crate::support::{Driver, PATIENCE, eventually};
use crate::wire::{Ended, Link, Proxy, Setup, Upstream, both, get, noise, ok, own_ip, text};
use serde_json::Value;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread::scope;
use std::time::Duration;

pub(crate) const ASK: &str = "GET /chat?x=1 HTTP/1.1\r\nHost: test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
pub(crate) const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
pub(crate) const CONNECT: &str = "CONNECT db.internal:5432 HTTP/1.1\r\nHost: db.internal:5432\r\n\r\n";

/// A running proxy whose sockets are of one kind.
pub(crate) struct Stage {
    pub(crate) proxy: Proxy,
    pub(crate) upstream: Upstream,
    /// Where it listens, if that is a Unix socket.
    pub(crate) path: Option<PathBuf>,
}

impl Stage {
    pub(crate) fn client(&self) -> Link {
        self.path.as_ref().map_or_else(|| self.proxy.client(), |path| Link::connect_unix(path))
    }

    /// A WebSocket handshake; both ends of the tunnel.
    pub(crate) fn open(&self) -> (Link, Link) {
        let mut client = self.client();
        client.send(ASK);
        let mut end = self.upstream.accept();
        end.request();
        end.send(SWITCH);
        assert_eq!(client.head().status(), 101);
        (client, end)
    }

    /// Nothing of a tunnel is left but in the totals.
    pub(crate) fn expect_over(&self, tunnels: u64) {
        for gauge in [
            "pinion_listener_tunnels_active",
            "pinion_cluster_requests_active",
            "pinion_cluster_connections_active",
            "pinion_endpoint_connections_active",
            "pinion_shard_requests_active",
            "pinion_shard_connections_active",
        ] {
            self.proxy.expect_metric(gauge, &[], 0.0);
        }
        self.proxy.expect_metric("pinion_listener_tunnels_total", &[("listener", "web")], tunnels as f64);
    }
}

pub(crate) fn on_tcp(setup: impl Fn(Driver) -> Setup + Sync, test: impl Fn(&mut Stage) + Sync) {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = setup(driver).start(&[&upstream]);
        test(&mut Stage { proxy, upstream, path: None });
    });
}

pub(crate) fn on_unix(setup: impl Fn(Driver) -> Setup + Sync, test: impl Fn(&mut Stage) + Sync) {
    both(|driver| {
        let folder = tempfile::tempdir().unwrap();
        let upstream = Upstream::start_unix(&folder.path().join("app.sock"));
        let proxy = setup(driver).address("unix:{folder}/web.sock").start(&[&upstream]);
        let path = Some(proxy.pinion.folder().join("web.sock"));
        test(&mut Stage { proxy, upstream, path });
    });
}

pub(crate) fn on_all(setup: impl Fn(Driver) -> Setup + Sync, test: impl Fn(&mut Stage) + Sync) {
    on_tcp(&setup, &test);
    on_unix(&setup, &test);
}

pub(crate) fn logging(driver: Driver) -> Setup {
    Setup::on(driver).proxy("access_log = { path = \"{folder}/access.log\" }")
}

/// The last of `count` lines of the access log.
pub(crate) fn logged(proxy: &Proxy, count: usize) -> Value {
    let path = proxy.pinion.folder().join("access.log");
    let read = || std::fs::read_to_string(&path).unwrap_or_default();
    eventually("the log's lines", || read().lines().count() >= count);
    serde_json::from_str(read().lines().nth(count - 1).unwrap()).unwrap()
}

#[test]
fn a_websocket() {
    on_all(logging, |stage| {
        let mut client = stage.client();
        // What the client says too early waits for the 101.
        client.send(format!("{ASK}early"));
        let mut end = stage.upstream.accept();
        let head = end.head();
        assert_eq!(head.line, "GET /chat?x=1 HTTP/1.1");
        assert_eq!((head.get("connection"), head.get("upgrade")), (Some("Upgrade"), Some("websocket")));
        assert_eq!(head.get("sec-websocket-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
        end.expect_quiet(Duration::from_millis(100));
        // What the upstream says behind it comes along.
        end.send(format!("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n{SWITCH}hello"));
        assert_eq!(client.head().status(), 103);
        let head = client.head();
        assert_eq!(head.line, "HTTP/1.1 101 Switching Protocols");
        assert_eq!((head.get("connection"), head.get("upgrade")), (Some("Upgrade"), Some("websocket")));
        assert_eq!(head.get("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert_eq!(head.fields.len(), 3, "{head:?}");
        assert_eq!(client.read_exact(5), b"hello");
        assert_eq!(end.read_exact(5), b"early");
        // Even what looks like HTTP is not read.
        for (one, other) in [("ping", "pong"), (&*get("/"), "HTTP/1.1 200 OK\r\n\r\n"), ("\0", "\r\n\r\n")] {
            client.send(one);
            assert_eq!(end.read_exact(one.len()), one.as_bytes());
            end.send(other);
            assert_eq!(client.read_exact(other.len()), other.as_bytes());
        }
        let proxy = &stage.proxy;
        proxy.expect_metric("pinion_listener_tunnels_active", &[("listener", "web")], 1.0);
        proxy.expect_metric("pinion_cluster_requests_active", &[], 1.0);
        proxy.expect_metric("pinion_cluster_connections_active", &[], 1.0);
        // It is no request in progress any more.
        proxy.expect_metric("pinion_shard_requests_active", &[], 0.0);
        client.finish_sending();
        end.expect_closed();
        end.send("bye");
        assert_eq!(client.read_exact(3), b"bye");
        drop(end);
        client.expect_closed();
        drop(client);
        stage.expect_over(1);
        proxy.expect_no_faults();
        let sent = 5 + 4 + get("/").len() + 1;
        let received = 5 + 4 + "HTTP/1.1 200 OK\r\n\r\n".len() + 4 + 3;
        let line = logged(proxy, 1);
        for (key, value) in [
            ("method", Value::from("GET")),
            ("path", "/chat?x=1".into()),
            ("response_code", 101.into()),
            ("response_flags", "-".into()),
            ("response_code_details", "via_upstream".into()),
            ("bytes_received", sent.into()),
            ("bytes_sent", received.into()),
            ("upstream_request_attempt_count", 1.into()),
        ] {
            assert_eq!(line[key], value, "{key} of {line:#}");
        }
        let labels = [("route", "all"), ("code_class", "1xx")];
        proxy.expect_metric("pinion_route_responses_total", &labels, 1.0);
        proxy.expect_metric("pinion_cluster_responses_total", &[("code_class", "1xx")], 1.0);
        let of_client = (ASK.len() + sent) as f64;
        proxy.expect_metric("pinion_listener_received_bytes_total", &[("listener", "web")], of_client);
        let relayed = |direction| proxy.metric("pinion_relay_bytes_total", &[("direction", direction)]);
        assert_eq!((relayed("upstream"), relayed("downstream")), (sent as f64, (received - 5) as f64));
    });
}

#[test]
fn torn_anywhere_it_is_the_same() {
    on_tcp(Setup::on, |stage| {
        let asked = format!("{ASK}early");
        let answered = format!("{SWITCH}hello");
        let both = asked.len().max(answered.len());
        for cut in (1..both).step_by(3) {
            let mut client = stage.client();
            let (first, rest) = asked.as_bytes().split_at(cut.min(asked.len()));
            client.send_pieces([first, rest]);
            let mut end = stage.upstream.accept();
            end.head();
            assert!(end.unread.is_empty(), "sent before the 101: {:?}", text(&end.unread));
            let (first, rest) = answered.as_bytes().split_at(cut.min(answered.len()));
            end.send_pieces([first, rest]);
            assert_eq!(client.head().status(), 101);
            assert_eq!(client.read_exact(5), b"hello");
            assert_eq!(end.read_exact(5), b"early");
        }
        stage.proxy.expect_no_faults();
    });
}

#[test]
fn an_upstream_may_refuse() {
    on_all(Setup::on, |stage| {
        let mut client = stage.client();
        // What comes behind is the next request then.
        client.send(format!("{ASK}{}", get("/next")));
        let mut end = stage.upstream.accept();
        end.request();
        end.expect_quiet(Duration::from_millis(50));
        end.send("HTTP/1.1 400 Bad Request\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nno");
        let response = client.response();
        assert_eq!((response.status(), response.text(), response.get("upgrade")), (400, "no", None));
        // Both connections go on.
        assert_eq!(end.request().head.line, "GET /next HTTP/1.1");
        end.send(ok("x"));
        assert_eq!(client.response().status(), 200);
        stage.proxy.expect_no_faults();
        assert_eq!(stage.proxy.metric("pinion_listener_tunnels_total", &[]), 0.0);
    });
}

#[test]
fn what_is_not_allowed_stays_behind() {
    let h2c = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n";
    let tcp = "POST /attach HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c, tcp\r\n\r\n";
    let with_body = ASK.replace("\r\n\r\n", "\r\nContent-Length: 2\r\n\r\nhi");
    let old = ASK.replace("HTTP/1.1", "HTTP/1.0");
    for (upgrades, request, passes) in [
        ("[\"websocket\"]", h2c, None),
        ("[\"*\"]", h2c, None),
        ("[]", ASK, None),
        ("[\"tcp\"]", ASK, None),
        ("[\"websocket\"]", tcp, None),
        ("[\"websocket\"]", &with_body, None),
        ("[\"websocket\"]", &old, None),
        ("[\"tcp\"]", tcp, Some("tcp")),
        ("[\"*\"]", tcp, Some("tcp")),
    ] {
        let setup = |driver| Setup::on(driver).listener(&format!("upgrades = {upgrades}"));
        on_tcp(setup, |stage| {
            let mut client = stage.client();
            client.send(request);
            let mut end = stage.upstream.accept();
            let asked = end.request();
            let fields = [asked.get("connection"), asked.get("upgrade"), asked.get("http2-settings")];
            if let Some(protocol) = passes {
                assert_eq!(fields, [Some("Upgrade"), Some(protocol), None], "{upgrades} {request:?}");
                end.send(format!(
                    "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n"
                ));
                assert_eq!(client.head().line, "HTTP/1.1 101 UPGRADED");
                end.send("x");
                assert_eq!(client.read_exact(1), b"x");
            } else {
                let closes = (asked.body == b"hi").then_some("close");
                assert_eq!(fields, [closes, None, None], "{upgrades} {request:?}");
                end.send(ok("plain"));
                assert_eq!(client.response().text(), "plain");
            }
            let offers = !(asked.body == b"hi" || request.contains("HTTP/1.0"));
            let stripped = f64::from(u8::from(passes.is_none() && offers));
            stage.proxy.expect_metric("pinion_listener_upgrades_stripped_total", &[], stripped);
        });
    }
}

#[test]
fn a_101_to_something_else_is_an_error() {
    // Allowed, but not offered.
    on_tcp(
        |driver| Setup::on(driver).listener("upgrades = [\"*\"]"),
        |stage| {
            for (count, upgrade) in
                ["Upgrade: tcp", "Upgrade: h2c", "Upgrade: websocket, tcp", "X: y"].iter().enumerate()
            {
                let mut client = stage.client();
                client.send(ASK);
                let mut end = stage.upstream.accept();
                end.request();
                end.send(format!("HTTP/1.1 101 x\r\nConnection: Upgrade\r\n{upgrade}\r\n\r\nsecret"));
                let response = client.response();
                assert_eq!(response.status(), 502, "{upgrade}");
                assert!(!response.text().contains("secret"));
                end.expect_gone();
                stage.proxy.expect_faults("upstream_malformed", count as u64 + 1);
            }
            assert_eq!(stage.proxy.metric("pinion_listener_tunnels_total", &[]), 0.0);
        },
    );
}

#[test]
fn it_is_asked_for_once_and_on_a_new_connection() {
    let setup = |driver| Setup::on(driver).route("retry = { attempts = 3, on = [\"5xx\", \"reset\"] }");
    on_tcp(setup, |stage| {
        let mut client = stage.client();
        client.send(get("/"));
        let mut idle = stage.upstream.accept();
        idle.request();
        idle.send(ok("x"));
        client.response();
        stage.proxy.expect_metric("pinion_cluster_requests_active", &[], 0.0);
        for status in ["", "HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n"] {
            client.send(ASK);
            let mut end = stage.upstream.accept();
            end.request();
            end.send(status);
            drop(end);
            assert_eq!(client.response().status(), 503);
        }
        stage.upstream.expect_no_connection();
        assert_eq!(stage.proxy.metric("pinion_cluster_retries_total", &[]), 0.0);
        // The idle connection is still good for others.
        client.send(get("/"));
        idle.request();
        idle.send(ok("x"));
        assert_eq!(client.response().status(), 200);
    });
}

#[test]
fn a_slow_reader_holds_the_sender_up() {
    on_all(Setup::on, |stage| {
        for upwards in [false, true] {
            let (client, end) = stage.open();
            let (mut reader, mut sender) = if upwards { (end, client) } else { (client, end) };
            // What kernels hold for the sockets, and one pipe.
            let sent = sender.send_until_blocked(256 << 20, Duration::from_secs(1));
            assert!(sent < 64 << 20, "{sent} bytes were taken");
            let held = stage.proxy.metric("pinion_shard_buffer_bytes", &[]);
            assert!(held < 2_000_000.0, "{held} bytes of buffers");
            sender.finish_sending();
            let (bytes, ended) = reader.read_to_end();
            assert_eq!((bytes.len(), ended), (sent, Ended::Closed));
            assert!(bytes.iter().all(|&byte| byte == b'x'));
        }
        stage.expect_over(2);
    });
}

/// Sends a pattern of `total` bytes in pieces of different sizes.
fn pour(mut link: Link, pattern: &[u8], total: usize) {
    let (mut sent, mut state) = (0, total as u64 | 1);
    while sent < total {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let start = sent % pattern.len();
        let piece = [1, 100, 5_000, 70_000, 400_000][(state >> 40) as usize % 5];
        let piece = &pattern[start..(start + piece).min(pattern.len()).min(start + total - sent)];
        link.send(piece);
        sent += piece.len();
    }
    link.finish_sending();
}

/// Reads exactly what [`pour`] sent, and the end.
fn drink(mut link: Link, pattern: &[u8], total: usize) {
    let mut seen = 0;
    while seen < total {
        if link.unread.is_empty() {
            assert!(link.has_more(PATIENCE) && !link.unread.is_empty(), "the end after {seen} of {total}");
        }
        let got = std::mem::take(&mut link.unread);
        let mut rest = &got[..];
        while !rest.is_empty() {
            let start = seen % pattern.len();
            let (now, later) = rest.split_at(rest.len().min(pattern.len() - start));
            assert!(now == &pattern[start..start + now.len()], "wrong bytes near {seen}");
            seen += now.len();
            rest = later;
        }
    }
    assert_eq!(seen, total);
    link.expect_closed();
}

fn exactly(stage: &Stage, total: usize) {
    let (client, end) = stage.open();
    // A prime length, so that what is lost, doubled or moved shows.
    let pattern = &noise(1_000_003, 9);
    scope(|scope| {
        let (one, other) = (client.twin(), end.twin());
        scope.spawn(|| pour(one, pattern, total));
        scope.spawn(|| pour(other, pattern, total));
        scope.spawn(|| drink(client, pattern, total));
        scope.spawn(|| drink(end, pattern, total));
    });
    stage.expect_over(1);
    stage.proxy.expect_no_faults();
    let relayed = |path| stage.proxy.metric("pinion_relay_bytes_total", &[("path", path)]);
    let (copied, spliced) = (relayed("copy"), relayed("splice"));
    assert_eq!(copied + spliced, 2.0 * total as f64);
    assert!(spliced > 0.0, "nothing was spliced");
}

#[test]
fn a_hundred_megabytes_each_way_over_tcp() {
    on_tcp(Setup::on, |stage| exactly(stage, 100_000_000));
}

#[test]
fn many_megabytes_each_way_over_unix_sockets() {
    on_unix(Setup::on, |stage| exactly(stage, 20_000_000));
}

#[test]
fn requests_are_answered_beside_a_busy_one() {
    on_tcp(Setup::on, |stage| {
        let (client, end) = stage.open();
        let over = AtomicBool::new(false);
        scope(|scope| {
            for (mut from, mut to) in [(client.twin(), end.twin()), (end, client)] {
                let over = &over;
                scope.spawn(move || {
                    while !over.load(Ordering::SeqCst) && from.try_send(&[b'x'; 256 * 1024]).is_ok() {}
                    from.finish_sending();
                });
                scope.spawn(move || while to.take_some(256 * 1024) {});
            }
            let mut other = stage.client();
            other.send(get("/"));
            let mut end = stage.upstream.accept();
            for _ in 0..100 {
                end.request();
                end.send(ok("x"));
                assert_eq!(other.response().status(), 200);
                other.send(get("/"));
            }
            over.store(true, Ordering::SeqCst);
        });
        stage.proxy.expect_metric("pinion_listener_tunnels_active", &[], 0.0);
        assert!(stage.proxy.metric("pinion_relay_bytes_total", &[("path", "splice")]) > 1_000_000.0);
    });
}

#[test]
fn an_idle_one_holds_no_buffer() {
    on_tcp(Setup::on, |stage| {
        let mut tunnels: Vec<_> = (0..30).map(|_| stage.open()).collect();
        for (client, end) in &mut tunnels {
            client.send("hi");
            assert_eq!(end.read_exact(2), b"hi");
        }
        stage.proxy.expect_metric("pinion_listener_tunnels_active", &[], 30.0);
        stage.proxy.expect_metric("pinion_shard_buffers_in_use", &[], 0.0);
        for (client, end) in &mut tunnels {
            end.send("ho");
            assert_eq!(client.read_exact(2), b"ho");
        }
        drop(tunnels);
        stage.expect_over(30);
    });
}

#[test]
fn it_holds_its_upstream_connection_to_the_end() {
    let setup =
        |driver| Setup::on(driver).cluster("limits.connections = 1\nlimits.pending_timeout = \"200ms\"");
    on_tcp(setup, |stage| {
        // An idle connection gives way to it.
        let mut other = stage.client();
        other.send(get("/"));
        let mut idle = stage.upstream.accept();
        idle.request();
        idle.send(ok("x"));
        other.response();
        stage.proxy.expect_metric("pinion_cluster_requests_active", &[], 0.0);
        let (client, end) = stage.open();
        idle.expect_gone();
        other.send(get("/"));
        assert_eq!(other.response().status(), 503);
        stage.proxy.expect_faults("pending_timeout", 1);
        stage.proxy.expect_metric("pinion_cluster_connections_active", &[], 1.0);
        drop((client, end));
        stage.proxy.expect_metric("pinion_cluster_connections_active", &[], 0.0);
        other.send(get("/"));
        let mut end = stage.upstream.accept();
        end.request();
        end.send(ok("x"));
        assert_eq!(other.response().status(), 200);
    });
}

#[test]
fn one_that_waits_for_a_connection_gets_a_new_one() {
    let setup =
        |driver| Setup::on(driver).cluster("limits.connections = 1\nlimits.pending_timeout = \"15s\"");
    on_tcp(setup, |stage| {
        let mut first = stage.client();
        first.send(get("/"));
        let mut end = stage.upstream.accept();
        end.request();
        let mut client = stage.client();
        client.send(ASK);
        stage.proxy.expect_metric("pinion_cluster_requests_pending", &[], 1.0);
        end.send(ok("x"));
        first.response();
        end.expect_gone();
        let mut end = stage.upstream.accept();
        end.request();
        end.send(SWITCH);
        assert_eq!(client.head().status(), 101);
        drop((client, end, first));
        stage.expect_over(1);
        stage.proxy.expect_no_faults();
    });
}

#[test]
fn it_outlives_a_reload() {
    on_tcp(Setup::on, |stage| {
        let (mut client, mut end) = stage.open();
        stage.proxy.pinion.write(&format!(
            "[[listeners]]\nname = \"other\"\naddress = \"{}:0\"\n[[routes]]\ndirect_response = {{ status = 204 }}\n",
            own_ip()
        ));
        assert_eq!(stage.proxy.pinion.reload().status, 200);
        stage.proxy.pinion.wait_generation(2);
        client.send("here");
        assert_eq!(end.read_exact(4), b"here");
        end.send("here");
        assert_eq!(client.read_exact(4), b"here");
        drop(end);
        client.expect_closed();
    });
}
