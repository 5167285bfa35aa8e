//! A connection's TLS after its handshake: what a socket asks on its way to and from plaintext.
//!
//! ```text
//!   held:  | plaintext nobody has taken | part of a record |      in a pooled buffer, while there is any
//! ```
//!
//! Invariants:
//! - without plaintext and without part of a record no buffer is held;
//! - records are sent in the order in which they were sealed: one writer at a time, and what the library wants
//!   sent beside goes in front of the next data, or by itself while nobody sends;
//! - nothing is sealed after part of a sealed record was lost.
//!
//! Not here: waiting (`net::secure`), the handshake.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use pinion_core::telemetry::tls::TlsPlace;
use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;

use super::TlsShard;
use super::engine::{self, Opened};
use super::facts::TlsFacts;
use super::kernel::Kernel;
use crate::sys::buffer::Buffer;

mod farewell;
mod kernel;
mod parked;
mod receiving;
mod sealing;

pub(crate) use kernel::Promoted;
pub(crate) use parked::ParkedTls;

/// Who turns records into plaintext.
pub(crate) enum Engine {
    /// The library, as the server.
    Server(Box<UnbufferedServerConnection>),
    /// The library, as the client.
    Client(Box<UnbufferedClientConnection>),
    /// The kernel.
    Kernel(Box<Kernel>),
    /// Nobody any more: the connection has left for another shard, or was lost on its way to the kernel.
    Gone,
}

/// How receiving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It has not.
    None,
    /// The peer has said that it is done.
    Closed,
    /// The connection ended without that.
    Truncated,
    /// The peer's records are no good, or the socket has failed.
    Failed(io::ErrorKind),
}

/// What the sending direction is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    Open,
    /// Somebody sends.
    Busy,
    /// The end was said, or part of a record was lost.
    Over,
}

#[derive(Default)]
struct Held {
    buffer: Option<Buffer>,
    /// How many of its unread bytes are plaintext; part of a record follows.
    plain: usize,
}

/// One connection's TLS.
pub(crate) struct Session {
    engine: RefCell<Engine>,
    held: RefCell<Held>,
    end: Cell<End>,
    sending: Cell<Sending>,
    /// What the library wants sent.
    control: RefCell<Vec<u8>>,
    /// A message about keys may be waiting inside the library.
    unsettled: Cell<bool>,
    /// Bytes of plaintext moved either way.
    moved: Cell<u64>,
    /// A receive is in flight.
    reading: Cell<bool>,
    /// This side has ended the connection itself.
    cut: Cell<bool>,
    place: Cell<TlsPlace>,
    facts: Arc<TlsFacts>,
    shard: Rc<TlsShard>,
}

/// What became of received bytes.
#[derive(Debug)]
pub(crate) enum Step {
    /// So much plaintext is in the receiver's buffer.
    Plain(usize),
    /// More bytes are needed.
    More,
}

/// Where the next bytes of the peer go.
pub(crate) enum Target {
    /// Behind the receiver's bytes.
    User,
    /// Into this buffer of the session's, because a record does not fit the receiver's.
    Held(Buffer),
}

impl Session {
    /// A session just begun; `early` are bytes that came behind the handshake.
    pub(crate) fn new(
        engine: Engine,
        facts: Arc<TlsFacts>,
        place: TlsPlace,
        shard: &Rc<TlsShard>,
        early: Buffer,
    ) -> Box<Self> {
        let session = Self::with(engine, facts, place, shard, early, 0);
        session.open_held();
        session
    }

    /// A session that holds `held`, of which the first `plain` bytes are plaintext.
    // ALLOC: once a connection.
    fn with(
        engine: Engine,
        facts: Arc<TlsFacts>,
        place: TlsPlace,
        shard: &Rc<TlsShard>,
        held: Buffer,
        plain: usize,
    ) -> Box<Self> {
        let buffer = if held.unread().is_empty() { None } else { Some(held) };
        shard.stats.tls.connections[place as usize].inc();
        Box::new(Session {
            engine: RefCell::new(engine),
            held: RefCell::new(Held { buffer, plain }),
            end: Cell::new(End::None),
            sending: Cell::new(Sending::Open),
            control: RefCell::default(),
            unsettled: Cell::new(false),
            moved: Cell::new(0),
            reading: Cell::new(false),
            cut: Cell::new(false),
            place: Cell::new(place),
            facts,
            shard: shard.clone(),
        })
    }

