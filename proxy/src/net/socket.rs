//! A socket as the shard's driver and plain system calls see it: receiving, sending, waiting.
//!
//! ```text
//!              io_uring                                  epoll
//!   receive    an operation in flight                    the call, when the socket may be read
//!   send       small: quiet, or (alone) the call         the call, when the socket may be written
//!   ready      a poll operation                          the bit, and a look at the socket
//! ```
//!
//! Invariants:
//! - the descriptor lives as long as any clone or any operation in flight;
//! - with io_uring sockets are blocking (the ring waits in the kernel), with epoll non-blocking;
//! - one reader and one writer at a time.
//!
//! Not here: timeouts, buffers, decisions.
//!
//! HOT: 0 allocations.

use std::cell::{Cell, OnceCell};
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use rustix::io::Errno;
use rustix::net::Shutdown;

use super::epoll::{Epoll, Watched};
use super::raw::{RawReceive, RawSend};
use super::reactor::{self, Reactor};
use super::secure::{self, SecureReceive, SecureSend};
use crate::sys::buffer::Buffer;
use crate::sys::ring::Ring;
use crate::tls::session::Session;

/// A stream socket of the shard, or another descriptor that can be polled. Clones share it.
#[derive(Clone)]
pub(crate) struct Socket(Rc<Inner>);

struct Inner {
    fd: OwnedFd,
    driven: Driven,
    /// How many want it non-blocking although the driver does not.
    nonblocking: Cell<u32>,
    /// From its handshake on.
    session: OnceCell<Box<Session>>,
}

pub(super) enum Driven {
    Ring(Rc<Ring>),
    Epoll(Rc<Epoll>, Rc<Watched>),
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(session) = self.session.get() {
            session.farewell(self.fd.as_fd());
        }
        if let Driven::Epoll(epoll, watched) = &self.driven {
            epoll.forget(self.fd.as_fd(), watched);
        }
    }
}

/// What receiving gave: how many bytes (0 at the end of the stream), and the buffer.
pub(crate) type Received = (io::Result<usize>, Buffer);

/// A receive. Dropping it loses bytes that arrive meanwhile (not with epoll): only do so when closing.
pub(crate) struct Receive(Receiving);

enum Receiving {
    Plain(RawReceive),
    Secure(SecureReceive),
}

/// One try to send what a buffer holds: how many bytes were sent, and the buffer as it was.
pub(crate) struct Send(Sending);

enum Sending {
    Plain(RawSend),
    Secure(SecureSend),
}

