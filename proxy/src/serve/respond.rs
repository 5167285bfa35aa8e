//! Passing an upstream's response to the client: the stage `respond`.
//!
//! ```text
//!   recv ─> head? ─(1xx: passed on)─┐
//!     ^─────────────────────────────┘
//!           final ─> own head + first body bytes in one send ─> the rest relayed
//! ```
//!
//! Invariants: one send for a head and a body that came with it; what the client gets is framed anew.

use std::cell::{Cell, RefCell};

use pinion_core::fault::Fault;
use pinion_core::http::grpc::Code;
use pinion_core::http::h1::body::BodyReader;
use pinion_core::http::h1::conn::{Answer, Closed, Exchange};
use pinion_core::http::h1::encode::{
    CHUNK_END, LAST_CHUNK, encode_chunk_size, encode_interim, encode_response,
};
use pinion_core::http::h1::parse::{HeadLimits, Progress, may_end, parse_response};
use pinion_core::http::{Framing, Method, ResponseHead};
use pinion_core::limits::HEADER_BYTES_MAX;
use pinion_core::route::Route;
use pinion_core::telemetry::{Direction, Phase};

use super::downstream::Downstream;
use super::forward::HEAD_ROOM;
use super::record::Story;
use super::relay::{SPLICE_BYTES_MIN, splice_down};
use super::tunnel;
use crate::net::buffers::Size;
use crate::net::clock;
use crate::net::send::{abort, send_all};
use crate::net::splice::Broken;
use crate::shard::Shard;
use crate::shard::timer::{Lane, Why};
use crate::sys::buffer::Buffer;
use crate::upstream::cluster::ClusterState;
use crate::upstream::connection::Upstream;

/// What responding needs of the request.
pub(crate) struct Responding<'a> {
    pub(crate) shard: &'a Shard,
    pub(crate) connection: &'a Downstream,
    pub(crate) cluster: &'a ClusterState,
    pub(crate) exchange: &'a RefCell<Exchange>,
    /// The generation of the tables the request began with.
    pub(crate) generation: u64,
    pub(crate) story: &'a mut Story,
    pub(crate) route: &'a Route,
    /// A status that the route retries is not passed on.
    pub(crate) may_retry_status: bool,
    /// The protocols that the client offered to switch to, and its listener's list says which passed on.
    pub(crate) offer: &'a [u8],
}

/// How responding ended without a fault.
pub(crate) enum Responded {
    /// The client has all of the response.
    Passed,
    /// The route retries this status; nothing was passed on.
    Retry,
    /// The client was told that the connections are a tunnel now.
    Switched,
}

/// Where a body goes and how.
struct Body {
    reader: BodyReader,
    rechunk: bool,
}

/// Reads the response and passes it on.
pub(crate) async fn respond(
    call: &mut Responding<'_>,
    upstream: &mut Upstream,
    head: &mut ResponseHead,
    method: Method,
) -> Result<Responded, Fault> {
    let (mut inbuf, frame, emit, rechunk) = loop {
        let inbuf = read_head(call, upstream, head, method).await?;
        if call.may_retry_status && is_retried(call, inbuf.unread(), head) {
            return Ok(Responded::Retry);
        }
        if call.connection.is_ending(call.shard, call.generation) {
            call.exchange.borrow_mut().on_drain();
        }
        let choice = head.upgrade.map_or(&b""[..], |choice| choice.of(inbuf.unread()));
        let agreed = || call.connection.view.listener.upgrades.agree(call.offer, choice);
        let answer = call.exchange.borrow_mut().on_response_head(head, agreed)?;
        match answer {
            Answer::Interim { forward } => pass_interim(call, upstream, head, inbuf, forward).await?,
            Answer::Switching { frame } => return tunnel::switched(call, head, &inbuf, &frame).await,
            Answer::Final { frame, emit, rechunk } => break (inbuf, frame, emit, rechunk),
        }
    };
    let now = clock::turn();
    let waited = now.since(call.story.ledger.last());
    call.cluster.stats.first_byte.record(waited.as_nanos() as u64);
    call.story.ledger.stamp(Phase::Exchange, now);
    call.connection.lease.disarm(Lane::Up);
    let small = inbuf.unread().len() + HEAD_ROOM <= Size::Small.room();
    let size = if small { Size::Small } else { Size::Large };
    let mut out = call.shard.buffers.take(size).ok_or(Fault::MemoryLimit)?;
    let bytes = &inbuf.unread()[..head.len];
    encode_response(out.as_vec(), bytes, head, &frame, &call.route.response_headers);
    inbuf.take(head.len);
    call.story.status = head.status;
    let mut body = Body { reader: BodyReader::new(head.framing, emit), rechunk };
    let passed = pass_first(call, &mut body, out, inbuf).await;
    let passed = match passed {
        Ok(Some(())) => pass_rest(call, upstream, &mut body).await,
        Ok(None) => Ok(()),
        Err(fault) => Err(fault),
    };
    call.connection.lease.disarm(Lane::Write);
    if passed.is_err() && frame.framing == Framing::UntilClose {
        // Only a reset tells this client that the body is not complete.
        abort(&call.connection.socket);
    }
    call.story.bytes_out = body.reader.payload_bytes();
    call.story.ledger.stamp(Phase::Respond, clock::now());
    passed.map(|()| Responded::Passed)
}

