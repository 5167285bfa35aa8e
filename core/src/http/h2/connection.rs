//! One HTTP/2 connection as a machine without I/O, for servers and clients (RFC 9113).
//!
//! ```text
//!   received bytes ─▶ receive ─▶ events        heads in the caller's scratch, content as slices of the input
//!                        │                     │
//!                        ▼                     ▼
//!   bytes to send ◀─── out ◀── open, send_head, send_data, send_trailers, consumed, reset, drain, ping, on_time
//! ```
//!
//! How it is driven, each turn: `receive` until it returns `None`, then `next_queued` until it returns `None` (also
//! after sending), then `out` goes to the socket. While `out` holds more than the caller wants to hold, it does not
//! call `receive`: answers of the machine (acknowledgements, resets) are at most 30 bytes for each frame received,
//! and so a peer that does not read can't make `out` grow.
//!
//! Invariants:
//! - a breach of the protocol is a stream error or a connection error exactly as RFC 9113 says, and never a panic;
//! - content is never kept here; of a frame that came in parts only heads and control frames are, up to their bounds;
//! - every byte of an [`Event::Data`] is given back once with [`Connection::consumed`], whatever became of the stream;
//!   what the machine drops itself (padding, content of streams that are gone) it gives back itself;
//! - everything a peer can have too much of has a budget (`budget`);
//! - plain data, so that a connection can move to another thread.
//!
//! Memory: [`Connection`] itself stays below 1 KiB; per stream 48 bytes and 16 to 32 of the index; a partly received header
//! block at most 2 × `header_list_bytes` + [`limits::H2_BLOCK_SLACK_BYTES`], given back after use; the HPACK tables.
//!
//! HOT: no allocation once there were as many streams before. Not here: header compression (`hpack`), what heads
//! mean (`head`), sockets, fairness between sending streams.

use std::collections::VecDeque;

use super::budget::{Budget, Meter};
use super::error::{ConnectionError, Flood};
use super::flow::{ReceiveWindow, SendWindow};
use super::frame::{
    ErrorCode, FRAME_BYTES_DEFAULT, FRAME_BYTES_MAX, HEAD_BYTES, STREAM_MAX, TABLE_BYTES_DEFAULT,
    WINDOW_DEFAULT, WINDOW_MAX,
};
use super::head::{BlockError, HeadLimits};
use super::hpack::{Decoder, Encoder};
use super::settings::PeerSettings;
use crate::http::{RequestHead, ResponseHead};
use crate::limits;
use crate::time::Instant;
use past::Past;
use receive::Reading;
pub use send::Sent;
pub use streams::Key;
use streams::Streams;

mod block;
mod control;
mod data;
mod open;
mod past;
mod receive;
mod send;
mod stream;
mod streams;
mod timed;

#[cfg(test)]
mod tests;

/// What one connection may cost, and what it offers.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Streams that the peer of a server may have open; streams that a client opens. At most
    /// [`limits::H2_STREAMS_MAX`].
    pub concurrent_streams: u32,
    /// Bytes the peer may send on a stream before they are consumed; at least 1.
    pub stream_window: u32,
    /// Bytes the peer may send on all streams before they are consumed; at least 65,535.
    pub connection_window: u32,
    /// The largest payload taken, 16,384 to 16,777,215.
    pub frame_bytes: u32,
    /// Header lists beyond are refused (their size is counted as RFC 9113 section 6.5.2 says).
    pub header_list_bytes: u32,
    /// Paths beyond are refused.
    pub uri_bytes: u32,
    /// The table kept for the peer's compression.
    pub table_bytes: u32,
    /// A server offers extended CONNECT (RFC 8441).
    pub extended_connect: bool,
    /// What is too much.
    pub budget: &'static Budget,
}

