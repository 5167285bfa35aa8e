//! Moving a socket's bytes as they are: plaintext, or TLS records on their way from and to their session.
//!
//! Not here: what the bytes are (`socket`, `secure`).
//!
//! HOT: 0 allocations.

use std::io;
use std::task::{Context, Poll};

use pinion_core::limits::BUFFER_BYTES;
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use super::socket::{Driven, Received, Socket};
use crate::sys::buffer::Buffer;
use crate::sys::ring::Flying;
use crate::sys::task;
use crate::tls::session::Session;

/// A receive of what the peer's bytes are, records or not.
pub(super) enum RawReceive {
    Ring(Flying),
    /// `None` once it is over.
    Epoll(Socket, Option<Buffer>),
}

/// A send of bytes as they are.
pub(super) enum RawSend {
    Ring(Flying),
    /// The buffer until it is over.
    Epoll(Socket, Option<Buffer>),
    Over(Option<Received>),
}

impl Socket {
    pub(super) fn raw_receive(&self, buffer: Buffer, later: bool) -> RawReceive {
        match self.driven() {
            Driven::Ring(ring) => RawReceive::Ring(ring.receive(self, buffer, later)),
            Driven::Epoll(..) => RawReceive::Epoll(self.clone(), Some(buffer)),
        }
    }

    /// Receives what the peer's bytes are, without waiting.
    pub(crate) fn raw_try_recv(&self, buffer: &mut Buffer) -> Result<usize, Errno> {
        let spare = spare_capacity(buffer.as_vec());
        rustix::net::recv(self, spare, RecvFlags::DONTWAIT).map(|(_, received)| received)
    }

    /// Receives at most `most` bytes of what the peer's bytes are, without waiting.
    pub(crate) fn try_recv_exactly(&self, buffer: &mut Buffer, most: usize) -> Result<usize, Errno> {
        let bytes = buffer.as_vec();
        let begin = bytes.len();
        bytes.resize(begin + most, 0);
        let received = rustix::net::recv(self, &mut bytes[begin..], RecvFlags::DONTWAIT);
        let received = received.map(|(received, _)| received);
        bytes.truncate(begin + received.unwrap_or(0));
        received
    }

    pub(super) fn raw_send(&self, buffer: Buffer, wait: bool, lazily: bool) -> RawSend {
        let Driven::Ring(ring) = self.driven() else {
            return RawSend::Epoll(self.clone(), Some(buffer));
        };
        if wait || buffer.unread().len() > BUFFER_BYTES {
            return RawSend::Ring(ring.send(self, buffer));
        }
        // While nobody else waits for the turn's end, a call of one's own is cheaper than ending it.
        if !lazily && task::alone() {
            return RawSend::Over(Some((self.send_now(&buffer), buffer)));
        }
        RawSend::Ring(ring.send_quietly(self, buffer))
    }

    /// A send whose records the kernel makes: it refuses `MSG_WAITALL`, so that none is quiet.
    pub(super) fn kernel_send(&self, buffer: Buffer, wait: bool) -> RawSend {
        match self.driven() {
            Driven::Ring(ring) if wait => RawSend::Ring(ring.send(self, buffer)),
            Driven::Ring(_) => RawSend::Over(Some((self.send_now(&buffer), buffer))),
            Driven::Epoll(..) => RawSend::Epoll(self.clone(), Some(buffer)),
        }
    }

    fn send_now(&self, buffer: &Buffer) -> io::Result<usize> {
        Ok(rustix::net::send(self, buffer.unread(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?)
    }

    /// Waits until bytes of the peer are there, whatever they are.
    ///
    /// # Errors
    ///
    /// When the driver can't wait for it.
    pub(crate) async fn raw_readable(&self) -> io::Result<()> {
        self.ready(false).await
    }
}

impl RawReceive {
    /// As a receive is cancelled ([`super::socket`]).
    pub(super) fn cancel(&mut self) -> Option<Buffer> {
        match self {
            RawReceive::Ring(flying) => {
                flying.cancel();
                None
            }
            RawReceive::Epoll(_, buffer) => buffer.take(),
        }
    }

    /// The outcome, when there is one; once.
    pub(super) fn poll_once(&mut self, cx: &mut Context<'_>) -> Poll<Received> {
        match self {
            RawReceive::Ring(flying) => match flying.poll(cx) {
                Poll::Ready((result, Some(buffer))) => Poll::Ready((result, buffer)),
                Poll::Ready((_, None)) | Poll::Pending => Poll::Pending,
            },
            RawReceive::Epoll(socket, place) => {
                let (Driven::Epoll(_, watched), Some(buffer)) = (socket.driven(), place.as_mut()) else {
                    return Poll::Pending;
                };
                // The kernel ends a receive at a record that is not data, whatever follows.
                let ends_early = socket.session().is_some_and(Session::is_kernel);
                let room = if ends_early { 0 } else { buffer.room() };
                let result = std::task::ready!(watched.poll_call(cx, false, room, || {
                    let spare = spare_capacity(buffer.as_vec());
                    rustix::net::recv(&*socket, spare, RecvFlags::empty()).map(|(_, received)| received)
                }));
                match place.take() {
                    Some(buffer) => Poll::Ready((result, buffer)),
                    None => Poll::Pending,
                }
            }
        }
    }
}

impl RawSend {
    /// As a send is polled ([`super::socket`]).
    pub(super) fn poll_once(&mut self, cx: &mut Context<'_>, lazily: bool) -> Poll<Received> {
        match self {
            RawSend::Over(outcome) => outcome.take().map_or(Poll::Pending, Poll::Ready),
            RawSend::Ring(flying) => match if lazily { flying.poll_lazily(cx) } else { flying.poll(cx) } {
                Poll::Ready((result, Some(buffer))) => Poll::Ready((result, buffer)),
                Poll::Ready((_, None)) | Poll::Pending => Poll::Pending,
            },
            RawSend::Epoll(socket, place) => {
                let (Driven::Epoll(_, watched), Some(buffer)) = (socket.driven(), place.as_ref()) else {
                    return Poll::Pending;
                };
                let bytes = buffer.unread();
                let result = std::task::ready!(watched.poll_call(cx, true, bytes.len(), || {
                    rustix::net::send(&*socket, bytes, SendFlags::NOSIGNAL)
                }));
                match place.take() {
                    Some(buffer) => Poll::Ready((result, buffer)),
                    None => Poll::Pending,
                }
            }
        }
    }
}
