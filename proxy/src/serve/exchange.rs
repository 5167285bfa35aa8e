//! Sending a request to an upstream and its response to the client: the stages `choose` to `respond`.
//!
//! ```text
//!   acquire ─> send head + body so far ─> (stream the rest of the body)  ─┐
//!      ^                                                                 ├─> respond ─> release
//!      │                        response head, interim ones passed on  ──┘
//!      └────────── again, if nothing was passed on and the route or the fault allows it
//!
//!   CONNECT: acquire ─> 200 ─┐
//!   Upgrade: … respond: 101 ─┴─> tunnel ─> release, never to be used again
//! ```

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use pinion_core::fault::{Fault, Party};
use pinion_core::http::Method;
use pinion_core::http::h1::conn::{Exchange, Reuse};
use pinion_core::id::ClusterIndex;
use pinion_core::route::Route;
use pinion_core::telemetry::{Phase, class_of};
use pinion_core::time::Instant;

use super::forward::{Host, encode};
use super::relay::{self, Uploaded};
use super::request::Call;
use super::respond::{Responded, Responding, respond};
use super::trip::Trip;
use super::{cross, proxy_protocol, tunnel};
use crate::net::buffers::Size;
use crate::net::clock;
use crate::net::send::{Background, send_all};
use crate::shard::timer::{Lane, Why};
use crate::sys::buffer::Buffer;
use crate::upstream::cluster::{ClusterState, EndpointState};
use crate::upstream::connection::Upstream;
use crate::upstream::pool::{self, Got, Link, Want};

/// So often a request that an upstream refused unprocessed (it leaves, or had too many) is sent again unasked.
const REFUSALS_MAX: u32 = 3;

/// How one attempt ended that may be repeated.
enum Failed {
    /// The fault, and the endpoint's place.
    Fault(Fault, Option<usize>),
    /// A status the route retries.
    Status(usize),
}

/// A request in hand on an endpoint and its cluster.
pub(super) struct InHand<'a>(&'a ClusterState, &'a EndpointState);

impl<'a> InHand<'a> {
    pub(super) fn new(cluster: &'a ClusterState, endpoint: &'a EndpointState) -> Self {
        endpoint.load.set(endpoint.load.get() + 1);
        endpoint.stats.requests_active.inc();
        cluster.stats.requests_active.inc();
        InHand(cluster, endpoint)
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        self.1.load.set(self.1.load.get() - 1);
        self.1.stats.requests_active.dec();
        self.0.stats.requests_active.dec();
    }
}

/// Forwards the request to `cluster` and its response back.
pub(crate) async fn proxy(
    call: &mut Call<'_>,
    trip: &mut Trip,
    route: &Route,
    cluster: ClusterIndex,
) -> Result<(), Fault> {
    let cluster = call.tables.cluster(cluster, &call.shard.upstreams).clone();
    call.story.cluster = Some(cluster.clone());
    let began = clock::now();
    call.story.ledger.stamp(Phase::Route, began);
    let until = route.timeout.map_or(Instant::NEVER, |timeout| began.after(timeout));
    let until = call.story.grpc.as_mut().map_or(until, |grpc| grpc.begin(began, until));
    let mut retries_left = route.retry.as_ref().map_or(0, |retry| retry.attempts);
    // A tunnel ends its connection, and what asks for one is not sent twice: one that idled may just be closing.
    let tunnel = call.exchange.get_mut().asks_for_tunnel();
    // A connection that tells of one client is of no use to others.
    let send = cluster.cluster.proxy_protocol.as_ref();
    let preface = send.map(|send| proxy_protocol::header(call.shard, call.connection, send, ""));
    let preface = preface.as_deref().unwrap_or_default();
    let fresh = tunnel || !preface.is_empty();
    let client = call.client();
    let named = cluster.tls.as_ref().is_some_and(|tls| tls.names_by_request());
    let host = named.then(|| Host::of(trip));
    let host = host.as_ref().map_or("", Host::as_str);
    let mut want = Want { cluster: &cluster, avoid: None, fresh, until, client, preface, host };
    let mut refusals = 0;
    loop {
        let may_retry_status = retries_left > 0;
        let failed = match attempt(call, trip, route, &want, may_retry_status).await {
            Ok(()) => return Ok(()),
            Err(failed) => failed,
        };
        let (place, fault) = match failed {
            Failed::Status(place) => (Some(place), None),
            Failed::Fault(fault, place) => (place, Some(fault)),
        };
        let exchange = call.exchange.get_mut();
        match fault {
            // Nobody has to ask for these: the upstream did nothing with it,
            Some(Fault::StreamRefused)
                if refusals < REFUSALS_MAX && exchange.may_retry(Fault::StreamRefused, false) =>
            {
                cluster.stats.stale_retries.inc();
                refusals += 1;
            }
            // or the connection had closed under us.
            Some(Fault::StaleConnection)
                if !want.fresh && exchange.may_retry(Fault::StaleConnection, true) =>
            {
                cluster.stats.stale_retries.inc();
                want.fresh = true;
            }
            Some(fault)
                if retries_left == 0
                    || !exchange.is_repeatable()
                    || !route.retry.as_ref().is_some_and(|retry| retry.on.fault(fault)) =>
            {
                return Err(fault);
            }
            _ => {
                retries_left -= 1;
                cluster.stats.retries.inc();
                want.avoid = place;
            }
        }
        exchange.on_retry();
    }
}

