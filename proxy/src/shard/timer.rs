//! One deadline of a connection: plain, or of a transfer that must move and keep a minimum rate.
//!
//! Not here: when deadlines are looked at (`slots`), arming them (`lease`).

use std::cell::{Cell, RefCell};
use std::time::Duration;

use pinion_core::limits::RATE_JUDGED_AFTER;
use pinion_core::time::Instant;

use crate::sys::socket::Socket;

/// A transfer's rate is judged again this often.
const RATE_PERIOD: Duration = Duration::from_secs(1);

/// Which of a connection's deadlines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Bytes from the client.
    Read = 0,
    /// Bytes to the client.
    Write = 1,
    /// Bytes from or to the upstream, a connect, a wait in the pool.
    Up = 2,
    /// The whole request.
    Request = 3,
}

/// How many lanes there are.
pub(super) const LANES: usize = 4;

/// Why a deadline fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The time was up, or nothing moved for the idle time.
    Late,
    /// Bytes moved, but slower than the minimum rate.
    Slow,
    /// The client went away.
    Gone,
}

/// What a fired deadline does.
pub(super) enum Cut {
    /// Wakes the waiting task.
    Wake,
    /// Calls off the receive that a warm connection waits in.
    Cool,
    /// Ends receiving on the socket: a pending receive returns 0 bytes, answers can still be sent.
    Reading(Socket),
    /// Ends both directions.
    Both(Socket),
}

/// One deadline.
#[derive(Default)]
pub(super) struct Timer {
    pub(super) due: Cell<Option<Instant>>,
    pub(super) cut: RefCell<Option<Cut>>,
    pub(super) fired: Cell<Option<Why>>,
    /// For transfers: at most this long without progress; zero for plain deadlines.
    pub(super) idle: Cell<Duration>,
    pub(super) min_rate: Cell<u64>,
    pub(super) started: Cell<Instant>,
    pub(super) moved_at: Cell<Instant>,
    pub(super) moved: Cell<u64>,
    pub(super) paused_at: Cell<Instant>,
}

/// What a look at a timer says.
pub(super) enum Verdict {
    /// It has no deadline.
    Unarmed,
    /// Look again then.
    Again(Instant),
    /// It fires now.
    Fired(Why),
}

impl Timer {
    /// Judges the timer at `now`.
    pub(super) fn verdict(&self, now: Instant) -> Verdict {
        let Some(due) = self.due.get() else {
            return Verdict::Unarmed;
        };
        let idle = self.idle.get();
        if idle.is_zero() {
            return if due <= now { Verdict::Fired(Why::Late) } else { Verdict::Again(due) };
        }
        let stalled = self.moved_at.get().after(idle);
        if stalled <= now {
            return Verdict::Fired(Why::Late);
        }
        let rate = self.min_rate.get();
        if rate == 0 {
            return Verdict::Again(stalled);
        }
        let judged = self.started.get().after(RATE_JUDGED_AFTER);
        let elapsed = now.since(self.started.get());
        if judged <= now && u128::from(self.moved.get()) * 1000 < u128::from(rate) * elapsed.as_millis() {
            return Verdict::Fired(Why::Slow);
        }
        Verdict::Again(stalled.min(judged.max(now.after(RATE_PERIOD))))
    }
}
