//! gRPC clients of two languages, grpcio for Python (gRPC's C core) and `@grpc/grpc-js` for Node, against a grpcio
//! server: every kind of call, metadata, statuses, deadlines, cancellation, large messages, health, over plain HTTP/2
//! (prior knowledge), TLS and mutual TLS.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::peers::certificates::Certificates;
use crate::peers::tools::{node, python, run, script};
use crate::scene::{LISTENERS, Scene, Setup};
use crate::support::{Driver, PATIENCE, drivers};

/// A grpcio server, which ends with its standard input.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    /// Starts one; with `tls` it wants certificates of clients.
    fn start(python: &Path, tls: Option<&Certificates>) -> Self {
        let files = tls.map(|made| ["server.pem", "server.key", "ca.pem"].map(|file| made.path(file)));
        let mut child = Command::new(python)
            .arg(script("grpc_server.py"))
            .args(files.iter().flatten())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Server { child, address: format!("127.0.0.1:{}", port.trim()) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const MODULES: [&str; 2] = ["grpc", "grpc_health.v1"];

fn scene(driver: Driver, certificates: &Certificates, server: &Server, cluster: &str) -> Scene {
    let upstream = &server.address;
    Setup { driver, certificates, upstream, protocol: "http2", cluster }.start()
}

/// Runs a client script on every listener.
fn call_everything(interpreter: &Path, name: &str, scene: &Scene, certificates: &Certificates) {
    for listener in LISTENERS {
        let mut command = Command::new(interpreter);
        command.arg(script(name)).arg(scene.address(listener));
        // Their proxies of the environment are not meant.
        command.env_remove("http_proxy").env_remove("https_proxy").env("GRPC_VERBOSITY", "ERROR");
        if listener != "plain" {
            command.args(["ca.pem", "client.pem", "client.key"].map(|file| certificates.path(file)));
        }
        let said = run(&mut command, PATIENCE * 4);
        assert!(said.success().ends_with("all is well\n"), "{listener}: {said:?}");
        // However many calls: one connection, which has outlived every failed one of them.
        assert_eq!(scene.connections(listener), 1.0, "{listener}");
    }
}

#[test]
fn grpcio_calls_everything() {
    let Some(python) = python(&MODULES) else { return };
    let certificates = Certificates::new();
    for driver in drivers() {
        let server = Server::start(&python, None);
        let scene = scene(driver, &certificates, &server, "");
        call_everything(&python, "grpc_client.py", &scene, &certificates);
        let metrics = scene.pinion.metrics();
        // Two shards at most have a connection to the server, however many calls there were.
        let connects = metrics.value("pinion_cluster_connects_total", &[("cluster", "app")]);
        assert!((1.0..=6.0).contains(&connects), "{connects} connections to the upstream");
    }
}

#[test]
fn grpcio_calls_everything_with_mutual_tls_on_both_sides() {
    let Some(python) = python(&MODULES) else { return };
    let certificates = Certificates::new();
    let [ca, cert, key] = ["ca.pem", "client.pem", "client.key"].map(|file| certificates.path(file));
    let cluster = format!(
        "tls.ca = \"{ca}\"\ntls.certificate = \"{cert}\"\ntls.private_key = \"{key}\"\n\
         tls.server_name = \"localhost\"\n"
    );
    for driver in drivers() {
        let server = Server::start(&python, Some(&certificates));
        let scene = scene(driver, &certificates, &server, &cluster);
        call_everything(&python, "grpc_client.py", &scene, &certificates);
    }
}

#[test]
fn node_grpc_js_calls_everything() {
    let (Some(python), Some(node)) = (python(&MODULES), node(&["@grpc/grpc-js"])) else { return };
    let certificates = Certificates::new();
    for driver in drivers() {
        let server = Server::start(&python, None);
        let scene = scene(driver, &certificates, &server, "");
        call_everything(&node, "grpc_client.js", &scene, &certificates);
    }
}