/// Receives until a response head is complete; the buffer begins with it.
pub(super) async fn read_head(
    call: &mut Responding<'_>,
    upstream: &mut Upstream,
    head: &mut ResponseHead,
    method: Method,
) -> Result<Buffer, Fault> {
    let limits = HeadLimits { head_bytes: HEADER_BYTES_MAX, uri_bytes: HEADER_BYTES_MAX };
    let mut seen = 0;
    loop {
        if !upstream.receiver.started() && !upstream.arm(call.shard, Size::Small) {
            return Err(Fault::MemoryLimit);
        }
        let (result, mut buffer) = upstream.recv().await;
        if !matches!(result, Ok(1..)) {
            let closed = call.exchange.borrow_mut().on_upstream_closed(upstream.served > 0);
            return Err(fault_of(closed));
        }
        call.exchange.borrow_mut().on_response_bytes();
        if seen == 0 || may_end(buffer.unread(), seen) || buffer.room() == 0 {
            match parse_response(buffer.unread(), &limits, method, head) {
                Ok(Progress::Complete) => return Ok(buffer),
                Ok(Progress::Partial) => {}
                Err(error) => return Err(error.upstream_fault()),
            }
        }
        seen = buffer.unread().len();
        if buffer.room() == 0 {
            if buffer.capacity() >= Size::Large.bytes() {
                return Err(Fault::UpstreamHeadTooLarge);
            }
            let mut larger = call.shard.buffers.take(Size::Large).ok_or(Fault::MemoryLimit)?;
            larger.as_vec().extend_from_slice(buffer.unread());
            buffer = larger;
        }
        upstream.receiver.start(buffer);
    }
}

fn fault_of(closed: Closed) -> Fault {
    match closed {
        Closed::Fault(fault) => fault,
        Closed::Complete | Closed::After => Fault::UpstreamClosed,
    }
}

/// Whether the route has the request sent again because of this status.
pub(super) fn is_retried(call: &Responding<'_>, bytes: &[u8], head: &ResponseHead) -> bool {
    let Some(on) = call.route.retry.as_ref().map(|retry| &retry.on) else { return false };
    // A status in the head of a response with content is a status to come.
    let grpc = || Code::of_fields(bytes, &head.fields).filter(|_| !head.framing.has_body());
    let retried =
        on.status(head.status) || !on.grpc.is_empty() && grpc().is_some_and(|code| on.grpc_status(code));
    retried && call.exchange.borrow().is_repeatable()
}

/// Passes an interim response on and puts what came behind it back in front of the next receive.
async fn pass_interim(
    call: &mut Responding<'_>,
    upstream: &mut Upstream,
    head: &ResponseHead,
    inbuf: Buffer,
    forward: bool,
) -> Result<(), Fault> {
    if forward {
        let mut out = call.shard.buffers.take(Size::Small).ok_or(Fault::MemoryLimit)?;
        encode_interim(out.as_vec(), &inbuf.unread()[..head.len], head);
        send(call, out).await?;
    }
    put_back(upstream, inbuf, head.len);
    Ok(())
}

/// Puts what came behind a head of `len` bytes back in front of the next receive.
pub(super) fn put_back(upstream: &mut Upstream, mut inbuf: Buffer, len: usize) {
    inbuf.take(len);
    inbuf.compact();
    if inbuf.unread().is_empty() {
        upstream.receiver.start(inbuf);
    } else {
        upstream.receiver.put_back(inbuf);
    }
}

/// Sends the head with the body bytes that came with it; `None` when that was all.
async fn pass_first(
    call: &mut Responding<'_>,
    body: &mut Body,
    mut out: Buffer,
    mut inbuf: Buffer,
) -> Result<Option<()>, Fault> {
    let fed = body.reader.feed(inbuf.unread_mut()).map_err(|error| error.upstream_fault())?;
    let surplus = fed.consumed < inbuf.unread().len();
    inbuf.truncate(fed.kept);
    // Usually the head fits in front of the body where it is, and the body is not copied.
    if !body.rechunk && inbuf.prepend(out.unread()) {
        out = inbuf;
        append(body, out.as_vec(), &[], fed.done);
    } else {
        append(body, out.as_vec(), inbuf.unread(), fed.done);
        drop(inbuf);
    }
    let due = call.story.ledger.last().after(call.connection.view.listener.timeouts.write);
    call.connection.lease.cut_both(Lane::Write, due, &call.connection.socket);
    send(call, out).await?;
    if fed.done {
        call.exchange.borrow_mut().on_response_done(surplus);
        return Ok(None);
    }
    Ok(Some(()))
}

/// Appends content as it goes to the client.
fn append(body: &Body, out: &mut Vec<u8>, content: &[u8], done: bool) {
    if body.rechunk && !content.is_empty() {
        encode_chunk_size(out, content.len());
    }
    out.extend_from_slice(content);
    if body.rechunk && !content.is_empty() {
        out.extend_from_slice(CHUNK_END);
    }
    if done {
        out.extend_from_slice(body.reader.tail());
    }
}