impl Socket {
    /// Takes over `fd`, which may be anything that can be polled.
    ///
    /// # Errors
    ///
    /// When the driver can't watch it.
    // ALLOC: once a connection.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        let driven = match reactor::current()? {
            Reactor::Ring(ring) => Driven::Ring(ring),
            Reactor::Epoll(epoll) => {
                let watched = epoll.watch(fd.as_fd())?;
                Driven::Epoll(epoll, watched)
            }
        };
        Ok(Socket(Rc::new(Inner { fd, driven, nonblocking: Cell::new(0), session: OnceCell::new() })))
    }

    /// Receives into the room of `buffer` what is there, or comes.
    pub(crate) fn recv(&self, buffer: Buffer) -> Receive {
        self.receive(buffer, false)
    }

    /// Like [`Socket::recv`], when most probably nothing is there yet.
    pub(crate) fn recv_later(&self, buffer: Buffer) -> Receive {
        self.receive(buffer, true)
    }

    /// Like [`Socket::recv`] for bytes that are only thrown away: of a connection in TLS its records, unopened.
    pub(crate) fn recv_refuse(&self, buffer: Buffer) -> Receive {
        Receive(Receiving::Plain(self.raw_receive(buffer, false)))
    }

    fn receive(&self, buffer: Buffer, later: bool) -> Receive {
        Receive(match self.session() {
            None => Receiving::Plain(self.raw_receive(buffer, later)),
            Some(session) => Receiving::Secure(SecureReceive::start(self, session, buffer, later)),
        })
    }

    /// Like [`Socket::recv`] for bytes that come later, until `stop` says so. Nothing is lost: what came
    /// first is the outcome, else `ECANCELED`.
    pub(crate) async fn recv_unless(&self, buffer: Buffer, stop: impl Fn(&Context<'_>) -> bool) -> Received {
        let mut receive = self.recv_later(buffer);
        let mut stopped = false;
        poll_fn(|cx| {
            if let Poll::Ready(received) = receive.poll_once(cx) {
                return Poll::Ready(received);
            }
            if !stopped && stop(cx) {
                stopped = true;
                if let Some(buffer) = receive.cancel() {
                    return Poll::Ready((Err(Errno::CANCELED.into()), buffer));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Receives into the room of `buffer` what is there, without waiting; 0 is the end of the stream.
    ///
    /// # Errors
    ///
    /// `EAGAIN` when nothing is there.
    pub(crate) fn try_recv(&self, buffer: &mut Buffer) -> Result<usize, Errno> {
        match self.session() {
            None => self.raw_try_recv(buffer),
            Some(session) => secure::try_recv(self, session, buffer),
        }
    }

    /// Sends unread bytes of `buffer`: as many as go at once, or with `wait` at least one. With TLS all that one
    /// buffer of records takes.
    pub(crate) fn send(&self, buffer: Buffer, wait: bool) -> Send {
        self.sending(buffer, wait, false)
    }

    /// Like [`Socket::send`], for what nobody will wait for.
    pub(crate) fn send_lazily(&self, buffer: Buffer, wait: bool) -> Send {
        self.sending(buffer, wait, true)
    }

    fn sending(&self, buffer: Buffer, wait: bool, lazily: bool) -> Send {
        let Some(session) = self.session() else {
            return Send(Sending::Plain(self.raw_send(buffer, wait, lazily)));
        };
        session.prepare_for(self, buffer.unread().len() as u64);
        if !session.is_kernel() {
            return Send(Sending::Secure(SecureSend::start(self, session, buffer, lazily)));
        }
        Send(Sending::Plain(match session.account(self, buffer.unread().len()) {
            Ok(()) => self.kernel_send(buffer, wait),
            Err(error) => RawSend::Over(Some((Err(error), buffer))),
        }))
    }

    /// Ends one direction or both, by the will of this side: what is in flight ends by itself. With TLS nothing is
    /// said of it.
    pub(crate) fn shut(&self, how: Shutdown) {
        if let Some(session) = self.session() {
            session.cut();
        }
        // Fails only when the peer is gone already.
        let _ = rustix::net::shutdown(self, how);
    }

    pub(super) fn driven(&self) -> &Driven {
        &self.0.driven
    }

    /// From now on every operation carries the plaintext of `session`. Nothing may be in flight.
    pub(crate) fn secure(&self, session: Box<Session>) {
        let set = self.0.session.set(session);
        debug_assert!(set.is_ok(), "one handshake a connection");
    }

    /// The connection's TLS, if it has any.
    pub(crate) fn session(&self) -> Option<&Session> {
        self.0.session.get().map(|session| &**session)
    }

    /// Whether the kernel may move its bytes to or from a pipe: they are plaintext for it.
    pub(crate) fn may_splice(&self) -> bool {
        self.session().is_none_or(Session::may_splice)
    }

    /// Waits until a receive would not block: with TLS until there is plaintext, the end or an error. Dropping the
    /// future loses nothing.
    ///
    /// # Errors
    ///
    /// When the driver can't wait for it.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        let Some(session) = self.session() else {
            return self.ready(false).await;
        };
        // What came before the kernel's key was renewed makes no event any more: it is looked for before each wait.
        while !(session.is_ready() || session.is_kernel() && session.fill(self)) {
            self.ready(false).await?;
            if session.fill(self) {
                break;
            }
        }
        Ok(())
    }

    /// Waits until a send would not block. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// When the driver can't wait for it.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        self.ready(true).await
    }

    pub(super) async fn ready(&self, write: bool) -> io::Result<()> {
        match &self.0.driven {
            Driven::Ring(ring) => {
                let mut flying = ring.poll_ready(self, write);
                poll_fn(|cx| flying.poll(cx)).await.0.map(drop)
            }
            Driven::Epoll(_, watched) => poll_fn(|cx| watched.poll_ready(cx, write, self.as_fd())).await,
        }
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
}

impl Receive {
    /// Calls it off: gives the buffer back where nothing is in flight. Else it must be awaited nevertheless; it
    /// ends with `ECANCELED` or, when bytes came first, with those bytes.
    fn cancel(&mut self) -> Option<Buffer> {
        match &mut self.0 {
            Receiving::Plain(raw) => raw.cancel(),
            Receiving::Secure(secure) => secure.cancel(),
        }
    }

    /// The outcome, when there is one; once.
    pub(crate) fn poll_once(&mut self, cx: &mut Context<'_>) -> Poll<Received> {
        match &mut self.0 {
            Receiving::Plain(raw) => raw.poll_once(cx),
            Receiving::Secure(secure) => secure.poll_once(cx),
        }
    }
}

impl Future for Receive {
    type Output = Received;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Received> {
        self.poll_once(cx)
    }
}

impl Send {
    /// The outcome, when there is one; once. `lazily`: the task need not be woken when everything was sent.
    pub(crate) fn poll_once(&mut self, cx: &mut Context<'_>, lazily: bool) -> Poll<Received> {
        match &mut self.0 {
            Sending::Plain(raw) => raw.poll_once(cx, lazily),
            Sending::Secure(secure) => secure.poll_once(cx, lazily),
        }
    }
}

impl Future for Send {
    type Output = Received;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Received> {
        self.poll_once(cx, false)
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.fd.as_raw_fd()
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.fd.as_fd()
    }
}

#[cfg(test)]
#[path = "socket_tests.rs"]
mod tests;
