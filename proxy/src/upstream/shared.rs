//! HTTP/2 connections to an endpoint, shared by the requests of a shard.
//!
//! ```text
//!   a connection with room? ──> its stream
//!   one on its way?         ──> wait for it with the others   (so that a burst opens one, not a hundred)
//!   else a credit           ──> one more on its way
//! ```
//!
//! Invariants:
//! - a connection holds one credit of its cluster from the moment it is tried until it is closed;
//! - a connection that leaves (GOAWAY, age, drain) takes no new streams; those in progress finish;
//! - whoever opens one does so for everybody: nobody's leaving calls it off.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use pinion_core::config::{Cluster, ClusterProtocol};
use pinion_core::fault::Fault;
use pinion_core::http::h2::Limits;
use pinion_core::limits::HEADER_BYTES_MAX;
use pinion_core::telemetry::{ClusterStats, Side};
use pinion_core::time::Instant;

use super::cluster::{ClusterState, EndpointState};
use super::connection::{Credit, Upstream};
use super::dial::{self, Dial};
use super::waiting::{self, Handed};
use crate::h2::client;
use crate::h2::session::{Session, Settings};
use crate::h2::stream::Stream;
use crate::net::clock;
use crate::shard::Shard;

/// The peer must take some of what is sent to it within this time.
const WRITE_TIME: Duration = Duration::from_secs(30);

/// Streams that a new connection is given before the endpoint has said how many it takes: the least that RFC 9113
/// section 6.5.2 recommends. What it refuses nevertheless is sent again.
const STREAMS_ASSUMED: usize = 100;

/// An endpoint's shared connections on one shard.
#[derive(Default)]
pub(crate) struct Connections {
    open: RefCell<Vec<Rc<Session>>>,
    opening: RefCell<Vec<Rc<Opening>>>,
    /// What the endpoint chose when it was asked.
    speaks: Cell<Option<Spoken>>,
    /// How many streams the endpoint last said a connection may have.
    streams: Cell<Option<usize>>,
}

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spoken {
    /// One request at a time.
    Http1,
    /// Shared.
    Http2,
}

/// A connection on its way, and who waits for it.
pub(crate) struct Opening {
    /// The keys of the slots of those who wait.
    waiters: RefCell<Vec<u32>>,
    /// How many may.
    room: usize,
    /// The host that the endpoint must prove to be, if requests say which.
    host: Box<str>,
    result: Cell<Option<Result<(), Fault>>>,
}

impl Opening {
    /// How it ended, if it did.
    pub(crate) fn result(&self) -> Option<Result<(), Fault>> {
        self.result.get()
    }

    /// `key` waits for it.
    pub(crate) fn join(&self, key: u32) {
        self.waiters.borrow_mut().push(key);
    }

    /// `key` waits no longer.
    pub(crate) fn leave(&self, key: u32) {
        self.waiters.borrow_mut().retain(|&waiter| waiter != key);
    }

    fn has_room(&self) -> bool {
        self.waiters.borrow().len() < self.room
    }
}

impl Connections {
    /// What a new connection will speak: what was agreed on last, where the endpoint chooses.
    pub(crate) fn speaks(&self, protocol: ClusterProtocol) -> Option<Spoken> {
        match protocol {
            ClusterProtocol::Http1 | ClusterProtocol::Tcp => Some(Spoken::Http1),
            ClusterProtocol::Http2 => Some(Spoken::Http2),
            ClusterProtocol::Auto => self.speaks.get(),
        }
    }

    /// Notes what the endpoint chose.
    pub(crate) fn on_chosen(&self, spoken: Spoken) {
        self.speaks.set(Some(spoken));
    }

    /// How many streams a connection may have whose settings have not come yet.
    fn streams_assumed(&self) -> usize {
        self.streams.get().unwrap_or(STREAMS_ASSUMED)
    }

    /// Notes what the endpoint says on `session`.
    fn learn(&self, session: &Session) {
        if let Some(streams) = session.peer_streams() {
            self.streams.set(Some(streams));
        }
    }

    /// A stream of a connection that has room; of those the one that has the most, so that none is full while
    /// others idle.
    /// `host`: the endpoint must have proved to be that.
    pub(crate) fn stream(&self, host: Option<&str>) -> Option<Stream> {
        let open = self.open.borrow();
        let fits = |session: &&Rc<Session>| host.is_none_or(|host| *session.settings().host == *host);
        let session = match &open[..] {
            [] => return None,
            [only] => Some(only).filter(fits),
            several => several.iter().filter(fits).max_by_key(|session| session.vacancies()),
        };
        session?.reserve()
    }

    /// A connection on its way that more may wait for.
    pub(crate) fn opening(&self, host: &str) -> Option<Rc<Opening>> {
        let fits = |opening: &&Rc<Opening>| opening.has_room() && *opening.host == *host;
        self.opening.borrow().iter().find(fits).cloned()
    }

    /// Whether the endpoint takes no streams at present, on connections that are there: more would not help.
    pub(crate) fn is_shut(&self) -> bool {
        let open = self.open.borrow();
        open.iter().any(|session| !session.is_leaving() && session.peer_streams() == Some(0))
    }

    /// Connections that nobody uses; `None` when some are used.
    pub(crate) fn idle(&self) -> Option<usize> {
        let open = self.open.borrow();
        open.iter().all(|session| session.is_quiet()).then_some(open.len())
    }

