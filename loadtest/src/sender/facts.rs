//! What the kernel says of a sending thread: how busy it was, and how long it had to wait for its CPU.

use std::fs;

use crate::clock::monotonic;

/// Totals of a thread, or what was added to them in a while. Nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Time that passed.
    pub(crate) elapsed: u64,
    /// On a CPU.
    pub(crate) running: u64,
    /// Runnable, but another program had the CPU.
    pub(crate) waiting: u64,
    /// Whether the kernel told of running and waiting at all.
    pub(crate) is_known: bool,
    /// Connections that failed because this machine had no port or descriptor for them.
    pub(crate) exhausted: u64,
}

impl Facts {
    /// The totals of the calling thread so far.
    pub(crate) fn of_this_thread() -> Self {
        let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        let mut numbers = text.split_whitespace().map_while(|word| word.parse().ok());
        let (running, waiting) = (numbers.next(), numbers.next());
        Facts {
            elapsed: monotonic(),
            running: running.unwrap_or(0),
            waiting: waiting.unwrap_or(0),
            is_known: waiting.is_some(),
            exhausted: 0,
        }
    }

    /// What was added since.
    pub(crate) fn since(&self, before: &Facts) -> Facts {
        Facts {
            elapsed: self.elapsed.saturating_sub(before.elapsed),
            running: self.running.saturating_sub(before.running),
            waiting: self.waiting.saturating_sub(before.waiting),
            is_known: self.is_known && before.is_known,
            exhausted: self.exhausted,
        }
    }
}
