//! An exchange in which a side speaks HTTP/2: heads are written anew, bodies pass as pieces of content.
//!
//! ```text
//!   client ──Source──▶ pieces of content ──▶ Sink ──▶ upstream       trailers go behind the last piece
//!   client ◀──Back──── pieces of content ◀── Origin ── upstream      interim heads go in front
//! ```
//!
//! Both directions run at once in one task. All deadlines only wake that task, which then ends the exchange:
//! a connection that others share can't be cut.
//!
//! Invariants:
//! - nothing more is taken from one side while the other takes nothing: at most a buffer a direction is held;
//! - an exchange that ends early resets its stream and closes its HTTP/1 connection, so that neither side can
//!   take the rest for something else.
//!
//! Not here: HTTP/1 on both sides (`exchange`, `respond`, `relay`), which copies less.

mod back;
mod origin;
mod part;
mod sink;
mod source;
pub(super) mod switch;
mod upload;

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use pinion_core::fault::Fault;
use pinion_core::http::h1::body::BodyReader;
use pinion_core::http::h1::conn::{Answer, Reuse};
use pinion_core::http::{Framing, Method, ResponseHead};
use pinion_core::route::Route;
use pinion_core::telemetry::Phase;
use pinion_core::time::Instant;

use self::back::Back;
use self::origin::{Early, Origin};
use self::sink::{Sink, Stopped};
use self::source::Source;
use self::switch::Asked;
use self::upload::Upload;
use super::request::Call;
use super::respond::{self, Responded, Responding};
use super::trip::Trip;
use crate::h2::stream::Stream;
use crate::net::clock;
use crate::shard::lease::Lease;
use crate::shard::timer::{Lane, Why};
use crate::sys::buffer::Buffer;
use crate::upstream::cluster::ClusterState;
use crate::upstream::connection::Upstream;
use crate::upstream::pool::{self, Link};

/// Sends the request and passes the response on.
pub(super) async fn converse(
    call: &mut Call<'_>,
    trip: &mut Trip,
    route: &Route,
    link: &mut Link,
    until: Instant,
    may_retry_status: bool,
) -> Result<Responded, Fault> {
    let cluster = call.story.cluster.clone().ok_or(Fault::NoEndpoint)?;
    let stall = cluster.cluster.timeouts.first_byte;
    let mut first = upload::begin(call, trip, route, link)?;
    let bytes = trip.head.bytes(call.inbuf.unread());
    let offer = trip.head.upgrade.map_or(&b""[..], |offer| offer.of(bytes));
    let passed = |offer| call.connection.view.listener.upgrades.pass(offer).next();
    let tunnels = call.exchange.get_mut().asks_for_tunnel();
    let asked = passed(offer).filter(|_| tunnels).map(|protocol| Asked::of(&trip.head, bytes, protocol));
    call.exchange.get_mut().on_request_sent();
    let (shard, connection, lease, client) = (call.shard, call.connection, call.lease, call.stream);
    let _armed = Armed::new(call, stall, until);
    let socket;
    let (sink, mut from) = match link {
        Link::Http1(upstream) => {
            socket = upstream.socket.clone();
            let chunked = trip.head.framing == Framing::Chunked;
            (Sink::Http1 { socket: &socket, chunked }, From::Http1(upstream))
        }
        Link::Http2(stream) => (Sink::Http2(stream), From::Http2(stream)),
    };
    let source = match client {
        Some(stream) => Source::Http2(stream),
        None => Source::Http1(source::Http1 {
            shard,
            connection,
            body: &mut call.body,
            reader: first.reader.take(),
            leftover: &mut call.leftover,
        }),
    };
    let upload = Upload { shard, connection, lease, stall, content_in: &call.content_in };
    let upload = upload.run(source, &sink, first);
    let mut back = Back { shard, connection, lease, stream: client, chunked: false };
    let mut responding = Responding {
        shard,
        connection,
        cluster: &cluster,
        exchange: &call.exchange,
        generation: call.tables.shared.snapshot.generation,
        story: &mut call.story,
        route,
        may_retry_status,
        offer,
    };
    let method = trip.head.method;
    let exchange = &call.exchange;
    let respond =
        respond(&mut responding, &mut from, &mut back, &mut trip.response, (method, asked.as_ref()), stall);
    let (mut upload, mut respond) = (pin!(upload), pin!(respond));
    let mut uploading = true;
    poll_fn(|cx| {
        lease.wait_here(cx);
        // Not in the condition: the borrow would last as long as the block.
        let answering = !exchange.borrow().awaits_response();
        if let Some(fault) = fired(lease, answering) {
            if fault == Fault::ClientGone {
                exchange.borrow_mut().on_downstream_closed();
            }
            return Poll::Ready(Err(fault));
        }
        if let Some(stream) = client
            && stream.poll_gone(cx).is_ready()
        {
            exchange.borrow_mut().on_downstream_closed();
            return Poll::Ready(Err(Fault::ClientGone));
        }
        if uploading && let Poll::Ready(end) = upload.as_mut().poll(cx) {
            uploading = false;
            match end {
                Ok(()) => exchange.borrow_mut().on_request_body_done(),
                // It may have answered before it closed.
                Err(Stopped::Closed) => exchange.borrow_mut().on_request_body_error(),
                Err(Stopped::Fault(fault)) => {
                    exchange.borrow_mut().on_request_body_error();
                    return Poll::Ready(Err(fault));
                }
            }
            if exchange.borrow().awaits_response() {
                lease.wake_at(Lane::Up, clock::now().after(stall));
            }
        }
        respond.as_mut().poll(cx)
    })
    .await
}

