//! Zero-copy relay from socket to socket through a pipe: of a known number of bytes, or of what is there.
//!
//! ```text
//!   socket --splice--> pipe (256 KiB) --splice--> socket      no byte enters user space
//! ```
//!
//! Readiness waits of the driver plus non-blocking `splice(2)`: the ring's own splice runs on kernel worker
//! threads, which costs more than it saves (`bench/README.md`).
//!
//! Invariants:
//! - both sockets are non-blocking while this runs (`splice` from a pipe obeys only the socket's own flag);
//! - a pipe goes back to the pool only when it is empty.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};

use super::Driver;
use crate::net::socket::Socket;
use crate::tls::kernel::Control;

/// Asked of the kernel for each pipe; fewer, larger moves.
const PIPE_BYTES: usize = 256 * 1024;
/// Empty pipes a shard keeps.
const PIPES_KEPT: usize = 32;

struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

/// A shard's pool of empty pipes.
#[derive(Clone, Default)]
pub(crate) struct Pipes(Rc<RefCell<Vec<Pipe>>>);

/// How a spliced relay ended early.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The source ended or failed; everything read before was passed on.
    Source,
    /// The destination failed.
    Destination,
}

/// How a spliced relay of what was there ended.
#[derive(Debug)]
pub(crate) enum Spliced {
    /// So many bytes were moved; no more are there, or others shall have their turn.
    Some(u64),
    /// The source ended its sending direction; everything before was moved.
    End,
}

impl Pipes {
    fn take(&self) -> io::Result<Pipe> {
        if let Some(pipe) = self.0.borrow_mut().pop() {
            return Ok(pipe);
        }
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // A smaller pipe (the user's pipe quota) works too, with more calls.
        let _ = rustix::pipe::fcntl_setpipe_size(&write, PIPE_BYTES);
        Ok(Pipe { read, write })
    }

    fn give(&self, pipe: Pipe) {
        let mut free = self.0.borrow_mut();
        if free.len() < PIPES_KEPT {
            free.push(pipe);
        }
    }
}

/// Keeps both sockets non-blocking. The other direction of an exchange may be splicing as well, so each
/// socket counts who needs it.
struct NonBlocking<'a> {
    sockets: [&'a Socket; 2],
    driver: Driver,
}

impl<'a> NonBlocking<'a> {
    fn new(sockets: [&'a Socket; 2], driver: Driver) -> io::Result<Self> {
        let guard = NonBlocking { sockets, driver };
        if driver.nonblocking() {
            return Ok(guard);
        }
        let held = sockets.map(Socket::hold_nonblocking);
        held.into_iter().collect::<io::Result<()>>()?;
        Ok(guard)
    }
}

impl Drop for NonBlocking<'_> {
    fn drop(&mut self) {
        if !self.driver.nonblocking() {
            self.sockets.into_iter().for_each(Socket::release_nonblocking);
        }
    }
}

/// Has the kernel handle the sockets' TLS records, if it may, because `more` bytes are about to move; says whether
/// they can be spliced. Records that user space opens and seals must come through it.
pub(super) fn prepare_for(from: &Socket, to: &Socket, more: u64) -> bool {
    for socket in [from, to] {
        if let Some(session) = socket.session() {
            session.prepare_for(socket, more);
        }
    }
    from.may_splice() && to.may_splice()
}

/// What is left to do after a splice from a socket gave nothing.
enum Dry {
    /// Try again.
    Again,
    /// Wait.
    Wait,
    /// The source has ended its sending direction.
    End,
    /// It has ended otherwise, or failed.
    Broken,
}

/// Where the kernel handles TLS records, one that is not data stops splicing with `EINVAL`, and the connection's
/// end is none without a farewell.
fn dry(from: &Socket, result: Result<usize, Errno>) -> Dry {
    let Some(session) = from.session() else {
        return match result {
            Ok(_) => Dry::End,
            Err(Errno::INTR) => Dry::Again,
            Err(Errno::AGAIN) => Dry::Wait,
            Err(_) => Dry::Broken,
        };
    };
    match result {
        Err(Errno::INTR) => return Dry::Again,
        Err(Errno::AGAIN) => {}
        _ if session.is_closed() => {}
        _ => match session.control(from) {
            Control::Done => return Dry::Again,
            Control::Nothing | Control::Closed => {}
            Control::Data | Control::End => return Dry::Broken,
        },
    }
    if session.is_closed() { Dry::End } else { Dry::Wait }
}

