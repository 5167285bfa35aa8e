//! Getting an upstream connection for a request, and giving it back.
//!
//! ```text
//!   pick endpoint ──> idle one? ──yes──> still quiet? ──yes──> use it
//!                         │no                │no: close, look again
//!                         v
//!                     credit? ──yes──> connect
//!                         │no                ^ handed a credit
//!                         └─> wait, bounded ─┴─ handed a connection ──> use it
//! ```
//!
//! HOT: reuse costs no system call, no lock, no allocation.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use pinion_core::fault::Fault;
use pinion_core::limits::TICK;
use pinion_core::pool::{Acquire, Released, Ticket, short_by};
use pinion_core::telemetry::{Ledger, Phase};
use pinion_core::time::Instant;

use super::Upstreams;
use super::cluster::{ClusterState, EndpointState};
use super::connection::{Credit, Upstream};
use crate::net::buffers::Size;
use crate::net::send::send_all;
use crate::net::socket::Socket;
use crate::net::{clock, connect};
use crate::shard::Shard;
use crate::shard::lease::Lease;
use crate::shard::slots::client_gone;
use crate::shard::timer::{Lane, Why};
use crate::sys::buffer::Buffer;

/// How often a waiting request looks for credits that other shards gave back, and whether its client has left.
const LOOK_PERIOD: Duration = TICK;

/// What a request wants of the pool.
pub(crate) struct Want<'a> {
    pub(crate) cluster: &'a Rc<ClusterState>,
    /// The place of the endpoint that just failed.
    pub(crate) avoid: Option<usize>,
    /// A new connection, because an idle one just failed.
    pub(crate) fresh: bool,
    /// When the request must end.
    pub(crate) until: Instant,
    /// Who waits for the answer.
    pub(crate) client: &'a Socket,
    /// A client that only ended its sending direction is still there.
    pub(crate) half_close: bool,
    /// What a new connection begins with; then it serves nobody else, and `fresh` is set.
    pub(crate) preface: &'a [u8],
}

/// A connection and where it came from.
pub(crate) struct Got {
    pub(crate) upstream: Box<Upstream>,
    /// The endpoint's place in its cluster.
    pub(crate) place: usize,
}

/// What a waiter was given.
pub(crate) enum Handed {
    /// A connection that another request was done with; it stays active on its endpoint's books.
    Connection(Box<Upstream>),
    /// The right to connect.
    Credit(Credit),
}

/// Gets a connection; the fault says why not, with the endpoint's place where one was chosen.
pub(crate) async fn acquire(
    shard: &Shard,
    lease: &Lease,
    ledger: &mut Ledger,
    want: &Want<'_>,
) -> Result<Got, (Fault, Option<usize>)> {
    let cluster = want.cluster;
    let place = cluster.pick(&shard.rng, want.avoid).ok_or((Fault::NoEndpoint, None))?;
    let endpoint = &cluster.endpoints[place];
    // A newcomer may not overtake those who wait.
    let queue = !cluster.pending.borrow().is_empty();
    if !queue
        && !want.fresh
        && let Some(upstream) = shard.upstreams.reuse(endpoint, ledger.last())
    {
        cluster.stats.reused.inc();
        return Ok(Got { upstream, place });
    }
    let mut free = if queue { None } else { credit(shard, cluster) };
    let credit = loop {
        if let Some(credit) = free {
            break credit;
        }
        let waited = wait(shard, lease, want).await;
        ledger.stamp(Phase::Pool, clock::now());
        match waited.map_err(|fault| (fault, None))? {
            Handed::Connection(upstream) if want.fresh => {
                // Its credit serves as well, unless another shard is quicker.
                shard.upstreams.put_back(upstream, false, clock::now());
                free = credit(shard, cluster);
            }
            Handed::Connection(upstream) => {
                cluster.stats.reused.inc();
                let same = |other: &Rc<EndpointState>| Rc::ptr_eq(other, &upstream.endpoint);
                let place = cluster.endpoints.iter().position(same).unwrap_or(place);
                return Ok(Got { upstream, place });
            }
            Handed::Credit(credit) => break credit,
        }
    };
    let connected = open(shard, lease, want, endpoint, credit).await;
    ledger.stamp(Phase::Connect, clock::now());
    let upstream = connected.map_err(|fault| {
        hand_credit(shard, cluster);
        (fault, Some(place))
    })?;
    Ok(Got { upstream, place })
}

