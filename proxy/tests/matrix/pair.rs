//! What is spoken on either side of the program.

/// A protocol, plain or in TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Http1,
    /// With prior knowledge.
    Http2,
    Http1Tls,
    Http2Tls,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Kind; 4] = [Kind::Http1, Kind::Http2, Kind::Http1Tls, Kind::Http2Tls];

    /// The name of its listener and of its cluster.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Http1 => "http1",
            Kind::Http2 => "h2c",
            Kind::Http1Tls => "http1-tls",
            Kind::Http2Tls => "h2-tls",
        }
    }

    pub(crate) fn is_http2(self) -> bool {
        matches!(self, Kind::Http2 | Kind::Http2Tls)
    }

    pub(crate) fn is_tls(self) -> bool {
        matches!(self, Kind::Http1Tls | Kind::Http2Tls)
    }

    /// What is agreed on in TLS.
    pub(crate) fn alpn(self) -> &'static [u8] {
        if self.is_http2() { b"h2" } else { b"http/1.1" }
    }
}
