//! TLS of the origin: the configuration from PEM files, and one connection's session over owned buffers.
//!
//! Invariants: no file is read after the start; a session never does input or output itself; an alert
//! that tells the peer why is left in the buffer to be sent, also when the session fails.

use std::io::{self, BufRead as _, Write as _};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{HandshakeKind, RootCertStore, ServerConfig, ServerConnection};
use serde::Serialize;

use crate::cli::{OriginOptions, Problem};

/// What the origin speaks, the preferred first (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The configuration that the options ask for; nothing without a certificate.
///
/// # Errors
/// A file that can't be read, holds nothing of use, or a key that is not the certificate's.
pub(super) fn config(options: &OriginOptions) -> Result<Option<Arc<ServerConfig>>, Problem> {
    let (Some(certificate), Some(key)) = (&options.tls_certificate, &options.tls_key) else {
        return Ok(None);
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let failed = |e: &dyn std::fmt::Display| Problem::Failed(format!("TLS: {e}"));
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| failed(&e))?;
    let builder = match &options.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for authority in certificates(path)? {
                roots.add(authority).map_err(|e| failed(&e))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|e| failed(&e))?)
        }
    };
    let private = PrivateKeyDer::from_pem_file(key).map_err(|e| unreadable(key, &e))?;
    let mut config = builder.with_single_cert(certificates(certificate)?, private).map_err(|e| failed(&e))?;
    config.alpn_protocols = PROTOCOLS.iter().map(|protocol| protocol.to_vec()).collect();
    if options.no_resumption {
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    } else {
        // Sealed tickets: any thread resumes a session of any other, and none is kept here.
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(|e| failed(&e))?;
    }
    Ok(Some(Arc::new(config)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let read = || CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>();
    let found = read().map_err(|e| unreadable(path, &e))?;
    if found.is_empty() {
        return Err(Problem::Failed(format!("{} holds no certificate", path.display())));
    }
    Ok(found)
}

fn unreadable(path: &Path, error: &rustls::pki_types::pem::Error) -> Problem {
    Problem::Failed(format!("can't read {}: {error}", path.display()))
}

/// What `/echo` tells of a connection's encryption.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct TlsFacts {
    pub(crate) version: String,
    pub(crate) cipher: String,
    pub(crate) alpn: Option<String>,
    pub(crate) server_name: Option<String>,
    /// Whether the session was resumed from a ticket.
    pub(crate) resumed: bool,
    /// How many certificates the client has shown.
    pub(crate) client_certificates: usize,
}

/// One connection's session.
pub(super) struct Session(ServerConnection);

impl Session {
    /// A session that waits for the client's first message.
    pub(super) fn new(config: &Arc<ServerConfig>) -> io::Result<Self> {
        let mut session = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
        // What is written leaves at once, so that there is nothing to bound.
        session.set_buffer_limit(None);
        Ok(Session(session))
    }

    /// Takes bytes of the wire; appends what they decrypt to. Says whether the peer has ended the session.
    ///
    /// # Errors
    /// The bytes are not TLS, or not as this session wants it.
    pub(super) fn receive(&mut self, mut wire: &[u8], plain: &mut Vec<u8>) -> io::Result<bool> {
        let mut ended = false;
        while !wire.is_empty() && !ended {
            self.0.read_tls(&mut wire)?;
            let state = self.0.process_new_packets().map_err(io::Error::other)?;
            let mut left = state.plaintext_bytes_to_read();
            plain.reserve(left);
            while left > 0 {
                let mut reader = self.0.reader();
                let piece = reader.fill_buf()?;
                let length = piece.len();
                plain.extend_from_slice(piece);
                reader.consume(length);
                left -= length.clamp(1, left);
            }
            ended = state.peer_has_closed();
        }
        Ok(ended)
    }

    /// Appends `plain`, encrypted, to `wire`, with whatever else the session has to say.
    pub(super) fn seal(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> io::Result<()> {
        self.0.writer().write_all(plain)?;
        self.flush(wire)
    }

    /// Appends what the session has to say.
    pub(super) fn flush(&mut self, wire: &mut Vec<u8>) -> io::Result<()> {
        while self.0.wants_write() {
            self.0.write_tls(wire)?;
        }
        Ok(())
    }

    /// Says to the peer that nothing follows.
    pub(super) fn close(&mut self) {
        self.0.send_close_notify();
    }

    /// Whether application data can't be exchanged yet.
    pub(super) fn is_handshaking(&self) -> bool {
        self.0.is_handshaking()
    }

    /// The protocol that was agreed on.
    pub(super) fn alpn(&self) -> Option<&[u8]> {
        self.0.alpn_protocol()
    }

    /// What is known of it once the handshake is over.
    pub(super) fn facts(&self) -> TlsFacts {
        let session = &self.0;
        TlsFacts {
            version: session.protocol_version().map_or(String::new(), |version| format!("{version:?}")),
            cipher: session.negotiated_cipher_suite().map_or(String::new(), |s| format!("{:?}", s.suite())),
            alpn: self.alpn().map(|name| String::from_utf8_lossy(name).into_owned()),
            server_name: session.server_name().map(str::to_owned),
            resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
            client_certificates: session.peer_certificates().map_or(0, <[_]>::len),
        }
    }
}
