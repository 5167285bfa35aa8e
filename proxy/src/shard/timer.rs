//! One deadline of a connection: plain, or of a transfer that must move and keep a minimum rate.
//!
//! Not here: when deadlines are looked at (`slots`), arming them (`lease`).

use std::cell::Cell;
use std::time::Duration;

use pinion_core::limits::RATE_JUDGED_AFTER;
use pinion_core::time::Instant;

use crate::net::socket::Socket;

/// A transfer's rate is judged again this often.
const RATE_PERIOD: Duration = Duration::from_secs(1);

/// Which of a connection's deadlines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Bytes from the client.
    Read = 0,
    /// Bytes to the client.
    Write = 1,
    /// Bytes from the upstream, a connect, a wait in the pool.
    Up = 2,
    /// The whole request.
    Request = 3,
    /// Bytes of a streamed request body to the upstream.
    Send = 4,
}

/// How many lanes there are.
pub(super) const LANES: usize = 5;

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
    /// Ends receiving on the socket: a pending receive returns 0 bytes, answers can still be sent.
    Reading(Socket),
    /// Ends both directions.
    Both(Socket),
}

/// One deadline.
pub(super) struct Timer {
    /// [`Instant::NEVER`] while it is not armed.
    pub(super) due: Cell<Instant>,
    pub(super) cut: Cell<Option<Cut>>,
    pub(super) fired: Cell<Option<Why>>,
    /// For transfers: the least bytes a second; 0 is off.
    pub(super) min_rate: Cell<u32>,
    /// For transfers: at most this many nanoseconds without progress; zero for plain deadlines.
    pub(super) idle: Cell<u64>,
    pub(super) started: Cell<Instant>,
    /// The last progress, or when the transfer was paused.
    pub(super) moved_at: Cell<Instant>,
    pub(super) moved: Cell<u64>,
}

impl Default for Timer {
    fn default() -> Self {
        Timer {
            due: Cell::new(Instant::NEVER),
            cut: Cell::default(),
            fired: Cell::default(),
            min_rate: Cell::default(),
            idle: Cell::default(),
            started: Cell::default(),
            moved_at: Cell::default(),
            moved: Cell::default(),
        }
    }
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
        let due = self.due.get();
        if due == Instant::NEVER {
            return Verdict::Unarmed;
        }
        let idle = Duration::from_nanos(self.idle.get());
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
