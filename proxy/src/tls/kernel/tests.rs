//! Connections in the kernel, on machines whose kernel has TLS (`ci/ktls` brings one along).

use std::io::{self, Write as _};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use pinion_core::config::snapshot::Ktls;
use pinion_core::limits::KTLS_BULK_BYTES;
use pinion_core::telemetry::tls::TlsPlace;
use rustls::ContentType;

use super::probe::kernel;
use crate::net::Driver;
use crate::net::buffers::Size;
use crate::net::pump::{Ended, Tools, pump};
use crate::net::recv::Receiver;
use crate::net::send::{finish_sending, send_all};
use crate::net::socket::Socket;
use crate::net::splice::{Pipes, splice_exact};
use crate::shard::link::SharedCount;
use crate::tls::TlsShard;
use crate::tls::handshake::{Terms, accept};
use crate::tls::session::Promoted;
use crate::tls::testing::{
    Forge, Pair, VERSIONS, accepted, client, connected, connection, end_of, filled, joined, on_each, pair,
    pattern, receive, shard, small, suites, to_and_fro,
};

/// Whether this machine's kernel has TLS; says so if not.
fn has_kernel_tls() -> bool {
    if let Some(why) = kernel().refusal() {
        println!("SKIPPED: kernel TLS: {why}");
        return false;
    }
    true
}

fn placed(shard: &TlsShard, place: TlsPlace) -> u64 {
    shard.stats.tls.connections[place as usize].get()
}

fn in_kernel(socket: &Socket) -> bool {
    socket.session().unwrap().is_kernel()
}

#[test]
fn kernel_tls_carries_every_suite_both_ways_in_both_roles() {
    async fn test(driver: Driver) {
        let shard = shard();
        for version in VERSIONS {
            for suite in suites(version) {
                let made = || pair(Some(version), Some(suite));
                let (socket, mut peer) = accepted(&shard, driver, made(), Ktls::On).await;
                assert!(in_kernel(&socket), "{suite:?}");
                to_and_fro(&shard, &socket, &mut peer).await;
                drop((socket, peer));
                let (socket, mut peer) = connected(&shard, driver, made(), Ktls::On).await;
                assert!(in_kernel(&socket), "{suite:?}");
                assert_eq!(placed(&shard, TlsPlace::Kernel), 1);
                to_and_fro(&shard, &socket, &mut peer).await;
            }
        }
        let stats = &shard.stats.tls;
        assert_eq!((stats.kernel_total.get(), stats.kernel_lost.get()), (12, 0));
        assert_eq!((shard.buffers.in_use(), placed(&shard, TlsPlace::Kernel)), (0, 0));
    }
    if has_kernel_tls() {
        on_each(test);
    }
}

#[test]
fn kernel_tls_takes_over_behind_data_that_rides_on_the_handshake() {
    async fn test(driver: Driver) {
        let shard = shard();
        for version in VERSIONS {
            let message = pattern(20_000);
            for cut in [0, 3, 5, 40, 5_000, 16_500, 20_050] {
                let (socket, theirs) = connection(driver);
                let made = pair(Some(version), None);
                let (config, sent) = (made.client, message.clone());
                let peer = std::thread::spawn(move || {
                    let mut peer = client(config, theirs);
                    // The last flight is held back until data follows it.
                    loop {
                        while peer.tls.wants_write() && peer.tls.is_handshaking() {
                            peer.tls.write_tls(&mut peer.tcp).unwrap();
                        }
                        if !peer.tls.is_handshaking() {
                            break;
                        }
                        peer.tls.read_tls(&mut peer.tcp).unwrap();
                        peer.tls.process_new_packets().unwrap();
                    }
                    let records = peer.records(&sent);
                    let (first, second) = records.split_at(records.len() - cut.min(records.len()));
                    peer.tcp.write_all(first).unwrap();
                    std::thread::sleep(Duration::from_millis(10));
                    peer.tcp.write_all(second).unwrap();
                    peer
                });
                let lease = shard.slots.lease();
                let handshakes = Arc::new(SharedCount::default());
                let terms = Terms {
                    timeout: Duration::from_secs(30),
                    handshakes: &handshakes,
                    handshakes_max: 1,
                    ktls: Ktls::On,
                };
                let config = Arc::new(made.server);
                accept(&shard, &socket, None, &lease, config, &terms, |_| Ok(None)).await.unwrap();
                assert!(in_kernel(&socket), "cut {cut}");
                assert!(receive(&shard, &socket, message.len(), Size::Small).await == message, "cut {cut}");
                let mut peer = joined(peer, &shard).await;
                to_and_fro(&shard, &socket, &mut peer).await;
            }
        }
        assert_eq!(shard.buffers.in_use(), 0);
    }
    if has_kernel_tls() {
        on_each(test);
    }
}