    /// Lets every connection finish and opens no streams on them any more.
    pub(crate) fn drain(&self) {
        for session in self.open.borrow().iter() {
            session.drain();
        }
    }

    /// Closes the connection that has been without streams for longest; says whether there was one.
    pub(crate) fn evict_oldest(&self) -> bool {
        let oldest = {
            let open = self.open.borrow();
            let quiet = open.iter().filter(|session| !session.is_leaving());
            quiet
                .filter_map(|session| Some((session.quiet_since()?, session)))
                .min_by_key(|(since, _)| *since)
                .map(|(_, session)| session.clone())
        };
        oldest.is_some_and(|session| {
            session.abort();
            true
        })
    }
}

/// Starts opening a connection to `endpoint`; `credit` is its credit.
// ALLOC: once a connection.
pub(crate) fn open(
    shard: &Rc<Shard>,
    cluster: &Rc<ClusterState>,
    endpoint: &Rc<EndpointState>,
    credit: Credit,
    host: &str,
) -> Rc<Opening> {
    let opening = Rc::new(Opening {
        waiters: RefCell::default(),
        host: host.into(),
        room: endpoint.shared.streams_assumed().clamp(1, cluster.cluster.http2.streams as usize),
        result: Cell::new(None),
    });
    endpoint.shared.opening.borrow_mut().push(opening.clone());
    crate::net::spawn(run(shard.clone(), cluster.clone(), endpoint.clone(), credit, opening.clone()));
    opening
}

/// Opens a connection, serves those who wait for it, and moves its bytes until it ends.
async fn run(
    shard: Rc<Shard>,
    cluster: Rc<ClusterState>,
    endpoint: Rc<EndpointState>,
    credit: Credit,
    opening: Rc<Opening>,
) {
    let lease = shard.slots.lease();
    let to = Dial {
        cluster: &cluster,
        endpoint: &endpoint,
        until: Instant::NEVER,
        client: None,
        preface: &[],
        host: &opening.host,
    };
    let dialled = dial::dial(&shard, &lease, &to).await;
    drop(lease);
    endpoint.shared.opening.borrow_mut().retain(|other| !Rc::ptr_eq(other, &opening));
    let (socket, spoken) = match dialled {
        Ok(dialled) => dialled,
        Err(fault) => {
            drop(credit);
            opening.result.set(Some(Err(fault)));
            wake_all(&shard, &opening);
            waiting::hand_credit(&shard, &cluster);
            return;
        }
    };
    endpoint.shared.on_chosen(spoken);
    opening.result.set(Some(Ok(())));
    if spoken == Spoken::Http1 {
        // One of those who wait takes it, the others connect on their own.
        let upstream = Upstream::new(socket, endpoint.clone(), credit, &opening.host);
        waiting::offer(&shard, upstream, opening.waiters.borrow_mut().pop());
        wake_all(&shard, &opening);
        return;
    }
    let held = Held::new(&cluster, endpoint, credit);
    let limits = limits(&cluster.cluster);
    let settings = settings(&cluster.cluster, &opening.host);
    // The task works for whatever generation is in force: it keeps none alive.
    drop(cluster);
    let session = client::begin(&shard, socket, settings, limits, held.endpoint.shared.streams_assumed());
    held.endpoint.shared.open.borrow_mut().push(session.clone());
    for key in opening.waiters.take() {
        if let Some(stream) = session.reserve() {
            shard.upstreams.hand(key, Handed::Stream(stream, held.endpoint.clone()));
        }
        shard.slots.wake(key);
    }
    drop(opening);
    client::serve(&session, || held.endpoint.shared.learn(&session)).await;
    held.endpoint.shared.open.borrow_mut().retain(|other| !Rc::ptr_eq(other, &session));
    drop(held);
    waiting::on_closed(&shard);
}

fn wake_all(shard: &Shard, opening: &Opening) {
    for key in opening.waiters.take() {
        shard.slots.wake(key);
    }
}

/// An open connection in the counts and on its endpoint's books.
struct Held {
    stats: std::sync::Arc<ClusterStats>,
    endpoint: Rc<EndpointState>,
    _credit: Credit,
}

impl Held {
    fn new(cluster: &ClusterState, endpoint: Rc<EndpointState>, credit: Credit) -> Self {
        cluster.stats.connections_active.inc();
        endpoint.stats.connections_active.inc();
        Held { stats: cluster.stats.clone(), endpoint, _credit: credit }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.stats.connections_active.dec();
        self.endpoint.stats.connections_active.dec();
        // Never kept idle by the ledger, which knows connections of one request at a time.
        let _ = self.endpoint.ledger.borrow_mut().release(u32::MAX, false, clock::now());
    }
}

fn limits(cluster: &Cluster) -> Limits {
    Limits {
        concurrent_streams: cluster.http2.streams,
        stream_window: cluster.http2.stream_window,
        connection_window: cluster.http2.connection_window,
        header_list_bytes: HEADER_BYTES_MAX as u32,
        ..Limits::client()
    }
}

fn settings(cluster: &Cluster, host: &str) -> Settings {
    let http2 = &cluster.http2;
    Settings {
        side: Side::Upstream,
        host: host.into(),
        listener: None,
        idle: cluster.timeouts.idle,
        header: cluster.timeouts.first_byte,
        write: WRITE_TIME,
        keepalive: http2.keepalive,
        keepalive_timeout: http2.keepalive_timeout,
        requests: u64::MAX,
        max_age: http2.age,
        movable: false,
        streams: http2.streams as usize,
    }
}
