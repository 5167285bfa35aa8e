//! The origin of `pinion-load` as an upstream: HTTP/1, HTTP/2, gRPC and WebSocket on one port, plain or in TLS.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::certificates::Certificates;

/// `pinion-load` beside the program under test, built if it is not there.
pub fn load_program() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_pinion")).with_file_name("pinion-load");
    if !program.exists() {
        let target = program.parent().and_then(Path::parent).expect("in a target folder");
        let status = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--locked", "--package", "pinion-load", "--target-dir"])
            .arg(target)
            .status()
            .expect("cargo runs");
        assert!(status.success(), "pinion-load was not built");
    }
    program
}

/// A running origin; dropped, it is killed.
pub struct Origin {
    child: Child,
    address: String,
}

impl Origin {
    /// Starts one on a free port.
    pub fn start(options: &[&str]) -> Self {
        Self::listening("--listen", options)
    }

    /// Starts one that sends every byte back.
    pub fn echo() -> Self {
        Self::listening("--tcp-echo", &[])
    }

    /// Starts one that speaks TLS; with `client_ca` it wants certificates of clients.
    pub fn tls(certificates: &Certificates, client_ca: Option<&str>) -> Self {
        let [chain, key] = ["server.pem", "server.key"].map(|file| certificates.path(file));
        let ca = client_ca.map(|file| certificates.path(file));
        let mut options = vec!["--tls-certificate", &chain, "--tls-key", &key];
        options.extend(ca.as_deref().into_iter().flat_map(|ca| ["--client-ca", ca]));
        Self::start(&options)
    }

    fn listening(option: &str, options: &[&str]) -> Self {
        let mut child = Command::new(load_program())
            .args(["origin", option, "127.0.0.1:0", "--driver", "epoll"])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("pinion-load starts");
        let mut line = String::new();
        let _ = BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line);
        let address = line.split("listening on ").nth(1).and_then(|rest| rest.split([' ', ',', '\n']).next());
        let address = address.unwrap_or_else(|| panic!("the origin said {line:?}")).to_owned();
        Origin { child, address }
    }

    /// `IP:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