/// The exchange is the same each time; it is handed over after each byte of what the peer sends.
#[test]
fn kernel_tls_may_begin_at_every_boundary_and_inside_every_record() {
    async fn test(driver: Driver) {
        let shard = shard();
        let lengths = [1, 30, 200, 2];
        let message = pattern(lengths.iter().sum());
        for version in VERSIONS {
            let made = pair(Some(version), None);
            let total = {
                let again = Pair { server: made.server.clone(), client: made.client.clone() };
                let (_socket, mut peer) = accepted(&shard, driver, again, Ktls::Off).await;
                lengths.iter().map(|length| peer.records(&message[..*length]).len()).sum::<usize>()
            };
            // One place in three, in a different phase for each version, and all near the boundaries.
            for at in (0..=total)
                .filter(|at| at % 3 == usize::from(version.version.as_str().is_some()) || at % 30 < 8)
            {
                let again = Pair { server: made.server.clone(), client: made.client.clone() };
                let (socket, mut peer) = accepted(&shard, driver, again, Ktls::Off).await;
                let session = socket.session().unwrap();
                let mut records = Vec::new();
                let mut begin = 0;
                for length in lengths {
                    records.extend(peer.records(&message[begin..begin + length]));
                    begin += length;
                }
                // Sent before, and after, under one key.
                send_all(&socket, filled(&shard, b"before"), |_| ()).await.0.unwrap();
                let (first, second) = records.split_at(at);
                peer.tcp.write_all(first).unwrap();
                session.allow_kernel();
                let mut rest = Some(second);
                let mut got = Vec::new();
                if at % 2 == 0 && at > 0 {
                    // What is there is received before.
                    let mut buffer = small(&shard);
                    if socket.try_recv(&mut buffer).is_ok() {
                        got.extend_from_slice(buffer.unread());
                    }
                }
                loop {
                    match session.promote(&socket) {
                        Promoted::Yes => break,
                        Promoted::Part => {
                            peer.tcp.write_all(rest.take().unwrap()).unwrap();
                            socket.raw_readable().await.unwrap();
                        }
                        other => panic!("{other:?} at {at}"),
                    }
                }
                if let Some(rest) = rest {
                    peer.tcp.write_all(rest).unwrap();
                }
                send_all(&socket, filled(&shard, b"after"), |_| ()).await.0.unwrap();
                got.extend(receive(&shard, &socket, message.len() - got.len(), Size::Small).await);
                assert!(got == message, "at {at}");
                assert_eq!(peer.recv_exact(11), b"beforeafter");
            }
        }
        assert_eq!(shard.buffers.in_use(), 0);
        assert_eq!(shard.stats.tls.kernel_lost.get(), 0);
    }
    if has_kernel_tls() {
        on_each(test);
    }
}

