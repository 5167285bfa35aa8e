//! The downstream side: clients of the `h2` crate ask this one.

use super::*;

/// Serves `theirs` with `handler` until it is closed.
async fn serve<F: Future<Output = ()> + 'static>(
    shard: &Rc<Shard>,
    ours: Socket,
    settings: Settings,
    limits: Limits,
    handler: fn(Rc<Shard>, NewRequest) -> F,
) {
    let on_request = |request| crate::net::spawn(handler(shard.clone(), request));
    let served = serve_connection(shard, ours, settings, Start::Fresh(limits), None, on_request).await;
    assert!(matches!(served, Served::Closed));
}

/// Answers with the body that came, and trailers; some paths otherwise.
async fn echo(shard: Rc<Shard>, request: NewRequest) {
    let NewRequest { stream, trip, text, .. } = request;
    let path = trip.head.target.of(text.unread()).to_vec();
    shard.trips.give(trip);
    if path == b"/reset" {
        return stream.reset(ErrorCode::CANCEL);
    }
    if path == b"/plain" {
        stream.send_head(false, |encoder, out| encode_own(encoder, out, 200, &[], 5)).unwrap();
        return stream.send(b"plain", true, |_| ()).await.unwrap();
    }
    // A head without a length.
    stream.send_head(false, |encoder, out| encode_connected(encoder, out, &HeaderEdits::default())).ok();
    loop {
        match stream.piece().await {
            Ok(Piece::Data(bytes, end)) => {
                if stream.send(bytes.unread(), end, |_| ()).await.is_err() || end {
                    return;
                }
            }
            Ok(Piece::Trailers(lines)) => return stream.send_trailers(lines.unread()).unwrap(),
            Ok(Piece::End) => return stream.send(&[], true, |_| ()).await.unwrap(),
            Err(fault) => return assert!(matches!(fault, StreamFault::Reset { .. } | StreamFault::Closed)),
        }
    }
}

type Client = h2::client::SendRequest<Bytes>;

/// A client of the `h2` crate on `socket`.
async fn client(socket: UnixStream) -> (Client, tokio::task::JoinHandle<Result<(), h2::Error>>) {
    let socket = tokio::net::UnixStream::from_std(socket).unwrap();
    // Room for all streams together: one that is not read holds up no other.
    let mut builder = h2::client::Builder::new();
    builder.initial_connection_window_size(8 << 20);
    let (client, connection) = builder.handshake(socket).await.unwrap();
    (client, tokio::spawn(connection))
}

fn request(path: &str) -> http::Request<()> {
    http::Request::post(format!("http://test{path}")).body(()).unwrap()
}

/// Sends `content` to be echoed and checks what comes back.
async fn check_echo(client: Client, content: Vec<u8>, trailers: bool) {
    let mut client = client.ready().await.unwrap();
    let (answer, mut body) = client.send_request(request("/echo"), false).unwrap();
    let sending = async {
        send_body(&mut body, &content, !trailers).await.unwrap();
        if trailers {
            let mut fields = http::HeaderMap::new();
            fields.insert("x-sum", content.len().to_string().parse().unwrap());
            body.send_trailers(fields).unwrap();
        }
    };
    let receiving = async {
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), 200);
        let (echoed, fields) = read_body(answer.into_body()).await.unwrap();
        assert!(echoed == content, "{} bytes became {}", content.len(), echoed.len());
        assert_eq!(fields.is_some_and(|fields| fields.contains_key("x-sum")), trailers);
    };
    tokio::join!(sending, receiving);
}

#[test]
fn bodies_of_many_streams_come_back_byte_for_byte() {
    on_each(CONFIG, |shard, driver| async move {
        let (ours, theirs) = pair(driver);
        let peer = peer(|| async {
            let (asks, connection) = client(theirs).await;
            let mut all = Vec::new();
            for round in 0..60_usize {
                let length = [0, 1, 700, 16_384, 20_000, 90_000, 700_000][round % 7];
                all.push(tokio::spawn(check_echo(asks.clone(), pattern(length), round % 3 == 0)));
            }
            for one in all {
                one.await.unwrap();
            }
            drop(asks);
            connection.await.unwrap().unwrap();
        });
        serve(&shard, ours, settings(Side::Downstream), Limits::server(), echo).await;
        peer.join().unwrap();
        let stats = &shard.stats.http2[Side::Downstream as usize];
        assert_eq!((stats.streams_total.get(), stats.streams_active.get()), (60, 0));
        assert_eq!((stats.connections_total.get(), stats.connections_active.get()), (1, 0));
        assert_eq!((stats.resets_sent.get(), stats.resets_received.get()), (0, 0));
    });
}

thread_local! {
    /// Whether the body of `/held` is not taken yet.
    static HOLD: Cell<bool> = const { Cell::new(true) };
}

