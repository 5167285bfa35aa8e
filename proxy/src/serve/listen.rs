//! Accepting: one task per listening socket of the shard.
//!
//! Invariants:
//! - a connection counts against the limits of its listener and of the proxy from here until it is dropped;
//! - over a limit the client gets a 503 and is closed: nothing queues here;
//! - without descriptors or memory the shard waits a little and tries again; established connections go on.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use pinion_core::config::Address;
use pinion_core::fault::Fault;
use pinion_core::id::ListenerId;
use pinion_core::telemetry::{ListenerStats, ShardStats};
use rustix::net::{SendFlags, Shutdown};

use super::downstream::{Downstream, View};
use super::{connection, open};
use crate::net;
use crate::net::accept::{ACCEPT_BATCH, Accepted, Acceptor, peer_address};
use crate::net::clock;
use crate::net::parked::Parked;
use crate::net::socket::Socket;
use crate::shard::Shard;
use crate::shard::lease::Lease;
use crate::shard::link::Counted;
use crate::shard::tables::Tables;

/// How long accepting rests when descriptors or memory have run out.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// The listening sockets of a shard.
#[derive(Default)]
pub(crate) struct Listening(RefCell<HashMap<ListenerId, Rc<Stop>>>);

/// How an accepting task is told to end.
#[derive(Default)]
struct Stop {
    asked: Cell<bool>,
    waker: RefCell<Option<std::task::Waker>>,
}

impl Listening {
    /// Ends accepting for `id`, once what is queued has been accepted.
    pub(crate) fn stop(&self, id: ListenerId) {
        if let Some(stop) = self.0.borrow_mut().remove(&id) {
            stop.ask();
        }
    }

    /// Ends all accepting.
    pub(crate) fn stop_all(&self) {
        for (_, stop) in self.0.borrow_mut().drain() {
            stop.ask();
        }
    }
}