impl Limits {
    /// The defaults of a server.
    pub const fn server() -> Self {
        Limits {
            concurrent_streams: limits::H2_STREAMS_DEFAULT,
            stream_window: limits::H2_STREAM_WINDOW_DEFAULT,
            connection_window: limits::H2_SERVER_WINDOW_DEFAULT,
            frame_bytes: FRAME_BYTES_DEFAULT,
            header_list_bytes: limits::HEADER_BYTES_DEFAULT as u32,
            uri_bytes: limits::URI_BYTES_DEFAULT as u32,
            table_bytes: TABLE_BYTES_DEFAULT,
            extended_connect: false,
            budget: &Budget::DEFAULT,
        }
    }

    /// The defaults of a client.
    pub const fn client() -> Self {
        Limits { connection_window: limits::H2_CLIENT_WINDOW_DEFAULT, ..Self::server() }
    }

    /// Every value within what the protocol allows.
    fn bounded(self) -> Self {
        Limits {
            concurrent_streams: self.concurrent_streams.min(limits::H2_STREAMS_MAX),
            stream_window: self.stream_window.clamp(1, WINDOW_MAX),
            connection_window: self.connection_window.clamp(WINDOW_DEFAULT, WINDOW_MAX),
            frame_bytes: self.frame_bytes.clamp(FRAME_BYTES_DEFAULT, FRAME_BYTES_MAX),
            ..self
        }
    }

    fn head(&self) -> HeadLimits {
        HeadLimits { head_bytes: self.header_list_bytes as usize, uri_bytes: self.uri_bytes as usize }
    }
}

/// Where heads are decoded to; the caller keeps one for all its connections.
#[derive(Debug)]
pub struct Scratch<'a> {
    /// The text of a head, or the lines of trailers.
    pub text: &'a mut Vec<u8>,
    /// A server's heads, with spans into `text`.
    pub request: &'a mut RequestHead,
    /// A client's heads, with spans into `text`.
    pub response: &'a mut ResponseHead,
}

/// What happened. Keys in events are good until the stream's end was told in both directions, or its reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event<'a> {
    /// A head is in the scratch: a request, or a response (interim ones have `is_interim`, and others follow).
    Head {
        /// Its stream.
        key: Key,
        /// Nothing follows it.
        end: bool,
    },
    /// A head came that can't be taken. A request whose error [`BlockError::is_answered`] has its stream still: it is
    /// answered, and what comes on it is consumed. Otherwise the machine has reset the stream.
    HeadRefused {
        /// Its stream.
        key: Key,
        /// Why.
        error: BlockError,
        /// Nothing follows it.
        end: bool,
    },
    /// Trailers; their lines are in the scratch's text. Nothing follows them.
    Trailers {
        /// Their stream.
        key: Key,
    },
    /// Content, as it comes in: a frame may come in several pieces.
    Data {
        /// Its stream.
        key: Key,
        /// To be given back with [`Connection::consumed`]. Empty only with `end`.
        bytes: &'a [u8],
        /// Nothing follows it.
        end: bool,
    },
    /// The stream is gone before its end. A peer's NO_ERROR after the end of its response means only that it does not
    /// want the rest of the request (RFC 9113 section 8.1).
    Reset {
        /// The stream it was.
        key: Key,
        /// Why.
        code: ErrorCode,
        /// The peer ended it; else the machine did, for what the peer had done.
        by_peer: bool,
        /// The peer may have done something for it. If not, it may be asked again.
        processed: bool,
    },
    /// A stream whose send was short may go on.
    Writable {
        /// The stream.
        key: Key,
    },
    /// The peer wants no new streams here. Those it will not process are told by [`Event::Reset`].
    GoAway {
        /// Why.
        code: ErrorCode,
    },
    /// The peer's settings have changed: [`Connection::peer`].
    Settings,
    /// The answer to [`Connection::ping`].
    Pong,
}

/// Who we are on the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    Server,
    Client,
}

/// How far a drain is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Drain {
    No,
    /// GOAWAY without a limit and a ping were sent; the second GOAWAY follows at the answer, or at this time.
    Asked {
        until: Option<Instant>,
    },
    /// Streams above this one are not taken.
    Above(u32),
}

