//! What a connection's handshake came to: said once, shared by everything that asks later.

use pinion_core::tls::PeerIdentity;
use rustls::{CipherSuite, NamedGroup, ProtocolVersion, SupportedCipherSuite};

/// The protocol that both sides agreed on in the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alpn {
    /// `http/1.1` (or `http/1.0`).
    Http1,
    /// `h2`.
    Http2,
    /// Something else that the configuration offers.
    Other,
}

impl Alpn {
    /// The protocol called `name` in a handshake.
    pub(crate) fn of(name: &[u8]) -> Self {
        match name {
            b"http/1.1" | b"http/1.0" => Alpn::Http1,
            b"h2" => Alpn::Http2,
            _ => Alpn::Other,
        }
    }
}

/// A finished handshake. Crosses shards with its connection.
#[derive(Clone, Debug)]
pub(crate) struct TlsFacts {
    /// The protocol's version.
    pub(crate) version: ProtocolVersion,
    /// The cipher suite.
    pub(crate) suite: SupportedCipherSuite,
    /// The key exchange's group; `None` for a resumption without one.
    pub(crate) group: Option<NamedGroup>,
    /// The agreed protocol, if any was offered and taken.
    pub(crate) alpn: Option<Alpn>,
    /// The name that the client asked for.
    pub(crate) sni: Option<Box<str>>,
    /// Whether an earlier session was resumed.
    pub(crate) resumed: bool,
    /// Who the peer is, if it has shown a certificate.
    pub(crate) peer: Option<PeerIdentity>,
}

impl TlsFacts {
    /// The version as logs and `X-Forwarded` fields write it.
    pub(crate) fn version_label(&self) -> &'static str {
        version_label(self.version)
    }

    /// The suite's name as IANA lists it.
    pub(crate) fn suite_label(&self) -> &'static str {
        match self.suite.suite() {
            // The library has names of its own for these.
            CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
            CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
            other => other.as_str().unwrap_or("unknown"),
        }
    }
}

/// How a version is written.
pub(crate) fn version_label(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::TLSv1_3 => "TLSv1.3",
        ProtocolVersion::TLSv1_2 => "TLSv1.2",
        _ => "unknown",
    }
}
