//! A connection that is passed on: from its first bytes to its record.
//!
//! `(ClientHello) → route → choose → pool → PROXY header → through → record`
//!
//! Invariants:
//! - every connection that asks for an endpoint is recorded exactly once, whatever becomes of it;
//! - nothing of the client was sent when an endpoint could not be reached, so that another one may be tried;
//! - no tables are held while it lasts: it may outlive many generations.
//!
//! Not here: what passes (`through`), the PROXY header that a connection begins with (`open`).

use std::rc::Rc;
use std::sync::Arc;

use pinion_core::config::snapshot::Protocol;
use pinion_core::fault::Fault;
use pinion_core::http::RequestView;
use pinion_core::route::{Action, Route};
use pinion_core::telemetry::Phase;
use pinion_core::time::Instant;
use pinion_core::tls::hello::{HelloError, HelloReader, Progress};

use super::downstream::Downstream;
use super::exchange::InHand;
use super::proxy_protocol;
use super::record::{Story, Whole, record_connection};
use super::sniff::sniff;
use super::through::{End, through};
use crate::net::clock;
use crate::net::send::abort;
use crate::shard::Shard;
use crate::shard::tables::Tables;
use crate::sys::buffer::Buffer;
use crate::upstream::client::Client;
use crate::upstream::cluster::ClusterState;
use crate::upstream::connection::Upstream;
use crate::upstream::pool::{self, Got, Link, Want};

/// Serves a connection whose listener passes bytes on.
pub(crate) async fn serve(shard: &Shard, mut connection: Box<Downstream>) {
    let mut story = Story::begin(connection.accepted);
    // ALLOC: once a connection, as below, so that what lasts is small.
    let (name, failed) = match Box::pin(server_name(shard, &mut connection)).await {
        Ok(name) => (name, None),
        // It has left, or the proxy has: nobody asked for anything.
        Err(None) => return,
        Err(fault) => (None, fault),
    };
    story.ledger.stamp(Phase::Codec, clock::now());
    let early = connection.inbuf.take();
    let mut seen = Whole { name: name.as_deref().unwrap_or_default(), ..Whole::of(&connection) };
    let reached = match failed {
        Some(fault) => Err(fault),
        None => Box::pin(reach(shard, &connection, &mut story, &mut seen)).await,
    };
    match reached {
        Ok((cluster, upstream)) => pass(shard, &connection, &cluster, upstream, early, &mut story).await,
        Err(fault) => story.fault = Some(fault),
    }
    story.ledger.stamp(Phase::Respond, clock::now());
    record_connection(shard, &story, &seen);
}

/// The name that the client asks for, where its listener looks at the ClientHello, which stays in the buffer.
async fn server_name(shard: &Shard, connection: &mut Downstream) -> Result<Option<Box<str>>, Option<Fault>> {
    let listener = connection.view.listener.clone();
    if listener.protocol != Protocol::TlsPassthrough {
        return Ok(connection.tls.as_ref().and_then(|tls| tls.sni.clone()));
    }
    let deadline = connection.accepted.after(listener.timeouts.header);
    let mut reader = HelloReader::new();
    let judge = |bytes: &[u8]| match reader.read(bytes) {
        Ok(Progress::Partial) => Ok(None),
        Ok(Progress::Complete(hello)) => Ok(Some(hello.server_name)),
        Err(error) => {
            tracing::debug!(listener = &*listener.name, reason = error.label(), "a ClientHello was refused");
            Err(match error {
                HelloError::NotTls => Fault::HelloNotTls,
                HelloError::TooLarge => Fault::HelloTooLarge,
                HelloError::Record
                | HelloError::Message
                | HelloError::Length
                | HelloError::Repeated
                | HelloError::ServerName => Fault::HelloMalformed,
            })
        }
    };
    sniff(shard, connection, deadline, Fault::HelloTimeout, judge).await
}

/// Finds the route, and an endpoint of its cluster that can be reached.
async fn reach(
    shard: &Shard,
    connection: &Downstream,
    story: &mut Story,
    seen: &mut Whole<'_>,
) -> Result<(Rc<ClusterState>, Box<Upstream>), Fault> {
    let tables = shard.tables();
    seen.generation = tables.shared.snapshot.generation;
    let name = seen.name;
    let route = route(shard, connection, &tables, name).ok_or(Fault::NoRoute)?;
    seen.route = Some(route.clone());
    tables.shared.routes[route.index.index()].connections_total.inc();
    let cluster = match &route.action {
        Action::Cluster(cluster) => *cluster,
        Action::Split(split) => split.pick(shard.rng.borrow_mut().bits()),
        // The configuration has none such.
        Action::Direct(_) => return Err(Fault::NoRoute),
    };
    let cluster = tables.cluster(cluster, &shard.upstreams).clone();
    drop(tables);
    story.cluster = Some(cluster.clone());
    story.ledger.stamp(Phase::Route, clock::now());
    let send = cluster.cluster.proxy_protocol.as_ref();
    let preface = send.map(|send| proxy_protocol::header(shard, connection, send, name)).unwrap_or_default();
    seen.unique_id = proxy_protocol::unique_id(&preface);
    let upstream = connect(shard, connection, &route, &cluster, (name, &preface), story).await?;
    Ok((cluster, upstream))
}

