//! TLS under whatever is spoken: a session without a socket.
//!
//! Invariants: what comes out of a session is written before the next bytes are read; certificates are
//! verified unless the user said not to.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::{Resumption, danger};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, RootCertStore, SignatureScheme,
};

use super::failure::Failure;
use crate::cli::Problem;

/// How many sessions are remembered for the connections of one group.
const SESSIONS_MAX: usize = 4096;

/// Versions of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Version {
    /// TLS 1.2.
    #[value(name = "1.2")]
    V12,
    /// TLS 1.3.
    #[value(name = "1.3")]
    V13,
}

/// What a user may want of TLS.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct TlsOptions {
    /// Trust these certificates (PEM) instead of the system's
    #[arg(long, value_name = "FILE", help_heading = "TLS")]
    pub(crate) ca: Option<PathBuf>,
    /// Present this certificate chain (PEM): mutual TLS
    #[arg(long, value_name = "FILE", requires = "key", help_heading = "TLS")]
    pub(crate) cert: Option<PathBuf>,
    /// The private key of --cert (PEM)
    #[arg(long, value_name = "FILE", requires = "cert", help_heading = "TLS")]
    pub(crate) key: Option<PathBuf>,
    /// Accept any certificate
    #[arg(long, short = 'k', conflicts_with = "ca", help_heading = "TLS")]
    pub(crate) insecure: bool,
    /// The name to ask for and to verify, instead of the URL's host
    #[arg(long, value_name = "NAME", help_heading = "TLS")]
    pub(crate) server_name: Option<String>,
    /// Every connection makes a full handshake: no session is resumed
    #[arg(long, help_heading = "TLS")]
    pub(crate) no_resumption: bool,
    /// The only version to speak
    #[arg(long, value_enum, value_name = "VERSION", help_heading = "TLS")]
    pub(crate) tls_version: Option<Version>,
    /// Offer only these key exchange groups, the first one first: x25519, x25519mlkem768, secp256r1 ...
    #[arg(long, value_delimiter = ',', value_name = "NAMES", help_heading = "TLS")]
    pub(crate) tls_groups: Vec<String>,
    /// Offer only these cipher suites, the first one first: tls_aes_128_gcm_sha256 ...
    #[arg(long, value_delimiter = ',', value_name = "NAMES", help_heading = "TLS")]
    pub(crate) tls_suites: Vec<String>,
}

/// What all sessions of a group of connections have in common.
#[derive(Clone)]
pub(crate) struct Settings {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Settings {
    /// Settings for connections to `host` that offer the protocols `alpn`.
    ///
    /// # Errors
    /// A file that can't be read, or a name that is none.
    pub(crate) fn new(options: &TlsOptions, host: &str, alpn: &[&str]) -> Result<Self, Problem> {
        let name = options.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| Problem::Usage(format!("`{name}` is not a name for TLS, see --server-name")))?;
        let provider = Arc::new(provider(options)?);
        let versions: &[&rustls::SupportedProtocolVersion] = match options.tls_version {
            None => &[&rustls::version::TLS13, &rustls::version::TLS12],
            Some(Version::V12) => &[&rustls::version::TLS12],
            Some(Version::V13) => &[&rustls::version::TLS13],
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(|e| Problem::Usage(format!("TLS: {e}")))?;
        let builder = if options.insecure {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AcceptAny))
        } else {
            builder.with_root_certificates(roots(options.ca.as_deref())?)
        };
        let mut config = match (&options.cert, &options.key) {
            (Some(chain), Some(key)) => builder
                .with_client_auth_cert(certificates(chain)?, private_key(key)?)
                .map_err(|e| Problem::Usage(format!("{} and {}: {e}", chain.display(), key.display())))?,
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config.resumption = if options.no_resumption {
            Resumption::disabled()
        } else {
            Resumption::in_memory_sessions(SESSIONS_MAX)
        };
        Ok(Settings { config: Arc::new(config), name })
    }
}

/// What to offer: everything, or what the user wants of it.
fn provider(options: &TlsOptions) -> Result<CryptoProvider, Problem> {
    let all = rustls::crypto::aws_lc_rs::default_provider();
    Ok(CryptoProvider {
        kx_groups: chosen("--tls-groups", &options.tls_groups, all.kx_groups, |group| {
            format!("{:?}", group.name())
        })?,
        cipher_suites: chosen("--tls-suites", &options.tls_suites, all.cipher_suites, |suite| {
            // The library's names of TLS 1.3 suites differ from the registered ones in this.
            format!("{:?}", suite.suite()).replace("TLS13_", "TLS_")
        })?,
        ..all
    })
}

/// Those of `all` that are wanted, in the order they are named; all of them if none is named.
fn chosen<T: Copy>(
    option: &str,
    wanted: &[String],
    all: Vec<T>,
    name: impl Fn(&T) -> String,
) -> Result<Vec<T>, Problem> {
    if wanted.is_empty() {
        return Ok(all);
    }
    let find = |wanted: &String| {
        let found = all.iter().find(|candidate| name(candidate).eq_ignore_ascii_case(wanted));
        found.copied().ok_or_else(|| {
            let known: Vec<String> = all.iter().map(|one| name(one).to_ascii_lowercase()).collect();
            Problem::Usage(format!("{option} {wanted} is none of {}", known.join(", ")))
        })
    };
    wanted.iter().map(find).collect()
}