/// One try on one connection.
async fn attempt(
    call: &mut Call<'_>,
    trip: &mut Trip,
    route: &Route,
    want: &Want<'_>,
    may_retry_status: bool,
) -> Result<(), Failed> {
    let got = pool::acquire(call.shard, call.lease, &mut call.story.ledger, want).await;
    let Got { link, endpoint, place } = got.map_err(|(fault, place)| Failed::Fault(fault, place))?;
    let _in_hand = InHand::new(want.cluster, &endpoint);
    call.story.attempts += 1;
    call.story.reused = link.is_reused();
    call.story.endpoint = Some(endpoint.clone());
    endpoint.stats.requests_total.inc();
    let unfit = match &link {
        // Without HTTP/2 there are no trailers that could be relied upon.
        Link::Http1(_) => call.story.grpc.is_some_and(|grpc| grpc.is_translated()),
        Link::Http2(_) => call.stream.is_some() && trip.head.method == Method::Connect,
    };
    if unfit {
        pool::release(call.shard, want.cluster, link, true, call.story.ledger.last());
        return Err(Failed::Fault(Fault::MethodUnsupported, Some(place)));
    }
    let result = match (call.stream, link) {
        (None, Link::Http1(upstream)) => alone(call, trip, route, want, upstream, may_retry_status).await,
        (stream, mut link) => {
            let result = match (stream, trip.head.method) {
                (Some(stream), Method::Connect) => cross::switch::connected(call, stream, route),
                _ => cross::converse(call, trip, route, &mut link, want.until, may_retry_status).await,
            };
            if matches!(result, Ok(Responded::Switched)) {
                // ALLOC: once a tunnel, so that a worker is no larger for it.
                Box::pin(tunnel::relay(call, &link, want.cluster)).await;
            }
            cross::release(call, want.cluster, link, result.is_ok());
            result
        }
    };
    let cluster = want.cluster;
    match result {
        Ok(Responded::Passed | Responded::Switched) => {
            cluster.stats.responses[class_of(call.story.status)].inc();
            Ok(())
        }
        Ok(Responded::Retry) => {
            cluster.stats.responses[class_of(trip.response.status)].inc();
            Err(Failed::Status(place))
        }
        Err(fault) => {
            cluster.stats.responses[0].inc();
            if fault.row().party == Party::Upstream {
                endpoint.stats.failures_total.inc();
            }
            Err(Failed::Fault(fault, Some(place)))
        }
    }
}

/// HTTP/1 on both sides: each has its connection to itself.
async fn alone(
    call: &mut Call<'_>,
    trip: &mut Trip,
    route: &Route,
    want: &Want<'_>,
    mut upstream: Box<Upstream>,
    may_retry_status: bool,
) -> Result<Responded, Fault> {
    let (shard, lease, cluster) = (call.shard, call.lease, want.cluster);
    let due = call.story.ledger.last().after(cluster.cluster.timeouts.first_byte);
    lease.cut_both(Lane::Up, due, &upstream.socket);
    if want.until != Instant::NEVER {
        lease.cut_both(Lane::Request, want.until, &upstream.socket);
    }
    let half_close = call.connection.view.listener.half_close;
    lease.watch_client(&call.connection.socket, &upstream.socket, half_close, call.story.ledger.last());
    let result = match trip.head.method {
        Method::Connect => tunnel::connected(call, route).await,
        _ => converse(call, trip, route, &mut upstream, may_retry_status).await,
    };
    lease.unwatch_client();
    let (up, send) = (lease.disarm(Lane::Up), lease.disarm(Lane::Send));
    let fired = (up.or(send), lease.disarm(Lane::Request));
    if matches!(result, Ok(Responded::Switched)) {
        // ALLOC: once a tunnel, so that a seat is no larger for it.
        let link = Link::Http1(upstream);
        Box::pin(tunnel::relay(call, &link, cluster)).await;
        pool::release(shard, cluster, link, false, call.story.ledger.last());
        return result;
    }
    let reusable = result.is_ok()
        && fired == (None, None)
        && !upstream.broken
        && call.exchange.borrow().upstream() == Reuse::Keep;
    pool::release(shard, cluster, Link::Http1(upstream), reusable, call.story.ledger.last());
    result.map_err(|fault| blame(fault, fired, call.exchange.get_mut()))
}

