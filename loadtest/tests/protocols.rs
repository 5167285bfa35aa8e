//! The generator against the origin over every protocol: plain and in TLS, on both drivers.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Output;

use common::{DRIVERS, Origin, program};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;

/// Runs the generator with a JSON report.
fn load(options: &[&str]) -> Value {
    let output = run(options);
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {} {}", output.status, String::from_utf8_lossy(&output.stderr)))
}

fn run(options: &[&str]) -> Output {
    program(&["--quiet", "--json", "-"]).args(options).output().unwrap()
}

/// Every request was answered, well and in full.
fn check_all_answered(report: &Value, count: u64) {
    assert_eq!(
        (report["sent"].as_u64(), report["answered"].as_u64()),
        (Some(count), Some(count)),
        "{report:#}"
    );
    assert_eq!(
        (report["failed"].as_u64(), report["errors_total"].as_u64()),
        (Some(0), Some(0)),
        "{report:#}"
    );
}

/// Certificates for 127.0.0.1 and for a client, from one authority.
struct Certificates {
    folder: tempfile::TempDir,
}

impl Certificates {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_key = KeyPair::generate().unwrap();
        let ca_certificate = ca.self_signed(&ca_key).unwrap();
        let issuer = Issuer::from_params(&ca, &ca_key);
        std::fs::write(folder.path().join("ca.pem"), ca_certificate.pem()).unwrap();
        for name in ["server", "client"] {
            let key = KeyPair::generate().unwrap();
            let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
            let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
            std::fs::write(folder.path().join(format!("{name}.pem")), certificate.pem()).unwrap();
            std::fs::write(folder.path().join(format!("{name}.key")), key.serialize_pem()).unwrap();
        }
        Certificates { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// An origin that speaks TLS.
    fn origin(&self, driver: &str, options: &[&str]) -> Origin {
        let (certificate, key) = (self.text("server.pem"), self.text("server.key"));
        let tls = ["--tls-certificate", &certificate, "--tls-key", &key];
        Origin::start(driver, &[&tls[..], options].concat())
    }
}

/// What each protocol is asked with: the scheme without and with TLS, the path, and options.
const PROTOCOLS: [(&str, &str, &str, &[&str]); 5] = [
    ("http", "https", "/bytes/1000", &["--http", "http1"]),
    ("http", "https", "/bytes/20000", &["--http", "http2", "--streams", "8"]),
    ("grpc", "grpcs", "/echo.Echo/Unary", &["--body", "hello"]),
    ("grpc", "grpcs", "/echo.Echo/Bidi", &["--body-size", "1..30KiB", "--grpc-streaming", "--streams", "3"]),
    ("ws", "wss", "/chat", &["--body-size", "0..70KiB"]),
];

const LOAD: [&str; 8] = ["--rate", "200", "--duration", "5s", "-n", "100", "--connections", "3"];

#[test]
fn every_protocol_is_answered_in_plain_text_and_in_tls_on_both_drivers() {
    let certificates = Certificates::new();
    let ca = certificates.text("ca.pem");
    for driver in DRIVERS {
        let plain = Origin::start(driver, &[]);
        let secure = certificates.origin(driver, &[]);
        for (scheme, secure_scheme, path, options) in PROTOCOLS {
            let url = format!("{scheme}://{}{path}", plain.address);
            let report = load(&[&LOAD[..], options, &["--driver", driver, &url]].concat());
            check_all_answered(&report, 100);
            assert!(report["bytes_in"].as_u64() > report["content_bytes"].as_u64(), "{report:#}");
            let url = format!("{secure_scheme}://{}{path}", secure.address);
            let report = load(&[&LOAD[..], options, &["--driver", driver, "--ca", &ca, &url]].concat());
            check_all_answered(&report, 100);
            let handshakes = &report["handshakes"];
            let count = handshakes["full"].as_u64().unwrap() + handshakes["resumed"].as_u64().unwrap();
            assert_eq!(Some(count), report["connects"].as_u64(), "{report:#}");
        }
    }
}

#[test]
fn bytes_come_back_over_tcp() {
    for driver in DRIVERS {
        let origin = Origin::run(driver, &["--tcp-echo", "127.0.0.1:0"]);
        let url = format!("tcp://{}", origin.address);
        let report = load(&[&LOAD[..], &["--driver", driver, "--body-size", "1..100KiB", &url]].concat());
        check_all_answered(&report, 100);
    }
}

#[test]
fn https_takes_what_the_peer_chooses() {
    let certificates = Certificates::new();
    let origin = certificates.origin("epoll", &[]);
    let (url, ca) = (format!("https://{}/echo", origin.address), certificates.text("ca.pem"));
    // With one connection, only HTTP/2 can have several requests in flight.
    let slow = format!("https://{}/delay/200ms", origin.address);
    let options = ["--ca", &ca, "--connections", "1", "-n", "20", "--rate", "1000"];
    let report = load(&[&options[..], &[&slow]].concat());
    check_all_answered(&report, 20);
    let p99 = report["latency"]["percentiles_nanos"]["p99"].as_u64().unwrap();
    assert!(p99 < 3_000_000_000, "20 answers of 200 ms one after the other would take 4 s: {report:#}");
    let report = load(&[&options[..], &["--http", "http1", &url]].concat());
    check_all_answered(&report, 20);
}

#[test]
fn certificates_are_verified_and_shown() {
    let certificates = Certificates::new();
    let [ca, cert, key] = ["ca.pem", "client.pem", "client.key"].map(|name| certificates.text(name));
    let origin = certificates.origin("epoll", &["--client-ca", &ca]);
    let url = format!("https://{}/", origin.address);
    let identity = ["--cert", &cert, "--key", &key];
    let report = load(&[&LOAD[..], &identity, &["--ca", &ca, &url]].concat());
    check_all_answered(&report, 100);
    let report = load(&[&LOAD[..], &identity, &["--insecure", "--tls-version", "1.2", &url]].concat());
    check_all_answered(&report, 100);
    // An unknown authority; a name that is not in the certificate.
    for wrong in [&["--ca", &cert][..], &["--ca", &ca, "--server-name", "other.example"]] {
        let output = run(&[&LOAD[..], &identity, wrong, &[&url]].concat());
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && told.contains(": tls: invalid peer certificate"),
            "{wrong:?}: {told}"
        );
    }
}

