//! One downstream connection: idle, in a seat, or parked for another shard.
//!
//! ```text
//!             ┌──────────── between requests ────────────┐
//!   accept ─> idle ──first byte──> seat (requests) ──────┤
//!               │ └──kicked──> parked ──> another shard  └──> closed
//!               └──idle timeout, end of stream──> closed
//! ```
//!
//! Invariants:
//! - an idle connection holds no buffer and no seat, only a small future (`tests`);
//! - bytes received are never lost: whatever is unread travels with the connection.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use pinion_core::fault::Fault;
use pinion_core::time::Instant;

use super::downstream::{Downstream, View};
use super::http2;
use super::listen::Permit;
use super::open;
use super::request::request;
use crate::net::buffers::Size;
use crate::net::clock;
use crate::net::parked::{PARKED_VERSION, Parked, ParkedProtocol};
use crate::net::send::finish_sending;
use crate::net::socket::Socket;
use crate::shard::Shard;
use crate::shard::link::{Counted, ShardMessage};
use crate::shard::slots::Kick;
use crate::shard::timer::Lane;
use crate::sys::buffer::Buffer;
use crate::tls::session::Session;

/// After an answer that ends the connection, how long and how much of what the client still sends is read
/// and thrown away, so that a reset does not destroy the answer (RFC 9112 section 9.6).
const LINGER_TIME: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 * 1024;

/// A connection whose requests follow each other within this time waits for the next one warm: with its seat,
/// its buffer and a receive in flight. It gives them up after this time.
const WARM_TIME: Duration = Duration::from_millis(250);
/// So many quick requests in a row make a connection warm: going cold allocates, so that a slow or uneven
/// succession must not switch to and fro.
const WARM_AFTER: u8 = 4;
/// Beyond this many buffers in use on a shard (16 MiB) connections wait cold.
const WARM_BUFFERS_MAX: usize = 1_024;

/// What becomes of the connection after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It waits for the next request.
    Idle,
    /// It is closed.
    Close,
    /// Its client speaks HTTP/2.
    Http2,
    /// It is closed once the client has had a chance to read the answer.
    Linger,
}

/// Takes over a parked connection, from another shard or just accepted.
pub(crate) fn adopt(shard: &Rc<Shard>, parked: Parked, counted: Counted) {
    debug_assert_eq!(parked.version, PARKED_VERSION);
    let tables = shard.tables();
    let Some(view) = View::find(&tables, parked.listener, parked.peer) else {
        return;
    };
    let Ok(socket) = Socket::new(parked.fd) else {
        shard.stats.accept_errors.inc();
        return;
    };
    let mut facts = None;
    if let Some(tls) = parked.tls {
        facts = Some(tls.facts().clone());
        let Some(session) = tls.adopt(&shard.tls) else {
            return;
        };
        socket.secure(session);
    }
    let permit = Permit::held(shard, &tables, view.index.index(), counted);
    let mut connection = Downstream::new(shard, view, socket, permit, parked.peer);
    connection.tls = facts;
    connection.requests = parked.requests;
    connection.accepted = parked.accepted;
    connection.opened = parked.opened;
    connection.proxy = parked.proxy;
    if !parked.unread.is_empty() {
        // Room for it is promised: what is unread fits one buffer.
        let Some(mut buffer) = shard.buffers.take(Size::Large) else {
            return;
        };
        buffer.as_vec().extend_from_slice(&parked.unread);
        connection.inbuf = Some(buffer);
    }
    shard.stats.parked_in.inc();
    match parked.protocol {
        ParkedProtocol::Http1 => open::start(shard, connection),
        ParkedProtocol::Http2Fresh => http2::start(shard, connection, None),
        ParkedProtocol::Http2(resting) => http2::start(shard, connection, Some(resting)),
    }
}

/// Sends a parked connection to another shard; gives it back when that shard's inbox is full.
pub(crate) fn hand_on(
    shard: &Shard,
    to: usize,
    parked: Box<Parked>,
    counted: Counted,
) -> Result<(), Box<Parked>> {
    let Some(link) = shard.peers.get().and_then(|peers| peers.get(to)) else {
        return Err(parked);
    };
    match link.send(ShardMessage::Adopt(parked, counted)) {
        Ok(()) => {
            shard.stats.parked_out.inc();
            Ok(())
        }
        Err(ShardMessage::Adopt(parked, _)) => Err(parked),
        // INVARIANT: what comes back is what was sent.
        Err(_) => Ok(()),
    }
}

