//! What a listener speaks, and what follows from that.

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Detected per connection among the supported HTTP versions.
    Auto,
    /// HTTP/1.0 and HTTP/1.1.
    Http1,
    /// HTTP/2 alone.
    Http2,
    /// Bytes, passed on unread.
    Tcp,
    /// TLS, passed on after a look at the name that the client asks for.
    TlsPassthrough,
}

impl Protocol {
    /// The word of the configuration.
    pub const fn label(self) -> &'static str {
        match self {
            Protocol::Auto => "auto",
            Protocol::Http1 => "http1",
            Protocol::Http2 => "http2",
            Protocol::Tcp => "tcp",
            Protocol::TlsPassthrough => "tls-passthrough",
        }
    }

    /// Whether HTTP/1 requests are taken.
    pub const fn takes_http1(self) -> bool {
        matches!(self, Protocol::Auto | Protocol::Http1)
    }

    /// Whether HTTP/2 requests are taken.
    pub const fn takes_http2(self) -> bool {
        matches!(self, Protocol::Auto | Protocol::Http2)
    }

    /// Bytes are passed on; requests are not read.
    pub const fn is_stream(self) -> bool {
        matches!(self, Protocol::Tcp | Protocol::TlsPassthrough)
    }
}