/// Takes nothing of `/held` while [`HOLD`] says so; echoes everything else.
async fn holding(shard: Rc<Shard>, request: NewRequest) {
    if request.trip.head.target.of(request.text.unread()) == b"/held" {
        let pause = shard.slots.lease();
        while HOLD.get() && request.stream.gone().is_none() {
            pause.sleep(Duration::from_millis(20)).await;
        }
    } else if request.trip.head.target.of(request.text.unread()) == b"/release" {
        HOLD.set(false);
    }
    echo(shard, request).await;
}

#[test]
fn a_stream_that_is_not_read_holds_its_window_and_its_neighbours_go_on() {
    on_each(CONFIG, |shard, driver| async move {
        HOLD.set(true);
        let (ours, theirs) = pair(driver);
        let stats = shard.link.clone();
        let peer = peer(move || async move {
            let (asks, connection) = client(theirs).await;
            let content = pattern(2_000_000);
            let mut held = asks.clone().ready().await.unwrap();
            let (answer, mut body) = held.send_request(request("/held"), false).unwrap();
            let sent = content.clone();
            let sending = tokio::spawn(async move { send_body(&mut body, &sent, true).await });
            for round in 0..20 {
                check_echo(asks.clone(), pattern(round * 3_000), false).await;
            }
            assert!(!sending.is_finished(), "2 MB do not fit the window of 256 KiB");
            // What is held: the window, and a buffer for what fills none.
            stats.stats.buffers_in_use.get();
            let mut release = asks.clone().ready().await.unwrap();
            let (released, _) = release.send_request(request("/release"), true).unwrap();
            released.await.unwrap();
            let receiving = async { read_body(answer.await.unwrap().into_body()).await.unwrap() };
            let ((echoed, _), sent) = tokio::join!(receiving, sending);
            sent.unwrap().unwrap();
            assert!(echoed == content);
            drop((asks, held, release));
            connection.await.unwrap().unwrap();
        });
        let buffers = shard.buffers.clone();
        let most = Rc::new(Cell::new(0));
        let (seen, lease) = (most.clone(), shard.slots.lease());
        crate::net::spawn(async move {
            while HOLD.get() {
                seen.set(seen.get().max(buffers.bytes()));
                lease.sleep(Duration::from_millis(20)).await;
            }
        });
        serve(&shard, ours, settings(Side::Downstream), Limits::server(), holding).await;
        peer.join().unwrap();
        assert!(most.get() < 2_000_000, "{} bytes of buffers for 256 KiB of window", most.get());
        assert_eq!(shard.buffers.in_use(), 0, "every buffer came back");
    });
}

#[test]
fn a_slow_reader_of_one_answer_does_not_hold_up_the_others() {
    on_each(CONFIG, |shard, driver| async move {
        let (ours, theirs) = pair(driver);
        let peer = peer(|| async {
            let (asks, connection) = client(theirs).await;
            let content = pattern(1_000_000);
            let mut slow = asks.clone().ready().await.unwrap();
            let (answer, mut body) = slow.send_request(request("/echo"), false).unwrap();
            let sent = content.clone();
            let sending = tokio::spawn(async move { send_body(&mut body, &sent, true).await });
            let answer = answer.await.unwrap();
            // Its window of 64 KiB fills up and stays so; the connection's has room only for what the others take.
            for round in 0..20 {
                let plain = asks.clone().ready().await.unwrap().send_request(request("/plain"), true);
                let (content, _) = read_body(plain.unwrap().0.await.unwrap().into_body()).await.unwrap();
                assert_eq!(content, b"plain", "round {round}");
            }
            let (echoed, _) = read_body(answer.into_body()).await.unwrap();
            assert!(echoed == content);
            sending.await.unwrap().unwrap();
            drop((asks, slow));
            connection.await.unwrap().unwrap();
        });
        serve(&shard, ours, settings(Side::Downstream), Limits::server(), echo).await;
        peer.join().unwrap();
    });
}

