//! Receiving and sending on a socket with a TLS session: what the driver moves are records.
//!
//! ```text
//!   receive   raw receive ──> open ──plaintext──> done        the receiver's buffer holds the records
//!                ^             │ none yet                     meanwhile, or the session's when it is too small
//!                └─────────────┘
//!   send      seal ──> raw send, until all records are gone ──> so much plaintext was sent
//! ```
//!
//! Invariants:
//! - a receive that is called off leaves part of a record with the session: nothing is lost;
//! - a send that is dropped before its end leaves a session that sends nothing more.
//!
//! Not here: records (`tls::session`).

use std::io;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;

use super::raw::{RawReceive, RawSend};
use super::socket::{Received, Socket};
use crate::sys::buffer::Buffer;
use crate::tls::session::{Session, Step, Target};

/// A receive of plaintext.
pub(super) struct SecureReceive {
    socket: Socket,
    state: Receiving,
    /// Bytes of the receiver's storage before records.
    base: usize,
    /// It was called off: no more is asked for.
    stopped: bool,
}

enum Receiving {
    /// Into the receiver's buffer.
    User(RawReceive),
    /// Into the session's; the receiver's waits.
    Held(RawReceive, Buffer),
    /// Known without asking.
    Ready(Received),
    Over,
}

impl SecureReceive {
    /// Starts receiving behind what is in `user`.
    pub(super) fn start(socket: &Socket, session: &Session, mut user: Buffer, later: bool) -> Self {
        session.prepare_for(socket, 0);
        let base = user.as_vec().len();
        let state = match session.waiting(&mut user) {
            Some(result) => Receiving::Ready((result, user)),
            None => ask(socket, session, user, later),
        };
        session.set_reading(!matches!(state, Receiving::Ready(_)));
        SecureReceive { socket: socket.clone(), state, base, stopped: false }
    }

    /// Calls it off; see [`Receive`](super::socket::Receive).
    pub(super) fn cancel(&mut self) -> Option<Buffer> {
        self.stopped = true;
        let session = self.socket.session()?;
        match std::mem::replace(&mut self.state, Receiving::Over) {
            Receiving::User(mut raw) => match raw.cancel() {
                Some(mut user) => {
                    session.set_reading(false);
                    session.hold_behind(&mut user, self.base);
                    Some(user)
                }
                None => {
                    self.state = Receiving::User(raw);
                    None
                }
            },
            Receiving::Held(mut raw, user) => match raw.cancel() {
                Some(part) => {
                    session.set_reading(false);
                    session.hold(part);
                    Some(user)
                }
                None => {
                    self.state = Receiving::Held(raw, user);
                    None
                }
            },
            other => {
                self.state = other;
                None
            }
        }
    }

    /// The outcome, when there is one; once.
    pub(super) fn poll_once(&mut self, cx: &mut Context<'_>) -> Poll<Received> {
        let Some(session) = self.socket.session() else {
            return Poll::Pending;
        };
        loop {
            let (result, user) = match std::mem::replace(&mut self.state, Receiving::Over) {
                Receiving::Over => return Poll::Pending,
                Receiving::Ready(received) => return Poll::Ready(received),
                Receiving::User(mut raw) => {
                    let Poll::Ready((result, mut user)) = raw.poll_once(cx) else {
                        self.state = Receiving::User(raw);
                        return Poll::Pending;
                    };
                    let step = match result {
                        result if session.is_kernel() && !called_off(&result) => {
                            session.received_by_kernel(&self.socket, result, &mut user)
                        }
                        Ok(1..) => session.received(&self.socket, &mut user, self.base),
                        other => {
                            let failed = failed(session, other.err());
                            // Part of a record came before the end, or the receive was called off.
                            session.hold_behind(&mut user, self.base);
                            Err(failed)
                        }
                    };
                    (step, user)
                }
                Receiving::Held(mut raw, mut user) => {
                    let Poll::Ready((result, part)) = raw.poll_once(cx) else {
                        self.state = Receiving::Held(raw, user);
                        return Poll::Pending;
                    };
                    let step = match result {
                        Ok(1..) => session.received_held(&self.socket, part, &mut user),
                        other => {
                            let failed = failed(session, other.err());
                            session.hold(part);
                            Err(failed)
                        }
                    };
                    (step, user)
                }
            };
            if !matches!(result, Ok(Step::More)) || self.stopped {
                session.set_reading(false);
            }
            match result {
                Ok(Step::Plain(plain)) => return Poll::Ready((Ok(plain), user)),
                Ok(Step::More) if self.stopped => {
                    let mut user = user;
                    session.hold_behind(&mut user, self.base);
                    return Poll::Ready((Err(Errno::CANCELED.into()), user));
                }
                // The kernel may have the next record already, and tells no waiter once a key was renewed.
                Ok(Step::More) => self.state = ask(&self.socket, session, user, !session.is_kernel()),
                Err(error) => return Poll::Ready((Err(error), user)),
            }
        }
    }
}

fn called_off(result: &io::Result<usize>) -> bool {
    result.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::ECANCELED))
}

/// What a raw receive without bytes means: the end without a farewell, or an error. Called off is neither.
fn failed(session: &Session, error: Option<io::Error>) -> io::Error {
    match error {
        Some(error) if error.raw_os_error() == Some(libc::ECANCELED) => error,
        other => session.ended(other),
    }
}

