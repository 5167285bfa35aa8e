//! PROXY headers: whose are taken at a listener, and which one a cluster's endpoints get.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::proxy_protocol::Version;

/// How a listener's connections begin, where they may begin with a PROXY header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptHeader {
    /// A connection without one is closed. Else one without goes on as it is.
    pub required: bool,
    /// Peers that may send one; `None` is every peer. Never `None` where it is optional: whoever may choose
    /// whether to send one may choose who he is.
    pub trusted: Option<Box<[IpNet]>>,
}

impl AcceptHeader {
    /// Whether a header of `peer` is believed; `None` is a peer at a Unix socket, which file modes guard.
    pub fn believes(&self, peer: Option<IpAddr>) -> bool {
        let (Some(trusted), Some(peer)) = (&self.trusted, peer) else { return true };
        let peer = peer.to_canonical();
        trusted.iter().any(|net| net.contains(&peer))
    }
}

/// The PROXY header that each connection to a cluster's endpoints begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendHeader {
    /// Its form.
    pub version: Version,
    /// Which values it has; none in version 1.
    pub values: SendValues,
}

/// Values of a PROXY header that is sent, each where it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendValues {
    /// The host that the client asked for by SNI.
    pub authority: bool,
    /// The protocol agreed upon by ALPN.
    pub alpn: bool,
    /// The TLS connection that was terminated: version, cipher suite, the client's certificate.
    pub tls: bool,
    /// An id of the connection: the one received, else a random one.
    pub unique_id: bool,
    /// A checksum over the header.
    pub crc32c: bool,
}
