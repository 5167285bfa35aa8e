//! What tests of TLS share: certificates, configurations, a shard's half of TLS, a peer on a thread of its own.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use pinion_core::config::snapshot::Ktls;
use pinion_core::telemetry::ShardStats;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::ServerSessionMemoryCache;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, SupportedCipherSuite,
    SupportedProtocolVersion,
};

use super::TlsShard;
use super::handshake::{Terms, accept, connect};
use crate::net::Driver;
use crate::net::buffers::{BufferPool, Size};
use crate::net::send::send_all;
use crate::net::socket::Socket;
use crate::net::{clock, reactor};
use crate::shard::link::SharedCount;
use crate::shard::slots::Slots;
use crate::sys::buffer::Buffer;

/// The host of every test's certificate.
pub(crate) const HOST: &str = "a.example";

/// Runs `test` on a thread of its own with each driver.
pub(crate) fn on_each<F: Future<Output = ()> + 'static>(test: fn(Driver) -> F) {
    for driver in [Driver::IoUring, Driver::Epoll] {
        let run = move || {
            reactor::start(driver)?;
            reactor::run(test(driver))
        };
        let ended = std::thread::spawn(run).join().unwrap();
        match ended {
            Err(error) if driver == Driver::IoUring => println!("SKIPPED: no io_uring: {error}"),
            other => other.unwrap(),
        }
    }
}

/// A shard's half of TLS, its deadlines running.
pub(crate) fn shard() -> Rc<TlsShard> {
    let stats = Arc::new(ShardStats::default());
    let slots = Slots::new(stats.clone()).unwrap();
    let running = slots.clone();
    crate::net::spawn(async move { running.run().await.unwrap() });
    TlsShard::new(BufferPool::new(usize::MAX), slots, stats)
}

/// A certificate for [`HOST`] signed by itself, and a configuration for each side that knows it.
pub(crate) struct Pair {
    pub(crate) server: ServerConfig,
    pub(crate) client: ClientConfig,
}

/// Which version and suites a pair of configurations allows; `None` is what the library likes.
pub(crate) fn pair(
    version: Option<&'static SupportedProtocolVersion>,
    suite: Option<SupportedCipherSuite>,
) -> Pair {
    let key = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
    let certificate = key.cert.der().clone();
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.signing_key.serialize_der()));
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    if let Some(suite) = suite {
        provider.cipher_suites = vec![suite];
    }
    let provider = Arc::new(provider);
    let versions: Vec<_> = match version {
        Some(version) => vec![version],
        None => rustls::ALL_VERSIONS.to_vec(),
    };
    let mut server = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], private)
        .unwrap();
    server.enable_secret_extraction = true;
    server.session_storage = ServerSessionMemoryCache::new(64);
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.enable_secret_extraction = true;
    Pair { server, client }
}

/// The name of [`HOST`].
pub(crate) fn host() -> ServerName<'static> {
    ServerName::try_from(HOST).unwrap()
}

/// A TCP connection: a socket of the shard, and its peer.
pub(crate) fn connection(driver: Driver) -> (Socket, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (ours, _) = listener.accept().unwrap();
    theirs.set_nodelay(true).unwrap();
    ours.set_nodelay(true).unwrap();
    ours.set_nonblocking(driver.nonblocking()).unwrap();
    (Socket::new(OwnedFd::from(ours)).unwrap(), theirs)
}

/// A peer's blocking TLS connection.
pub(crate) struct Peer<C> {
    pub(crate) tls: C,
    pub(crate) tcp: TcpStream,
}

/// The library's client on `tcp`.
pub(crate) fn client(config: ClientConfig, tcp: TcpStream) -> Peer<rustls::ClientConnection> {
    Peer { tls: rustls::ClientConnection::new(Arc::new(config), host()).unwrap(), tcp }
}

/// The library's server on `tcp`.
pub(crate) fn server(config: ServerConfig, tcp: TcpStream) -> Peer<rustls::ServerConnection> {
    Peer { tls: rustls::ServerConnection::new(Arc::new(config)).unwrap(), tcp }
}

