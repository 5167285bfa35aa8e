//! Two connections, or streams of such, whose bytes mean nothing here: what a tunnel is, and a TCP connection that
//! is passed on.
//!
//! ```text
//!   client ══ early bytes, then whatever comes ══▶ upstream      a FIN is passed on when all before it was,
//!   client ◀══════════ whatever comes ════════════ upstream      the other direction goes on
//!
//!   over:  both directions ended · a connection was reset · idle · lasted too long · the drain is over
//! ```
//!
//! Invariants:
//! - while nothing moves no pooled buffer is held;
//! - each is counted from its beginning to its end, however that comes, by its listener and its cluster.
//!
//! Not here: moving bytes (`net::pump`), how it came to this (`tunnel`, `tcp`).

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};

use pinion_core::fault::Fault;
use pinion_core::telemetry::Direction;
use pinion_core::time::Instant;
use rustix::io::Errno;

use super::downstream::Downstream;
use crate::h2::stream::Stream;
use crate::h2::{Piece, StreamFault};
use crate::net::buffers::{BufferPool, Size};
use crate::net::clock;
use crate::net::pump::{Ended, Moved, Tools, pump};
use crate::net::send::{cut, finish_sending, send_all};
use crate::net::socket::Socket;
use crate::shard::Shard;
use crate::shard::lease::Lease;
use crate::shard::timer::Lane;
use crate::sys::buffer::Buffer;
use crate::upstream::cluster::ClusterState;

/// The lanes of the limits; nothing else is timed meanwhile.
const IDLE: Lane = Lane::Read;
const MOST: Lane = Lane::Write;
const DRAIN: Lane = Lane::Request;

/// A side of it.
#[derive(Clone, Copy)]
pub(super) enum End<'a> {
    /// A connection.
    Socket(&'a Socket),
    /// A stream of HTTP/2, whose DATA frames carry the bytes (RFC 9113 section 8.5).
    Stream(&'a Stream),
}

impl End<'_> {
    /// Ends both directions at once; a stream is reset by whoever holds it.
    fn cut(&self) {
        if let End::Socket(socket) = self {
            cut(socket);
        }
    }

    async fn send(&self, bytes: Buffer, progress: impl Fn(usize)) -> Result<(), Ended> {
        match self {
            End::Socket(socket) => send_all(socket, bytes, progress).await.0.map_err(|_| Ended::Destination),
            End::Stream(stream) => {
                stream.send(bytes.unread(), false, progress).await.map_err(|_| Ended::Destination)
            }
        }
    }

    async fn finish(&self) -> Result<(), Ended> {
        match self {
            End::Socket(socket) => finish_sending(socket),
            End::Stream(stream) => {
                stream.send(&[], true, |_| ()).await.map_err(|_| Ended::Destination)?;
            }
        }
        Ok(())
    }

    /// What comes next; `None` at the end.
    async fn next(&self, buffers: &BufferPool) -> Result<Option<Buffer>, Ended> {
        match self {
            End::Stream(stream) => match stream.piece().await {
                Ok(Piece::Data(bytes, _)) => Ok(Some(bytes)),
                Ok(Piece::Trailers(_) | Piece::End) => Ok(None),
                Err(StreamFault::Memory) => Err(Ended::NoMemory),
                Err(_) => Err(Ended::Source),
            },
            End::Socket(socket) => loop {
                socket.readable().await.map_err(|_| Ended::Source)?;
                let mut buffer = buffers.take(Size::Small).ok_or(Ended::NoMemory)?;
                match socket.try_recv(&mut buffer) {
                    Ok(0) => return Ok(None),
                    Ok(_) => return Ok(Some(buffer)),
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    Err(_) => return Err(Ended::Source),
                }
            },
        }
    }
}

/// One direction: `first`, and then everything that comes, until its source ends; that is passed on.
async fn direction(
    (from, to): (End<'_>, End<'_>),
    first: Option<Buffer>,
    tools: &Tools<'_>,
    progress: impl Fn(Moved),
) -> Ended {
    if let (End::Socket(from), End::Socket(to)) = (from, to) {
        let ended = pump(from, to, first, tools, progress).await;
        if ended == Ended::Finished {
            finish_sending(to);
        }
        return ended;
    }
    let mut bytes = first;
    loop {
        if let Some(bytes) = bytes.take()
            && let Err(ended) = to.send(bytes, |sent| progress(Moved::Copied(sent))).await
        {
            return ended;
        }
        match from.next(tools.buffers).await {
            Ok(Some(came)) => {
                progress(Moved::Received(came.unread().len()));
                bytes = Some(came);
            }
            Ok(None) => return to.finish().await.err().unwrap_or(Ended::Finished),
            Err(ended) => return ended,
        }
    }
}

/// What passed, and what ended it.
pub(super) struct Passed {
    /// `None` when both sides had said all and heard all.
    pub(super) fault: Option<Fault>,
    /// Bytes of the client, those that came early included.
    pub(super) came: u64,
    /// Bytes sent to the client.
    pub(super) went: u64,
}

