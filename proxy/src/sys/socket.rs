//! A connected socket (TCP or Unix) as both the driver and plain system calls see it.
//!
//! Invariants:
//! - the descriptor lives as long as any clone of the inner value or any operation in flight;
//! - with io_uring sockets are blocking (the ring waits in the kernel), with epoll non-blocking: see
//!   [`crate::net::Driver`];
//! - one reader and one writer at a time. The driver keeps one waker a direction.
//!
//! Not here: timeouts, buffers, decisions.

use std::cell::{Cell, UnsafeCell};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;

use monoio::io::{AsyncReadRent, AsyncWriteRent, CancelHandle, CancelableAsyncReadRent};
use monoio::net::TcpStream;

use super::buffer::Buffer;

/// A stream socket registered with the shard's driver. Clones share the descriptor.
#[derive(Clone)]
pub(crate) struct Socket(Rc<Inner>);

struct Inner {
    stream: UnsafeCell<TcpStream>,
    /// How many want it non-blocking although the driver does not.
    nonblocking: Cell<u32>,
}

impl Socket {
    /// Takes over `fd`, which may be any descriptor that can be polled (a Unix socket, an eventfd): the
    /// driver only uses its number.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        let stream = TcpStream::from_std(std::net::TcpStream::from(fd))?;
        Ok(Socket(Rc::new(Inner { stream: UnsafeCell::new(stream), nonblocking: Cell::new(0) })))
    }

    /// Receives into the room of `buffer`; 0 bytes is the end of the stream.
    ///
    /// Dropping the future loses bytes that arrive meanwhile: only do so when closing.
    pub(crate) async fn recv(&self, buffer: Buffer) -> (io::Result<usize>, Buffer) {
        let this = self.0.clone();
        // SAFETY: see `stream`: the exclusive borrow ends before anything else of this socket runs, because
        // `read` only clones the shared descriptor into the operation that it returns. The clone of the `Rc`
        // keeps the stream alive as long as this future.
        let operation = unsafe { &mut *this.stream.get() }.read(buffer);
        operation.await
    }

    /// Like [`Socket::recv`], and can be called off: cancelling ends it with `ECANCELED` or, when bytes came
    /// first, with those bytes. Nothing is lost either way, because the future is awaited to its end.
    pub(crate) async fn recv_until_cancelled(
        &self,
        buffer: Buffer,
        cancel: CancelHandle,
    ) -> (io::Result<usize>, Buffer) {
        let this = self.0.clone();
        // SAFETY: this borrow lasts as long as the future, and nothing else is in flight meanwhile: only a
        // connection between two requests waits here, which neither sends nor receives elsewhere.
        let operation = unsafe { &mut *this.stream.get() }.cancelable_read(buffer, cancel);
        operation.await
    }

    /// Sends from the unread part of `buffer`, once; may send less.
    pub(crate) async fn send_some(&self, buffer: Buffer) -> (io::Result<usize>, Buffer) {
        // Not through monoio's `OwnedWriteHalf`, which shuts the sending direction down when it is dropped.
        let this = self.0.clone();
        // SAFETY: as in `recv`: `write` only clones the shared descriptor.
        let operation = unsafe { &mut *this.stream.get() }.write(buffer);
        operation.await
    }

    /// Waits until a receive would not block. Dropping the future loses nothing.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.stream().readable(false).await
    }

    /// Waits until a send would not block. Dropping the future loses nothing.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        self.stream().writable(false).await
    }

    /// With a driver whose sockets block: makes this one non-blocking until [`Socket::release_nonblocking`]
    /// was called as often.
    pub(crate) fn hold_nonblocking(&self) -> io::Result<()> {
        let held = self.0.nonblocking.get();
        self.0.nonblocking.set(held + 1);
        if held > 0 { Ok(()) } else { Ok(rustix::io::ioctl_fionbio(self, true)?) }
    }

    /// Takes back one [`Socket::hold_nonblocking`].
    pub(crate) fn release_nonblocking(&self) {
        let held = self.0.nonblocking.get().saturating_sub(1);
        self.0.nonblocking.set(held);
        if held == 0 {
            // Can only fail for a descriptor that is not open, and this one is.
            let _ = rustix::io::ioctl_fionbio(self, false);
        }
    }

    fn stream(&self) -> &TcpStream {
        // SAFETY: the only `&mut TcpStream` ever made from this cell are the short ones inside monoio's
        // `read` and `write`, which clone the shared descriptor and return; none is live across this call,
        // because everything runs on one thread and neither calls back into this module.
        unsafe { &*self.0.stream.get() }
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.stream().as_raw_fd()
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the stream owns the descriptor and outlives the borrow of `self`.
        unsafe { BorrowedFd::borrow_raw(self.as_raw_fd()) }
    }
}
