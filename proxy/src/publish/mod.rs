//! The publisher: what the control thread compiled becomes what every shard serves from.
//!
//! ```text
//!   snapshot ─▶ stage sockets ─▶ new tables a shard ─▶ lend new sockets ─▶ publish ─▶ wait: adopted by all
//!                  │ fails                                                               │
//!                  ▼ nothing changed                              take old sockets back ◀┘
//! ```
//!
//! Invariants:
//! - whole or not at all: everything that can fail happens before the first shard sees anything;
//! - a listener's socket goes only after every shard serves from tables that do not need it;
//! - old tables are freed here and never by a shard: each is kept until nobody else holds it.
//!
//! Everything here blocks; it runs on threads of its own, never on a shard and never on the thread that
//! answers the admin port.
//!
//! Not here: reading files, compiling (`config::reload`).

pub(crate) mod sockets;
pub(crate) mod totals;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use pinion_core::config::Snapshot;
use pinion_core::config::snapshot::{Address, Listener};
use pinion_core::id::ListenerId;

use crate::shard::link::{ShardLink, ShardMessage, ShardTables};
use crate::tls::store::TlsStore;
use sockets::{BindError, Group, OpenOne, Sockets};
use totals::{Totals, View};

/// How long a reload waits for every shard to serve from the new tables. A shard turns its loop in
/// microseconds; one that takes longer than this is stuck.
pub(crate) const ADOPTION_MAX: Duration = Duration::from_secs(10);
/// How long a full inbox is tried again. It is emptied on every turn of the shard's loop.
const INBOX_PATIENCE: Duration = Duration::from_secs(2);
/// The pause between looks at what shards did: short against a reload, long against a turn.
const LOOK_AGAIN: Duration = Duration::from_micros(200);

/// Why a snapshot was not put in force, or not confirmed.
#[derive(Debug)]
pub(crate) enum Refused {
    /// An address can't be listened on. Nothing changed.
    Bind(BindError),
    /// The access log can't be opened. Nothing changed.
    Prepare(io::Error),
    /// In force, but not confirmed.
    Stuck(Stuck),
}

/// Why not every shard follows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stuck {
    /// The shard did not take its messages or tables in time.
    Shard(usize),
    /// The process began to stop meanwhile.
    Stopping,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Bind(error) => error.fmt(f),
            Refused::Prepare(error) => write!(f, "access log: {error}"),
            Refused::Stuck(stuck) => stuck.fmt(f),
        }
    }
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stuck::Shard(shard) => write!(f, "shard {shard} has not confirmed it in time"),
            Stuck::Stopping => f.write_str("the process began to stop before every shard confirmed it"),
        }
    }
}

/// The publisher: the one writer of every shard's tables.
pub(crate) struct Publisher {
    links: Vec<Arc<ShardLink>>,
    shards: usize,
    totals: Totals,
    sockets: Sockets,
    /// The listeners that shards accept for.
    lent: Vec<Arc<Listener>>,
    retired: Vec<Arc<ShardTables>>,
}

impl Publisher {
    /// A publisher for `shards` shards, which are attached once they run.
    pub(crate) fn new(shards: usize) -> Self {
        Publisher {
            links: Vec::new(),
            shards,
            totals: Totals::default(),
            sockets: Sockets::new(shards),
            lent: Vec::new(),
            retired: Vec::new(),
        }
    }

