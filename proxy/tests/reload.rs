//! Changing the configuration of the real program while it runs, and ending it: what triggers a reload,
//! what it may change, and that a refused one changes nothing.
//!
//! Not here: reloading under load (needs traffic).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's help fails by panicking")]

mod support;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use support::{Driver, Pinion, Signal, drivers, eventually, free_address};

/// A configuration with one listener a name and address, and `extra` lines for its cluster.
fn config(listeners: &[(&str, SocketAddr)], extra: &str) -> String {
    let mut text = String::new();
    for (name, address) in listeners {
        text += &format!("[[listeners]]\nname = \"{name}\"\naddress = \"{address}\"\n");
    }
    text + "[[routes]]\ncluster = \"app\"\n[[clusters]]\nname = \"app\"\nendpoints = [\"127.0.0.1:9\"]\n"
        + extra
}

fn accepts(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, Duration::from_secs(5)).is_ok()
}

/// The kernel's numbers of the sockets listening on `address`.
fn inodes(address: SocketAddr) -> BTreeSet<String> {
    let SocketAddr::V4(v4) = address else { panic!("IPv4 only") };
    let local = format!("{:08X}:{:04X}", u32::from_ne_bytes(v4.ip().octets()), v4.port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row[1] == local && row[3] == "0A").map(|row| row[9].to_owned()).collect()
}

#[test]
fn post_reload_adds_and_removes_listeners_and_keeps_the_sockets_of_the_others() {
    for driver in drivers() {
        let (a, b) = (free_address(), free_address());
        let pinion = Pinion::with(driver).proxy("shards = 2").config(&config(&[("a", a)], "")).start();
        let kept = inodes(a);
        assert_eq!(kept.len(), 2, "one socket a shard");
        assert!(accepts(a) && !accepts(b));

        pinion.write(&config(&[("a", a), ("b", b)], ""));
        let answer = pinion.reload();
        // The file's watcher may have been quicker, then there is nothing left to change.
        assert_eq!((answer.status, &answer.json()["generation"]), (200, &2.into()), "{answer:?}");
        assert!(accepts(b) && accepts(a));
        assert_eq!(pinion.address("b"), b);

        pinion.write(&config(&[("a", a)], ""));
        assert_eq!(pinion.reload().json()["generation"], 3);
        eventually("the removed listener closes", || !accepts(b));
        assert_eq!(pinion.get("/listeners").json()["listeners"].as_array().unwrap().len(), 1);

        // Back at once: its own old sockets don't stand in the way.
        pinion.write(&config(&[("a", a), ("b", b)], ""));
        assert_eq!(pinion.reload().json()["generation"], 4);
        assert!(accepts(b));

        // Another name for the same address is another listener on the same sockets.
        let again = inodes(b);
        pinion.write(&config(&[("a", a), ("renamed", b)], ""));
        assert_eq!(pinion.reload().json()["generation"], 5);
        assert!(accepts(b) && pinion.address("renamed") == b);
        assert_eq!((inodes(a), inodes(b)), (kept, again));
        assert_eq!(pinion.get("/config").json()["adopted"], serde_json::json!([5, 5]));
    }
}

#[test]
fn the_same_text_is_no_change() {
    let pinion = Pinion::with(Driver::Epoll).config(&config(&[("a", free_address())], "")).start();
    let first = pinion.get("/ready").json();
    let answer = pinion.reload().json();
    assert_eq!((&answer["changed"], &answer["generation"]), (&false.into(), &1.into()));
    assert_eq!(answer["digest"], first["digest"]);
    assert_eq!(pinion.get("/ready").json()["reload"]["unchanged"], 1);
}

