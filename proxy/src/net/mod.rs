//! The socket layer: everything that knows the driver, and nothing that decides about requests.
//!
//! Owns accept, connect, receive, send, splice, readiness, shutdown, spawn, tick and cross-thread wake.
//!
//! Invariants:
//! - with `sys` the only place that knows the drivers: nothing above sees which one is at work;
//! - accept and connect are readiness waits plus a non-blocking call: cancelling one can't lose a descriptor;
//! - a deadline never cancels an operation: it shuts the socket down, so that the operation ends by itself.

pub(crate) mod accept;
pub(crate) mod buffers;
pub(crate) mod clock;
pub(crate) mod connect;
mod epoll;
pub(crate) mod parked;
pub(crate) mod pump;
mod raw;
pub(crate) mod reactor;
pub(crate) mod recv;
mod secure;
pub(crate) mod send;
pub(crate) mod socket;
pub(crate) mod splice;
pub(crate) mod wake;

pub(crate) use crate::sys::task::spawn;

/// How the shards wait for sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Driver {
    /// Completions from an io_uring; sockets are blocking, the ring waits in the kernel.
    IoUring,
    /// Readiness from epoll; sockets are non-blocking.
    Epoll,
}

impl Driver {
    /// The word used in configuration, logs and `pinion_driver_info`.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Driver::IoUring => "io_uring",
            Driver::Epoll => "epoll",
        }
    }

    /// Whether stream sockets must be non-blocking under this driver.
    pub(crate) const fn nonblocking(self) -> bool {
        matches!(self, Driver::Epoll)
    }
}
