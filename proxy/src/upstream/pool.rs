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
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use pinion_core::fault::Fault;
use pinion_core::limits::TICK;
use pinion_core::pool::{Acquire, Released, Ticket, short_by};
use pinion_core::telemetry::{Ledger, Phase};
use pinion_core::time::Instant;

use super::Upstreams;
use super::client::Client;
use super::cluster::{ClusterState, EndpointState};
use super::connection::{Credit, Upstream};
use super::dial::{self, Dial};
use super::shared::{self, Opening, Spoken};
use crate::h2::stream::Stream;
use crate::net::buffers::Size;
use crate::net::clock;
use crate::shard::Shard;
use crate::shard::lease::Lease;
use crate::shard::timer::Lane;

/// How often a waiting request looks for credits that other shards gave back, and whether its client has left.
const LOOK_PERIOD: Duration = TICK;

/// What a request wants of the pool.
pub(crate) struct Want<'a> {
    pub(crate) cluster: &'a Rc<ClusterState>,
    /// The place of the endpoint that just failed.
    pub(crate) avoid: Option<usize>,
    /// A new connection, because an idle one just failed (of shared ones any will do).
    pub(crate) fresh: bool,
    /// When the request must end.
    pub(crate) until: Instant,
    /// Who waits for the answer.
    pub(crate) client: Client<'a>,
    /// What a new connection begins with; then it serves nobody else, and `fresh` is set.
    pub(crate) preface: &'a [u8],
    /// The host that the endpoint must have proved to be; empty where the cluster says who it must be.
    pub(crate) host: &'a str,
}

/// What a request is sent on.
pub(crate) enum Link {
    /// A connection of its own.
    Http1(Box<Upstream>),
    /// A place on a shared connection, to be opened.
    Http2(Stream),
}

impl Link {
    /// The host that its endpoint has proved to be.
    fn host(&self) -> &str {
        match self {
            Link::Http1(upstream) => &upstream.host,
            Link::Http2(stream) => &stream.session().settings().host,
        }
    }

    /// Whether requests were sent on the connection before.
    pub(crate) fn is_reused(&self) -> bool {
        match self {
            Link::Http1(upstream) => upstream.served > 0,
            Link::Http2(stream) => stream.session().begun() > 0,
        }
    }
}

/// A connection and where it came from.
pub(crate) struct Got {
    pub(crate) link: Link,
    pub(crate) endpoint: Rc<EndpointState>,
    /// The endpoint's place in its cluster.
    pub(crate) place: usize,
}

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
    fn link(self) -> Result<(Link, Rc<EndpointState>), Credit> {
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
    let mut first = cluster.pending.borrow().is_empty();
    loop {
        if first && let Some(link) = at_once(shard, endpoint, ledger.last(), want) {
            return Ok(Got { link, endpoint: endpoint.clone(), place });
        }
        if first && let Some(opening) = endpoint.shared.opening(want.host) {
            let joined = join(shard, lease, want, &opening).await;
            ledger.stamp(Phase::Connect, clock::now());
            match joined.map_err(|fault| (fault, Some(place)))? {
                Some(link) => return Ok(got(want, link, place)),
                None => continue,
            }
        }
        let may_open = first && !endpoint.shared.is_shut();
        let credit = match if may_open { credit(shard, cluster) } else { None } {
            Some(credit) => credit,
            None => {
                let waited = wait(shard, lease, want).await;
                ledger.stamp(Phase::Pool, clock::now());
                first = true;
                match waited.map_err(|fault| (fault, None))? {
                    Handed::Connection(upstream) if want.fresh => {
                        // Its credit serves as well, unless another shard is quicker.
                        shard.upstreams.put_back(upstream, false, clock::now());
                        continue;
                    }
                    handed => match handed.link() {
                        Ok((link, _)) if link.host() != want.host => {
                            // Verified for another host; there is one connection less to wait for.
                            release(shard, cluster, link, true, clock::now());
                            continue;
                        }
                        Ok(link) => return Ok(got(want, link, place)),
                        Err(credit) => credit,
                    },
                }
            }
        };
        if endpoint.speaks(cluster) != Some(Spoken::Http1) {
            let Some(shard) = shard.handle() else {
                return Err((Fault::ConnectLocal, Some(place)));
            };
            shared::open(&shard, cluster, endpoint, credit, want.host);
            continue;
        }
        let connected = open(shard, lease, want, endpoint, credit).await;
        ledger.stamp(Phase::Connect, clock::now());
        let upstream = connected.map_err(|fault| {
            hand_credit(shard, cluster);
            (fault, Some(place))
        })?;
        return Ok(Got { link: Link::Http1(upstream), endpoint: endpoint.clone(), place });
    }
}