    /// What the handshake came to.
    #[cfg(test)]
    pub(crate) fn facts(&self) -> &Arc<TlsFacts> {
        &self.facts
    }

    /// Opens the records among `bytes[at..]`; says how much plaintext there is now.
    fn open(&self, bytes: &mut Vec<u8>, at: usize) -> usize {
        let mut control = self.control.borrow_mut();
        let opened = match &mut *self.engine.borrow_mut() {
            Engine::Server(conn) => engine::open(&mut **conn, bytes, at, &mut control),
            Engine::Client(conn) => engine::open(&mut **conn, bytes, at, &mut control),
            Engine::Kernel(_) | Engine::Gone => Opened::default(),
        };
        if opened.control {
            self.unsettled.set(true);
        }
        if opened.closed {
            self.end.set(End::Closed);
        }
        if let Some(error) = opened.failed {
            tracing::debug!(%error, "a TLS connection failed");
            self.end.set(End::Failed(match error {
                rustls::Error::AlertReceived(_) => io::ErrorKind::ConnectionReset,
                _ => io::ErrorKind::InvalidData,
            }));
        }
        self.moved.set(self.moved.get() + opened.plain as u64);
        opened.plain
    }

    fn open_held(&self) {
        let mut held = self.held.borrow_mut();
        let Held { buffer: Some(buffer), plain } = &mut *held else {
            return;
        };
        let records = buffer.unread().len() - *plain;
        let bytes = buffer.as_vec();
        let at = bytes.len() - records;
        *plain += self.open(bytes, at);
        if buffer.unread().is_empty() {
            held.buffer = None;
        }
    }

    /// Whether a receive would end at once: with plaintext, at the end, or with an error.
    pub(crate) fn is_ready(&self) -> bool {
        self.held.borrow().plain > 0 || self.end.get() != End::None
    }

    /// Whether something of the peer is held: plaintext, or the beginning of a record whose rest is on its way.
    pub(crate) fn is_amid(&self) -> bool {
        self.held.borrow().buffer.is_some()
    }

    /// Whether the peer has said that it is done, and nothing of it is left.
    pub(crate) fn is_closed(&self) -> bool {
        self.end.get() == End::Closed && self.held.borrow().plain == 0
    }

    /// What a receive gives without asking the socket: plaintext, the end, or an error.
    pub(crate) fn waiting(&self, user: &mut Buffer) -> Option<io::Result<usize>> {
        if let Some(given) = self.give(user) {
            return Some(Ok(given));
        }
        match self.end.get() {
            End::None => None,
            End::Closed => Some(Ok(0)),
            End::Truncated => Some(Err(io::ErrorKind::UnexpectedEof.into())),
            End::Failed(kind) => Some(Err(kind.into())),
        }
    }

    /// Moves held plaintext to `user`, as far as it has room.
    fn give(&self, user: &mut Buffer) -> Option<usize> {
        let mut held = self.held.borrow_mut();
        let Held { buffer: Some(buffer), plain } = &mut *held else {
            return None;
        };
        if *plain == 0 {
            return None;
        }
        let all = buffer.unread().len();
        // Usually there is nothing else in either: the buffers change places.
        let given = if *plain == all && user.unread().is_empty() && user.capacity() == buffer.capacity() {
            std::mem::swap(user, buffer);
            all
        } else {
            let given = user.room().min(*plain);
            user.as_vec().extend_from_slice(&buffer.unread()[..given]);
            buffer.take(given);
            given
        };
        *plain -= given;
        if given == all {
            held.buffer = None;
        }
        Some(given)
    }

    /// The connection has ended, with or without an error; what a receive makes of that.
    pub(crate) fn ended(&self, error: Option<io::Error>) -> io::Error {
        if self.end.get() == End::None {
            match &error {
                None => {
                    if !self.cut.get() {
                        self.shard.stats.tls.truncated.inc();
                    }
                    self.end.set(End::Truncated);
                }
                Some(error) => self.end.set(End::Failed(error.kind())),
            }
        }
        error.unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// The end that comes next is this side's doing, and nobody's fault.
    pub(crate) fn cut(&self) {
        self.cut.set(true);
    }

    fn fail(&self, kind: io::ErrorKind) {
        if self.end.get() == End::None {
            self.end.set(End::Failed(kind));
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shard.stats.tls.connections[self.place.get() as usize].dec();
    }
}