/// An upstream whose response is read.
enum From<'a> {
    Http1(&'a mut Upstream),
    Http2(&'a Stream),
}

/// Reads the response and passes it on.
async fn respond(
    call: &mut Responding<'_>,
    from: &mut From<'_>,
    back: &mut Back<'_>,
    head: &mut ResponseHead,
    (method, asked): (Method, Option<&Asked>),
    stall: Duration,
) -> Result<Responded, Fault> {
    let (mut inbuf, frame, emit) = loop {
        let inbuf = match from {
            From::Http1(upstream) => respond::read_head(call, upstream, head, method).await?,
            From::Http2(stream) => {
                let received = stream.head(head).await;
                received.map_err(|fault| upload::unanswered(fault, call.exchange))?.0
            }
        };
        if call.may_retry_status && respond::is_retried(call, head) {
            return Ok(Responded::Retry);
        }
        if call.connection.is_ending(call.shard, call.generation) {
            call.exchange.borrow_mut().on_drain();
        }
        if matches!(from, From::Http2(_)) && asked.is_some() && (200..300).contains(&head.status) {
            call.exchange.borrow_mut().on_agreed();
            return switch::switched(call, back, &inbuf.unread()[..head.len], head, &[], asked).await;
        }
        let choice = head.upgrade.map_or(&b""[..], |choice| choice.of(inbuf.unread()));
        let agreed = || call.connection.view.listener.upgrades.agree(call.offer, choice);
        let answer = call.exchange.borrow_mut().on_response_head(head, agreed)?;
        match answer {
            Answer::Interim { forward } => {
                if forward {
                    back.interim(&inbuf.unread()[..head.len], head).await?;
                }
                if let From::Http1(upstream) = from {
                    respond::put_back(upstream, inbuf, head.len);
                }
            }
            Answer::Switching { .. } => {
                let (bytes, behind) = inbuf.unread().split_at(head.len);
                return switch::switched(call, back, bytes, head, behind, asked).await;
            }
            Answer::Final { frame, emit, .. } => break (inbuf, frame, emit),
        }
    };
    let now = clock::turn();
    call.cluster.stats.first_byte.record(now.since(call.story.ledger.last()).as_nanos() as u64);
    call.story.ledger.stamp(Phase::Exchange, now);
    back.lease.disarm(Lane::Up);
    call.story.status = head.status;
    let (shard, exchange) = (call.shard, call.exchange);
    let mut origin = match from {
        From::Http1(upstream) => {
            Origin::Http1 { shard, upstream, reader: BodyReader::new(head.framing, emit) }
        }
        From::Http2(stream) => Origin::Http2(stream),
    };
    let (content, behind) = origin.early(&mut inbuf.unread_mut()[head.len..], exchange)?;
    let timeouts = &call.connection.view.listener.timeouts;
    back.lease.watch_transfer(Lane::Write, timeouts.write, timeouts.min_rate);
    let (bytes, rest) = inbuf.unread().split_at(head.len);
    let here = match &content {
        Early::Here(len) => &rest[..*len],
        Early::Apart(content) => content.unread(),
    };
    call.story.bytes_out = here.len() as u64;
    back.head(bytes, head, &frame, call.route, (here, &behind)).await?;
    drop((inbuf, content));
    if !behind.is_end() {
        relay(call, &mut origin, back, stall).await?;
    }
    call.story.ledger.stamp(Phase::Respond, clock::now());
    Ok(Responded::Passed)
}

/// Passes the rest of a response's body on.
async fn relay(
    call: &mut Responding<'_>,
    origin: &mut Origin<'_>,
    back: &Back<'_>,
    stall: Duration,
) -> Result<(), Fault> {
    let lease = back.lease;
    loop {
        // The client is not to blame while the upstream takes its time.
        lease.pause(Lane::Write);
        lease.wake_at(Lane::Up, clock::now().after(stall));
        let part = origin.next(call.exchange).await?;
        lease.disarm(Lane::Up);
        lease.resume(Lane::Write);
        let over = part.behind.is_end();
        call.story.bytes_out += part.content.unread().len() as u64;
        back.part(part).await?;
        if over {
            return Ok(());
        }
    }
}

/// The deadlines of one try, and the look after a client without a stream; all end with it.
struct Armed<'a>(&'a Lease);