#[test]
fn kernel_tls_takes_bulk_by_itself_where_it_can_do_all_of_it() {
    async fn test(driver: Driver) {
        let shard = shard();
        for version in VERSIONS {
            let (socket, mut peer) = accepted(&shard, driver, pair(Some(version), None), Ktls::Auto).await;
            let suite = socket.session().unwrap().facts().suite;
            let place = kernel().place(Ktls::Auto, version.version, suite);
            assert_eq!(placed(&shard, place), 1);
            to_and_fro(&shard, &socket, &mut peer).await;
            assert!(!in_kernel(&socket), "not bulk yet");
            let message = pattern(60_000);
            for _ in 0..KTLS_BULK_BYTES / 60_000 {
                send_all(&socket, filled(&shard, &message), |_| ()).await.0.unwrap();
                assert!(peer.recv_exact(message.len()) == message);
            }
            assert_eq!(in_kernel(&socket), place == TlsPlace::NotBulk, "{place:?}");
            to_and_fro(&shard, &socket, &mut peer).await;
        }
        assert_eq!(shard.buffers.in_use(), 0);
    }
    if has_kernel_tls() {
        on_each(test);
    }
}

#[test]
fn kernel_tls_waits_for_an_answer_that_the_library_owes() {
    async fn test(driver: Driver) {
        let shard = shard();
        let made = pair(Some(&rustls::version::TLS13), None);
        let (socket, mut peer) = accepted(&shard, driver, made, Ktls::Off).await;
        peer.tls.refresh_traffic_keys().unwrap();
        peer.flush().unwrap();
        peer.send(b"under new keys");
        assert_eq!(receive(&shard, &socket, 14, Size::Small).await, b"under new keys");
        let session = socket.session().unwrap();
        session.allow_kernel();
        assert_eq!(session.promote(&socket), Promoted::Busy);
        send_all(&socket, filled(&shard, b"answer"), |_| ()).await.0.unwrap();
        assert_eq!(session.promote(&socket), Promoted::Yes);
        assert_eq!(peer.recv_exact(6), b"answer");
        to_and_fro(&shard, &socket, &mut peer).await;
    }
    if has_kernel_tls() {
        on_each(test);
    }
}

#[test]
fn kernel_tls_tells_an_end_from_a_truncation_and_says_farewell() {
    async fn test(driver: Driver) {
        let shard = shard();
        for version in VERSIONS {
            let made = || {
                let mut made = pair(Some(version), None);
                made.server.send_tls13_tickets = 0;
                made
            };
            for says in [true, false] {
                let (socket, mut peer) = accepted(&shard, driver, made(), Ktls::On).await;
                peer.send(b"last words");
                if says {
                    peer.end();
                }
                drop(peer);
                assert_eq!(receive(&shard, &socket, 10, Size::Small).await, b"last words");
                for _ in 0..2 {
                    socket.readable().await.unwrap();
                    let (result, _) = socket.recv(small(&shard)).await;
                    match says {
                        true => assert_eq!(result.unwrap(), 0),
                        false => assert_eq!(result.unwrap_err().kind(), io::ErrorKind::UnexpectedEof),
                    }
                }
                let mut buffer = small(&shard);
                assert_eq!(socket.try_recv(&mut buffer).is_ok(), says);
            }
            let (socket, mut peer) = accepted(&shard, driver, made(), Ktls::On).await;
            finish_sending(&socket);
            assert_eq!(end_of(&mut peer).unwrap(), 0);
            peer.send(b"still here");
            assert_eq!(receive(&shard, &socket, 10, Size::Small).await, b"still here");
            assert!(send_all(&socket, filled(&shard, b"too late"), |_| ()).await.0.is_err());
            let (socket, mut peer) = accepted(&shard, driver, made(), Ktls::On).await;
            drop(socket);
            assert_eq!(end_of(&mut peer).unwrap(), 0, "a dropped connection says farewell");
            let (socket, mut peer) = accepted(&shard, driver, made(), Ktls::On).await;
            rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).unwrap();
            drop(socket);
            assert!(end_of(&mut peer).is_err(), "a reset is no proper end");
        }
        assert_eq!(shard.stats.tls.truncated.get(), 2);
        assert_eq!(shard.buffers.in_use(), 0);
    }
    if has_kernel_tls() {
        on_each(test);
    }
}