/// A connection that a deadline cut looks like one that the upstream closed: the deadline says what it was.
fn blame(fault: Fault, fired: (Option<Why>, Option<Why>), exchange: &mut Exchange) -> Fault {
    match (fault, fired) {
        (Fault::UpstreamClosed | Fault::StaleConnection | Fault::UpstreamTruncated, (up, request)) => {
            match (up, request) {
                (Some(Why::Gone), _) => {
                    exchange.on_downstream_closed();
                    Fault::ClientGone
                }
                (_, Some(_)) => Fault::RequestTimeout,
                // Its head has been passed on.
                (Some(_), None) if fault == Fault::UpstreamTruncated => Fault::UpstreamStalled,
                (Some(_), None) => Fault::FirstByteTimeout,
                (None, None) => fault,
            }
        }
        (fault, _) => fault,
    }
}

/// Sends the request and passes the response on, both at once where the request's body is long.
async fn converse(
    call: &mut Call<'_>,
    trip: &mut Trip,
    route: &Route,
    upstream: &mut Upstream,
    may_retry_status: bool,
) -> Result<Responded, Fault> {
    let shard = call.shard;
    let out = encode(call, trip, route)?;
    // Armed before sending: a response may come before the request is complete.
    if !upstream.receiver.started() && !upstream.arm(shard, Size::Small) {
        return Err(Fault::MemoryLimit);
    }
    call.exchange.get_mut().on_request_sent();
    let socket = upstream.socket.clone();
    if call.body.is_done() {
        // Nobody waits for it: an error shows again when the response is read.
        let mut rest = Background::start(&socket, out);
        let cluster = call.story.cluster.clone().ok_or(Fault::NoEndpoint)?;
        let mut responding = Responding {
            shard,
            connection: call.connection,
            cluster: &cluster,
            exchange: &call.exchange,
            generation: call.tables.shared.snapshot.generation,
            story: &mut call.story,
            route,
            may_retry_status,
            offer: trip.head.upgrade.map_or(&[], |offer| offer.of(trip.head.bytes(call.inbuf.unread()))),
        };
        let result = {
            let respond = respond(&mut responding, upstream, &mut trip.response, trip.head.method);
            let mut respond = pin!(respond);
            poll_fn(|cx| {
                rest.drive(cx);
                respond.as_mut().poll(cx)
            })
            .await
        };
        // Answered before all of it was sent: what is left would be taken for the next request.
        upstream.broken = !rest.is_done();
        return result;
    }
    stream(call, trip, route, upstream, may_retry_status, out).await
}

/// Like the end of [`converse`], for a request whose body goes on.
async fn stream(
    call: &mut Call<'_>,
    trip: &mut Trip,
    route: &Route,
    upstream: &mut Upstream,
    may_retry_status: bool,
    out: Buffer,
) -> Result<Responded, Fault> {
    let (shard, connection, socket) = (call.shard, call.connection, upstream.socket.clone());
    // An error shows again when the response is read, behind whatever the upstream still had to say.
    let (sent, _) = send_all(&socket, out, |_| ()).await;
    let exchange = call.exchange.get_mut();
    exchange.on_request_streamed();
    let mut uploading = sent.is_ok();
    if !uploading {
        exchange.on_request_body_error();
    }
    let cluster = call.story.cluster.clone().ok_or(Fault::NoEndpoint)?;
    let first_byte = cluster.cluster.timeouts.first_byte;
    let upload = relay::upload(shard, connection, &socket, first_byte, &mut call.body);
    let mut responding = Responding {
        shard,
        connection,
        cluster: &cluster,
        exchange: &call.exchange,
        generation: call.tables.shared.snapshot.generation,
        story: &mut call.story,
        route,
        may_retry_status,
        // Only a request without a body can ask for a tunnel.
        offer: &[],
    };
    let respond = respond(&mut responding, upstream, &mut trip.response, trip.head.method);
    let (mut upload, mut respond) = (pin!(upload), pin!(respond));
    let exchange = &call.exchange;
    let leftover = &mut call.leftover;
    poll_fn(|cx| {
        if uploading && let Poll::Ready(end) = upload.as_mut().poll(cx) {
            uploading = false;
            match end {
                Uploaded::All(rest) => {
                    *leftover = rest;
                    exchange.borrow_mut().on_request_body_done();
                }
                // It may have answered before it closed.
                Uploaded::UpstreamClosed => exchange.borrow_mut().on_request_body_error(),
                Uploaded::Refused(fault) => {
                    exchange.borrow_mut().on_request_body_error();
                    return Poll::Ready(Err(fault));
                }
            }
            if exchange.borrow().awaits_response() {
                connection.lease.cut_both(Lane::Up, clock::now().after(first_byte), &socket);
            }
        }
        respond.as_mut().poll(cx)
    })
    .await
}
