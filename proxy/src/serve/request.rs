//! One request, from its head to its record: the page to read first.
//!
//! `codec → normalise → route → (policy) → choose → pool → exchange → respond → record`
//!
//! Invariants:
//! - every request that began is recorded exactly once, whatever becomes of it;
//! - the tables are read once, after the head, and used to the end.
//!
//! HOT: 0 allocations, 0 locks; 3 clock reads, and one a turn of the shard.

use std::cell::{Cell, RefCell};

use pinion_core::fault::{After, Fault};
use pinion_core::http::h1::body::{BodyReader, Emit};
use pinion_core::http::h1::conn::{Exchange, Reuse};
use pinion_core::http::{Framing, HeadView, Method, Normalised, RequestHead, normalize_host, normalize_path};
use pinion_core::route::{Action, Route};
use pinion_core::telemetry::Phase;
use pinion_core::time::Instant;

use super::connection::Next;
use super::downstream::Downstream;
use super::grpc::Grpc;
use super::record::{Seen, Story, record};
use super::trip::Trip;
use super::{answer, exchange, head};
use crate::h2::StreamFault;
use crate::h2::stream::Stream;
use crate::net::clock;
use crate::shard::Shard;
use crate::shard::lease::Lease;
use crate::shard::tables::Tables;
use crate::sys::buffer::Buffer;
use crate::upstream::client::Client;

/// A request being served: what the stages share.
pub(crate) struct Call<'a> {
    pub(crate) shard: &'a Shard,
    pub(crate) connection: &'a Downstream,
    /// The stream it came on; without one it has the connection to itself.
    pub(crate) stream: Option<&'a Stream>,
    /// The request's deadlines: the connection's, or those of its stream.
    pub(crate) lease: &'a Lease,
    pub(crate) tables: &'a Tables,
    /// The head, the part of the body that came with it, and whatever follows.
    pub(crate) inbuf: &'a mut Buffer,
    pub(crate) exchange: RefCell<Exchange>,
    pub(crate) body: BodyReader,
    /// How many body bytes at `head.body_start()` of `inbuf` are to be forwarded.
    pub(crate) kept: usize,
    /// How many bytes of `inbuf` belong to this request.
    pub(crate) used: usize,
    /// All of the body is in `inbuf`.
    pub(crate) ended: bool,
    /// The trailers of a stream that has ended already: lines `name: value\r\n`.
    pub(crate) trailers: Option<Buffer>,
    /// Content that passed without being in `inbuf`.
    pub(crate) content_in: Cell<u64>,
    /// What came behind a streamed body: the beginning of the next request.
    pub(crate) leftover: Option<Buffer>,
    pub(crate) story: Story,
    /// Our own answer leaves the connection open.
    pub(crate) keep: bool,
}

