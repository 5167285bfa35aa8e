//! The io_uring of a shard: operations in flight with the buffers that the kernel works on.
//!
//! ```text
//!   start ──> in flight ──completion──> done ──polled──> gone
//!                │ └─ dropped: cancelled and forgotten; its buffer stays until the kernel is done with it
//!   quiet send ──> the next turn hands it in ──no completion──> done, all of it was sent
//!                                            └─completion──> how much was sent, or why not
//! ```
//!
//! **Quiet sends** are small sends that succeed at once or not at all: `MSG_DONTWAIT` ends them while they are
//! handed in, `MSG_WAITALL` makes sending less than all of it a failure, and `IOSQE_CQE_SKIP_SUCCESS` keeps the
//! kernel from reporting success. So once the ring took a turn's entries and the completions it made of them
//! are read, a quiet send without one has sent everything. That saves a completion for each message, and for
//! a message that nobody waits for, a turn.
//!
//! Invariants:
//! - a flight owns its buffer and holds its socket from its start until the kernel is done with it;
//! - a completion names its flight by place and serial number: a late one can't hit the next flight there;
//! - a quiet send is settled only when the kernel has taken every entry and no completion is held back.
//!
//! HOT: 0 allocations in steady state; 1 system call a turn.

use std::cell::RefCell;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use io_uring::{IoUring, cqueue, opcode, squeue, types};
use slab::Slab;

use super::buffer::Buffer;
use crate::net::socket::Socket;

/// Of the kernel's interface (`linux/io_uring.h`): run what is due, and count completions, in this call.
const ENTER_GETEVENTS: u32 = 1;
/// Likewise: wait for the socket before trying it, because what is asked for is not there yet.
const RECVSEND_POLL_FIRST: u16 = 1;
/// Completions nobody asks for: those of cancelling.
const NOBODY: u64 = u64::MAX;

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Poll,
    Receive,
    Send,
    /// A send whose success is not reported.
    QuietSend,
}

/// One operation, from its start until its outcome is taken.
struct Flight {
    socket: Socket,
    buffer: Option<Buffer>,
    waker: Option<Waker>,
    /// Bytes, or a negative error.
    outcome: Option<i32>,
    serial: u32,
    kind: Kind,
    /// Of a quiet send: its waiter wants to be woken only if it failed.
    lazy: bool,
    /// Nobody waits for it any more.
    forgotten: bool,
}

struct State {
    uring: IoUring,
    // Never dropped: see `Ring`.
    flights: ManuallyDrop<Slab<Flight>>,
    /// Quiet sends since the last turn.
    quiet: Vec<u32>,
    serial: u32,
}

/// A ring and its flights. When it is dropped (its thread ends, with the process), the buffers in flight are
/// leaked: the kernel may still write into them.
pub(crate) struct Ring(RefCell<State>);

/// An operation in flight. Dropping it calls the operation off.
pub(crate) struct Flying {
    ring: Rc<Ring>,
    /// `None` once its outcome was taken.
    key: Option<u32>,
}

impl Ring {
    /// A ring as `builder` describes it, for this thread.
    ///
    /// # Errors
    ///
    /// When the kernel refuses it.
    // ALLOC: once a shard.
    pub(crate) fn new(builder: &io_uring::Builder, entries: u32) -> io::Result<Rc<Self>> {
        let uring = builder.build(entries)?;
        let flights = ManuallyDrop::new(Slab::new());
        Ok(Rc::new(Ring(RefCell::new(State { uring, flights, quiet: Vec::new(), serial: 0 }))))
    }

    /// Waits until `socket` is readable (or, for `write`, writable).
    pub(crate) fn poll_ready(self: &Rc<Self>, socket: &Socket, write: bool) -> Flying {
        let mask = if write { libc::POLLOUT } else { libc::POLLIN };
        let entry = opcode::PollAdd::new(types::Fd(socket.as_raw_fd()), mask as u32).build();
        self.start(socket, None, Kind::Poll, |_| entry)
    }

    /// Receives into the room of `buffer`; `later`: nothing is there yet, most probably.
    pub(crate) fn receive(self: &Rc<Self>, socket: &Socket, buffer: Buffer, later: bool) -> Flying {
        let fd = types::Fd(socket.as_raw_fd());
        self.start(socket, Some(buffer), Kind::Receive, |flight| {
            let (place, room) = flight.buffer.as_mut().map_or((std::ptr::null_mut(), 0), Buffer::room_parts);
            let entry = opcode::Recv::new(fd, place, u32::try_from(room).unwrap_or(u32::MAX)).build();
            if later { with_priority(entry, RECVSEND_POLL_FIRST) } else { entry }
        })
    }