impl Stop {
    fn ask(&self) {
        self.asked.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Waits for `ready`, or until asked to end (`None`).
    async fn or<T>(&self, ready: impl Future<Output = T>) -> Option<T> {
        let mut ready = std::pin::pin!(ready);
        std::future::poll_fn(|cx| {
            if self.asked.get() {
                return std::task::Poll::Ready(None);
            }
            self.waker.replace(Some(cx.waker().clone()));
            ready.as_mut().poll(cx).map(Some)
        })
        .await
    }
}

/// Starts accepting on `fd` for the listener `id`.
pub(crate) fn listen(shard: &Rc<Shard>, id: ListenerId, fd: OwnedFd) {
    let acceptor = match Acceptor::new(fd, shard.driver) {
        Ok(acceptor) => acceptor,
        Err(error) => {
            tracing::error!(listener = id.0, %error, "can't accept on a listening socket");
            return;
        }
    };
    let stop = Rc::new(Stop::default());
    shard.listening.0.borrow_mut().insert(id, stop.clone());
    net::spawn(accept(shard.clone(), id, acceptor, stop));
}

async fn accept(shard: Rc<Shard>, id: ListenerId, acceptor: Acceptor, stop: Rc<Stop>) {
    let pause = shard.slots.lease();
    loop {
        match stop.or(acceptor.readable()).await {
            None => break,
            Some(Ok(())) => {}
            Some(Err(error)) => {
                tracing::error!(listener = id.0, %error, "a listening socket failed");
                return;
            }
        }
        if !take_batch(&shard, id, &acceptor, &pause).await {
            return;
        }
    }
    // Asked to end: whoever connected before gets served.
    while matches!(accept_one(&shard, id, &acceptor), Taken::One) {}
}

/// What one step of accepting came to.
enum Taken {
    One,
    Nothing,
    Exhausted,
    Failed,
}

async fn take_batch(shard: &Rc<Shard>, id: ListenerId, acceptor: &Acceptor, pause: &Lease) -> bool {
    for _ in 0..ACCEPT_BATCH {
        match accept_one(shard, id, acceptor) {
            Taken::One => {}
            Taken::Nothing => return true,
            Taken::Exhausted => {
                pause.sleep(EXHAUSTED_PAUSE).await;
                return true;
            }
            Taken::Failed => return false,
        }
    }
    true
}

fn accept_one(shard: &Rc<Shard>, id: ListenerId, acceptor: &Acceptor) -> Taken {
    match acceptor.accept() {
        Accepted::Connection(fd) => {
            admit(shard, id, fd);
            Taken::One
        }
        Accepted::Gone => {
            shard.stats.accept_errors.inc();
            Taken::One
        }
        Accepted::Empty => Taken::Nothing,
        Accepted::Exhausted => {
            shard.stats.accept_errors.inc();
            Taken::Exhausted
        }
        Accepted::Failed(error) => {
            shard.stats.accept_errors.inc();
            tracing::error!(listener = id.0, %error, "accept failed");
            Taken::Failed
        }
    }
}

/// Takes a connection in, hands it to a colder shard, or refuses it.
fn admit(shard: &Rc<Shard>, id: ListenerId, fd: OwnedFd) {
    let tables = shard.tables();
    let Some(place) = tables.shared.snapshot.listeners.iter().position(|listener| listener.id == id) else {
        return;
    };
    tables.shared.listeners[place].connections_total.inc();
    let Some(counted) = Counted::take(&tables.shared, place) else {
        tables.shared.listeners[place].connections_refused.inc();
        shard.stats.faults[Fault::ConnectionLimit.index()].inc();
        let listener = &tables.shared.snapshot.listeners[place];
        if !listener.protocol.is_stream() && listener.tls.is_none() {
            refuse(&fd);
        }
        return;
    };
    // A Unix socket can't be shared by SO_REUSEPORT: one shard accepts and hands on.
    if matches!(tables.shared.snapshot.listeners[place].address, Address::Unix(_)) {
        let parked = Parked::fresh(fd, id, clock::now());
        match colder_shard(shard) {
            Some(to) => {
                // With a full inbox it is closed.
                drop(connection::hand_on(shard, to, Box::new(parked), counted));
            }
            None => connection::adopt(shard, parked, counted),
        }
        return;
    }
    // Behind TLS a connection stays where it begins, whatever it turns out to do.
    let listener = &tables.shared.snapshot.listeners[place];
    if listener.tls.is_some()
        && let Some(to) = shard.h2.placement.beginning(shard, |stats| stats.connections_active.get())
    {
        let mut parked = Parked::fresh(fd, id, clock::now());
        parked.peer = peer_address(&parked.fd);
        let _ = rustix::net::sockopt::set_tcp_nodelay(&parked.fd, true);
        drop(connection::hand_on(shard, to, Box::new(parked), counted));
        return;
    }
    match Socket::new(fd) {
        Ok(socket) => {
            // Fails only on a connection that is gone already.
            let _ = rustix::net::sockopt::set_tcp_nodelay(&socket, true);
            let peer = peer_address(&socket);
            if let Some(view) = View::find(&tables, id, peer) {
                let permit = Permit::held(shard, &tables, place, counted);
                open::start(shard, Downstream::new(shard, view, socket, permit, peer));
            }
        }
        Err(_) => shard.stats.accept_errors.inc(),
    }
}

/// The shard with the fewest connections, if it has fewer than this one.
fn colder_shard(shard: &Shard) -> Option<usize> {
    let peers = shard.peers.get()?;
    // Those on their way count as well: a burst is handed on before the first of it arrives.
    let held = |at: &usize| peers[*at].stats.connections_active.get() + peers[*at].inbox.len() as u64;
    let coldest = (0..peers.len()).min_by_key(held)?;
    (held(&coldest) < held(&shard.link.index)).then_some(coldest)
}

/// Tells a client that there are too many connections, where it speaks HTTP in plain text.
fn refuse(fd: &OwnedFd) {
    let row = Fault::ConnectionLimit.row();
    let mut answer = Vec::with_capacity(256);
    super::answer::plain(&mut answer, row.status, row.reason, false);
    // Best effort: a client whose buffer is not even that large just sees the close.
    let _ = rustix::net::send(fd, &answer, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    let _ = rustix::net::shutdown(fd, Shutdown::Write);
}

/// A connection on this shard, in the counts, until it is dropped.
pub(crate) struct Permit {
    stats: Arc<ListenerStats>,
    shard: Arc<ShardStats>,
    _counted: Counted,
}

impl Permit {
    /// Counts a connection that was let in to this shard. `place` is its listener's place in the tables.
    pub(crate) fn held(shard: &Shard, tables: &Tables, place: usize, counted: Counted) -> Self {
        let stats = tables.shared.listeners[place].clone();
        stats.connections_active.inc();
        shard.stats.connections_active.inc();
        Permit { stats, shard: shard.stats.clone(), _counted: counted }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.stats.connections_active.dec();
        self.shard.connections_active.dec();
    }
}
