//! Signals, limits, socket options, and sockets by number: the only unsafe code of the program.
//!
//! Termination signals are blocked before the first thread is started (threads inherit the mask) and
//! then waited for by one thread, so that no code ever runs in a signal handler.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The signals that end the program in an orderly way.
const TERMINATION: [libc::c_int; 2] = [libc::SIGTERM, libc::SIGINT];

fn termination_set() -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `sigemptyset` initialises the whole set it is given; `sigaddset` then changes an
    // initialised set, and the signal numbers are valid constants.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in TERMINATION {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        set.assume_init()
    }
}

/// Blocks SIGTERM and SIGINT for this thread and every thread it starts from now on.
pub(crate) fn block_termination() {
    let set = termination_set();
    // SAFETY: `set` is initialised and lives over the call; a null old set is allowed.
    unsafe {
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
    }
}

/// Waits until SIGTERM or SIGINT arrives. Call [`block_termination`] first.
pub(crate) fn wait_termination() {
    let set = termination_set();
    let mut signal: libc::c_int = 0;
    // SAFETY: both pointers refer to initialised variables that live over the call.
    while unsafe { libc::sigwait(&raw const set, &raw mut signal) } != 0 {}
}

/// Raises the number of descriptors that this process may open as far as it is allowed to; gives that number.
pub(crate) fn raise_descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Lets the kernel choose the port of a socket that is bound to an address when it connects, so that the same
/// port serves connections to several peers (IP_BIND_ADDRESS_NO_PORT).
pub(crate) fn bind_without_port(socket: BorrowedFd<'_>) {
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open over the call, and the option's value is an int that lives over it.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        );
    }
}

/// A socket whose owner is a task that waits on it: it can be written, shut down and duplicated at once, from
/// anywhere on the same thread.
///
/// Whoever keeps one forgets it before the task closes the socket; a number that was kept too long would name
/// nothing, or another socket of this program, but no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SocketNumber(RawFd);

impl SocketNumber {
    /// The number of an open socket.
    pub(crate) fn new(socket: RawFd) -> Self {
        SocketNumber(socket)
    }

    /// Sends what the socket takes without waiting.
    ///
    /// # Errors
    /// `WouldBlock` when it takes nothing now; anything else when the connection is gone.
    pub(crate) fn send(self, bytes: &[u8]) -> io::Result<usize> {
        let flags = rustix::net::SendFlags::DONTWAIT | rustix::net::SendFlags::NOSIGNAL;
        Ok(rustix::net::send(self.borrowed(), bytes, flags)?)
    }

    /// Ends the connection: whoever waits on it is woken.
    pub(crate) fn shut_down(self) {
        // One that has ended already is as it should be.
        let _ = rustix::net::shutdown(self.borrowed(), rustix::net::Shutdown::Both);
    }

    /// Another descriptor of the same socket.
    ///
    /// # Errors
    /// There are no more descriptors.
    pub(crate) fn duplicate(self) -> io::Result<OwnedFd> {
        self.borrowed().try_clone_to_owned()
    }

    fn borrowed(&self) -> BorrowedFd<'_> {
        // SAFETY: the socket is open (the type's contract), and the borrow does not outlive the call that it
        // is made for, during which no task of this thread can run and close it.
        unsafe { BorrowedFd::borrow_raw(self.0) }
    }
}

/// Closing the socket `fd` from now on resets its connection instead of ending it. Only TCP knows resets;
/// other sockets ignore it, and a descriptor that is no socket stays what it is.
pub(crate) fn reset_on_close(fd: RawFd) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: the pointer and the length are those of `linger`, which lives over the call; a number that
    // is no descriptor is answered with an error.
    unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of::<libc::linger>() as libc::socklen_t,
        );
    }
}