#[test]
fn a_bad_file_changes_nothing_and_says_why() {
    for driver in drivers() {
        let a = free_address();
        let good = config(&[("a", a)], "");
        let pinion = Pinion::with(driver).config(&good).start();
        pinion.write(&config(&[("a", a)], "colour = \"red\"\n"));
        let answer = pinion.reload();
        assert_eq!((answer.status, &answer.json()["error"]), (400, &"invalid".into()), "{answer:?}");
        assert_eq!(answer.json()["generation"], 1);
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("colour") && detail.contains("pinion.toml:"), "{detail}");

        let ready = pinion.get("/ready");
        assert_eq!(ready.status, 200, "the old configuration serves on");
        assert_eq!(ready.json()["reload"]["ok"], false);
        assert!(ready.json()["reload"]["problem"].as_str().unwrap().contains("colour"));
        pinion.wait_stderr("colour");
        let metrics = pinion.metrics();
        assert_eq!(metrics.value("pinion_config_last_reload_successful", &[]), 0.0);
        assert!(metrics.value("pinion_config_reloads_total", &[("result", "failure")]) >= 1.0);
        assert_eq!(metrics.value("pinion_config_generation", &[]), 1.0);
        assert!(accepts(a));

        pinion.write_whole("");
        assert_eq!(pinion.reload().status, 400, "an emptied file is being written");
        std::fs::remove_file(pinion.config()).unwrap();
        assert_eq!(pinion.reload().status, 400);

        pinion.write(&good);
        assert_eq!(pinion.reload().status, 200);
        assert_eq!(pinion.get("/ready").json()["reload"]["ok"], true);
        assert_eq!(pinion.metrics().value("pinion_config_last_reload_successful", &[]), 1.0);
    }
}

#[test]
fn an_address_that_is_taken_refuses_the_whole_change() {
    for driver in drivers() {
        let (a, c) = (free_address(), free_address());
        let taken = TcpListener::bind(free_address()).unwrap();
        let b = taken.local_addr().unwrap();
        let pinion = Pinion::with(driver).config(&config(&[("a", a)], "")).start();
        pinion.write(&config(&[("c", c), ("b", b)], ""));
        let answer = pinion.reload();
        assert_eq!((answer.status, &answer.json()["error"]), (409, &"conflict".into()), "{answer:?}");
        assert!(answer.json()["detail"].as_str().unwrap().contains(&b.to_string()));
        assert!(accepts(a) && !accepts(c), "neither removed nor added");
        assert_eq!(pinion.get("/config").json()["generation"], 1);
        drop(taken);
        // Not at once: a process that another test is just starting holds a copy until it executes.
        eventually("the address is free", || pinion.reload().status == 200);
        assert_eq!(pinion.get("/config").json()["generation"], 2);
        assert!(accepts(c) && accepts(b));
        eventually("the removed listener closes", || !accepts(a));
    }
}

#[test]
fn what_needs_a_restart_is_refused() {
    let a = free_address();
    let pinion = Pinion::with(Driver::Epoll).proxy("shards = 1").config(&config(&[("a", a)], "")).start();
    let text = pinion.text(&config(&[("a", a)], ""));
    pinion.write_whole(&text.replace("shards = 1", "shards = 2"));
    let answer = pinion.reload();
    assert_eq!(answer.status, 409);
    assert!(answer.json()["detail"].as_str().unwrap().contains("`proxy.shards`"), "{answer:?}");
    pinion.write_whole(&text.replace("shards = 1", "shards = 1\ndrain = \"1s\""));
    assert_eq!(pinion.reload().status, 200, "other settings follow");
}

#[test]
fn files_and_signals_reload_too() {
    let a = free_address();
    let pinion = Pinion::with(Driver::Epoll).config(&config(&[("a", a)], "")).start();
    // Renamed over.
    pinion.write(&config(&[("a", a)], "balance = \"round-robin\"\n"));
    pinion.wait_generation(2);
    // Written in place.
    std::fs::write(pinion.config(), pinion.text(&config(&[("a", a)], ""))).unwrap();
    pinion.wait_generation(3);
    // A signal reloads even when the file looks the same.
    pinion.signal(Signal::HUP);
    eventually("a reload by signal", || {
        pinion.get("/ready").json()["reload"]["unchanged"].as_u64() >= Some(1)
    });
}

#[test]
fn reloads_that_meet_take_turns() {
    for driver in drivers() {
        let a = free_address();
        let pinion = Pinion::with(driver).proxy("shards = 2").config(&config(&[("a", a)], "")).start();
        let last = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4)
                .map(|worker| {
                    let pinion = &pinion;
                    scope.spawn(move || {
                        let mut last = 0;
                        for round in 0..10 {
                            let name = format!("w{worker}r{round}");
                            let text = pinion.text(&config(&[("a", a)], &format!("# {name}\n")));
                            let new = pinion.folder().join(&name);
                            std::fs::write(&new, text).unwrap();
                            std::fs::rename(&new, pinion.config()).unwrap();
                            let answer = pinion.reload();
                            assert_eq!(answer.status, 200, "{answer:?}");
                            let generation = answer.json()["generation"].as_u64().unwrap();
                            assert!(generation >= last, "{generation} after {last}");
                            let adopted = pinion.get("/config").json()["adopted"].clone();
                            let least = adopted.as_array().unwrap().iter().filter_map(|of| of.as_u64()).min();
                            assert!(
                                least >= Some(generation),
                                "acknowledged {generation}, adopted {adopted}"
                            );
                            last = generation;
                        }
                        last
                    })
                })
                .collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).max().unwrap()
        });
        assert!(last > 10);
        let metrics = pinion.metrics();
        assert!(metrics.value("pinion_config_generation", &[]) >= last as f64);
        assert_eq!(metrics.value("pinion_config_reloads_total", &[("result", "failure")]), 0.0);
        assert!(accepts(a));
    }
}

