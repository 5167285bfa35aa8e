//! Files of TLS under the real program: what `check` says of them, how they are followed, what is reported.
//!
//! Not here: handshakes and traffic (`wire`).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's help fails by panicking")]

#[path = "support/pki.rs"]
mod pki;
mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use pki::{Authority, Odd};
use support::{Driver, Pinion, Signal, eventually, program, run};

/// A listener that shows `tls.pem`, and a cluster that shows the same.
const TEXT: &str = r#"
[[listeners]]
name = "web"
address = "127.0.0.1:0"
[listeners.tls]
certificate = "tls.pem"
private_key = "tls.key"
client_ca = "ca.pem"
permitted_peers = ["spiffe://example.org/*"]
mode = "permissive"

[[routes]]
cluster = "app"

[[clusters]]
name = "app"
endpoints = ["127.0.0.1:9"]
[clusters.tls]
ca = "ca.pem"
server_name = "app.example"
certificate = "tls.pem"
private_key = "tls.key"
"#;

fn expiry(pinion: &Pinion, file: &str) -> f64 {
    let file = pinion.folder().join(file).display().to_string();
    let labels = [("kind", "listener"), ("name", "web"), ("file", file.as_str())];
    pinion.metrics().value("pinion_tls_certificate_expiry_timestamp_seconds", &labels)
}

fn reloads(pinion: &Pinion, result: &str) -> f64 {
    let labels = [("kind", "listener"), ("name", "web"), ("result", result)];
    pinion.metrics().value("pinion_tls_reloads_total", &labels)
}

fn serial(pinion: &Pinion) -> String {
    pinion.get("/listeners").json()["listeners"][0]["tls"]["names"].to_string()
}

#[test]
fn check_points_at_what_is_wrong_with_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("pinion.toml"), TEXT).unwrap();
    let path = at("pinion.toml").display().to_string();
    let said = run(&["check", &path]);
    assert_eq!((said.status, said.stdout.as_str()), (2, ""), "{said:#?}");
    for place in ["pinion.toml:6:15", "pinion.toml:7:15", "pinion.toml:8:13", "pinion.toml:19:6"] {
        assert!(said.stderr.contains(place), "{place}: {}", said.stderr);
    }
    assert!(said.stderr.contains("there is no file"), "{}", said.stderr);

    let ca = Authority::new("root");
    fs::write(at("ca.pem"), ca.pem()).unwrap();
    ca.issue_odd(&["a.example"], Odd { expired: true, ..Odd::default() }).write(folder.path(), "tls");
    let said = run(&["check", &path]);
    assert_eq!((said.status, said.stdout.as_str()), (0, "ok\n"), "{said:#?}");
    assert!(said.stderr.contains("has expired") && said.stderr.contains("pinion.toml:6:15"), "{said:#?}");

    ca.issue(&["a.example"]).write(folder.path(), "tls");
    let said = run(&["check", &path]);
    assert_eq!((said.status, said.stderr.as_str()), (0, ""), "{said:#?}");
    ca.issue(&["a.example"]).write(folder.path(), "other");
    fs::rename(at("other.key"), at("tls.key")).unwrap();
    let said = run(&["check", &path]);
    assert!(said.status == 2 && said.stderr.contains("pinion.toml:7:15"), "{said:#?}");
    assert!(said.stderr.contains("the key does not belong to the certificate"), "{said:#?}");
    let said = run(&["run", "--config", &path]);
    assert!(said.status == 2 && said.stderr.contains("the key does not belong"), "{said:#?}");
}

