//! The sending half of a session: plaintext to records, in the order in which they are sent.

use std::io;

use rustix::net::SendFlags;

use super::{End, Engine, Sending, Session, engine};
use crate::net::buffers::Size;
use crate::net::socket::Socket;
use crate::sys::buffer::Buffer;
use crate::tls::engine::{CONTROL_ROOM, RECORD_CONTENT_MAX, RECORD_OVERHEAD};

impl Session {
    pub(super) fn may_seal(&self) -> bool {
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
        let size = Size::of(room(content));
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
    pub(super) fn flush(&self, socket: &Socket) {
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
