//! WebSocket end to end: `pinion-load` through the proxy to its own origin, on both drivers.
//!
//! The generator shares no code with the proxy, so that frames it finds whole were passed whole. Not here: single
//! bytes and ends of tunnels (`wire/tunnels`), latency.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/peers/mod.rs"]
mod peers;
mod support;

use std::path::Path;
use std::process::Command;

use peers::origin::{Origin, load_program};
use serde_json::Value;
use support::{Pinion, drivers, eventually};

/// Runs the generator to its end; its report.
fn load(folder: &Path, address: &str, options: &[&str]) -> Value {
    let report = folder.join("report.json");
    let output = Command::new(load_program())
        .args(["--rate", "200", "--duration", "2s", "--driver", "epoll", "--quiet", "--json"])
        .arg(&report)
        .args(options)
        .arg(format!("ws://{address}/chat"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&std::fs::read_to_string(report).unwrap()).unwrap()
}

#[test]
fn every_message_comes_back() {
    let origin = Origin::start(&[]);
    for driver in drivers() {
        let config = format!(
            "[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n[[routes]]\ncluster = \"app\"\n\
             [[clusters]]\nname = \"app\"\nendpoints = [\"{}\"]\n",
            origin.address()
        );
        let pinion = Pinion::with(driver).proxy("shards = 2").config(&config).start();
        let address = pinion.address("web").to_string();
        let mut tunnels = 0.0;
        // Messages that are copied, and such as are spliced.
        for (options, least) in [
            (&["--connections", "8"][..], 400 * 2),
            (&["--connections", "8", "--body-size", "64KiB"], 400 * 64 * 1_024),
        ] {
            let report = load(pinion.folder(), &address, options);
            assert_eq!((&report["sent"], &report["answered"]), (&400.into(), &400.into()), "{report}");
            assert_eq!((&report["failed"], &report["errors_total"]), (&0.into(), &0.into()), "{report}");
            tunnels += report["connections_opened"].as_f64().unwrap();
            eventually("every tunnel is over", || {
                pinion.metrics().value("pinion_listener_tunnels_active", &[]) == 0.0
            });
            let metrics = pinion.metrics();
            assert_eq!(metrics.value("pinion_listener_tunnels_total", &[("listener", "web")]), tunnels);
            for direction in ["upstream", "downstream"] {
                let relayed = metrics.value("pinion_relay_bytes_total", &[("direction", direction)]);
                assert!(relayed >= f64::from(least), "{relayed} bytes {direction}");
            }
        }
        let metrics = pinion.metrics();
        assert!(metrics.value("pinion_relay_bytes_total", &[("path", "splice")]) > 0.0);
        assert_eq!(metrics.value("pinion_cluster_connections_active", &[]), 0.0);
        let faults = metrics.value("pinion_faults_total", &[])
            - metrics.value("pinion_faults_total", &[("reason", "client_gone")]);
        assert_eq!(faults, 0.0, "only the generator's own end may cut anything");
    }
}
