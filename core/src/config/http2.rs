//! What `[listeners.http2]` and `[clusters.http2]` compile to.

use std::time::Duration;

/// `protocol` of a cluster: what is spoken to its endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterProtocol {
    /// HTTP/1.1, a connection for each request at a time.
    Http1,
    /// HTTP/2, connections shared by requests.
    Http2,
    /// What the endpoint chooses in the TLS handshake (ALPN); without TLS as [`ClusterProtocol::Http1`].
    Auto,
    /// Nothing that is known here: connections are passed on.
    Tcp,
}

/// How HTTP/2 is spoken on the connections of a listener or cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2 {
    /// Streams on one connection at a time.
    pub streams: u32,
    /// Bytes of one stream that are taken before they are passed on.
    pub stream_window: u32,
    /// Bytes of all streams that are taken before they are passed on.
    pub connection_window: u32,
    /// After this time without a byte the peer is asked for a sign of life.
    pub keepalive: Option<Duration>,
    /// How long that may take.
    pub keepalive_timeout: Duration,
    /// How long a connection takes new streams.
    pub age: Option<Duration>,
}
