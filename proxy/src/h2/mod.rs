//! HTTP/2 connections of either role: one task a connection moves the bytes, one handle a stream.
//!
//! ```text
//!              ┌────────────────── Session (Rc, one shard) ─────────────────┐
//!   socket ──> pump: one receive ──> machine ──> queues of the streams ──> Stream: head, piece
//!   socket <── pump: one send a turn <── frames gather <── machine <────── Stream: send_head, send
//! ```
//!
//! The protocol is `pinion_core::http::h2`, which does no I/O; here are its socket, its clock and its memory.
//!
//! Invariants:
//! - one receive and one send are in flight at most; all frames written in a turn leave together;
//! - what a stream has received and not taken is bounded by its window, which opens again only as pieces are
//!   taken;
//! - streams write in turn, at most [`PIECE_BYTES`] each, into at most [`OUT_BYTES_MAX`]: a bulk transfer delays
//!   a small neighbour by one such buffer at most;
//! - no borrow of the machine lasts over a wait or while anybody else's code runs.
//!
//! Not here: what a request means (`serve`), which connection a request takes (`upstream`).

pub(crate) mod client;
mod events;
pub(crate) mod moving;
mod out;
pub(crate) mod placement;
mod pump;
mod sending;
pub(crate) mod server;
pub(crate) mod session;
mod state;
pub(crate) mod stream;
mod timers;
mod turns;
pub(crate) mod workers;

use pinion_core::fault::Fault;
use pinion_core::http::h2::frame::ErrorCode;
use pinion_core::http::h2::head::BlockError;
use pinion_core::limits::{BUFFER_BYTES, BUFFER_LARGE_BYTES};

use crate::sys::buffer::Buffer;

/// Frames that gather while others are sent, beyond which streams wait: one large buffer.
pub(crate) const OUT_BYTES_MAX: usize = BUFFER_LARGE_BYTES;
/// Data that one stream writes when its turn comes: the largest frame that every peer takes.
pub(crate) const PIECE_BYTES: usize = BUFFER_BYTES;

/// A piece of what a stream received.
pub(crate) enum Piece {
    /// Bytes of the body, and whether nothing follows them.
    Data(Buffer, bool),
    /// The trailers as lines `name: value\r\n`; the last piece.
    Trailers(Buffer),
    /// The end without trailers; the last piece.
    End,
}

/// Why a stream can't go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamFault {
    /// It was reset, by the peer or because the peer broke the protocol on it.
    Reset {
        /// The peer's reason, or ours.
        code: ErrorCode,
        /// `false`: the peer did nothing with it, so that it may be sent again whatever it is.
        processed: bool,
    },
    /// The head that came can't be taken.
    Head(BlockError),
    /// The connection ended.
    Closed,
    /// The shard is out of buffers.
    Memory,
}

impl StreamFault {
    /// What it is to the exchange whose upstream this stream is; `answered`: its response has begun.
    pub(crate) const fn upstream(self, answered: bool) -> Fault {
        match (self, answered) {
            (StreamFault::Memory, _) => Fault::MemoryLimit,
            (StreamFault::Reset { processed: false, .. }, _) => Fault::StreamRefused,
            (StreamFault::Head(error), false) => error.upstream_fault(),
            (StreamFault::Head(_), true) => Fault::UpstreamBadBody,
            (StreamFault::Reset { .. }, false) => Fault::UpstreamReset,
            (StreamFault::Closed, false) => Fault::UpstreamClosed,
            (_, true) => Fault::UpstreamTruncated,
        }
    }

    /// What it is to the request that came on this stream.
    pub(crate) const fn downstream(self) -> Fault {
        match self {
            StreamFault::Memory => Fault::MemoryLimit,
            StreamFault::Head(_) | StreamFault::Reset { .. } | StreamFault::Closed => Fault::ClientGone,
        }
    }
}

#[cfg(test)]
mod tests;
