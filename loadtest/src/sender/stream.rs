//! One socket: connecting, and handing what comes to the thread's core.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::rc::Rc;

use monoio::io::AsyncReadRent as _;
use socket2::{Domain, SockAddr, Socket, Type};

use super::Shared;
use crate::client::failure::Failure;
use crate::plan::Peer;
use crate::sys::{self, SocketNumber};

/// How much is read at first, in bytes: thousands of connections each have a buffer.
const READ_BYTES: usize = 4 * 1024;

/// A buffer that was full grows four times, up to this.
const READ_BYTES_MAX: usize = 256 * 1024;

enum Stream {
    Tcp(monoio::net::TcpStream),
    Unix(monoio::net::UnixStream),
}

impl Stream {
    async fn read(&mut self, buffer: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        match self {
            Stream::Tcp(stream) => stream.read(buffer).await,
            Stream::Unix(stream) => stream.read(buffer).await,
        }
    }

    async fn readable(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.readable(false).await,
            Stream::Unix(stream) => stream.readable(false).await,
        }
    }

    async fn writable(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.writable(false).await,
            Stream::Unix(stream) => stream.writable(false).await,
        }
    }
}

/// What a task knows of its connection.
pub(super) struct Opening {
    pub(super) slot: usize,
    /// The slot's generation: another one means that the connection is not wanted any more.
    pub(super) generation: u32,
    pub(super) peer: Peer,
    pub(super) source: Option<SocketAddr>,
    /// Whether nothing is expected on it: then it waits without a buffer.
    pub(super) is_idle: bool,
}

/// Connects, and reads until the connection ends.
pub(super) async fn live(shared: Rc<Shared>, opening: Opening) {
    let Opening { slot, generation, .. } = opening;
    let failure = match connect(&shared, &opening).await {
        Ok((stream, addresses)) => {
            if shared.core.borrow_mut().on_connected(slot, generation, addresses) {
                read(&shared, &opening, stream).await
            } else {
                return;
            }
        }
        Err(error) => {
            let own = [libc::EADDRNOTAVAIL, libc::EMFILE, libc::ENFILE, libc::EADDRINUSE];
            if error.raw_os_error().is_some_and(|code| own.contains(&code)) {
                shared.core.borrow_mut().exhausted += 1;
            }
            shared.core.borrow_mut().why = Some(error.to_string());
            Failure::Connect
        }
    };
    shared.core.borrow_mut().on_end(slot, generation, failure);
}

/// Local and remote address of a TCP connection.
pub(super) type Addresses = Option<(SocketAddr, SocketAddr)>;

async fn connect(shared: &Rc<Shared>, opening: &Opening) -> io::Result<(Stream, Addresses)> {
    let (domain, address) = match &opening.peer {
        Peer::Tcp(address) => (Domain::for_address(*address), SockAddr::from(*address)),
        Peer::Unix(path) => (Domain::UNIX, SockAddr::unix(path)?),
    };
    let socket = Socket::new(domain, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    if domain != Domain::UNIX {
        socket.set_tcp_nodelay(true)?;
    }
    if let Some(source) = opening.source {
        // The port is chosen when the peer is known: the same one can serve several peers.
        sys::bind_without_port(socket.as_fd());
        socket.bind(&source.into())?;
    }
    match socket.connect(&address) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(error) => return Err(error),
    }
    let number = SocketNumber::new(socket.as_raw_fd());
    let descriptor: OwnedFd = socket.into();
    let stream = if domain == Domain::UNIX {
        Stream::Unix(monoio::net::UnixStream::from_std(descriptor.into())?)
    } else {
        Stream::Tcp(monoio::net::TcpStream::from_std(descriptor.into())?)
    };
    shared.core.borrow_mut().on_socket(opening.slot, opening.generation, number);
    stream.writable().await?;
    let socket = Socket::from(number.duplicate()?);
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    let addresses = match domain {
        Domain::UNIX => None,
        _ => socket.local_addr()?.as_socket().zip(socket.peer_addr()?.as_socket()),
    };
    // On loopback, a connect to a port that nobody listens on can pick that very port as its own and so reach
    // itself.
    if addresses.is_some_and(|(local, remote)| local == remote) {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok((stream, addresses))
}

/// Reads until the end of the connection, and says what that was.
async fn read(shared: &Rc<Shared>, opening: &Opening, mut stream: Stream) -> Failure {
    let mut buffer = Vec::new();
    loop {
        if opening.is_idle {
            buffer = Vec::new();
            if stream.readable().await.is_err() {
                return Failure::Reset;
            }
        }
        if buffer.capacity() == 0 {
            buffer.reserve_exact(READ_BYTES);
        }
        buffer.clear();
        let (outcome, filled) = stream.read(buffer).await;
        buffer = filled;
        match outcome {
            Ok(0) => return Failure::Closed,
            Ok(length) => {
                if !shared.core.borrow_mut().on_bytes(opening.slot, opening.generation, &buffer[..length]) {
                    // Not wanted any more; nobody listens to what is said of it.
                    return Failure::Closed;
                }
                if length == buffer.capacity() && length < READ_BYTES_MAX {
                    buffer = Vec::with_capacity((length * 4).min(READ_BYTES_MAX));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Failure::Reset,
        }
    }
}

/// Waits until a connection takes more, and says so.
pub(super) async fn wait_writable(shared: Rc<Shared>, slot: usize, generation: u32, number: SocketNumber) {
    // A descriptor of its own: the connection's own one waits for bytes to read meanwhile.
    let stream =
        number.duplicate().and_then(|descriptor| monoio::net::UnixStream::from_std(descriptor.into()));
    if let Ok(stream) = stream {
        // An error shows when it is written to.
        let _ = stream.writable(false).await;
    }
    shared.core.borrow_mut().on_writable(slot, generation);
}
