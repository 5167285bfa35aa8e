//! Plaintext over real sockets, with both drivers and either side's role: what is sent arrives once and in
//! order however its records arrive, what is called off loses nothing, ends are told from truncation.

use std::io::Write as _;
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use pinion_core::config::snapshot::Ktls;
use rustls::ContentType;

use super::*;
use crate::net::Driver;
use crate::net::buffers::Size;
use crate::net::pump::{Ended, Tools, pump};
use crate::net::recv::Receiver;
use crate::net::send::{Background, finish_sending, send_all};
use crate::net::splice::{Pipes, splice_exact};
use crate::shard::link::SharedCount;
use crate::tls::TlsShard;
use crate::tls::failure::TlsFailure;
use crate::tls::handshake::{Terms, accept, connect};
use crate::tls::testing::{
    self, Forge, Pair, VERSIONS, accepted, client, connected, connection, end_of, filled, host, joined,
    on_each, pair, pattern, receive, server, shard, small, suites, to_and_fro,
};

#[test]
fn every_suite_carries_messages_both_ways_in_both_roles() {
    async fn test(driver: Driver) {
        let shard = shard();
        for version in VERSIONS {
            for suite in suites(version) {
                let made = || pair(Some(version), Some(suite));
                let (socket, mut peer) = accepted(&shard, driver, made(), Ktls::Off).await;
                to_and_fro(&shard, &socket, &mut peer).await;
                let (socket, mut peer) = connected(&shard, driver, made(), Ktls::Off).await;
                to_and_fro(&shard, &socket, &mut peer).await;
            }
        }
        assert_eq!(shard.buffers.in_use(), 0);
    }
    on_each(test);
}

#[test]
fn records_may_arrive_in_any_pieces() {
    async fn test(driver: Driver) {
        let shard = shard();
        for version in VERSIONS {
            let (socket, mut peer) = accepted(&shard, driver, pair(Some(version), None), Ktls::Off).await;
            // Three records; cut at every place of them, in two pieces.
            let message = pattern(90);
            let first = peer.records(&message[..30]);
            peer.tcp.write_all(&first).unwrap();
            receive(&shard, &socket, 30, Size::Small).await;
            let length = first.len();
            for cut in 1..3 * length {
                let mut records = Vec::new();
                for third in message.chunks(30) {
                    records.extend(peer.records(third));
                }
                let (first, second) = records.split_at(cut);
                peer.tcp.write_all(first).unwrap();
                let mut got = Vec::new();
                while got.len() < cut / length * 30 {
                    socket.readable().await.unwrap();
                    let mut buffer = small(&shard);
                    match cut % 3 {
                        0 => drop(socket.try_recv(&mut buffer).unwrap()),
                        1 => buffer = socket.recv(buffer).await.1,
                        _ => buffer = socket.recv_later(buffer).await.1,
                    }
                    got.extend_from_slice(buffer.unread());
                }
                assert_eq!(got.len(), cut / length * 30, "nothing before its record is whole");
                let mut buffer = small(&shard);
                assert_eq!(socket.try_recv(&mut buffer), Err(Errno::AGAIN));
                peer.tcp.write_all(second).unwrap();
                got.extend(receive(&shard, &socket, 90 - got.len(), Size::Small).await);
                assert!(got == message, "cut at {cut}");
            }
        }
        assert_eq!(shard.buffers.in_use(), 0);
    }
    on_each(test);
}

#[test]
fn a_receiver_with_bytes_of_its_own_keeps_them_in_front() {
    async fn test(driver: Driver) {
        let shard = shard();
        let (socket, mut peer) = accepted(&shard, driver, pair(None, None), Ktls::Off).await;
        let mut buffer = filled(&shard, b"xhead ");
        buffer.take(1);
        for (step, word) in ["and ", "more ", "and the rest"].into_iter().enumerate() {
            let records = peer.records(word.as_bytes());
            let (first, second) = records.split_at(7 + step);
            peer.tcp.write_all(first).unwrap();
            let mut waiting = socket.recv(buffer);
            // The part arrives before the rest is sent.
            let mut noop = Context::from_waker(std::task::Waker::noop());
            let lease = shard.slots.lease();
            for _ in 0..3 {
                assert!(waiting.poll_once(&mut noop).is_pending());
                lease.sleep(Duration::from_millis(2)).await;
            }
            peer.tcp.write_all(second).unwrap();
            let (received, back) = waiting.await;
            assert_eq!(received.unwrap(), word.len());
            buffer = back;
        }
        assert_eq!(buffer.unread(), b"head and more and the rest");
    }
    on_each(test);
}

