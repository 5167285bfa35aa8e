//! The origin's sockets: bound before anything is said, accepted from by each thread.
//!
//! ```text
//! TCP:  one SO_REUSEPORT socket a thread, which the kernel balances over      Unix: one, shared by all
//! ```

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::connection::{self, Service};
use super::state::Thread;
use crate::cli::{OriginOptions, Problem};
use crate::units::Address;

/// Connections that may wait to be accepted; the kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// How long an address that is taken is tried again. The kernel ends the ring of a killed process some
/// milliseconds after the process is gone, and until then its listening sockets live on.
const BIND_PATIENCE: Duration = Duration::from_millis(300);

/// A listening socket before a runtime takes it.
enum Socketed {
    Tcp(std::net::TcpListener),
    Unix(UnixListener),
}

/// A listening socket, and what its connections are for.
pub(super) struct Bound {
    socket: Socketed,
    service: Service,
}

/// The sockets of each thread, and the addresses as they came out.
pub(super) type AllBound = (Vec<Vec<Bound>>, Vec<(Address, Service)>);

/// Binds every address for every thread.
///
/// # Errors
/// An address can't be bound.
pub(super) fn bind_all(options: &OriginOptions) -> Result<AllBound, Problem> {
    let mut per_thread: Vec<Vec<Bound>> = (0..options.threads).map(|_| Vec::new()).collect();
    let mut addresses = Vec::new();
    for (wanted, service) in wanted(options) {
        let failed = |e: io::Error| Problem::io(format_args!("can't listen on {wanted}"), &e);
        let actual = match wanted {
            Address::Tcp(tcp) => {
                // The first bind decides the port when it is 0; the others follow.
                let mut actual = *tcp;
                for listeners in &mut per_thread {
                    let listener = patiently(|| bind_tcp(actual, options.threads > 1)).map_err(failed)?;
                    actual = listener.local_addr().map_err(failed)?;
                    listeners.push(Bound { socket: Socketed::Tcp(listener), service });
                }
                Address::Tcp(actual)
            }
            Address::Unix(path) => {
                let listener = patiently(|| bind_unix(path)).map_err(failed)?;
                for listeners in &mut per_thread {
                    let socket = Socketed::Unix(listener.try_clone().map_err(failed)?);
                    listeners.push(Bound { socket, service });
                }
                wanted.clone()
            }
        };
        addresses.push((actual, service));
    }
    Ok((per_thread, addresses))
}

/// Every address that is asked for.
fn wanted(options: &OriginOptions) -> impl Iterator<Item = (&Address, Service)> {
    let http = options.listen.iter().map(|address| (address, Service::Http));
    http.chain(options.tcp_echo.iter().map(|address| (address, Service::Echo)))
}

/// Tries again while the address is taken, up to [`BIND_PATIENCE`].
fn patiently<T>(bind: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let deadline = Instant::now() + BIND_PATIENCE;
    loop {
        match bind() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(10));
            }
            outcome => return outcome,
        }
    }
}

fn bind_tcp(address: SocketAddr, shared: bool) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    // Only among our own threads: two origins on one port by mistake must be an error.
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    // Inherited by accepted connections.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    let stale = std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket())
        && UnixStream::connect(path).is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused);
    if stale {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Removes the files of the Unix sockets.
pub(super) fn remove_sockets(options: &OriginOptions) {
    for (address, _) in wanted(options) {
        if let Address::Unix(path) = address {
            // A socket file that someone else removed is gone as it should be.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Accepts from every socket, for ever.
///
/// # Errors
/// The runtime does not take a socket.
pub(super) async fn accept_all(listeners: Vec<Bound>, thread: Rc<Thread>) -> io::Result<()> {
    for Bound { socket, service } in listeners {
        let thread = Rc::clone(&thread);
        match socket {
            Socketed::Tcp(listener) => {
                let listener = monoio::net::TcpListener::from_std(listener)?;
                monoio::spawn(async move {
                    loop {
                        match listener.accept().await {
                            Ok((stream, peer)) => {
                                let served =
                                    connection::serve(stream, Some(peer), service, Rc::clone(&thread));
                                drop(monoio::spawn(served));
                            }
                            Err(error) => pause(&error).await,
                        }
                    }
                });
            }
            Socketed::Unix(listener) => {
                let listener = monoio::net::UnixListener::from_std(listener)?;
                monoio::spawn(async move {
                    loop {
                        match listener.accept().await {
                            Ok((stream, _)) => {
                                let served = connection::serve(stream, None, service, Rc::clone(&thread));
                                drop(monoio::spawn(served));
                            }
                            Err(error) => pause(&error).await,
                        }
                    }
                });
            }
        }
    }
    std::future::pending().await
}

/// After a failed accept: a connection that was gone already costs nothing, but without descriptors
/// the next try would fail at once, for ever.
async fn pause(error: &io::Error) {
    if error.kind() != io::ErrorKind::ConnectionAborted {
        eprintln!("pinion-load: accept: {error}");
        monoio::time::sleep(Duration::from_millis(50)).await;
    }
}