/// A stream that ended without a frame of its own: told by [`Connection::next_queued`].
#[derive(Clone, Copy, Debug)]
struct Lost {
    key: Key,
    code: ErrorCode,
    by_peer: bool,
    processed: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Connection {
    role: Role,
    limits: Limits,
    peer: PeerSettings,
    /// Our SETTINGS have been acknowledged.
    acknowledged: bool,
    /// The peer's first SETTINGS have come.
    greeted: bool,
    reading: Reading,
    head: [u8; HEAD_BYTES],
    head_len: u8,
    /// A control frame or a HEADERS frame of which a part has come.
    partial: Vec<u8>,
    /// A header block of which a part has come, and whose it is.
    block: Vec<u8>,
    block_of: Option<block::Begun>,
    decoder: Decoder,
    encoder: Encoder,
    streams: Streams,
    past: Past,
    /// The last stream opened: by the peer of a server, or by the client itself.
    newest: u32,
    send: SendWindow,
    receive: ReceiveWindow,
    /// Bytes given out with [`Event::Data`] and not yet consumed.
    held: u64,
    /// The time that was told last.
    clock: Instant,
    /// What streams that were told [`Event::Writable`] since the last send will want of the connection's window.
    promised: u32,
    meter: Meter,
    /// Found while sending; told at the next chance.
    flood: Option<Flood>,
    drain: Drain,
    /// The last stream the peer will process, once it has said GOAWAY.
    peer_last: Option<u32>,
    pings: u32,
    lost: VecDeque<Lost>,
    dead: Option<ConnectionError>,
}

impl Connection {
    /// A server's side: appends SETTINGS to `out`. The client's preface comes through `receive`.
    pub fn server(limits: Limits, out: &mut Vec<u8>) -> Self {
        open::server(limits.bounded(), out)
    }

    /// A client's side: appends the preface to `out`. Streams may be opened at once.
    pub fn client(limits: Limits, out: &mut Vec<u8>) -> Self {
        open::client(limits.bounded(), out)
    }

    /// What the peer has asked for.
    pub const fn peer(&self) -> &PeerSettings {
        &self.peer
    }

    /// Streams that are open or half-closed.
    pub const fn active(&self) -> usize {
        self.streams.open() as usize
    }

    /// No stream, no part of a frame, and nothing to be told: all there is of the connection is in this value.
    pub fn is_idle(&self) -> bool {
        self.active() == 0
            && self.head_len == 0
            && self.block_of.is_none()
            && self.lost.is_empty()
            && self.reading == Reading::Head
    }

    /// A head, the preface or another frame has begun to come, and its end has not.
    pub fn is_unfinished(&self) -> bool {
        !self.greeted
            || self.head_len > 0
            || self.block_of.is_some()
            || matches!(self.reading, Reading::Whole(_))
    }

    /// Nothing more can happen: it was given up, or it drains and has no stream left. Once `out` is sent, it is closed.
    pub fn is_over(&self) -> bool {
        let draining = matches!(self.drain, Drain::Above(_)) || self.peer_last.is_some();
        self.dead.is_some() || draining && self.active() == 0
    }

    /// Whether one side has asked for the end: no new streams belong here.
    pub const fn is_draining(&self) -> bool {
        !matches!(self.drain, Drain::No) || self.peer_last.is_some()
    }

    /// Whether a client may open a stream now.
    pub const fn may_open(&self) -> bool {
        matches!(self.role, Role::Client)
            && !self.is_draining()
            && self.dead.is_none()
            && self.newest < STREAM_MAX - 2
            && self.streams.open() < self.limits.concurrent_streams
            && self.streams.open() < self.peer.concurrent_streams
    }

    /// Gives back memory that an idle connection does not need. Its next streams allocate anew.
    pub fn shrink(&mut self) {
        self.streams.shrink();
        if self.is_idle() {
            self.partial = Vec::new();
            self.block = Vec::new();
            self.lost = VecDeque::new();
        }
    }
}
