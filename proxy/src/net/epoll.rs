//! The epoll of a shard: which sockets may be read or written, and who waits for that.
//!
//! Sockets are watched edge-triggered from their start, so that waiting needs no call of its own. A bit says
//! that trying is worthwhile; a call that would block, or moves less than it had room for, clears it.
//!
//! ```text
//!   event ──> bit set, waiter woken ──> call ──all there was──> bit clear ──event──> ...
//! ```
//!
//! Invariants:
//! - a bit is cleared only by a call made after it was set, so that no event is lost: later ones set it again;
//! - after a hang-up the bits stay: there is an end or an error to be read at any time.
//!
//! HOT: 0 allocations; 1 system call a turn, and none to begin or end waiting.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use slab::Slab;

/// Events taken at once.
const EVENTS: usize = 1_024;
const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// One direction of a socket.
#[derive(Default)]
struct Side {
    /// Trying is worthwhile.
    ready: Cell<bool>,
    waiter: Cell<Option<Waker>>,
}

/// What is known of a socket.
#[derive(Default)]
pub(crate) struct Watched {
    read: Side,
    write: Side,
    /// The peer ended, or something failed.
    hung_up: Cell<bool>,
    key: Cell<u32>,
}

/// An epoll instance and the sockets it watches.
pub(crate) struct Epoll {
    fd: OwnedFd,
    watched: RefCell<Slab<Rc<Watched>>>,
    events: RefCell<Vec<Event>>,
}

impl Epoll {
    /// An epoll instance for this thread.
    ///
    /// # Errors
    ///
    /// When there is no descriptor for it.
    // ALLOC: once a shard.
    pub(crate) fn new() -> io::Result<Rc<Self>> {
        let fd = epoll::create(CreateFlags::CLOEXEC)?;
        let events = RefCell::new(Vec::with_capacity(EVENTS));
        Ok(Rc::new(Epoll { fd, watched: RefCell::new(Slab::new()), events }))
    }

    /// Watches `socket`, which must not block, until [`Epoll::forget`].
    ///
    /// # Errors
    ///
    /// When the kernel can't.
    // ALLOC: once a connection.
    pub(crate) fn watch(&self, socket: BorrowedFd<'_>) -> io::Result<Rc<Watched>> {
        let mut all = self.watched.borrow_mut();
        let entry = all.vacant_entry();
        let key = entry.key();
        let both = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.fd, socket, EventData::new_u64(key as u64), both)?;
        let watched = Rc::new(Watched::default());
        watched.key.set(key as u32);
        entry.insert(watched.clone());
        Ok(watched)
    }

    /// Ends watching a socket that is about to be closed.
    pub(crate) fn forget(&self, socket: BorrowedFd<'_>, watched: &Watched) {
        // Closing would not do: a duplicate may live on, on another shard. Can't fail for what is watched.
        let _ = epoll::delete(&self.fd, socket);
        self.watched.borrow_mut().try_remove(watched.key.get() as usize);
    }

    /// Waits (if `wait`) for events and wakes whom they concern.
    ///
    /// # Errors
    ///
    /// When the instance is unusable.
    pub(crate) fn turn(&self, wait: bool) -> io::Result<()> {
        let mut events = self.events.borrow_mut();
        events.clear();
        match epoll::wait(&self.fd, spare_capacity(&mut events), (!wait).then_some(&NOW)) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let all = self.watched.borrow();
        for event in events.iter() {
            // Copied: the kernel packs events.
            let (flags, data) = (event.flags, event.data);
            let Some(watched) = all.get(data.u64() as usize) else {
                continue;
            };
            let ended = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
            if ended {
                watched.hung_up.set(true);
            }
            if ended || flags.contains(EventFlags::IN) {
                watched.read.set_ready();
            }
            if flags.intersects(EventFlags::OUT | EventFlags::HUP | EventFlags::ERR) {
                watched.write.set_ready();
            }
        }
        Ok(())
    }
}

impl Side {
    fn set_ready(&self) {
        self.ready.set(true);
        if let Some(waiter) = self.waiter.take() {
            waiter.wake();
        }
    }

    fn wait(&self, cx: &Context<'_>) {
        self.waiter.set(Some(cx.waker().clone()));
    }
}

impl Watched {
    fn side(&self, write: bool) -> &Side {
        if write { &self.write } else { &self.read }
    }

    /// Calls `call`, which has room for `room` bytes, when that is worthwhile; else has the task of `cx` woken
    /// when it is.
    pub(crate) fn poll_call(
        &self,
        cx: &Context<'_>,
        write: bool,
        room: usize,
        mut call: impl FnMut() -> Result<usize, Errno>,
    ) -> Poll<io::Result<usize>> {
        let side = self.side(write);
        while side.ready.get() {
            match call() {
                Ok(moved) => {
                    // A stream that gives less than was asked for has no more (epoll(7), question 9).
                    if moved < room && !self.hung_up.get() {
                        side.ready.set(false);
                    }
                    return Poll::Ready(Ok(moved));
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => side.ready.set(false),
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
        side.wait(cx);
        Poll::Pending
    }

    /// Ready when a call on `socket` would not block: the bit may be out of date, the socket is asked.
    pub(crate) fn poll_ready(
        &self,
        cx: &Context<'_>,
        write: bool,
        socket: BorrowedFd<'_>,
    ) -> Poll<io::Result<()>> {
        let side = self.side(write);
        if side.ready.get() {
            let asked = if write { PollFlags::OUT } else { PollFlags::IN | PollFlags::RDHUP };
            match rustix::event::poll(&mut [PollFd::from_borrowed_fd(socket, asked)], Some(&NOW)) {
                Ok(0) => side.ready.set(false),
                Ok(_) | Err(Errno::INTR) => return Poll::Ready(Ok(())),
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
        side.wait(cx);
        Poll::Pending
    }
}
