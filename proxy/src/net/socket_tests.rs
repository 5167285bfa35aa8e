//! Both drivers over real sockets: what is sent arrives once and in order, what is called off loses nothing.

use std::cell::Cell;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use pinion_core::limits::BUFFER_BYTES;

use super::*;
use crate::net::Driver;
use crate::net::buffers::{BufferPool, Size};
use crate::net::send::{Background, send_all};
use crate::sys::task;

/// Runs `test` on a thread of its own with each driver.
fn on_each<F: Future<Output = ()> + 'static>(test: fn(Driver) -> F) {
    for driver in [Driver::IoUring, Driver::Epoll] {
        let run = move || {
            reactor::start(driver)?;
            reactor::run(test(driver))
        };
        let ended = std::thread::spawn(run).join().unwrap();
        match ended {
            Err(error) if driver == Driver::IoUring => println!("SKIPPED: no io_uring: {error}"),
            other => other.unwrap(),
        }
    }
}

/// A socket of the shard, and its peer.
fn pair(driver: Driver) -> (Socket, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(driver.nonblocking()).unwrap();
    (Socket::new(OwnedFd::from(ours)).unwrap(), theirs)
}

/// Bytes that differ from place to place.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|place| (place * 31 + place / 251) as u8).collect()
}

fn filled(pool: &BufferPool, bytes: &[u8]) -> Buffer {
    let mut buffer =
        pool.take(if bytes.len() > BUFFER_BYTES / 2 { Size::Large } else { Size::Small }).unwrap();
    buffer.as_vec().extend_from_slice(bytes);
    buffer
}

/// Keeps the shard busy, so that no task is alone.
fn keep_busy(until: &Rc<Cell<bool>>) {
    let until = until.clone();
    task::spawn(async move {
        poll_fn(|cx| {
            cx.waker().wake_by_ref();
            if until.get() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    });
}

#[test]
fn small_messages_go_to_and_fro() {
    async fn test(driver: Driver) {
        let pool = BufferPool::new(usize::MAX);
        let over = Rc::new(Cell::new(false));
        for busy in [false, true] {
            if busy {
                keep_busy(&over);
            }
            let (socket, mut peer) = pair(driver);
            for round in 1..100 {
                let message = pattern(round * 7);
                let (sent, _) = send_all(&socket, filled(&pool, &message), |_| ()).await;
                sent.unwrap();
                let mut seen = vec![0; message.len()];
                peer.read_exact(&mut seen).unwrap();
                assert_eq!(seen, message);
                peer.write_all(&message).unwrap();
                let buffer = pool.take(Size::Small).unwrap();
                let (received, buffer) =
                    if round % 2 == 0 { socket.recv(buffer).await } else { socket.recv_later(buffer).await };
                assert_eq!(received.unwrap(), message.len());
                assert_eq!(buffer.unread(), message);
            }
            drop(peer);
            let (received, _) = socket.recv(pool.take(Size::Small).unwrap()).await;
            assert_eq!(received.unwrap(), 0, "the end of the stream");
            let (sent, _) = send_all(&socket, filled(&pool, b"to nobody"), |_| ()).await;
            assert!(sent.is_err());
        }
        over.set(true);
        assert_eq!(pool.in_use(), 0);
    }
    on_each(test);
}

/// A peer that reads everything, slowly at first.
fn slow_reader(mut peer: UnixStream) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut seen = Vec::new();
        let mut some = [0; 3_001];
        loop {
            match peer.read(&mut some).unwrap() {
                0 => return seen,
                n => seen.extend_from_slice(&some[..n]),
            }
            if seen.len() < 50_000 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    })
}

#[test]
fn what_does_not_fit_at_once_arrives_nevertheless() {
    async fn test(driver: Driver) {
        let pool = BufferPool::new(usize::MAX);
        let over = Rc::new(Cell::new(false));
        for busy in [false, true] {
            if busy {
                keep_busy(&over);
            }
            let (socket, peer) = pair(driver);
            // The kernel makes it a few kilobytes.
            rustix::net::sockopt::set_socket_send_buffer_size(&socket, 1).unwrap();
            let reader = slow_reader(peer);
            let whole = pattern(400_000);
            let counted = Cell::new(0);
            for piece in whole.chunks(7_000).chain([&whole[..60_000]]) {
                let progress = |sent: usize| counted.set(counted.get() + sent);
                let (sent, buffer) = send_all(&socket, filled(&pool, piece), progress).await;
                sent.unwrap();
                assert!(buffer.unread().is_empty());
            }
            assert_eq!(counted.get(), 460_000);
            drop(socket);
            let seen = reader.join().unwrap();
            assert!(seen[..400_000] == whole[..] && seen[400_000..] == whole[..60_000]);
        }
        over.set(true);
        assert_eq!(pool.in_use(), 0);
    }
    on_each(test);
}

