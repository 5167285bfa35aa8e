//! What a connection sends: frames gather in one buffer while another is on its way.
//!
//! ```text
//!   frames ──> gather ──(nothing in flight)──> flight ──> socket
//! ```
//!
//! Invariants: at most two buffers are held, and none while there is nothing to send.
//!
//! HOT: 0 allocations in steady state.

use std::io;
use std::task::{Context, Poll};

use crate::net::buffers::{BufferPool, Size};
use crate::net::socket::{Send, Socket};
use crate::sys::buffer::Buffer;

/// Left free behind data for the frames that nobody waits to write: window updates, resets, answers to pings.
const CONTROL_BYTES: usize = 2 * 1024;
/// Frame headers of one piece of data.
const FRAMING_BYTES: usize = 2 * 9;
/// Less room than this is not worth a frame.
const WORTHWHILE_BYTES: usize = 1024;

/// The sending side of a connection.
#[derive(Default)]
pub(super) struct Out {
    gather: Option<Buffer>,
    flight: Option<Send>,
    /// The send in flight waits until the socket takes some.
    waits: bool,
}

/// What driving came to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Driven {
    /// The buffer that gathered is on its way, so that there is room again.
    pub(super) started: bool,
    /// Bytes that the socket took.
    pub(super) sent: usize,
}

impl Out {
    /// Where frames are appended. Beyond the shard's memory limit it is a buffer outside the pool: what the
    /// protocol has to say is little.
    pub(super) fn frames(&mut self, buffers: &BufferPool) -> &mut Vec<u8> {
        let gather = &mut self.gather;
        let buffer = gather.get_or_insert_with(|| match buffers.take(Size::Small) {
            Some(buffer) => buffer,
            None => Buffer::apart(&[]),
        });
        buffer.as_vec()
    }

    /// Gives the gathering buffer back if nothing was written to it; says whether something was.
    pub(super) fn settle(&mut self) -> bool {
        if self.gathered() == 0 {
            self.gather = None;
        }
        self.gather.is_some()
    }

    /// Bytes that have gathered.
    pub(super) fn gathered(&self) -> usize {
        self.gather.as_ref().map_or(0, |buffer| buffer.unread().len())
    }

    /// Whether nothing is left to send.
    pub(super) fn is_done(&self) -> bool {
        self.flight.is_none() && self.gather.is_none()
    }

    /// Whether a send is in flight.
    pub(super) fn is_sending(&self) -> bool {
        self.flight.is_some()
    }

    /// How much of `bytes` of data may be written now; 0: wait until the buffer is on its way.
    pub(super) fn room(&mut self, buffers: &BufferPool, bytes: usize) -> usize {
        let wanted = bytes + FRAMING_BYTES + CONTROL_BYTES;
        let room = |buffer: &Option<Buffer>| buffer.as_ref().map_or(Size::Small.room(), Buffer::room);
        if room(&self.gather) < wanted
            && self.gather.as_ref().is_none_or(|buffer| buffer.capacity() < Size::Large.bytes())
            && let Some(mut large) = buffers.take(Size::Large)
        {
            if let Some(small) = &self.gather {
                large.as_vec().extend_from_slice(small.unread());
            }
            self.gather = Some(large);
        }
        let room = room(&self.gather).saturating_sub(FRAMING_BYTES + CONTROL_BYTES);
        if room < bytes && room < WORTHWHILE_BYTES { 0 } else { room.min(bytes) }
    }

    /// Sends what has gathered and goes on with what is in flight. `lazily`: nobody need be told when all of it
    /// was sent.
    ///
    /// # Errors
    ///
    /// When the peer takes no more.
    pub(super) fn drive(
        &mut self,
        socket: &Socket,
        cx: &mut Context<'_>,
        lazily: bool,
    ) -> io::Result<Driven> {
        let mut driven = Driven::default();
        loop {
            if self.flight.is_none() {
                let Some(buffer) = self.gather.take() else {
                    return Ok(driven);
                };
                driven.started = true;
                self.waits = false;
                self.flight = Some(socket.send(buffer, false));
            }
            let lazily = lazily && self.gather.is_none();
            let Some(flight) = &mut self.flight else {
                return Ok(driven);
            };
            let Poll::Ready((result, mut buffer)) = flight.poll_once(cx, lazily) else {
                return Ok(driven);
            };
            self.flight = None;
            match result {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => {
                    driven.sent += sent;
                    buffer.take(sent);
                    self.waits = true;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !self.waits => self.waits = true,
                Err(error) => return Err(error),
            }
            if !buffer.unread().is_empty() {
                self.flight = Some(socket.send(buffer, self.waits));
            }
        }
    }
}
