//! Time as an argument: a monotonic instant in nanoseconds since an origin the program chose.
//!
//! Invariants: instants of one program share one origin; arithmetic saturates, never panics.
//!
//! Not here: reading a clock.

use std::time::Duration;

pub use wheel::Wheel;

mod wheel;

/// A monotonic instant, in nanoseconds since an arbitrary origin of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The origin itself.
    pub const ZERO: Instant = Instant(0);
    /// Later than every deadline: "no deadline".
    pub const NEVER: Instant = Instant(u64::MAX);

    /// The instant `nanos` nanoseconds after the origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Instant(nanos)
    }

    /// Nanoseconds since the origin.
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// This instant moved by `by`, saturating at [`Instant::NEVER`].
    pub const fn after(self, by: Duration) -> Self {
        let nanos = by.as_nanos();
        if nanos >= u64::MAX as u128 { Instant::NEVER } else { Instant(self.0.saturating_add(nanos as u64)) }
    }

    /// The time from `earlier` to this instant, zero when `earlier` is later.
    pub const fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}
