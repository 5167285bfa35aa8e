//! WebSocket clients of two languages: `websockets` for Python and `ws` for Node, over plain connections, TLS and
//! mutual TLS. The third, `pinion-load`, has tests of its own (`websocket.rs` beside this folder).

use std::path::PathBuf;
use std::process::Command;

use crate::peers::certificates::Certificates;
use crate::peers::origin::Origin;
use crate::peers::tools::{node, python, run, script};
use crate::scene::{LISTENERS, Setup};
use crate::support::{PATIENCE, drivers, eventually};

/// Connections that each script makes, one after the other.
const CONNECTIONS: f64 = 3.0;

/// Runs the script on every listener: text, binary, large and many messages, ping, close codes.
fn messages_come_back(interpreter: &PathBuf, name: &str) {
    let (certificates, origin) = (Certificates::new(), Origin::start(&[]));
    for driver in drivers() {
        let upstream = origin.address();
        let setup = Setup { driver, certificates: &certificates, upstream, protocol: "http1", cluster: "" };
        let scene = setup.start();
        for listener in LISTENERS {
            let url = scene.url(listener, "/chat").replacen("http", "ws", 1);
            let mut command = Command::new(interpreter);
            command.arg(script(name)).arg(url);
            command.args(["ca.pem", "client.pem", "client.key"].map(|file| certificates.path(file)));
            assert!(run(&mut command, PATIENCE * 2).success().ends_with("all is well\n"), "{listener}");
            eventually("every tunnel is over", || {
                let active = [("listener", listener)];
                scene.pinion.metrics().value("pinion_listener_tunnels_active", &active) < 0.5
            });
            let metrics = scene.pinion.metrics();
            let tunnels = metrics.value("pinion_listener_tunnels_total", &[("listener", listener)]);
            assert_eq!(tunnels, CONNECTIONS, "{listener}");
        }
        scene.expect_faults(0);
    }
}

#[test]
fn python_websockets_talks_through() {
    let Some(python) = python(&["websockets"]) else { return };
    messages_come_back(&python, "websocket_client.py");
}

#[test]
fn node_ws_talks_through() {
    let Some(node) = node(&["ws"]) else { return };
    messages_come_back(&node, "websocket_client.js");
}
