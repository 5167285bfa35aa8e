//! What the connections of the origin share: with the whole process, and with their thread.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::answer::{Content, Plan};
use super::stall::Script;
use crate::cli::OriginOptions;
use crate::random::Random;

/// What all threads share.
pub(crate) struct Shared {
    pub(super) name: String,
    pub(super) version: String,
    /// `{"name":…,"version":…}` with a line end.
    pub(super) identity: String,
    pub(super) defaults: Plan,
    pub(super) script: Script,
    stopping: AtomicBool,
    connections: AtomicU64,
}

impl Shared {
    /// The server that the options describe.
    pub(crate) fn new(options: &OriginOptions) -> Self {
        let content = match options.bytes {
            Some(length) => Content::Bytes { length, chunked: false },
            None => Content::Identity,
        };
        Shared {
            // Labels need no quoting: the command line sees to that.
            identity: format!(
                "{{\"name\":\"{}\",\"version\":\"{}\"}}\n",
                options.name, options.version_label
            ),
            name: options.name.clone(),
            version: options.version_label.clone(),
            defaults: Plan { status: options.status, content, delay: options.delay, close: false },
            script: Script::new(options.stall.clone()),
            stopping: AtomicBool::new(false),
            connections: AtomicU64::new(0),
        }
    }

    /// From now on every answer is its connection's last.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether that is so.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// The number of the next connection, from 1.
    pub(super) fn next_connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// What one thread's connections share.
pub(crate) struct Thread {
    pub(super) shared: Arc<Shared>,
    /// Connections of this thread that have a request in progress.
    busy: Arc<AtomicU64>,
    pub(super) random: RefCell<Random>,
}

impl Thread {
    /// The state of one thread; `seed` makes its random delays its own.
    pub(crate) fn new(shared: Arc<Shared>, busy: Arc<AtomicU64>, seed: u64) -> Self {
        Thread { shared, busy, random: RefCell::new(Random::seeded(seed)) }
    }

    /// One more connection has a request in progress, or one less.
    pub(super) fn count_busy(&self, busy: bool) {
        // Wraps on the way down: adding the largest number is subtracting one.
        self.busy.fetch_add(if busy { 1 } else { u64::MAX }, Ordering::Relaxed);
    }
}
