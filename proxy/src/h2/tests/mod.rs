//! Sessions on a real shard with both drivers, against the `h2` crate, which shares nothing with this code.
//!
//! The shard runs on the test's thread of each driver, the peer on a thread of its own.

use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use crossbeam::queue::ArrayQueue;
use pinion_core::config::{Ids, compile};
use pinion_core::http::HeaderEdits;
use pinion_core::http::h2::Limits;
use pinion_core::http::h2::frame::ErrorCode;
use pinion_core::http::h2::head::{encode_connected, encode_own};
use pinion_core::telemetry::Side;

use super::server::{NewRequest, Served, Start, serve_connection};
use super::session::Settings;
use super::{Piece, StreamFault};
use crate::net::socket::Socket;
use crate::net::{Driver, reactor, wake};
use crate::publish::Publisher;
use crate::shard::Shard;
use crate::shard::link::{INBOX_MESSAGES, ShardLink};
use crate::telemetry::access;
use crate::tls::store::TlsStore;

mod downstream;
mod upstream;

/// How long one of these tests may take on the busiest machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// The smallest configuration.
const CONFIG: &str = r#"
    listeners = [{ name = "l", address = "127.0.0.1:0" }]
    clusters = [{ name = "c", endpoints = ["127.0.0.1:1"] }]
    routes = [{ cluster = "c" }]
"#;

/// A shard on this thread, whose driver runs.
fn shard(config: &str, driver: Driver) -> Rc<Shard> {
    let snapshot = compile(config, "test", Path::new("/"), &mut Ids::default(), 1, None);
    let snapshot = Arc::new(snapshot.unwrap_or_else(|problems| panic!("{problems}")));
    let (tls, _) = TlsStore::load(&snapshot, None).unwrap_or_else(|problems| panic!("{problems}"));
    let tables = Publisher::new(1).tables(&snapshot, &tls).remove(0);
    let link = Arc::new(ShardLink {
        index: 0,
        published: AtomicU64::new(1),
        adopted: AtomicU64::new(0),
        tables: ArcSwap::new(tables),
        inbox: ArrayQueue::new(INBOX_MESSAGES),
        wake: wake::new_eventfd().unwrap(),
        stats: Arc::default(),
        cpu: None,
        driver: driver.label(),
    });
    let (sink, _) = access::ring(Arc::new(AtomicBool::new(false)), link.stats.clone());
    let shard = Shard::new(link, Arc::default(), driver, sink, 7).unwrap();
    let slots = shard.slots.clone();
    crate::net::spawn(async move { slots.run().await.unwrap() });
    shard
}

/// Runs `test` on a thread of its own with each driver.
fn on_each<F: Future<Output = ()> + 'static>(
    config: &str,
    test: impl Fn(Rc<Shard>, Driver) -> F + Copy + Send + 'static,
) {
    for driver in [Driver::IoUring, Driver::Epoll] {
        let config = config.to_owned();
        let run = move || {
            reactor::start(driver)?;
            let shard = shard(&config, driver);
            reactor::run(test(shard, driver))
        };
        match std::thread::spawn(run).join().unwrap() {
            Err(error) if driver == Driver::IoUring => println!("SKIPPED: no io_uring: {error}"),
            other => other.unwrap(),
        }
    }
}

/// A socket of the shard, and its peer.
fn pair(driver: Driver) -> (Socket, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(driver.nonblocking()).unwrap();
    theirs.set_nonblocking(true).unwrap();
    (Socket::new(OwnedFd::from(ours)).unwrap(), theirs)
}

/// Runs a peer on a thread of its own; the returned flag says that it is done.
fn peer<F: Future<Output = ()>>(work: impl FnOnce() -> F + Send + 'static) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { tokio::time::timeout(PATIENCE, work()).await.unwrap() });
    })
}

fn settings(side: Side) -> Settings {
    Settings {
        side,
        listener: None,
        idle: Duration::from_secs(60),
        header: Duration::from_secs(10),
        write: Duration::from_secs(30),
        keepalive: None,
        keepalive_timeout: Duration::from_secs(10),
        requests: u64::MAX,
        max_age: None,
        movable: true,
        host: Box::default(),
        streams: 100,
    }
}

/// Bytes that differ from place to place.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|place| (place * 31 + place / 251) as u8).collect()
}

/// Reads a body of the `h2` crate to its end.
async fn read_body(mut body: h2::RecvStream) -> Result<(Vec<u8>, Option<http::HeaderMap>), h2::Error> {
    let mut content = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        content.extend_from_slice(&piece);
    }
    Ok((content, body.trailers().await?))
}

/// Sends all of `content` with the `h2` crate, as windows allow.
async fn send_body(stream: &mut h2::SendStream<Bytes>, content: &[u8], end: bool) -> Result<(), h2::Error> {
    let mut rest = Bytes::copy_from_slice(content);
    while !rest.is_empty() {
        stream.reserve_capacity(rest.len());
        let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
        let room = room.ok_or(h2::Reason::STREAM_CLOSED)??;
        let piece = rest.split_to(room.min(rest.len()));
        stream.send_data(piece, end && rest.is_empty())?;
    }
    if content.is_empty() && end {
        stream.send_data(Bytes::new(), true)?;
    }
    Ok(())
}
