//! `openssl s_client`: versions of TLS, certificates by SNI, ALPN, resumption in both versions and across connections,
//! client certificates, KeyUpdate.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::peers::certificates::Certificates;
use crate::peers::origin::Origin;
use crate::peers::tools::need;
use crate::scene::{Scene, Setup};
use crate::support::{Driver, PATIENCE, drivers, eventually};

/// A request whose answer ends the connection.
const LAST_REQUEST: &str = "GET /bytes/20 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// What the answer to it holds.
const LAST_ANSWER: &str = "000000000000000\n0000";

/// A session of the client, typed into as a person would.
struct Session {
    child: std::process::Child,
    stdin: ChildStdin,
    said: Arc<Mutex<String>>,
}

impl Session {
    fn start(openssl: &Path, options: &[&str]) -> Self {
        let mut command = Command::new(openssl);
        command.args(["s_client"]).args(options).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        collect(child.stdout.take().unwrap(), &said);
        collect(child.stderr.take().unwrap(), &said);
        Session { stdin: child.stdin.take().unwrap(), child, said }
    }

    fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// A line at a time: commands are those that a read begins with.
    fn type_in(&mut self, text: &str) {
        let _ = self.stdin.write_all(text.as_bytes()).and_then(|()| self.stdin.flush());
    }

