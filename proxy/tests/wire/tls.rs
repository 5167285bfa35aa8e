//! Both ends of TLS for tests of traffic: clients and endpoints that are rustls with plain blocking sockets,
//! and certificates in a folder.
//!
//! Not here: tests.

use std::io::{Error, Read, Result, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, RootCertStore, ServerConfig,
    ServerConnection, SignatureScheme, StreamOwned,
};

use crate::pki::{Authority, Identity};
use crate::support::PATIENCE;
use crate::wire::own_ip;

/// A trust domain with its authority, and a folder for the proxy's files.
pub(crate) struct Realm {
    pub(crate) ca: Authority,
    folder: tempfile::TempDir,
}

impl Realm {
    /// `td`, with `web` (also `web.example`) as the proxy's own identity.
    pub(crate) fn new() -> Self {
        let realm = Realm { ca: Authority::new("td"), folder: tempfile::tempdir().unwrap() };
        std::fs::write(realm.path().join("ca.pem"), realm.ca.pem()).unwrap();
        realm.renew();
        realm
    }

    /// Gives the proxy a new certificate, the key last.
    pub(crate) fn renew(&self) {
        let identity = self.ca.issue(&["spiffe://td/web", "web.example"]);
        identity.write(self.path(), "new");
        for file in ["pem", "key"] {
            let at = |name: &str| self.path().join(format!("{name}.{file}"));
            std::fs::rename(at("new"), at("web")).unwrap();
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A listener's lines: the proxy's certificate, and `more`.
    pub(crate) fn listener(&self, more: &[&str]) -> String {
        self.lines(&["tls.certificate = \"{}/web.pem\"", "tls.private_key = \"{}/web.key\""], more)
    }

    /// A listener's lines that ask clients for certificates of the trust domain.
    pub(crate) fn mutual(&self, more: &[&str]) -> String {
        self.listener(&[&["tls.trust_bundles = { td = \"{}/ca.pem\" }"], more].concat())
    }

    /// Lines with the folder's path for `{}`.
    pub(crate) fn lines(&self, first: &[&str], more: &[&str]) -> String {
        let folder = self.path().display().to_string();
        [first, more].concat().join("\n").replace("{}", &folder)
    }

    /// A client's configuration, which believes the realm and shows `identity`.
    pub(crate) fn client(&self, identity: Option<&Identity>) -> Arc<ClientConfig> {
        let verifier = Arc::new(ByIssuer(
            WebPkiServerVerifier::builder_with_provider(self.roots(), default_provider().into())
                .build()
                .unwrap(),
        ));
        let made = ClientConfig::builder_with_provider(default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        Arc::new(match identity {
            Some(identity) => made.with_client_auth_cert(chain(identity), key(identity)).unwrap(),
            None => made.with_no_client_auth(),
        })
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(self.ca.der())).unwrap();
        Arc::new(roots)
    }

    /// An endpoint that shows `identity` and asks for certificates of the realm.
    pub(crate) fn endpoint(&self, identity: &Identity) -> Endpoint {
        let verifier = WebPkiClientVerifier::builder_with_provider(self.roots(), default_provider().into());
        let config = ServerConfig::builder_with_provider(default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.allow_unauthenticated().build().unwrap())
            .with_single_cert(chain(identity), key(identity))
            .unwrap();
        Endpoint::start(Arc::new(config))
    }
}

fn chain(identity: &Identity) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(identity.chain.as_bytes()).collect::<std::result::Result<_, _>>().unwrap()
}

fn key(identity: &Identity) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap()
}

/// Verifies the issuer and not the name: identities here are no host names.
#[derive(Debug)]
struct ByIssuer(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for ByIssuer {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        let name = ServerName::try_from("web.example").unwrap();
        self.0.verify_server_cert(leaf, rest, &name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// A client's TLS connection.
pub(crate) struct Secure(StreamOwned<ClientConnection, TcpStream>);

/// An answer: status and content.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said(pub(crate) u16, pub(crate) String);

impl Secure {
    /// Connects and shakes hands; fails as the handshake does (with TLS 1.3 a refusal comes with the first answer).
    pub(crate) fn connect(address: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> Result<Self> {
        Self::over(TcpStream::connect_timeout(&address, PATIENCE)?, config, name)
    }

    /// Shakes hands on a connection on which something else was said before.
    pub(crate) fn over(stream: TcpStream, config: &Arc<ClientConfig>, name: &str) -> Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let conn = ClientConnection::new(Arc::clone(config), name).map_err(Error::other)?;
        let mut stream = StreamOwned::new(conn, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Secure(stream))
    }

    /// A GET with these further lines, and its answer.
    pub(crate) fn get(&mut self, target: &str, more: &str) -> Result<Said> {
        write!(self.0, "GET {target} HTTP/1.1\r\nHost: web.example\r\n{more}\r\n")?;
        self.0.flush()?;
        answer(&mut self.0)
    }

    /// Says that all was said, and closes.
    pub(crate) fn close(mut self) {
        self.0.conn.send_close_notify();
        self.0.flush().unwrap();
    }

    /// The certificate that the server showed.
    pub(crate) fn shown(&self) -> Vec<u8> {
        self.0.conn.peer_certificates().unwrap()[0].to_vec()
    }

    /// Whether a session was resumed.
    pub(crate) fn resumed(&self) -> bool {
        self.0.conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }
}

/// Reads one answer with a length.
fn answer(from: &mut impl Read) -> Result<Said> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        from.read_exact(&mut byte)?;
        bytes.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
    let number = |text: Option<&str>| text.and_then(|text| text.trim().parse::<usize>().ok());
    let status = number(head.split(' ').nth(1)).unwrap_or_default();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let mut body = vec![0; number(length).unwrap_or_default()];
    from.read_exact(&mut body)?;
    Ok(Said(status as u16, String::from_utf8_lossy(&body).into_owned()))
}

/// A TLS server that answers with whether the client showed a certificate, and the name it asked for; one
/// thread a connection.
pub(crate) struct Endpoint {
    address: SocketAddr,
    _thread: JoinHandle<()>,
}

impl Endpoint {
    fn start(config: Arc<ServerConfig>) -> Self {
        let listener = TcpListener::bind((own_ip(), 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let config = Arc::clone(&config);
                // A connection that fails is the client's to tell of.
                std::thread::spawn(move || {
                    let _ = serve(stream, config);
                });
            }
        });
        Endpoint { address, _thread: thread }
    }

    /// How the configuration names it.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }
}

fn serve(stream: TcpStream, config: Arc<ServerConfig>) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let conn = ServerConnection::new(config).map_err(Error::other)?;
    let mut stream = StreamOwned::new(conn, stream);
    loop {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let kind = if stream.conn.peer_certificates().is_some() { "mutual" } else { "tls" };
        let name = stream.conn.server_name().unwrap_or("-").to_owned();
        let body = format!("{kind} {name}");
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
        stream.flush()?;
    }
}