impl<C, S> Peer<C>
where
    C: std::ops::DerefMut<Target = rustls::ConnectionCommon<S>>,
    S: rustls::SideData,
{
    /// Shakes hands.
    pub(crate) fn shake(&mut self) -> io::Result<()> {
        while self.tls.is_handshaking() {
            self.tls.complete_io(&mut self.tcp)?;
        }
        self.flush()
    }

    /// Sends what is sealed.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.tcp)?;
        }
        Ok(())
    }

    /// Sends `bytes`.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(16 * 1024) {
            self.tls.writer().write_all(piece).unwrap();
            self.flush().unwrap();
        }
    }

    /// The records that carry `bytes`, without sending them.
    pub(crate) fn records(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for piece in bytes.chunks(16 * 1024) {
            self.tls.writer().write_all(piece).unwrap();
            while self.tls.wants_write() {
                self.tls.write_tls(&mut out).unwrap();
            }
        }
        out
    }

    /// Receives some plaintext; 0 is the end that was said.
    pub(crate) fn recv(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.tls.reader().read(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
            if self.tls.read_tls(&mut self.tcp)? > 0 {
                self.tls.process_new_packets().map_err(io::Error::other)?;
                self.flush()?;
            }
        }
    }

    /// Receives exactly `length` bytes.
    pub(crate) fn recv_exact(&mut self, length: usize) -> Vec<u8> {
        let mut all = vec![0; length];
        let mut filled = 0;
        while filled < length {
            match self.recv(&mut all[filled..]).unwrap() {
                0 => panic!("the end after {filled} bytes"),
                n => filled += n,
            }
        }
        all
    }

    /// Says the end.
    pub(crate) fn end(&mut self) {
        self.tls.send_close_notify();
        self.flush().unwrap();
    }
}

/// Bytes that differ from place to place.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|place| (place * 31 + place / 251) as u8).collect()
}

/// Waits for another thread without stopping this one's loop.
pub(crate) async fn joined<T>(thread: std::thread::JoinHandle<T>, shard: &TlsShard) -> T {
    let lease = shard.slots.lease();
    let begun = clock::now();
    while !thread.is_finished() {
        assert!(clock::now().since(begun).as_secs() < 60, "a test's peer hangs");
        lease.sleep(std::time::Duration::from_millis(1)).await;
    }
    thread.join().unwrap()
}

/// Becomes the server of `peer`, which shakes hands on a thread of its own.
pub(crate) async fn accepted(
    shard: &Rc<TlsShard>,
    driver: Driver,
    pair: Pair,
    ktls: Ktls,
) -> (Socket, Peer<ClientConnection>) {
    let (socket, theirs) = connection(driver);
    let config = pair.client;
    let peer = std::thread::spawn(move || {
        let mut peer = client(config, theirs);
        peer.shake().unwrap();
        peer
    });
    let lease = shard.slots.lease();
    let handshakes = Arc::new(SharedCount::default());
    let terms = Terms { timeout: Duration::from_secs(30), handshakes: &handshakes, handshakes_max: 1, ktls };
    accept(shard, &socket, None, &lease, Arc::new(pair.server), &terms, |_| Ok(None)).await.unwrap();
    assert_eq!(handshakes.count(), 0);
    (socket, joined(peer, shard).await)
}

/// Becomes the client of `peer`, which shakes hands on a thread of its own.
pub(crate) async fn connected(
    shard: &Rc<TlsShard>,
    driver: Driver,
    pair: Pair,
    ktls: Ktls,
) -> (Socket, Peer<ServerConnection>) {
    let (socket, theirs) = connection(driver);
    let config = pair.server;
    let peer = std::thread::spawn(move || {
        let mut peer = server(config, theirs);
        peer.shake().unwrap();
        peer
    });
    connect(shard, &socket, Arc::new(pair.client), host(), ktls, |_| Ok(None)).await.unwrap();
    (socket, joined(peer, shard).await)
}

/// An empty small buffer.
pub(crate) fn small(shard: &TlsShard) -> Buffer {
    shard.buffers.take(Size::Small).unwrap()
}