    #[track_caller]
    fn wait_for(&self, text: &str) {
        let start = Instant::now();
        while !self.said().contains(text) {
            assert!(start.elapsed() < PATIENCE, "no `{text}` in:\n{}", self.said());
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    /// Waits for the end of the connection; all that was said.
    fn ended(mut self) -> String {
        eventually("the client ends", || self.child.try_wait().is_ok_and(|status| status.is_some()));
        // What it said last is read by threads.
        let mut before = self.said();
        loop {
            std::thread::sleep(std::time::Duration::from_millis(50));
            let now = self.said();
            if now.len() == before.len() {
                return now;
            }
            before = now;
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(mut from: impl std::io::Read + Send + 'static, into: &Arc<Mutex<String>>) {
    let into = Arc::clone(into);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            into.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
    });
}

/// A scene and the client.
struct Test<'a> {
    openssl: &'a PathBuf,
    certificates: &'a Certificates,
    scene: Scene,
}

impl Test<'_> {
    /// One connection with a request; what the client said.
    fn ask(&self, listener: &str, options: &[&str]) -> String {
        let mut session = self.session(listener, options);
        session.type_in(LAST_REQUEST);
        session.ended()
    }

    fn session(&self, listener: &str, options: &[&str]) -> Session {
        let (address, ca) = (self.scene.address(listener), self.certificates.path("ca.pem"));
        Session::start(self.openssl, &[&["-connect", &address, "-CAfile", &ca], options].concat())
    }
}

/// Runs `test` on each driver.
fn each(test: impl Fn(&Test<'_>)) {
    let Some(openssl) = need("openssl") else { return };
    let (certificates, origin) = (Certificates::new(), Origin::start(&[]));
    for driver in drivers() {
        test(&Test {
            openssl: &openssl,
            certificates: &certificates,
            scene: scene(driver, &certificates, &origin),
        });
    }
}

fn scene(driver: Driver, certificates: &Certificates, origin: &Origin) -> Scene {
    Setup { driver, certificates, upstream: origin.address(), protocol: "http1", cluster: "" }.start()
}

#[test]
fn versions_from_1_2_on_are_spoken() {
    each(|test| {
        for (option, version) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
            let said = test.ask("tls", &[option, "-servername", "localhost"]);
            assert!(said.contains(LAST_ANSWER) && said.contains("Verify return code: 0 (ok)"), "{said}");
            assert!(said.contains(&format!("New, {version}")), "{said}");
        }
        let said = test.ask("tls", &["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"]);
        assert!(!said.contains(LAST_ANSWER) && said.contains("alert"), "{said}");
        // No key exchange without forward secrecy, no CBC.
        let said = test.ask("tls", &["-tls1_2", "-cipher", "AES128-SHA:ECDHE-ECDSA-AES128-SHA"]);
        assert!(!said.contains(LAST_ANSWER) && said.contains("alert"), "{said}");
    });
}

#[test]
fn the_name_chooses_the_certificate() {
    each(|test| {
        for (name, subject) in [
            ("localhost", "CN = server"),
            ("a.example.test", "CN = wildcard"),
            ("b.EXAMPLE.test", "CN = wildcard"),
            ("a.b.example.test", "CN = server"),
            ("elsewhere.test", "CN = server"),
        ] {
            let said = test.ask("tls", &["-servername", name]);
            assert!(said.contains(LAST_ANSWER), "{said}");
            let line = said.lines().find(|line| line.starts_with("subject=")).unwrap_or_default();
            assert_eq!(line.replace("CN=", "CN = ").trim_start_matches("subject="), subject, "{name}");
        }
        let said = test.ask("tls", &["-noservername"]);
        assert!(said.contains(LAST_ANSWER) && said.replace("CN=", "CN = ").contains("CN = server"), "{said}");
    });
}

#[test]
fn protocols_are_chosen_by_alpn() {
    each(|test| {
        for (offered, chosen) in
            [("h2,http/1.1", "ALPN protocol: h2"), ("http/1.1", "ALPN protocol: http/1.1")]
        {
            let mut session = test.session("tls", &["-alpn", offered]);
            session.wait_for(chosen);
            session.type_in(LAST_REQUEST);
            // HTTP/1.1 bytes on an HTTP/2 connection end it.
            assert_eq!(session.ended().contains(LAST_ANSWER), offered == "http/1.1", "{offered}");
        }
        let said = test.ask("tls", &["-alpn", "spdy/3"]);
        assert!(said.contains("alert no application protocol"), "{said}");
        let said = test.ask("tls", &[]);
        assert!(said.contains("No ALPN negotiated") && said.contains(LAST_ANSWER), "{said}");
    });
}

#[test]
fn sessions_are_resumed_in_both_versions_on_any_shard() {
    each(|test| {
        let file = test.scene.pinion.folder().join("session").display().to_string();
        for version in ["-tls1_2", "-tls1_3"] {
            let said = test.ask("tls", &[version, "-sess_out", &file]);
            assert!(said.contains("New, TLSv1.") && said.contains(LAST_ANSWER), "{said}");
            // The kernel deals connections to both shards: eight all on the shard of the first are rare, and right.
            for _ in 0..8 {
                let said = test.ask("tls", &[version, "-sess_in", &file]);
                assert!(said.contains("Reused, TLSv1.") && said.contains(LAST_ANSWER), "{version}: {said}");
            }
        }
    });
}

#[test]
fn certificates_of_clients_are_verified() {
    each(|test| {
        let [cert, key] = ["client.pem", "client.key"].map(|file| test.certificates.path(file));
        let [other, other_key] = ["stranger.pem", "stranger.key"].map(|file| test.certificates.path(file));
        for version in ["-tls1_2", "-tls1_3"] {
            let said = test.ask("mtls", &[version, "-cert", &cert, "-key", &key]);
            assert!(
                said.contains(LAST_ANSWER) && said.contains("Acceptable client certificate CA names"),
                "{said}"
            );
            let said = test.ask("mtls", &[version, "-cert", &other, "-key", &other_key]);
            assert!(!said.contains(LAST_ANSWER) && said.contains("alert unknown ca"), "{said}");
            let said = test.ask("mtls", &[version]);
            assert!(!said.contains(LAST_ANSWER) && said.contains("alert"), "{said}");
        }
    });
}

#[test]
fn keys_are_updated_when_the_client_wants_it() {
    each(|test| {
        // `K` also asks for an update of the proxy's keys, `k` does not.
        for command in ["K\n", "k\n"] {
            let mut session = test.session("tls", &["-tls1_3", "-alpn", "http/1.1"]);
            session.wait_for("Verify return code");
            session.type_in("GET /bytes/100000 HTTP/1.1\r\nHost: localhost\r\n\r\n");
            session.wait_for("000000000001869");
            for times in 1..=3 {
                session.type_in(command);
                let start = Instant::now();
                while session.said().matches("KEYUPDATE").count() < times {
                    assert!(start.elapsed() < PATIENCE, "{}", session.said());
                    std::thread::sleep(std::time::Duration::from_millis(10));
                }
            }
            session.type_in(LAST_REQUEST);
            let said = session.ended();
            // The last 20 bytes come after the last line of the first answer.
            let end = said.rfind("000000000001869").unwrap();
            assert!(said[end..].contains(LAST_ANSWER), "{said}");
        }
        test.scene.expect_faults(0);
    });
}
