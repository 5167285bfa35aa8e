//! The upstream side: requests share connections to servers of the `h2` crate.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use pinion_core::fault::Fault;
use pinion_core::http::h1::encode::{ClientCert, Forwarding};
use pinion_core::http::h1::parse::{HeadLimits, parse_request};
use pinion_core::http::h2::head::encode_request;
use pinion_core::http::{Framing, Method, RequestHead, ResponseHead};
use pinion_core::id::ClusterIndex;
use pinion_core::telemetry::Ledger;
use pinion_core::time::Instant;

use super::*;
use crate::net::clock;
use crate::upstream::client::Client;
use crate::upstream::cluster::ClusterState;
use crate::upstream::pool::{self, Got, Link, Want};

/// What a server of the `h2` crate does.
#[derive(Clone, Copy)]
struct Manner {
    /// SETTINGS_MAX_CONCURRENT_STREAMS.
    streams: u32,
    /// Says GOAWAY after so many requests of a connection; they are answered.
    leaves_after: usize,
    /// Closes the socket without a word after so many requests of a connection.
    drops_after: usize,
    /// Refuses the first requests, so many.
    refuses: usize,
    /// How long each answer takes.
    slow: Duration,
}

const CALM: Manner = Manner {
    streams: 100,
    leaves_after: usize::MAX,
    drops_after: usize::MAX,
    refuses: 0,
    slow: Duration::ZERO,
};

/// A server that echoes bodies, on a thread of its own for the rest of the process.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicU64>,
}

fn server(manner: Manner) -> Server {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicU64::new(0));
    let (count, refuses) = (connections.clone(), Arc::new(AtomicU64::new(manner.refuses as u64)));
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(connection(socket, manner, refuses.clone()));
            }
        });
    });
    Server { address, connections }
}

async fn connection(socket: tokio::net::TcpStream, manner: Manner, refuses: Arc<AtomicU64>) {
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(manner.streams).initial_connection_window_size(8 << 20);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(socket).await else { return };
    let mut seen = 0;
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        seen += 1;
        if refuses.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
            respond.send_reset(h2::Reason::REFUSED_STREAM);
            continue;
        }
        tokio::spawn(async move {
            tokio::time::sleep(manner.slow).await;
            let answer = http::Response::builder().header("x-server", "h2").body(()).unwrap();
            let Ok((content, _)) = read_body(request.into_body()).await else { return };
            let Ok(mut body) = respond.send_response(answer, false) else { return };
            let _ = send_body(&mut body, &content, true).await;
        });
        if seen == manner.leaves_after {
            connection.graceful_shutdown();
        }
        if seen == manner.drops_after {
            return;
        }
    }
}

fn config(server: &Server, limits: &str) -> String {
    format!(
        r#"
        listeners = [{{ name = "l", address = "127.0.0.1:0" }}]
        routes = [{{ cluster = "c" }}]
        [[clusters]]
        name = "c"
        protocol = "http2"
        endpoints = ["{}"]
        {limits}
        "#,
        server.address
    )
}

fn cluster(shard: &Shard) -> Rc<ClusterState> {
    shard.tables().cluster(ClusterIndex(0), &shard.upstreams).clone()
}

/// Sends a request and gives the body of its answer, or the fault.
async fn ask(shard: &Rc<Shard>, content: &[u8]) -> Result<Vec<u8>, Fault> {
    let cluster = cluster(shard);
    let lease = shard.slots.lease();
    let (idle, _peer) = pair(shard.driver);
    let client = Client::Socket { socket: &idle, half_close: false };
    let want = Want {
        cluster: &cluster,
        avoid: None,
        fresh: false,
        until: Instant::NEVER,
        client,
        preface: b"",
        host: "",
    };
    let mut ledger = Ledger::begin(clock::now());
    let got = pool::acquire(shard, &lease, &mut ledger, &want).await;
    let Got { link, .. } = got.map_err(|(fault, _)| fault)?;
    let Link::Http2(stream) = link else { panic!("not HTTP/2") };
    let answer = exchange(shard, &stream, content).await;
    pool::release(shard, &cluster, Link::Http2(stream), true, clock::now());
    answer
}

