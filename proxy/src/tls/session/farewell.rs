//! How a session says that nothing more will be sent (close_notify, RFC 8446 section 6.1).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::net::{SendFlags, sockopt};

use super::{Engine, Sending, Session, engine};
use crate::net::socket::Socket;
use crate::net::{self, clock, send};
use crate::shard::timer::Lane;
use crate::sys::ktls::{kind, send_record};
use crate::tls::kernel::CLOSE_NOTIFY;

/// How long a peer that reads nothing may keep a farewell waiting.
const FAREWELL_TIME: Duration = Duration::from_secs(10);

impl Session {
    /// Ends the sending direction: the peer is told (close_notify), then the socket ends.
    pub(crate) fn finish(&self, socket: &Socket) {
        let Some(mut farewell) = self.seal_end() else {
            send::end_raw(socket);
            return;
        };
        match farewell.send(socket.as_fd()) {
            Sent::All | Sent::Failed => send::end_raw(socket),
            Sent::Part => self.finish_later(socket, farewell),
        }
    }

    /// The peer's buffers are full: a task waits until it takes the rest, for a limited time.
    fn finish_later(&self, socket: &Socket, mut farewell: Farewell) {
        let (socket, lease) = (socket.clone(), self.shard.slots.lease());
        net::spawn(async move {
            lease.cut_both(Lane::Write, clock::now().after(FAREWELL_TIME), &socket);
            while socket.writable().await.is_ok() {
                if !matches!(farewell.send(socket.as_fd()), Sent::Part) {
                    break;
                }
            }
            send::end_raw(&socket);
        });
    }

    /// The connection's last sign of life, as far as it goes without waiting. A connection that is to be
    /// reset says nothing: for the peer that would be a proper end.
    pub(crate) fn farewell(&self, fd: BorrowedFd<'_>) {
        if self.may_seal()
            && !matches!(sockopt::socket_linger(fd), Ok(Some(_)))
            && let Some(mut farewell) = self.seal_end()
        {
            farewell.send(fd);
        }
    }

    /// The farewell, once.
    // ALLOC: once a connection.
    fn seal_end(&self) -> Option<Farewell> {
        if !self.may_seal() {
            return None;
        }
        self.sending.set(Sending::Over);
        let mut out = self.control.take();
        let sealed = match &mut *self.engine.borrow_mut() {
            Engine::Server(conn) => engine::seal_end(&mut **conn, &mut out),
            Engine::Client(conn) => engine::seal_end(&mut **conn, &mut out),
            Engine::Kernel(_) => return Some(Farewell::Kernel),
            Engine::Gone => return None,
        };
        sealed.ok().map(|()| Farewell::Sealed(out, 0))
    }
}

/// What says the end.
enum Farewell {
    /// Bytes, and how many of them are sent.
    Sealed(Vec<u8>, usize),
    /// A record for the kernel to seal.
    Kernel,
}

/// How far sending it has come.
enum Sent {
    All,
    Part,
    Failed,
}

impl Farewell {
    /// Sends what goes without waiting.
    fn send(&mut self, fd: BorrowedFd<'_>) -> Sent {
        let outcome = match self {
            Farewell::Sealed(bytes, sent) => {
                rustix::net::send(fd, &bytes[*sent..], SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
                    .map_err(io::Error::from)
                    .map(|more| {
                        *sent += more;
                        *sent == bytes.len()
                    })
            }
            Farewell::Kernel => send_record(fd, kind::ALERT, &CLOSE_NOTIFY).map(|()| true),
        };
        match outcome {
            Ok(true) => Sent::All,
            Ok(false) => Sent::Part,
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Sent::Part,
                _ => Sent::Failed,
            },
        }
    }
}
