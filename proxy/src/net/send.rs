//! Sending all of a buffer, and closing with manners.

use std::io;
use std::task::{Context, Poll, Waker};

use rustix::net::Shutdown;

use super::socket::{Send, Socket};
use crate::sys::buffer::Buffer;

/// Sends every unread byte of `buffer` in order, calling `progress` after each part; gives the buffer back
/// empty, or with what was not sent.
pub(crate) async fn send_all(
    socket: &Socket,
    mut buffer: Buffer,
    progress: impl Fn(usize),
) -> (io::Result<()>, Buffer) {
    let mut wait = false;
    loop {
        if buffer.unread().is_empty() {
            return (Ok(()), buffer);
        }
        let (result, returned) = socket.send(buffer, wait).await;
        buffer = returned;
        match result {
            Ok(0) => return (Err(io::ErrorKind::WriteZero.into()), buffer),
            Ok(sent) => {
                progress(sent);
                buffer.take(sent);
                wait = true;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !wait => wait = true,
            // Somebody splices and has made the socket non-blocking.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if let Err(error) = socket.writable().await {
                    return (Err(error), buffer);
                }
            }
            Err(error) => return (Err(error), buffer),
        }
    }
}

/// A send beside what its task waits for: it usually succeeds at once, and then costs no wake-up.
pub(crate) struct Background {
    socket: Socket,
    flight: Option<Send>,
    wait: bool,
    failed: bool,
}

impl Background {
    /// Starts sending all unread bytes of `buffer`.
    pub(crate) fn start(socket: &Socket, buffer: Buffer) -> Self {
        let flight = Some(socket.send_lazily(buffer, false));
        let mut background = Background { socket: socket.clone(), flight, wait: false, failed: false };
        background.drive(&mut Context::from_waker(Waker::noop()));
        background
    }

    /// Goes on with what could not be sent at once; to be called whenever the task is polled.
    pub(crate) fn drive(&mut self, cx: &mut Context<'_>) {
        while let Some(flight) = &mut self.flight {
            let Poll::Ready((result, mut buffer)) = flight.poll_once(cx, true) else {
                return;
            };
            self.flight = None;
            match result {
                Ok(sent @ 1..) => buffer.take(sent),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !self.wait => {}
                // Also a socket that somebody splices meanwhile: the answer came before the request was sent.
                _ => {
                    self.failed = true;
                    return;
                }
            }
            if !buffer.unread().is_empty() {
                self.wait = true;
                self.flight = Some(self.socket.send_lazily(buffer, true));
            }
        }
    }

    /// Whether everything was sent, as far as it was driven.
    pub(crate) fn is_done(&self) -> bool {
        self.flight.is_none() && !self.failed
    }
}

/// Ends both directions: what is in flight on the socket ends by itself.
pub(crate) fn cut(socket: &Socket) {
    socket.shut(Shutdown::Both);
}

/// Has the peer see a reset, once the socket is closed.
pub(crate) fn abort(socket: &Socket) {
    // A Unix socket has none such: there it is an end.
    let _ = rustix::net::sockopt::set_socket_linger(socket, Some(std::time::Duration::ZERO));
}

/// Ends the sending direction: the peer reads an end of stream after what was sent, and with TLS a farewell
/// before it.
pub(crate) fn finish_sending(socket: &Socket) {
    match socket.session() {
        Some(session) => session.finish(socket),
        None => end_raw(socket),
    }
}

/// Ends the sending direction without a farewell.
pub(crate) fn end_raw(socket: &Socket) {
    // Fails only when the peer is gone already.
    let _ = rustix::net::shutdown(socket, Shutdown::Write);
}