async fn exchange(
    shard: &Shard,
    stream: &super::super::stream::Stream,
    content: &[u8],
) -> Result<Vec<u8>, Fault> {
    let text = b"POST /echo HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut request = RequestHead::new();
    let parsed = parse_request(text, &HeadLimits { head_bytes: 4_096, uri_bytes: 4_096 }, &mut request);
    assert!(parsed.is_ok());
    let forwarding = Forwarding {
        peer_ip: b"",
        proto: b"http",
        trusted: false,
        x_forwarded_host: false,
        forwarded: false,
        via: false,
        request_id: None,
        fallback_host: b"",
        upgrade: None,
        client_cert: ClientCert::default(),
        grpc_timeout: None,
    };
    let (edits, framing) = (HeaderEdits::default(), Framing::Chunked);
    let opened = stream.open(Method::Post, false, |encoder, out| {
        encode_request(encoder, out, text, &request, None, &forwarding, &edits, b"http", framing);
    });
    opened.map_err(|fault| fault.upstream(false))?;
    stream.send(content, true, |_| ()).await.map_err(|fault| fault.upstream(false))?;
    let mut head = ResponseHead::new();
    let (text, end) = stream.head(&mut head).await.map_err(|fault| fault.upstream(false))?;
    assert_eq!(head.status, 200, "{}", text.unread().escape_ascii());
    let mut body = Vec::new();
    let mut ended = end;
    while !ended {
        match stream.piece().await.map_err(|fault| fault.upstream(true))? {
            Piece::Data(bytes, end) => {
                body.extend_from_slice(bytes.unread());
                ended = end;
            }
            Piece::Trailers(_) | Piece::End => break,
        }
    }
    let _ = shard;
    Ok(body)
}

/// Asks `count` times at once; gives every outcome.
async fn ask_at_once(shard: &Rc<Shard>, count: usize) -> Vec<Result<(), Fault>> {
    let outcomes = Rc::new(std::cell::RefCell::new(Vec::new()));
    for round in 0..count {
        let (shard, outcomes) = (shard.clone(), outcomes.clone());
        crate::net::spawn(async move {
            let content = pattern([0, 10, 5_000, 40_000, 300_000][round % 5]);
            let answer = ask(&shard, &content).await;
            outcomes.borrow_mut().push(answer.map(|echoed| assert!(echoed == content, "round {round}")));
        });
    }
    let lease = shard.slots.lease();
    while outcomes.borrow().len() < count {
        lease.sleep(Duration::from_millis(20)).await;
    }
    outcomes.take()
}

fn all_well(outcomes: &[Result<(), Fault>]) {
    let failed: Vec<_> = outcomes.iter().filter(|outcome| outcome.is_err()).collect();
    assert!(failed.is_empty(), "{failed:?}");
}

