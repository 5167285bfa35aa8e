//! The compiled configuration: what shards read, nothing of how it was written.
//!
//! Invariants:
//! - immutable once built, index based: an index found inside a snapshot is valid in that snapshot;
//! - every value is within its bounds and every name is resolved, so readers check nothing;
//! - a part that did not change shares its `Arc` with the snapshot before.
//!
//! Not here: serialization (compiled types have none) and the text form (`schema`).

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::http2::{ClusterProtocol, Http2};
use super::problem::Problems;
use crate::balance::Balance;
use crate::http::Upgrades;
use crate::id::{ClusterId, ClusterIndex, EndpointId, ListenerId, ListenerIndex};
use crate::route::RouteTable;
use crate::tls::CertDetails;

pub use protocol::Protocol;
pub use proxy_header::{AcceptHeader, SendHeader, SendValues};
pub use tls::*;

mod protocol;
mod proxy_header;
mod tls;

/// One whole configuration in force.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts up with every configuration the program accepts; metrics and answers name it.
    pub generation: u64,
    /// A hash of the source text: equal text, equal digest, on every machine and version.
    pub digest: u64,
    /// Settings of the whole program.
    pub proxy: ProxySettings,
    /// Listeners by [`ListenerIndex`], in the order written.
    pub listeners: Box<[Arc<Listener>]>,
    /// Routes and how to find them.
    pub routes: RouteTable,
    /// Clusters by [`ClusterIndex`], in the order written.
    pub clusters: Box<[Arc<Cluster>]>,
    /// Where the document names files of TLS.
    pub tls_files: Box<[TlsFile]>,
    /// What is odd but allowed; shown by `check` and logged at a reload.
    pub warnings: Problems,
}

impl Snapshot {
    /// The listener called `name`.
    pub fn listener(&self, name: &str) -> Option<(ListenerIndex, &Arc<Listener>)> {
        let place = self.listeners.iter().position(|listener| &*listener.name == name)?;
        Some((ListenerIndex(place as u32), &self.listeners[place]))
    }

    /// The cluster called `name`.
    pub fn cluster(&self, name: &str) -> Option<(ClusterIndex, &Arc<Cluster>)> {
        let place = self.clusters.iter().position(|cluster| &*cluster.name == name)?;
        Some((ClusterIndex(place as u32), &self.clusters[place]))
    }
}

/// Where a socket listens or connects.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// A Unix stream socket, absolute after compilation.
    Unix(PathBuf),
}

impl Address {
    /// Only processes of this machine can reach it: a loopback address or a Unix socket.
    pub fn is_local(&self) -> bool {
        match self {
            Address::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Address::Unix(_) => true,
        }
    }

    /// This address with a relative socket path taken from `base`.
    pub(crate) fn absolute(self, base: &Path) -> Self {
        match self {
            Address::Unix(path) => Address::Unix(base.join(path)),
            tcp @ Address::Tcp(_) => tcp,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => write!(f, "{address}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The longest path of a Unix socket: `sun_path` has 108 bytes, the last one is NUL.
const UNIX_PATH_BYTES_MAX: usize = 107;

impl FromStr for Address {
    type Err = AddressError;

    /// Reads `127.0.0.1:80`, `[::1]:80` or `unix:/path`.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.len() {
                0 => Err(AddressError::EmptyPath),
                _ if path.contains('\0') => Err(AddressError::Malformed),
                1..=UNIX_PATH_BYTES_MAX => Ok(Address::Unix(PathBuf::from(path))),
                _ => Err(AddressError::PathTooLong),
            };
        }
        if let Ok(address) = text.parse() {
            return Ok(Address::Tcp(address));
        }
        if text.parse::<std::net::IpAddr>().is_ok() {
            return Err(AddressError::NoPort);
        }
        match text.rsplit_once(':') {
            Some((host, port)) if is_host_name(host) && port.parse::<u16>().is_ok() => {
                Err(AddressError::HostName)
            }
            None if is_host_name(text) => Err(AddressError::HostName),
            _ => Err(AddressError::Malformed),
        }
    }
}

fn is_host_name(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
}

/// Why a text is no [`Address`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressError {
    /// An IP address without a port.
    NoPort,
    /// A host name: resolving names is not supported yet.
    HostName,
    /// `unix:` and nothing after it.
    EmptyPath,
    /// A socket path beyond what the system can bind (107 bytes).
    PathTooLong,
    /// None of the known forms.
    Malformed,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AddressError::NoPort => "the port is missing",
            AddressError::HostName => "host names are not supported yet in this version, only IP addresses",
            AddressError::EmptyPath => "the socket's path is missing",
            AddressError::PathTooLong => "the socket's path is longer than 107 bytes",
            AddressError::Malformed => "not an address",
        })
    }
}

