//! Listening sockets: bound before anything is committed, owned here, lent to shards.
//!
//! ```text
//!   stage ──all bound and listening──▶ Staged ──commit──▶ open
//!     │ one fails                        │ dropped: closed again, nothing changed
//!     ▼                                  ▼
//!   BindError                          (as before)
//! ```
//!
//! Invariants:
//! - a TCP address has one `SO_REUSEPORT` socket per shard, a Unix address one, which shard 0 accepts on;
//! - an address that stays keeps its sockets, whatever else about its listener changes: no queued
//!   connection is lost;
//! - another process on the same address is an error and not a silent sharing of connections: the first
//!   socket of a new address is tried without `SO_REUSEPORT`;
//! - a Unix socket's file is removed when its listener goes, but never a file that is no socket, and never
//!   one that another process listens on or that the service manager made.
//!
//! Not here: accepting.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use listenfd::ListenFd;
use pinion_core::config::snapshot::Address;
use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait in the kernel for each socket; the kernel lowers it to `net.core.somaxconn`.
const LISTEN_BACKLOG: i32 = 4_096;

/// Addresses let go that are remembered.
const RELEASED_MAX: usize = 4_096;

/// An address that can't be listened on.
#[derive(Debug)]
pub(crate) struct BindError {
    /// Whose address it is: a listener by name, or the admin port.
    pub(crate) name: String,
    /// Its address.
    pub(crate) address: Address,
    /// Why not.
    pub(crate) error: io::Error,
}

/// A listener as error texts name it.
pub(super) fn listener_called(name: &str) -> String {
    format!("listener `{name}`")
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: can't listen on {}: {}", self.name, self.address, self.error)
    }
}

/// The sockets of one address.
pub(crate) struct Group {
    /// One a shard, in their order; a Unix address has one.
    sockets: Vec<OwnedFd>,
    /// What the kernel bound: differs from the configured address for port 0.
    pub(crate) bound: Address,
    /// The socket file to remove in the end.
    file: Option<PathBuf>,
}

impl Group {
    /// A descriptor of its own for each shard that accepts: `(shard, descriptor)`.
    pub(crate) fn lend(&self) -> io::Result<Vec<(usize, OwnedFd)>> {
        self.sockets.iter().enumerate().map(|(shard, fd)| Ok((shard, fd.try_clone()?))).collect()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            // Gone already is as good.
            let _ = std::fs::remove_file(file);
        }
    }
}

/// Sockets that are open but not yet anybody's; dropped, they are closed.
pub(crate) struct Staged(HashMap<Address, Group>);

impl Staged {
    /// The sockets of a newly opened address.
    pub(crate) fn group(&self, address: &Address) -> Option<&Group> {
        self.0.get(address)
    }
}

/// Every listening socket of the process, by configured address.
pub(crate) struct Sockets {
    shards: usize,
    open: HashMap<Address, Group>,
    inherited: Vec<(Address, OwnedFd)>,
    /// Addresses that were let go: shards may hold their sockets a little longer.
    released: HashSet<Address>,
}

impl Sockets {
    /// No sockets yet, except those that the service manager passed to the process.
    pub(crate) fn new(shards: usize) -> Self {
        Sockets { shards, open: HashMap::new(), inherited: inherited(), released: HashSet::new() }
    }

    /// The sockets of an address in force.
    pub(crate) fn group(&self, address: &Address) -> Option<&Group> {
        self.open.get(address)
    }

    /// The addresses of passed sockets that nothing has used.
    pub(crate) fn unused(&self) -> impl Iterator<Item = &Address> {
        self.inherited.iter().map(|(address, _)| address)
    }

    /// The socket that the service manager passed for this address, if it did.
    fn take_inherited(&mut self, address: &Address) -> Option<OwnedFd> {
        let place = self.inherited.iter().position(|(inherited, _)| inherited == address)?;
        Some(self.inherited.swap_remove(place).1)
    }

    /// Opens one socket for the control side (the admin port).
    pub(crate) fn open_one(&mut self, name: &str, address: &Address) -> Result<OpenOne, BindError> {
        let opened = match self.take_inherited(address) {
            Some(fd) => adopt(fd, address, 1),
            None => open(address, 1, true),
        };
        let one = opened.and_then(|mut group| {
            let socket = group.sockets.pop().ok_or(io::ErrorKind::NotFound)?;
            Ok(OpenOne { socket, bound: group.bound.clone(), _file: group.file.take().map(FileGuard) })
        });
        one.map_err(|error| BindError { name: name.into(), address: address.clone(), error })
    }

