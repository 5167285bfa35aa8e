//! The configuration document: every section and key, with type, default and meaning.
//!
//! What stands here is what users write (values of several forms stand in `kinds`); `docs/configuration.md` is the long form (a test compares the
//! two). Declarations only: reading is `read`, meaning is `compile`.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value as Json, json};
use toml::Spanned;
use toml::de::DeValue;

use super::http2::ClusterProtocol;
use super::problem::Problems;
use super::read::{
    At, Entries, Fields, Preset, Property, Read, Section, read_section, section, section_schema, wrong_type,
};
use super::snapshot::{AccessLogFormat, Address, DriverChoice, ForwardClientCert, Protocol};
use super::units::{Size, Time};
use crate::balance::Balance;
use crate::limits;

pub(super) use http2::*;
pub(super) use kinds::*;
pub(super) use proxy_header::*;
pub(super) use tls::*;

mod http2;
mod kinds;
mod proxy_header;
mod tls;

const fn seconds(seconds: u64) -> Time {
    Time(Duration::from_secs(seconds))
}

section! {
    /// The whole document.
    Document = "the document" {
        /// Settings of the whole program.
        sub proxy: Proxy;
        /// Sockets that take connections.
        many listeners: Listener;
        /// Which requests go where. The most specific one wins, never the order of writing.
        many routes: Route;
        /// Endpoints that serve the same.
        many clusters: Cluster;
    }
}

section! {
    /// `[proxy]`.
    Proxy = "[proxy]" {
        /// Shards to start. Default: one per CPU that the process may use.
        may shards: u32;
        /// Where the admin port listens: an IP address with port, or `unix:` and a path.
        has admin: Address = Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 9901)));
        /// Lets the admin port listen where other machines reach it. It has no authentication.
        has admin_public: bool = false;
        /// The I/O driver. Only `auto` falls back from io_uring to epoll.
        has driver: DriverChoice = DriverChoice::Auto;
        /// How long requests in flight may take after SIGTERM.
        has drain: Time = seconds(10);
        /// Downstream connections of the whole proxy.
        has connections: u64 = limits::PROXY_CONNECTIONS_DEFAULT;
        /// Buffer memory of each shard.
        has shard_memory: Size = Size(limits::SHARD_MEMORY_DEFAULT as u64);
        /// Logs one line a request. Off when the table is absent.
        may access_log: AccessLog;
    }
}

section! {
    /// `[proxy.access_log]`.
    AccessLog = "[proxy.access_log]" {
        /// `stdout` or a file, which is appended to and reopened on SIGHUP.
        has path: String = "stdout".to_owned();
        /// The form of a line.
        has format: AccessLogFormat = AccessLogFormat::Json;
    }
}

section! {
    /// `[[listeners]]`.
    Listener = "[[listeners]]" {
        /// The listener's name, unique.
        need name: String;
        /// An IP address with port, or `unix:` and a path. Port 0 takes any free port.
        need address: Address;
        /// What is spoken there; `auto` detects the HTTP version, `tcp` and `tls-passthrough` pass bytes on.
        has protocol: Protocol = Protocol::Auto;
        /// Where connections go that no route takes; only with `tcp` and `tls-passthrough`.
        may cluster: String;
        /// Whether connections begin with a PROXY header. Default: `off`.
        may proxy_protocol: AcceptHeader;
        /// Protocols that a request may upgrade to, `*` for every one. Other versions of HTTP are never passed on.
        has upgrades: Vec<At<Upgrade>> = vec![At::preset(Upgrade::websocket())];
        /// Whether a client that has closed its sending side still waits for answers.
        has half_close: bool = false;
        /// How long the listener waits for clients.
        sub timeouts: ListenerTimeouts;
        /// How much the listener takes.
        sub limits: ListenerLimits;
        /// Headers about the client, and whose to believe.
        sub forwarding: Forwarding;
        /// How HTTP/2 is spoken.
        sub http2: ListenerHttp2;
        /// TLS on the port. Plain text when the table is absent.
        may tls: ListenerTls;
    }
}

section! {
    /// `[listeners.timeouts]`.
    ListenerTimeouts = "[listeners.timeouts]" {
        /// From the first byte of a request head to its last: 408.
        has header: Time = seconds(10);
        /// Without a byte of a request body: 408.
        has body: Time = seconds(30);
        /// Without being able to send a byte of an answer: the connection is closed.
        has write: Time = seconds(30);
        /// Without a request: the connection is closed.
        has idle: Time = seconds(60);
        /// Bytes a second that a transfer must keep on average, judged after 5 s; `0B` is off.
        has min_rate: Size = Size(240);
        /// Without a byte in either direction of a tunnel (an upgraded connection, CONNECT): it is closed.
        has tunnel_idle: Time = seconds(3_600);
        /// How long a tunnel may last: it is closed. Default: no limit.
        may tunnel_max: Time;
    }
}

