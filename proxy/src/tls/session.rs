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
use rustix::net::SendFlags;
use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;

use super::TlsShard;
use super::engine::{self, CONTROL_ROOM, Opened, RECORD_CONTENT_MAX, RECORD_OVERHEAD};
use super::facts::TlsFacts;
use super::kernel::Kernel;
use crate::net::buffers::Size;
use crate::net::socket::Socket;
use crate::sys::buffer::Buffer;

mod farewell;
mod kernel;
mod parked;

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
            place: Cell::new(place),
            facts,
            shard: shard.clone(),
        })
    }

    /// What the handshake came to.
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

    /// Where the next bytes are to go. What is held of a record goes along.
    ///
    /// # Errors
    ///
    /// When there is no buffer for a whole record.
    pub(crate) fn target(&self, user: &mut Buffer) -> io::Result<Target> {
        let mut held = self.held.borrow_mut();
        debug_assert_eq!(held.plain, 0, "plaintext is taken first");
        let Some(part) = held.buffer.take() else {
            return Ok(Target::User);
        };
        let record = engine::record_bytes(part.unread()).unwrap_or(engine::HEADER_BYTES);
        if record.max(part.unread().len() + 1) <= user.room() {
            user.as_vec().extend_from_slice(part.unread());
            return Ok(Target::User);
        }
        self.with_room(part, record).map(Target::Held).inspect_err(|_| self.fail(io::ErrorKind::OutOfMemory))
    }

    /// `part` in a buffer that has room for the rest of its record of `record` bytes, and at least one byte.
    fn with_room(&self, mut part: Buffer, record: usize) -> io::Result<Buffer> {
        let wanted = record.saturating_sub(part.unread().len()).max(1);
        if part.room() < wanted {
            part.compact();
        }
        if part.room() < wanted && part.capacity() < Size::Large.bytes() {
            let mut larger = self.shard.buffers.take(Size::Large).ok_or(io::ErrorKind::OutOfMemory)?;
            larger.as_vec().extend_from_slice(part.unread());
            part = larger;
        }
        // A message of several records that is larger than the library takes.
        if part.room() == 0 { Err(io::ErrorKind::InvalidData.into()) } else { Ok(part) }
    }

    /// Takes in what was received behind the first `base` bytes of `user`'s storage.
    ///
    /// # Errors
    ///
    /// When the peer's records are no good.
    pub(crate) fn received(&self, socket: &Socket, user: &mut Buffer, base: usize) -> io::Result<Step> {
        let plain = self.open(user.as_vec(), base);
        self.flush(socket);
        if plain > 0 {
            self.hold_behind(user, base + plain);
            return Ok(Step::Plain(plain));
        }
        let part = &user.as_vec()[base..];
        let record = engine::record_bytes(part).unwrap_or(engine::HEADER_BYTES);
        let wanted = record.saturating_sub(part.len()).max(1);
        if self.end.get() != End::None || user.room() < wanted {
            self.hold_behind(user, base);
        }
        self.after(user)
    }

    /// Takes in what was received into a buffer of [`Target::Held`].
    ///
    /// # Errors
    ///
    /// When the peer's records are no good.
    pub(crate) fn received_held(
        &self,
        socket: &Socket,
        buffer: Buffer,
        user: &mut Buffer,
    ) -> io::Result<Step> {
        self.hold(buffer);
        self.open_held();
        self.flush(socket);
        self.after(user)
    }

    fn after(&self, user: &mut Buffer) -> io::Result<Step> {
        match self.waiting(user) {
            Some(ended) => ended.map(Step::Plain),
            None => Ok(Step::More),
        }
    }

    /// Keeps part of a record.
    pub(crate) fn hold(&self, buffer: Buffer) {
        if !buffer.unread().is_empty() {
            let held = Held { buffer: Some(buffer), plain: 0 };
            let before = self.held.replace(held);
            debug_assert!(before.buffer.is_none(), "one receive at a time");
        }
    }

    /// Keeps the bytes behind the first `kept` of `user`'s storage, which loses them.
    pub(crate) fn hold_behind(&self, user: &mut Buffer, kept: usize) {
        let bytes = user.as_vec();
        if bytes.len() == kept {
            return;
        }
        let part = &bytes[kept..];
        let record = engine::record_bytes(part).unwrap_or(engine::HEADER_BYTES).max(part.len());
        let size = if record <= Size::Small.room() { Size::Small } else { Size::Large };
        match self.shard.buffers.take(size) {
            Some(mut buffer) if self.end.get() == End::None => {
                buffer.as_vec().extend_from_slice(part);
                self.hold(buffer);
            }
            Some(_) => {}
            None => self.fail(io::ErrorKind::OutOfMemory),
        }
        bytes.truncate(kept);
    }

    /// The connection has ended, with or without an error; what a receive makes of that.
    pub(crate) fn ended(&self, error: Option<io::Error>) -> io::Error {
        if self.end.get() == End::None {
            match &error {
                None => {
                    self.shard.stats.tls.truncated.inc();
                    self.end.set(End::Truncated);
                }
                Some(error) => self.end.set(End::Failed(error.kind())),
            }
        }
        error.unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn fail(&self, kind: io::ErrorKind) {
        if self.end.get() == End::None {
            self.end.set(End::Failed(kind));
        }
    }

    /// Receives, without waiting, until there is something to take; `false` when nothing is there.
    pub(crate) fn fill(&self, socket: &Socket) -> bool {
        if self.is_kernel() {
            return self.kernel_is_ready(socket);
        }
        while !self.is_ready() {
            let part = self.held.borrow_mut().buffer.take();
            let part = match part {
                Some(part) => {
                    let record = engine::record_bytes(part.unread()).unwrap_or(engine::HEADER_BYTES);
                    self.with_room(part, record)
                }
                None => self.shard.buffers.take(Size::Small).ok_or(io::ErrorKind::OutOfMemory.into()),
            };
            let mut part = match part {
                Ok(part) => part,
                Err(error) => {
                    self.fail(error.kind());
                    break;
                }
            };
            match socket.raw_try_recv(&mut part) {
                Ok(1..) => {
                    self.hold(part);
                    self.open_held();
                    self.flush(socket);
                }
                Ok(0) => drop(self.ended(None)),
                Err(rustix::io::Errno::INTR) => self.hold(part),
                Err(rustix::io::Errno::AGAIN) => {
                    self.hold(part);
                    return false;
                }
                Err(error) => drop(self.ended(Some(error.into()))),
            }
        }
        true
    }

    fn may_seal(&self) -> bool {
        self.sending.get() == Sending::Open && !matches!(self.end.get(), End::Failed(_))
    }

    /// Seals as much of `plain` as one buffer takes; says how much that is. [`Session::sent`] or
    /// [`Session::lost`] must follow.
    ///
    /// # Errors
    ///
    /// When nothing can be sent any more, or there is no buffer.
    pub(crate) fn seal(&self, plain: &[u8]) -> io::Result<(Buffer, usize)> {
        debug_assert!(self.sending.get() != Sending::Busy, "one writer at a time");
        if !self.may_seal() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut control = self.control.borrow_mut();
        let room = |content: usize| {
            content + content.div_ceil(RECORD_CONTENT_MAX) * RECORD_OVERHEAD + CONTROL_ROOM + control.len()
        };
        // Whole records: the rest of a long message is not worth a record of its own.
        let most = (Size::Large.room() / (RECORD_CONTENT_MAX + RECORD_OVERHEAD)) * RECORD_CONTENT_MAX;
        let content = if room(plain.len()) <= Size::Large.room() { plain.len() } else { most };
        let size = if room(content) <= Size::Small.room() { Size::Small } else { Size::Large };
        let mut out = self.shard.buffers.take(size).ok_or(io::ErrorKind::OutOfMemory)?;
        out.as_vec().append(&mut control);
        let sealed = match &mut *self.engine.borrow_mut() {
            Engine::Server(conn) => engine::seal(&mut **conn, &plain[..content], out.as_vec()),
            Engine::Client(conn) => engine::seal(&mut **conn, &plain[..content], out.as_vec()),
            Engine::Kernel(_) | Engine::Gone => Err(engine::NotSealed::Over),
        };
        if sealed.is_err() {
            self.sending.set(Sending::Over);
            self.shard.stats.tls.keys_exhausted.inc();
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.unsettled.set(false);
        self.moved.set(self.moved.get() + content as u64);
        self.sending.set(Sending::Busy);
        Ok((out, content))
    }

    /// What was sealed has been sent.
    pub(crate) fn sent(&self, socket: &Socket) {
        self.sending.set(Sending::Open);
        self.flush(socket);
    }

    /// Part of what was sealed may not have been sent: nothing can follow.
    pub(crate) fn lost(&self) {
        self.sending.set(Sending::Over);
    }

    /// Sends what the library wants sent, as far as that goes without waiting.
    fn flush(&self, socket: &Socket) {
        let mut control = self.control.borrow_mut();
        if control.is_empty() || self.sending.get() != Sending::Open {
            return;
        }
        match rustix::net::send(socket, &control, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(sent) => drop(control.drain(..sent)),
            // It goes with the next data.
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Err(_) => {
                control.clear();
                self.sending.set(Sending::Over);
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shard.stats.tls.connections[self.place.get() as usize].dec();
    }
}
