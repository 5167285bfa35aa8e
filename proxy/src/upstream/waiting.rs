//! Waiting for a connection: in the cluster's queue, or with others for one on its way; and handing out what comes.
//!
//! ```text
//!   join: a connection on its way ──> a place on it, or look again, or why there is none
//!   wait: the cluster's queue     ──> a connection, a place on one, or the right to connect
//! ```
//!
//! Invariants: whoever leaves gives up its place and passes on what came for it meanwhile.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use pinion_core::fault::Fault;
use pinion_core::limits::TICK;
use pinion_core::pool::Ticket;

use super::Upstreams;
use super::cluster::{ClusterState, EndpointState};
use super::connection::{Credit, Upstream};
use super::pool::{Link, Want, release};
use super::shared::Opening;
use crate::h2::stream::Stream;
use crate::net::buffers::Size;
use crate::net::clock;
use crate::shard::Shard;
use crate::shard::lease::Lease;
use crate::shard::timer::Lane;

/// How often a waiting request looks for credits that other shards gave back, and whether its client has left.
const LOOK_PERIOD: Duration = TICK;

/// What a waiter was given.
pub(crate) enum Handed {
    /// A connection that another request was done with; it stays active on its endpoint's books.
    Connection(Box<Upstream>),
    /// A place on a shared connection to the endpoint.
    Stream(Stream, Rc<EndpointState>),
    /// The right to connect.
    Credit(Credit),
}

impl Handed {
    /// What a request can be sent on, and where that leads; else the right to connect.
    pub(super) fn link(self) -> Result<(Link, Rc<EndpointState>), Credit> {
        match self {
            Handed::Connection(upstream) => {
                let endpoint = upstream.endpoint.clone();
                Ok((Link::Http1(upstream), endpoint))
            }
            Handed::Stream(stream, endpoint) => Ok((Link::Http2(stream), endpoint)),
            Handed::Credit(credit) => Err(credit),
        }
    }
}

/// A place among those who wait for a connection on its way, given up on drop with whatever came for it.
struct Joined<'a> {
    shard: &'a Shard,
    cluster: &'a ClusterState,
    opening: &'a Opening,
    key: u32,
}

impl Drop for Joined<'_> {
    fn drop(&mut self) {
        self.opening.leave(self.key);
        give_up(self.shard, self.cluster, self.key);
    }
}

/// Waits for a connection on its way; `None` when it is there, but not for this request.
pub(super) async fn join(
    shard: &Shard,
    lease: &Lease,
    want: &Want<'_>,
    opening: &Opening,
) -> Result<Option<(Link, Rc<EndpointState>)>, Fault> {
    let key = lease.key();
    opening.join(key);
    let _joined = Joined { shard, cluster: want.cluster, opening, key };
    loop {
        lease.wake_at(Lane::Up, clock::now().after(LOOK_PERIOD).min(want.until));
        let ended = poll_fn(|cx| {
            if let Some(handed) = shard.upstreams.handed_to(key) {
                return Poll::Ready(Some(Ok(handed.link().ok())));
            }
            if let Some(result) = opening.result() {
                return Poll::Ready(Some(result.map(|()| None)));
            }
            if want.client.poll_gone(cx) {
                return Poll::Ready(Some(Err(Fault::ClientGone)));
            }
            if lease.fired(Lane::Up).is_some() {
                return Poll::Ready(None);
            }
            lease.wait_here(cx);
            Poll::Pending
        })
        .await;
        lease.disarm(Lane::Up);
        if let Some(ended) = ended {
            return ended;
        }
        if clock::now() >= want.until {
            return Err(Fault::RequestTimeout);
        }
        if want.client.is_gone() {
            return Err(Fault::ClientGone);
        }
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
        give_up(self.shard, self.cluster, self.key);
    }
}

/// Passes on what came for the waiter `key`, who is not there any more.
fn give_up(shard: &Shard, cluster: &ClusterState, key: u32) {
    let link = match shard.upstreams.handed_to(key) {
        Some(Handed::Connection(upstream)) => Link::Http1(upstream),
        Some(Handed::Stream(stream, _)) => Link::Http2(stream),
        // Given back as it is dropped.
        Some(Handed::Credit(_)) | None => return,
    };
    release(shard, cluster, link, true, clock::now());
}

/// Waits for a connection, a stream or a credit.
pub(super) async fn wait(shard: &Shard, lease: &Lease, want: &Want<'_>) -> Result<Handed, Fault> {
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
            if lease.fired(Lane::Up).is_some() || want.client.poll_gone(cx) {
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
        if want.client.is_gone() {
            return Err(Fault::ClientGone);
        }
        hand_streams(shard, cluster);
        hand_credit(shard, cluster);
    }
}

/// Gives the first waiter a credit, if one is free: one that came back on another shard wakes nobody here.
pub(super) fn hand_credit(shard: &Shard, cluster: &ClusterState) {
    let mut pending = cluster.pending.borrow_mut();
    if !pending.is_empty()
        && let Some(credit) = Credit::take(cluster)
        && let Some(key) = pending.pop(clock::now())
    {
        shard.upstreams.hand(key, Handed::Credit(credit));
        shard.slots.wake(key);
    }
}

/// Gives the first waiters places on shared connections that have room.
pub(super) fn hand_streams(shard: &Shard, cluster: &ClusterState) {
    while !cluster.pending.borrow().is_empty()
        && let Some((stream, endpoint)) = cluster.stream()
        && let Some(key) = cluster.pending.borrow_mut().pop(clock::now())
    {
        shard.upstreams.hand(key, Handed::Stream(stream, endpoint));
        shard.slots.wake(key);
    }
}

/// A shared connection has ended: whoever waits may have its credit.
pub(super) fn on_closed(shard: &Shard) {
    for cluster in shard.tables().used() {
        hand_credit(shard, cluster);
    }
}

/// A connection was made for those who wait for it, and only one of them can have it.
pub(super) fn offer(shard: &Shard, mut upstream: Box<Upstream>, key: Option<u32>) {
    match key {
        Some(key) => {
            shard.upstreams.hand(key, Handed::Connection(upstream));
            shard.slots.wake(key);
        }
        None => {
            let alive = shard.draining().is_none() && upstream.arm(shard, Size::Small);
            shard.upstreams.put_back(upstream, alive, clock::now());
        }
    }
}

impl Upstreams {
    /// Leaves something for the waiter `key`.
    pub(super) fn hand(&self, key: u32, handed: Handed) {
        self.handed.borrow_mut().push((key, handed));
    }

    /// Takes what was left for the waiter `key`.
    fn handed_to(&self, key: u32) -> Option<Handed> {
        let mut handed = self.handed.borrow_mut();
        let place = handed.iter().position(|(of, _)| *of == key)?;
        Some(handed.swap_remove(place).1)
    }
}