#[test]
fn a_drain_lets_what_began_finish_and_then_closes() {
    on_each(CONFIG, |shard, driver| async move {
        let (ours, theirs) = pair(driver);
        let peer = peer(|| async {
            let (asks, connection) = client(theirs).await;
            let mut begun = asks.clone().ready().await.unwrap();
            let (answer, mut body) = begun.send_request(request("/echo"), false).unwrap();
            let answer = answer.await.unwrap();
            let drain = asks.clone().ready().await.unwrap().send_request(request("/drain"), true).unwrap().0;
            drain.await.unwrap();
            let content = pattern(300_000);
            let (sent, received) =
                tokio::join!(send_body(&mut body, &content, true), read_body(answer.into_body()));
            sent.unwrap();
            assert!(received.unwrap().0 == content);
            // Closed by the other side, without an error.
            connection.await.unwrap().unwrap();
            let refused = match asks.ready().await {
                Ok(mut asks) => asks.send_request(request("/late"), true).is_err(),
                Err(_) => true,
            };
            assert!(refused, "no stream after the GOAWAY");
        });
        let handler = |shard, request: NewRequest| async move {
            if request.trip.head.target.of(request.text.unread()) == b"/drain" {
                request.stream.session().drain();
            }
            echo(shard, request).await;
        };
        serve(&shard, ours, settings(Side::Downstream), Limits::server(), handler).await;
        peer.join().unwrap();
        let stats = &shard.stats.http2[Side::Downstream as usize];
        assert_eq!(stats.goaways_sent.get(), 1);
    });
}

#[test]
fn a_connection_without_streams_gives_its_buffer_up_and_is_closed_in_the_end() {
    on_each(CONFIG, |shard, driver| async move {
        let (ours, theirs) = pair(driver);
        let peer = peer(|| async {
            let (asks, connection) = client(theirs).await;
            check_echo(asks.clone(), pattern(50_000), false).await;
            connection.await.unwrap().unwrap();
        });
        let (buffers, lease) = (shard.buffers.clone(), shard.slots.lease());
        let held = Rc::new(Cell::new(usize::MAX));
        let least = held.clone();
        crate::net::spawn(async move {
            loop {
                lease.sleep(Duration::from_millis(50)).await;
                least.set(least.get().min(buffers.in_use()));
            }
        });
        let settings = Settings { idle: Duration::from_millis(900), ..settings(Side::Downstream) };
        serve(&shard, ours, settings, Limits::server(), echo).await;
        peer.join().unwrap();
        assert_eq!(held.get(), 0, "it rested without a buffer");
    });
}