#[test]
fn a_connection_at_rest_holds_no_buffer_and_tickets_wake_nobody() {
    async fn test(driver: Driver) {
        let shard = shard();
        let mut made = pair(Some(&rustls::version::TLS13), None);
        // Sent when the test says so, as the peer's next flight.
        made.server.send_tls13_tickets = 0;
        let (socket, mut peer) = connected(&shard, driver, made, Ktls::Off).await;
        assert_eq!(shard.buffers.in_use(), 0);
        // A KeyUpdate carries no plaintext.
        peer.tls.refresh_traffic_keys().unwrap();
        let mut update = Vec::new();
        while peer.tls.wants_write() {
            peer.tls.write_tls(&mut update).unwrap();
        }
        let now = peer.records(b"now");
        let mut tcp = peer.tcp.try_clone().unwrap();
        let (first, second) = update.split_at(update.len() / 2);
        let readable = async {
            socket.readable().await.unwrap();
        };
        let told = async {
            let lease = shard.slots.lease();
            tcp.write_all(first).unwrap();
            lease.sleep(Duration::from_millis(20)).await;
            tcp.write_all(second).unwrap();
            lease.sleep(Duration::from_millis(20)).await;
            assert_eq!(shard.buffers.in_use(), 0, "no part of a record, no buffer");
            tcp.write_all(&now).unwrap();
        };
        let mut told = std::pin::pin!(told);
        let mut readable = std::pin::pin!(readable);
        let mut over = false;
        std::future::poll_fn(|cx| {
            if !over && told.as_mut().poll(cx).is_ready() {
                over = true;
            }
            match readable.as_mut().poll(cx) {
                Poll::Ready(()) => {
                    assert!(over, "readable before there was plaintext");
                    Poll::Ready(())
                }
                Poll::Pending => Poll::Pending,
            }
        })
        .await;
        assert_eq!(receive(&shard, &socket, 3, Size::Small).await, b"now");
        // The answer goes with the next data, under new keys both ways.
        let (sent, _) = send_all(&socket, filled(&shard, b"answered"), |_| ()).await;
        sent.unwrap();
        assert_eq!(peer.recv_exact(8), b"answered");
        assert_eq!(shard.buffers.in_use(), 0);
    }
    on_each(test);
}

#[test]
fn an_idle_receive_is_not_surprised_by_tickets_but_by_the_end() {
    async fn test(driver: Driver) {
        let shard = shard();
        for version in VERSIONS {
            let (socket, theirs) = connection(driver);
            let made = pair(Some(version), None);
            let config = made.server;
            let peer = std::thread::spawn(move || {
                let mut peer = server(config, theirs);
                peer.shake().unwrap();
                peer
            });
            connect(&shard, &socket, Arc::new(made.client), host(), Ktls::Off, |_| Ok(None)).await.unwrap();
            let mut receiver = Receiver::new(socket.clone());
            receiver.start(small(&shard));
            let mut peer = joined(peer, &shard).await;
            let lease = shard.slots.lease();
            for _ in 0..3 {
                assert!(receiver.poll_now().is_none(), "tickets are nobody's business");
                lease.sleep(Duration::from_millis(5)).await;
            }
            peer.send(b"surprise");
            let (received, buffer) = receiver.next().await;
            assert_eq!((received.unwrap(), buffer.unread()), (8, &b"surprise"[..]));
            receiver.start(buffer);
            peer.end();
            let (received, _) = receiver.next().await;
            assert_eq!(received.unwrap(), 0);
        }
        assert_eq!(shard.buffers.in_use(), 0);
    }
    on_each(test);
}

