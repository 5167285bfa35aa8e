//! What the sending threads are told to do, and what they share.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Barrier, OnceLock};

use crate::client::connection::Peer;
use crate::client::request::Prepared;
use crate::clock::Clock;
use crate::progress::Totals;
use crate::schedule::Schedule;

/// When requests are sent.
pub(crate) enum Pace {
    /// At the due times of a schedule.
    Open(Schedule),
    /// On every free connection at once, so many times.
    Closed { left: u64 },
}

/// The common start of all threads.
pub(crate) struct Start {
    pub(crate) barrier: Barrier,
    pub(crate) clock: OnceLock<Clock>,
}

impl Start {
    /// Nanoseconds since all threads began to send; 0 before.
    pub(crate) fn elapsed(&self) -> u64 {
        self.clock.get().map_or(0, |clock| clock.now())
    }
}

/// What one thread is to do. Times are nanoseconds of the run.
pub(crate) struct Job {
    pub(crate) peer: Peer,
    pub(crate) request: Arc<Prepared>,
    /// The response header whose values are counted.
    pub(crate) counted: Option<&'static str>,
    pub(crate) connections: usize,
    pub(crate) pace: Pace,
    /// Requests due before this are sent but not measured.
    pub(crate) warmup: u64,
    /// Nothing falls due from here on.
    pub(crate) end: u64,
    /// The length of the intervals that are told apart.
    pub(crate) interval: u64,
    /// The longest time from send to answer.
    pub(crate) timeout: u64,
    pub(crate) start: Arc<Start>,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) totals: Arc<Totals>,
}
