//! A request that becomes a tunnel: after a 101, or after the answer to a CONNECT.
//!
//! Invariants:
//! - nothing of the client reaches the upstream before the tunnel stands;
//! - the buffer that the request was read into is given back: a tunnel may be idle for hours.
//!
//! Not here: what a tunnel is (`through`), whether there may be one (`core`: `Exchange`, `Upgrades`).

use pinion_core::fault::Fault;
use pinion_core::http::ResponseHead;
use pinion_core::http::h1::encode::{ResponseFrame, encode_connected, encode_response};
use pinion_core::route::Route;
use pinion_core::telemetry::Phase;
use pinion_core::time::Instant;

use super::downstream::Downstream;
use super::forward::HEAD_ROOM;
use super::request::Call;
use super::respond::{Responded, Responding};
use super::through::{End, through};
use crate::net::buffers::Size;
use crate::net::clock;
use crate::net::send::send_all;
use crate::shard::Shard;
use crate::shard::timer::Lane;
use crate::sys::buffer::Buffer;
use crate::upstream::cluster::ClusterState;
use crate::upstream::pool::Link;

/// Tells the client that the upstream switches protocols, with what the upstream has said behind that.
pub(crate) async fn switched(
    call: &mut Responding<'_>,
    head: &ResponseHead,
    inbuf: &Buffer,
    frame: &ResponseFrame,
) -> Result<Responded, Fault> {
    let lease = &call.connection.lease;
    if lease.fired(Lane::Up).is_some() || lease.fired(Lane::Request).is_some() {
        return Err(Fault::UpstreamClosed);
    }
    // From here on only a tunnel's own limits count.
    lease.disarm(Lane::Up);
    lease.disarm(Lane::Request);
    lease.unwatch_client();
    let now = clock::turn();
    call.cluster.stats.first_byte.record(now.since(call.story.ledger.last()).as_nanos() as u64);
    call.story.ledger.stamp(Phase::Exchange, now);
    let (bytes, behind) = inbuf.unread().split_at(head.len);
    let small = inbuf.unread().len() + HEAD_ROOM <= Size::Small.room();
    let mut out =
        call.shard.buffers.take(if small { Size::Small } else { Size::Large }).ok_or(Fault::MemoryLimit)?;
    encode_response(out.as_vec(), bytes, head, frame, &call.route.response_headers);
    out.as_vec().extend_from_slice(behind);
    call.story.status = head.status;
    call.story.bytes_out = behind.len() as u64;
    announce(call.connection, out, now).await?;
    Ok(Responded::Switched)
}

/// Tells the client that its CONNECT has reached an endpoint.
pub(crate) async fn connected(call: &mut Call<'_>, route: &Route) -> Result<Responded, Fault> {
    let lease = &call.connection.lease;
    lease.disarm(Lane::Up);
    lease.disarm(Lane::Request);
    lease.unwatch_client();
    let mut out = call.shard.buffers.take(Size::Small).ok_or(Fault::MemoryLimit)?;
    encode_connected(out.as_vec(), &route.response_headers);
    call.exchange.get_mut().on_connected();
    call.story.status = 200;
    announce(call.connection, out, clock::now()).await?;
    Ok(Responded::Switched)
}

/// Relays both directions until the tunnel is over; what ended it and how many bytes passed is in the story.
pub(crate) async fn relay(call: &mut Call<'_>, link: &Link, cluster: &ClusterState) {
    let (shard, connection, lease) = (call.shard, call.connection, call.lease);
    let server = match link {
        Link::Http1(upstream) => {
            debug_assert!(!upstream.receiver.started(), "what the upstream sends is the tunnel's alone");
            End::Socket(&upstream.socket)
        }
        Link::Http2(stream) => End::Stream(stream),
    };
    let client = call.stream.map_or(End::Socket(&connection.socket), End::Stream);
    let _no_request = NoRequest::new(shard);
    call.story.tunnel = true;
    call.story.ledger.stamp(Phase::Exchange, clock::now());
    let early = match part_with_buffer(call) {
        Ok(early) => early,
        Err(fault) => {
            call.story.fault = Some(fault);
            return;
        }
    };
    let passed = through(shard, (connection, lease), (client, server), cluster, early).await;
    call.story.fault = passed.fault;
    call.story.bytes_in = passed.came;
    call.story.bytes_out += passed.went;
    call.story.ledger.stamp(Phase::Respond, clock::now());
}

/// Sends the head that begins a tunnel.
async fn announce(connection: &Downstream, out: Buffer, now: Instant) -> Result<(), Fault> {
    let due = now.after(connection.view.listener.timeouts.write);
    connection.lease.cut_both(Lane::Write, due, &connection.socket);
    let progress = |sent: usize| connection.view.stats.sent_bytes.add(sent as u64);
    let (sent, _) = send_all(&connection.socket, out, progress).await;
    let late = connection.lease.disarm(Lane::Write);
    match (sent, late) {
        (Ok(()), None) => Ok(()),
        (_, Some(_)) => Err(Fault::ReaderTooSlow),
        (Err(_), None) => Err(Fault::ClientGone),
    }
}

/// Gives back the buffer that the request was read into. The head stays, for the record, in storage of its own
/// size; what came behind it is returned.
fn part_with_buffer(call: &mut Call<'_>) -> Result<Option<Buffer>, Fault> {
    let shard = call.shard;
    let (head, behind) = call.inbuf.unread().split_at(call.used);
    let mut early = None;
    if !behind.is_empty() {
        early = Some(shard.buffers.copy(behind).ok_or(Fault::MemoryLimit)?);
    }
    // ALLOC: once a tunnel, outside the pool: a tunnel may be idle for hours.
    *call.inbuf = Buffer::apart(head);
    Ok(early)
}

/// A tunnel is no request in progress any more.
struct NoRequest<'a>(&'a Shard);

impl<'a> NoRequest<'a> {
    fn new(shard: &'a Shard) -> Self {
        shard.stats.requests_active.dec();
        NoRequest(shard)
    }
}

impl Drop for NoRequest<'_> {
    fn drop(&mut self) {
        self.0.stats.requests_active.inc();
    }
}