#[test]
fn kernel_tls_follows_key_updates_or_ends_the_connection() {
    async fn test(driver: Driver) {
        let shard = shard();
        let made = || pair(Some(&rustls::version::TLS13), None);
        let (socket, mut peer) = accepted(&shard, driver, made(), Ktls::On).await;
        if !kernel().renews() {
            peer.send(b"before");
            peer.tls.refresh_traffic_keys().unwrap();
            peer.send(b"after");
            assert_eq!(receive(&shard, &socket, 6, Size::Small).await, b"before");
            assert!(socket.recv(small(&shard)).await.0.is_err());
            assert!(send_all(&socket, filled(&shard, b"more"), |_| ()).await.0.is_err());
            assert_eq!(shard.stats.tls.keys_exhausted.get(), 1);
            return;
        }
        for _ in 0..3 {
            // The library's peers ask for an answer.
            peer.send(b"before");
            peer.tls.refresh_traffic_keys().unwrap();
            peer.send(b"after");
            assert_eq!(receive(&shard, &socket, 11, Size::Small).await, b"beforeafter");
            to_and_fro(&shard, &socket, &mut peer).await;
        }
        let updates = shard.stats.tls.key_updates.each_ref().map(|count| count.get());
        assert_eq!(updates, [3, 3]);
        // One that comes alone wakes nobody, and is followed nevertheless.
        peer.tls.refresh_traffic_keys().unwrap();
        peer.flush().unwrap();
        let mut readable = std::pin::pin!(socket.readable());
        let lease = shard.slots.lease();
        for _ in 0..5 {
            let mut noop = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(readable.as_mut().poll(&mut noop).is_pending());
            lease.sleep(Duration::from_millis(2)).await;
        }
        peer.send(b"now");
        readable.await.unwrap();
        assert_eq!(receive(&shard, &socket, 3, Size::Small).await, b"now");
        assert_eq!(shard.buffers.in_use(), 0);
    }
    if has_kernel_tls() {
        on_each(test);
    }
}

#[test]
fn kernel_tls_renews_its_key_before_it_is_used_up_or_ends_the_connection() {
    async fn test(driver: Driver) {
        let shard = shard();
        for version in VERSIONS {
            let (socket, mut peer) = accepted(&shard, driver, pair(Some(version), None), Ktls::On).await;
            socket.session().unwrap().limit_records(8);
            let renews = kernel().renews() && version.version == rustls::ProtocolVersion::TLSv1_3;
            let mut sent = 0;
            for _ in 0..30 {
                let (result, _) = send_all(&socket, filled(&shard, b"message"), |_| ()).await;
                if result.is_err() {
                    break;
                }
                sent += 1;
            }
            for _ in 0..sent {
                assert_eq!(peer.recv_exact(7), b"message");
            }
            if renews {
                assert_eq!(sent, 30);
                assert!(shard.stats.tls.key_updates[1].get() > 0);
            } else {
                assert!((1..8).contains(&sent), "{sent} messages");
                assert_eq!(end_of(&mut peer).unwrap(), 0, "the peer is told");
            }
        }
        assert_eq!(shard.buffers.in_use(), 0);
    }
    if has_kernel_tls() {
        on_each(test);
    }
}

#[test]
fn kernel_tls_keeps_tickets_for_the_next_connection() {
    async fn test(driver: Driver) {
        let shard = shard();
        let made = pair(Some(&rustls::version::TLS13), None);
        for resumed in [false, true] {
            let again = Pair { server: made.server.clone(), client: made.client.clone() };
            let (socket, mut peer) = connected(&shard, driver, again, Ktls::On).await;
            assert!(in_kernel(&socket));
            assert_eq!(socket.session().unwrap().facts().resumed, resumed);
            let mut receiver = Receiver::new(socket.clone());
            receiver.start(small(&shard));
            let lease = shard.slots.lease();
            for _ in 0..3 {
                assert!(receiver.poll_now().is_none(), "tickets are nobody's business");
                lease.sleep(Duration::from_millis(5)).await;
            }
            peer.send(b"hello");
            assert_eq!(receiver.next().await.1.unread(), b"hello");
        }
    }
    if has_kernel_tls() {
        on_each(test);
    }
}

