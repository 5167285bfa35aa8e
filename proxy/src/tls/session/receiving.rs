//! The receiving half of a session: where records are received, and what becomes of them.
//!
//! ```text
//!   target ──> the receiver's buffer, or the session's when a record is too large for it
//!   received, received_held ──> opened where they lie; part of a record is held for the next receive
//! ```

use std::io;

use super::{End, Held, Session, Step, Target, engine};
use crate::net::buffers::Size;
use crate::net::socket::Socket;
use crate::sys::buffer::Buffer;

impl Session {
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
    fn with_room(&self, part: Buffer, record: usize) -> io::Result<Buffer> {
        let wanted = record.saturating_sub(part.unread().len()).max(1);
        let part = self.larger(part, wanted).map_err(|_| io::ErrorKind::OutOfMemory)?;
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
        let size = Size::of(record);
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
}