/// Serves one request; at least one byte of it is there or on its way. Says besides when it was over.
pub(crate) async fn request(
    shard: &Shard,
    connection: &mut Downstream,
    inbuf: &mut Buffer,
    trip: &mut Trip,
) -> (Next, Instant) {
    // codec
    let (began, refused) = match head::read(shard, connection, inbuf, &mut trip.head).await {
        head::Read::Head(began) => (began, None),
        head::Read::Refused(fault, began) => (began, Some(fault)),
        head::Read::End => return (Next::Close, Instant::ZERO),
        head::Read::Http2 => return (Next::Http2, Instant::ZERO),
    };
    shard.stats.requests_active.inc();
    let tables = shard.tables();
    let listed = connection.refresh(&tables);
    connection.requests += 1;
    let connection = &*connection;
    let last = connection.requests >= connection.view.listener.limits.requests_per_connection;
    let close_after = last || !listed || shard.draining().is_some() || connection.outlived_plain_text();
    let upgrade = refused.is_none() && passes_upgrade(connection, &trip.head, inbuf);
    let exchange = Exchange::new(&trip.head, close_after, upgrade);
    let mut call = Call::new(shard, connection, &tables, inbuf, exchange, trip.head.framing, began);
    call.story.ledger.stamp(Phase::Codec, clock::now());
    let mut route = None;
    let ended = match refused {
        Some(fault) => Err(fault),
        None if !listed => Err(Fault::Drained),
        None => attend(&mut call, trip, &mut route).await,
    };
    // A refused head leaves the last one in `trip`.
    let head_request = refused.is_none() && trip.head.method == Method::Head;
    let next = finish(&mut call, head_request, ended).await;
    // record
    let seen = Seen {
        connection,
        tables: &tables,
        inbuf: call.inbuf,
        head: refused.is_none().then_some(&trip.head),
        path: (!trip.path.is_empty()).then_some(&trip.path[..]),
        route,
    };
    record(shard, &call.story, &seen);
    let over = call.story.ledger.last();
    let (used, leftover) = (call.used, call.leftover.take());
    inbuf.take(used);
    if let Some(leftover) = leftover {
        debug_assert!(inbuf.unread().is_empty(), "a streamed body took all of the first buffer");
        *inbuf = leftover;
    }
    shard.stats.requests_active.dec();
    (next, over)
}

/// Whether the request offers to upgrade to something that the listener allows. What is not allowed stays
/// behind, and the request goes on as an ordinary one (RFC 9110 section 7.8).
pub(crate) fn passes_upgrade(connection: &Downstream, head: &RequestHead, inbuf: &Buffer) -> bool {
    let Some(offer) = head.upgrade else { return false };
    let view = &connection.view;
    let passes = view.listener.upgrades.pass_any(offer.of(head.bytes(inbuf.unread())));
    if !passes {
        view.stats.upgrades_stripped.inc();
    }
    passes
}

/// The stages between the head and the record.
pub(crate) async fn attend<'t>(
    call: &mut Call<'t>,
    trip: &mut Trip,
    found: &mut Option<&'t Route>,
) -> Result<(), Fault> {
    trip.path.clear();
    let head = &trip.head;
    take_body(call, head)?;
    // normalise
    let bytes = head.bytes(call.inbuf.unread());
    let authority = head.authority.of(bytes);
    trip.host_len = match authority {
        [] => 0,
        _ => normalize_host(authority, &mut trip.host).ok_or(Fault::BadRequest)?,
    };
    call.story.grpc = Grpc::of(bytes, head);
    let raw = head.path.of(bytes);
    let path = match normalize_path(raw, &mut trip.path).map_err(|_| Fault::BadRequest)? {
        Normalised::Same => {
            trip.path.clear();
            raw
        }
        Normalised::Changed => &trip.path[..],
    };
    // route
    let view = HeadView { bytes, head, host: &trip.host[..trip.host_len], path };
    let listener = call.connection.view.index;
    let tables = call.tables;
    let routes = &tables.shared.snapshot.routes;
    let route = routes.find(listener, &view, &mut call.shard.matching.borrow_mut()).ok_or(Fault::NoRoute)?;
    *found = Some(route);
    if head.method == Method::Connect {
        // Routes are asked for `/`; in the record it has no path.
        trip.path.clear();
        if !route.connect || matches!(route.action, Action::Direct(_)) {
            return Err(Fault::MethodUnsupported);
        }
    }
    if let Some(grpc) = &mut call.story.grpc {
        let skip = trip.head.skip;
        grpc.translate(route, &mut call.inbuf.unread_mut()[skip..], &mut trip.head);
    }
    // choose, pool, exchange, respond
    let cluster = match &route.action {
        Action::Cluster(cluster) => *cluster,
        Action::Split(split) => split.pick(call.shard.rng.borrow_mut().bits()),
        Action::Direct(response) => {
            let sent = answer::direct(call, response, trip.head.method == Method::Head).await;
            call.story.ledger.stamp(Phase::Respond, clock::now());
            return if sent { Ok(()) } else { Err(Fault::ClientGone) };
        }
    };
    exchange::proxy(call, trip, route, cluster).await
}