#[test]
fn sessions_are_resumed_unless_that_is_switched_off() {
    let certificates = Certificates::new();
    let origin = certificates.origin("epoll", &[]);
    let (url, ca) = (format!("https://{}/", origin.address), certificates.text("ca.pem"));
    for version in ["1.2", "1.3"] {
        let options =
            ["--ca", &ca, "--tls-version", version, "--http", "http1", "--requests-per-connection", "2"];
        let report = load(&[&LOAD[..], &options, &[&url]].concat());
        check_all_answered(&report, 100);
        let resumed = report["handshakes"]["resumed"].as_u64().unwrap();
        assert!(resumed >= 30, "{version}: {report:#}");
        let report = load(&[&LOAD[..], &options, &["--no-resumption", &url]].concat());
        check_all_answered(&report, 100);
        let handshakes = &report["handshakes"];
        assert!(handshakes["resumed"] == 0 && handshakes["full"].as_u64() >= Some(50), "{report:#}");
    }
}

/// A server that shakes hands once; what it agreed on with the client.
fn agreed(certificates: &Certificates, options: &[&str]) -> Option<(String, String)> {
    let chain = CertificateDer::from_pem_file(certificates.path("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(certificates.path("server.key")).unwrap();
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(vec![chain], key);
    let config = std::sync::Arc::new(config.unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut session = rustls::ServerConnection::new(config).unwrap();
        while session.is_handshaking() {
            session.complete_io(&mut stream).ok()?;
        }
        let group = session.negotiated_key_exchange_group()?.name();
        Some((format!("{group:?}"), format!("{:?}", session.negotiated_cipher_suite()?.suite())))
    });
    let ca = certificates.text("ca.pem");
    // It gets no answer, so it fails in any case.
    run(&[&["--ca", &ca, "--connections", "1", "-n", "1", "--timeout", "1s"], options, &[&url]].concat());
    server.join().unwrap()
}

#[test]
fn key_exchange_groups_and_cipher_suites_can_be_chosen() {
    let certificates = Certificates::new();
    let agreed = |options: &[&str]| agreed(&certificates, options);
    let text = |group: &str, suite: &str| Some((group.to_owned(), suite.to_owned()));
    let options = ["--tls-groups", "secp256r1,x25519", "--tls-suites", "TLS_AES_128_GCM_SHA256"];
    assert_eq!(agreed(&options), text("secp256r1", "TLS13_AES_128_GCM_SHA256"));
    let options = ["--tls-groups", "x25519", "--tls-version", "1.3"];
    assert_eq!(agreed(&options), text("X25519", "TLS13_AES_256_GCM_SHA384"));
    assert_eq!(agreed(&[]), text("X25519MLKEM768", "TLS13_AES_256_GCM_SHA384"));

    let output = run(&["--insecure", "--tls-groups", "x448", "https://127.0.0.1:1/"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && told.contains("x25519mlkem768"), "{told}");
    // No suite for that version.
    let output =
        run(&[&options[2..], &["--insecure", "--tls-suites"], &SUITE_12, &["https://127.0.0.1:1/"]].concat());
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

/// A cipher suite of TLS 1.2.
const SUITE_12: [&str; 1] = ["tls_ecdhe_ecdsa_with_aes_128_gcm_sha256"];

#[test]
fn unix_sockets_and_proxy_headers_are_spoken() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("origin.sock").display().to_string();
    for driver in DRIVERS {
        let _origin = Origin::start_at(&format!("unix:{socket}"), driver, &[]);
        let options = ["--driver", driver, "--unix", &socket, "http://service.example/echo"];
        check_all_answered(&load(&[&LOAD[..], &options].concat()), 100);
    }
    let origin = Origin::start("epoll", &["--proxy-protocol"]);
    let url = format!("http://{}/echo", origin.address);
    for version in ["v1", "v2"] {
        let options = ["--proxy-protocol", version, "--proxy-source", "192.0.2.7:4567", &url];
        check_all_answered(&load(&[&LOAD[..], &options].concat()), 100);
    }
    // Without the header, the origin answers nothing.
    let output = run(&[&LOAD[..], &[&url]].concat());
    assert!(!output.status.success());
}

#[test]
fn connections_come_and_go_as_asked() {
    for driver in DRIVERS {
        let origin = Origin::start(driver, &[]);
        let url = format!("http://{}/", origin.address);
        let report =
            load(&[&LOAD[..], &["--driver", driver, "--requests-per-connection", "10", &url]].concat());
        check_all_answered(&report, 100);
        assert!(report["connects"].as_u64().unwrap() >= 10, "{report:#}");
        let churn = ["--rate", "200", "--duration", "1s", "--connections", "4", "--new-connections", "40"];
        let report = load(&[&churn[..], &["--driver", driver, "--idle-connections", "50", &url]].concat());
        check_all_answered(&report, 200);
        // 4 and 50 at the start, then about 40.
        let connects = report["connects"].as_u64().unwrap();
        assert!((80..=100).contains(&connects), "{report:#}");
    }
}

#[test]
fn what_is_not_http2_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let output = run(&["--http", "http2", "-n", "5", "--rate", "50", "--connections", "1", &url]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && told.contains("what the peer answers is not HTTP/2"), "{told}");
}

#[test]
fn a_scenario_has_weighted_targets_of_several_kinds() {
    let origin = Origin::start("epoll", &[]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scenario.toml");
    let text = format!(
        "rate = \"400\"\nduration = \"1s\"\narrivals = \"poisson\"\nconnections = 4\nseed = 3\n\
         [[targets]]\nname = \"small\"\nurl = \"http://{0}/bytes/10\"\nweight = 3\n\
         [[targets]]\nname = \"post\"\nurl = \"http://{0}/echo\"\nmethod = \"POST\"\nbody_size = \"1..2KiB\"\n\
         [[targets]]\nname = \"call\"\nurl = \"grpc://{0}/echo.Echo/Unary\"\nbody = \"x\"\n",
        origin.address
    );
    std::fs::write(&path, text).unwrap();
    let scenario = path.display().to_string();
    let samples = folder.path().join("samples.csv").display().to_string();
    let report = load(&["--scenario", &scenario, "--samples", &samples]);
    let sent = report["sent"].as_u64().unwrap();
    check_all_answered(&report, sent);
    // Two of five requests on average; the standard deviation is below 10.
    let counts = targets_of(Path::new(&samples));
    assert_eq!(counts.iter().sum::<u64>(), sent);
    assert!(counts[0] > counts[1] && counts[0] > counts[2] && counts[1] > 30 && counts[2] > 30, "{counts:?}");
    // The same seed, the same requests.
    load(&["--scenario", &scenario, "--samples", &samples]);
    assert_eq!(targets_of(Path::new(&samples)), counts);
}

fn targets_of(samples: &Path) -> [u64; 3] {
    let mut counts = [0; 3];
    for line in std::fs::read_to_string(samples).unwrap().lines().skip(1) {
        let target: usize = line.split(',').nth(3).unwrap().parse().unwrap();
        counts[target] += 1;
    }
    counts
}

#[test]
fn a_log_is_replayed_with_its_timing() {
    let origin = Origin::start("epoll", &[]);
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let line = |millis: u32, path: &str| {
        format!(
            "{{\"start_time\":\"2026-11-20T10:00:00.{millis:03}Z\",\"method\":\"GET\",\"path\":\"{path}\",\"authority\":\"a\"}}\n"
        )
    };
    std::fs::write(&log, [line(100, "/bytes/1"), line(500, "/bytes/2"), line(900, "/status/404")].concat())
        .unwrap();
    let samples = folder.path().join("samples.csv");
    let (log, csv) = (log.display().to_string(), samples.display().to_string());
    let url = format!("http://{}/", origin.address);
    let report = load(&["--replay", &log, "--speed", "2", "--samples", &csv, &url]);
    assert_eq!((report["statuses"]["200"].as_u64(), report["statuses"]["404"].as_u64()), (Some(2), Some(1)));
    let due: Vec<String> = std::fs::read_to_string(samples)
        .unwrap()
        .lines()
        .skip(1)
        .map(|line| line.split(',').next().unwrap().to_owned())
        .collect();
    assert_eq!(due, ["0", "200000000", "400000000"]);
}

#[test]
fn the_knee_of_a_server_with_two_workers_is_found() {
    // Each request takes 10 ms of one of two workers: 200 a second is all there is.
    let origin = Origin::start("epoll", &["--service-time", "10ms", "--workers", "2"]);
    let url = format!("http://{}/", origin.address);
    let output = program(&["--quiet", "--json", "-", "--find-knee", "p50 < 400ms", "--rate", "50"])
        .args(["--duration", "1500ms", "--connections", "200", &url])
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let trials = report["trials"].as_array().unwrap();
    assert!(trials.len() >= 2, "{report:#}");
    // On a machine with much other work the generator may not keep up, and says so.
    if report["generator_limit"].is_null() {
        let knee = report["knee_per_second"].as_f64().unwrap();
        assert!((100.0..400.0).contains(&knee), "{report:#}");
    } else {
        assert!(trials.iter().any(|trial| trial["verdict"] == "not_certified"), "{report:#}");
    }
}

/// The message is no content of the handshake.
#[test]
fn a_given_message_goes_over_a_web_socket() {
    let origin = Origin::start("epoll", &[]);
    let url = format!("ws://{}/", origin.address);
    let report = load(&[&LOAD[..], &["--body", "hello", &url]].concat());
    check_all_answered(&report, 100);
    assert_eq!(report["content_bytes"], 500);
}

/// A peer that refuses every stream: each request is sent six times, and then it has failed.
#[test]
fn what_is_refused_for_ever_is_not_sent_for_ever() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let _ = stream.read_exact(&mut [0; 24]);
        let _ = stream.write_all(b"\0\0\0\x04\0\0\0\0\0");
        let mut head = [0; 9];
        while stream.read_exact(&mut head).is_ok() {
            let length = usize::from(head[1]) << 8 | usize::from(head[2]);
            if stream.read_exact(&mut vec![0; length]).is_err() {
                return;
            }
            // HEADERS are answered by RST_STREAM with REFUSED_STREAM.
            if head[3] == 1 {
                let reset = [&b"\0\0\x04\x03\0"[..], &head[5..], b"\0\0\0\x07"].concat();
                let _ = stream.write_all(&reset);
            }
        }
    });
    let report = load(&["--http", "http2", "-c", "1", "-r", "100", "-n", "10", &url]);
    assert_eq!((&report["sent"], &report["failed"], &report["resent"]), (&10.into(), &10.into(), &50.into()));
    assert_eq!(report["errors"]["refused"], 10);
}