section! {
    /// `[listeners.limits]`.
    ListenerLimits = "[listeners.limits]" {
        /// Connections at a time, all shards together. More are answered 503 and closed.
        has connections: u64 = limits::LISTENER_CONNECTIONS_DEFAULT;
        /// Requests on one connection, which is then closed.
        has requests_per_connection: Ceiling = Ceiling(u64::MAX);
        /// Size of a request head: 431 beyond.
        has header_bytes: Size = Size(limits::HEADER_BYTES_DEFAULT as u64);
        /// Size of a request target: 414 beyond.
        has uri_bytes: Size = Size(limits::URI_BYTES_DEFAULT as u64);
    }
}

section! {
    /// `[listeners.forwarding]`.
    Forwarding = "[listeners.forwarding]" {
        /// Peers (addresses or networks) whose forwarded headers are believed and extended. Those of others are replaced.
        may trusted_proxies: Vec<At<Network>>;
        /// Send `X-Forwarded-Host`.
        has x_forwarded_host: bool = false;
        /// Send `Forwarded` (RFC 7239).
        has forwarded: bool = false;
        /// Send `Via` (RFC 9110 section 7.6.3).
        has via: bool = false;
        /// Send `X-Request-Id`.
        has request_id: bool = false;
        /// Whether `X-Forwarded-Client-Cert` goes upstream, and whose.
        has client_cert: ForwardClientCert = ForwardClientCert::Sanitize;
        /// What it says of the client's certificate beside its hash.
        has client_cert_details: Vec<At<CertDetail>> =
            [CertDetail::Subject, CertDetail::Uri, CertDetail::Dns].into_iter().map(At::preset).collect();
    }
}

section! {
    /// `[[routes]]`.
    Route = "[[routes]]" {
        /// The route's name in metrics and logs, unique. Default: derived from its conditions.
        may name: String;
        /// The listeners it exists on. Default: every HTTP listener; with `sni` every one that sees server names.
        may listeners: Vec<At<String>>;
        /// Server names that TLS clients ask for: exact, `*.example.com` or `*`. For connections that are passed on.
        may sni: Vec<At<String>>;
        /// Hosts: exact, `*.example.com` or `*`. The port of a request's host is ignored. Default: every host.
        may hosts: Vec<At<String>>;
        /// A string is an exact path. Default: every path.
        may path: PathCondition;
        /// Methods. Default: every method.
        may methods: Vec<At<String>>;
        /// Conditions on header fields, all of which must hold. A string is an exact value.
        may headers: Entries<ValueCondition>;
        /// Conditions on query parameters, all of which must hold. A string is an exact value.
        may query: Entries<ValueCondition>;
        /// The cluster that answers.
        may cluster: String;
        /// Clusters that share the requests by relative weight.
        may split: Vec<At<SplitPart>>;
        /// The proxy answers by itself.
        may direct_response: DirectResponse;
        /// Whether CONNECT requests that the route takes become tunnels to its cluster. Else they are refused.
        has connect: bool = false;
        /// From the request's first byte to the last byte of its answer: 504. Never for tunnels. Default: none.
        may timeout: Time;
        /// Whether and when a request is tried again. Default: only what is always safe.
        may retry: Retry;
        /// Whether gRPC-Web is translated, and which gRPC methods are counted one by one.
        sub grpc: Grpc;
        /// Changes to the head that the upstream gets.
        sub request_headers: Edits;
        /// Changes to the head that the client gets.
        sub response_headers: Edits;
    }
}

section! {
    /// `path = { … }`.
    PathKinds = "path" {
        /// The whole path.
        may exact: String;
        /// Leading segments: `/a` matches `/a` and `/a/b`, not `/ab`.
        may prefix: String;
        /// A regular expression for the whole path.
        may regex: String;
    }
}

section! {
    /// A condition on a header field or query parameter, as a table.
    ValueKinds = "a condition" {
        /// This value.
        may exact: String;
        /// A value that starts so.
        may prefix: String;
        /// A value that ends so.
        may suffix: String;
        /// A value that has this somewhere.
        may contains: String;
        /// A regular expression for the whole value.
        may regex: String;
        /// Any value (`true`), or no such field (`false`).
        may present: bool;
        /// No such field (`true`), or any value (`false`).
        may absent: bool;
        /// A decimal integer within bounds.
        may range: Bounds;
    }
}

