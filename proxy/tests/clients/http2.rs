//! A second HTTP/2 library: `httpx` with hyper-h2 for Python, in plain text with prior knowledge, in TLS and in mutual
//! TLS.

use std::process::Command;

use crate::peers::certificates::Certificates;
use crate::peers::origin::Origin;
use crate::peers::tools::{python, run, script};
use crate::scene::{LISTENERS, Setup};
use crate::support::{PATIENCE, drivers};

#[test]
fn python_h2_asks_and_posts() {
    let Some(python) = python(&["httpx", "h2"]) else { return };
    let (certificates, origin) = (Certificates::new(), Origin::start(&[]));
    for driver in drivers() {
        for protocol in ["http1", "http2"] {
            let upstream = origin.address();
            let setup = Setup { driver, certificates: &certificates, upstream, protocol, cluster: "" };
            let scene = setup.start();
            for listener in LISTENERS {
                let mut command = Command::new(&python);
                command.arg(script("http2_client.py")).arg(scene.url(listener, ""));
                command.args(["ca.pem", "client.pem", "client.key"].map(|file| certificates.path(file)));
                let said = run(&mut command, PATIENCE * 2);
                assert!(said.success().ends_with("all is well\n"), "{listener}: {said:?}");
                assert_eq!(scene.connections(listener), 1.0, "{listener}");
            }
            // One for each listener: the cluster where nobody listens.
            scene.expect_faults(3);
        }
    }
}
