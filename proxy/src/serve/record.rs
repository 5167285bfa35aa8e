//! The last stage of a request: counting it, and writing it to the access log's ring.

use std::rc::Rc;
use std::sync::Arc;

use pinion_core::config::snapshot::Protocol;
use pinion_core::fault::Fault;
use pinion_core::http::{Known, RequestHead};
use pinion_core::route::Route;
use pinion_core::telemetry::{AccessEntry, Ledger, Phase};
use pinion_core::time::Instant;

use super::downstream::Downstream;
use super::grpc::Grpc;
use crate::net::clock;
use crate::shard::Shard;
use crate::shard::tables::Tables;
use crate::sys::buffer::Buffer;
use crate::upstream::cluster::{ClusterState, EndpointState};

/// What is to be said of a request, gathered on its way.
pub(crate) struct Story {
    began: Instant,
    pub(crate) ledger: Ledger,
    /// The status sent to the client; 0 while none was.
    pub(crate) status: u16,
    pub(crate) fault: Option<Fault>,
    /// Bytes of the request's body.
    pub(crate) bytes_in: u64,
    /// Bytes of the response's body.
    pub(crate) bytes_out: u64,
    /// The connections became a tunnel.
    pub(crate) tunnel: bool,
    /// How often the request was sent upstream.
    pub(crate) attempts: u32,
    pub(crate) reused: bool,
    pub(crate) cluster: Option<Rc<ClusterState>>,
    pub(crate) endpoint: Option<Rc<EndpointState>>,
    /// What is special about a gRPC request.
    pub(crate) grpc: Option<Grpc>,
}

impl Story {
    pub(crate) fn begin(began: Instant) -> Self {
        Story {
            began,
            ledger: Ledger::begin(began),
            status: 0,
            fault: None,
            bytes_in: 0,
            bytes_out: 0,
            tunnel: false,
            attempts: 0,
            reused: false,
            cluster: None,
            endpoint: None,
            grpc: None,
        }
    }
}

/// The request as the log sees it: bytes and how to read them.
pub(crate) struct Seen<'a> {
    pub(crate) connection: &'a Downstream,
    pub(crate) tables: &'a Tables,
    pub(crate) inbuf: &'a Buffer,
    /// `None` when the head was refused.
    pub(crate) head: Option<&'a RequestHead>,
    /// The normalised path, when it differs.
    pub(crate) path: Option<&'a [u8]>,
    pub(crate) route: Option<&'a Route>,
}

/// Counts a finished request and logs it.
pub(crate) fn record(shard: &Shard, story: &Story, seen: &Seen<'_>) {
    #[cfg(debug_assertions)]
    crate::plant::on_request();
    shard.stats.requests_total.inc();
    shard.count_allocations();
    seen.connection.view.stats.requests_total.inc();
    if let Some(fault) = story.fault {
        shard.stats.faults[fault.index()].inc();
    }
    let phases = story.ledger.phases();
    // How long a tunnel lasted says nothing about latency.
    let total = phases.total() - if story.tunnel { phases.of(Phase::Respond) } else { 0 };
    if let Some(route) = seen.route {
        seen.tables.shared.routes[route.index.index()].finished(story.status, total);
        if let (Some(grpc), Some(head)) = (&story.grpc, seen.head) {
            let path = seen.path.unwrap_or_else(|| head.path.of(head.bytes(seen.inbuf.unread())));
            let methods = &seen.tables.shared.methods[route.index.index()];
            if let Some(stats) = methods.get(route.grpc.methods.place(path)) {
                stats.finished(grpc.status);
            }
        }
    }
    let mut sink = shard.access.borrow_mut();
    if sink.enabled() {
        // A full ring is counted by the sink.
        sink.push(&entry(story, seen));
    }
}

/// A connection as the log sees it that was passed on, or refused before its protocol began.
pub(crate) struct Whole<'a> {
    pub(crate) connection: &'a Downstream,
    pub(crate) generation: u64,
    /// The host that the client asked for by SNI.
    pub(crate) name: &'a str,
    /// The unique id that its endpoint was told, in hexadecimal; empty without one.
    pub(crate) unique_id: String,
    pub(crate) route: Option<Arc<Route>>,
}

