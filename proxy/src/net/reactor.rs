//! What a shard's sockets stand on: its ring or its epoll instance, found by every new socket of the thread.
//!
//! Not here: tasks (`sys::task`), which driver is chosen (`boot::probe`).

use std::cell::OnceCell;
use std::io;
use std::rc::Rc;

use super::epoll::Epoll;
use super::{Driver, clock};
use crate::boot::probe;
use crate::sys::ring::Ring;
use crate::sys::task;

/// The driver at work.
#[derive(Clone)]
pub(crate) enum Reactor {
    /// Completions.
    Ring(Rc<Ring>),
    /// Readiness.
    Epoll(Rc<Epoll>),
}

thread_local! {
    static CURRENT: OnceCell<Reactor> = const { OnceCell::new() };
}

/// The driver of this thread.
///
/// # Errors
///
/// When the thread has none, because it is no shard's.
pub(crate) fn current() -> io::Result<Reactor> {
    CURRENT.with(|current| current.get().cloned()).ok_or_else(|| io::Error::other("no driver on this thread"))
}

/// Makes this thread a shard's, on `driver`.
///
/// # Errors
///
/// When the driver can't be had.
pub(crate) fn start(driver: Driver) -> io::Result<()> {
    let reactor = match driver {
        Driver::IoUring => Reactor::Ring(Ring::new(&probe::ring_builder(), probe::RING_ENTRIES)?),
        Driver::Epoll => Reactor::Epoll(Epoll::new()?),
    };
    let set = CURRENT.with(|current| current.set(reactor));
    set.map_err(|_| io::Error::other("the thread has a driver already"))
}

/// Runs `main` and what it spawns on the started driver, until `main` ends.
///
/// # Errors
///
/// When the driver fails.
pub(crate) fn run(main: impl Future<Output = ()> + 'static) -> io::Result<()> {
    let reactor = current()?;
    clock::begin_turn();
    task::run(main, move |wait| {
        match &reactor {
            Reactor::Ring(ring) => ring.turn(wait)?,
            Reactor::Epoll(epoll) => epoll.turn(wait)?,
        }
        clock::begin_turn();
        Ok(())
    })
}