    /// Opens every address of `wanted` (name and address) that is not open.
    pub(crate) fn stage<'a>(
        &mut self,
        wanted: impl Iterator<Item = (&'a str, &'a Address)>,
    ) -> Result<Staged, BindError> {
        let mut staged = HashMap::new();
        for (name, address) in wanted {
            if self.open.contains_key(address) || staged.contains_key(address) {
                continue;
            }
            let opened = match self.take_inherited(address) {
                Some(fd) => adopt(fd, address, self.shards),
                None => open(address, self.shards, !self.released.contains(address)),
            };
            let group = opened.map_err(|error| BindError {
                name: listener_called(name),
                address: address.clone(),
                error,
            })?;
            staged.insert(address.clone(), group);
        }
        Ok(Staged(staged))
    }

    /// Makes staged sockets the process's.
    pub(crate) fn commit(&mut self, staged: Staged) {
        for (address, group) in staged.0 {
            self.released.remove(&address);
            self.open.insert(address, group);
        }
    }

    /// Lets go of every address that `keep` does not want: shards that still hold a descriptor accept what
    /// is queued, then close it.
    pub(crate) fn retain(&mut self, keep: impl Fn(&Address) -> bool) {
        let released = self.open.extract_if(|address, _| !keep(address)).map(|(address, _)| address);
        self.released.extend(released);
        // Only a short-lived courtesy: a few thousand addresses later nobody holds the first ones.
        if self.released.len() > RELEASED_MAX {
            self.released.clear();
        }
    }
}

/// One listening socket of the control side's own.
pub(crate) struct OpenOne {
    /// The socket: listening, non-blocking.
    pub(crate) socket: OwnedFd,
    /// What the kernel bound: differs from the configured address for port 0.
    pub(crate) bound: Address,
    _file: Option<FileGuard>,
}

/// Removes a socket file when dropped.
pub(crate) struct FileGuard(PathBuf);

impl Drop for FileGuard {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn open(address: &Address, shards: usize, alone: bool) -> io::Result<Group> {
    match address {
        Address::Tcp(address) => open_tcp(*address, shards, alone),
        Address::Unix(path) => open_unix(path),
    }
}

fn open_tcp(address: SocketAddr, shards: usize, alone: bool) -> io::Result<Group> {
    // Alone first: with SO_REUSEPORT from the start, a second process would quietly take its share. Not
    // for an address that this process just let go: its own shards may still be emptying the queue.
    if alone && address.port() != 0 {
        tcp_socket(address, false)?;
    }
    let first = tcp_socket(address, true)?;
    let bound = first.local_addr()?.as_socket().unwrap_or(address);
    let mut sockets = vec![first];
    while sockets.len() < shards {
        sockets.push(tcp_socket(bound, true)?);
    }
    // Listening comes last: a socket that is only bound takes no connection away from anybody.
    for socket in &sockets {
        socket.listen(LISTEN_BACKLOG)?;
    }
    let sockets = sockets.into_iter().map(OwnedFd::from).collect();
    Ok(Group { sockets, bound: Address::Tcp(bound), file: None })
}

fn tcp_socket(address: SocketAddr, reuse_port: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // `[::]` means IPv6 alone, so that it can stand beside `0.0.0.0` with the same port.
        socket.set_only_v6(true)?;
    }
    // Connections of an earlier process in TIME_WAIT don't hinder a restart.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(reuse_port)?;
    // Accepted sockets inherit it: no system call per connection.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn open_unix(path: &Path) -> io::Result<Group> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the path exists and is not a socket"));
        }
        Ok(_) => match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
            Ok(_) => return Err(io::Error::from(io::ErrorKind::AddrInUse)),
            Err(error) => return Err(error),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    socket.bind(&socket2::SockAddr::unix(path)?)?;
    // From here on a failure removes the file again.
    let mut group = Group { sockets: Vec::new(), bound: Address::Unix(path.into()), file: Some(path.into()) };
    socket.listen(LISTEN_BACKLOG)?;
    group.sockets.push(socket.into());
    Ok(group)
}

fn adopt(fd: OwnedFd, address: &Address, shards: usize) -> io::Result<Group> {
    let socket = Socket::from(fd);
    socket.set_nonblocking(true)?;
    let mut sockets: Vec<OwnedFd> = vec![socket.into()];
    if matches!(address, Address::Tcp(_)) {
        // One socket, one queue: every shard accepts from it.
        while sockets.len() < shards {
            sockets.push(sockets[0].try_clone()?);
        }
    }
    Ok(Group { sockets, bound: address.clone(), file: None })
}

/// What the service manager passed (`LISTEN_FDS`), by address.
fn inherited() -> Vec<(Address, OwnedFd)> {
    let mut passed = ListenFd::from_env();
    let mut found = Vec::new();
    for place in 0..passed.len() {
        if let Ok(Some(listener)) = passed.take_tcp_listener(place) {
            if let Ok(address) = listener.local_addr() {
                found.push((Address::Tcp(address), TcpListener::into(listener)));
            }
        } else if let Ok(Some(listener)) = passed.take_unix_listener(place) {
            let path =
                listener.local_addr().ok().and_then(|address| address.as_pathname().map(PathBuf::from));
            if let Some(path) = path {
                found.push((Address::Unix(path), UnixListener::into(listener)));
            }
        } else {
            tracing::warn!(place, "a socket from the service manager is neither TCP nor Unix, ignored");
        }
    }
    found
}