/// Takes what is here of the body. It stays behind the head, so that it can be sent more than once.
fn take_body(call: &mut Call<'_>, head: &RequestHead) -> Result<(), Fault> {
    let start = head.body_start();
    match call.stream {
        None => {
            let fed = call.body.feed(&mut call.inbuf.unread_mut()[start..]).map_err(|error| error.fault())?;
            call.kept = fed.kept;
            call.used = start + fed.consumed;
            call.ended = fed.done;
        }
        // What comes behind is the tunnel's.
        Some(_) if call.exchange.get_mut().asks_for_tunnel() => {
            call.used = start;
            call.ended = true;
        }
        Some(stream) => {
            let ending = stream.collect(call.inbuf).map_err(StreamFault::downstream)?;
            call.kept = call.inbuf.unread().len() - start;
            call.used = start + call.kept;
            call.content_in.set(call.kept as u64);
            if let Some(trailers) = ending {
                call.ended = true;
                call.trailers = trailers;
            }
        }
    }
    if call.ended {
        call.exchange.borrow_mut().on_request_body_done();
    }
    Ok(())
}

impl<'a> Call<'a> {
    /// Who waits for the answer.
    pub(crate) fn client(&self) -> Client<'a> {
        match self.stream {
            Some(stream) => Client::Stream(stream),
            None => Client::Socket {
                socket: &self.connection.socket,
                half_close: self.connection.view.listener.half_close,
            },
        }
    }

    /// A request whose head was read at `began`.
    pub(crate) fn new(
        shard: &'a Shard,
        connection: &'a Downstream,
        tables: &'a Tables,
        inbuf: &'a mut Buffer,
        exchange: Exchange,
        framing: Framing,
        began: Instant,
    ) -> Self {
        Call {
            shard,
            connection,
            stream: None,
            lease: &connection.lease,
            tables,
            inbuf,
            exchange: RefCell::new(exchange),
            body: BodyReader::new(framing, Emit::Framed),
            kept: 0,
            used: 0,
            ended: false,
            trailers: None,
            content_in: Cell::new(0),
            leftover: None,
            story: Story::begin(began),
            keep: false,
        }
    }

    /// What is here of the body, framed as HTTP/1 frames it or (on a stream) content alone.
    pub(crate) fn kept_body(&self, head: &RequestHead) -> &[u8] {
        let start = head.body_start();
        &self.inbuf.unread()[start..start + self.kept]
    }
}

/// Answers a fault where that is still possible, and decides what becomes of the connection.
pub(crate) async fn finish(call: &mut Call<'_>, head_request: bool, ended: Result<(), Fault>) -> Next {
    // A tunnel has counted its own: what asks for one has no body.
    call.story.bytes_in += call.body.payload_bytes().max(call.content_in.get());
    let Err(fault) = ended else {
        let keep = call.keep || call.exchange.borrow().downstream() == Reuse::Keep;
        return match call.story.fault {
            // A tunnel's end: what its upstream had said is not to be lost to a reset, whatever else is.
            Some(fault) if fault != Fault::TunnelReset => Next::Close,
            _ if keep => Next::Idle,
            _ => Next::Linger,
        };
    };
    // Interim responses may have been passed on; a final one still can be ours.
    if call.story.status != 0 || fault.row().after == After::Abort {
        call.story.fault = Some(fault);
        call.story.ledger.stamp(Phase::Respond, clock::now());
        return Next::Close;
    }
    let sent = answer::fault(call, fault, head_request).await;
    call.story.ledger.stamp(Phase::Respond, clock::now());
    match (sent, call.keep) {
        (true, true) => Next::Idle,
        (true, false) => Next::Linger,
        (false, _) => Next::Close,
    }
}