fn roots(file: Option<&Path>) -> Result<RootCertStore, Problem> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = file {
        for certificate in certificates(file)? {
            roots.add(certificate).map_err(|e| Problem::Usage(format!("{}: {e}", file.display())))?;
        }
        return Ok(roots);
    }
    let found = rustls_native_certs::load_native_certs();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        return Err(Problem::Usage("the system has no root certificates: use --ca or --insecure".to_owned()));
    }
    Ok(roots)
}

/// The certificates of a PEM file.
pub(crate) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let wrong =
        |e: &dyn std::fmt::Display| Problem::Usage(format!("certificates in {}: {e}", file.display()));
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).map_err(|e| wrong(&e))?.collect();
    match found {
        Ok(found) if found.is_empty() => Err(wrong(&"there are none")),
        Ok(found) => Ok(found),
        Err(error) => Err(wrong(&error)),
    }
}

/// The private key of a PEM file.
pub(crate) fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, Problem> {
    PrivateKeyDer::from_pem_file(file)
        .map_err(|e| Problem::Usage(format!("private key in {}: {e}", file.display())))
}

/// One connection's session.
pub(crate) struct Session {
    connection: Box<ClientConnection>,
    /// What ended it.
    error: Option<rustls::Error>,
}

impl Session {
    /// A session that has yet to shake hands.
    ///
    /// # Errors
    /// The settings do not allow one.
    pub(crate) fn new(settings: &Settings) -> Result<Self, Failure> {
        let mut connection = ClientConnection::new(Arc::clone(&settings.config), settings.name.clone())
            .map_err(|_| Failure::Tls)?;
        // What the sender queues is bounded by the requests in flight.
        connection.set_buffer_limit(None);
        Ok(Session { connection: Box::new(connection), error: None })
    }

    /// Whether the handshake is still going on.
    pub(crate) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Whether the handshake resumed an earlier session.
    pub(crate) fn is_resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Whether both agreed on HTTP/2.
    pub(crate) fn is_http2(&self) -> bool {
        self.connection.alpn_protocol() == Some(b"h2")
    }

    /// Takes records; appends what was in them to `plain` and what has to be answered to `out`.
    ///
    /// # Errors
    /// The handshake failed or a record is wrong; an alert may be in `out`.
    pub(crate) fn receive(
        &mut self,
        mut records: &[u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let mut outcome = Ok(());
        while !records.is_empty() && outcome.is_ok() {
            // Reading from a slice does not fail; no progress means that nothing more is wanted.
            if !matches!(self.connection.read_tls(&mut records), Ok(1..)) {
                break;
            }
            match self.connection.process_new_packets() {
                Ok(state) => {
                    let from = plain.len();
                    plain.resize(from + state.plaintext_bytes_to_read(), 0);
                    if self.connection.reader().read_exact(&mut plain[from..]).is_err() {
                        outcome = Err(Failure::Tls);
                    }
                }
                Err(error) => {
                    self.error = Some(error);
                    outcome = Err(Failure::Tls);
                }
            }
        }
        self.flush(out);
        outcome
    }

    /// What went wrong, and what may help.
    pub(crate) fn why(&self) -> Option<String> {
        let error = self.error.as_ref()?;
        let hint = match error {
            rustls::Error::InvalidMessage(_) => " (what came is not TLS: is the port a plain one?)",
            rustls::Error::InvalidCertificate(_) => " (see --ca, --server-name and --insecure)",
            rustls::Error::AlertReceived(_) => " (the peer ended it: does it want --cert and --key?)",
            rustls::Error::NoApplicationProtocol => " (see --http)",
            _ => "",
        };
        Some(format!("{error}{hint}"))
    }

    /// Encrypts `plain` into `out`.
    pub(crate) fn send(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        // Without a limit the session takes everything.
        let taken = self.connection.writer().write_all(plain);
        debug_assert!(taken.is_ok());
        self.flush(out);
    }

    /// Says that nothing more will be sent.
    pub(crate) fn close(&mut self, out: &mut Vec<u8>) {
        self.connection.send_close_notify();
        self.flush(out);
    }

    /// Appends what the session wants to send.
    pub(crate) fn flush(&mut self, out: &mut Vec<u8>) {
        while self.connection.wants_write() {
            // Writing to a vector does not fail.
            if self.connection.write_tls(out).is_err() {
                break;
            }
        }
    }
}

/// Accepts every certificate: what `--insecure` asks for.
#[derive(Debug)]
struct AcceptAny;

impl danger::ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<danger::ServerCertVerified, rustls::Error> {
        Ok(danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<danger::HandshakeSignatureValid, rustls::Error> {
        Ok(danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<danger::HandshakeSignatureValid, rustls::Error> {
        Ok(danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