/// Passes on what both sides send, `early` first, until it is over.
pub(super) async fn through(
    shard: &Shard,
    (connection, lease): (&Downstream, &Lease),
    (client, server): (End<'_>, End<'_>),
    cluster: &ClusterState,
    early: Option<Buffer>,
) -> Passed {
    let _open = Open::new(connection, cluster);
    let (came, went) =
        (Cell::new(early.as_ref().map_or(0, |early| early.unread().len() as u64)), Cell::new(0));
    let tools = Tools { buffers: &shard.buffers, pipes: &shard.pipes, driver: shard.driver };
    let up = direction((client, server), early, &tools, |moved| {
        match moved {
            Moved::Received(bytes) => {
                came.set(came.get() + bytes as u64);
                connection.view.stats.received_bytes.add(bytes as u64);
            }
            Moved::Copied(bytes) | Moved::Spliced(bytes) => {
                cluster.stats.tunnel_sent_bytes.add(bytes as u64);
            }
        }
        relayed(shard, lease, Direction::Upstream, moved);
    });
    let down = direction((server, client), None, &tools, |moved| {
        match moved {
            Moved::Received(bytes) => cluster.stats.tunnel_received_bytes.add(bytes as u64),
            Moved::Copied(bytes) | Moved::Spliced(bytes) => {
                went.set(went.get() + bytes as u64);
                connection.view.stats.sent_bytes.add(bytes as u64);
            }
        }
        relayed(shard, lease, Direction::Downstream, moved);
    });
    let mut limits = Limits::begin(shard, connection, lease);
    let (mut up, mut down) = (pin!(up), pin!(down));
    let (mut up_ended, mut down_ended) = (None, None);
    let fault = poll_fn(|cx| {
        if let Some(fault) = limits.poll(cx) {
            [client, server].iter().for_each(End::cut);
            return Poll::Ready(Some(fault));
        }
        end_of(&mut up_ended, up.as_mut(), cx);
        end_of(&mut down_ended, down.as_mut(), cx);
        verdict(up_ended, down_ended)
    })
    .await;
    Passed { fault, came: came.get(), went: went.get() }
}

/// Polls a direction that has not ended.
fn end_of(
    ended: &mut Option<Ended>,
    direction: std::pin::Pin<&mut impl Future<Output = Ended>>,
    cx: &mut Context<'_>,
) {
    if ended.is_none()
        && let Poll::Ready(end) = direction.poll(cx)
    {
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
fn relayed(shard: &Shard, lease: &Lease, direction: Direction, moved: Moved) {
    let (Moved::Received(bytes) | Moved::Copied(bytes) | Moved::Spliced(bytes)) = moved;
    lease.moved(IDLE, bytes);
    match moved {
        Moved::Received(_) => {}
        Moved::Copied(_) => shard.stats.relay_bytes_copy[direction as usize].add(bytes as u64),
        Moved::Spliced(_) => shard.stats.relay_bytes_splice[direction as usize].add(bytes as u64),
    }
}

/// One that is open, in the totals.
struct Open<'a>(&'a Downstream, &'a ClusterState, Instant);

impl<'a> Open<'a> {
    fn new(connection: &'a Downstream, cluster: &'a ClusterState) -> Self {
        connection.view.stats.tunnels_total.inc();
        connection.view.stats.tunnels_active.inc();
        cluster.stats.tunnels_total.inc();
        cluster.stats.tunnels_active.inc();
        Open(connection, cluster, clock::now())
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let Open(connection, cluster, began) = self;
        connection.view.stats.tunnels_active.dec();
        cluster.stats.tunnels_active.dec();
        let nanos = clock::now().since(*began).as_nanos() as u64;
        connection.view.stats.tunnel_duration.record(nanos);
        cluster.stats.tunnel_duration.record(nanos);
    }
}

/// What ends a tunnel that would go on.
struct Limits<'a> {
    shard: &'a Shard,
    lease: &'a Lease,
    drains: bool,
}

impl<'a> Limits<'a> {
    fn begin(shard: &'a Shard, connection: &Downstream, lease: &'a Lease) -> Self {
        let timeouts = &connection.view.listener.timeouts;
        lease.wake_idle(IDLE, timeouts.tunnel_idle);
        if let Some(most) = timeouts.tunnel_max {
            lease.wake_at(MOST, clock::now().after(most));
        }
        lease.set_tunnel(true);
        Limits { shard, lease, drains: false }
    }

    /// The limit that has passed, if any; else the task is woken when one does.
    fn poll(&mut self, cx: &Context<'_>) -> Option<Fault> {
        let lease = self.lease;
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
        let lease = self.lease;
        lease.set_tunnel(false);
        for lane in [IDLE, MOST, DRAIN] {
            lease.disarm(lane);
        }
    }
}
