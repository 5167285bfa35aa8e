//! A tunnel: two connections whose bytes mean nothing here, after a 101 or the answer to a CONNECT.
//!
//! ```text
//!   client ══ early bytes, then whatever comes ══▶ upstream      a FIN is passed on when all before it was,
//!   client ◀══════════ whatever comes ════════════ upstream      the other direction goes on
//!
//!   over:  both directions ended · a connection was reset · idle · lasted too long · the drain is over
//! ```
//!
//! Invariants:
//! - nothing of the client reaches the upstream before the tunnel stands;
//! - while nothing moves no pooled buffer is held, not even the one the request was read into;
//! - each tunnel is counted from its beginning to its end, however that comes.
//!
//! Not here: moving bytes (`net::pump`), whether there may be a tunnel (`core`: `Exchange`, `Upgrades`).

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};

use pinion_core::fault::Fault;
use pinion_core::http::ResponseHead;
use pinion_core::http::h1::encode::{ResponseFrame, encode_connected, encode_response};
use pinion_core::route::Route;
use pinion_core::telemetry::{Direction, Phase};
use pinion_core::time::Instant;

use super::downstream::Downstream;
use super::exchange::HEAD_ROOM;
use super::request::Call;
use super::respond::{Responded, Responding};
use crate::net::buffers::Size;
use crate::net::clock;
use crate::net::pump::{Ended, Moved, Tools, pump};
use crate::net::send::{cut, finish_sending, send_all};
use crate::net::socket::Socket;
use crate::shard::Shard;
use crate::shard::timer::Lane;
use crate::sys::buffer::Buffer;
use crate::upstream::connection::Upstream;

