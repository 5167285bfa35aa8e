//! Waits for a time to the microsecond. The runtime's own timers count milliseconds, which is coarse for a
//! schedule of thousands of requests a second: a timer descriptor has the resolution of the clock.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

/// A timer that a task can wait for.
pub(super) struct Timer {
    timer: OwnedFd,
    /// The same descriptor as something that the runtime can watch; nothing is read through it.
    watched: monoio::net::UnixStream,
}

impl Timer {
    /// A timer on this thread's runtime.
    ///
    /// # Errors
    /// There are no more descriptors.
    pub(super) fn new() -> io::Result<Self> {
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        let watched = monoio::net::UnixStream::from_std(UnixStream::from(timer.try_clone()?))?;
        Ok(Timer { timer, watched })
    }

    /// Waits until the monotonic clock reads `at`, in nanoseconds. A time that has passed waits too, for as
    /// long as the runtime takes to look at everything else once: whoever calls this in a loop starves nobody.
    ///
    /// # Errors
    /// The kernel refuses to wait.
    pub(super) async fn until(&mut self, at: u64) -> io::Result<()> {
        // Zero would switch it off; a far time is as good as none, and does not overflow.
        let at = at.clamp(1, 1 << 60);
        let it_value = Timespec { tv_sec: (at / 1_000_000_000) as i64, tv_nsec: (at % 1_000_000_000) as i64 };
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &Itimerspec { it_interval, it_value })?;
        self.watched.readable(false).await?;
        // How often it went off is of no interest.
        let _ = rustix::io::read(&self.timer, &mut [0_u8; 8]);
        Ok(())
    }
}
