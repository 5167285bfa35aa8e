//! Who handles the records of TLS connections, under the real program: the proxy, or the kernel where it can.
//!
//! The same traffic goes through either; what differs is asserted with the metrics and, where there is one, the
//! kernel's own count. `ci/ktls` brings kernels along.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's help fails by panicking")]

#[path = "support/pki.rs"]
mod pki;
mod support;

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use pki::Authority;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use support::{Driver, Pinion, drivers, eventually, pattern, run};

const BIG: usize = 3 * 1024 * 1024;
/// What the kernel counts of its TLS, where it has any.
const TLS_STAT: &str = "/proc/net/tls_stat";

fn config(address: SocketAddr, ktls: &str) -> String {
    format!(
        r#"
[[listeners]]
name = "web"
address = "127.0.0.1:0"
[listeners.tls]
certificate = "tls.pem"
private_key = "tls.key"
alpn = ["http/1.1"]
ktls = "{ktls}"

[[routes]]
cluster = "app"

[[clusters]]
name = "app"
endpoints = ["{address}"]
[clusters.tls]
ca = "ca.pem"
server_name = "a.example"
alpn = ["http/1.1"]
ktls = "{ktls}"
"#
    )
}

/// A count of the kernel's.
fn counted(name: &str) -> u64 {
    let text = fs::read_to_string(TLS_STAT).unwrap_or_default();
    let line = text.lines().find(|line| line.split_whitespace().next() == Some(name));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}

fn has_kernel_tls() -> bool {
    fs::exists(TLS_STAT).unwrap()
}

/// An origin that speaks HTTP/1.1 over TLS: `GET /N` answers with N bytes, `POST` with the body's length.
fn origin(authority: &Authority) -> SocketAddr {
    let identity = authority.issue(&["a.example"]);
    let chain = CertificateDer::pem_slice_iter(identity.chain.as_bytes()).collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for tcp in listener.incoming() {
            let tls = ServerConnection::new(config.clone()).unwrap();
            std::thread::spawn(move || drop(serve(StreamOwned::new(tls, tcp.unwrap()))));
        }
    });
    address
}

fn serve(stream: StreamOwned<ServerConnection, TcpStream>) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read_until(b'\n', &mut head)? == 0 {
                return Ok(());
            }
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        stream.read_exact(&mut body)?;
        let answer = match head.strip_prefix("get /") {
            Some(rest) => pattern(rest.split(' ').next().unwrap().parse().unwrap()),
            None => format!("{} {}", body.len(), body == pattern(body.len())).into_bytes(),
        };
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", answer.len());
        stream.get_mut().write_all(&[head.into_bytes(), answer].concat())?;
        stream.get_mut().flush()?;
    }
}

struct Client(BufReader<StreamOwned<ClientConnection, TcpStream>>);

impl Client {
    fn new(authority: &Authority, address: SocketAddr) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(authority.der())).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let tcp = TcpStream::connect(address).unwrap();
        tcp.set_nodelay(true).unwrap();
        tcp.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let name = ServerName::try_from("a.example").unwrap();
        Client(BufReader::new(StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), tcp)))
    }

    fn ask(&mut self, head: &str, body: &[u8]) -> Vec<u8> {
        let stream = self.0.get_mut();
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        stream.flush().unwrap();
        let mut length = 0;
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the end inside a head");
            if line.starts_with("HTTP/1.1 ") {
                assert!(line.starts_with("HTTP/1.1 200"), "{line}");
            }
            match line.trim_end().to_ascii_lowercase().split_once(": ") {
                Some(("content-length", value)) => length = value.parse().unwrap(),
                _ if line == "\r\n" => break,
                _ => {}
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        body
    }

    fn get(&mut self, length: usize) {
        let body = self.ask(&format!("GET /{length} HTTP/1.1\r\nhost: a.example\r\n\r\n"), b"");
        assert!(body == pattern(length));
    }

    fn post(&mut self, length: usize) {
        let head = format!("POST / HTTP/1.1\r\nhost: a.example\r\ncontent-length: {length}\r\n\r\n");
        assert_eq!(self.ask(&head, &pattern(length)), format!("{length} true").into_bytes());
    }
}

fn active(pinion: &Pinion, records: &str) -> f64 {
    let metrics = pinion.metrics();
    let reasons: &[&str] = match records {
        "kernel" => &["chosen"],
        _ => &["off", "no_kernel_tls", "suite", "no_rekey", "half_records", "not_bulk", "unsettled"],
    };
    let one =
        |reason| metrics.value("pinion_tls_connections_active", &[("records", records), ("reason", reason)]);
    reasons.iter().copied().map(one).sum()
}

