//! One HTTP/2 connection on its shard: the machine, what it wants to send, its streams.
//!
//! Shared by the connection's task (`pump`) and the handles of its streams (`stream`), all on one thread.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use pinion_core::http::h2::frame::ErrorCode;
use pinion_core::http::h2::{Connection, Key};
use pinion_core::id::ListenerId;
use pinion_core::telemetry::{Http2Stats, ShardStats, Side};
use pinion_core::time::Instant;

use super::moving::Moving;
use super::out::Out;
use super::state::Streams;
use super::stream::Stream;
use super::{OUT_BYTES_MAX, PIECE_BYTES, StreamFault};
use crate::net::clock;
use crate::net::socket::Socket;
use crate::shard::Shard;
use crate::shard::lease::Lease;
use crate::shard::timer::Lane;

/// What a connection is and how long it may take.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Who is at the other end.
    pub(crate) side: Side,
    /// The host that the peer has proved to be, where requests say which it must (upstream side).
    pub(crate) host: Box<str>,
    /// The listener it came by; it drains when that leaves the configuration.
    pub(crate) listener: Option<ListenerId>,
    /// Without streams it is closed after this time.
    pub(crate) idle: Duration,
    /// A client's head must be complete within this time.
    pub(crate) header: Duration,
    /// The peer must take some of what is sent within this time.
    pub(crate) write: Duration,
    /// After this time without a byte from the peer it is asked for a sign of life.
    pub(crate) keepalive: Option<Duration>,
    /// The sign of life must come within this time.
    pub(crate) keepalive_timeout: Duration,
    /// Takes no new streams after so many.
    pub(crate) requests: u64,
    /// Takes no new streams after this time.
    pub(crate) max_age: Option<Duration>,
    /// It can go on on another shard: a client's connection can.
    pub(crate) movable: bool,
    /// Streams of ours at most (upstream side); the peer's own limit holds besides.
    pub(crate) streams: usize,
}

/// One connection.
pub(crate) struct Session {
    pub(super) shard: Rc<Shard>,
    pub(super) socket: Socket,
    pub(super) lease: Lease,
    pub(super) settings: Settings,
    pub(super) machine: RefCell<Connection>,
    pub(super) out: RefCell<Out>,
    pub(super) streams: RefCell<Streams>,
    /// The connection's task, while it waits.
    pub(super) pump: Cell<Option<Waker>>,
    /// Places kept for requests that are not sent yet.
    pub(super) reserved: Cell<u32>,
    /// Streams begun.
    pub(super) begun: Cell<u64>,
    /// No new streams: the peer or we said GOAWAY.
    pub(super) leaving: Cell<bool>,
    /// What the peer's limit of streams is taken for until its settings come.
    pub(super) streams_assumed: Cell<usize>,
    /// The peer's settings have come.
    pub(super) greeted: Cell<bool>,
    /// Nothing is received or sent any more.
    pub(super) closed: Cell<bool>,
    /// When bytes last came.
    pub(super) heard: Cell<Instant>,
    /// A sign of life was asked for.
    pub(super) asked: Cell<bool>,
    pub(super) rest: Cell<Rest>,
    /// Since when a head, or the preface, has been on its way.
    pub(super) unfinished: Cell<Option<Instant>>,
    pub(super) moving: Moving,
    /// Bytes received and sent.
    pub(super) bytes: Cell<u64>,
    /// What it had done when shards were compared last.
    pub(super) work_seen: Cell<u64>,
    /// And what it did in the period before.
    pub(super) work_done: Cell<u64>,
    _counted: Open,
}

/// A connection in the counts.
struct Open(Arc<ShardStats>, Side);

impl Open {
    fn new(shard: &Shard, side: Side) -> Self {
        let stats = &shard.stats.http2[side as usize];
        stats.connections_total.inc();
        stats.connections_active.inc();
        Open(shard.stats.clone(), side)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.http2[self.1 as usize].connections_active.dec();
    }
}

/// How far a connection without streams has come to rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// It has streams.
    Busy,
    /// It has none since this time; a receive is in flight.
    Warm(Instant),
    /// It has none since this time, and holds no buffer.
    Cold(Instant),
}

impl Session {
    /// A connection on `socket` whose first frames (settings, and what goes before) are in `out`. `came`: it has
    /// just come from another shard.
    // ALLOC: once a connection.
    pub(super) fn new(
        shard: &Rc<Shard>,
        socket: Socket,
        settings: Settings,
        came: bool,
        make: impl FnOnce(&mut Vec<u8>) -> Connection,
    ) -> Rc<Self> {
        let mut out = Out::default();
        let machine = make(out.frames(&shard.buffers));
        out.settle();
        let counted = Open::new(shard, settings.side);
        Rc::new(Session {
            lease: shard.slots.lease(),
            shard: shard.clone(),
            socket,
            settings,
            machine: RefCell::new(machine),
            out: RefCell::new(out),
            streams: RefCell::default(),
            pump: Cell::default(),
            reserved: Cell::new(0),
            begun: Cell::new(0),
            leaving: Cell::new(false),
            streams_assumed: Cell::new(0),
            greeted: Cell::new(false),
            closed: Cell::new(false),
            heard: Cell::new(clock::now()),
            asked: Cell::new(false),
            rest: Cell::new(Rest::Busy),
            unfinished: Cell::new(Some(clock::now())),
            moving: Moving::new(came),
            bytes: Cell::new(0),
            work_seen: Cell::new(0),
            work_done: Cell::new(0),
            _counted: counted,
        })
    }

