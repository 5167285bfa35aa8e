//! Upgraded connections and CONNECT: how a tunnel begins, what passes through it, how it ends.
//!
//! Each test runs on both drivers, most of them over TCP and over Unix sockets.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::scope;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Driver, PATIENCE, Signal, eventually};
use crate::wire::{Ended, Link, MOMENT, Proxy, Setup, Upstream, both, get, noise, ok, own_ip, text};

const ASK: &str = "GET /chat?x=1 HTTP/1.1\r\nHost: test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const CONNECT: &str = "CONNECT db.internal:5432 HTTP/1.1\r\nHost: db.internal:5432\r\n\r\n";

/// A running proxy whose sockets are of one kind.
struct Stage {
    proxy: Proxy,
    upstream: Upstream,
    /// Where it listens, if that is a Unix socket.
    path: Option<PathBuf>,
}

impl Stage {
    fn client(&self) -> Link {
        self.path.as_ref().map_or_else(|| self.proxy.client(), |path| Link::connect_unix(path))
    }

    /// A WebSocket handshake; both ends of the tunnel.
    fn open(&self) -> (Link, Link) {
        let mut client = self.client();
        client.send(ASK);
        let mut end = self.upstream.accept();
        end.request();
        end.send(SWITCH);
        assert_eq!(client.head().status(), 101);
        (client, end)
    }

    /// Nothing of a tunnel is left but in the totals.
    fn expect_over(&self, tunnels: u64) {
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

fn on_tcp(setup: impl Fn(Driver) -> Setup + Sync, test: impl Fn(&mut Stage) + Sync) {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = setup(driver).start(&[&upstream]);
        test(&mut Stage { proxy, upstream, path: None });
    });
}

fn on_unix(setup: impl Fn(Driver) -> Setup + Sync, test: impl Fn(&mut Stage) + Sync) {
    both(|driver| {
        let folder = tempfile::tempdir().unwrap();
        let upstream = Upstream::start_unix(&folder.path().join("app.sock"));
        let proxy = setup(driver).address("unix:{folder}/web.sock").start(&[&upstream]);
        let path = Some(proxy.pinion.folder().join("web.sock"));
        test(&mut Stage { proxy, upstream, path });
    });
}

fn on_all(setup: impl Fn(Driver) -> Setup + Sync, test: impl Fn(&mut Stage) + Sync) {
    on_tcp(&setup, &test);
    on_unix(&setup, &test);
}

fn logging(driver: Driver) -> Setup {
    Setup::on(driver).proxy("access_log = { path = \"{folder}/access.log\" }")
}

