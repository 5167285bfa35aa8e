//! The way of a session to the kernel, and what its socket asks there.
//!
//! ```text
//!   NotBulk, Unsettled ──much moved, or a tunnel; at a boundary, nothing in flight──> Kernel
//! ```
//!
//! Invariants:
//! - the library's connection is given up only when nothing but the kernel's refusal of keys it has taken on
//!   trial can go wrong, and then the connection is lost and counted;
//! - plaintext that came before is served first.
//!
//! Not here: records (`tls::kernel`).

use std::io;
use std::os::fd::AsFd;

use pinion_core::limits::KTLS_BULK_BYTES;
use pinion_core::telemetry::tls::TlsPlace;
use rustix::io::Errno;

use super::{End, Engine, Sending, Session, Step};
use crate::net::buffers::Size;
use crate::net::socket::Socket;
use crate::sys::buffer::Buffer;
use crate::sys::ktls;
use crate::tls::engine;
use crate::tls::kernel::probe::kernel;
use crate::tls::kernel::{Control, Kernel};

/// How an attempt to leave for the kernel went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promoted {
    /// The kernel has it.
    Yes,
    /// Not now: the rest of a record has to come first.
    Part,
    /// Not now: something is in flight, or an answer has to be sent first.
    Busy,
    /// Never.
    No,
}

impl Session {
    /// Whether the kernel handles the records.
    pub(crate) fn is_kernel(&self) -> bool {
        self.place.get() == TlsPlace::Kernel
    }

    /// Whether the bytes on the socket are plaintext for whoever moves them: the kernel handles the records, and
    /// nothing came before that nobody has taken.
    pub(crate) fn may_splice(&self) -> bool {
        self.is_kernel() && self.held.borrow().buffer.is_none() && self.end.get() == End::None
    }

    /// Notes that a receive is in flight, or not any more.
    pub(crate) fn set_reading(&self, reading: bool) {
        self.reading.set(reading);
    }

    /// Whether the kernel is worth a try: `more` bytes are about to move.
    fn is_bulk(&self, more: u64) -> bool {
        match self.place.get() {
            TlsPlace::Unsettled => true,
            TlsPlace::NotBulk => self.moved.get().saturating_add(more) >= KTLS_BULK_BYTES,
            _ => false,
        }
    }

    /// Hands the connection to the kernel, if it may be and can be now, because `more` bytes are about to move.
    pub(crate) fn prepare_for(&self, socket: &Socket, more: u64) {
        if self.is_bulk(more) {
            self.promote(socket);
        }
    }

    /// Hands the connection to the kernel, if it may be and can be now.
    pub(crate) fn promote(&self, socket: &Socket) -> Promoted {
        if !matches!(self.place.get(), TlsPlace::NotBulk | TlsPlace::Unsettled) {
            return if self.is_kernel() { Promoted::Yes } else { Promoted::No };
        }
        let quiet =
            !self.reading.get() && self.sending.get() == Sending::Open && self.control.borrow().is_empty();
        if !quiet || self.end.get() != End::None {
            return Promoted::Busy;
        }
        if !self.complete_part(socket) {
            return Promoted::Part;
        }
        if self.unsettled.get() || self.end.get() != End::None || !self.control.borrow().is_empty() {
            self.settle(TlsPlace::Unsettled);
            return Promoted::Busy;
        }
        // Refused once the peer has ended its direction, and by sockets that are not TCP's.
        if ktls::install(socket.as_fd()).is_err() {
            self.settle(TlsPlace::NoKernelTls);
            return Promoted::No;
        }
        let engine = self.engine.replace(Engine::Gone);
        match Kernel::hand_over(engine, socket.as_fd(), kernel().renews()) {
            Ok(kernel) => {
                self.engine.replace(Engine::Kernel(Box::new(kernel)));
                self.settle(TlsPlace::Kernel);
                self.shard.stats.tls.kernel_total.inc();
                Promoted::Yes
            }
            Err(error) => {
                tracing::warn!(%error, "the kernel has refused keys: a TLS connection is lost");
                self.shard.stats.tls.kernel_lost.inc();
                self.sending.set(Sending::Over);
                self.fail(io::ErrorKind::ConnectionAborted);
                Promoted::No
            }
        }
    }

    fn settle(&self, place: TlsPlace) {
        let before = self.place.replace(place);
        let connections = &self.shard.stats.tls.connections;
        connections[before as usize].dec();
        connections[place as usize].inc();
    }