impl std::error::Error for AddressError {}

/// `[proxy]`: settings of the whole program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxySettings {
    /// Shards to start; `None` is one per CPU the process may use. Fixed at start.
    pub shards: Option<u32>,
    /// Where the admin port listens. Fixed at start.
    pub admin: Address,
    /// Which I/O driver shards use. Fixed at start.
    pub driver: DriverChoice,
    /// How long requests in flight may take after the first SIGTERM.
    pub drain: Duration,
    /// Downstream connections of the whole proxy.
    pub connections: u64,
    /// Bytes of pooled buffers per shard.
    pub shard_memory: usize,
    /// Where requests are logged; `None` is off.
    pub access_log: Option<AccessLogSettings>,
}

/// The I/O driver of the shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriverChoice {
    /// io_uring where it works, else epoll.
    Auto,
    /// io_uring or refuse to start.
    IoUring,
    /// epoll.
    Epoll,
}

/// `[proxy.access_log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLogSettings {
    /// The form of a line.
    pub format: AccessLogFormat,
    /// Where lines go.
    pub path: AccessLogPath,
}

/// The form of an access log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLogFormat {
    /// One JSON object a line.
    Json,
    /// One line for people.
    Text,
}

/// Where access log lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLogPath {
    /// Standard output.
    Stdout,
    /// Appended to a file, absolute.
    File(PathBuf),
}

/// `[[listeners]]`: a socket that takes connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Outlives snapshots, as long as name and address stay.
    pub id: ListenerId,
    /// The name, unique.
    pub name: Box<str>,
    /// Where it listens, unique but for port 0.
    pub address: Address,
    /// What is spoken there.
    pub protocol: Protocol,
    /// How long it waits for clients.
    pub timeouts: ListenerTimeouts,
    /// How much it takes.
    pub limits: ListenerLimits,
    /// Peers whose forwarded headers are believed.
    pub trusted: Box<[IpNet]>,
    /// What upstreams are told about the client.
    pub forwarding: Forwarding,
    /// A client's FIN while it waits for an answer: `true` means that it still reads, `false` (default)
    /// that it has gone.
    pub half_close: bool,
    /// What requests may upgrade to.
    pub upgrades: Upgrades,
    /// How HTTP/2 is spoken.
    pub http2: Http2,
    /// TLS on the port; `None` is plain text.
    pub tls: Option<ListenerTls>,
    /// Whether and of whom connections may begin with a PROXY header.
    pub proxy_protocol: Option<AcceptHeader>,
}

impl Listener {
    /// Connections that are passed on can be told apart by the name that their clients ask for.
    pub fn sees_names(&self) -> bool {
        match self.protocol {
            Protocol::TlsPassthrough => true,
            Protocol::Tcp => self.tls.is_some(),
            Protocol::Auto | Protocol::Http1 | Protocol::Http2 => false,
        }
    }

    /// Whether forwarded headers from `peer` are believed.
    pub fn trusts(&self, peer: std::net::IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.trusted.iter().any(|net| net.contains(&peer))
    }
}

/// `[listeners.timeouts]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerTimeouts {
    /// From the first byte of a head to its last (408).
    pub header: Duration,
    /// Between two bytes of a request body (408).
    pub body: Duration,
    /// While no byte of an answer can be sent (connection closed).
    pub write: Duration,
    /// Between two requests (connection closed).
    pub idle: Duration,
    /// Bytes a second a transfer must keep on average, judged after 5 s; 0 is off.
    pub min_rate: u64,
    /// Without a byte in either direction of a tunnel (tunnel closed).
    pub tunnel_idle: Duration,
    /// From a tunnel's beginning to its end (tunnel closed).
    pub tunnel_max: Option<Duration>,
}