/// Waits until `holds`.
async fn until(shard: &Rc<Shard>, what: &str, holds: impl Fn() -> bool) {
    let (lease, began) = (shard.slots.lease(), clock::now());
    while !holds() {
        assert!(clock::now().since(began) < PATIENCE, "{what}");
        lease.sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn a_burst_opens_one_connection_that_all_share() {
    let server = server(CALM);
    on_each(&config(&server, ""), |shard, _| async move {
        all_well(&ask_at_once(&shard, 60).await);
        all_well(&ask_at_once(&shard, 60).await);
        let stats = &cluster(&shard).stats;
        assert_eq!((stats.connects_total.get(), stats.connections_active.get()), (1, 1));
        let h2 = &shard.stats.http2[Side::Upstream as usize];
        assert_eq!((h2.streams_total.get(), h2.streams_active.get()), (120, 0));
        assert_eq!((h2.resets_sent.get(), h2.resets_received.get()), (0, 0));
    });
    assert!(server.connections.load(Ordering::Relaxed) <= 2, "one for each driver");
}

#[test]
fn limits_of_streams_and_connections_make_requests_wait_their_turn() {
    let server = server(Manner { streams: 5, slow: Duration::from_millis(30), ..CALM });
    let limits = "limits = { connections = 2, pending = 100, pending_timeout = \"60s\" }";
    on_each(&config(&server, limits), |shard, _| async move {
        // The endpoint's limit is known from here on.
        all_well(&ask_at_once(&shard, 1).await);
        all_well(&ask_at_once(&shard, 60).await);
        let stats = &cluster(&shard).stats;
        assert_eq!((stats.connects_total.get(), stats.pending_overflow.get()), (2, 0));
        assert_eq!((stats.pending.get(), stats.connections_active.get()), (0, 2));
    });
}

#[test]
fn an_endpoint_that_leaves_is_replaced_without_a_failed_request() {
    let server = server(Manner { leaves_after: 7, slow: Duration::from_millis(5), ..CALM });
    on_each(&config(&server, ""), |shard, _| async move {
        for _ in 0..6 {
            // Streams beyond the last one that the endpoint takes are told that nothing was done with them.
            let mut left = 10;
            while left > 0 {
                let outcomes = ask_at_once(&shard, left).await;
                left = outcomes.iter().filter(|outcome| **outcome == Err(Fault::StreamRefused)).count();
                all_well(
                    &outcomes.into_iter().filter(|o| *o != Err(Fault::StreamRefused)).collect::<Vec<_>>(),
                );
            }
        }
        let h2 = &shard.stats.http2[Side::Upstream as usize];
        assert!(h2.goaways_received.get() >= 60 / 7 - 1, "{}", h2.goaways_received.get());
        let shared = cluster(&shard).connections.clone();
        until(&shard, "connections that left are gone", || shared.count() <= 1).await;
    });
}

#[test]
fn a_refused_stream_may_be_sent_again_and_a_lost_one_is_told() {
    let refusing = server(Manner { refuses: 1, ..CALM });
    on_each(&config(&refusing, ""), |shard, _| async move {
        let first = ask(&shard, b"once").await;
        assert!(matches!(first, Err(Fault::StreamRefused) | Ok(_)), "the second driver finds none left");
        assert_eq!(ask(&shard, b"twice").await.unwrap(), b"twice");
    });
    let dropping = server(Manner { drops_after: 1, slow: Duration::from_secs(3), ..CALM });
    on_each(&config(&dropping, ""), |shard, _| async move {
        assert_eq!(ask(&shard, b"lost").await, Err(Fault::UpstreamClosed));
        let shared = cluster(&shard).connections.clone();
        until(&shard, "its credit came back", || shared.count() == 0).await;
    });
}

#[test]
fn whoever_waits_for_a_connection_that_fails_hears_of_it() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Server { address: closed.local_addr().unwrap(), connections: Arc::default() };
    drop(closed);
    on_each(&config(&server, ""), |shard, _| async move {
        let outcomes = ask_at_once(&shard, 20).await;
        assert!(outcomes.iter().all(|outcome| *outcome == Err(Fault::ConnectFailed)), "{outcomes:?}");
        let cluster = cluster(&shard);
        assert_eq!((cluster.connections.count(), cluster.stats.pending.get()), (0, 0));
    });
}

#[test]
fn idle_and_old_connections_are_closed_and_give_their_credit_back() {
    let server = server(CALM);
    on_each(&config(&server, "timeouts = { idle = \"300ms\" }"), |shard, _| async move {
        all_well(&ask_at_once(&shard, 5).await);
        let shared = cluster(&shard).connections.clone();
        until(&shard, "idle: closed", || shared.count() == 0).await;
        assert_eq!(ask(&shard, b"again").await.unwrap(), b"again");
    });
    on_each(&config(&server, "http2 = { max_connection_age = \"200ms\" }"), |shard, _| async move {
        let began = clock::now();
        while clock::now().since(began) < Duration::from_secs(1) {
            all_well(&ask_at_once(&shard, 5).await);
        }
        assert!(cluster(&shard).stats.connects_total.get() >= 2, "a new one took over");
    });
}

#[test]
fn a_full_queue_refuses_and_a_long_wait_ends() {
    let server = server(Manner { streams: 1, slow: Duration::from_millis(700), ..CALM });
    let limits = "limits = { connections = 1, pending = 2, pending_timeout = \"200ms\" }";
    on_each(&config(&server, limits), |shard, _| async move {
        // The endpoint's limit is known from here on.
        all_well(&ask_at_once(&shard, 1).await);
        let outcomes = ask_at_once(&shard, 6).await;
        let count = |fault| outcomes.iter().filter(|outcome| **outcome == Err(fault)).count();
        assert_eq!((count(Fault::PendingOverflow), count(Fault::PendingTimeout)), (3, 2), "{outcomes:?}");
    });
}
