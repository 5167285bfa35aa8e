//! The forwarder's sockets: non-blocking, of either kind, without delay.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_reuseaddr, set_tcp_nodelay};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::peers::address::Address;

/// How many connections may wait to be taken.
const BACKLOG: i32 = 4096;

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

fn socket(address: &Address) -> Result<OwnedFd, Errno> {
    let family = match address {
        Address::Tcp(address) if address.is_ipv4() => AddressFamily::INET,
        Address::Tcp(_) => AddressFamily::INET6,
        Address::Unix(_) => AddressFamily::UNIX,
    };
    rustix::net::socket_with(family, SocketType::STREAM, FLAGS, None)
}

/// A listening socket.
pub(super) fn listen(address: &Address) -> Result<OwnedFd, Errno> {
    let socket = socket(address)?;
    match address {
        Address::Tcp(address) => {
            set_socket_reuseaddr(&socket, true)?;
            // Connections have it from their listener.
            set_tcp_nodelay(&socket, true)?;
            rustix::net::bind(&socket, address)?;
        }
        Address::Unix(path) => rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?,
    }
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// The next connection of a listening socket, if one waits.
pub(super) fn accept(listener: &OwnedFd) -> Result<OwnedFd, Errno> {
    rustix::net::accept_with(listener, FLAGS)
}

/// A connection that is there or on its way.
pub(super) fn connect(address: &Address) -> Result<OwnedFd, Errno> {
    let socket = socket(address)?;
    let begun = match address {
        Address::Tcp(address) => {
            set_tcp_nodelay(&socket, true)?;
            rustix::net::connect(&socket, address)
        }
        Address::Unix(path) => rustix::net::connect(&socket, &SocketAddrUnix::new(path)?),
    };
    match begun {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error),
    }
}