/// The last of `count` lines of the access log.
fn logged(proxy: &Proxy, count: usize) -> Value {
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
fn each_direction_ends_by_itself() {
    on_all(Setup::on, |stage| {
        let (mut client, mut end) = stage.open();
        client.send("all I have");
        client.finish_sending();
        assert_eq!(end.read_to_end(), (b"all I have".to_vec(), Ended::Closed));
        for part in ["one", "two"] {
            end.send(part);
            assert_eq!(client.read_exact(3), part.as_bytes());
        }
        end.finish_sending();
        client.expect_closed();

        let (mut client, mut end) = stage.open();
        end.finish_sending();
        client.expect_closed();
        for part in ["one", "two"] {
            client.send(part);
            assert_eq!(end.read_exact(3), part.as_bytes());
        }
        stage.proxy.expect_metric("pinion_listener_tunnels_active", &[], 1.0);
        client.finish_sending();
        end.expect_closed();
        drop((client, end));
        stage.expect_over(2);
        stage.proxy.expect_no_faults();
    });
}

#[test]
fn nothing_moves_for_too_long() {
    on_all(
        |driver| logging(driver).listener("timeouts.tunnel_idle = \"300ms\""),
        |stage| {
            let (mut client, mut end) = stage.open();
            client.expect_closed();
            end.expect_gone();
            stage.proxy.expect_faults("tunnel_idle", 1);
            stage.expect_over(1);
            let line = logged(&stage.proxy, 1);
            assert_eq!((&line["response_code"], &line["response_flags"]), (&101.into(), &"SI".into()));
            assert!(line["duration"].as_u64() >= Some(300_000), "{line}");
        },
    );
}

#[test]
fn it_is_not_idle_while_one_side_speaks() {
    on_tcp(
        |driver| {
            Setup::on(driver).listener("timeouts.tunnel_idle = \"3s\"\ntimeouts.idle = \"1s\"\ntimeouts.body = \"1s\"\ntimeouts.write = \"1s\"").route("timeout = \"1s\"").cluster("timeouts.first_byte = \"1s\"\ntimeouts.idle = \"1s\"")
        },
        |stage| {
            let (mut client, mut end) = stage.open();
            let start = Instant::now();
            // Beyond its own limit and all others, which mean nothing here.
            while start.elapsed() < Duration::from_millis(3_500) {
                end.send("tick");
                assert_eq!(client.read_exact(4), b"tick");
                std::thread::sleep(Duration::from_millis(100));
            }
            stage.proxy.expect_metric("pinion_listener_tunnels_active", &[], 1.0);
            assert_eq!(stage.proxy.metric("pinion_faults_total", &[]), 0.0);
        },
    );
}

#[test]
fn it_lasts_for_too_long() {
    on_tcp(
        |driver| logging(driver).listener("timeouts.tunnel_max = \"400ms\""),
        |stage| {
            let (mut client, mut end) = stage.open();
            while end.try_send(b"tick").is_ok() && client.take_some(1_000) {}
            end.expect_gone();
            stage.proxy.expect_faults("tunnel_timeout", 1);
            stage.expect_over(1);
            assert_eq!(logged(&stage.proxy, 1)["response_flags"], "DT");
        },
    );
}

#[test]
fn a_drain_gives_it_time_and_then_ends_it() {
    on_all(
        |driver| logging(driver).proxy("drain = \"1500ms\""),
        |stage| {
            let (mut client, mut end) = stage.open();
            let begun = Instant::now();
            stage.proxy.pinion.signal(Signal::TERM);
            stage.proxy.pinion.wait_stderr("draining");
            client.send("still there?");
            assert_eq!(end.read_exact(12), b"still there?");
            client.expect_closed();
            end.expect_gone();
            assert!(begun.elapsed() >= Duration::from_millis(1_500));
            assert!(stage.proxy.pinion.wait_exit().success());
            let line = logged(&stage.proxy, 1);
            assert_eq!((&line["response_code"], &line["response_flags"]), (&101.into(), &"DRN".into()));
            assert_eq!(
                (&line["bytes_received"], &line["response_code_details"]),
                (&12.into(), &"drained".into())
            );
        },
    );
}

#[test]
fn a_drain_waits_for_no_longer_than_it_lasts() {
    on_tcp(
        |driver| Setup::on(driver).proxy("drain = \"60s\""),
        |stage| {
            let (mut client, end) = stage.open();
            stage.proxy.pinion.signal(Signal::TERM);
            stage.proxy.pinion.wait_stderr("draining");
            drop(end);
            client.expect_closed();
            drop(client);
            // Sooner than the drain's end, which is beyond any patience here.
            assert!(PATIENCE < Duration::from_secs(60) && stage.proxy.pinion.wait_exit().success());
        },
    );
}

#[test]
fn resets() {
    on_tcp(logging, |stage| {
        let (mut client, mut end) = stage.open();
        end.send("last words");
        assert_eq!(client.read_exact(10), b"last words");
        end.reset();
        client.expect_closed();
        stage.proxy.expect_faults("tunnel_reset", 1);
        assert_eq!(logged(&stage.proxy, 1)["response_flags"], "UC");

        let (client, mut end) = stage.open();
        client.reset();
        end.expect_gone();
        stage.proxy.expect_faults("client_gone", 1);
        assert_eq!(logged(&stage.proxy, 2)["response_flags"], "DC");
        drop(end);
        stage.expect_over(2);
    });
}

#[test]
fn the_last_words_survive_a_client_that_goes_on_talking() {
    on_all(Setup::on, |stage| {
        let (mut client, mut end) = stage.open();
        // So few that they fit the client's receive buffer.
        let words = noise(50_000, 3);
        scope(|scope| {
            let mut talker = client.twin();
            scope.spawn(move || while talker.try_send(&[b'x'; 1_000]).is_ok() {});
            end.read_exact(5_000);
            end.send(&words);
            end.finish_sending();
            let of_words = [("direction", "downstream")];
            stage.proxy.expect_metric("pinion_relay_bytes_total", &of_words, words.len() as f64);
            // Not all was read: over TCP this resets.
            drop(end);
            stage.proxy.expect_metric("pinion_listener_tunnels_active", &[], 0.0);
            assert!(client.read_exact(words.len()) == words);
            client.expect_gone();
            drop(client);
        });
        stage.expect_over(1);
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

fn connecting(driver: Driver) -> Setup {
    logging(driver).routes(
        "[[routes]]\nname = \"db\"\nhosts = [\"db.internal\"]\nconnect = true\ncluster = \"app\"\n\
         response_headers = { set = { x-via = \"pinion\" } }\n\
         [[routes]]\nname = \"web\"\ncluster = \"app\"\n\
         [[routes]]\nname = \"own\"\nhosts = [\"own\"]\ndirect_response = { status = 200 }\n",
    )
}

#[test]
fn connect_where_it_is_allowed() {
    on_all(connecting, |stage| {
        for early in ["", "early"] {
            let mut client = stage.client();
            client.send(format!("{CONNECT}{early}"));
            let mut end = stage.upstream.accept();
            let head = client.head();
            assert_eq!((&*head.line, head.get("x-via")), ("HTTP/1.1 200 OK", Some("pinion")));
            assert_eq!(head.fields.len(), 1, "{head:?}");
            // The endpoint sees nothing of HTTP.
            assert_eq!(end.read_exact(early.len()), early.as_bytes());
            end.expect_quiet(Duration::from_millis(20));
            end.send("welcome");
            assert_eq!(client.read_exact(7), b"welcome");
            client.send("quit");
            client.finish_sending();
            assert_eq!(end.read_to_end(), (b"quit".to_vec(), Ended::Closed));
            end.send("bye");
            drop(end);
            assert_eq!(client.read_exact(3), b"bye");
            client.expect_closed();
        }
        stage.expect_over(2);
        stage.proxy.expect_no_faults();
        let line = logged(&stage.proxy, 2);
        for (key, value) in [
            ("method", Value::from("CONNECT")),
            ("authority", "db.internal:5432".into()),
            ("path", Value::Null),
            ("response_code", 200.into()),
            ("route_name", "db".into()),
            ("upstream_cluster", "app".into()),
            ("upstream_host", stage.upstream.address().into()),
            ("bytes_received", 9.into()),
            ("bytes_sent", 10.into()),
        ] {
            assert_eq!(line[key], value, "{key} of {line:#}");
        }
    });
}

#[test]
fn connect_where_it_is_not() {
    on_tcp(connecting, |stage| {
        for (count, host) in ["other.internal:5432", "own:80", "127.0.0.1:22"].iter().enumerate() {
            let mut client = stage.client();
            client.send(format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\nEHLO\r\n"));
            assert_eq!(client.response().status(), 501, "{host}");
            client.expect_gone();
            stage.proxy.expect_faults("method_unsupported", count as u64 + 1);
        }
        stage.upstream.expect_no_connection();
        // Other requests are not tunnels.
        let mut client = stage.client();
        client.send("GET / HTTP/1.1\r\nHost: db.internal\r\n\r\n");
        let mut end = stage.upstream.accept();
        end.request();
        end.send(ok("x"));
        assert_eq!(client.response().text(), "x");
        assert_eq!(stage.proxy.metric("pinion_listener_tunnels_total", &[]), 0.0);
    });
}

#[test]
fn connect_tries_another_endpoint() {
    both(|driver| {
        let gone = Upstream::start();
        let dead = gone.address().to_owned();
        drop(gone);
        let upstream = Upstream::start();
        let retry = "retry = { attempts = 2, on = [\"connect-failure\"] }";
        let setup = connecting(driver)
            .cluster("balance = \"round-robin\"")
            .routes(&format!("[[routes]]\nconnect = true\ncluster = \"app\"\n{retry}\n"));
        let proxy = setup.start_with(&[dead.clone(), upstream.address().to_owned()]);
        for _ in 0..4 {
            let mut client = proxy.client();
            client.send(CONNECT);
            let mut end = upstream.accept();
            assert_eq!(client.head().status(), 200);
            client.send("x");
            assert_eq!(end.read_exact(1), b"x");
        }
        assert!(proxy.metric("pinion_cluster_connect_failures_total", &[]) >= 1.0);
        drop(upstream);
        let mut client = proxy.client();
        client.send(CONNECT);
        std::thread::sleep(MOMENT);
        assert_eq!(client.response().status(), 503);
        proxy.expect_faults("connect_failed", 1);
    });
}
