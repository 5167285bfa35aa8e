//! What the sending threads are told to do, and what they share.

use std::net::IpAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Barrier, OnceLock};

use crate::cli::Driver;
use crate::clock::Clock;
use crate::plan::Group;
use crate::progress::Totals;
use crate::scenario::Item;
use crate::schedule::Schedule;

/// When requests are sent.
pub(crate) enum Pace {
    /// At the due times of a schedule.
    Open(Schedule),
    /// On every free connection at once, so many times.
    Closed { left: u64 },
}

/// Asked once everything is connected: says when to start on this machine's monotonic clock, and waits until
/// that is known.
pub(crate) type Begin = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The common start of all threads.
pub(crate) struct Start {
    pub(crate) barrier: Barrier,
    pub(crate) clock: OnceLock<Clock>,
    /// Who says when to start, if not as soon as everybody is ready.
    pub(crate) begin: Option<Begin>,
}

impl Start {
    /// The clock of the run; the first who asks starts it.
    pub(crate) fn clock(&self) -> Clock {
        *self.clock.get_or_init(|| match &self.begin {
            Some(begin) => Clock::starting_at(begin()),
            None => Clock::start(),
        })
    }

    /// Nanoseconds since all threads began to send; 0 before.
    pub(crate) fn elapsed(&self) -> u64 {
        self.clock.get().map_or(0, |clock| clock.now())
    }
}

/// What one thread is to do. Times are nanoseconds of the run.
pub(crate) struct Job {
    /// Its number among all threads.
    pub(crate) thread: u32,
    pub(crate) cpu: Option<usize>,
    pub(crate) driver: Driver,
    pub(crate) items: Arc<[Item]>,
    pub(crate) groups: Arc<[Group]>,
    pub(crate) group_of: Arc<[usize]>,
    /// The response header whose values are counted.
    pub(crate) counted: Option<&'static str>,
    /// Connections for each group.
    pub(crate) connections: usize,
    /// Connections of the first group that send nothing.
    pub(crate) idle_connections: usize,
    /// Requests at once on an HTTP/2 connection.
    pub(crate) streams: u32,
    /// A connection ends after so many requests.
    pub(crate) requests_per_connection: u64,
    /// Nanoseconds between two connections that are replaced by new ones.
    pub(crate) churn: Option<f64>,
    pub(crate) sources: Vec<IpAddr>,
    pub(crate) pace: Pace,
    pub(crate) seed: u64,
    /// Requests due before this are sent but not measured.
    pub(crate) warmup: u64,
    /// Nothing falls due from here on.
    pub(crate) end: u64,
    /// The length of the intervals that are told apart.
    pub(crate) interval: u64,
    /// The longest time from send to answer.
    pub(crate) timeout: u64,
    /// Whether every request is kept.
    pub(crate) keeps_samples: bool,
    pub(crate) start: Arc<Start>,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) totals: Arc<Totals>,
}