fn ask(socket: &Socket, session: &Session, mut user: Buffer, later: bool) -> Receiving {
    match session.target(&mut user) {
        Ok(Target::User) => Receiving::User(socket.raw_receive(user, later)),
        Ok(Target::Held(part)) => Receiving::Held(socket.raw_receive(part, later), user),
        Err(error) => Receiving::Ready((Err(error), user)),
    }
}

/// A send of plaintext: all the records it became.
pub(super) struct SecureSend {
    socket: Socket,
    /// What was to be sent, as it was.
    plain: Buffer,
    /// How much of it became records.
    content: usize,
    raw: Option<RawSend>,
    /// Known without sending.
    refused: Option<io::Error>,
    waits: bool,
}

impl SecureSend {
    /// Starts sending what one buffer of records takes of `plain`.
    pub(super) fn start(socket: &Socket, session: &Session, plain: Buffer, lazily: bool) -> Self {
        let mut send =
            SecureSend { socket: socket.clone(), plain, content: 0, raw: None, refused: None, waits: false };
        match session.seal(send.plain.unread()) {
            Ok((records, content)) => {
                send.content = content;
                send.raw = Some(socket.raw_send(records, false, lazily));
            }
            Err(error) => send.refused = Some(error),
        }
        send
    }

    /// The outcome, when there is one; once.
    pub(super) fn poll_once(&mut self, cx: &mut Context<'_>, lazily: bool) -> Poll<Received> {
        if let Some(error) = self.refused.take() {
            return Poll::Ready((Err(error), self.take_plain()));
        }
        let socket = self.socket.clone();
        let Some(session) = socket.session() else {
            return Poll::Pending;
        };
        while let Some(raw) = &mut self.raw {
            let (result, mut records) = ready!(raw.poll_once(cx, lazily));
            self.raw = None;
            match result {
                Ok(sent @ 1..) => records.take(sent),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !self.waits => {}
                Ok(_) => {
                    session.lost();
                    return Poll::Ready((Err(io::ErrorKind::WriteZero.into()), self.take_plain()));
                }
                Err(error) => {
                    session.lost();
                    return Poll::Ready((Err(error), self.take_plain()));
                }
            }
            if records.unread().is_empty() {
                session.sent(&self.socket);
                return Poll::Ready((Ok(self.content), self.take_plain()));
            }
            self.waits = true;
            self.raw = Some(self.socket.raw_send(records, true, lazily));
        }
        Poll::Pending
    }

    fn take_plain(&mut self) -> Buffer {
        std::mem::replace(&mut self.plain, Buffer::stand_in())
    }
}

impl Drop for SecureSend {
    fn drop(&mut self) {
        if self.raw.is_some()
            && let Some(session) = self.socket.session()
        {
            session.lost();
        }
    }
}

/// Receives into the room of `user` what is there, without waiting; 0 is the end of the stream.
pub(super) fn try_recv(socket: &Socket, session: &Session, user: &mut Buffer) -> Result<usize, Errno> {
    let broken = |_| Errno::CONNRESET;
    if session.is_kernel() {
        return try_recv_of_kernel(socket, session, user);
    }
    loop {
        if let Some(known) = session.waiting(user) {
            return known.map_err(broken);
        }
        let base = user.as_vec().len();
        let step = match session.target(user).map_err(broken)? {
            Target::User => match socket.raw_try_recv(user) {
                Ok(1..) => session.received(socket, user, base),
                other => {
                    let ended = unread(session, other);
                    session.hold_behind(user, base);
                    ended?;
                    continue;
                }
            },
            Target::Held(mut part) => match socket.raw_try_recv(&mut part) {
                Ok(1..) => session.received_held(socket, part, user),
                other => {
                    session.hold(part);
                    unread(session, other)?;
                    continue;
                }
            },
        };
        match step.map_err(broken)? {
            Step::Plain(plain) => return Ok(plain),
            Step::More => session.hold_behind(user, base),
        }
    }
}

/// Like [`try_recv`], where the kernel handles the records.
fn try_recv_of_kernel(socket: &Socket, session: &Session, user: &mut Buffer) -> Result<usize, Errno> {
    loop {
        if let Some(known) = session.waiting(user) {
            return known.map_err(|_| Errno::CONNRESET);
        }
        match socket.raw_try_recv(user) {
            Err(Errno::AGAIN) => return Err(Errno::AGAIN),
            Err(Errno::INTR) => {}
            result => match session.received_by_kernel(socket, result.map_err(io::Error::from), user) {
                Ok(Step::Plain(plain)) => return Ok(plain),
                Ok(Step::More) => {}
                Err(_) => return Err(Errno::CONNRESET),
            },
        }
    }
}

/// What a call that received nothing means; an interrupted one is tried again.
fn unread(session: &Session, result: Result<usize, Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::INTR) => Ok(()),
        Err(Errno::AGAIN) => Err(Errno::AGAIN),
        Err(error) => {
            session.ended(Some(error.into()));
            Err(error)
        }
        Ok(_) => {
            session.ended(None);
            Err(Errno::CONNRESET)
        }
    }
}

#[cfg(test)]
#[path = "secure_tests.rs"]
mod tests;
