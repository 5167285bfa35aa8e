//! A place for a connection, and what is known of the one that has it.
//!
//! ```text
//! Vacant ─open─▶ Connecting ─socket writable─▶ Securing (TLS only) ─▶ Ready ─end─▶ Vacant
//! ```

use crate::client::tls::Session;
use crate::client::wire::{Ticket, Wire};
use crate::sys::SocketNumber;

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Vacant,
    Connecting,
    Securing,
    Ready,
}

/// One place.
pub(super) struct Slot {
    pub(super) group: usize,
    /// Whether its connections send nothing.
    pub(super) is_idle: bool,
    pub(super) phase: Phase,
    /// Counts the connections that had this place.
    pub(super) generation: u32,
    pub(super) socket: Option<SocketNumber>,
    pub(super) tls: Option<Session>,
    pub(super) wire: Option<Wire>,
    /// What has to be written, and how much of it is.
    pub(super) out: Vec<u8>,
    pub(super) written: usize,
    /// Whether a task waits until the socket takes more.
    pub(super) is_blocked: bool,
    /// Whether it stands in the queue of those that have room.
    pub(super) is_listed: bool,
    /// Whether it has something to write that was not tried yet.
    pub(super) is_dirty: bool,
    /// Whether it ends with its last answer.
    pub(super) is_retiring: bool,
    /// The requests on it.
    pub(super) tickets: Vec<Ticket>,
    /// The requests that it carried.
    pub(super) requests: u64,
    /// When it was opened.
    pub(super) opened: u64,
    /// Its connections that ended before they carried a request.
    pub(super) failures: u32,
}

impl Slot {
    /// A place without a connection.
    pub(super) fn vacant(group: usize, is_idle: bool) -> Self {
        Slot {
            group,
            is_idle,
            phase: Phase::Vacant,
            generation: 0,
            socket: None,
            tls: None,
            wire: None,
            out: Vec::new(),
            written: 0,
            is_blocked: false,
            is_listed: false,
            is_dirty: false,
            is_retiring: false,
            tickets: Vec::new(),
            requests: 0,
            opened: 0,
            failures: 0,
        }
    }

    /// Gives the place to a new connection.
    pub(super) fn open(&mut self, now: u64) {
        self.vacate();
        self.phase = Phase::Connecting;
        self.opened = now;
    }

    /// Forgets the connection. Its task finds out by the generation.
    pub(super) fn vacate(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        self.phase = Phase::Vacant;
        self.socket = None;
        self.tls = None;
        self.wire = None;
        self.out.clear();
        self.written = 0;
        self.is_blocked = false;
        self.is_retiring = false;
        self.requests = 0;
        debug_assert!(self.tickets.is_empty());
    }

    /// Whether it can take a request now.
    pub(super) fn has_room(&self) -> bool {
        self.phase == Phase::Ready
            && !self.is_idle
            && !self.is_retiring
            && self.wire.as_ref().is_some_and(|wire| wire.room() > 0)
    }

    /// Whether its connection is as it should be at the start of a run.
    pub(super) fn is_usable(&self) -> bool {
        self.phase == Phase::Ready && (self.is_idle || self.has_room())
    }

    /// Whether nothing is to come of it any more.
    pub(super) fn is_spent(&self) -> bool {
        let closing = self.is_retiring || self.wire.as_ref().is_some_and(Wire::is_closing);
        self.phase == Phase::Ready && closing && self.tickets.is_empty()
    }
}