#[test]
fn kernel_tls_refuses_records_that_make_no_sense() {
    async fn test(driver: Driver) {
        let shard = shard();
        let rows: [(ContentType, &[u8], bool); 8] = [
            (ContentType::Alert, &[1, 90], true),
            (ContentType::Alert, &[2, 40], false),
            (ContentType::Alert, &[2], false),
            (ContentType::Handshake, &[24, 0, 0, 1, 7], false),
            (ContentType::Handshake, &[24, 0, 0, 1, 0, 24], false),
            (ContentType::Handshake, &[1, 0, 0, 0], false),
            (ContentType::Handshake, &[4, 0, 0, 0], false),
            (ContentType::ApplicationData, &[], true),
        ];
        for (kind, content, goes_on) in rows {
            let made = pair(Some(&rustls::version::TLS13), None);
            let (socket, peer) = accepted(&shard, driver, made, Ktls::On).await;
            let (mut forge, mut tcp) = Forge::new(peer);
            let first = forge.record(ContentType::ApplicationData, b"first");
            let odd = forge.record(kind, content);
            let last = forge.record(ContentType::ApplicationData, b"last");
            tcp.write_all(&[first, odd, last].concat()).unwrap();
            if goes_on {
                let all = receive(&shard, &socket, 9, Size::Small).await;
                assert_eq!(all, b"firstlast", "{kind:?} {content:?}");
            } else {
                assert_eq!(receive(&shard, &socket, 5, Size::Small).await, b"first");
                for _ in 0..2 {
                    assert!(socket.recv(small(&shard)).await.0.is_err(), "{kind:?} {content:?}");
                }
            }
        }
        // A record that does not decrypt.
        let (socket, mut peer) = accepted(&shard, driver, pair(None, None), Ktls::On).await;
        let mut bad = peer.records(b"bad");
        *bad.last_mut().unwrap() ^= 1;
        peer.tcp.write_all(&bad).unwrap();
        socket.readable().await.unwrap();
        assert_eq!(socket.recv(small(&shard)).await.0.unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert!(send_all(&socket, filled(&shard, b"more"), |_| ()).await.0.is_err());
        assert_eq!(shard.buffers.in_use(), 0);
    }
    if has_kernel_tls() {
        on_each(test);
    }
}

#[test]
fn kernel_tls_receives_that_are_called_off_lose_nothing() {
    async fn test(driver: Driver) {
        let shard = shard();
        let (socket, mut peer) = accepted(&shard, driver, pair(None, None), Ktls::On).await;
        for round in 0..40_usize {
            let message = pattern(100 + round * 700);
            let records = peer.records(&message);
            // A kernel that calls half a record readable has a thread wait for the rest, which can't be called off.
            let cut =
                if kernel().reports_half_records() { 0 } else { 1 + (round * 577) % (records.len() - 1) };
            let (first, second) = records.split_at(cut);
            peer.tcp.write_all(first).unwrap();
            let mut got = Vec::new();
            for _ in 0..2 {
                let (_, buffer) = socket.recv_unless(small(&shard), |_| true).await;
                got.extend_from_slice(buffer.unread());
            }
            peer.tcp.write_all(second).unwrap();
            got.extend(receive(&shard, &socket, message.len() - got.len(), Size::Small).await);
            assert!(got == message, "round {round}");
        }
        assert_eq!(shard.buffers.in_use(), 0);
    }
    if has_kernel_tls() {
        on_each(test);
    }
}

/// A body and a tunnel from one to the other, KeyUpdates between the data where the kernel can follow them.
async fn moved(shard: &Rc<TlsShard>, driver: Driver, from: Ktls, to: Ktls) {
    let made = || pair(Some(&rustls::version::TLS13), None);
    let (source, mut sender) = accepted(shard, driver, made(), from).await;
    let (sink, mut reader) = connected(shard, driver, made(), to).await;
    let spliced = from == Ktls::On && to == Ktls::On;
    let message = pattern(400_000);
    let (sent, updates) = (message.clone(), kernel().renews() || from == Ktls::Off);
    let sender = std::thread::spawn(move || {
        for _ in 0..2 {
            for piece in sent.chunks(50_000) {
                sender.send(piece);
                if updates {
                    sender.tls.refresh_traffic_keys().unwrap();
                }
            }
        }
        sender.end();
        sender
    });
    let reader = std::thread::spawn(move || {
        let all = reader.recv_exact(800_000);
        (all, end_of(&mut reader).unwrap())
    });
    let pipes = Pipes::default();
    assert_eq!(source.may_splice() && sink.may_splice(), spliced);
    if spliced {
        let total = message.len() as u64;
        splice_exact(&source, &sink, total, &pipes, driver, |_, _| ()).await.unwrap().unwrap();
    } else {
        let mut first = 0;
        while first < message.len() {
            let (result, buffer) = source.recv(shard.buffers.take(Size::Large).unwrap()).await;
            first += result.unwrap();
            send_all(&sink, buffer, |_| ()).await.0.unwrap();
        }
    }
    let tools = Tools { buffers: &shard.buffers, pipes: &pipes, driver };
    assert_eq!(pump(&source, &sink, None, &tools, |_| ()).await, Ended::Finished);
    finish_sending(&sink);
    let (all, end) = joined(reader, shard).await;
    assert!(all[..400_000] == message && all[400_000..] == message && end == 0, "{from:?} to {to:?}");
    drop(joined(sender, shard).await);
}

#[test]
fn kernel_tls_is_spliced_and_mixes_with_what_is_not() {
    async fn test(driver: Driver) {
        let shard = shard();
        for from in [Ktls::On, Ktls::Auto, Ktls::Off] {
            for to in [Ktls::On, Ktls::Auto, Ktls::Off] {
                moved(&shard, driver, from, to).await;
            }
        }
        assert_eq!((shard.buffers.in_use(), shard.stats.tls.kernel_lost.get()), (0, 0));
    }
    if has_kernel_tls() {
        on_each(test);
    }
}

#[test]
fn kernel_tls_splices_no_truncation_into_an_end() {
    async fn test(driver: Driver) {
        let shard = shard();
        let mut made = pair(Some(&rustls::version::TLS13), None);
        made.server.send_tls13_tickets = 0;
        let (source, mut sender) = accepted(&shard, driver, made, Ktls::On).await;
        let (sink, _reader) = accepted(&shard, driver, pair(None, None), Ktls::On).await;
        sender.send(&pattern(1_000));
        drop(sender);
        let pipes = Pipes::default();
        let tools = Tools { buffers: &shard.buffers, pipes: &pipes, driver };
        assert_eq!(pump(&source, &sink, None, &tools, |_| ()).await, Ended::Source);
    }
    if has_kernel_tls() {
        on_each(test);
    }
}

#[test]
fn kernel_tls_sends_past_a_slow_reader() {
    async fn test(driver: Driver) {
        let shard = shard();
        let (socket, mut peer) = accepted(&shard, driver, pair(None, None), Ktls::On).await;
        rustix::net::sockopt::set_socket_send_buffer_size(&socket, 20_000).unwrap();
        let message = pattern(64 * 1024);
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            while all.len() < 30 * 64 * 1024 {
                all.extend(peer.recv_exact(32 * 1024));
                std::thread::sleep(Duration::from_millis(1));
            }
            (all, end_of(&mut peer).unwrap())
        });
        for _ in 0..30 {
            send_all(&socket, filled(&shard, &message), |_| ()).await.0.unwrap();
        }
        finish_sending(&socket);
        let (all, end) = joined(reader, &shard).await;
        assert!(end == 0 && all.chunks(message.len()).all(|piece| piece == message));
    }
    if has_kernel_tls() {
        on_each(test);
    }
}