/// A buffer of `bytes`.
pub(crate) fn filled(shard: &TlsShard, bytes: &[u8]) -> Buffer {
    let size = Size::of(bytes.len());
    let mut buffer = shard.buffers.take(size).unwrap();
    buffer.as_vec().extend_from_slice(bytes);
    buffer
}

/// Receives exactly `length` bytes.
pub(crate) async fn receive(shard: &TlsShard, socket: &Socket, length: usize, size: Size) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < length {
        let (received, buffer) = socket.recv(shard.buffers.take(size).unwrap()).await;
        assert_eq!(received.unwrap(), buffer.unread().len());
        assert!(!buffer.unread().is_empty(), "the end after {} bytes", all.len());
        all.extend_from_slice(buffer.unread());
    }
    assert_eq!(all.len(), length);
    all
}

/// Sends messages of many lengths both ways.
pub(crate) async fn to_and_fro<C, S>(shard: &TlsShard, socket: &Socket, peer: &mut Peer<C>)
where
    C: std::ops::DerefMut<Target = rustls::ConnectionCommon<S>>,
    S: rustls::SideData,
{
    for length in [1, 2, 100, 1_000, 13_000, 16_384, 16_385, 40_000, 65_000] {
        let message = pattern(length);
        let (sent, rest) = send_all(socket, filled(shard, &message), |_| ()).await;
        sent.unwrap();
        assert!(rest.unread().is_empty());
        assert!(peer.recv_exact(length) == message);
        peer.send(&message);
        assert!(receive(shard, socket, length, Size::Small).await == message);
        peer.send(&message);
        assert!(receive(shard, socket, length, Size::Large).await == message);
    }
}

/// Both versions.
pub(crate) const VERSIONS: [&SupportedProtocolVersion; 2] =
    [&rustls::version::TLS12, &rustls::version::TLS13];

/// The library's suites of `version` for keys of ECDSA, which are what rcgen makes.
pub(crate) fn suites(version: &SupportedProtocolVersion) -> impl Iterator<Item = SupportedCipherSuite> {
    let version = version.version;
    rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES
        .iter()
        .copied()
        .filter(move |suite| suite.version().version == version)
        .filter(|suite| !suite.suite().as_str().is_some_and(|name| name.contains("RSA")))
}

/// How a peer's connection ended: with the farewell, or without.
pub(crate) fn end_of<C, S>(peer: &mut Peer<C>) -> io::Result<usize>
where
    C: std::ops::DerefMut<Target = rustls::ConnectionCommon<S>>,
    S: rustls::SideData,
{
    peer.recv(&mut [0; 100])
}

/// Seals records of any kind and content, with the keys of a connection of TLS 1.3.
pub(crate) struct Forge {
    encrypter: Box<dyn rustls::crypto::cipher::MessageEncrypter>,
    record: u64,
}

impl Forge {
    /// Takes over a client's sending side.
    #[allow(deprecated, reason = "the connection is not used any more")]
    pub(crate) fn new(peer: Peer<ClientConnection>) -> (Self, TcpStream) {
        use rustls::ConnectionTrafficSecrets as Secrets;
        let suite = peer.tls.negotiated_cipher_suite().and_then(|suite| suite.tls13()).unwrap();
        let (record, secrets) = peer.tls.dangerous_extract_secrets().unwrap().tx;
        let (Secrets::Aes128Gcm { key, iv }
        | Secrets::Aes256Gcm { key, iv }
        | Secrets::Chacha20Poly1305 { key, iv }) = secrets
        else {
            panic!("an unknown suite");
        };
        (Forge { encrypter: suite.aead_alg.encrypter(key, iv), record }, peer.tcp)
    }

    /// One record.
    pub(crate) fn record(&mut self, kind: rustls::ContentType, content: &[u8]) -> Vec<u8> {
        use rustls::crypto::cipher::{OutboundChunks, OutboundPlainMessage};
        let version = rustls::ProtocolVersion::TLSv1_2;
        let plain = OutboundPlainMessage { typ: kind, version, payload: OutboundChunks::Single(content) };
        let sealed = self.encrypter.encrypt(plain, self.record).unwrap();
        self.record += 1;
        sealed.encode()
    }
}
