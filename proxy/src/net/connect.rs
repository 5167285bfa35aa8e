//! Connecting to an endpoint: a non-blocking `connect(2)`, a readiness wait, and the socket's error.

use std::io;
use std::os::fd::OwnedFd;

use pinion_core::config::Address;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use super::Driver;
use crate::net::socket::Socket;

/// Opens a socket for `address` and starts connecting. The socket is returned at once, so that a deadline
/// can shut it down; [`finish`] waits for the outcome.
pub(crate) fn start(address: &Address) -> io::Result<Socket> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let open = |family| rustix::net::socket_with(family, SocketType::STREAM, flags, None);
    let fd: OwnedFd = match address {
        Address::Tcp(address) => {
            let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
            let fd = open(family)?;
            sockopt::set_tcp_nodelay(&fd, true)?;
            pending(rustix::net::connect(&fd, address))?;
            fd
        }
        Address::Unix(path) => {
            let fd = open(AddressFamily::UNIX)?;
            pending(rustix::net::connect(&fd, &SocketAddrUnix::new(path.as_path())?))?;
            fd
        }
    };
    Socket::new(fd)
}

/// `EINPROGRESS` is the usual beginning. A Unix socket whose queue is full answers `EAGAIN`: that is a
/// refusal, since no readiness will ever come of it.
fn pending(result: Result<(), Errno>) -> io::Result<()> {
    match result {
        Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Waits until the connection is made or has failed.
pub(crate) async fn finish(socket: &Socket, driver: Driver) -> io::Result<()> {
    socket.writable().await?;
    sockopt::socket_error(socket)??;
    // A deadline that shut the socket down leaves no error behind, only a socket without a peer.
    rustix::net::getpeername(socket)?;
    if !driver.nonblocking() {
        rustix::io::ioctl_fionbio(socket, false)?;
    }
    Ok(())
}