#[test]
fn a_receive_that_is_called_off_loses_nothing() {
    async fn test(driver: Driver) {
        let shard = shard();
        let (socket, mut peer) = accepted(&shard, driver, pair(None, None), Ktls::Off).await;
        let (result, buffer) = socket.recv_unless(small(&shard), |_| true).await;
        assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::ECANCELED));
        assert!(buffer.unread().is_empty());
        drop(buffer);
        let lease = shard.slots.lease();
        for round in 0..40_usize {
            let message = pattern(100 + round * 700);
            let records = peer.records(&message);
            let (first, second) = records.split_at(1 + (round * 577) % (records.len() - 1));
            peer.tcp.write_all(first).unwrap();
            if round % 4 == 0 {
                lease.sleep(Duration::from_millis(1)).await;
            }
            let mut got = Vec::new();
            for _ in 0..2 {
                let (result, buffer) = socket.recv_unless(small(&shard), |_| true).await;
                match result {
                    Ok(n) => assert_eq!(n, buffer.unread().len()),
                    Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ECANCELED)),
                }
                got.extend_from_slice(buffer.unread());
            }
            peer.tcp.write_all(second).unwrap();
            got.extend(receive(&shard, &socket, message.len() - got.len(), Size::Small).await);
            assert!(got == message, "round {round}");
        }
        assert_eq!(shard.buffers.in_use(), 0);
    }
    on_each(test);
}

#[test]
fn an_end_is_told_from_a_truncation() {
    async fn test(driver: Driver) {
        let shard = shard();
        for version in VERSIONS {
            for (says, part) in [(true, false), (false, false), (false, true)] {
                let mut made = pair(Some(version), None);
                // Tickets that nobody has read would make the peer's close a reset.
                made.server.send_tls13_tickets = 0;
                let (socket, mut peer) = accepted(&shard, driver, made, Ktls::Off).await;
                peer.send(b"last words");
                if says {
                    peer.end();
                }
                if part {
                    let records = peer.records(b"never whole");
                    peer.tcp.write_all(&records[..12]).unwrap();
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
                    let mut buffer = small(&shard);
                    let expected = if says { Ok(0) } else { Err(Errno::CONNRESET) };
                    assert_eq!(socket.try_recv(&mut buffer), expected);
                }
            }
        }
        assert_eq!(shard.stats.tls.truncated.get(), 4);
        assert_eq!(shard.buffers.in_use(), 0);
    }
    on_each(test);
}

#[test]
fn closing_says_so_and_resetting_does_not() {
    async fn test(driver: Driver) {
        let shard = shard();
        for version in VERSIONS {
            let made = || pair(Some(version), None);
            let (socket, mut peer) = accepted(&shard, driver, made(), Ktls::Off).await;
            finish_sending(&socket);
            assert_eq!(end_of(&mut peer).unwrap(), 0);
            // The other direction goes on.
            peer.send(b"still here");
            assert_eq!(receive(&shard, &socket, 10, Size::Small).await, b"still here");
            let (sent, _) = send_all(&socket, filled(&shard, b"too late"), |_| ()).await;
            assert_eq!(sent.unwrap_err().kind(), io::ErrorKind::BrokenPipe);

            let (socket, mut peer) = accepted(&shard, driver, made(), Ktls::Off).await;
            drop(socket);
            assert_eq!(end_of(&mut peer).unwrap(), 0, "a dropped connection says farewell");

            let (socket, mut peer) = accepted(&shard, driver, made(), Ktls::Off).await;
            rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).unwrap();
            drop(socket);
            let reset = end_of(&mut peer).unwrap_err().kind();
            assert_eq!(reset, io::ErrorKind::ConnectionReset, "a reset is no proper end");

            let (socket, mut peer) = accepted(&shard, driver, made(), Ktls::Off).await;
            crate::net::send::cut(&socket);
            drop(socket);
            assert_eq!(end_of(&mut peer).unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "cut is cut");

            let (socket, _peer) = accepted(&shard, driver, made(), Ktls::Off).await;
            socket.shut(rustix::net::Shutdown::Read);
            assert_eq!(socket.recv(small(&shard)).await.0.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        }
        assert_eq!(shard.stats.tls.truncated.get(), 0, "all of it was this side's doing");
    }
    on_each(test);
}