#[test]
fn unix_listeners_come_and_go_with_their_files() {
    for driver in drivers() {
        let a = free_address();
        let pinion = Pinion::with(driver).proxy("shards = 2").config(&config(&[("a", a)], "")).start();
        let socket = pinion.folder().join("web.sock");
        let unix = "[[listeners]]\nname = \"u\"\naddress = \"unix:web.sock\"\n";
        let with = config(&[("a", a)], "") + unix;
        for _ in 0..2 {
            pinion.write(&with);
            assert_eq!(pinion.reload().status, 200);
            assert!(UnixStream::connect(&socket).is_ok());
            pinion.write(&config(&[("a", a)], ""));
            assert_eq!(pinion.reload().status, 200);
            assert!(!socket.exists());
        }
    }
}

#[test]
fn ipv6_stands_beside_ipv4_on_the_same_port() {
    if !std::fs::read_to_string("/proc/net/if_inet6").is_ok_and(|table| table.contains(" lo\n")) {
        let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
        assert!(!ci, "no IPv6 on this machine");
        eprintln!("SKIPPED: no IPv6 on this machine");
        return;
    }
    let port = free_address().port();
    let [v4, v6]: [SocketAddr; 2] = ["0.0.0.0", "[::]"].map(|ip| format!("{ip}:{port}").parse().unwrap());
    let _pinion = Pinion::with(Driver::Epoll).config(&config(&[("v4", v4), ("v6", v6)], "")).start();
    assert!(accepts(([127, 0, 0, 1], port).into()));
    assert!(accepts((std::net::Ipv6Addr::LOCALHOST, port).into()));
}

#[test]
fn the_access_log_follows_a_reload_or_refuses_it() {
    for driver in drivers() {
        let a = free_address();
        let pinion = Pinion::with(driver).config(&config(&[("a", a)], "")).start();
        let log = |path: &str| config(&[("a", a)], "") + &format!("[proxy.access_log]\npath = \"{path}\"\n");
        pinion.write(&log("{folder}/missing/access.log"));
        let answer = pinion.reload();
        assert_eq!(answer.status, 409, "{answer:?}");
        assert!(answer.json()["detail"].as_str().unwrap().contains("access log"), "{answer:?}");
        assert_eq!(answer.json()["generation"], 1);

        pinion.write(&log("{folder}/access.log"));
        assert_eq!(pinion.reload().json()["generation"], 2);
        let (now, rotated) = (pinion.folder().join("access.log"), pinion.folder().join("access.log.1"));
        let request = || {
            let mut client = TcpStream::connect(a).unwrap();
            // Refused by the proxy itself (no Host), and recorded as such.
            client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
            let mut text = String::new();
            client.read_to_string(&mut text).unwrap();
            assert!(text.starts_with("HTTP/1.1 400"), "{text}");
        };
        let lines = |path: &Path| std::fs::read_to_string(path).unwrap_or_default().lines().count();
        request();
        eventually("a line", || lines(&now) == 1);
        std::fs::rename(&now, &rotated).unwrap();
        pinion.signal(Signal::HUP);
        eventually("a new file", || now.exists());
        request();
        eventually("a line in the new file", || lines(&now) == 1);
        assert_eq!(lines(&rotated), 1);
    }
}

