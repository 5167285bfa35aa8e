//! curl: HTTP/1.0, HTTP/1.1 and HTTP/2, with and without prior knowledge, TLS, client certificates.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::peers::certificates::Certificates;
use crate::peers::origin::Origin;
use crate::peers::tools::{Said, need, run};
use crate::scene::{LISTENERS, Scene, Setup};
use crate::support::{PATIENCE, drivers};

/// Options for a protocol, what curl then says it spoke, and the listeners for it.
const PROTOCOLS: [(&[&str], &str, &[&str]); 4] = [
    (&["--http1.0"], "1.1", &["plain"]),
    (&["--http1.1"], "1.1", &LISTENERS),
    (&["--http2-prior-knowledge"], "2", &LISTENERS),
    (&["--http2"], "2", &["tls", "mtls"]),
];

/// Sizes of bodies: none, small, more than a buffer, more than a window.
const SIZES: [usize; 4] = [0, 100, 20_000, 1 << 20];

/// curl with HTTP/2; says that the test is skipped without it.
fn curl() -> Option<PathBuf> {
    let curl = need("curl")?;
    let version = run(Command::new(&curl).arg("--version"), PATIENCE);
    if version.success().contains("HTTP2") {
        return Some(curl);
    }
    println!("SKIPPED: this curl has no HTTP/2");
    None
}

/// A curl call: body to a file, what it spoke and the status to standard output.
fn call(curl: &Path, certificates: &Certificates, body: &Path, options: &[&str]) -> Said {
    let mut command = Command::new(curl);
    command.args(["--silent", "--show-error", "--max-time", "20", "--write-out"]);
    command.arg("%{http_version} %{response_code} %{num_connects}\n");
    command.arg("--output").arg(body).args(["--cacert", &certificates.path("ca.pem")]);
    command.args(["--cert", &certificates.path("client.pem"), "--key", &certificates.path("client.key")]);
    run(command.args(options), PATIENCE)
}

#[test]
fn bodies_come_whole_in_every_version() {
    let Some(curl) = curl() else { return };
    let (certificates, origin) = (Certificates::new(), Origin::start(&[]));
    for driver in drivers() {
        for protocol in ["http1", "http2"] {
            let (certificates, upstream) = (&certificates, origin.address());
            let scene = Setup { driver, certificates, upstream, protocol, cluster: "" }.start();
            let body = scene.pinion.folder().join("body");
            for (options, spoken, listeners) in PROTOCOLS {
                for listener in listeners {
                    for size in SIZES {
                        let url = scene.url(listener, &format!("/bytes/{size}"));
                        let said = call(&curl, certificates, &body, &[options, &[&url]].concat());
                        let words: Vec<_> = said.success().split_whitespace().collect();
                        assert_eq!(words[1], "200", "{options:?} {url}: {said:?}");
                        // To HTTP/1.0 the answer is in HTTP/1.1 or 1.0, as the proxy likes (RFC 9110, 6.2).
                        assert!(words[0] == spoken || spoken == "1.1" && words[0] == "1", "{said:?}");
                        let came = std::fs::read(&body).unwrap_or_default();
                        assert!(came == expected(size), "{options:?} {url}: {} bytes came", came.len());
                    }
                }
            }
            for (listener, versions) in [("plain", 3.0), ("tls", 3.0), ("mtls", 3.0)] {
                assert_eq!(scene.requests(listener), versions * SIZES.len() as f64, "{listener}");
            }
            scene.expect_faults(0);
        }
    }
}

/// The origin's body of that size: numbered lines of 16 characters, again and again after 256 KiB.
fn expected(size: usize) -> Vec<u8> {
    let lines = (0..).flat_map(|number: usize| format!("{:015x}\n", number % 16_384).into_bytes());
    lines.take(size).collect()
}