    /// The tables of each shard for `snapshot`, whose TLS is `tls`.
    pub(crate) fn tables(&mut self, snapshot: &Arc<Snapshot>, tls: &TlsStore) -> Vec<Arc<ShardTables>> {
        let chosen = self.totals.choose(snapshot, self.shards);
        let tables = (0..self.shards).map(|shard| {
            Arc::new(ShardTables {
                snapshot: Arc::clone(snapshot),
                listeners: chosen.listeners.iter().map(|of| Arc::clone(&of[shard])).collect(),
                routes: chosen.routes.iter().map(|of| Arc::clone(&of[shard])).collect(),
                methods: chosen
                    .methods
                    .iter()
                    .map(|route| route.iter().map(|of| Arc::clone(&of[shard])).collect())
                    .collect(),
                clusters: chosen.clusters.iter().map(|of| Arc::clone(&of[shard])).collect(),
                endpoints: chosen
                    .endpoints
                    .iter()
                    .map(|cluster| cluster.iter().map(|of| Arc::clone(&of[shard])).collect())
                    .collect(),
                listener_connections: chosen.listener_connections.iter().map(Arc::clone).collect(),
                cluster_connections: chosen.cluster_connections.iter().map(Arc::clone).collect(),
                cluster_pending: chosen.cluster_pending.iter().map(Arc::clone).collect(),
                proxy_connections: Arc::clone(&self.totals.proxy_connections),
                tls_listeners: tls
                    .listeners
                    .iter()
                    .map(|part| Some(Arc::clone(&part.as_ref()?.tls)))
                    .collect(),
                tls_clusters: tls.clusters.iter().map(|part| Some(Arc::clone(&part.as_ref()?.tls))).collect(),
            })
        });
        tables.collect()
    }

    /// What there is to report, by name.
    pub(crate) fn view(&self) -> View {
        let bound = |listener: &Arc<Listener>| {
            Some((listener.name.clone(), self.sockets.group(&listener.address)?.bound.clone()))
        };
        self.totals.view(self.lent.iter().filter_map(bound).collect())
    }

    /// Binds the admin port.
    pub(crate) fn bind_admin(&mut self, address: &Address) -> Result<OpenOne, BindError> {
        self.sockets.open_one("admin port", address)
    }

    /// Binds every address of the first snapshot, before any shard runs.
    pub(crate) fn bind(&mut self, snapshot: &Snapshot) -> Result<(), BindError> {
        let staged = self.sockets.stage(addresses(snapshot))?;
        self.sockets.commit(staged);
        for address in self.sockets.unused() {
            tracing::warn!(%address, "no listener has the address of this passed socket");
        }
        Ok(())
    }

    /// The shards run, with the tables of `snapshot`: lends them its sockets.
    pub(crate) fn attach(&mut self, links: Vec<Arc<ShardLink>>, snapshot: &Snapshot) -> Result<(), Refused> {
        self.links = links;
        self.totals.settle(snapshot, Instant::now());
        let loans = loans(&snapshot.listeners, |address| self.sockets.group(address))?;
        self.lent = snapshot.listeners.to_vec();
        self.lend(loans).map_err(Refused::Stuck)?;
        self.adopted(snapshot.generation, &|| false).map_err(Refused::Stuck)
    }

    /// Puts `snapshot` in force on every shard and waits until all serve from it.
    ///
    /// `prepare` is the last step that can fail, `stopping` ends the wait. [`Refused::Stuck`] means that the
    /// snapshot is in force but a shard has not confirmed it, every other refusal that nothing changed.
    pub(crate) fn publish(
        &mut self,
        snapshot: &Arc<Snapshot>,
        tls: &TlsStore,
        prepare: impl FnOnce() -> io::Result<()>,
        stopping: &dyn Fn() -> bool,
    ) -> Result<(), Refused> {
        let staged = self.sockets.stage(addresses(snapshot)).map_err(Refused::Bind)?;
        let (new, gone) = changes(&self.lent, &snapshot.listeners);
        let tables = self.tables(snapshot, tls);
        // Lending duplicates descriptors, which can fail: before anything is committed.
        let loans = loans(&new, |address| staged.group(address).or_else(|| self.sockets.group(address)))?;
        prepare().map_err(Refused::Prepare)?;
        self.sockets.commit(staged);
        self.lent = snapshot.listeners.to_vec();
        for (link, tables) in self.links.iter().zip(tables) {
            self.retired.push(link.tables.load_full());
            link.publish(tables);
        }
        self.totals.settle(snapshot, Instant::now());
        // A shard adopts tables before it looks at messages that came after them, so it knows the id.
        let mut done = self.lend(loans);
        done = done.and(self.adopted(snapshot.generation, stopping));
        for id in gone {
            done = done.and(self.tell_all(|| ShardMessage::Unlisten { id }));
        }
        self.sockets.retain(|address| snapshot.listeners.iter().any(|listener| listener.address == *address));
        self.collect();
        done.map_err(Refused::Stuck)
    }

