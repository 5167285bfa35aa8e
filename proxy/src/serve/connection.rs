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
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use pinion_core::config::Listener;
use pinion_core::id::{ListenerId, ListenerIndex};
use pinion_core::telemetry::ListenerStats;
use pinion_core::time::Instant;

use super::listen::Permit;
use super::request::request;
use crate::net;
use crate::net::buffers::Size;
use crate::net::clock;
use crate::net::parked::{PARKED_VERSION, Parked, ParkedProtocol};
use crate::net::send::finish_sending;
use crate::shard::Shard;
use crate::shard::link::ShardMessage;
use crate::shard::slots::{Kick, Lane, Lease};
use crate::shard::tables::Tables;
use crate::sys::buffer::Buffer;
use crate::sys::socket::Socket;

/// After an answer that ends the connection, how long and how much of what the client still sends is read
/// and thrown away, so that a reset does not destroy the answer (RFC 9112 section 9.6).
const LINGER_TIME: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 * 1024;

/// A connection whose next request came within this time waits for the one after it with its seat and
/// buffer, and gives them up after this time.
const WARM_TIME: Duration = Duration::from_millis(250);
/// Beyond this many buffers in use on a shard (16 MiB) connections wait cold.
const WARM_BUFFERS_MAX: usize = 1_024;

/// A client's address as text, without allocating.
#[derive(Clone, Copy)]
pub(crate) struct PeerText {
    bytes: [u8; 64],
    ip: u8,
    len: u8,
}

/// A downstream connection.
pub(crate) struct Downstream {
    pub(crate) socket: Socket,
    pub(crate) lease: Lease,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) text: PeerText,
    /// Requests begun on this connection.
    pub(crate) requests: u64,
    pub(crate) accepted: Instant,
    pub(crate) view: View,
    /// Whether requests have followed each other quickly.
    warm: bool,
    inbuf: Option<Buffer>,
    _permit: Permit,
}

/// The connection's listener as the generation it last served sees it. Holds nothing else of that
/// generation, so that idle connections keep no old tables alive.
pub(crate) struct View {
    generation: u64,
    pub(crate) index: ListenerIndex,
    pub(crate) listener: Arc<Listener>,
    pub(crate) stats: Arc<ListenerStats>,
    /// Whether forwarded headers of this client are believed.
    pub(crate) trusted: bool,
}

/// What becomes of the connection after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It waits for the next request.
    Idle,
    /// It is closed.
    Close,
    /// It is closed once the client has had a chance to read the answer.
    Linger,
}

impl PeerText {
    fn of(peer: Option<SocketAddr>) -> Self {
        use std::io::Write;
        let mut text = PeerText { bytes: [0; 64], ip: 0, len: 0 };
        let mut room = &mut text.bytes[..];
        // ALLOC: none: formatted once a connection, into the fixed array; 64 bytes hold every address.
        let (ip, len) = match peer {
            Some(peer) => {
                let ip = write!(room, "{}", peer.ip().to_canonical()).map(|()| 64 - room.len());
                let len = write!(room, ":{}", peer.port()).map(|()| 64 - room.len());
                (ip.unwrap_or(0), len.unwrap_or(0))
            }
            None => (0, write!(room, "unix").map(|()| 64 - room.len()).unwrap_or(0)),
        };
        text.ip = ip as u8;
        text.len = len as u8;
        text
    }

    /// The address alone; empty for Unix sockets.
    pub(crate) fn ip(&self) -> &[u8] {
        &self.bytes[..usize::from(self.ip)]
    }