#[test]
fn a_farewell_waits_for_a_peer_whose_buffers_are_full() {
    async fn test(driver: Driver) {
        let shard = shard();
        let (socket, mut peer) = accepted(&shard, driver, pair(None, None), Ktls::Off).await;
        rustix::net::sockopt::set_socket_send_buffer_size(&socket, 4_096).unwrap();
        // Until nothing goes any more, and then the end.
        let mut sent = 0;
        loop {
            let mut sending = Background::start(&socket, filled(&shard, &pattern(3_000)));
            let lease = shard.slots.lease();
            for _ in 0..20 {
                sending.drive(&mut Context::from_waker(std::task::Waker::noop()));
                if sending.is_done() {
                    break;
                }
                lease.sleep(Duration::from_millis(5)).await;
            }
            sent += 3_000;
            if sending.is_done() {
                continue;
            }
            // The peer begins to read; the last message is followed by the end at once.
            let reader = std::thread::spawn(move || {
                let all = peer.recv_exact(sent);
                (all, end_of(&mut peer).unwrap())
            });
            std::future::poll_fn(|cx| {
                sending.drive(cx);
                if sending.is_done() { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            finish_sending(&socket);
            drop(socket);
            let (all, end) = joined(reader, &shard).await;
            assert_eq!(end, 0);
            assert!(all.chunks(3_000).all(|chunk| chunk == pattern(3_000)));
            break;
        }
    }
    on_each(test);
}

#[test]
fn bulk_goes_both_ways_at_once_past_a_slow_reader() {
    async fn test(driver: Driver) {
        const ALL: usize = 3 * 1024 * 1024;
        let shard = shard();
        for version in VERSIONS {
            let (socket, mut peer) = accepted(&shard, driver, pair(Some(version), None), Ktls::Off).await;
            rustix::net::sockopt::set_socket_send_buffer_size(&socket, 20_000).unwrap();
            let theirs = std::thread::spawn(move || {
                let sent = pattern(ALL);
                let (mut seen, mut at) = (Vec::new(), 0);
                while seen.len() < ALL || at < ALL {
                    if at < ALL {
                        let end = (at + 10_007).min(ALL);
                        peer.send(&sent[at..end]);
                        at = end;
                    }
                    let mut some = [0; 20_011];
                    if seen.len() < ALL {
                        let n = peer.recv(&mut some).unwrap();
                        seen.extend_from_slice(&some[..n]);
                    }
                    if seen.len() % 7 == 0 {
                        std::thread::sleep(Duration::from_micros(200));
                    }
                }
                seen
            });
            let (reading, writing) = (shard.clone(), socket.clone());
            let send = async {
                for piece in pattern(ALL).chunks(64 * 1024) {
                    let (sent, _) = send_all(&writing, filled(&reading, piece), |_| ()).await;
                    sent.unwrap();
                }
            };
            let read = receive(&shard, &socket, ALL, Size::Large);
            let (mut send, mut read) = (std::pin::pin!(send), std::pin::pin!(read));
            let (mut sent, mut seen) = (false, None);
            std::future::poll_fn(|cx| {
                sent = sent || send.as_mut().poll(cx).is_ready();
                if seen.is_none()
                    && let Poll::Ready(all) = read.as_mut().poll(cx)
                {
                    seen = Some(all);
                }
                if sent && seen.is_some() { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            assert!(seen.unwrap() == pattern(ALL));
            assert!(joined(theirs, &shard).await == pattern(ALL));
        }
        assert_eq!(shard.buffers.in_use(), 0);
    }
    on_each(test);
}

#[test]
fn a_tunnel_between_two_tls_connections_copies() {
    async fn test(driver: Driver) {
        let shard = shard();
        let (from, mut source) = accepted(&shard, driver, pair(None, None), Ktls::Off).await;
        let (to, mut sink) = connected(&shard, driver, pair(None, None), Ktls::Off).await;
        let pipes = Pipes::default();
        assert!(!from.may_splice() && !to.may_splice());
        let refused = splice_exact(&from, &to, 1, &pipes, driver, |_, _| ()).await;
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::Unsupported);
        let message = pattern(1024 * 1024);
        let sent = message.clone();
        let sender = std::thread::spawn(move || {
            source.send(&sent[..100]);
            std::thread::sleep(Duration::from_millis(5));
            source.send(&sent[100..]);
            source.end();
            source
        });
        let reader = std::thread::spawn(move || {
            let all = sink.recv_exact(1024 * 1024);
            (all, end_of(&mut sink).unwrap())
        });
        let tools = Tools { buffers: &shard.buffers, pipes: &pipes, driver };
        assert_eq!(pump(&from, &to, None, &tools, |_| ()).await, Ended::Finished);
        finish_sending(&to);
        assert!(joined(reader, &shard).await == (message, 0));
        drop(joined(sender, &shard).await);
        assert_eq!(shard.buffers.in_use(), 0);
    }
    on_each(test);
}

#[test]
fn a_bad_record_ends_the_connection_and_the_peer_is_told() {
    async fn test(driver: Driver) {
        let shard = shard();
        for version in VERSIONS {
            let (socket, mut peer) = accepted(&shard, driver, pair(Some(version), None), Ktls::Off).await;
            let good = peer.records(b"good");
            let mut bad = peer.records(b"bad");
            *bad.last_mut().unwrap() ^= 1;
            peer.tcp.write_all(&[good, bad].concat()).unwrap();
            assert_eq!(receive(&shard, &socket, 4, Size::Small).await, b"good");
            let (result, _) = socket.recv(small(&shard)).await;
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::InvalidData);
            let told = end_of(&mut peer).unwrap_err().to_string();
            assert!(told.contains("BadRecordMac"), "{told}");
            // A record larger than any may be.
            let (socket, mut peer) = accepted(&shard, driver, pair(Some(version), None), Ktls::Off).await;
            peer.tcp.write_all(&[23, 3, 3, 0xff, 0xff]).unwrap();
            let (result, _) = socket.recv(small(&shard)).await;
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::InvalidData);
            assert!(end_of(&mut peer).unwrap_err().to_string().contains("fatal alert"));
        }
        assert_eq!(shard.buffers.in_use(), 0);
    }
    on_each(test);
}

/// The library panics when it is asked for anything while it holds part of such a message.
#[test]
fn a_peer_that_splits_a_handshake_message_is_cut_off() {
    async fn test(driver: Driver) {
        let shard = shard();
        let key_update = [24, 0, 0, 1, 0];
        for split in [1, 4] {
            for busy in [false, true] {
                let made = pair(Some(&rustls::version::TLS13), None);
                let (socket, peer) = accepted(&shard, driver, made, Ktls::Off).await;
                let (mut forge, mut tcp) = Forge::new(peer);
                let data = forge.record(ContentType::ApplicationData, b"data");
                let part = forge.record(ContentType::Handshake, &key_update[..split]);
                let rest = forge.record(ContentType::Handshake, &key_update[split..]);
                tcp.write_all(&[data, part].concat()).unwrap();
                assert_eq!(receive(&shard, &socket, 4, Size::Small).await, b"data");
                let (result, _) = socket.recv(small(&shard)).await;
                assert_eq!(result.unwrap_err().kind(), io::ErrorKind::InvalidData);
                if busy {
                    let (sent, _) = send_all(&socket, filled(&shard, b"answer"), |_| ()).await;
                    assert_eq!(sent.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
                    let _ = tcp.write_all(&rest);
                    assert!(socket.recv(small(&shard)).await.0.is_err());
                }
                finish_sending(&socket);
            }
        }
        assert_eq!(shard.buffers.in_use(), 0);
    }
    on_each(test);
}

#[test]
fn a_send_that_is_dropped_half_way_leaves_nothing_to_be_sent() {
    async fn test(driver: Driver) {
        let shard = shard();
        let (socket, peer) = accepted(&shard, driver, pair(None, None), Ktls::Off).await;
        rustix::net::sockopt::set_socket_send_buffer_size(&socket, 4_096).unwrap();
        let lease = shard.slots.lease();
        loop {
            let mut send = socket.send(filled(&shard, &pattern(60_000)), false);
            let mut pending = true;
            for _ in 0..10 {
                pending =
                    send.poll_once(&mut Context::from_waker(std::task::Waker::noop()), false).is_pending();
                if !pending {
                    break;
                }
                lease.sleep(Duration::from_millis(5)).await;
            }
            if pending {
                break;
            }
        }
        let (result, _) = socket.send(filled(&shard, b"more"), false).await;
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        drop((socket, peer));
        while shard.buffers.in_use() > 0 {
            lease.sleep(Duration::from_millis(2)).await;
        }
    }
    on_each(test);
}

/// What comes of a handshake with `peer` doing what it likes on the other end.
async fn refused(
    shard: &Rc<TlsShard>,
    driver: Driver,
    pair: Pair,
    timeout: Duration,
    peer: impl FnOnce(TcpStream) + Send + 'static,
) -> TlsFailure {
    let (socket, theirs) = connection(driver);
    let peer = std::thread::spawn(move || peer(theirs));
    let lease = shard.slots.lease();
    let handshakes = Arc::new(SharedCount::default());
    let terms = Terms { timeout, handshakes: &handshakes, handshakes_max: 1, ktls: Ktls::Off };
    let made = accept(shard, &socket, None, &lease, Arc::new(pair.server), &terms, |_| Ok(None)).await;
    assert_eq!(handshakes.count(), 0);
    drop(socket);
    joined(peer, shard).await;
    made.map(drop).unwrap_err()
}

const LONG: Duration = Duration::from_secs(30);

#[test]
fn failed_handshakes_have_reasons_and_the_peer_learns_its_own() {
    use std::io::Read as _;
    async fn test(driver: Driver) {
        let shard = shard();
        let made = || pair(None, None);
        let label = |failure: TlsFailure| failure.label();
        let failure = refused(&shard, driver, made(), LONG, |mut tcp| {
            tcp.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
            let mut answer = String::new();
            tcp.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
            let (_, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(body.contains("HTTP request to an HTTPS server"), "{answer}");
            assert!(answer.contains(&format!("content-length: {}\r\n", body.len())), "{answer}");
        });
        assert_eq!(label(failure.await), "plain_http");
        let failure = refused(&shard, driver, made(), LONG, |mut tcp| tcp.write_all(b"\0\0\0hello").unwrap());
        assert_eq!(label(failure.await), "not_tls");
        assert_eq!(label(refused(&shard, driver, made(), LONG, drop).await), "gone");
        let failure = refused(&shard, driver, made(), Duration::from_millis(30), |mut tcp| {
            let _ = tcp.read(&mut [0]);
        });
        assert_eq!(label(failure.await), "timed_out");
        // The client does not know the certificate, and says so.
        let stranger = pair(None, None).client;
        let failure = refused(&shard, driver, made(), LONG, |tcp| {
            client(stranger, tcp).shake().unwrap_err();
        });
        let failure = failure.await;
        assert_eq!(failure.label(), "alert_received");
        assert!(failure.to_string().contains("fatal alert"), "{failure}");
        // Versions that do not meet.
        let old = pair(Some(&rustls::version::TLS12), None).client;
        let failure = refused(&shard, driver, pair(Some(&rustls::version::TLS13), None), LONG, |tcp| {
            let told = client(old, tcp).shake().unwrap_err().to_string();
            assert!(told.contains("ProtocolVersion"), "{told}");
        });
        assert_eq!(label(failure.await), "no_shared_version");
        // Protocols that do not meet.
        let mut made_h2 = made();
        made_h2.server.alpn_protocols = vec![b"h2".to_vec()];
        let mut spdy = made_h2.client.clone();
        spdy.alpn_protocols = vec![b"spdy/3".to_vec()];
        let failure = refused(&shard, driver, made_h2, LONG, |tcp| {
            let told = client(spdy, tcp).shake().unwrap_err().to_string();
            assert!(told.contains("NoApplicationProtocol"), "{told}");
        });
        assert_eq!(label(failure.await), "no_shared_protocol");
        // Garbage that looks like a record.
        let failure = refused(&shard, driver, made(), LONG, |mut tcp| {
            tcp.write_all(&[22, 3, 1, 0, 4, 9, 9, 9, 9]).unwrap();
            let mut alert = Vec::new();
            tcp.read_to_end(&mut alert).unwrap();
            assert_eq!(alert.first(), Some(&21), "{alert:?}");
        });
        assert_eq!(label(failure.await), "protocol");
        // A record longer than any.
        let failure = refused(&shard, driver, made(), LONG, |mut tcp| {
            tcp.write_all(&[22, 3, 1, 0xff, 0xff, 1, 0, 0]).unwrap();
            let mut alert = Vec::new();
            tcp.read_to_end(&mut alert).unwrap();
            assert_eq!(alert.first(), Some(&21), "{alert:?}");
        });
        assert_eq!(label(failure.await), "protocol");
        let (socket, _peer) = connection(driver);
        let lease = shard.slots.lease();
        let handshakes = Arc::new(SharedCount::default());
        let terms = Terms { timeout: LONG, handshakes: &handshakes, handshakes_max: 0, ktls: Ktls::Off };
        let made = accept(&shard, &socket, None, &lease, Arc::new(made().server), &terms, |_| Ok(None)).await;
        assert_eq!(made.unwrap_err().label(), "too_many");
        let stats = &shard.stats.tls;
        assert_eq!(stats.failures[0].iter().map(|count| count.get()).sum::<u64>(), 10);
        assert_eq!((stats.handshaking.get(), stats.waiting.get(), shard.buffers.in_use()), (0, 0, 0));
    }
    on_each(test);
}

#[test]
fn facts_say_what_was_agreed_and_sessions_are_resumed() {
    async fn test(driver: Driver) {
        let shard = shard();
        for version in VERSIONS {
            let mut made = pair(Some(version), None);
            made.server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            made.client.alpn_protocols = vec![b"http/1.1".to_vec()];
            for resumed in [false, true] {
                let Pair { server, client } = &made;
                let same = Pair { server: server.clone(), client: client.clone() };
                let (socket, mut peer) = accepted(&shard, driver, same, Ktls::Off).await;
                let facts = socket.session().unwrap().facts().clone();
                assert_eq!(facts.version, version.version);
                assert_eq!((facts.resumed, facts.sni.as_deref()), (resumed, Some(testing::HOST)));
                assert_eq!(facts.alpn, Some(crate::tls::facts::Alpn::Http1));
                assert!(
                    facts.version_label().starts_with("TLSv1.") && facts.suite_label().starts_with("TLS")
                );
                // The peer reads its tickets with the first data.
                send_all(&socket, filled(&shard, b"hello"), |_| ()).await.0.unwrap();
                assert_eq!(peer.recv_exact(5), b"hello");
            }
        }
        let counts =
            shard.stats.tls.handshakes[0].each_ref().map(|both| both.each_ref().map(|one| one.get()));
        assert_eq!(counts, [[1, 1], [1, 1]]);
        assert_eq!(shard.stats.tls.duration[0].count(), 4);
    }
    on_each(test);
}

#[test]
fn a_connection_at_rest_moves_to_another_shard_with_all_it_has() {
    async fn test(driver: Driver) {
        let (here, there) = (shard(), shard());
        for version in VERSIONS {
            for held in [0, 1, 40] {
                let (socket, mut peer) = accepted(&here, driver, pair(Some(version), None), Ktls::Off).await;
                send_all(&socket, filled(&here, b"before"), |_| ()).await.0.unwrap();
                let records = [peer.records(b"one"), peer.records(b"two")].concat();
                // A whole record and part of the next, or part of the first, or nothing is there.
                let (first, second) = records.split_at(held);
                peer.tcp.write_all(first).unwrap();
                if held > 0 {
                    socket.raw_readable().await.unwrap();
                    socket.session().unwrap().fill(&socket);
                }
                let session = socket.session().unwrap();
                // Nobody took it: it goes on here.
                let parked = session.park().unwrap();
                assert!(session.park().is_none() && session.seal(b"x").is_err());
                session.unpark(*parked);
                send_all(&socket, filled(&here, b"between"), |_| ()).await.0.unwrap();
                let parked = session.park().unwrap();
                fn may_cross<T: std::marker::Send>(of: T) -> T {
                    of
                }
                let parked = may_cross(parked);
                let fd = rustix::io::fcntl_dupfd_cloexec(&socket, 0).unwrap();
                let moved = Socket::new(fd).unwrap();
                moved.secure(parked.adopt(&there).unwrap());
                // What stays behind says no farewell.
                drop(socket);
                peer.tcp.write_all(second).unwrap();
                assert_eq!(receive(&there, &moved, 6, Size::Small).await, b"onetwo");
                send_all(&moved, filled(&there, b"after"), |_| ()).await.0.unwrap();
                assert_eq!(peer.recv_exact(18), b"beforebetweenafter");
                to_and_fro(&there, &moved, &mut peer).await;
            }
        }
        assert_eq!((here.buffers.in_use(), there.buffers.in_use()), (0, 0));
        let connections =
            |shard: &TlsShard| shard.stats.tls.connections.iter().map(|one| one.get()).sum::<u64>();
        assert_eq!((connections(&here), connections(&there)), (0, 0));
    }
    on_each(test);
}

/// What a small request and its answer, and a large body, cost in allocations: those of the library, which keeps a
/// copy of each record's plaintext and builds each record in storage of its own.
#[test]
fn a_round_trip_allocates_what_the_library_does_and_nothing_else() {
    async fn test(driver: Driver) {
        let shard = shard();
        for version in VERSIONS {
            let (socket, mut peer) = accepted(&shard, driver, pair(Some(version), None), Ktls::Off).await;
            let echo = std::thread::spawn(move || {
                for length in [100; 300].into_iter().chain([60_000; 30]) {
                    let message = peer.recv_exact(length);
                    peer.send(&message);
                }
            });
            let mut counts = Vec::new();
            let rounds = [(100, Size::Small); 300].into_iter().chain([(60_000, Size::Large); 30]);
            let mut message = shard.buffers.take(Size::Large).unwrap();
            for (length, size) in rounds {
                message.clear();
                message.as_vec().resize(length, b'x');
                let before = crate::sys::alloc::allocations();
                let (sent, back) = send_all(&socket, message, |_| ()).await;
                sent.unwrap();
                message = back;
                let mut received = 0;
                while received < length {
                    let (result, buffer) = socket.recv(shard.buffers.take(size).unwrap()).await;
                    received += result.unwrap();
                    drop(buffer);
                }
                counts.push(crate::sys::alloc::allocations() - before);
            }
            joined(echo, &shard).await;
            let (small, large) = counts.split_at(300);
            println!("{driver:?} {:?}: small {:?}, large {:?}", version.version, &small[290..], &large[20..]);
            // One copy of the plaintext, one record.
            assert!(small[100..].iter().all(|count| *count <= 2), "{small:?}");
            // Four records each way.
            assert!(large[10..].iter().all(|count| *count <= 8), "{large:?}");
        }
    }
    on_each(test);
}

#[test]
fn an_idle_connection_holds_its_session_and_nothing_else() {
    async fn test(driver: Driver) {
        let shard = shard();
        for version in VERSIONS {
            let mut all = Vec::new();
            for _ in 0..20 {
                all.push(accepted(&shard, driver, pair(Some(version), None), Ktls::Off).await);
            }
            assert_eq!(shard.buffers.in_use(), 0);
            drop(all);
        }
    }
    let library = size_of::<rustls::server::UnbufferedServerConnection>();
    println!("a session has {} bytes of its own beside the library's {library}", size_of::<Session>());
    assert!(size_of::<Session>() <= 256);
    on_each(test);
}