#[test]
fn a_send_in_the_background_sends_all_or_says_so() {
    async fn test(driver: Driver) {
        let pool = BufferPool::new(usize::MAX);
        let (socket, peer) = pair(driver);
        rustix::net::sockopt::set_socket_send_buffer_size(&socket, 1).unwrap();
        let message = pattern(14_000);
        let mut sending = Background::start(&socket, filled(&pool, &message[..7_000]));
        // The reader has not begun: it can't be done.
        assert!(!sending.is_done());
        let reader = slow_reader(peer);
        let mut more = None;
        poll_fn(|cx| {
            sending.drive(cx);
            if !sending.is_done() {
                return Poll::Pending;
            }
            more = Some(Background::start(&socket, filled(&pool, &message[7_000..])));
            Poll::Ready(())
        })
        .await;
        let mut more = more.unwrap();
        poll_fn(|cx| {
            more.drive(cx);
            if more.is_done() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        drop((sending, more, socket));
        // The socket closes when the ring has let go of it.
        let (other, mut wake) = pair(driver);
        wake.write_all(b"x").unwrap();
        other.readable().await.unwrap();
        assert!(reader.join().unwrap() == message);
        assert_eq!(pool.in_use(), 0);

        let (socket, peer) = pair(driver);
        drop(peer);
        let mut failing = Background::start(&socket, filled(&pool, b"to nobody"));
        let (third, mut wake) = pair(driver);
        wake.write_all(b"x").unwrap();
        third.readable().await.unwrap();
        failing.drive(&mut Context::from_waker(std::task::Waker::noop()));
        assert!(!failing.is_done(), "nothing of it was sent");
    }
    on_each(test);
}

#[test]
fn a_receive_that_is_called_off_gives_its_buffer_back() {
    async fn test(driver: Driver) {
        let pool = BufferPool::new(usize::MAX);
        let (socket, mut peer) = pair(driver);
        let (result, buffer) = socket.recv_unless(pool.take(Size::Small).unwrap(), |_| true).await;
        assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::ECANCELED));
        assert!(buffer.unread().is_empty());
        // What comes later is there for the next one.
        peer.write_all(b"hello").unwrap();
        let (result, buffer) = socket.recv_unless(buffer, |_| false).await;
        assert_eq!((result.unwrap(), buffer.unread()), (5, &b"hello"[..]));
        // Bytes that came first are not lost: either they are the outcome, or they are still there.
        for _ in 0..50 {
            peer.write_all(b"once").unwrap();
            let (result, buffer) = socket.recv_unless(pool.take(Size::Small).unwrap(), |_| true).await;
            let buffer = match result {
                Ok(4) => buffer,
                Ok(other) => panic!("{other} bytes"),
                Err(_) => socket.recv(buffer).await.1,
            };
            assert_eq!(buffer.unread(), b"once");
        }
        drop(buffer);
        assert_eq!(pool.in_use(), 0);
    }
    on_each(test);
}

#[test]
fn a_dropped_receive_keeps_its_buffer_until_the_kernel_is_done() {
    async fn test(driver: Driver) {
        let pool = BufferPool::new(usize::MAX);
        let (socket, mut peer) = pair(driver);
        drop(socket.recv_later(pool.take(Size::Small).unwrap()));
        assert_eq!(pool.in_use(), usize::from(driver == Driver::IoUring));
        let (other, mut wake) = pair(driver);
        while pool.in_use() > 0 {
            wake.write_all(b"x").unwrap();
            other.recv(pool.take(Size::Small).unwrap()).await.0.unwrap();
        }
        peer.write_all(b"still here").unwrap();
        socket.readable().await.unwrap();
        let (result, buffer) = socket.recv(pool.take(Size::Small).unwrap()).await;
        assert_eq!((result.unwrap(), buffer.unread()), (10, &b"still here"[..]));
    }
    on_each(test);
}

#[test]
fn more_operations_than_the_rings_hold_all_complete() {
    async fn test(driver: Driver) {
        let pool = BufferPool::new(usize::MAX);
        let woken = Rc::new(Cell::new(0));
        let (socket, mut peer) = pair(driver);
        // With epoll there is one reader a socket.
        let waits = if driver == Driver::IoUring { 6_000 } else { 1 };
        for _ in 0..waits {
            let (socket, woken) = (socket.clone(), woken.clone());
            task::spawn(async move {
                socket.readable().await.unwrap();
                woken.set(woken.get() + 1);
            });
        }
        // They are in flight now.
        let (other, mut echo) = pair(driver);
        echo.write_all(b"x").unwrap();
        other.readable().await.unwrap();
        assert_eq!(woken.get(), 0);
        peer.write_all(b"all of you").unwrap();
        while woken.get() < waits {
            let (sent, _) = send_all(&other, filled(&pool, b"ping"), |_| ()).await;
            sent.unwrap();
            echo.read_exact(&mut [0; 4]).unwrap();
            echo.write_all(b"pong").unwrap();
            other.recv(pool.take(Size::Small).unwrap()).await.0.unwrap();
        }
    }
    on_each(test);
}

#[test]
fn waiting_for_a_socket_sees_what_is_there_and_what_comes() {
    async fn test(driver: Driver) {
        let pool = BufferPool::new(usize::MAX);
        let (socket, mut peer) = pair(driver);
        socket.writable().await.unwrap();
        peer.write_all(b"a").unwrap();
        socket.readable().await.unwrap();
        socket.readable().await.unwrap();
        let (_, buffer) = socket.recv(pool.take(Size::Small).unwrap()).await;
        assert_eq!(buffer.unread(), b"a");
        let writer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            drop(peer);
        });
        // The end of the stream is something to be read, too.
        socket.readable().await.unwrap();
        assert_eq!(socket.recv(buffer).await.0.unwrap(), 0);
        writer.join().unwrap();
    }
    on_each(test);
}