    /// Receives exactly what is missing of the record that has begun, because what user space has read the
    /// kernel never sees; `false` while that is not there.
    fn complete_part(&self, socket: &Socket) -> bool {
        loop {
            let mut held = self.held.borrow_mut();
            let plain = held.plain;
            let Some(mut part) = held.buffer.take() else {
                return true;
            };
            drop(held);
            let records = &part.unread()[plain..];
            let missing = match engine::record_bytes(records) {
                _ if records.is_empty() => 0,
                None => engine::HEADER_BYTES - records.len(),
                Some(record) => record.saturating_sub(records.len()),
            };
            if missing == 0 {
                self.put(part, plain);
                return true;
            }
            part = match self.larger(part, missing) {
                Ok(part) if part.room() >= missing => part,
                Ok(part) | Err(part) => {
                    self.put(part, plain);
                    return false;
                }
            };
            let received = socket.try_recv_exactly(&mut part, missing);
            self.put(part, plain);
            match received {
                Ok(1..) => self.open_held(),
                Ok(0) => drop(self.ended(None)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return false,
                Err(error) => drop(self.ended(Some(error.into()))),
            }
            if self.end.get() != End::None {
                return true;
            }
        }
    }

    fn put(&self, buffer: Buffer, plain: usize) {
        let mut held = self.held.borrow_mut();
        held.buffer = Some(buffer);
        held.plain = plain;
    }

    /// `part` with room for `wanted` more where a buffer has that much; as it was if there is no buffer.
    pub(super) fn larger(&self, mut part: Buffer, wanted: usize) -> Result<Buffer, Buffer> {
        if part.room() < wanted {
            part.compact();
        }
        if part.room() < wanted && part.capacity() < Size::Large.bytes() {
            let Some(mut larger) = self.shard.buffers.take(Size::Large) else {
                return Err(part);
            };
            larger.as_vec().extend_from_slice(part.unread());
            return Ok(larger);
        }
        Ok(part)
    }

    /// With records in the kernel: looks at what a receive could not take, or at what is next.
    pub(crate) fn control(&self, socket: &Socket) -> Control {
        let control = match &mut *self.engine.borrow_mut() {
            Engine::Kernel(kernel) => kernel.control(socket.as_fd(), &self.shard.stats.tls),
            _ => Ok(Control::Nothing),
        };
        match control {
            Ok(Control::Closed) => {
                self.end.set(End::Closed);
                Control::Closed
            }
            Ok(Control::End) => {
                self.ended(None);
                Control::End
            }
            Ok(other) => other,
            Err(error) => {
                // The kernel's word for a record that does not decrypt.
                let bad = error.raw_os_error() == Some(libc::EBADMSG);
                self.ended(Some(if bad { io::ErrorKind::InvalidData.into() } else { error }));
                Control::End
            }
        }
    }

    /// With records in the kernel: what a receive's outcome means.
    ///
    /// # Errors
    ///
    /// When the connection has ended without a farewell, or failed.
    pub(crate) fn received_by_kernel(
        &self,
        socket: &Socket,
        result: io::Result<usize>,
        user: &mut Buffer,
    ) -> io::Result<Step> {
        match result {
            Ok(received @ 1..) => {
                self.moved.set(self.moved.get() + received as u64);
                return Ok(Step::Plain(received));
            }
            Err(error) if error.raw_os_error() == Some(libc::EIO) => {
                self.control(socket);
            }
            // The end, unless it was an empty record.
            Ok(_) => {
                self.control(socket);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(Step::More),
            Err(error) if error.raw_os_error() == Some(libc::EBADMSG) => {
                return Err(self.ended(Some(io::ErrorKind::InvalidData.into())));
            }
            Err(error) => return Err(self.ended(Some(error))),
        }
        match self.waiting(user) {
            Some(ended) => ended.map(Step::Plain),
            None => Ok(Step::More),
        }
    }

    /// With records in the kernel: whether a receive would not wait, with plaintext, the end or an error.
    pub(crate) fn kernel_is_ready(&self, socket: &Socket) -> bool {
        while !self.is_ready() {
            match self.control(socket) {
                Control::Data => return true,
                Control::Nothing => return false,
                Control::Done | Control::Closed | Control::End => {}
            }
        }
        true
    }

    /// With records in the kernel: may `bytes` of data be sent now?
    ///
    /// # Errors
    ///
    /// When nothing can be sent any more.
    pub(crate) fn account(&self, socket: &Socket, bytes: usize) -> io::Result<()> {
        if !self.may_seal() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let accounted = match &mut *self.engine.borrow_mut() {
            Engine::Kernel(kernel) => kernel.account(socket.as_fd(), bytes, &self.shard.stats.tls),
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        };
        accounted.inspect_err(|_| self.sending.set(Sending::Over))
    }
}

#[cfg(test)]
impl Session {
    /// Lets the connection leave at the next opportunity.
    pub(crate) fn allow_kernel(&self) {
        self.settle(TlsPlace::Unsettled);
    }

    /// Lets a test reach the limit of a key.
    pub(crate) fn limit_records(&self, most: u64) {
        if let Engine::Kernel(kernel) = &mut *self.engine.borrow_mut() {
            kernel.limit_records(most);
        }
    }
}