/// A credit: a free one, or that of another endpoint's oldest idle connection.
fn credit(shard: &Shard, cluster: &ClusterState) -> Option<Credit> {
    loop {
        if let Some(credit) = Credit::take(cluster) {
            return Some(credit);
        }
        let mut others = cluster.endpoints.iter();
        let evicted = others.find_map(|other| other.ledger.borrow_mut().evict_oldest())?;
        shard.upstreams.close(evicted);
    }
}

/// A place in the cluster's queue, given up on drop with whatever came for it.
struct Waiting<'a> {
    shard: &'a Shard,
    cluster: &'a ClusterState,
    key: u32,
    ticket: Ticket,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.cluster.pending.borrow_mut().cancel(self.ticket);
        self.cluster.waiting.give();
        self.cluster.stats.pending.dec();
        if let Some(Handed::Connection(upstream)) = self.shard.upstreams.handed_to(self.key) {
            release(self.shard, self.cluster, upstream, true, clock::now());
        }
    }
}

/// Waits for a connection or a credit.
async fn wait(shard: &Shard, lease: &Lease, want: &Want<'_>) -> Result<Handed, Fault> {
    let (cluster, until) = (want.cluster, want.until);
    let limits = &cluster.cluster.limits;
    if !cluster.waiting.try_take(limits.pending) {
        cluster.stats.pending_overflow.inc();
        return Err(Fault::PendingOverflow);
    }
    cluster.stats.pending.inc();
    let deadline = clock::now().after(limits.pending_timeout).min(until);
    let key = lease.key();
    // The local queue has no limit of its own: `waiting` counts the whole proxy.
    let ticket = cluster.pending.borrow_mut().push(key, deadline).map_err(|_| Fault::PendingOverflow)?;
    let waiting = Waiting { shard, cluster, key, ticket };
    shard.wake_peers();
    loop {
        lease.wake_at(Lane::Up, clock::now().after(LOOK_PERIOD).min(deadline));
        let handed = poll_fn(|cx| {
            if let Some(handed) = shard.upstreams.handed_to(key) {
                return Poll::Ready(Some(handed));
            }
            if lease.fired(Lane::Up).is_some() {
                return Poll::Ready(None);
            }
            lease.wait_here(cx);
            Poll::Pending
        })
        .await;
        lease.disarm(Lane::Up);
        if let Some(handed) = handed {
            return Ok(handed);
        }
        let now = clock::now();
        if now >= deadline {
            drop(waiting);
            if now >= until {
                return Err(Fault::RequestTimeout);
            }
            cluster.stats.pending_timeouts.inc();
            return Err(Fault::PendingTimeout);
        }
        if client_gone(want.client, want.half_close) {
            return Err(Fault::ClientGone);
        }
        hand_credit(shard, cluster);
    }
}

/// Gives the first waiter a credit, if one is free: one that came back on another shard wakes nobody here.
fn hand_credit(shard: &Shard, cluster: &ClusterState) {
    let mut pending = cluster.pending.borrow_mut();
    if !pending.is_empty()
        && let Some(credit) = Credit::take(cluster)
        && let Some(key) = pending.pop(clock::now())
    {
        shard.upstreams.hand(key, Handed::Credit(credit));
        shard.slots.wake(key);
    }
}

/// Closes idle connections whose credits requests on other shards wait for.
pub(crate) fn give_up_idle(shard: &Shard) {
    for cluster in shard.tables().used() {
        let mut surplus = surplus(cluster);
        while surplus > 0
            && let Some(key) =
                cluster.endpoints.iter().find_map(|endpoint| endpoint.ledger.borrow_mut().evict_oldest())
        {
            shard.upstreams.close(key);
            surplus -= 1;
        }
    }
}

