//! The clock of the data plane: `CLOCK_MONOTONIC` through the vDSO (about 20 ns, no system call), one origin
//! for all threads, and the wall clock for log lines.

use pinion_core::time::Instant;
use rustix::time::{ClockId, Timespec, clock_gettime};

fn nanos(time: Timespec) -> u64 {
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

/// The monotonic time now.
pub(crate) fn now() -> Instant {
    Instant::from_nanos(nanos(clock_gettime(ClockId::Monotonic)))
}

/// Nanoseconds since the Unix epoch.
pub(crate) fn unix_nanos() -> u64 {
    nanos(clock_gettime(ClockId::Realtime))
}
