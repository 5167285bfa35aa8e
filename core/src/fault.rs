//! What went wrong with a request: who, at which stage, and whether it may be tried again.
//!
//! One table ([`Fault::row`]) decides status, response flag, log and metric label, and what happens to
//! the downstream connection. Small errors of single modules are converted to a [`Fault`] once.
//!
//! Response flags are Envoy's letters where one fits, so that dashboards and habits carry over.
//!
//! Not here: texts for people beyond a short reason; `docs/responses.md` explains each label.

/// Whose doing it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// The client.
    Downstream,
    /// The cluster's endpoint.
    Upstream,
    /// The proxy: its configuration, limits or state.
    Proxy,
}

/// The stages of a request, in order; the same words name metrics, the ledger and the documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Taking a connection from the kernel.
    Accept,
    /// The TLS handshake.
    Tls,
    /// Reading a message from bytes.
    Codec,
    /// Bringing authority and path into their one form.
    Normalise,
    /// Finding the route.
    Route,
    /// Authorization, rate limits, injected faults, deadlines.
    Policy,
    /// Choosing cluster and endpoint.
    Choose,
    /// Getting an upstream connection.
    Pool,
    /// Sending the request, waiting, relaying bodies.
    Exchange,
    /// Answering the client.
    Respond,
    /// Counting and logging.
    Record,
}

impl Stage {
    /// The word used in metrics, logs and documentation.
    pub const fn label(self) -> &'static str {
        match self {
            Stage::Accept => "accept",
            Stage::Tls => "tls",
            Stage::Codec => "codec",
            Stage::Normalise => "normalise",
            Stage::Route => "route",
            Stage::Policy => "policy",
            Stage::Choose => "choose",
            Stage::Pool => "pool",
            Stage::Exchange => "exchange",
            Stage::Respond => "respond",
            Stage::Record => "record",
        }
    }
}

/// Whether the same request may be sent again, on another connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Nothing of it reached an upstream: always safe.
    Safe,
    /// It may have been processed: only idempotent requests, or when the route says so.
    Idempotent,
    /// Trying again cannot help or is not allowed.
    Never,
}

/// What becomes of the downstream connection after the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It may be used for the next request (when the request was read to its end).
    Keep,
    /// It is closed after the answer: its bytes can't be trusted or were not all read.
    Close,
    /// It is closed without an answer.
    Abort,
}

/// One row of the fault table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The metric and log label, snake case.
    pub label: &'static str,
    /// Who caused it.
    pub party: Party,
    /// Where it was noticed.
    pub stage: Stage,
    /// The status answered; 0 where no answer is possible.
    pub status: u16,
    /// Envoy's response flag.
    pub flag: &'static str,
    /// May it be retried.
    pub retry: Retry,
    /// What becomes of the downstream connection.
    pub after: After,
    /// One sentence for the body of the answer.
    pub reason: &'static str,
}

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident: $label:literal $party:ident $stage:ident $status:literal $flag:literal $retry:ident $after:ident $reason:literal;)*) => {
        /// Everything that can go wrong with one request.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Fault { $($(#[$doc])* $name,)* }

        impl Fault {
            /// Every fault, in the order of their numbers.
            pub const ALL: &'static [Fault] = &[$(Fault::$name,)*];
            const ROWS: &'static [Row] = &[$(Row {
                label: $label, party: Party::$party, stage: Stage::$stage, status: $status, flag: $flag,
                retry: Retry::$retry, after: After::$after, reason: $reason,
            },)*];
        }
    };
}