/// Serves a connection until it ends.
pub(crate) async fn run(shard: Rc<Shard>, connection: Box<Downstream>) {
    let mut waiting =
        if connection.inbuf.is_some() { attend(&shard, connection).await } else { Some(connection) };
    while let Some(mut connection) = waiting {
        let began = clock::now();
        waiting = match idle(&shard, &connection).await {
            Idle::Readable => {
                let quick = clock::now().since(began) < WARM_TIME;
                connection.quick = if quick { (connection.quick + 1).min(WARM_AFTER) } else { 0 };
                attend(&shard, connection).await
            }
            Idle::Close => None,
            Idle::Move(to) => depart(&shard, connection, to).err(),
        };
    }
}

/// Serves what a connection brings until it is idle again; `None` when it is over.
async fn attend(shard: &Rc<Shard>, connection: Box<Downstream>) -> Option<Box<Downstream>> {
    let (connection, next) = shard.seats.serve(shard.clone(), connection).await;
    match next {
        Next::Idle => Some(connection),
        Next::Http2 => {
            // ALLOC: once a connection, so that those of HTTP/1 are no larger for it.
            Box::pin(http2::connection(shard, connection)).await;
            None
        }
        Next::Close | Next::Linger => None,
    }
}

enum Idle {
    Readable,
    Close,
    Move(usize),
}

/// Waits for the first byte of the next request.
async fn idle(shard: &Shard, connection: &Downstream) -> Idle {
    if shard.draining().is_some() {
        return Idle::Close;
    }
    let timeout = connection.view.listener.timeouts.idle;
    let lease = &connection.lease;
    lease.cut_both(Lane::Read, clock::now().after(timeout), &connection.socket);
    lease.set_idle(true);
    let mut readable = pin!(connection.socket.readable());
    let event = poll_fn(|cx| {
        if let Poll::Ready(ready) = readable.as_mut().poll(cx) {
            return Poll::Ready(if ready.is_ok() { Idle::Readable } else { Idle::Close });
        }
        while let Poll::Ready(kick) = lease.poll_kick(cx) {
            match kick {
                Kick::Drain => return Poll::Ready(Idle::Close),
                Kick::Move(to) => return Poll::Ready(Idle::Move(to)),
                Kick::Leave(id) if id == connection.view.listener.id => return Poll::Ready(Idle::Close),
                Kick::Leave(_) => {}
            }
        }
        Poll::Pending
    })
    .await;
    lease.set_idle(false);
    if lease.disarm(Lane::Read).is_some() { Idle::Close } else { event }
}

/// Parks an idle connection and sends it to shard `to`; gives it back when that is not possible.
fn depart(shard: &Shard, connection: Box<Downstream>, to: usize) -> Result<(), Box<Downstream>> {
    match park(shard, &connection, ParkedProtocol::Http1) {
        Ok((parked, counted)) => hand_on(shard, to, parked, counted).map_err(|parked| {
            unpark(&connection, *parked);
            connection
        }),
        Err(_) => Err(connection),
    }
}

/// Takes back a connection that no shard took; gives back its protocol.
pub(super) fn unpark(connection: &Downstream, parked: Parked) -> ParkedProtocol {
    if let (Some(session), Some(tls)) = (connection.socket.session(), parked.tls) {
        session.unpark(*tls);
    }
    parked.protocol
}

/// The form in which a connection crosses shards, and its second place in the counts until this shard lets go of
/// it; gives `protocol` back when there is none.
pub(super) fn park(
    shard: &Shard,
    connection: &Downstream,
    protocol: ParkedProtocol,
) -> Result<(Box<Parked>, Counted), ParkedProtocol> {
    // The readiness wait that was dropped may still be in flight on the old descriptor, so the connection
    // travels on a duplicate, and the old one closes when that wait has ended.
    let Ok(fd) = rustix::io::fcntl_dupfd_cloexec(&connection.socket, 0) else {
        return Err(protocol);
    };
    let tables = shard.tables();
    let id = connection.view.listener.id;
    let place = tables.shared.snapshot.listeners.iter().position(|listener| listener.id == id);
    let Some(counted) = place.and_then(|place| Counted::again(&tables.shared, place)) else {
        return Err(protocol);
    };
    let session = connection.socket.session();
    let tls = session.and_then(Session::park);
    if session.is_some() && tls.is_none() {
        return Err(protocol);
    }
    let parked = Box::new(Parked {
        version: PARKED_VERSION,
        fd,
        protocol,
        tls,
        listener: id,
        peer: connection.peer,
        unread: connection.inbuf.as_ref().map(|buffer| buffer.unread().to_vec()).unwrap_or_default(),
        requests: connection.requests,
        accepted: connection.accepted,
        opened: true,
        proxy: connection.proxy.clone(),
    });
    Ok((parked, counted))
}

