//! The clock of the data plane: `CLOCK_MONOTONIC` through the vDSO (about 20 ns, no system call), one origin
//! for all threads, and the wall clock for log lines.

use std::cell::Cell;

use pinion_core::time::Instant;
use rustix::time::{ClockId, Timespec, clock_gettime};

fn nanos(time: Timespec) -> u64 {
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

/// The monotonic time now.
pub(crate) fn now() -> Instant {
    Instant::from_nanos(nanos(clock_gettime(ClockId::Monotonic)))
}

thread_local! {
    static TURN: Cell<Instant> = const { Cell::new(Instant::ZERO) };
}

/// When the turn of this shard's driver ended that woke whoever asks: the time at which what it brought was
/// seen. What has waited for others of the same turn since then is part of its own time. Costs no clock read.
pub(crate) fn turn() -> Instant {
    TURN.get()
}

/// Notes that a turn of the driver has ended.
pub(super) fn begin_turn() {
    TURN.set(now());
}

/// Nanoseconds since the Unix epoch.
pub(crate) fn unix_nanos() -> u64 {
    nanos(clock_gettime(ClockId::Realtime))
}