    pub(super) fn stats(&self) -> &Http2Stats {
        &self.shard.stats.http2[self.settings.side as usize]
    }

    /// What it is.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Has the machine write frames; the connection's task sends them with its next turn.
    pub(super) fn write<T>(&self, act: impl FnOnce(&mut Connection, &mut Vec<u8>) -> T) -> T {
        let mut out = self.out.borrow_mut();
        let result = act(&mut self.machine.borrow_mut(), out.frames(&self.shard.buffers));
        if out.settle() {
            self.touch();
        }
        result
    }

    /// Wakes the connection's task.
    pub(super) fn touch(&self) {
        if let Some(waker) = self.pump.take() {
            waker.wake();
        }
    }

    /// Remembers the connection's task.
    pub(super) fn pump_here(&self, cx: &Context<'_>) {
        self.pump.set(Some(cx.waker().clone()));
    }

    /// Whether so much has gathered that streams wait.
    pub(super) fn is_full(&self) -> bool {
        self.out.borrow().gathered() > OUT_BYTES_MAX - PIECE_BYTES
    }

    /// There is room again: as many of those that wait to write are woken as find some.
    pub(super) fn wake_writers(&self) {
        let room = OUT_BYTES_MAX.saturating_sub(self.out.borrow().gathered());
        if room >= PIECE_BYTES {
            self.streams.borrow_mut().wake_writers(room / PIECE_BYTES);
        }
    }

    /// Takes no new streams from now on and tells the peer; those in progress finish.
    pub(crate) fn drain(&self) {
        if self.leaving.replace(true) {
            return;
        }
        self.stats().goaways_sent.inc();
        self.write(|machine, out| machine.drain(out));
        // The machine has its own clock for the second step.
        self.lease.wake_at(Lane::Up, clock::now());
        self.touch();
    }

    /// Whether it takes no new streams.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.get() || self.closed.get()
    }

    /// Whether no stream is in progress and nobody keeps a place for one.
    pub(crate) fn is_quiet(&self) -> bool {
        self.reserved.get() == 0 && self.streams.borrow().held() == 0 && self.machine.borrow().active() == 0
    }

    /// Since when it has been without streams.
    pub(crate) fn quiet_since(&self) -> Option<Instant> {
        match self.rest.get() {
            Rest::Busy => None,
            Rest::Warm(since) | Rest::Cold(since) => self.is_quiet().then_some(since),
        }
    }

    /// Streams begun before.
    pub(crate) fn begun(&self) -> u64 {
        self.begun.get()
    }

    /// How many more streams may be opened (upstream side).
    pub(crate) fn vacancies(&self) -> usize {
        if self.is_leaving() {
            return 0;
        }
        let machine = self.machine.borrow();
        let taken = machine.active() + self.reserved.get() as usize;
        let most = self.settings.streams.min(self.peer_streams().unwrap_or(self.streams_assumed.get()));
        if machine.may_open() { most.saturating_sub(taken) } else { 0 }
    }

    /// How many streams the peer allows, once it has said something.
    pub(crate) fn peer_streams(&self) -> Option<usize> {
        self.greeted.get().then(|| self.machine.borrow().peer().concurrent_streams as usize)
    }

    /// Keeps a place for one request (upstream side); it is opened with [`Stream::open`].
    pub(crate) fn reserve(self: &Rc<Self>) -> Option<Stream> {
        if self.vacancies() == 0 {
            return None;
        }
        self.reserved.set(self.reserved.get() + 1);
        let place = self.streams.borrow_mut().add(None);
        Some(Stream::new(self.clone(), place))
    }

    /// Ends every stream, because the connection does.
    pub(super) fn fail_all(&self) {
        self.closed.set(true);
        self.streams.borrow_mut().fail_all(StreamFault::Closed);
    }

    /// Ends the connection at once: what is in flight on the socket ends by itself.
    pub(crate) fn abort(&self) {
        self.fail_all();
        crate::net::send::cut(&self.socket);
        self.touch();
    }

    /// Resets a stream.
    pub(super) fn reset(&self, key: Key, code: ErrorCode) {
        self.stats().resets_sent.inc();
        self.write(|machine, out| machine.reset(key, code, out));
    }
}