/// A connection that is there and free.
fn at_once(shard: &Shard, endpoint: &EndpointState, now: Instant, want: &Want<'_>) -> Option<Link> {
    let cluster = want.cluster;
    let link = match endpoint.speaks(cluster)? {
        Spoken::Http1 if want.fresh => None,
        Spoken::Http1 => shard.upstreams.reuse(endpoint, now, want.host).map(Link::Http1),
        Spoken::Http2 => endpoint.shared.stream(Some(want.host)).map(Link::Http2),
    }?;
    cluster.stats.reused.inc();
    Some(link)
}

/// What was handed over; `place` is the endpoint that was picked.
fn got(want: &Want<'_>, (link, endpoint): (Link, Rc<EndpointState>), place: usize) -> Got {
    let cluster = want.cluster;
    cluster.stats.reused.inc();
    let place = cluster.endpoints.iter().position(|other| Rc::ptr_eq(other, &endpoint)).unwrap_or(place);
    Got { link, endpoint, place }
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
async fn join(
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

/// A credit: a free one, or that of another endpoint's oldest idle connection.
fn credit(shard: &Shard, cluster: &ClusterState) -> Option<Credit> {
    loop {
        if let Some(credit) = Credit::take(cluster) {
            return Some(credit);
        }
        let mut others = cluster.endpoints.iter();
        let Some(evicted) = others.find_map(|other| other.ledger.borrow_mut().evict_oldest()) else {
            // A shared one gives its credit back when its task has ended it: the waiters hear of that.
            let _ = cluster.endpoints.iter().any(|other| other.shared.evict_oldest());
            return None;
        };
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
fn hand_streams(shard: &Shard, cluster: &ClusterState) {
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

/// Closes idle connections whose credits requests on other shards wait for.
pub(crate) fn give_up_idle(shard: &Shard) {
    for cluster in shard.tables().used() {
        for _ in 0..surplus(cluster) {
            let mut endpoints = cluster.endpoints.iter();
            let evicted = endpoints.find_map(|endpoint| endpoint.ledger.borrow_mut().evict_oldest());
            match evicted {
                Some(key) => shard.upstreams.close(key),
                None if cluster.endpoints.iter().any(|endpoint| endpoint.shared.evict_oldest()) => {}
                None => break,
            }
        }
    }
}

/// How many of the cluster's connections are wanted elsewhere.
fn surplus(cluster: &ClusterState) -> u64 {
    let elsewhere = cluster.waiting.count().saturating_sub(cluster.pending.borrow().len() as u64);
    short_by(cluster.connections.count(), cluster.cluster.limits.connections, elsewhere)
}

/// Connects for one request.
async fn open(
    shard: &Shard,
    lease: &Lease,
    want: &Want<'_>,
    endpoint: &Rc<EndpointState>,
    credit: Credit,
) -> Result<Box<Upstream>, Fault> {
    let (cluster, client) = (want.cluster, Some(&want.client));
    let to = Dial { cluster, endpoint, until: want.until, client, preface: want.preface, host: want.host };
    let (socket, _) = dial::dial(shard, lease, &to).await?;
    let mut upstream = Upstream::new(socket, endpoint.clone(), credit, want.host);
    upstream.single = !want.preface.is_empty();
    Ok(upstream)
}

/// Gives back what a request was sent on; `reusable`: another request may be sent on it.
pub(crate) fn release(shard: &Shard, cluster: &ClusterState, link: Link, reusable: bool, now: Instant) {
    match link {
        Link::Http1(upstream) => release_one(shard, cluster, upstream, reusable, now),
        Link::Http2(stream) => {
            drop(stream);
            hand_streams(shard, cluster);
        }
    }
}

/// Gives a connection back: to the first waiter, to the pool, or it is closed and its credit handed on.
fn release_one(
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
    pub(super) fn hand(&self, key: u32, handed: Handed) {
        self.handed.borrow_mut().push((key, handed));
    }

    /// Takes what was left for the waiter `key`.
    fn handed_to(&self, key: u32) -> Option<Handed> {
        let mut handed = self.handed.borrow_mut();
        let place = handed.iter().position(|(of, _)| *of == key)?;
        Some(handed.swap_remove(place).1)
    }

    /// The newest idle connection on which nothing happened.
    fn reuse(&self, endpoint: &EndpointState, now: Instant, host: &str) -> Option<Box<Upstream>> {
        loop {
            let acquired = endpoint.ledger.borrow_mut().acquire(now, || false);
            let Acquire::Reuse(key) = acquired else {
                return None;
            };
            let mut upstream = self.idle.borrow_mut().try_remove(key as usize)?;
            if upstream.surprised() {
                self.put_back(upstream, false, now);
            } else if *upstream.host == *host {
                return Some(upstream);
            } else {
                self.put_back(upstream, true, now);
                return None;
            }
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