    /// Waits until every shard serves from `generation` or a later one.
    pub(crate) fn adopted(&self, generation: u64, stopping: &dyn Fn() -> bool) -> Result<(), Stuck> {
        let start = Instant::now();
        for link in &self.links {
            while link.adopted.load(Ordering::Acquire) < generation {
                if stopping() {
                    return Err(Stuck::Stopping);
                }
                if start.elapsed() > ADOPTION_MAX {
                    return Err(Stuck::Shard(link.index));
                }
                std::thread::sleep(LOOK_AGAIN);
            }
        }
        Ok(())
    }

    /// Stops accepting on every listener and tells every shard to drain until `deadline_nanos`.
    pub(crate) fn drain(&mut self, deadline_nanos: u64) -> Result<(), Stuck> {
        // A shard that drains accepts what is queued, then closes its listening sockets itself.
        let done = self.tell_all(|| ShardMessage::Drain { deadline_nanos });
        self.lent.clear();
        self.sockets.retain(|_| false);
        done
    }

    /// Whether old tables wait to be freed.
    pub(crate) fn has_retired(&self) -> bool {
        !self.retired.is_empty()
    }

    /// Frees old tables that nobody else holds.
    pub(crate) fn collect(&mut self) {
        self.retired.retain(|tables| Arc::strong_count(tables) > 1);
    }

    fn lend(&self, loans: Vec<Loan>) -> Result<(), Stuck> {
        let mut done = Ok(());
        for Loan { shard, message } in loans {
            done = done.and(tell(&self.links[shard], message));
        }
        done
    }

    fn tell_all(&self, message: impl Fn() -> ShardMessage) -> Result<(), Stuck> {
        let mut done = Ok(());
        for link in &self.links {
            done = done.and(tell(link, message()));
        }
        done
    }
}

/// A socket on its way to a shard.
struct Loan {
    shard: usize,
    message: ShardMessage,
}

/// The descriptors that `listeners` need on each shard.
fn loans<'a>(
    listeners: &[Arc<Listener>],
    group: impl Fn(&Address) -> Option<&'a Group>,
) -> Result<Vec<Loan>, Refused> {
    let mut loans = Vec::new();
    for listener in listeners {
        let failed = |error| {
            let (name, address) = (sockets::listener_called(&listener.name), listener.address.clone());
            Refused::Bind(BindError { name, address, error })
        };
        let group = group(&listener.address).ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
        for (shard, fd) in group.lend().map_err(failed)? {
            loans.push(Loan { shard, message: ShardMessage::Listen { id: listener.id, fd } });
        }
    }
    Ok(loans)
}

/// What shards have to accept for in addition, and what no longer, when `lent` becomes `wanted`.
fn changes(lent: &[Arc<Listener>], wanted: &[Arc<Listener>]) -> (Vec<Arc<Listener>>, Vec<ListenerId>) {
    let in_list = |list: &[Arc<Listener>], id| list.iter().any(|listener| listener.id == id);
    let new = wanted.iter().filter(|listener| !in_list(lent, listener.id)).cloned().collect();
    let gone = lent.iter().map(|listener| listener.id).filter(|&id| !in_list(wanted, id)).collect();
    (new, gone)
}

fn addresses(snapshot: &Snapshot) -> impl Iterator<Item = (&str, &Address)> {
    snapshot.listeners.iter().map(|listener| (&*listener.name, &listener.address))
}

/// Sends one message; a full inbox is tried again for [`INBOX_PATIENCE`].
fn tell(link: &ShardLink, mut message: ShardMessage) -> Result<(), Stuck> {
    let start = Instant::now();
    while let Err(back) = link.send(message) {
        if start.elapsed() > INBOX_PATIENCE {
            return Err(Stuck::Shard(link.index));
        }
        message = back;
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(())
}
