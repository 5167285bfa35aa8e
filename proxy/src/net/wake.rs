//! Waking a shard: an eventfd for messages of other threads, a timerfd for the next deadline.
//!
//! Both are polled by the shard's own driver, so that nothing of the driver has to be thread-safe.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use pinion_core::time::Instant;
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

use crate::net::socket::Socket;

/// A new eventfd, to be shared by senders; the shard waits on a duplicate.
pub(crate) fn new_eventfd() -> io::Result<OwnedFd> {
    Ok(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

/// A counter descriptor (eventfd or timerfd) that one task of the shard waits on.
pub(crate) struct Counter(Socket);

impl Counter {
    /// Waits on `fd` with the driver of the current shard.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Counter(Socket::new(fd)?))
    }

    /// Waits until the counter is not zero, and zeroes it.
    pub(crate) async fn wait(&self) -> io::Result<()> {
        loop {
            self.0.readable().await?;
            match rustix::io::read(&self.0, &mut [0_u8; 8]) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return other.map(drop).map_err(io::Error::from),
            }
        }
    }

    /// Arms a timerfd to fire once at `due` (never, for [`Instant::NEVER`]).
    pub(crate) fn arm(&self, due: Instant) {
        // An all-zero value disarms; a due time of the origin itself can't occur.
        let nanos = if due == Instant::NEVER { 0 } else { due.nanos().max(1) };
        let at = Duration::from_nanos(nanos);
        let value = Timespec { tv_sec: at.as_secs() as _, tv_nsec: at.subsec_nanos() as _ };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        let armed = rustix::time::timerfd_settime(&self.0, TimerfdTimerFlags::ABSTIME, &once);
        debug_assert!(armed.is_ok(), "timerfd_settime takes every value made here");
    }
}

/// A timer on the monotonic clock, not armed.
pub(crate) fn new_timer() -> io::Result<Counter> {
    let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
    Counter::new(rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?)
}
