//! `examples/mtls` does what it says, on addresses of this test's own.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::wire::{Message, Upstream, ok, own_ip};

#[test]
fn the_example_of_mutual_tls_runs() {
    for tool in ["openssl", "curl"] {
        if Command::new(tool).arg("version").output().is_err() {
            println!("SKIPPED: no {tool}");
            return;
        }
    }
    // This test plays the service; the script's own is a program that ends at once.
    let _service = Upstream::start_at(SocketAddr::from((own_ip(), 15080)))
        .serving(|request: &Message| ok(&request.head.all("x-forwarded-client-cert").join(" | ")));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/mtls/run.sh");
    let run = Command::new(script)
        .env("PINION", env!("CARGO_BIN_EXE_pinion"))
        .env("PINION_LOAD", "true")
        .env("ADDRESS", own_ip().to_string())
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success() && out.ends_with("mtls: ok\n"), "{out}\n{err}");
    assert!(out.contains(";URI=spiffe://shop.example/ns/prod/sa/cart\n"), "{out}");
}
