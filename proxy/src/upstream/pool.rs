//! Getting an upstream connection for a request, and giving it back.
//!
//! ```text
//!   pick endpoint ──> idle one? ──yes──> still quiet? ──yes──> use it
//!        ^                │no                 │no: close, look again
//!        │                v
//!        │            credit? ──yes──> connect
//!        │                │no
//!        └──(granted)── wait, bounded in number and time
//! ```
//!
//! HOT: reuse costs no system call, no lock, no allocation.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use pinion_core::fault::Fault;
use pinion_core::pool::{Acquire, Released};
use pinion_core::telemetry::{Ledger, Phase};
use pinion_core::time::Instant;

use super::Upstreams;
use super::cluster::{ClusterState, EndpointState};
use super::connection::{Credit, Upstream};
use crate::net::buffers::Size;
use crate::net::{clock, connect};
use crate::shard::Shard;
use crate::shard::slots::{Lane, Lease};

/// How often a waiting request looks for credits that other shards gave back.
const LOOK_PERIOD: Duration = Duration::from_millis(50);

/// What a request wants of the pool.
pub(crate) struct Want<'a> {
    pub(crate) cluster: &'a Rc<ClusterState>,
    /// The place of the endpoint that just failed.
    pub(crate) avoid: Option<usize>,
    /// A new connection, because an idle one just failed.
    pub(crate) fresh: bool,
    /// When the request must end.
    pub(crate) until: Instant,
}

/// A connection and where it came from.
pub(crate) struct Got {
    pub(crate) upstream: Upstream,
    /// The endpoint's place in its cluster.
    pub(crate) place: usize,
}

/// Gets a connection; the fault says why not, with the endpoint's place where one was chosen.
pub(crate) async fn acquire(
    shard: &Shard,
    lease: &Lease,
    ledger: &mut Ledger,
    want: &Want<'_>,
) -> Result<Got, (Fault, Option<usize>)> {
    let cluster = want.cluster;
    let mut queued = !cluster.pending.borrow().is_empty();
    loop {
        if queued {
            let waited = wait(shard, lease, cluster, want.until).await;
            ledger.stamp(Phase::Pool, clock::now());
            waited.map_err(|fault| (fault, None))?;
        }
        let place = cluster.pick(&shard.rng, want.avoid).ok_or((Fault::NoEndpoint, None))?;
        let endpoint = &cluster.endpoints[place];
        if !want.fresh
            && let Some(upstream) = shard.upstreams.reuse(endpoint, ledger.last())
        {
            cluster.stats.reused.inc();
            return Ok(Got { upstream, place });
        }
        if let Some(credit) = credit(shard, cluster) {
            let connected = open(shard, lease, cluster, endpoint, credit, want.until).await;
            ledger.stamp(Phase::Connect, clock::now());
            let upstream = connected.map_err(|fault| (fault, Some(place)))?;
            return Ok(Got { upstream, place });
        }
        queued = true;
    }
}

/// A credit: a free one, or that of another endpoint's oldest idle connection.
fn credit(shard: &Shard, cluster: &Rc<ClusterState>) -> Option<Credit> {
    Credit::take(cluster).or_else(|| {
        let evicted = cluster.endpoints.iter().find_map(|other| other.ledger.borrow_mut().evict_oldest())?;
        shard.upstreams.close(evicted);
        Credit::take(cluster)
    })
}

/// A place in the cluster's queue, given up on drop.
struct Place<'a> {
    cluster: &'a ClusterState,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.cluster.waiting.give();
        self.cluster.stats.pending.dec();
    }
}

/// Waits until a connection or a credit may be free.
async fn wait(shard: &Shard, lease: &Lease, cluster: &ClusterState, until: Instant) -> Result<(), Fault> {
    let limits = &cluster.cluster.limits;
    if !cluster.waiting.try_take(limits.pending) {
        cluster.stats.pending_overflow.inc();
        return Err(Fault::PendingOverflow);
    }
    cluster.stats.pending.inc();
    let _place = Place { cluster };
    let begun = clock::now();
    let deadline = begun.after(limits.pending_timeout).min(until);
    let ticket = cluster.pending.borrow_mut().push(lease.key(), deadline);
    let ticket = ticket.map_err(|_| Fault::PendingOverflow)?;
    lease.ungrant();
    loop {
        lease.wake_at(Lane::Up, clock::now().after(LOOK_PERIOD).min(deadline));
        let granted = poll_fn(|cx| {
            if lease.granted() {
                return Poll::Ready(true);
            }
            if lease.fired(Lane::Up).is_some() {
                return Poll::Ready(false);
            }
            lease.wait_here(cx);
            Poll::Pending
        })
        .await;
        lease.disarm(Lane::Up);
        let now = clock::now();
        if granted {
            return Ok(());
        }
        if now >= deadline {
            cluster.pending.borrow_mut().cancel(ticket);
            if now >= until {
                return Err(Fault::RequestTimeout);
            }
            cluster.stats.pending_timeouts.inc();
            return Err(Fault::PendingTimeout);
        }
        grant(shard, cluster);
    }
}