impl<'a> Whole<'a> {
    /// A connection of which nothing more is known.
    pub(crate) fn of(connection: &'a Downstream) -> Self {
        Whole {
            connection,
            generation: connection.view.generation(),
            name: "",
            unique_id: String::new(),
            route: None,
        }
    }
}

/// Counts a fault of a finished connection, and logs it.
pub(crate) fn record_connection(shard: &Shard, story: &Story, seen: &Whole<'_>) {
    shard.count_allocations();
    if let Some(fault) = story.fault {
        shard.stats.faults[fault.index()].inc();
    }
    let mut sink = shard.access.borrow_mut();
    if !sink.enabled() {
        return;
    }
    let route = seen.route.as_deref();
    let mut entry = common(story, seen.connection, seen.generation, route);
    if !seen.name.is_empty() {
        entry.server_name = seen.name.as_bytes();
    }
    entry.request_id = seen.unique_id.as_bytes();
    entry.protocol = match seen.connection.view.listener.protocol {
        Protocol::Tcp => b"TCP",
        Protocol::TlsPassthrough => b"TLS",
        Protocol::Auto | Protocol::Http1 | Protocol::Http2 => b"",
    };
    sink.push(&entry);
}

/// What is said of requests and connections alike.
fn common<'a>(
    story: &'a Story,
    connection: &'a Downstream,
    generation: u64,
    route: Option<&'a Route>,
) -> AccessEntry<'a> {
    let since_epoch = clock::unix_nanos();
    let ago = clock::now().since(story.began).as_nanos() as u64;
    let tls = connection.tls.as_deref();
    let peer = tls.and_then(|tls| tls.peer.as_ref());
    AccessEntry {
        tls_version: tls.map_or(b"", |tls| tls.version_label().as_bytes()),
        tls_cipher: tls.map_or(b"", |tls| tls.suite_label().as_bytes()),
        server_name: tls.and_then(|tls| tls.sni.as_deref()).map_or(b"", str::as_bytes),
        peer_uri: peer.and_then(|peer| peer.uri()).map_or(b"", str::as_bytes),
        peer_subject: peer.map_or(b"", |peer| peer.subject.as_bytes()),
        start_unix_nanos: since_epoch.saturating_sub(ago),
        generation,
        bytes_in: story.bytes_in,
        bytes_out: story.bytes_out,
        phases: *story.ledger.phases(),
        status: story.status,
        attempts: story.attempts,
        connection_reused: story.reused,
        fault: story.fault,
        peer: connection.text.full(),
        listener: connection.view.listener.name.as_bytes(),
        route: route.map_or(b"", |route| route.name.as_bytes()),
        cluster: story.cluster.as_ref().map_or(b"", |state| state.cluster.name.as_bytes()),
        endpoint: story.endpoint.as_ref().map_or(b"", |endpoint| endpoint.name.as_bytes()),
        proxy: connection.proxy.as_ref().map_or(b"", |proxy| &proxy.logged),
        ..AccessEntry::default()
    }
}

fn entry<'a>(story: &'a Story, seen: &'a Seen<'_>) -> AccessEntry<'a> {
    let mut entry = common(story, seen.connection, seen.tables.shared.snapshot.generation, seen.route);
    if let Some(head) = seen.head {
        let bytes = head.bytes(seen.inbuf.unread());
        let field = |known| head.fields.find(known).map_or(&b""[..], |field| field.value.of(bytes));
        entry.method = head.method_span.of(bytes);
        entry.authority = head.authority.of(bytes);
        entry.path = seen.path.unwrap_or_else(|| head.path.of(bytes));
        entry.query = head.query.map(|query| query.of(bytes));
        entry.protocol = head.version.label().as_bytes();
        entry.user_agent = field(Known::UserAgent);
        entry.forwarded_for = field(Known::XForwardedFor);
        entry.request_id = field(Known::XRequestId);
    }
    entry
}
