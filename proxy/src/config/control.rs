//! What the control side knows: what is in force, how the last reload went, whether the process stops.
//!
//! ```text
//!   Starting ─▶ Serving ─▶ Draining { deadline } ─▶ Stopping
//!                   └───────────────────────────────▲   (a second signal, or nothing left)
//! ```
//!
//! Invariants:
//! - readers (the admin port) never wait for a writer that waits for shards: what they read is swapped in
//!   whole, only the publisher itself sits behind the lock a reload holds;
//! - the phase only moves forward.
//!
//! Not here: how a reload is done (`config::reload`), how a drain is done (`boot::run`).

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use pinion_core::config::{Ids, Snapshot};
use tokio::sync::{Semaphore, watch};

use crate::publish::Publisher;
use crate::publish::totals::View;
use crate::shard::link::ShardLink;
use crate::telemetry::writer::AccessLog;
use crate::tls::store::TlsStore;

/// Reloads at work or waiting for their turn: more than the admin port has connections only when callers
/// went away.
const RELOADS_MAX: usize = 64;

/// Where the process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not every shard serves yet.
    Starting,
    /// Ready.
    Serving,
    /// Not ready; requests are finished until the deadline.
    Draining {
        /// When listeners stop to accept.
        closes: Instant,
        /// When what is left ends.
        deadline: Instant,
    },
    /// The end.
    Stopping,
}

/// The configuration that new requests meet.
pub(crate) struct InForce {
    /// The text it was compiled from.
    pub(crate) text: String,
    /// The compiled form.
    pub(crate) snapshot: Arc<Snapshot>,
    /// When it came into force, seconds since 1970.
    pub(crate) since: f64,
}

/// How reloads went.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reloads {
    /// Put in force, the first configuration included.
    pub(crate) adopted: u64,
    /// The same as what was in force.
    pub(crate) unchanged: u64,
    /// Refused: the old one stays in force.
    pub(crate) rejected: u64,
    /// When a configuration was last put in force or found unchanged, seconds since 1970.
    pub(crate) succeeded: f64,
    /// When one was last refused, seconds since 1970.
    pub(crate) failed: Option<f64>,
    /// Why the last one was refused; `None` when it was not.
    pub(crate) problem: Option<Arc<str>>,
}

/// The writing side, behind the lock that serialises reloads.
pub(crate) struct Writer {
    /// Puts snapshots in force.
    pub(crate) publisher: Publisher,
    /// The ids given to names so far.
    pub(crate) ids: Ids,
    /// The last generation given to a snapshot that came into force.
    pub(crate) generation: u64,
}

/// What the control side shares.
pub(crate) struct Control {
    /// The configuration file.
    pub(crate) file: PathBuf,
    /// The shards.
    pub(crate) links: Vec<Arc<ShardLink>>,
    /// When the process started.
    pub(crate) started: Instant,
    /// Held by the reload at work.
    pub(super) reload_turn: tokio::sync::Mutex<()>,
    /// Places for reloads at work or waiting.
    pub(super) reload_places: Arc<Semaphore>,
    writer: Mutex<Writer>,
    access_log: Mutex<Option<AccessLog>>,
    in_force: ArcSwap<InForce>,
    tls: ArcSwap<TlsStore>,
    view: ArcSwap<View>,
    reloads: Mutex<Reloads>,
    phase: watch::Sender<Phase>,
}

impl Control {
    /// The control side of a process that serves `in_force` on `links`.
    pub(crate) fn new(
        file: PathBuf,
        links: Vec<Arc<ShardLink>>,
        writer: Writer,
        access_log: AccessLog,
        in_force: InForce,
        tls: TlsStore,
    ) -> Self {
        let reloads = Reloads { adopted: 1, succeeded: in_force.since, ..Reloads::default() };
        Control {
            file,
            links,
            started: Instant::now(),
            reload_turn: tokio::sync::Mutex::new(()),
            reload_places: Arc::new(Semaphore::new(RELOADS_MAX)),
            view: ArcSwap::from_pointee(writer.publisher.view()),
            writer: Mutex::new(writer),
            access_log: Mutex::new(Some(access_log)),
            in_force: ArcSwap::from_pointee(in_force),
            tls: ArcSwap::from_pointee(tls),
            reloads: Mutex::new(reloads),
            phase: watch::Sender::new(Phase::Starting),
        }
    }

    /// The writing side. Waits for a reload in progress: never on the admin port's thread.
    pub(crate) fn writer(&self) -> MutexGuard<'_, Writer> {
        // A panic in a reload leaves a publisher whose every step was complete in itself.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The writing side, unless a reload is in progress.
    pub(crate) fn try_writer(&self) -> Option<MutexGuard<'_, Writer>> {
        match self.writer.try_lock() {
            Ok(writer) => Some(writer),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// The access log, until it is taken to be stopped. Held for moments only.
    pub(crate) fn access_log(&self) -> MutexGuard<'_, Option<AccessLog>> {
        self.access_log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The configuration in force.
    pub(crate) fn in_force(&self) -> Arc<InForce> {
        self.in_force.load_full()
    }

    /// The TLS of the configuration in force.
    pub(crate) fn tls(&self) -> Arc<TlsStore> {
        self.tls.load_full()
    }

    /// Every name's totals.
    pub(crate) fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// Notes what came into force.
    pub(super) fn now_in_force(&self, in_force: InForce, tls: TlsStore, view: View) {
        self.in_force.store(Arc::new(in_force));
        self.tls.store(Arc::new(tls));
        self.view.store(Arc::new(view));
    }

    /// How reloads went.
    pub(crate) fn reloads(&self) -> Reloads {
        self.reloads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes how a reload went.
    pub(super) fn note(&self, change: impl FnOnce(&mut Reloads)) {
        change(&mut self.reloads.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Where the process is in its life.
    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// A receiver that is told of phases.
    pub(crate) fn phases(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Moves forward to `phase`; `false` when the process is there or beyond already.
    pub(crate) fn advance(&self, phase: Phase) -> bool {
        let rank = |phase: &Phase| match phase {
            Phase::Starting => 0,
            Phase::Serving => 1,
            Phase::Draining { .. } => 2,
            Phase::Stopping => 3,
        };
        self.phase.send_if_modified(|now| {
            let forward = rank(&phase) > rank(now);
            if forward {
                *now = phase;
            }
            forward
        })
    }

    /// Begins to drain, accepting for `accept_for` longer; `false` when the process does already.
    pub(crate) fn drain(&self, accept_for: Duration) -> bool {
        let drain = self.in_force().snapshot.proxy.drain;
        let now = Instant::now();
        let closes = now + accept_for.min(drain);
        self.advance(Phase::Draining { closes, deadline: now + drain })
    }

    /// Whether the process is on its way out.
    pub(crate) fn is_stopping(&self) -> bool {
        !matches!(self.phase(), Phase::Starting | Phase::Serving)
    }
}

/// Seconds since 1970.
pub(crate) fn unix_now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