#[test]
fn sigterm_drains_and_a_second_one_stops_at_once() {
    for driver in drivers() {
        let a = free_address();
        let start = || {
            let pinion =
                Pinion::with(driver).proxy("drain = \"30s\"").config(&config(&[("a", a)], "")).start();
            // Half a request: a connection that a drain waits for.
            let mut client = TcpStream::connect(a).unwrap();
            client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n").unwrap();
            eventually("the connection", || {
                pinion.metrics().value("pinion_shard_connections_active", &[]) == 1.0
            });
            (pinion, client)
        };
        let (mut pinion, client) = start();
        pinion.signal(Signal::TERM);
        eventually("not ready", || pinion.get("/ready").status == 503);
        assert_eq!(pinion.get("/ready").json()["status"], "draining");
        assert_eq!(pinion.get("/live").status, 200);
        assert_eq!(pinion.reload().status, 409);
        eventually("no new connections", || !accepts(a));
        drop(client);
        assert_eq!(pinion.wait_exit().code(), Some(0), "nothing is left");

        let (mut pinion, _client) = start();
        pinion.signal(Signal::TERM);
        eventually("not ready", || pinion.get("/ready").status == 503);
        let second = Instant::now();
        pinion.signal(Signal::TERM);
        assert_eq!(pinion.wait_exit().code(), Some(0));
        assert!(second.elapsed() < Duration::from_secs(10), "long before the deadline of 30 s");
    }
}

#[test]
fn the_deadline_ends_a_drain() {
    for driver in drivers() {
        let a = free_address();
        let mut pinion =
            Pinion::with(driver).proxy("drain = \"1s\"").config(&config(&[("a", a)], "")).start();
        let mut client = TcpStream::connect(a).unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n").unwrap();
        eventually("the connection", || {
            pinion.metrics().value("pinion_shard_connections_active", &[]) == 1.0
        });
        let began = Instant::now();
        let answer = pinion.post("/drain");
        assert_eq!((answer.status, &answer.json()["began"]), (202, &true.into()));
        assert_eq!(pinion.wait_exit().code(), Some(0));
        assert!(began.elapsed() >= Duration::from_secs(1));
    }
}

#[test]
fn post_drain_can_go_on_accepting_while_not_ready() {
    let a = free_address();
    let mut pinion = Pinion::with(Driver::Epoll).config(&config(&[("a", a)], "")).start();
    let began = Instant::now();
    assert_eq!(pinion.post("/drain?accept_for=1500ms").status, 202);
    assert_eq!(pinion.get("/ready").status, 503);
    assert!(accepts(a));
    let again = pinion.post("/drain");
    assert_eq!((again.status, &again.json()["began"]), (202, &false.into()));
    assert_eq!(pinion.wait_exit().code(), Some(0));
    assert!(began.elapsed() >= Duration::from_millis(1_500));
}

#[test]
fn the_service_manager_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify.sock");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(support::PATIENCE)).unwrap();
    let told = || {
        let mut bytes = [0; 256];
        let length = manager.recv(&mut bytes).expect("told");
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    };
    let builder = Pinion::with(Driver::Epoll).env("NOTIFY_SOCKET", path.to_str().unwrap());
    let mut pinion = builder.config(&config(&[("a", free_address())], "")).start();
    assert_eq!(told().trim(), "READY=1");
    pinion.signal(Signal::HUP);
    let reloading = told();
    assert!(reloading.contains("RELOADING=1") && reloading.contains("MONOTONIC_USEC="), "{reloading}");
    assert_eq!(told().trim(), "READY=1");
    pinion.signal(Signal::TERM);
    assert_eq!(told().trim(), "STOPPING=1");
    assert_eq!(pinion.wait_exit().code(), Some(0));
}

#[test]
fn sockets_of_the_service_manager_are_used() {
    let a = free_address();
    let listener = TcpListener::bind(a).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pinion.toml");
    let admin = folder.path().join("admin.sock");
    let text = format!("[proxy]\nadmin = \"unix:{}\"\ndriver = \"epoll\"\n", admin.display());
    std::fs::write(&file, text + &config(&[("a", a)], "")).unwrap();
    // The shell puts the socket where a service manager would: descriptor 3, and our process id.
    let script = "export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$0\" run --config \"$1\" 3<&0 </dev/null";
    let mut child = std::process::Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_pinion")])
        .arg(&file)
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(listener.try_clone().unwrap())))
        .spawn()
        .unwrap();
    // The address is in use by this test: only the passed socket can have made it start.
    eventually("serving", || child.try_wait().unwrap().is_none() && admin.exists());
    let inode = inodes(a);
    assert_eq!(inode.len(), 1, "no other socket was opened");
    child.kill().unwrap();
    child.wait().unwrap();
}
