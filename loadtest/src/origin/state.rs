//! What the connections of the origin share: with the whole process, and with their thread.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use rustls::ServerConfig;

use super::alarm::Alarm;
use super::answer::{Content, Plan};
use super::fault::Faults;
use super::queue::Queue;
use super::stall::Script;
use crate::cli::OriginOptions;
use crate::random::Random;

/// What all threads share.
pub(crate) struct Shared {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) defaults: Plan,
    pub(super) tls: Option<Arc<ServerConfig>>,
    pub(super) proxy_protocol: bool,
    script: Script,
    faults: Faults,
    queue: Option<Queue>,
    seed: u64,
    stopping: AtomicBool,
    connections: AtomicU64,
}

impl Shared {
    /// The server that the options describe, with this configuration of TLS.
    pub(crate) fn new(options: &OriginOptions, tls: Option<Arc<ServerConfig>>) -> Self {
        let content = match options.bytes {
            Some(length) => Content::Bytes { length, chunked: false },
            None => Content::Identity,
        };
        let defaults = Plan {
            status: options.status,
            content,
            delay: options.delay.clone(),
            rate: options.body_rate,
            ..Plan::default()
        };
        Shared {
            name: options.name.clone(),
            version: options.version_label.clone(),
            defaults,
            tls,
            proxy_protocol: options.proxy_protocol,
            script: Script::new(options.stall.clone()),
            faults: Faults { errors: options.error_rate, resets: options.reset_rate },
            queue: options.service_time.clone().map(|time| Queue::new(time, options.workers)),
            seed: options.seed,
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

    /// Whether the same request gets the same answer at once, every time.
    pub(super) fn is_steady(&self) -> bool {
        self.faults.is_none() && self.queue.is_none() && self.script.is_empty()
    }
}

/// What one thread's connections share.
pub(crate) struct Thread {
    pub(super) shared: Arc<Shared>,
    /// Wakes whoever waits.
    pub(super) alarm: Rc<Alarm>,
    /// `{"name":…,"version":…}` with a line end.
    pub(super) identity: Rc<[u8]>,
    /// `NAME/VERSION`.
    pub(super) label: String,
    /// `x-served-by: …` with its line end.
    pub(super) served_by: String,
    /// Connections of this thread that have a request in progress.
    busy: Arc<AtomicU64>,
    random: RefCell<Random>,
}

impl Thread {
    /// The state of the thread with this index; call it on its runtime.
    ///
    /// # Errors
    /// No timer is to be had.
    pub(crate) fn new(shared: Arc<Shared>, busy: Arc<AtomicU64>, index: u64) -> io::Result<Self> {
        // Labels need no quoting: the command line sees to that.
        let identity = format!("{{\"name\":\"{}\",\"version\":\"{}\"}}\n", shared.name, shared.version);
        Ok(Thread {
            alarm: Alarm::start()?,
            identity: Rc::from(identity.into_bytes()),
            label: format!("{}/{}", shared.name, shared.version),
            served_by: format!("x-served-by: {}/{}\r\n", shared.name, shared.version),
            busy,
            // A million apart, so that neighbouring seeds of the user do not share a thread's sequence.
            random: RefCell::new(Random::seeded(shared.seed.wrapping_add(index.wrapping_mul(1_000_000)))),
            shared,
        })
    }

    /// Lets chance change a plan, as the options say.
    pub(super) fn strike(&self, plan: &mut Plan) {
        if !self.shared.faults.is_none() {
            self.shared.faults.strike(plan, &mut self.random.borrow_mut());
        }
    }

    /// When the answer to a request that is complete now may go, if not at once: after a standstill, its
    /// turn at the workers, and its delay, in this order.
    pub(super) fn ready(&self, plan: &Plan) -> Option<Instant> {
        let shared = &self.shared;
        if plan.delay.is_none() && shared.queue.is_none() && shared.script.is_empty() {
            return None;
        }
        let now = Instant::now();
        let mut random = self.random.borrow_mut();
        let mut at = now + shared.script.wait(now);
        if let Some(queue) = &shared.queue {
            at = queue.ready(at, &mut random);
        }
        if let Some(delay) = &plan.delay {
            at += delay.sample(&mut random);
        }
        (at > now).then_some(at)
    }

    /// One more connection has a request in progress, or one less.
    pub(super) fn count_busy(&self, busy: bool) {
        // Wraps on the way down: adding the largest number is subtracting one.
        self.busy.fetch_add(if busy { 1 } else { u64::MAX }, Ordering::Relaxed);
    }
}

/// Whether a connection has a request in progress; counted by its thread, which waits for it at the end.
pub(super) struct Busy {
    thread: Rc<Thread>,
    is: Cell<bool>,
}

impl Busy {
    /// A connection that has none.
    pub(super) fn new(thread: &Rc<Thread>) -> Self {
        Busy { thread: Rc::clone(thread), is: Cell::new(false) }
    }

    /// From now on it has one, or none.
    pub(super) fn set(&self, busy: bool) {
        if self.is.replace(busy) != busy {
            self.thread.count_busy(busy);
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.set(false);
    }
}
