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
mod down;
mod origin;
pub(super) mod part;
mod sink;
mod source;
pub(super) mod switch;
mod upload;

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pinion_core::fault::Fault;
use pinion_core::http::Framing;
use pinion_core::http::h1::conn::{Exchange, Reuse};
use pinion_core::route::Route;
use pinion_core::time::Instant;

use self::back::Back;
use self::down::{From, respond};
use self::sink::{Sink, Stopped};
use self::source::Source;
use self::switch::Asked;
use self::upload::Upload;
use super::request::Call;
use super::respond::{Responded, Responding};
use super::trip::Trip;
use crate::h2::stream::Stream;
use crate::net::clock;
use crate::shard::lease::Lease;
use crate::shard::timer::{Lane, Why};
use crate::sys::buffer::Buffer;
use crate::upstream::cluster::ClusterState;
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
    let patience = Patience::of(call, stall);
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
    let upload = Upload { shard, lease, patience, content_in: &call.content_in };
    let upload = upload.run(source, &sink, first);
    let mut back = Back { shard, connection, lease, stream: client, chunked: false, patience };
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
        respond(&mut responding, &mut from, &mut back, &mut trip.response, (method, asked.as_ref()));
    let watch = Watch { lease, client, exchange, stall };
    watch.over(upload, respond).await
}

/// How long content may take on its way.
#[derive(Clone, Copy)]
struct Patience {
    /// Between two parts of the client's.
    body: Duration,
    /// The least bytes a second of the client's; 0 is off.
    min_rate: u64,
    /// Between two parts of the upstream's, and for one to be taken by it.
    upstream: Duration,
}

impl Patience {
    /// A gRPC call may be a conversation that rests for long; its deadline is the caller's affair.
    fn of(call: &Call<'_>, stall: Duration) -> Self {
        let timeouts = &call.connection.view.listener.timeouts;
        match call.story.grpc {
            Some(_) => Patience { body: timeouts.tunnel_idle, min_rate: 0, upstream: timeouts.tunnel_idle },
            None => Patience { body: timeouts.body, min_rate: timeouts.min_rate, upstream: stall },
        }
    }
}

/// Whoever can end an exchange before its two directions do.
struct Watch<'a> {
    lease: &'a Lease,
    client: Option<&'a Stream>,
    exchange: &'a RefCell<Exchange>,
    /// How long the upstream may take.
    stall: Duration,
}

impl Watch<'_> {
    /// Runs both directions; the response's end is the exchange's.
    async fn over(
        &self,
        upload: impl Future<Output = Result<(), Stopped>>,
        respond: impl Future<Output = Result<Responded, Fault>>,
    ) -> Result<Responded, Fault> {
        let (mut upload, mut respond) = (pin!(upload), pin!(respond));
        let mut uploading = true;
        poll_fn(|cx| {
            self.lease.wait_here(cx);
            if let Some(fault) = self.ended(cx) {
                return Poll::Ready(Err(fault));
            }
            if uploading && let Poll::Ready(end) = upload.as_mut().poll(cx) {
                uploading = false;
                if let Some(fault) = self.uploaded(end) {
                    return Poll::Ready(Err(fault));
                }
            }
            respond.as_mut().poll(cx)
        })
        .await
    }

    /// The fault of a deadline, or of a client that has left.
    fn ended(&self, cx: &mut Context<'_>) -> Option<Fault> {
        let answering = !self.exchange.borrow().awaits_response();
        let left = || self.client.is_some_and(|stream| stream.poll_gone(cx).is_ready());
        let fault = fired(self.lease, answering).or_else(|| left().then_some(Fault::ClientGone))?;
        if fault == Fault::ClientGone {
            self.exchange.borrow_mut().on_downstream_closed();
        }
        Some(fault)
    }

    /// Notes how the request's body ended; the fault, if that ends the exchange.
    fn uploaded(&self, end: Result<(), Stopped>) -> Option<Fault> {
        let mut exchange = self.exchange.borrow_mut();
        match end {
            Ok(()) => exchange.on_request_body_done(),
            // It may have answered before it closed.
            Err(Stopped::Closed) => exchange.on_request_body_error(),
            Err(Stopped::Fault(fault)) => {
                exchange.on_request_body_error();
                return Some(fault);
            }
        }
        if exchange.awaits_response() {
            self.lease.wake_at(Lane::Up, clock::now().after(self.stall));
        }
        None
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