faults! {
    /// A request head that RFC 9112 does not allow, or that two readers could read differently.
    BadRequest: "bad_request" Downstream Codec 400 "DPE" Never Close "malformed request";
    /// A target beyond `uri_bytes`.
    UriTooLong: "uri_too_long" Downstream Codec 414 "DPE" Never Close "request target too long";
    /// A head beyond `header_bytes` or with too many fields.
    HeadTooLarge: "head_too_large" Downstream Codec 431 "DPE" Never Close "request header section too large";
    /// An HTTP version that is not spoken here.
    VersionUnsupported: "version_unsupported" Downstream Codec 505 "DPE" Never Close "HTTP version not supported";
    /// A transfer coding that is not understood, so that the body's end can't be known.
    CodingUnsupported: "coding_unsupported" Downstream Codec 501 "DPE" Never Close "transfer coding not supported";
    /// An expectation other than `100-continue`.
    ExpectationUnsupported: "expectation_unsupported" Downstream Codec 417 "DPE" Never Close "expectation not supported";
    /// A method that is not allowed here, such as CONNECT without a tunnel route.
    MethodUnsupported: "method_unsupported" Downstream Codec 501 "DPE" Never Close "method not supported";
    /// A request body whose framing is broken.
    BadBody: "bad_body" Downstream Exchange 400 "DPE" Never Close "malformed request body";
    /// A trailer section beyond its limit.
    TrailersTooLarge: "trailers_too_large" Downstream Exchange 431 "DPE" Never Close "trailer section too large";
    /// The head did not arrive in time, or slower than `min_rate`.
    HeaderTimeout: "header_timeout" Downstream Codec 408 "DT" Never Close "request header timed out";
    /// No byte of the body for too long.
    BodyTimeout: "body_timeout" Downstream Exchange 408 "DT" Never Close "request body timed out";
    /// The body came slower than `min_rate`.
    BodyTooSlow: "body_too_slow" Downstream Exchange 408 "DT" Never Close "request body too slow";
    /// The client took no byte of the answer for too long, or took it slower than `min_rate`.
    ReaderTooSlow: "reader_too_slow" Downstream Respond 0 "DT" Never Abort "client reads too slowly";
    /// The client went away before its answer was complete.
    ClientGone: "client_gone" Downstream Exchange 0 "DC" Never Abort "client closed the connection";
    /// A limit of connections was reached.
    ConnectionLimit: "connection_limit" Proxy Accept 503 "OM" Never Close "too many connections";
    /// The shard's buffer memory is used up.
    MemoryLimit: "memory_limit" Proxy Codec 503 "OM" Never Close "out of buffer memory";
    /// No route matches.
    NoRoute: "no_route" Proxy Route 404 "NR" Never Keep "no route matches";
    /// A connection without the PROXY header that its listener requires.
    ProxyHeaderMissing: "proxy_header_missing" Downstream Accept 0 "DPE" Never Abort "PROXY header missing";
    /// The TLS handshake with a client failed; `pinion_tls_handshake_failures_total` says why.
    TlsHandshake: "tls_handshake" Downstream Tls 0 "DPE" Never Abort "TLS handshake failed";
    /// A PROXY header that its specification does not allow.
    ProxyHeaderMalformed: "proxy_header_malformed" Downstream Accept 0 "DPE" Never Abort "malformed PROXY header";
    /// A PROXY header whose checksum is wrong.
    ProxyHeaderChecksum: "proxy_header_checksum" Downstream Accept 0 "DPE" Never Abort "wrong checksum of a PROXY header";
    /// A PROXY header beyond its limit.
    ProxyHeaderTooLong: "proxy_header_too_long" Downstream Accept 0 "DPE" Never Abort "PROXY header too long";
    /// A connection of a peer that may not send the PROXY header which its listener requires.
    ProxyHeaderUntrusted: "proxy_header_untrusted" Downstream Accept 0 "DPE" Never Abort "PROXY header of an untrusted peer";
    /// The PROXY header did not arrive in time.
    ProxyHeaderTimeout: "proxy_header_timeout" Downstream Accept 0 "DT" Never Abort "PROXY header timed out";
    /// A connection to be routed by server name that does not begin with TLS.
    HelloNotTls: "hello_not_tls" Downstream Tls 0 "DPE" Never Abort "not a TLS connection";
    /// A ClientHello that is malformed or could be read in two ways.
    HelloMalformed: "hello_malformed" Downstream Tls 0 "DPE" Never Abort "malformed ClientHello";
    /// A ClientHello beyond its limit.
    HelloTooLarge: "hello_too_large" Downstream Tls 0 "DPE" Never Abort "ClientHello too large";
    /// The ClientHello did not arrive in time.
    HelloTimeout: "hello_timeout" Downstream Tls 0 "DT" Never Abort "ClientHello timed out";
    /// The TLS handshake with an endpoint failed.
    UpstreamTls: "upstream_tls" Upstream Pool 503 "UF" Safe Keep "TLS handshake with the upstream failed";
    /// The cluster has no endpoint that may be used.
    NoEndpoint: "no_endpoint" Proxy Choose 503 "UH" Never Keep "no healthy upstream";
    /// The cluster's pending queue is full.
    PendingOverflow: "pending_overflow" Proxy Pool 503 "UO" Never Keep "upstream overflow";
    /// No upstream connection became free in time.
    PendingTimeout: "pending_timeout" Proxy Pool 503 "UO" Never Keep "timed out waiting for an upstream connection";
    /// A local resource (descriptor, port, memory) was missing to connect.
    ConnectLocal: "connect_local" Proxy Pool 503 "UF" Safe Keep "no local resource for an upstream connection";
    /// The upstream refused the connection or was not reachable.
    ConnectFailed: "connect_failed" Upstream Pool 503 "UF" Safe Keep "upstream connection failed";
    /// The upstream did not accept the connection in time.
    ConnectTimeout: "connect_timeout" Upstream Pool 503 "UF" Safe Keep "upstream connection timed out";
    /// A reused connection was closed by the upstream as the request was sent, before any answer.
    StaleConnection: "stale_connection" Upstream Exchange 503 "UC" Idempotent Keep "upstream closed the connection";
    /// The upstream closed or reset the connection before a complete response head.
    UpstreamClosed: "upstream_closed" Upstream Exchange 503 "UC" Idempotent Keep "upstream closed the connection before responding";
    /// The upstream did nothing with the request: it refused the stream, or was leaving.
    StreamRefused: "stream_refused" Upstream Exchange 503 "UR" Safe Keep "upstream refused the stream";
    /// The upstream reset the stream before a complete response head.
    UpstreamReset: "upstream_reset" Upstream Exchange 503 "UR" Idempotent Keep "upstream reset the stream";
    /// The response head is malformed, could be read in two ways, or switches to a protocol that was not offered.
    UpstreamMalformed: "upstream_malformed" Upstream Exchange 502 "UPE" Never Keep "malformed upstream response";
    /// The response head is beyond its limit.
    UpstreamHeadTooLarge: "upstream_head_too_large" Upstream Exchange 502 "UPE" Never Keep "upstream response header section too large";
    /// No response head within `first_byte`.
    FirstByteTimeout: "first_byte_timeout" Upstream Exchange 504 "UT" Idempotent Keep "upstream response timed out";
    /// The route's `timeout` ended the request.
    RequestTimeout: "request_timeout" Upstream Exchange 504 "UT" Never Keep "request timed out";
    /// The response body ended before its length, after the head was passed on.
    UpstreamTruncated: "upstream_truncated" Upstream Respond 0 "UC" Never Abort "upstream response ended early";
    /// The response body's framing is broken, after the head was passed on.
    UpstreamBadBody: "upstream_bad_body" Upstream Respond 0 "UPE" Never Abort "malformed upstream response body";
    /// The response body made no progress within its idle time, after the head was passed on.
    UpstreamStalled: "upstream_stalled" Upstream Respond 0 "UT" Never Abort "upstream response stalled";
    /// A tunnel moved no byte for `tunnel_idle`.
    TunnelIdle: "tunnel_idle" Proxy Respond 0 "SI" Never Abort "tunnel idle for too long";
    /// A tunnel lasted for `tunnel_max`.
    TunnelTimeout: "tunnel_timeout" Proxy Respond 0 "DT" Never Abort "tunnel lasted too long";
    /// The upstream reset the connection of a tunnel.
    TunnelReset: "tunnel_reset" Upstream Respond 0 "UC" Never Abort "upstream reset the tunnel";
    /// The proxy is stopping and its drain deadline has passed.
    Drained: "drained" Proxy Respond 503 "DRN" Never Close "proxy is shutting down";
}

impl Fault {
    /// How many faults there are, for tables of counters.
    pub const COUNT: usize = Self::ALL.len();

    /// This fault's place in [`Fault::ALL`] and in tables of counters.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// What the table says of this fault.
    pub const fn row(self) -> &'static Row {
        &Self::ROWS[self as usize]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_table_is_consistent() {
        let mut labels = HashSet::new();
        for (place, fault) in Fault::ALL.iter().enumerate() {
            let row = fault.row();
            assert_eq!(fault.index(), place);
            assert!(labels.insert(row.label), "{} twice", row.label);
            assert_eq!(row.status == 0, row.after == After::Abort, "{}: no status means abort", row.label);
            assert!(row.status == 0 || (400..600).contains(&row.status), "{}", row.label);
        }
    }
}
