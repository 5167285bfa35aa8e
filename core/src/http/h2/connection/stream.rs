//! One stream's state (RFC 9113 section 5.1).
//!
//! ```text
//!              HEADERS                END_STREAM sent: SENT_END      both, or RST_STREAM
//!    (idle) ──────────▶ open ───┬──▶ half-closed (local) ─────────┬──▶ gone: out of the slots,
//!                               └──▶ half-closed (remote) ────────┘     into `past`
//!                                     END_STREAM received: GOT_END
//! ```
//!
//! Invariants: a stream in a slot is open or half-closed; 48 bytes.
//!
//! Not here: idle and closed streams (`past`).

use super::super::flow::{ReceiveWindow, SendWindow};
use super::streams::NONE;
use crate::http::Method;
use crate::time::Instant;

/// Bits of [`Stream::flags`].
pub(super) mod flag {
    /// The peer is done.
    pub(in super::super) const GOT_END: u8 = 1;
    /// We are done.
    pub(in super::super) const SENT_END: u8 = 1 << 1;
    /// The request, or the final response, has come.
    pub(in super::super) const GOT_HEAD: u8 = 1 << 2;
    /// We have sent a head.
    pub(in super::super) const SENT_HEAD: u8 = 1 << 3;
    /// A send was short: [`super::super::Event::Writable`] is owed.
    pub(in super::super) const SHORT: u8 = 1 << 4;
    /// It was short, and has not sent all it had since.
    pub(in super::super) const HELD_UP: u8 = 1 << 6;
    /// In the queue for the connection's window.
    pub(in super::super) const QUEUED: u8 = 1 << 5;
}

/// Content of unknown length.
pub(super) const UNKNOWN: u64 = u64::MAX;

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stream {
    /// 0: the slot is free.
    pub(super) id: u32,
    pub(super) send: SendWindow,
    pub(super) receive: ReceiveWindow,
    /// Content that must still come, [`UNKNOWN`] if nothing was declared (section 8.1.1).
    pub(super) content: u64,
    /// When it was opened, see [`coarse`].
    pub(super) opened: u32,
    /// Since when it could not send for want of a window, with [`flag::SHORT`].
    pub(super) short_since: u32,
    /// Bytes sent since then.
    pub(super) short_sent: u32,
    /// Neighbours in the queue; `next` also in the list of free slots.
    pub(super) previous: u16,
    pub(super) next: u16,
    pub(super) flags: u8,
    /// Of the request: decides what content its response has.
    pub(super) method: Method,
    /// Interim responses so far.
    pub(super) interim: u8,
}

impl Stream {
    /// What a free slot holds.
    pub(super) const GONE: Stream = Stream {
        id: 0,
        send: SendWindow::new(0),
        receive: ReceiveWindow::new(0),
        content: UNKNOWN,
        opened: 0,
        short_since: 0,
        short_sent: 0,
        previous: NONE,
        next: NONE,
        flags: 0,
        method: Method::Get,
        interim: 0,
    };

    #[inline]
    pub(super) const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Both sides are done.
    #[inline]
    pub(super) const fn is_over(&self) -> bool {
        self.flags & (flag::GOT_END | flag::SENT_END) == flag::GOT_END | flag::SENT_END
    }
}

/// Time in 32 bits: units of 2^20 ns, about a millisecond; differences up to 52 days come out right.
#[inline]
pub(super) const fn coarse(now: Instant) -> u32 {
    (now.nanos() >> 20) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_small() {
        assert!(size_of::<Stream>() <= 48, "{} bytes", size_of::<Stream>());
    }
}