/// How many of the cluster's connections are wanted elsewhere.
fn surplus(cluster: &ClusterState) -> u64 {
    let elsewhere = cluster.waiting.count().saturating_sub(cluster.pending.borrow().len() as u64);
    short_by(cluster.connections.count(), cluster.cluster.limits.connections, elsewhere)
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
    want: &Want<'_>,
    endpoint: &Rc<EndpointState>,
    credit: Credit,
) -> Result<Box<Upstream>, Fault> {
    let (cluster, until) = (want.cluster, want.until);
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
    lease.watch_client(want.client, &socket, want.half_close, begun);
    let mut finished = connect::finish(&socket, shard.driver).await;
    if finished.is_ok() && !want.preface.is_empty() {
        finished = send_all(&socket, Buffer::apart(want.preface), |_| ()).await.0;
    }
    lease.unwatch_client();
    match (lease.disarm(Lane::Up), finished) {
        (Some(Why::Gone), _) => Err(Fault::ClientGone),
        (Some(_), _) if clock::now() >= until => failed(Fault::RequestTimeout),
        (Some(_), _) => {
            cluster.stats.connect_timeouts.inc();
            failed(Fault::ConnectTimeout)
        }
        (None, Err(error)) => failed(local_or_remote(&error)),
        (None, Ok(())) => {
            connecting.1 = true;
            endpoint.ledger.borrow_mut().on_connected(u32::MAX);
            let mut upstream = Upstream::new(socket, endpoint.clone(), credit);
            upstream.single = !want.preface.is_empty();
            Ok(upstream)
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

/// Gives a connection back: to the first waiter, to the pool, or it is closed and its credit handed on.
pub(crate) fn release(
    shard: &Shard,
    cluster: &ClusterState,
    mut upstream: Box<Upstream>,
    reusable: bool,
    now: Instant,
) {
    let alive = reusable
        && !upstream.single
        && shard.draining().is_none()
        && (upstream.receiver.started() || upstream.arm(shard, Size::Small))
        && !upstream.surprised();
    upstream.served += 1;
    if alive && let Some(key) = cluster.pending.borrow_mut().pop(now) {
        shard.upstreams.hand(key, Handed::Connection(upstream));
        shard.slots.wake(key);
        return;
    }
    shard.upstreams.put_back(upstream, alive && surplus(cluster) == 0, now);
    if !alive {
        hand_credit(shard, cluster);
    }
}

impl Upstreams {
    /// Leaves something for the waiter `key`.
    fn hand(&self, key: u32, handed: Handed) {
        self.handed.borrow_mut().push((key, handed));
    }

    /// Takes what was left for the waiter `key`.
    fn handed_to(&self, key: u32) -> Option<Handed> {
        let mut handed = self.handed.borrow_mut();
        let place = handed.iter().position(|(of, _)| *of == key)?;
        Some(handed.swap_remove(place).1)
    }

    /// The newest idle connection on which nothing happened.
    fn reuse(&self, endpoint: &EndpointState, now: Instant) -> Option<Box<Upstream>> {
        loop {
            let acquired = endpoint.ledger.borrow_mut().acquire(now, || false);
            let Acquire::Reuse(key) = acquired else {
                return None;
            };
            let mut upstream = self.idle.borrow_mut().try_remove(key as usize)?;
            if !upstream.surprised() {
                return Some(upstream);
            }
            self.put_back(upstream, false, now);
        }
    }

    fn put_back(&self, upstream: Box<Upstream>, reusable: bool, now: Instant) {
        let endpoint = upstream.endpoint.clone();
        let mut idle = self.idle.borrow_mut();
        let entry = idle.vacant_entry();
        let key = entry.key() as u32;
        let released = endpoint.ledger.borrow_mut().release(key, reusable, now);
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
