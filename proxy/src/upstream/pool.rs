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

use std::rc::Rc;

use pinion_core::fault::Fault;
use pinion_core::pool::{Released, short_by};
use pinion_core::telemetry::{Ledger, Phase};
use pinion_core::time::Instant;

use super::Upstreams;
use super::client::Client;
use super::cluster::{ClusterState, EndpointState};
use super::connection::{Credit, Upstream};
use super::dial::{self, Dial};
use super::shared::{self, Spoken};
use super::waiting::{Handed, hand_credit, hand_streams, join, wait};
use crate::h2::stream::Stream;
use crate::net::buffers::Size;
use crate::net::clock;
use crate::shard::Shard;
use crate::shard::lease::Lease;

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
    /// The newest idle connection that was verified for this host and on which nothing happened.
    fn reuse(&self, endpoint: &EndpointState, now: Instant, host: &str) -> Option<Box<Upstream>> {
        loop {
            let mut idle = self.idle.borrow_mut();
            let fits = |key: u32| idle.get(key as usize).is_some_and(|upstream| *upstream.host == *host);
            let key = endpoint.ledger.borrow_mut().reuse(now, fits)?;
            let mut upstream = idle.try_remove(key as usize)?;
            drop(idle);
            if !upstream.surprised() {
                return Some(upstream);
            }
            self.put_back(upstream, false, now);
        }
    }

    pub(super) fn put_back(&self, upstream: Box<Upstream>, reusable: bool, now: Instant) {
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
