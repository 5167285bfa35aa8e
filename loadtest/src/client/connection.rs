//! One connection of the generator: a non-blocking socket with at most one request on it.
//!
//! ```text
//! Connecting ─writable─▶ Idle ─send─▶ Sending ─all written─▶ Waiting ─answer─▶ Idle
//!      └───────────────────┴────────────┴──error, close, time-out──▶ (dropped, then opened again)
//! ```
//!
//! Readiness is edge-triggered: a socket is read until it has nothing more, and written until it takes
//! nothing more.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use socket2::{Domain, SockAddr, Socket, Type};

pub(crate) use super::failure::Failure;
use super::h1::{Answer, Reader};
use super::request::Prepared;

/// Where connections go.
#[derive(Clone, Debug)]
pub(crate) enum Peer {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

fn lost(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Failure::Closed,
        _ => Failure::Reset,
    }
}

/// When a request was due and sent, in nanoseconds of the run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    pub(crate) due: u64,
    pub(crate) sent: u64,
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug)]
enum Phase {
    Connecting,
    Idle,
    /// The request is written up to `written`.
    Sending {
        stamp: Stamp,
        written: usize,
    },
    Waiting {
        stamp: Stamp,
    },
}

/// A socket and what is on it.
pub(crate) struct Connection {
    socket: Socket,
    reader: Reader,
    phase: Phase,
    /// Whether it carried a request before.
    used: bool,
}

/// What became of a connection that had something to say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Nothing worth knowing yet.
    Nothing,
    /// It is connected and can take a request.
    Connected,
    /// The answer is complete; it can take another request if the answer says so.
    Answered(Answer),
}

impl Connection {
    /// Begins to connect.
    ///
    /// # Errors
    /// No descriptor, or an error that is known at once.
    pub(crate) fn open(peer: &Peer, is_head: bool) -> io::Result<Self> {
        let (domain, address) = match peer {
            Peer::Tcp(address) => (Domain::for_address(*address), SockAddr::from(*address)),
            Peer::Unix(path) => (Domain::UNIX, SockAddr::unix(path)?),
        };
        let socket = Socket::new(domain, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        if domain != Domain::UNIX {
            socket.set_tcp_nodelay(true)?;
        }
        match socket.connect(&address) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            Err(error) => return Err(error),
        }
        Ok(Connection { socket, reader: Reader::new(is_head), phase: Phase::Connecting, used: false })
    }

    /// Whether a request may be put on it now.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Idle)
    }

    /// Whether it has yet to be connected.
    pub(crate) fn is_connecting(&self) -> bool {
        matches!(self.phase, Phase::Connecting)
    }

    /// The times of the request on it.
    pub(crate) fn stamp(&self) -> Option<Stamp> {
        match self.phase {
            Phase::Sending { stamp, .. } | Phase::Waiting { stamp } => Some(stamp),
            Phase::Connecting | Phase::Idle => None,
        }
    }

    /// Whether the request on it met a kept connection that its peer had just closed: nothing of an
    /// answer came, so that RFC 9112, section 9.3.1, lets it be sent again on another one.
    pub(crate) fn was_stale(&self, failure: Failure) -> bool {
        self.used && !self.reader.has_begun() && matches!(failure, Failure::Reset | Failure::Closed)
    }

    /// Puts a request on it. Call only when idle.
    ///
    /// # Errors
    /// The connection is gone.
    pub(crate) fn send(&mut self, request: &Prepared, stamp: Stamp) -> Result<(), Failure> {
        debug_assert!(self.is_idle());
        self.phase = Phase::Sending { stamp, written: 0 };
        self.write(request)
    }

    /// Does what the socket is ready for.
    ///
    /// # Errors
    /// The connection is of no more use, and the request on it failed.
    pub(crate) fn on_ready(
        &mut self,
        request: &Prepared,
        scratch: &mut [u8],
        counted: Option<&'static str>,
    ) -> Result<Event, Failure> {
        match self.phase {
            Phase::Connecting => self.finish_connect(),
            Phase::Sending { .. } => {
                self.write(request)?;
                self.read(scratch, counted)
            }
            Phase::Waiting { .. } | Phase::Idle => self.read(scratch, counted),
        }
    }

    fn finish_connect(&mut self) -> Result<Event, Failure> {
        if let Ok(Some(_)) | Err(_) = self.socket.take_error() {
            return Err(Failure::Connect);
        }
        // Writable without an error and without a peer: still connecting.
        let Ok(peer) = self.socket.peer_addr() else { return Ok(Event::Nothing) };
        // On loopback, a connect to a port that nobody listens on can pick that very port as its own and
        // so reach itself.
        if peer.is_ipv4() || peer.is_ipv6() {
            let local = self.socket.local_addr().map_err(|_| Failure::Connect)?;
            if local.as_socket() == peer.as_socket() {
                return Err(Failure::Connect);
            }
        }
        self.phase = Phase::Idle;
        Ok(Event::Connected)
    }

    fn write(&mut self, request: &Prepared) -> Result<(), Failure> {
        while let Phase::Sending { stamp, written } = self.phase {
            match self.socket.write(&request.bytes[written..]) {
                Ok(sent) if written + sent == request.bytes.len() => self.phase = Phase::Waiting { stamp },
                Ok(sent) => self.phase = Phase::Sending { stamp, written: written + sent },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(lost(&error)),
            }
        }
        Ok(())
    }

    fn read(&mut self, scratch: &mut [u8], counted: Option<&'static str>) -> Result<Event, Failure> {
        loop {
            match self.socket.read(scratch) {
                Ok(0) => return self.reader.on_close().map(Event::Answered).ok_or(Failure::Closed),
                Ok(length) if self.is_idle() && length > 0 => return Err(Failure::Malformed),
                Ok(length) => {
                    let Some(answer) = self.reader.feed(&scratch[..length], counted)? else { continue };
                    // An answer before the whole request went out leaves the connection of no use.
                    let keep_alive = answer.keep_alive && matches!(self.phase, Phase::Waiting { .. });
                    self.phase = Phase::Idle;
                    self.used = true;
                    return Ok(Event::Answered(Answer { keep_alive, ..answer }));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Event::Nothing),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(lost(&error)),
            }
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
