//! Time as the generator counts it: nanoseconds since the run began, from the monotonic clock.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A clock that began at zero, or will.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// The zero on the monotonic clock of this machine, in nanoseconds.
    zero: u64,
}

impl Clock {
    /// A clock whose zero is now.
    pub(crate) fn start() -> Self {
        Clock { zero: monotonic() }
    }

    /// A clock whose zero is at this time of [`monotonic`].
    pub(crate) fn starting_at(zero: u64) -> Self {
        Clock { zero }
    }

    /// Nanoseconds since the start; 0 before it.
    pub(crate) fn now(self) -> u64 {
        monotonic().saturating_sub(self.zero)
    }

    /// When this clock reads `at`, on the monotonic clock.
    pub(crate) fn monotonic_of(self, at: u64) -> u64 {
        self.zero.saturating_add(at)
    }
}

/// The monotonic clock of this machine, in nanoseconds.
pub(crate) fn monotonic() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    // INVARIANT: it counts from the start of the machine, and is not negative.
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

/// A duration in nanoseconds; 584 years and more are all the same.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