/// Whether `to` takes `bytes` more: the keys of TLS records are good for a number of them.
fn may_send(to: &Socket, bytes: usize) -> bool {
    to.session().is_none_or(|session| session.account(to, bytes).is_ok())
}

/// Moves exactly `total` bytes from `from` to `to`; `progress(read, written)` after each step.
///
/// # Errors
///
/// `Ok(Err(..))` when the transfer broke; `Err` when it could not even begin (no descriptors for a pipe, or
/// TLS in user space), so that the caller can copy instead.
pub(crate) async fn splice_exact(
    from: &Socket,
    to: &Socket,
    total: u64,
    pipes: &Pipes,
    driver: Driver,
    progress: impl Fn(usize, usize),
) -> io::Result<Result<(), Broken>> {
    if !prepare_for(from, to, total) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let pipe = pipes.take()?;
    let _guard = NonBlocking::new([from, to], driver)?;
    let mut unread = total;
    let mut held = 0_usize;
    while unread > 0 || held > 0 {
        if held == 0 {
            let most = usize::try_from(unread).unwrap_or(usize::MAX).min(PIPE_BYTES);
            match splice(from, None, &pipe.write, None, most, SpliceFlags::MOVE | SpliceFlags::NONBLOCK) {
                Ok(moved @ 1..) => {
                    unread -= moved as u64;
                    held = moved;
                    progress(moved, 0);
                }
                other => match dry(from, other) {
                    Dry::Again => {}
                    Dry::Wait if from.readable().await.is_ok() => {}
                    _ => return Ok(Err(Broken::Source)),
                },
            }
            continue;
        }
        if !may_send(to, held) {
            return Ok(Err(Broken::Destination));
        }
        let more = if unread > 0 { SpliceFlags::MORE } else { SpliceFlags::empty() };
        match splice(&pipe.read, None, to, None, held, SpliceFlags::MOVE | SpliceFlags::NONBLOCK | more) {
            Ok(moved) => {
                held -= moved;
                progress(0, moved);
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if to.writable().await.is_ok() => {}
            Err(_) => return Ok(Err(Broken::Destination)),
        }
    }
    pipes.give(pipe);
    Ok(Ok(()))
}

/// Moves what is there, and what comes meanwhile, from `from` to `to`, until nothing is there any more or
/// about `most` bytes were moved; `progress(read, written)` after each step. Holds a pipe only for so long.
///
/// # Errors
///
/// As [`splice_exact`].
pub(crate) async fn splice_some(
    from: &Socket,
    to: &Socket,
    most: u64,
    pipes: &Pipes,
    driver: Driver,
    progress: impl Fn(usize, usize),
) -> io::Result<Result<Spliced, Broken>> {
    if !prepare_for(from, to, most) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let pipe = pipes.take()?;
    let _guard = NonBlocking::new([from, to], driver)?;
    let mut moved = 0_u64;
    let mut held = 0_usize;
    loop {
        if held == 0 {
            if moved >= most {
                break;
            }
            match splice(from, None, &pipe.write, None, PIPE_BYTES, SpliceFlags::MOVE | SpliceFlags::NONBLOCK)
            {
                Ok(read @ 1..) => {
                    held = read;
                    progress(read, 0);
                }
                other => match dry(from, other) {
                    Dry::Again => {}
                    Dry::Wait => break,
                    Dry::End => {
                        pipes.give(pipe);
                        return Ok(Ok(Spliced::End));
                    }
                    Dry::Broken => return Ok(Err(Broken::Source)),
                },
            }
            continue;
        }
        if !may_send(to, held) {
            return Ok(Err(Broken::Destination));
        }
        // Nobody knows whether more will come, so the kernel is not told to wait for it.
        match splice(&pipe.read, None, to, None, held, SpliceFlags::MOVE | SpliceFlags::NONBLOCK) {
            Ok(written) => {
                held -= written;
                moved += written as u64;
                progress(0, written);
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if to.writable().await.is_ok() => {}
            Err(_) => return Ok(Err(Broken::Destination)),
        }
    }
    pipes.give(pipe);
    Ok(Ok(Spliced::Some(moved)))
}