impl<'a> Armed<'a> {
    fn new(call: &Call<'a>, stall: Duration, until: Instant) -> Self {
        let (lease, now) = (call.lease, call.story.ledger.last());
        lease.wake_at(Lane::Up, now.after(stall));
        if until != Instant::NEVER {
            lease.wake_at(Lane::Request, until);
        }
        if call.stream.is_none() {
            lease.watch_client_only(&call.connection.socket, call.connection.view.listener.half_close, now);
        }
        Armed(lease)
    }
}

impl Drop for Armed<'_> {
    fn drop(&mut self) {
        self.0.unwatch_client();
        for lane in [Lane::Up, Lane::Request, Lane::Read, Lane::Write, Lane::Send] {
            self.0.disarm(lane);
        }
    }
}

/// Gives back what the exchange had of its upstream. A stream ends with its handle.
pub(super) fn release(call: &Call<'_>, cluster: &ClusterState, link: Link, passed: bool) {
    let reusable = match &link {
        Link::Http1(upstream) => {
            passed && !upstream.broken && call.exchange.borrow().upstream() == Reuse::Keep
        }
        Link::Http2(_) => passed,
    };
    pool::release(call.shard, cluster, link, reusable, call.story.ledger.last());
}

/// Appends what is here of a body to an HTTP/1 head that announced chunks.
pub(super) fn append_body(out: &mut Buffer, content: &[u8], ended: bool, trailers: Option<&Buffer>) {
    part::append_chunk(out.as_vec(), content);
    if ended {
        part::append_end(out, trailers.map(Buffer::unread));
    }
}

/// What a deadline that has passed makes of the exchange; `answered`: the response's head is complete.
fn fired(lease: &Lease, answered: bool) -> Option<Fault> {
    let up = match lease.fired(Lane::Up) {
        Some(Why::Gone) => Some(Fault::ClientGone),
        Some(_) if answered => Some(Fault::UpstreamStalled),
        Some(_) => Some(Fault::FirstByteTimeout),
        None => None,
    };
    let request = lease.fired(Lane::Request).map(|_| Fault::RequestTimeout);
    let send = lease.fired(Lane::Send).map(|_| Fault::FirstByteTimeout);
    let read = lease.fired(Lane::Read).map(|why| match why {
        Why::Slow => Fault::BodyTooSlow,
        Why::Late | Why::Gone => Fault::BodyTimeout,
    });
    let write = lease.fired(Lane::Write).map(|_| Fault::ReaderTooSlow);
    up.or(request).or(send).or(read).or(write)
}