/// Posts with these options and gives the origin's view of the request.
fn echo(curl: &Path, scene: &Scene, certificates: &Certificates, options: &[&str]) -> Value {
    let body = scene.pinion.folder().join("echo");
    call(curl, certificates, &body, options).success();
    let text = std::fs::read_to_string(&body).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn uploads_arrive_whole() {
    let Some(curl) = curl() else { return };
    let (certificates, origin) = (Certificates::new(), Origin::start(&[]));
    for driver in drivers() {
        for protocol in ["http1", "http2"] {
            let (certificates, upstream) = (&certificates, origin.address());
            let scene = Setup { driver, certificates, upstream, protocol, cluster: "" }.start();
            let file = scene.pinion.folder().join("upload");
            std::fs::write(&file, expected(1 << 20)).unwrap();
            let data = format!("@{}", file.display());
            for (version, listener) in
                [("--http1.1", "plain"), ("--http2-prior-knowledge", "plain"), ("--http2", "tls")]
            {
                let url = scene.url(listener, "/echo");
                // With a length; then without one, in chunks or as HTTP/2 does it.
                let known = echo(&curl, &scene, certificates, &[version, "--data-binary", &data, &url]);
                assert_eq!(known["body_length"], 1 << 20, "{version} {protocol}");
                let stream = ["-T", "-", "-X", "POST", "-H", "Transfer-Encoding: chunked", &url];
                let stream = if version == "--http1.1" {
                    stream.to_vec()
                } else {
                    vec!["-T", "-", "-X", "POST", &url]
                };
                let unknown =
                    echo_stdin(&curl, &scene, certificates, &file, &[&[version], &stream[..]].concat());
                assert_eq!(unknown["body_length"], 1 << 20, "{version} {protocol}");
                assert_eq!(unknown["method"], "POST");
            }
            scene.expect_faults(0);
        }
    }
}

/// Like `echo`, with the upload from standard input, so that its length is not known.
fn echo_stdin(
    curl: &Path,
    scene: &Scene,
    certificates: &Certificates,
    file: &Path,
    options: &[&str],
) -> Value {
    let body = scene.pinion.folder().join("echo");
    let script = "exec \"$0\" \"$@\" < \"$UPLOAD\"";
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(curl).env("UPLOAD", file);
    command.args(["--silent", "--show-error", "--max-time", "20", "--output"]).arg(&body);
    command.args(["--cacert", &certificates.path("ca.pem")]).args(options);
    run(&mut command, PATIENCE).success();
    serde_json::from_str(&std::fs::read_to_string(&body).unwrap()).unwrap()
}

#[test]
fn one_connection_carries_many_requests() {
    let Some(curl) = curl() else { return };
    let (certificates, origin) = (Certificates::new(), Origin::start(&[]));
    for driver in drivers() {
        let (certificates, upstream) = (&certificates, origin.address());
        let scene = Setup { driver, certificates, upstream, protocol: "http1", cluster: "" }.start();
        // One after the other in HTTP/1.1, at a time in HTTP/2.
        for (listener, options) in
            [("plain", &["--http1.1"][..]), ("tls", &["--http2", "--parallel", "--parallel-max", "20"])]
        {
            let urls = scene.url(listener, "/bytes/[1001-1020]");
            let folder = scene.pinion.folder().join("#1");
            let said = call(&curl, certificates, &folder, &[options, &[&urls]].concat());
            let lines: Vec<_> = said.success().lines().collect();
            assert!(lines.len() == 20 && lines.iter().all(|line| line.contains(" 200 ")), "{said:?}");
            for size in 1001..=1020 {
                let came = std::fs::read(scene.pinion.folder().join(size.to_string())).unwrap();
                assert!(came == expected(size), "{size}: {}", came.len());
            }
            assert_eq!((scene.connections(listener), scene.requests(listener)), (1.0, 20.0), "{listener}");
        }
        scene.expect_faults(0);
    }
}

#[test]
fn an_upgrade_to_http2_in_plain_text_is_declined() {
    let Some(curl) = curl() else { return };
    let (certificates, origin) = (Certificates::new(), Origin::start(&[]));
    for driver in drivers() {
        let (certificates, upstream) = (&certificates, origin.address());
        let scene = Setup { driver, certificates, upstream, protocol: "http1", cluster: "" }.start();
        let seen = echo(&curl, &scene, certificates, &["--http2", &scene.url("plain", "/echo")]);
        // The request is served in HTTP/1.1 (RFC 9113, 3.1), and what asked for the upgrade stays behind.
        let names = |line: &Value| line[0].as_str().unwrap().to_ascii_lowercase();
        let names: Vec<_> = seen["headers"].as_array().unwrap().iter().map(names).collect();
        for dropped in ["upgrade", "http2-settings", "connection"] {
            assert!(!names.iter().any(|name| name == dropped), "{dropped} in {names:?}");
        }
        scene.expect_faults(0);
    }
}

#[test]
fn client_certificates_are_asked_for_and_verified() {
    let Some(curl) = curl() else { return };
    let (certificates, origin) = (Certificates::new(), Origin::start(&[]));
    for driver in drivers() {
        let upstream = origin.address();
        let setup = Setup { driver, certificates: &certificates, upstream, protocol: "http1", cluster: "" };
        let scene = setup.start();
        let call = |options: &[&str]| {
            let mut command = Command::new(&curl);
            command.args(["--silent", "--show-error", "--max-time", "20", "--cacert"]);
            command.arg(certificates.path("ca.pem")).args(options).arg(scene.url("mtls", "/bytes/5"));
            run(&mut command, PATIENCE)
        };
        let [cert, key] = ["client.pem", "client.key"].map(|file| certificates.path(file));
        let [other, other_key] = ["stranger.pem", "stranger.key"].map(|file| certificates.path(file));
        for version in ["1.2", "1.3"] {
            let version = ["--tls-max", version];
            let with =
                |cert: &str, key: &str| call(&[&version[..], &["--cert", cert, "--key", key]].concat());
            assert_eq!(with(&cert, &key).success(), "00000");
            for refused in [call(&version), with(&other, &other_key)] {
                assert!(refused.status != Some(0) && refused.stdout.is_empty(), "{refused:?}");
            }
        }
        assert_eq!(scene.requests("mtls"), 2.0);
    }
}
