//! A session on its way to another shard, whose connection is at rest.
//!
//! Invariants: nothing of it is in flight; whoever gives it away says no farewell.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use pinion_core::telemetry::tls::TlsPlace;

use super::{End, Engine, Held, Sending, Session};
use crate::sys::buffer::Buffer;
use crate::tls::TlsShard;
use crate::tls::facts::TlsFacts;

/// All of a session that is not its shard's.
pub(crate) struct ParkedTls {
    engine: Engine,
    /// What it holds, and how many bytes of that are plaintext.
    held: Vec<u8>,
    plain: usize,
    control: Vec<u8>,
    unsettled: bool,
    moved: u64,
    place: TlsPlace,
    facts: Arc<TlsFacts>,
}

impl fmt::Debug for ParkedTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParkedTls").field("place", &self.place).finish_non_exhaustive()
    }
}

impl ParkedTls {
    /// What the handshake came to.
    pub(crate) fn facts(&self) -> &Arc<TlsFacts> {
        &self.facts
    }

    /// A session on this shard; `None` when there is no buffer for what it holds.
    // ALLOC: once a move.
    pub(crate) fn adopt(self, shard: &Rc<TlsShard>) -> Option<Box<Session>> {
        let early = shard.buffers.copy(&self.held)?;
        Some(Session::begin(self, shard, early))
    }
}

impl Session {
    /// Gives the session away, if the connection is at rest; what is left sends and receives nothing.
    // ALLOC: once a move.
    pub(crate) fn park(&self) -> Option<Box<ParkedTls>> {
        if self.reading.get() || self.sending.get() != Sending::Open || self.end.get() != End::None {
            return None;
        }
        self.sending.set(Sending::Over);
        let held = self.held.take();
        Some(Box::new(ParkedTls {
            engine: self.engine.replace(Engine::Gone),
            held: held.buffer.map(|buffer| buffer.unread().to_vec()).unwrap_or_default(),
            plain: held.plain,
            control: self.control.take(),
            unsettled: self.unsettled.get(),
            moved: self.moved.get(),
            place: self.place.get(),
            facts: self.facts.clone(),
        }))
    }

    /// Takes back what [`Session::park`] gave, because nobody wanted it.
    pub(crate) fn unpark(&self, parked: ParkedTls) {
        self.engine.replace(parked.engine);
        self.control.replace(parked.control);
        self.sending.set(Sending::Open);
        if parked.held.is_empty() {
            return;
        }
        match self.shard.buffers.copy(&parked.held) {
            Some(buffer) => {
                self.held.replace(Held { buffer: Some(buffer), plain: parked.plain });
            }
            None => self.fail(std::io::ErrorKind::OutOfMemory),
        }
    }

    fn begin(parked: ParkedTls, shard: &Rc<TlsShard>, held: Buffer) -> Box<Self> {
        let session = Session::with(parked.engine, parked.facts, parked.place, shard, held, parked.plain);
        session.control.replace(parked.control);
        session.unsettled.set(parked.unsettled);
        session.moved.set(parked.moved);
        session
    }
}