/// The lanes of a tunnel's limits; nothing else is timed while it lasts.
const IDLE: Lane = Lane::Read;
const MOST: Lane = Lane::Write;
const DRAIN: Lane = Lane::Request;

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
pub(crate) async fn relay(call: &mut Call<'_>, upstream: &Upstream) {
    debug_assert!(!upstream.receiver.started(), "what the upstream sends is received here alone");
    let (shard, connection) = (call.shard, call.connection);
    let _open = Open::new(shard, connection);
    call.story.tunnel = true;
    call.story.ledger.stamp(Phase::Exchange, clock::now());
    let early = match part_with_buffer(call) {
        Ok(early) => early,
        Err(fault) => {
            call.story.fault = Some(fault);
            return;
        }
    };
    let (came, went) =
        (Cell::new(early.as_ref().map_or(0, |early| early.unread().len() as u64)), Cell::new(0));
    let tools = Tools { buffers: &shard.buffers, pipes: &shard.pipes, driver: shard.driver };
    let (client, server) = (&connection.socket, &upstream.socket);
    let up = pump(client, server, early, &tools, |moved| {
        if let Moved::Received(bytes) = moved {
            came.set(came.get() + bytes as u64);
            connection.view.stats.received_bytes.add(bytes as u64);
        }
        relayed(shard, connection, Direction::Upstream, moved);
    });
    let down = pump(server, client, None, &tools, |moved| {
        if let Moved::Copied(bytes) | Moved::Spliced(bytes) = moved {
            went.set(went.get() + bytes as u64);
            connection.view.stats.sent_bytes.add(bytes as u64);
        }
        relayed(shard, connection, Direction::Downstream, moved);
    });
    let mut limits = Limits::begin(shard, connection);
    let (mut up, mut down) = (pin!(up), pin!(down));
    let (mut up_ended, mut down_ended) = (None, None);
    call.story.fault = poll_fn(|cx| {
        if let Some(fault) = limits.poll(cx) {
            [client, server].into_iter().for_each(cut);
            return Poll::Ready(Some(fault));
        }
        end_of(&mut up_ended, up.as_mut(), server, cx);
        end_of(&mut down_ended, down.as_mut(), client, cx);
        verdict(up_ended, down_ended)
    })
    .await;
    call.story.bytes_in = came.get();
    call.story.bytes_out += went.get();
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

/// Polls a direction that has not ended; passes its end on to where it went.
fn end_of(
    ended: &mut Option<Ended>,
    direction: std::pin::Pin<&mut impl Future<Output = Ended>>,
    to: &Socket,
    cx: &mut Context<'_>,
) {
    if ended.is_none()
        && let Poll::Ready(end) = direction.poll(cx)
    {
        if end == Ended::Finished {
            finish_sending(to);
        }
        *ended = Some(end);
    }
}

/// Whether the tunnel is over, given how its directions ended, and what was wrong. Who takes no more may still
/// have something to say: the other direction then ends the tunnel.
fn verdict(up: Option<Ended>, down: Option<Ended>) -> Poll<Option<Fault>> {
    match (up, down) {
        (Some(Ended::NoMemory), _) | (_, Some(Ended::NoMemory)) => Poll::Ready(Some(Fault::MemoryLimit)),
        (Some(Ended::Source), _) => Poll::Ready(Some(Fault::ClientGone)),
        (_, Some(Ended::Source)) => Poll::Ready(Some(Fault::TunnelReset)),
        (None, _) | (_, None) => Poll::Pending,
        // It had said all, and went before it heard all.
        (Some(_), Some(Ended::Destination)) => Poll::Ready(Some(Fault::ClientGone)),
        (Some(_), Some(_)) => Poll::Ready(None),
    }
}

/// Notes bytes on their way: the tunnel is not idle, and they are counted once they were sent.
fn relayed(shard: &Shard, connection: &Downstream, direction: Direction, moved: Moved) {
    let (Moved::Received(bytes) | Moved::Copied(bytes) | Moved::Spliced(bytes)) = moved;
    connection.lease.moved(IDLE, bytes);
    match moved {
        Moved::Received(_) => {}
        Moved::Copied(_) => shard.stats.relay_bytes_copy[direction as usize].add(bytes as u64),
        Moved::Spliced(_) => shard.stats.relay_bytes_splice[direction as usize].add(bytes as u64),
    }
}

/// Gives back the buffer that the request was read into. The head stays, for the record, in storage of its own
/// size; what came behind it is returned.
fn part_with_buffer(call: &mut Call<'_>) -> Result<Option<Buffer>, Fault> {
    let shard = call.shard;
    let (head, behind) = call.inbuf.unread().split_at(call.used);
    let mut early = None;
    if !behind.is_empty() {
        let size = if behind.len() <= Size::Small.room() { Size::Small } else { Size::Large };
        let mut buffer = shard.buffers.take(size).ok_or(Fault::MemoryLimit)?;
        buffer.as_vec().extend_from_slice(behind);
        early = Some(buffer);
    }
    // ALLOC: once a tunnel, outside the pool: a tunnel may be idle for hours.
    *call.inbuf = Buffer::apart(head);
    Ok(early)
}

/// A tunnel that is open, in the totals. It is no request in progress any more.
struct Open<'a>(&'a Shard, &'a Downstream);

impl<'a> Open<'a> {
    fn new(shard: &'a Shard, connection: &'a Downstream) -> Self {
        connection.view.stats.tunnels_total.inc();
        connection.view.stats.tunnels_active.inc();
        shard.stats.requests_active.dec();
        Open(shard, connection)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.1.view.stats.tunnels_active.dec();
        self.0.stats.requests_active.inc();
    }
}

/// What ends a tunnel that would go on.
struct Limits<'a> {
    shard: &'a Shard,
    connection: &'a Downstream,
    drains: bool,
}

impl<'a> Limits<'a> {
    fn begin(shard: &'a Shard, connection: &'a Downstream) -> Self {
        let (lease, timeouts) = (&connection.lease, &connection.view.listener.timeouts);
        lease.wake_idle(IDLE, timeouts.tunnel_idle);
        if let Some(most) = timeouts.tunnel_max {
            lease.wake_at(MOST, clock::now().after(most));
        }
        lease.set_tunnel(true);
        Limits { shard, connection, drains: false }
    }

    /// The limit that has passed, if any; else the task is woken when one does.
    fn poll(&mut self, cx: &Context<'_>) -> Option<Fault> {
        let lease = &self.connection.lease;
        lease.wait_here(cx);
        if !self.drains
            && let Some(deadline) = self.shard.draining()
        {
            self.drains = true;
            lease.wake_at(DRAIN, deadline);
        }
        let limits =
            [(DRAIN, Fault::Drained), (MOST, Fault::TunnelTimeout), (IDLE, Fault::TunnelIdle)].into_iter();
        limits.filter(|(lane, _)| lease.fired(*lane).is_some()).map(|(_, fault)| fault).next()
    }
}

impl Drop for Limits<'_> {
    fn drop(&mut self) {
        let lease = &self.connection.lease;
        lease.set_tunnel(false);
        for lane in [IDLE, MOST, DRAIN] {
            lease.disarm(lane);
        }
    }
}