/// Lets the first waiter try again, if a credit is free or a connection idle.
pub(crate) fn grant(shard: &Shard, cluster: &ClusterState) {
    let mut pending = cluster.pending.borrow_mut();
    if pending.is_empty() {
        return;
    }
    let idle = cluster.endpoints.iter().any(|endpoint| endpoint.ledger.borrow().idle() > 0);
    if (idle || cluster.connections.count() < cluster.cluster.limits.connections)
        && let Some(key) = pending.pop(clock::now())
    {
        shard.slots.grant(key);
    }
}

/// A connect in progress, on the endpoint's books.
struct Connecting<'a>(&'a EndpointState, bool);

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        if !self.1 {
            self.0.ledger.borrow_mut().on_connect_failed();
        }
    }
}

async fn open(
    shard: &Shard,
    lease: &Lease,
    cluster: &Rc<ClusterState>,
    endpoint: &Rc<EndpointState>,
    credit: Credit,
    until: Instant,
) -> Result<Upstream, Fault> {
    let failed = |fault| {
        cluster.stats.connect_failures.inc();
        endpoint.stats.failures_total.inc();
        Err(fault)
    };
    // The credit is taken already: the ledger only notes the connect.
    endpoint.ledger.borrow_mut().on_connecting();
    let mut connecting = Connecting(endpoint, false);
    cluster.stats.connects_total.inc();
    let begun = clock::now();
    let socket = match connect::start(&endpoint.address) {
        Ok(socket) => socket,
        Err(error) => return failed(local_or_remote(&error)),
    };
    let deadline = begun.after(cluster.cluster.timeouts.connect).min(until);
    lease.cut_both(Lane::Up, deadline, &socket);
    let finished = connect::finish(&socket, shard.driver).await;
    match (lease.disarm(Lane::Up), finished) {
        (Some(_), _) if clock::now() >= until => failed(Fault::RequestTimeout),
        (Some(_), _) => {
            cluster.stats.connect_timeouts.inc();
            failed(Fault::ConnectTimeout)
        }
        (None, Err(error)) => failed(local_or_remote(&error)),
        (None, Ok(())) => {
            connecting.1 = true;
            endpoint.ledger.borrow_mut().on_connected(u32::MAX);
            Ok(Upstream::new(socket, endpoint.clone(), credit))
        }
    }
}

fn local_or_remote(error: &io::Error) -> Fault {
    use rustix::io::Errno;
    match Errno::from_io_error(error) {
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS | Errno::ADDRNOTAVAIL) => {
            Fault::ConnectLocal
        }
        _ => Fault::ConnectFailed,
    }
}

/// Gives a connection back: to the pool if another request may use it, else it is closed.
pub(crate) fn release(shard: &Shard, cluster: &ClusterState, mut upstream: Upstream, reusable: bool) {
    let reusable = reusable
        && shard.draining().is_none()
        && (upstream.receiver.started() || upstream.arm(shard, Size::Small))
        && !upstream.surprised();
    upstream.served += 1;
    shard.upstreams.put_back(upstream, reusable);
    grant(shard, cluster);
}

impl Upstreams {
    /// The newest idle connection on which nothing happened.
    fn reuse(&self, endpoint: &EndpointState, now: Instant) -> Option<Upstream> {
        loop {
            let acquired = endpoint.ledger.borrow_mut().acquire(now, || false);
            let Acquire::Reuse(key) = acquired else {
                return None;
            };
            let mut upstream = self.idle.borrow_mut().try_remove(key as usize)?;
            if !upstream.surprised() {
                return Some(upstream);
            }
            self.put_back(upstream, false);
        }
    }

    fn put_back(&self, upstream: Upstream, reusable: bool) {
        let endpoint = upstream.endpoint.clone();
        let mut idle = self.idle.borrow_mut();
        let entry = idle.vacant_entry();
        let key = entry.key() as u32;
        let released = endpoint.ledger.borrow_mut().release(key, reusable, clock::now());
        match released {
            Released::Close => {
                drop(idle);
                drop(upstream);
            }
            Released::Kept => drop(entry.insert(upstream)),
            Released::KeptEvict(oldest) => {
                entry.insert(upstream);
                drop(idle);
                self.close(oldest);
            }
        }
    }

    /// Puts new idle limits in force for an endpoint.
    pub(crate) fn limit(&self, endpoint: &EndpointState, limits: pinion_core::pool::IdleLimits) {
        let mut closed = Vec::new();
        endpoint.ledger.borrow_mut().set_limits(limits, &mut closed);
        for key in closed {
            self.close(key);
        }
    }
}
