//! Listening sockets of one shard: waiting, accepting in batches, surviving a lack of descriptors.
//!
//! Invariants: the listening socket is non-blocking, so that accepting never blocks the shard.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};

use super::Driver;
use crate::net::socket::Socket;

/// Connections taken per readiness event, so that a burst of connects can't starve established ones.
pub(crate) const ACCEPT_BATCH: usize = 64;

/// What one try to accept gave.
pub(crate) enum Accepted {
    /// A connection.
    Connection(OwnedFd),
    /// The queue is empty.
    Empty,
    /// A connection that was gone before it was taken.
    Gone,
    /// No descriptor or memory: try again a little later; the queue keeps the connection.
    Exhausted,
    /// The socket is unusable.
    Failed(io::Error),
}

/// A listening socket on this shard.
#[derive(Clone)]
pub(crate) struct Acceptor {
    socket: Socket,
    driver: Driver,
}

impl Acceptor {
    pub(crate) fn new(fd: OwnedFd, driver: Driver) -> io::Result<Self> {
        Ok(Acceptor { socket: Socket::new(fd)?, driver })
    }

    /// Waits until a connection is queued.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// Takes one queued connection.
    pub(crate) fn accept(&self) -> Accepted {
        let mut flags = SocketFlags::CLOEXEC;
        if self.driver.nonblocking() {
            flags |= SocketFlags::NONBLOCK;
        }
        match accept_with(&self.socket, flags) {
            Ok(fd) => Accepted::Connection(fd),
            Err(Errno::AGAIN) => Accepted::Empty,
            // accept(2): errors of the connection itself, already pending on it.
            Err(
                Errno::CONNABORTED
                | Errno::INTR
                | Errno::PERM
                | Errno::PROTO
                | Errno::NETDOWN
                | Errno::NOPROTOOPT
                | Errno::HOSTDOWN
                | Errno::HOSTUNREACH
                | Errno::NETUNREACH
                | Errno::OPNOTSUPP,
            ) => Accepted::Gone,
            Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => Accepted::Exhausted,
            Err(error) => Accepted::Failed(error.into()),
        }
    }
}

/// The peer's address with port, `None` for Unix sockets.
pub(crate) fn peer_address(socket: impl AsFd) -> Option<std::net::SocketAddr> {
    let address = rustix::net::getpeername(socket).ok().flatten()?;
    std::net::SocketAddr::try_from(address).ok()
}
