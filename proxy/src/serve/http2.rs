//! A request that came on a stream: the same stages as on a connection of its own (`request`).
//!
//! Invariants:
//! - every request that began is recorded exactly once, whatever becomes of it;
//! - what can't be answered any more resets its stream, and no other.
//!
//! Not here: frames, windows, who reads and writes the connection (`h2`).
//!
//! HOT: 0 allocations.

use std::cell::RefCell;
use std::rc::Rc;

use pinion_core::config::Listener;
use pinion_core::fault::Fault;
use pinion_core::http::h1::conn::Exchange;
use pinion_core::http::h2::Limits;
use pinion_core::http::h2::frame::ErrorCode;
use pinion_core::http::{Framing, Method};
use pinion_core::telemetry::{Phase, ShardStats, Side};

use super::connection::{Next, hand_on, park, unpark};
use super::downstream::{Downstream, View};
use super::record::{Seen, record};
use super::request::{Call, attend, finish, passes_upgrade};
use crate::h2::moving::Resting;
use crate::h2::server::{self, NewRequest, Served, Start};
use crate::h2::session::Settings;
use crate::net::clock;
use crate::net::parked::ParkedProtocol;
use crate::shard::Shard;
use crate::shard::lease::Lease;
use crate::shard::tables::Tables;

/// The connection that streams share, as the tables in force see it.
pub(crate) struct Front {
    /// Holds the connection's place in the counts.
    first: Rc<Downstream>,
    current: RefCell<Rc<Downstream>>,
}

impl Front {
    // ALLOC: once a connection.
    pub(crate) fn new(connection: Box<Downstream>) -> Rc<Self> {
        let first: Rc<Downstream> = Rc::from(connection);
        Rc::new(Front { current: RefCell::new(first.clone()), first: first })
    }

    /// The connection as `tables` see it, and whether they still name its listener.
    // ALLOC: at most once a generation.
    fn seen_by(&self, shard: &Shard, tables: &Tables) -> (Rc<Downstream>, bool) {
        let current = self.current.borrow().clone();
        if current.view.generation() == tables.shared.snapshot.generation {
            return (current, true);
        }
        match View::find(tables, current.view.listener.id, current.peer) {
            None => (current, false),
            Some(view) => {
                let renewed = Rc::new(current.renewed(shard, view));
                self.current.replace(renewed.clone());
                (renewed, true)
            }
        }
    }
}

/// Serves a client's connection that came from another shard.
pub(crate) fn start(shard: &Rc<Shard>, connection: Box<Downstream>, resting: Option<Box<Resting>>) {
    let shard = shard.clone();
    crate::net::spawn(async move { serve_from(&shard, connection, resting).await });
}

/// Serves a client's connection that begins to speak HTTP/2 until it ends, here or on a shard that has less to do.
pub(crate) async fn connection(shard: &Rc<Shard>, connection: Box<Downstream>) {
    let open = |stats: &ShardStats| stats.http2[Side::Downstream as usize].connections_active.get();
    if let Some(to) = shard.h2.placement.beginning(shard, open)
        && let Ok((parked, counted)) = park(shard, &connection, ParkedProtocol::Http2Fresh)
    {
        match hand_on(shard, to, parked, counted) {
            Ok(()) => return,
            Err(parked) => drop(unpark(&connection, *parked)),
        }
    }
    serve_from(shard, connection, None).await;
}

async fn serve_from(shard: &Rc<Shard>, mut connection: Box<Downstream>, mut resting: Option<Box<Resting>>) {
    let mut inbuf = connection.inbuf.take();
    let (socket, listener) = (connection.socket.clone(), connection.view.listener.clone());
    let front = Front::new(connection);
    loop {
        let on_request = |request| shard.h2.serve(shard, front.clone(), request);
        let start = match resting {
            Some(resting) => Start::Resumed(resting),
            None => Start::Fresh(limits(&listener)),
        };
        let (socket, settings) = (socket.clone(), settings(&listener));
        let served = server::serve_connection(shard, socket, settings, start, inbuf, on_request).await;
        let Served::Moved { to, resting: there } = served else {
            return;
        };
        let back = match park(shard, &front.first, ParkedProtocol::Http2(there)) {
            Ok((parked, counted)) => {
                hand_on(shard, to, parked, counted).err().map(|parked| unpark(&front.first, *parked))
            }
            Err(protocol) => Some(protocol),
        };
        let Some(ParkedProtocol::Http2(back)) = back else {
            return;
        };
        // That shard takes none at present.
        (inbuf, resting) = (None, Some(back));
    }
}

/// Serves one request. `lease` has its deadlines.
pub(crate) async fn serve(shard: &Shard, lease: &Lease, front: Rc<Front>, request: NewRequest) {
    let NewRequest { stream, mut trip, text: mut inbuf, refused, .. } = request;
    shard.stats.requests_active.inc();
    let began = clock::turn();
    let tables = shard.tables();
    let (connection, listed) = front.seen_by(shard, &tables);
    let upgrade = refused.is_none() && passes_upgrade(&connection, &trip.head, &inbuf);
    let exchange = Exchange::new(&trip.head, false, upgrade);
    let mut call = Call::new(shard, &connection, &tables, &mut inbuf, exchange, Framing::None, began);
    call.stream = Some(&stream);
    call.lease = lease;
    call.story.ledger.stamp(Phase::Codec, clock::now());
    let mut route = None;
    let ended = match refused {
        Some(fault) => Err(fault),
        None if !listed => Err(Fault::Drained),
        // RFC 9220 section 3: what may not be asked for.
        None if trip.head.protocol.is_some() && !upgrade => Err(Fault::MethodUnsupported),
        None => attend(&mut call, &mut trip, &mut route).await,
    };
    let head_request = refused.is_none() && trip.head.method == Method::Head;
    let next = finish(&mut call, head_request, ended).await;
    let seen = Seen {
        connection: &connection,
        tables: &tables,
        inbuf: call.inbuf,
        head: refused.is_none().then_some(&trip.head),
        path: (!trip.path.is_empty()).then_some(&trip.path[..]),
        route,
    };
    record(shard, &call.story, &seen);
    let aborted = (next == Next::Close).then(|| reset_code(call.story.fault));
    drop(call);
    if let Some(code) = aborted {
        stream.reset(code);
    }
    shard.trips.give(trip);
    shard.stats.requests_active.dec();
}

/// What a client is told of a request that can't be answered any more (RFC 9113 section 7).
const fn reset_code(fault: Option<Fault>) -> ErrorCode {
    match fault {
        Some(Fault::Drained) => ErrorCode::REFUSED_STREAM,
        Some(Fault::ClientGone) => ErrorCode::CANCEL,
        _ => ErrorCode::INTERNAL_ERROR,
    }
}

fn limits(listener: &Listener) -> Limits {
    let http2 = &listener.http2;
    Limits {
        concurrent_streams: http2.streams,
        stream_window: http2.stream_window,
        connection_window: http2.connection_window,
        header_list_bytes: listener.limits.header_bytes as u32,
        extended_connect: listener.upgrades.words().next().is_some(),
        ..Limits::server()
    }
}

fn settings(listener: &Listener) -> Settings {
    let http2 = &listener.http2;
    Settings {
        side: Side::Downstream,
        host: Box::default(),
        listener: Some(listener.id),
        idle: listener.timeouts.idle,
        header: listener.timeouts.header,
        write: listener.timeouts.write,
        keepalive: http2.keepalive,
        keepalive_timeout: http2.keepalive_timeout,
        requests: listener.limits.requests_per_connection,
        max_age: http2.age,
        movable: true,
        streams: http2.streams as usize,
    }
}