    /// Sends unread bytes of `buffer`, waiting until some can be sent.
    pub(crate) fn send(self: &Rc<Self>, socket: &Socket, buffer: Buffer) -> Flying {
        self.start(socket, Some(buffer), Kind::Send, |flight| {
            flight.send_entry().flags(libc::MSG_NOSIGNAL).build()
        })
    }

    /// Sends all unread bytes of `buffer` at once, or says how many it were: see the module's comment.
    pub(crate) fn send_quietly(self: &Rc<Self>, socket: &Socket, buffer: Buffer) -> Flying {
        let flying = self.start(socket, Some(buffer), Kind::QuietSend, |flight| {
            let flags = libc::MSG_NOSIGNAL | libc::MSG_WAITALL | libc::MSG_DONTWAIT;
            flight.send_entry().flags(flags).build().flags(squeue::Flags::SKIP_SUCCESS)
        });
        if let Some(key) = flying.key {
            self.0.borrow_mut().quiet.push(key);
        }
        flying
    }

    fn start(
        self: &Rc<Self>,
        socket: &Socket,
        buffer: Option<Buffer>,
        kind: Kind,
        entry: impl FnOnce(&mut Flight) -> squeue::Entry,
    ) -> Flying {
        let state = &mut *self.0.borrow_mut();
        state.serial = state.serial.wrapping_add(1);
        let mut flight = Flight {
            socket: socket.clone(),
            buffer,
            waker: None,
            outcome: None,
            serial: state.serial,
            kind,
            lazy: false,
            forgotten: false,
        };
        let entry = entry(&mut flight);
        let key = state.flights.insert(flight) as u32;
        state.push(entry.user_data(name(key, state.serial)));
        Flying { ring: self.clone(), key: Some(key) }
    }

    /// Hands in what was started, waits (if `wait`) until something happened, and wakes whose operations
    /// are done.
    ///
    /// # Errors
    ///
    /// When the ring is unusable.
    pub(crate) fn turn(&self, wait: bool) -> io::Result<()> {
        let state = &mut *self.0.borrow_mut();
        // Somebody waits for a send that will not report: there is something to do once it is handed in.
        let wait = wait && !state.quiet.iter().any(|&key| state.is_awaited(key));
        state.enter(wait)?;
        state.reap();
        while state.uring.submission().cq_overflow() {
            state.enter(false)?;
            state.reap();
        }
        if state.uring.submission().is_empty() {
            state.settle();
        }
        Ok(())
    }
}

/// What a flight is called in the ring.
const fn name(key: u32, serial: u32) -> u64 {
    (serial as u64) << 32 | key as u64
}

/// `entry` with the field `ioprio` set, for which this operation has no method.
fn with_priority(entry: squeue::Entry, priority: u16) -> squeue::Entry {
    const SIZE: usize = size_of::<squeue::Entry>();
    // SAFETY: an entry is plain numbers in the layout of the kernel's interface (`repr(C)`, no padding, zeroed
    // when made), where `ioprio` is the 16 bits behind `opcode` and `flags`; any bytes are an entry.
    unsafe {
        let mut bytes = std::mem::transmute::<squeue::Entry, [u8; SIZE]>(entry);
        bytes[2..4].copy_from_slice(&priority.to_ne_bytes());
        std::mem::transmute::<[u8; SIZE], squeue::Entry>(bytes)
    }
}

impl Flight {
    fn send_entry(&self) -> opcode::Send {
        let bytes = self.buffer.as_ref().map_or(&b""[..], Buffer::unread);
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        opcode::Send::new(types::Fd(self.socket.as_raw_fd()), bytes.as_ptr(), length)
    }