/// `[listeners.limits]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerLimits {
    /// Connections at a time, whole proxy.
    pub connections: u64,
    /// Requests on one connection; `u64::MAX` is unlimited.
    pub requests_per_connection: u64,
    /// Bytes of a request head (431).
    pub header_bytes: usize,
    /// Bytes of a request target (414).
    pub uri_bytes: usize,
}

/// `[listeners.forwarding]`: headers about the client beside `X-Forwarded-For` and `X-Forwarded-Proto`,
/// which are always sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forwarding {
    /// Send `X-Forwarded-Host`.
    pub x_forwarded_host: bool,
    /// Send `Forwarded` (RFC 7239).
    pub forwarded: bool,
    /// Send `Via` (RFC 9110 section 7.6.3).
    pub via: bool,
    /// Send `X-Request-Id`.
    pub request_id: bool,
    /// Whether `X-Forwarded-Client-Cert` goes upstream, and whose.
    pub client_cert: ForwardClientCert,
    /// What it says of the client's certificate.
    pub client_cert_details: CertDetails,
}

/// `[[clusters]]`: endpoints that serve the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Outlives snapshots, as long as the name stays.
    pub id: ClusterId,
    /// The name, unique.
    pub name: Box<str>,
    /// At least one, no address twice, each of weight 1 or more.
    pub endpoints: Box<[Endpoint]>,
    /// How an endpoint is chosen.
    pub balance: Balance,
    /// How long it waits for endpoints.
    pub timeouts: ClusterTimeouts,
    /// How much it asks of them.
    pub limits: ClusterLimits,
    /// What is spoken to them.
    pub protocol: ClusterProtocol,
    /// How HTTP/2 is spoken.
    pub http2: Http2,
    /// TLS to endpoints; `None` is plain text.
    pub tls: Option<ClusterTls>,
    /// What connections to them begin with.
    pub proxy_protocol: Option<SendHeader>,
}

/// One address of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Outlives snapshots, as long as cluster and address stay.
    pub id: EndpointId,
    /// Where to connect.
    pub address: Address,
    /// Its share relative to the others, 1 or more.
    pub weight: u32,
    /// The locality it is in.
    pub zone: Option<Box<str>>,
}

/// `[clusters.timeouts]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterTimeouts {
    /// To establish a connection (503).
    pub connect: Duration,
    /// From the end of the request to the response head (504).
    pub first_byte: Duration,
    /// How long an unused connection is kept, and how long a response body may stand still.
    pub idle: Duration,
}

/// `[clusters.limits]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterLimits {
    /// Connections at a time, whole proxy.
    pub connections: u64,
    /// Requests that may wait for a connection, whole proxy (503 beyond).
    pub pending: u64,
    /// How long a request may wait for a connection (503).
    pub pending_timeout: Duration,
    /// Unused connections kept per endpoint and shard.
    pub idle_connections: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown() {
        for text in ["127.0.0.1:80", "[::1]:8080", "unix:/run/app.sock", "unix:app.sock"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        let long = format!("unix:/{}", "x".repeat(107));
        for (text, expected) in [
            ("127.0.0.1", AddressError::NoPort),
            ("::1", AddressError::NoPort),
            ("localhost:80", AddressError::HostName),
            ("my-service", AddressError::HostName),
            ("unix:", AddressError::EmptyPath),
            (long.as_str(), AddressError::PathTooLong),
            ("127.0.0.1:99999", AddressError::Malformed),
            ("", AddressError::Malformed),
            (":80", AddressError::Malformed),
        ] {
            assert_eq!(text.parse::<Address>(), Err(expected), "{text}");
        }
    }

    #[test]
    fn local_addresses() {
        for (text, local) in
            [("127.0.0.2:1", true), ("[::1]:1", true), ("[::ffff:127.0.0.1]:1", true), ("unix:/x", true)]
        {
            assert_eq!(text.parse::<Address>().unwrap().is_local(), local, "{text}");
        }
        assert!(!"0.0.0.0:1".parse::<Address>().unwrap().is_local());
    }
}