/// Relays what is left of the body.
async fn pass_rest(call: &mut Responding<'_>, upstream: &mut Upstream, body: &mut Body) -> Result<(), Fault> {
    let lease = &call.connection.lease;
    let timeouts = &call.connection.view.listener.timeouts;
    let stall = call.cluster.cluster.timeouts.first_byte;
    lease.transfer(Lane::Write, false, timeouts.write, timeouts.min_rate, &call.connection.socket);
    loop {
        let moved = Cell::new(0);
        if let Some(left) = body.reader.remaining()
            && left >= SPLICE_BYTES_MIN
            && !upstream.receiver.started()
            && let Some(spliced) =
                splice_down(call.shard, call.connection, &upstream.socket, stall, left, &moved).await
        {
            body.reader.skip(moved.get());
            return match spliced {
                Ok(()) => {
                    call.exchange.borrow_mut().on_response_done(false);
                    Ok(())
                }
                Err(Broken::Source) => Err(fault_of(call.exchange.borrow_mut().on_upstream_closed(false))),
                Err(Broken::Destination) => Err(why_not_sent(call)),
            };
        }
        let Some(buffer) = receive(call, upstream, body).await? else {
            return Ok(());
        };
        let done = pass_piece(call, body, buffer).await?;
        if done {
            return Ok(());
        }
    }
}

/// Receives the next piece of a body; `None` when the upstream's close completed it.
async fn receive(
    call: &mut Responding<'_>,
    upstream: &mut Upstream,
    body: &mut Body,
) -> Result<Option<Buffer>, Fault> {
    let lease = &call.connection.lease;
    lease.pause(Lane::Write);
    lease.cut_both(Lane::Up, clock::now().after(call.cluster.cluster.timeouts.first_byte), &upstream.socket);
    // Chunk lines that are added must fit a large buffer, too.
    let size = if body.rechunk { Size::Small } else { Size::Large };
    if !upstream.receiver.started() && !upstream.arm(call.shard, size) {
        return Err(Fault::MemoryLimit);
    }
    let (result, buffer) = upstream.recv().await;
    let cut = lease.fired(Lane::Up).is_some() || lease.fired(Lane::Request).is_some();
    if matches!(result, Ok(1..)) {
        lease.disarm(Lane::Up);
        lease.resume(Lane::Write);
        return Ok(Some(buffer));
    }
    drop(buffer);
    // A reset, or a deadline of ours, completes nothing.
    let closed = if result.is_err() || cut {
        call.exchange.borrow_mut().on_response_error();
        return Err(Fault::UpstreamTruncated);
    } else {
        call.exchange.borrow_mut().on_upstream_closed(false)
    };
    match closed {
        Closed::Complete => {
            body.reader.on_eof().map_err(|error| error.upstream_fault())?;
            if body.rechunk {
                let mut last = call.shard.buffers.take(Size::Small).ok_or(Fault::MemoryLimit)?;
                last.as_vec().extend_from_slice(LAST_CHUNK);
                send(call, last).await?;
            }
            Ok(None)
        }
        Closed::Fault(fault) => Err(fault),
        Closed::After => Err(Fault::UpstreamTruncated),
    }
}

/// Sends one received piece of a body; says whether it was the last.
async fn pass_piece(call: &mut Responding<'_>, body: &mut Body, mut buffer: Buffer) -> Result<bool, Fault> {
    let fed = body.reader.feed(buffer.unread_mut()).map_err(|error| {
        call.exchange.borrow_mut().on_response_error();
        error.upstream_fault()
    })?;
    let surplus = fed.consumed < buffer.unread().len();
    call.shard.stats.relay_bytes_copy[Direction::Downstream as usize].add(fed.kept as u64);
    if body.rechunk {
        let mut out = call.shard.buffers.take(Size::Large).ok_or(Fault::MemoryLimit)?;
        append(body, out.as_vec(), &buffer.unread()[..fed.kept], fed.done);
        buffer = out;
    } else {
        buffer.truncate(fed.kept);
        if fed.done {
            buffer.as_vec().extend_from_slice(body.reader.tail());
        }
    }
    send(call, buffer).await?;
    if fed.done {
        call.exchange.borrow_mut().on_response_done(surplus);
    }
    Ok(fed.done)
}

/// Sends to the client.
async fn send(call: &Responding<'_>, out: Buffer) -> Result<(), Fault> {
    let connection = call.connection;
    let progress = |sent: usize| {
        connection.view.stats.sent_bytes.add(sent as u64);
        connection.lease.moved(Lane::Write, sent);
    };
    let (sent, _) = send_all(&connection.socket, out, progress).await;
    sent.map_err(|_| why_not_sent(call))
}

fn why_not_sent(call: &Responding<'_>) -> Fault {
    match call.connection.lease.fired(Lane::Write) {
        Some(Why::Late | Why::Slow) => Fault::ReaderTooSlow,
        Some(Why::Gone) | None => Fault::ClientGone,
    }
}
