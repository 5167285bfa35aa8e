//! TLS of the origin, with rustls as a client and with curl, on both drivers.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use common::{DRIVERS, Origin, PATIENCE, program};

/// Two authorities and what they signed, as files.
struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for authority in ["ca", "other"] {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.distinguished_name.push(DnType::CommonName, authority);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
            std::fs::write(folder.path().join(format!("{authority}.pem")), issuer.pem()).unwrap();
            for leaf in ["server", "client"] {
                let key = KeyPair::generate().unwrap();
                let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
                params.distinguished_name.push(DnType::CommonName, leaf);
                let certificate = params.signed_by(&key, &issuer).unwrap();
                let name = format!("{authority}-{leaf}");
                std::fs::write(folder.path().join(format!("{name}.pem")), certificate.pem()).unwrap();
                std::fs::write(folder.path().join(format!("{name}.key")), key.serialize_pem()).unwrap();
            }
        }
        Files { folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// The options that make the origin speak TLS, and these.
    fn options(&self, more: &[&str]) -> Vec<String> {
        let mut options = vec!["--tls-certificate".to_owned(), self.path("ca-server.pem")];
        options.extend(["--tls-key".to_owned(), self.path("ca-server.key")]);
        options.extend(more.iter().map(|option| (*option).to_owned()));
        options
    }

    fn start(&self, driver: &str, more: &[&str]) -> Origin {
        let options = self.options(more);
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let origin = Origin::start(driver, &options);
        assert!(origin.announced.trim_end().ends_with(", TLS"), "{}", origin.announced);
        origin
    }

    /// A client that trusts the first authority, offers these protocols, and shows this certificate.
    fn client(&self, alpn: &[&str], certificate: Option<&str>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.path("ca.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match certificate {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let chain = CertificateDer::from_pem_file(self.path(&format!("{name}.pem"))).unwrap();
                let key = PrivateKeyDer::from_pem_file(self.path(&format!("{name}.key"))).unwrap();
                builder.with_client_auth_cert(vec![chain], key).unwrap()
            }
        };
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }
}

type Tls<S> = StreamOwned<ClientConnection, S>;

fn wrap<S: Read + Write>(config: &Arc<ClientConfig>, stream: S) -> Tls<S> {
    let name = ServerName::try_from("localhost").unwrap();
    StreamOwned::new(ClientConnection::new(Arc::clone(config), name).unwrap(), stream)
}

fn connect(origin: &Origin, config: &Arc<ClientConfig>) -> Tls<TcpStream> {
    wrap(config, origin.connect())
}

/// Asks for a path on a connection of its own; the head and the body.
fn get<S: Read + Write>(mut stream: Tls<S>, path: &str) -> std::io::Result<(String, Vec<u8>)> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    // An end without close_notify would be an error: the origin says that it ends.
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    Ok((String::from_utf8(answer[..end].to_vec()).unwrap(), answer.split_off(end)))
}

/// What `/echo` says of the connection's TLS.
fn facts<S: Read + Write>(stream: Tls<S>) -> std::io::Result<serde_json::Value> {
    let (_, body) = get(stream, "/echo")?;
    Ok(serde_json::from_slice::<serde_json::Value>(&body).unwrap()["tls"].take())
}

#[test]
fn http_1_runs_over_tls_of_both_versions() {
    let files = Files::make();
    for driver in DRIVERS {
        let origin = files.start(driver, &[]);
        for (version, name) in [(&rustls::version::TLS13, "TLSv1_3"), (&rustls::version::TLS12, "TLSv1_2")] {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(files.path("ca.pem")).unwrap()).unwrap();
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let builder = ClientConfig::builder_with_provider(provider);
            let builder = builder.with_protocol_versions(&[version]).unwrap();
            let config = Arc::new(builder.with_root_certificates(roots).with_no_client_auth());
            let tls = facts(connect(&origin, &config)).unwrap();
            assert_eq!((&tls["version"], &tls["server_name"]), (&name.into(), &"localhost".into()), "{tls}");
            assert_eq!((&tls["alpn"], &tls["client_certificates"]), (&serde_json::Value::Null, &0.into()));
            for size in [1, 16_385, 3 << 20] {
                let (head, body) = get(connect(&origin, &config), &format!("/bytes/{size}")).unwrap();
                assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
                assert_eq!(body.len(), size);
                assert!(body.ends_with(
                    &format!("{:015x}\n", (size - 1) / 16 % 16_384).as_bytes()[..(size - 1) % 16 + 1]
                ));
            }
        }
    }
}

#[test]
fn the_protocol_is_agreed_on() {
    let files = Files::make();
    for driver in DRIVERS {
        let origin = files.start(driver, &[]);
        let config = Arc::new(files.client(&["http/1.1"], None));
        assert_eq!(facts(connect(&origin, &config)).unwrap()["alpn"], "http/1.1");
        // HTTP/2 is preferred, and its first frame is SETTINGS.
        let config = Arc::new(files.client(&["http/1.1", "h2"], None));
        let mut stream = connect(&origin, &config);
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
        let mut frame = [0; 9];
        stream.read_exact(&mut frame).unwrap();
        assert_eq!((stream.conn.alpn_protocol(), frame[3]), (Some(&b"h2"[..]), 4));
        let unknown = Arc::new(files.client(&["spdy/3"], None));
        assert!(get(connect(&origin, &unknown), "/").is_err(), "an unknown protocol was agreed on");
    }
}