/// Small and large exchanges both ways; says how many bytes of the large ones were spliced.
fn exchange(driver: Driver, ktls: &str) -> (Pinion, Client, f64) {
    let authority = Authority::new("root");
    let address = origin(&authority);
    let builder = Pinion::with(driver).config(&config(address, ktls));
    let folder = builder.folder().to_owned();
    fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    authority.issue(&["a.example"]).write(&folder, "tls");
    let pinion = builder.start();
    let mut client = Client::new(&authority, pinion.address("web"));
    for length in [0, 1, 1_000, 20_000, BIG, 5] {
        client.get(length);
        client.post(length);
    }
    // Once more, after whatever the bulk has changed.
    client.get(BIG);
    client.post(BIG);
    client.get(7);
    let spliced =
        |way| pinion.metrics().value("pinion_relay_bytes_total", &[("path", "splice"), ("direction", way)]);
    let spliced = spliced("downstream") + spliced("upstream");
    (pinion, client, spliced)
}

#[test]
fn records_in_user_space_serve_everything() {
    for driver in drivers() {
        let (pinion, client, spliced) = exchange(driver, "off");
        assert_eq!((active(&pinion, "user"), active(&pinion, "kernel"), spliced), (2.0, 0.0, 0.0));
        drop(client);
        eventually("the client's connection is gone", || active(&pinion, "user") < 2.0);
    }
}

/// Wherever it runs, `auto` serves; on a kernel that can do all of it, bulk leaves for the kernel.
#[test]
fn records_with_auto_serve_everything_and_leave_for_a_kernel_that_can() {
    for driver in drivers() {
        let before = counted("TlsTxSw");
        let (pinion, client, spliced) = exchange(driver, "auto");
        let in_kernel = active(&pinion, "kernel");
        assert_eq!(active(&pinion, "user") + in_kernel, 2.0);
        if std::env::var_os("PINION_KTLS_EXPECTED").is_some_and(|expected| expected == "auto") {
            assert_eq!(in_kernel, 2.0, "this kernel can do all of it");
        }
        assert_eq!(in_kernel > 0.0, spliced > 0.0, "what is in the kernel is spliced");
        assert!(counted("TlsTxSw") - before >= in_kernel as u64, "the kernel counts as the proxy does");
        drop(client);
    }
}

#[test]
fn records_with_on_are_the_kernels() {
    if !has_kernel_tls() {
        println!("SKIPPED: this kernel has no TLS");
        return;
    }
    for driver in drivers() {
        let before = counted("TlsTxSw");
        let (pinion, client, spliced) = exchange(driver, "on");
        assert_eq!((active(&pinion, "user"), active(&pinion, "kernel")), (0.0, 2.0));
        // Four of each way, without what came with the heads.
        assert!(spliced > 3.5 * BIG as f64, "{spliced}");
        // Those of the probes come on top.
        assert!(counted("TlsTxSw") - before >= 2, "the kernel counts as the proxy does");
        let handed = [("result", "handed")];
        assert_eq!(pinion.metrics().value("pinion_tls_kernel_connections_total", &handed), 2.0);
        assert_eq!(counted("TlsDecryptError"), 0);
        drop(client);
        eventually("the client's connection is gone", || active(&pinion, "kernel") < 2.0);
    }
}

#[test]
fn on_without_a_kernel_that_can_does_not_start() {
    if has_kernel_tls() {
        println!("SKIPPED: this kernel has TLS");
        return;
    }
    let authority = Authority::new("root");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pinion.toml");
    fs::write(&path, config(SocketAddr::from(([127, 0, 0, 1], 9)), "on")).unwrap();
    fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
    authority.issue(&["a.example"]).write(folder.path(), "tls");
    let path = path.display().to_string();
    assert_eq!(run(&["check", &path]).status, 0, "the configuration as such is good");
    let said = run(&["run", "--config", &path]);
    assert_eq!(said.status, 1, "{said:#?}");
    assert!(
        said.stderr.contains("listener \"web\" has `ktls = \"on\"`, but the kernel has no TLS"),
        "{said:#?}"
    );
    // A reload that asks for it is refused, and what is in force stays.
    let builder = Pinion::with(Driver::Epoll).config(&config(SocketAddr::from(([127, 0, 0, 1], 9)), "auto"));
    let inside = builder.folder().to_owned();
    fs::write(inside.join("ca.pem"), authority.pem()).unwrap();
    authority.issue(&["a.example"]).write(&inside, "tls");
    let pinion = builder.start();
    pinion.write(&config(SocketAddr::from(([127, 0, 0, 1], 9)), "on"));
    let answer = pinion.reload();
    assert_eq!(answer.status, 409, "{answer:?}");
    assert!(answer.json()["detail"].as_str().unwrap().contains("the kernel has no TLS"), "{answer:?}");
}