#[test]
fn a_connection_that_rests_goes_on_elsewhere() {
    on_each(CONFIG, |shard, driver| async move {
        let (ours, theirs) = pair(driver);
        let (tell, told) = std::sync::mpsc::channel();
        let peer = peer(move || async move {
            let (asks, connection) = client(theirs).await;
            // Fills the tables of header compression on both sides.
            for round in 0..5 {
                check_echo(asks.clone(), pattern(round * 20_000), true).await;
            }
            tell.send(()).unwrap();
            for round in 0..40 {
                check_echo(asks.clone(), pattern(round * 2_000), true).await;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            drop(asks);
            connection.await.unwrap().unwrap();
        });
        let lease = shard.slots.lease();
        let (slots, mut asked) = (shard.slots.clone(), false);
        crate::net::spawn(async move {
            loop {
                lease.sleep(Duration::from_millis(20)).await;
                asked |= told.try_recv().is_ok();
                if asked {
                    slots.kick_idle(crate::shard::slots::Kick::Move(0), 1);
                }
            }
        });
        let (mut start, mut moves) = (Start::Fresh(Limits::server()), 0);
        loop {
            let on_request = |request| crate::net::spawn(echo(shard.clone(), request));
            let socket = ours.clone();
            let side = settings(Side::Downstream);
            match serve_connection(&shard, socket, side, start, None, on_request).await {
                Served::Closed => break,
                Served::Moved { to, resting } => {
                    assert_eq!(to, 0);
                    moves += 1;
                    start = Start::Resumed(resting);
                }
            }
        }
        peer.join().unwrap();
        assert!(moves > 0, "it rested between requests");
        let stats = &shard.stats.http2[Side::Downstream as usize];
        assert_eq!((stats.streams_total.get(), stats.connections_active.get()), (45, 0));
    });
}

#[test]
fn a_peer_that_does_not_answer_a_sign_of_life_is_dropped() {
    on_each(CONFIG, |shard, driver| async move {
        let (ours, theirs) = pair(driver);
        let settings = Settings {
            keepalive: Some(Duration::from_millis(100)),
            keepalive_timeout: Duration::from_millis(200),
            ..settings(Side::Downstream)
        };
        // It says hello and nothing else.
        use std::io::Write as _;
        let hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        (&theirs).write_all(hello).unwrap();
        serve(&shard, ours, settings, Limits::server(), echo).await;
        drop(theirs);
        assert_eq!(shard.stats.http2[Side::Downstream as usize].pings_failed.get(), 1);
    });
}

#[test]
fn a_head_that_stays_unfinished_ends_the_connection() {
    on_each(CONFIG, |shard, driver| async move {
        let (ours, theirs) = pair(driver);
        let settings = Settings { header: Duration::from_millis(300), ..settings(Side::Downstream) };
        use std::io::Write as _;
        // Half a HEADERS frame.
        let hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x10\x01\x05\0\0\0\x01\x82";
        (&theirs).write_all(hello).unwrap();
        serve(&shard, ours, settings, Limits::server(), echo).await;
        drop(theirs);
        assert_eq!(shard.stats.faults[pinion_core::fault::Fault::HeaderTimeout.index()].get(), 1);
    });
}

#[test]
fn a_flood_of_resets_ends_its_connection_and_is_counted() {
    on_each(CONFIG, |shard, driver| async move {
        let (ours, theirs) = pair(driver);
        let peer = peer(|| async {
            let (asks, connection) = client(theirs).await;
            let watched = connection;
            let mut asks = Some(asks);
            while let Some(mut client) = asks.take() {
                match client.send_request(request("/echo"), false) {
                    Ok((_, mut body)) => body.send_reset(h2::Reason::CANCEL),
                    Err(_) => break,
                }
                asks = client.ready().await.ok();
                tokio::task::yield_now().await;
            }
            let error = watched.await.unwrap().unwrap_err();
            assert_eq!(error.reason(), Some(h2::Reason::ENHANCE_YOUR_CALM), "{error}");
        });
        serve(&shard, ours, settings(Side::Downstream), Limits::server(), echo).await;
        peer.join().unwrap();
        let stats = &shard.stats.http2[Side::Downstream as usize];
        assert_eq!(stats.floods[pinion_core::http::h2::Flood::RapidReset as usize].get(), 1);
        assert_eq!(stats.streams_active.get(), 0);
    });
}

thread_local! {
    static SESSION: Cell<Option<std::rc::Weak<crate::h2::session::Session>>> = const { Cell::new(None) };
}

/// Echoes, and remembers the connection.
async fn echo_on_known(shard: Rc<Shard>, request: NewRequest) {
    SESSION.set(Some(Rc::downgrade(request.stream.session())));
    echo(shard, request).await;
}

#[test]
fn a_busy_connection_moves_between_its_requests() {
    on_each(CONFIG, |shard, driver| async move {
        let (ours, theirs) = pair(driver);
        let peer = peer(move || async move {
            let (asks, connection) = client(theirs).await;
            let mut all = Vec::new();
            for lane in 0..4_usize {
                let asks = asks.clone();
                all.push(tokio::spawn(async move {
                    for round in 0..250 {
                        let length = [0, 10, 900, 5_000, 40_000][(lane + round) % 5];
                        check_echo(asks.clone(), pattern(length), round % 2 == 0).await;
                    }
                }));
            }
            for one in all {
                one.await.unwrap();
            }
            drop(asks);
            connection.await.unwrap().unwrap();
        });
        let lease = shard.slots.lease();
        crate::net::spawn(async move {
            loop {
                lease.sleep(Duration::from_millis(20)).await;
                if let Some(session) = SESSION.take().and_then(|session| session.upgrade()) {
                    session.forget_moves();
                    session.ask_to_move(0);
                }
            }
        });
        let (mut start, mut moves, mut waited) = (Start::Fresh(Limits::server()), 0, 0);
        loop {
            let on_request = |request| crate::net::spawn(echo_on_known(shard.clone(), request));
            let (socket, side) = (ours.clone(), settings(Side::Downstream));
            match serve_connection(&shard, socket, side, start, None, on_request).await {
                Served::Closed => break,
                Served::Moved { resting, .. } => {
                    moves += 1;
                    waited += resting.waiting.len();
                    start = Start::Resumed(resting);
                }
            }
        }
        peer.join().unwrap();
        println!("{moves} moves, {waited} requests came along");
        assert!(moves > 0, "no gap was found between the requests of a busy connection");
        let stats = &shard.stats.http2[Side::Downstream as usize];
        assert_eq!((stats.streams_total.get(), stats.streams_active.get()), (1_000, 0));
        assert_eq!((stats.resets_sent.get(), stats.resets_received.get()), (0, 0));
    });
}

/// What a connection that rests holds besides its slot, in bytes; the whole is measured by `tests/wire/h2_costs`.
#[test]
fn a_resting_connection_is_small() {
    fn future<F: Future>(_: impl Fn(Rc<Shard>, Socket) -> F) -> usize {
        size_of::<F>()
    }
    let serving = future(|shard: Rc<Shard>, socket: Socket| async move {
        let start = Start::Fresh(Limits::server());
        serve_connection(&shard, socket, settings(Side::Downstream), start, None, |_| ()).await;
    });
    let sizes =
        [size_of::<crate::h2::session::Session>(), size_of::<pinion_core::http::h2::Connection>(), serving];
    eprintln!("session {} (machine {}), future {} bytes", sizes[0], sizes[1], sizes[2]);
    assert!(sizes[0] <= 2_048 && sizes[2] <= 3_072, "{sizes:?}");
}