/// Calls that the peer ends are opened again; every message has one end.
#[test]
fn calls_that_end_are_opened_again() {
    let origin = Origin::start("epoll", &["--error-rate", "99%"]);
    let url = format!("grpc://{}/echo.Echo/Stream", origin.address);
    let options = ["--grpc-streaming", "--streams", "7", "-c", "2", "-b", "abc", "-r", "300", "-n", "300"];
    let report = load(&[&options[..], &[&url]].concat());
    let count = |name: &str| report[name].as_u64().unwrap();
    assert_eq!((count("sent"), count("answered") + count("failed")), (300, 300), "{report:#}");
    assert!(report["grpc_statuses"]["14"].as_u64().unwrap() > 10, "{report:#}");
}

/// What was found of the knee before Ctrl-C is reported, and a part of a trial is not taken for one.
#[test]
fn an_interrupted_search_reports_what_it_knows() {
    let origin = Origin::start("epoll", &[]);
    let options = ["--quiet", "--json", "-", "-r", "5", "-d", "30s", "--find-knee", "p50 < 10s"];
    let child = program(&options)
        .arg(format!("http://{}/", origin.address))
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(800));
    std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let output = child.wait_with_output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["interrupted"], report["trials"].as_array().unwrap().len()), (&true.into(), 0));
    assert_eq!(output.status.code(), Some(1));
}