#[test]
fn the_systems_roots_are_those_that_the_environment_names() {
    let folder = tempfile::tempdir().unwrap();
    let (path, roots) = (folder.path().join("pinion.toml"), folder.path().join("roots.pem"));
    let text = TEXT.replace("ca = \"ca.pem\"\nserver_name", "server_name");
    fs::write(&path, &text).unwrap();
    let ca = Authority::new("root");
    fs::write(folder.path().join("ca.pem"), ca.pem()).unwrap();
    ca.issue(&["a.example"]).write(folder.path(), "tls");
    let check = || {
        let mut command = program();
        command.arg("check").arg(&path).env("SSL_CERT_FILE", &roots).env_remove("SSL_CERT_DIR");
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let (taken, said) = check();
    assert!(!taken && said.contains("no roots to believe") && said.contains("ca-certificates"), "{said}");
    assert!(said.contains("pinion.toml:18:"), "at the cluster's TLS: {said}");
    fs::write(&roots, ca.pem()).unwrap();
    assert_eq!(check(), (true, String::new()));
}

#[test]
fn files_are_followed_as_they_are_renamed_written_and_swapped() {
    let ca = Authority::new("root");
    let builder = Pinion::with(Driver::Epoll).config(TEXT);
    let folder = builder.folder().to_owned();
    let issue = |into: &Path, name: &str| {
        fs::create_dir_all(into).unwrap();
        fs::write(into.join("ca.pem"), ca.pem()).unwrap();
        ca.issue(&[name, "spiffe://example.org/web"]).write(into, "tls");
    };
    // As Kubernetes mounts a Secret.
    issue(&folder.join("..v1"), "v1.example");
    symlink("..v1", folder.join("..data")).unwrap();
    for name in ["tls.pem", "tls.key", "ca.pem"] {
        symlink(format!("..data/{name}"), folder.join(name)).unwrap();
    }
    let pinion = builder.start();
    assert_eq!(serial(&pinion), r#"["v1.example"]"#);
    assert!(expiry(&pinion, "tls.pem") > 2e9 && expiry(&pinion, "ca.pem") > 2e9);
    assert_eq!(reloads(&pinion, "success"), 0.0);

    issue(&folder.join("..v2"), "v2.example");
    symlink("..v2", folder.join("..tmp")).unwrap();
    fs::rename(folder.join("..tmp"), folder.join("..data")).unwrap();
    eventually("the swap is noticed", || serial(&pinion) == r#"["v2.example"]"#);
    assert_eq!((reloads(&pinion, "success"), reloads(&pinion, "failure")), (1.0, 0.0), "{}", pinion.stderr());
    pinion.wait_stderr("new TLS files in force");

    // A bad one is kept out, and said everywhere.
    fs::write(folder.join("..v2/tls.key"), "no key").unwrap();
    let answer = pinion.reload();
    assert_eq!((answer.status, &answer.json()["error"]), (400, &"files".into()), "{answer:?}");
    assert!(answer.json()["detail"].as_str().unwrap().contains("no private key"), "{answer:?}");
    assert_eq!(serial(&pinion), r#"["v2.example"]"#);
    assert!(reloads(&pinion, "failure") >= 1.0);
    let labels = [("kind", "listener"), ("name", "web")];
    assert_eq!(pinion.metrics().value("pinion_tls_last_reload_successful", &labels), 0.0);
    pinion.wait_stderr("TLS files refused, the old ones stay in force");
    let page = pinion.get("/listeners").json();
    assert_eq!(page["listeners"][0]["tls"]["files"]["is_current"], false);

    // Back in order by SIGHUP or by the watch, whichever is quicker.
    ca.issue(&["v3.example"]).write(&folder.join("..v2"), "tls");
    pinion.signal(Signal::HUP);
    eventually("v3 is in force", || serial(&pinion) == r#"["v3.example"]"#);
    assert_eq!(pinion.metrics().value("pinion_tls_last_reload_successful", &labels), 1.0);
    assert_eq!(pinion.reload().status, 200);
    let ready = pinion.get("/ready").json();
    assert_eq!(ready["generation"], 1, "the configuration has not changed: {ready}");
}

#[test]
fn the_admin_port_says_what_is_in_force_and_no_secret() {
    let ca = Authority::new("root");
    let builder = Pinion::with(Driver::Epoll).config(TEXT);
    fs::write(builder.folder().join("ca.pem"), ca.pem()).unwrap();
    let identity = ca.issue(&["a.example", "spiffe://example.org/web"]);
    identity.write(builder.folder(), "tls");
    let pinion = builder.start();
    let tls = pinion.get("/listeners").json()["listeners"][0]["tls"].clone();
    assert_eq!(tls["mode"], "permissive");
    assert_eq!(tls["client_certificate"], "require");
    assert_eq!(tls["versions"], serde_json::json!(["1.2", "1.3"]));
    assert_eq!(tls["trust"]["permitted_peers"], serde_json::json!(["spiffe://example.org/*"]));
    let tls = pinion.get("/clusters").json()["clusters"][0]["tls"].clone();
    assert_eq!((&tls["server_name"], &tls["certificate"]), (&"app.example".into(), &true.into()));
    let secret: Vec<&str> = identity.key.lines().filter(|line| !line.starts_with('-')).collect();
    for page in ["/listeners", "/clusters", "/config", "/metrics"] {
        let body = pinion.get(page).body;
        assert!(secret.iter().all(|line| !body.contains(line)), "{page}");
    }
}
