//! Waits for sockets and for a time, whichever comes first, to the microsecond.
//!
//! `epoll` alone counts time-outs in milliseconds, which is coarse for a schedule of thousands of
//! requests a second: a timer descriptor among the sockets has the resolution of the clock.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};

use crate::clock::Clock;

/// Events taken from the kernel at once.
const EVENTS_MAX: usize = 256;

/// The event key of the timer; sockets have the numbers of their slots.
const TIMER_KEY: u64 = u64::MAX;

/// Sockets and a timer.
pub(crate) struct Poller {
    epoll: OwnedFd,
    timer: OwnedFd,
    /// What the timer is set to: nanoseconds of the monotonic clock.
    armed: Option<u64>,
}

impl Poller {
    /// A poller without sockets.
    ///
    /// # Errors
    /// No descriptor is to be had.
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, &timer, epoll::EventData::new_u64(TIMER_KEY), flags)?;
        Ok(Poller { epoll, timer, armed: None })
    }

    /// Reports `slot` whenever the socket becomes readable, writable or closed; until it is closed here.
    ///
    /// # Errors
    /// The kernel refuses to watch it.
    pub(crate) fn watch(&self, socket: impl AsFd, slot: usize) -> io::Result<()> {
        use epoll::EventFlags as Flags;
        let flags = Flags::IN | Flags::OUT | Flags::RDHUP | Flags::ET;
        Ok(epoll::add(&self.epoll, socket, epoll::EventData::new_u64(slot as u64), flags)?)
    }

    /// Waits until a socket has something or `clock` reads `until`; fills `ready` with the slots.
    ///
    /// # Errors
    /// The kernel refuses to wait.
    pub(crate) fn wait(&mut self, clock: Clock, until: u64, ready: &mut Vec<usize>) -> io::Result<()> {
        ready.clear();
        let none = epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) };
        let mut events = [none; EVENTS_MAX];
        let now = clock.now();
        if until > now {
            self.arm(until - now)?;
        }
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let timeout = (until <= now).then_some(&zero);
        let count = match epoll::wait(&self.epoll, &mut events[..], timeout) {
            Ok(count) => count,
            Err(rustix::io::Errno::INTR) => 0,
            Err(error) => return Err(error.into()),
        };
        for event in &events[..count] {
            match event.data.u64() {
                TIMER_KEY => self.armed = None,
                slot => ready.push(slot as usize),
            }
        }
        Ok(())
    }

    /// Sets the timer to `after` nanoseconds from now, if it is not set to a time close to that. Close is
    /// a microsecond: the two clocks are read one after the other.
    fn arm(&mut self, after: u64) -> io::Result<()> {
        let now = clock_gettime(ClockId::Monotonic);
        let now =
            u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0);
        // A far time is as good as none, and does not overflow.
        let at = now + after.min(1 << 60);
        if self.armed.is_some_and(|armed| armed.abs_diff(at) < 1_000) {
            return Ok(());
        }
        let it_value = Timespec { tv_sec: (at / 1_000_000_000) as i64, tv_nsec: (at % 1_000_000_000) as i64 };
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &Itimerspec { it_interval, it_value })?;
        self.armed = Some(at);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;

    #[test]
    fn it_ends_at_the_time_or_with_a_socket() {
        let (clock, mut poller, mut ready) = (Clock::start(), Poller::new().unwrap(), Vec::new());
        let (mut near, far) = UnixStream::pair().unwrap();
        poller.watch(&far, 7).unwrap();
        // Writable from the start.
        poller.wait(clock, clock.now() + 5_000_000_000, &mut ready).unwrap();
        assert_eq!(ready, [7]);
        let until = clock.now() + 1_500_000;
        poller.wait(clock, until, &mut ready).unwrap();
        assert!(ready.is_empty() && clock.now() + 2_000 >= until);
        near.write_all(b"x").unwrap();
        poller.wait(clock, clock.now() + 5_000_000_000, &mut ready).unwrap();
        assert_eq!(ready, [7]);
        // The time has passed already: it does not wait at all.
        poller.wait(clock, 0, &mut ready).unwrap();
        assert!(ready.is_empty());
    }
}