/// The route of a client that asks for `name`, on the connection's listener as the tables in force have it.
fn route(shard: &Shard, connection: &Downstream, tables: &Tables, name: &str) -> Option<Arc<Route>> {
    let snapshot = &tables.shared.snapshot;
    let (listener, id) = (&connection.view.listener, connection.view.listener.id);
    let same = |index: usize| snapshot.listeners.get(index).is_some_and(|other| other.id == id);
    let place = Some(connection.view.index.index()).filter(|&index| same(index));
    let place = place.or_else(|| (0..snapshot.listeners.len()).find(|&index| same(index)))?;
    // A reload may have changed what is spoken: then its routes are none of this connection's.
    if snapshot.listeners[place].protocol != listener.protocol {
        return None;
    }
    let index = pinion_core::id::ListenerIndex(place as u32);
    snapshot.routes.find(index, &Named(name.as_bytes()), &mut shard.matching.borrow_mut()).cloned()
}

/// Connects to an endpoint, which is told of `name` and gets `preface`; to another one after a failure that the
/// route's `retry` covers.
async fn connect(
    shard: &Shard,
    connection: &Downstream,
    route: &Route,
    cluster: &Rc<ClusterState>,
    (name, preface): (&str, &[u8]),
    story: &mut Story,
) -> Result<Box<Upstream>, Fault> {
    let mut want = Want {
        cluster,
        avoid: None,
        fresh: true,
        until: Instant::NEVER,
        // It may have said all it has to say.
        client: Client::Socket { socket: &connection.socket, half_close: true },
        preface,
        host: name,
    };
    let mut left = route.retry.as_ref().map_or(0, |retry| retry.attempts);
    loop {
        let got = pool::acquire(shard, &connection.lease, &mut story.ledger, &want).await;
        let place = match &got {
            Ok(got) => Some(got.place),
            Err((_, place)) => *place,
        };
        story.attempts += u32::from(place.is_some());
        story.endpoint = place.map(|place| cluster.endpoints[place].clone());
        match got {
            Ok(Got { link: Link::Http1(upstream), .. }) => return Ok(upstream),
            // `check` refuses such a cluster here: its connections are shared by requests.
            Ok(Got { link: Link::Http2(_), .. }) => return Err(Fault::NoEndpoint),
            Err((fault, place))
                if left > 0 && route.retry.as_ref().is_some_and(|retry| retry.on.fault(fault)) =>
            {
                left -= 1;
                cluster.stats.retries.inc();
                want.avoid = place;
            }
            Err((fault, _)) => return Err(fault),
        }
    }
}

/// Passes bytes on until it is over.
async fn pass(
    shard: &Shard,
    connection: &Downstream,
    cluster: &ClusterState,
    upstream: Box<Upstream>,
    early: Option<Buffer>,
    story: &mut Story,
) {
    let endpoint = upstream.endpoint.clone();
    let _in_hand = InHand::new(cluster, &endpoint);
    endpoint.stats.requests_total.inc();
    let ends = (End::Socket(&connection.socket), End::Socket(&upstream.socket));
    let passed = through(shard, (connection, &connection.lease), ends, cluster, early).await;
    (story.bytes_in, story.bytes_out) = (passed.came, passed.went);
    story.fault = passed.fault;
    // Who waits for the end to know that it has all must not see one where there was none.
    match passed.fault {
        Some(Fault::TunnelReset) => abort(&connection.socket),
        Some(Fault::ClientGone) => abort(&upstream.socket),
        _ => {}
    }
    pool::release(shard, cluster, Link::Http1(upstream), false, clock::now());
}

/// What routes see of such a connection.
struct Named<'a>(&'a [u8]);

impl RequestView for Named<'_> {
    fn method(&self) -> &[u8] {
        &[]
    }

    fn host(&self) -> &[u8] {
        self.0
    }

    fn path(&self) -> &[u8] {
        &[]
    }

    fn query(&self) -> Option<&[u8]> {
        None
    }

    fn for_each_header(&self, _: &[u8], _: &mut dyn FnMut(&[u8])) {}
}
