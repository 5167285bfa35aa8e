//! h2load: many streams on a few connections, in plain text and in TLS, to HTTP/1 and to HTTP/2.

use std::process::Command;

use crate::peers::certificates::Certificates;
use crate::peers::origin::Origin;
use crate::peers::tools::{need, run};
use crate::scene::Setup;
use crate::support::{PATIENCE, drivers};

#[test]
fn every_request_on_many_streams_succeeds() {
    let Some(h2load) = need("h2load") else { return };
    let (certificates, origin) = (Certificates::new(), Origin::start(&[]));
    let upload = certificates.folder().join("upload");
    std::fs::write(&upload, vec![b'x'; 20_000]).unwrap();
    for driver in drivers() {
        for protocol in ["http1", "http2"] {
            let upstream = origin.address();
            let setup = Setup { driver, certificates: &certificates, upstream, protocol, cluster: "" };
            let scene = setup.start();
            for (listener, requests) in [("plain", 1_000), ("tls", 1_000)] {
                let (count, url) = (requests.to_string(), scene.url(listener, "/bytes/10000"));
                for options in [&[][..], &["--data", upload.to_str().unwrap()]] {
                    let mut command = Command::new(&h2load);
                    command.args(["-n", &count, "-c", "4", "-m", "32"]).args(options).arg(&url);
                    let said = run(&mut command, PATIENCE * 3);
                    let sums = said.success().lines().find(|line| line.starts_with("requests:"));
                    let sums = sums.unwrap_or_else(|| panic!("{said:?}"));
                    let wanted = format!("{count} done, {count} succeeded, 0 failed, 0 errored, 0 timeout");
                    assert!(sums.contains(&wanted), "{listener} {protocol} {options:?}: {sums}");
                    assert!(said.stdout.contains(&format!("{count} 2xx")), "{said:?}");
                }
                assert_eq!(scene.requests(listener), 2.0 * f64::from(requests), "{listener}");
                assert_eq!(scene.connections(listener), 8.0, "{listener}");
            }
            scene.expect_faults(0);
        }
    }
}
