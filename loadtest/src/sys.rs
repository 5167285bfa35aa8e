//! Signals and one socket option: the only unsafe code of the program.
//!
//! Termination signals are blocked before the first thread is started (threads inherit the mask) and
//! then waited for by one thread, so that no code ever runs in a signal handler.

use std::mem::MaybeUninit;
use std::os::fd::RawFd;

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