    fn done(&mut self, outcome: i32) {
        self.outcome = Some(outcome);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl State {
    fn push(&mut self, entry: squeue::Entry) {
        loop {
            // SAFETY: what the entry points at is the storage of a buffer that its flight owns until the kernel
            // says that it is done; the storage does not move, and flights are never dropped before that.
            if unsafe { self.uring.submission().push(&entry) }.is_ok() {
                return;
            }
            // Full: the kernel takes what is there. It refuses only until completions are read; an unusable
            // ring shows with the next turn.
            let _ = self.enter(false);
            self.reap();
        }
    }

    /// Hands the entries in and, with `wait`, waits for a completion.
    fn enter(&mut self, wait: bool) -> io::Result<()> {
        let entries = self.uring.submission().len() as u32;
        let submitter = self.uring.submitter();
        // SAFETY: the entries in the queue were pushed under the promise above; no argument is passed.
        let entered =
            unsafe { submitter.enter::<libc::sigset_t>(entries, u32::from(wait), ENTER_GETEVENTS, None) };
        match entered {
            Ok(_) => Ok(()),
            // A signal, or the kernel wants completions read first: what was not taken is handed in again.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY)) => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Reads every completion.
    fn reap(&mut self) {
        loop {
            let next: Option<cqueue::Entry> = self.uring.completion().next();
            let Some(completion) = next else {
                return;
            };
            if completion.user_data() != NOBODY {
                self.complete(completion.user_data(), completion.result());
            }
        }
    }

    fn complete(&mut self, name: u64, result: i32) {
        let (key, serial) = (name as u32, (name >> 32) as u32);
        let Some(flight) = self.flights.get_mut(key as usize) else {
            return;
        };
        if flight.serial != serial {
            return;
        }
        if flight.forgotten {
            self.flights.remove(key as usize);
            return;
        }
        if let (Kind::Receive, Some(buffer), Ok(received)) =
            (flight.kind, &mut flight.buffer, usize::try_from(result))
        {
            // SAFETY: the kernel wrote so many bytes at the place that `receive` gave it, and the buffer was
            // not touched since.
            unsafe { buffer.received(received) };
        }
        flight.done(result);
    }

    /// The quiet sends that nothing was heard of are done.
    fn settle(&mut self) {
        for &key in &self.quiet {
            let Some(flight) = self.flights.get_mut(key as usize) else {
                continue;
            };
            if flight.kind != Kind::QuietSend || flight.outcome.is_some() {
                continue;
            }
            if flight.forgotten {
                self.flights.remove(key as usize);
            } else {
                let all = flight.buffer.as_ref().map_or(0, |buffer| buffer.unread().len());
                if flight.lazy {
                    flight.waker = None;
                }
                flight.done(all as i32);
            }
        }
        self.quiet.clear();
    }

    fn is_awaited(&self, key: u32) -> bool {
        self.flights.get(key as usize).is_some_and(|flight| flight.waker.is_some() && !flight.lazy)
    }
}

impl Flying {
    /// The outcome, when there is one: bytes moved, and the buffer of those that have one.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(io::Result<usize>, Option<Buffer>)> {
        self.poll_for(cx, false)
    }

    /// Like [`Flying::poll`], but the success of a quiet send wakes nobody.
    pub(crate) fn poll_lazily(&mut self, cx: &mut Context<'_>) -> Poll<(io::Result<usize>, Option<Buffer>)> {
        self.poll_for(cx, true)
    }

    fn poll_for(&mut self, cx: &mut Context<'_>, lazy: bool) -> Poll<(io::Result<usize>, Option<Buffer>)> {
        let Some(key) = self.key else {
            return Poll::Pending;
        };
        let state = &mut *self.ring.0.borrow_mut();
        let flight = &mut state.flights[key as usize];
        let Some(outcome) = flight.outcome else {
            match &mut flight.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                None => flight.waker = Some(cx.waker().clone()),
            }
            flight.lazy = lazy;
            return Poll::Pending;
        };
        self.key = None;
        let flight = state.flights.remove(key as usize);
        let result = usize::try_from(outcome).map_err(|_| io::Error::from_raw_os_error(-outcome));
        Poll::Ready((result, flight.buffer))
    }

    /// Calls the operation off; its outcome comes nevertheless, and may still be a success.
    pub(crate) fn cancel(&self) {
        if let Some(key) = self.key {
            self.ring.0.borrow_mut().cancel(key);
        }
    }
}

impl State {
    fn cancel(&mut self, key: u32) {
        let flight = &self.flights[key as usize];
        // A quiet send is over with the turn anyway.
        if flight.outcome.is_none() && flight.kind != Kind::QuietSend {
            let entry = opcode::AsyncCancel::new(name(key, flight.serial)).build();
            self.push(entry.user_data(NOBODY));
        }
    }
}

impl Drop for Flying {
    fn drop(&mut self) {
        let Some(key) = self.key else {
            return;
        };
        let mut state = self.ring.0.borrow_mut();
        let flight = &mut state.flights[key as usize];
        if flight.outcome.is_none() {
            // Before it is cancelled: that may read completions, this one's among them.
            flight.forgotten = true;
            flight.waker = None;
            state.cancel(key);
            return;
        }
        let flight = state.flights.remove(key as usize);
        // Its buffer and its socket may be the last of their kind.
        drop(state);
        drop(flight);
    }
}