/// Serves requests until none is waiting: the work done in a seat.
pub(crate) async fn serve(shard: Rc<Shard>, mut connection: Box<Downstream>) -> (Box<Downstream>, Next) {
    let inbuf = connection.inbuf.take().or_else(|| shard.buffers.take(Size::Small));
    let Some(mut inbuf) = inbuf else {
        shard.stats.faults[Fault::MemoryLimit.index()].inc();
        super::answer::without_memory(&connection);
        return (connection, Next::Close);
    };
    let mut trip = shard.trips.take();
    let next = loop {
        let (next, over) = request(&shard, &mut connection, &mut inbuf, &mut trip).await;
        if next != Next::Idle {
            break next;
        }
        if !inbuf.unread().is_empty() {
            continue;
        }
        if !may_wait_warm(&shard, &connection) {
            break Next::Idle;
        }
        let (waited, back) = wait_warm(&mut connection, inbuf, over).await;
        inbuf = back;
        match waited {
            Warm::Bytes => {}
            Warm::Cooled => break Next::Idle,
            Warm::Close => break Next::Close,
        }
    };
    shard.trips.give(trip);
    if next == Next::Http2 {
        connection.inbuf = Some(inbuf);
        return (connection, next);
    }
    if next == Next::Linger {
        linger(&shard, &connection, inbuf).await;
        return (connection, Next::Close);
    }
    (connection, next)
}

/// Whether the next request is expected so soon that the connection keeps its seat and its buffer: it has
/// come soon before, and the shard has buffers to spare.
fn may_wait_warm(shard: &Shard, connection: &Downstream) -> bool {
    connection.quick == WARM_AFTER && shard.draining().is_none() && shard.buffers.in_use() < WARM_BUFFERS_MAX
}

/// How waiting warm ended.
enum Warm {
    Bytes,
    Cooled,
    Close,
}

/// Waits for the next request with a receive in flight, which saves a readiness wait, a turn of the loop and
/// (one request at a time) a system call; called off after [`WARM_TIME`].
async fn wait_warm(connection: &mut Downstream, inbuf: Buffer, now: Instant) -> (Warm, Buffer) {
    let lease = &connection.lease;
    let timeout = connection.view.listener.timeouts.idle.min(WARM_TIME);
    lease.wake_at(Lane::Read, now.after(timeout));
    lease.set_idle(true);
    let called_off = |cx: &Context<'_>| {
        lease.wait_here(cx);
        lease.fired(Lane::Read).is_some() || lease.is_kicked()
    };
    let (result, inbuf) = connection.socket.recv_unless(inbuf, called_off).await;
    lease.set_idle(false);
    let cooled = lease.disarm(Lane::Read).is_some() || lease.is_kicked();
    match result {
        Ok(received @ 1..) => {
            connection.view.stats.received_bytes.add(received as u64);
            (Warm::Bytes, inbuf)
        }
        Err(_) if cooled => {
            connection.quick = 0;
            (Warm::Cooled, inbuf)
        }
        _ => (Warm::Close, inbuf),
    }
}

/// Ends a connection whose client may still be sending: the answer is finished, what comes is thrown away.
async fn linger(shard: &Shard, connection: &Downstream, mut buffer: Buffer) {
    finish_sending(&connection.socket);
    if buffer.capacity() < Size::Small.bytes() {
        // A tunnel has given its buffer back.
        let Some(other) = shard.buffers.take(Size::Small) else { return };
        buffer = other;
    }
    connection.lease.cut_both(Lane::Read, clock::now().after(LINGER_TIME), &connection.socket);
    let mut thrown = 0;
    while thrown < LINGER_BYTES {
        buffer.clear();
        // Part of a record may be gone with a receive that was given up: what comes can't be opened any more.
        let (result, back) = connection.socket.recv_refuse(buffer).await;
        buffer = back;
        match result {
            Ok(1..) => thrown += buffer.unread().len(),
            _ => break,
        }
    }
    connection.lease.disarm(Lane::Read);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::slots::Slot;

    /// What an idle connection holds, in bytes; the whole is measured by `tests/memory.rs`.
    #[test]
    fn an_idle_connection_is_small() {
        fn future<F: Future>(_: impl Fn(Rc<Shard>, Box<Downstream>) -> F) -> usize {
            size_of::<F>()
        }
        let sizes = [future(run), size_of::<Downstream>(), size_of::<Slot>()];
        eprintln!("future {}, connection {}, slot {} bytes", sizes[0], sizes[1], sizes[2]);
        assert!(sizes[0] <= 512, "the idle future has {} bytes", sizes[0]);
        assert!(sizes.iter().sum::<usize>() <= 1_024, "{sizes:?}");
    }
}