#[test]
fn sessions_are_resumed_by_any_thread_unless_that_is_off() {
    let files = Files::make();
    for driver in DRIVERS {
        for (options, resumes) in [(&["--threads", "2"][..], true), (&["--no-resumption"], false)] {
            let origin = files.start(driver, options);
            let config = Arc::new(files.client(&[], None));
            let resumed: Vec<bool> = (0..10)
                .map(|_| facts(connect(&origin, &config)).unwrap()["resumed"].as_bool().unwrap())
                .collect();
            let expected: Vec<bool> = (0..10).map(|number| resumes && number > 0).collect();
            assert_eq!(resumed, expected, "{options:?}");
        }
    }
}

#[test]
fn clients_show_a_certificate_of_the_right_authority() {
    let files = Files::make();
    for driver in DRIVERS {
        let authority = files.path("ca.pem");
        let origin = files.start(driver, &["--client-ca", &authority]);
        let ask = |certificate| facts(connect(&origin, &Arc::new(files.client(&[], certificate))));
        assert_eq!(ask(Some("ca-client")).unwrap()["client_certificates"], 1);
        for wrong in [None, Some("other-client")] {
            // The alert that tells why arrives, it is not lost in a reset.
            let error = ask(wrong).unwrap_err();
            assert!(error.to_string().contains("alert"), "{wrong:?}: {error}");
        }
    }
}

#[test]
fn every_protocol_runs_over_tls() {
    let files = Files::make();
    let config = Arc::new(files.client(&[], None));
    for driver in DRIVERS {
        let options = files.options(&["--tcp-echo", "127.0.0.1:0"]);
        let echo = Origin::run(driver, &options.iter().map(String::as_str).collect::<Vec<_>>());
        let mut stream = connect(&echo, &config);
        let sent = vec![7; 100_000];
        stream.write_all(&sent).unwrap();
        let mut echoed = vec![0; sent.len()];
        stream.read_exact(&mut echoed).unwrap();
        assert!(echoed == sent);
        stream.conn.send_close_notify();
        stream.flush().unwrap();
        stream.sock.shutdown(Shutdown::Write).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "no close_notify");

        let origin = files.start(driver, &["--proxy-protocol"]);
        let plain = || {
            let mut stream = origin.connect();
            stream.write_all(b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 80\r\n").unwrap();
            stream
        };
        let (_, body) = get(wrap(&config, plain()), "/echo").unwrap();
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&body).unwrap()["source"], "192.0.2.1:4711");
        let mut stream = wrap(&config, plain());
        let handshake = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(handshake.as_bytes()).unwrap();
        stream.write_all(&[0x81, 0x82, 0, 0, 0, 0, b'h', b'i']).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\x81\x02hi") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 101"));

        let path = files.folder.path().join(format!("{driver}.sock"));
        let options = files.options(&[]);
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let _origin = Origin::start_at(&format!("unix:{}", path.display()), driver, &options);
        let stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(get(wrap(&config, stream), "/bytes/10").unwrap().1.len(), 10);
    }
}

#[test]
fn a_truncation_and_a_reset_happen_inside_tls_too() {
    let files = Files::make();
    let config = Arc::new(files.client(&[], None));
    for driver in DRIVERS {
        let origin = files.start(driver, &[]);
        let (head, body) = get(connect(&origin, &config), "/truncate/100").unwrap();
        assert!(head.contains("content-length: 1124"), "{head}");
        assert_eq!(body.len(), 100);
        let error = get(connect(&origin, &config), "/reset").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}

#[test]
fn what_is_not_tls_ends_its_connection_only() {
    let files = Files::make();
    for driver in DRIVERS {
        let origin = files.start(driver, &[]);
        let mut stream = origin.connect();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP"), "an answer in plain text");
        let config = Arc::new(files.client(&[], None));
        assert!(get(connect(&origin, &config), "/").is_ok());
    }
}

#[test]
fn wrong_files_are_said_at_the_start() {
    let files = Files::make();
    let start = |certificate: &str, key: &str, authority: Option<&str>| {
        let mut options = vec!["origin", "--listen", "127.0.0.1:0", "--tls-certificate", certificate];
        options.extend(["--tls-key", key]);
        options.extend(authority.iter().flat_map(|path| ["--client-ca", path]));
        let output = program(&options).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let (certificate, key) = (files.path("ca-server.pem"), files.path("ca-server.key"));
    assert!(start("nowhere.pem", &key, None).contains("can't read nowhere.pem"));
    assert!(start(&key, &key, None).contains("holds no certificate"));
    assert!(start(&certificate, &certificate, None).contains(&certificate));
    assert!(start(&certificate, &files.path("ca-client.key"), None).contains("TLS"));
    assert!(start(&certificate, &key, Some(&key)).contains("holds no certificate"));
}

fn curl(files: &Path, options: &[&str], url: &str) -> String {
    let authority: PathBuf = files.join("ca.pem");
    let output = Command::new("curl")
        .args(["-sS", "--cacert", authority.to_str().unwrap(), "-w", "\n%{http_version}"])
        .args(options)
        .arg(url)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn curl_and_h2load_speak_https_with_it() {
    if Command::new("curl").arg("--version").output().is_err() {
        println!("SKIPPED: no curl");
        return;
    }
    if Command::new("h2load").arg("--version").output().is_err() {
        println!("SKIPPED: no h2load");
        return;
    }
    let files = Files::make();
    for driver in DRIVERS {
        let origin = files.start(driver, &[]);
        let port = origin.address.rsplit(':').next().unwrap();
        let url = format!("https://localhost:{port}/bytes/5");
        assert_eq!(curl(files.folder.path(), &["--ipv4", "--http2"], &url), "00000\n2");
        assert_eq!(curl(files.folder.path(), &["--ipv4", "--http1.1"], &url), "00000\n1.1");
        let url = format!("https://{}/bytes/20KiB", origin.address);
        let output = Command::new("h2load").args(["-n500", "-c4", "-m8", &url]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("500 succeeded, 0 failed, 0 errored"), "{text}");
    }
}