section! {
    /// `range = { … }`.
    Bounds = "range" {
        /// The lowest integer that matches. Default: no lower bound.
        may start: i64;
        /// The lowest integer above those that match. Default: no upper bound.
        may end: i64;
    }
}

section! {
    /// An item of `split`.
    SplitPart = "split" {
        /// The cluster.
        need cluster: String;
        /// Its share relative to the others.
        need weight: u32;
    }
}

section! {
    /// `[routes.direct_response]`.
    DirectResponse = "[routes.direct_response]" {
        /// The status, 200 to 599.
        need status: u16;
        /// The body.
        has body: String = String::new();
        /// Header fields.
        may headers: Entries<String>;
    }
}

section! {
    /// `[routes.retry]`.
    Retry = "[routes.retry]" {
        /// Tries after the first, 1 to 10.
        has attempts: u32 = 1;
        /// What asks for another try.
        has on: Vec<At<RetryCondition>> =
            vec![At::preset(RetryCondition::ConnectFailure), At::preset(RetryCondition::RefusedStream)];
        /// Statuses that ask for another try; means `retriable-status-codes` in `on`.
        may retriable_status_codes: Vec<At<u16>>;
    }
}

section! {
    /// `[routes.grpc]`.
    Grpc = "[routes.grpc]" {
        /// Whether gRPC-Web requests are translated to gRPC and their answers back.
        has web: bool = false;
        /// Methods (`package.Service/Method`) that are counted one by one. All others are counted together.
        may methods: Vec<At<String>>;
    }
}

section! {
    /// `[routes.request_headers]` and `[routes.response_headers]`.
    Edits = "[routes.request_headers] and [routes.response_headers]" {
        /// Fields that replace those of the same name.
        may set: Entries<OneOrMore>;
        /// Fields that are added beside those of the same name.
        may add: Entries<OneOrMore>;
        /// Names of fields that are removed.
        may remove: Vec<At<String>>;
    }
}

section! {
    /// `[[clusters]]`.
    Cluster = "[[clusters]]" {
        /// The cluster's name, unique.
        need name: String;
        /// Where it is served: addresses, or tables with `address`, `weight` and `zone`.
        need endpoints: Vec<At<EndpointEntry>>;
        /// What is spoken to the endpoints.
        has protocol: ClusterProtocol = ClusterProtocol::Http1;
        /// The PROXY header that connections to endpoints begin with. Default: none.
        may proxy_protocol: SendHeader;
        /// How an endpoint is chosen.
        has balance: Balance = Balance::LeastRequest;
        /// How long the cluster waits for endpoints.
        sub timeouts: ClusterTimeouts;
        /// How much the cluster asks of endpoints.
        sub limits: ClusterLimits;
        /// How HTTP/2 is spoken.
        sub http2: ClusterHttp2;
        /// TLS to endpoints. Plain text when the table is absent.
        may tls: ClusterTls;
    }
}

section! {
    /// `[clusters.timeouts]`.
    ClusterTimeouts = "[clusters.timeouts]" {
        /// To establish a connection: 503.
        has connect: Time = seconds(5);
        /// From the end of the request to the response head: 504.
        has first_byte: Time = seconds(60);
        /// How long an unused connection is kept, and how long a response body may stand still.
        has idle: Time = seconds(60);
    }
}

section! {
    /// `[clusters.limits]`.
    ClusterLimits = "[clusters.limits]" {
        /// Connections at a time, all shards together. More requests wait.
        has connections: u64 = limits::CLUSTER_CONNECTIONS_DEFAULT;
        /// Requests that may wait for a connection, all shards together: 503 beyond.
        has pending: u64 = limits::CLUSTER_PENDING_DEFAULT;
        /// How long a request may wait for a connection: 503.
        has pending_timeout: Time = seconds(1);
        /// Unused connections kept per endpoint and shard.
        has idle_connections: u32 = limits::ENDPOINT_IDLE_DEFAULT as u32;
    }
}

section! {
    /// An item of `endpoints`, as a table.
    EndpointTable = "endpoints" {
        /// An IP address with port, or `unix:` and a path.
        need address: Address;
        /// Its share relative to the other endpoints, from 1.
        has weight: u32 = 1;
        /// The locality it is in.
        may zone: String;
    }
}

/// The JSON Schema of a configuration document, for editors and validators (`pinion schema`).
pub fn json_schema() -> Json {
    let mut schema = section_schema::<Document>();
    if let Some(object) = schema.as_object_mut() {
        object.insert("$schema".to_owned(), json!("http://json-schema.org/draft-07/schema#"));
        object.insert("title".to_owned(), json!("Pinion configuration"));
    }
    schema
}