    /// Address and port; `unix` for Unix sockets.
    pub(crate) fn full(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl Downstream {
    pub(crate) fn new(
        shard: &Shard,
        view: View,
        socket: Socket,
        permit: Permit,
        peer: Option<SocketAddr>,
    ) -> Box<Self> {
        Box::new(Downstream {
            socket,
            lease: shard.slots.lease(),
            peer,
            text: PeerText::of(peer),
            requests: 0,
            accepted: clock::now(),
            view,
            warm: false,
            inbuf: None,
            _permit: permit,
        })
    }

    /// Whether the connection should end with the request in progress: the proxy drains, or the listener
    /// has left the configuration since the request began with `tables`.
    pub(crate) fn is_ending(&self, shard: &Shard, generation: u64) -> bool {
        shard.draining().is_some()
            || (shard.stats.generation.get() != generation && !shard.has_listener(self.view.listener.id))
    }

    /// Brings the view up to the tables; `false` when the listener has left the configuration.
    pub(crate) fn refresh(&mut self, tables: &Tables) -> bool {
        self.view.generation == tables.shared.snapshot.generation
            || match View::find(tables, self.view.listener.id, self.peer) {
                Some(view) => {
                    self.view = view;
                    true
                }
                None => false,
            }
    }
}

impl View {
    /// The listener `id` in `tables`, for a connection from `peer`.
    pub(crate) fn find(tables: &Tables, id: ListenerId, peer: Option<SocketAddr>) -> Option<Self> {
        let snapshot = &tables.shared.snapshot;
        let place = snapshot.listeners.iter().position(|listener| listener.id == id)?;
        let listener = snapshot.listeners[place].clone();
        let trusted = peer.is_some_and(|peer| listener.trusts(peer.ip()));
        let stats = tables.shared.listeners[place].clone();
        let index = ListenerIndex(place as u32);
        Some(View { generation: snapshot.generation, index, listener, stats, trusted })
    }
}

/// Starts a connection's task.
pub(crate) fn start(shard: &Rc<Shard>, connection: Box<Downstream>) {
    net::spawn(run(shard.clone(), connection));
}

/// Takes over a connection from another shard.
pub(crate) fn adopt(shard: &Rc<Shard>, parked: Parked) {
    debug_assert_eq!(parked.version, PARKED_VERSION);
    let ParkedProtocol::Http1 = parked.protocol;
    let tables = shard.tables();
    let Some(view) = View::find(&tables, parked.listener, parked.peer) else {
        return;
    };
    let Ok(socket) = Socket::new(parked.fd) else {
        shard.stats.accept_errors.inc();
        return;
    };
    let permit = Permit::moved(shard, &tables, view.index.index());
    let mut connection = Downstream::new(shard, view, socket, permit, parked.peer);
    connection.requests = parked.requests;
    connection.accepted = parked.accepted;
    if !parked.unread.is_empty() {
        // Room for it is promised: what is unread fits one buffer.
        let Some(mut buffer) = shard.buffers.take(Size::Large) else {
            return;
        };
        buffer.as_vec().extend_from_slice(&parked.unread);
        connection.inbuf = Some(buffer);
    }
    shard.stats.parked_in.inc();
    start(shard, connection);
}

/// Sends a parked connection to another shard; gives it back when that shard's inbox is full.
pub(crate) fn hand_on(shard: &Shard, to: usize, parked: Parked) -> Result<(), Parked> {
    let Some(link) = shard.peers.get().and_then(|peers| peers.get(to)) else {
        return Err(parked);
    };
    match link.send(ShardMessage::Adopt(Box::new(parked))) {
        Ok(()) => {
            shard.stats.parked_out.inc();
            Ok(())
        }
        Err(ShardMessage::Adopt(parked)) => Err(*parked),
        Err(_) => Ok(()),
    }
}

async fn run(shard: Rc<Shard>, mut connection: Box<Downstream>) {
    if connection.inbuf.is_some() {
        let (back, next) = shard.seats.serve(shard.clone(), connection).await;
        connection = back;
        if next != Next::Idle {
            return;
        }
    }
    loop {
        let began = clock::now();
        match idle(&shard, &connection).await {
            // A first request says nothing of a second one.
            Idle::Readable => {
                connection.warm = connection.requests > 0 && clock::now().since(began) < WARM_TIME;
            }
            Idle::Close => return,
            Idle::Move(to) => match depart(&shard, connection, to) {
                Ok(()) => return,
                Err(stayed) => {
                    connection = stayed;
                    continue;
                }
            },
        }
        let (back, next) = shard.seats.serve(shard.clone(), connection).await;
        connection = back;
        if next != Next::Idle {
            return;
        }
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
    // The readiness wait that was dropped may still be in flight on the old descriptor, so the connection
    // travels on a duplicate, and the old one closes when that wait has ended.
    let Ok(fd) = rustix::io::fcntl_dupfd_cloexec(&connection.socket, 0) else {
        return Err(connection);
    };
    let parked = Parked {
        version: PARKED_VERSION,
        fd,
        protocol: ParkedProtocol::Http1,
        listener: connection.view.listener.id,
        peer: connection.peer,
        unread: connection.inbuf.as_ref().map(|buffer| buffer.unread().to_vec()).unwrap_or_default(),
        requests: connection.requests,
        accepted: connection.accepted,
    };
    hand_on(shard, to, parked).map_err(|_| connection)
}

/// Serves requests until none is waiting: the work done in a seat.
pub(crate) async fn serve(shard: Rc<Shard>, mut connection: Box<Downstream>) -> (Box<Downstream>, Next) {
    let inbuf = connection.inbuf.take().or_else(|| shard.buffers.take(Size::Small));
    let Some(mut inbuf) = inbuf else {
        super::answer::without_memory(&shard, &connection);
        return (connection, Next::Close);
    };
    let mut trip = shard.trips.take();
    let next = loop {
        let next = request(&shard, &mut connection, &mut inbuf, &mut trip).await;
        if next != Next::Idle {
            break next;
        }
        if !inbuf.unread().is_empty() {
            continue;
        }
        if !may_wait_warm(&shard, &connection) {
            break Next::Idle;
        }
        let (waited, back) = wait_warm(&mut connection, inbuf).await;
        inbuf = back;
        match waited {
            Warm::Bytes => {}
            Warm::Cooled => break Next::Idle,
            Warm::Close => break Next::Close,
        }
    };
    shard.trips.give(trip);
    if next == Next::Linger {
        linger(&connection, inbuf).await;
        return (connection, Next::Close);
    }
    (connection, next)
}

/// Whether the next request is expected so soon that the connection keeps its seat and its buffer: it has
/// come soon before, and the shard has buffers to spare.
fn may_wait_warm(shard: &Shard, connection: &Downstream) -> bool {
    connection.warm && shard.draining().is_none() && shard.buffers.in_use() < WARM_BUFFERS_MAX
}

/// How waiting warm ended.
enum Warm {
    Bytes,
    Cooled,
    Close,
}

/// Waits for the next request with a receive in flight, which saves a readiness wait, a turn of the loop and
/// (one request at a time) a system call; called off after [`WARM_TIME`].
async fn wait_warm(connection: &mut Downstream, inbuf: Buffer) -> (Warm, Buffer) {
    let lease = &connection.lease;
    let timeout = connection.view.listener.timeouts.idle.min(WARM_TIME);
    let cancel = lease.cool_at(Lane::Read, clock::now().after(timeout));
    lease.set_idle(true);
    let (result, inbuf) = connection.socket.recv_until_cancelled(inbuf, cancel).await;
    lease.set_idle(false);
    let cooled = lease.disarm(Lane::Read).is_some() || lease.is_kicked();
    match result {
        Ok(received @ 1..) => {
            connection.view.stats.received_bytes.add(received as u64);
            (Warm::Bytes, inbuf)
        }
        Err(_) if cooled => {
            connection.warm = false;
            lease.forget_warmth();
            (Warm::Cooled, inbuf)
        }
        _ => (Warm::Close, inbuf),
    }
}

/// Ends a connection whose client may still be sending: the answer is finished, what comes is thrown away.
async fn linger(connection: &Downstream, mut buffer: Buffer) {
    finish_sending(&connection.socket);
    connection.lease.cut_both(Lane::Read, clock::now().after(LINGER_TIME), &connection.socket);
    let mut thrown = 0;
    while thrown < LINGER_BYTES {
        buffer.clear();
        let (result, back) = connection.socket.recv(buffer).await;
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
