//! The task of one connection: bytes in, frames out, until one side ends it.
//!
//! ```text
//!            ┌──────── bytes ────────┐
//!   receive ─┤                       ├─> machine ─> streams ─> receive ...
//!     ^      └─ nothing for a while ─┘
//!     │               v without streams
//!     └─readable── cold (no buffer) ──idle, drained, moved──> finish
//! ```
//!
//! HOT: 0 allocations in steady state; one receive and at most one send a turn.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::OUT_BYTES_MAX;
use super::server::NewRequest;
use super::session::{Rest, Session};
use super::timers::Stop;
use crate::net::buffers::Size;
use crate::net::clock;
use crate::net::send::{cut, finish_sending};
use crate::shard::timer::Lane;
use crate::sys::buffer::Buffer;
use crate::sys::task::give_way;

/// How long the last frames of a connection may take.
const FINISH_TIME: Duration = Duration::from_secs(1);
/// What a peer may still send before its connection is closed, so that a reset does not destroy what it is told.
const LINGER_BYTES: usize = 256 * 1024;
/// So many receives that did not have to wait, then others have their turn.
const STREAK: u32 = 4;

/// What is received at once while the shard has no buffer to spare.
const APART_BYTES: usize = 2 * 1024;

/// How waiting for bytes ended.
enum Wait {
    Bytes(Buffer),
    /// The peer ended or reset the connection.
    End,
    /// Something changed: wait in another way.
    Again,
    Move(usize),
    Stop(Stop),
}

/// How a connection's task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Closed,
    /// It is at rest and shall go to this shard.
    Moved(usize),
}

impl Session {
    /// Moves the connection's bytes, `first` before all others, until it ends; hands every request that begins
    /// to `on_request`, and calls `on_turn` after received bytes were taken in.
    pub(super) async fn run(
        self: &Rc<Self>,
        first: Option<Buffer>,
        on_request: &mut impl FnMut(NewRequest),
        on_turn: impl Fn(),
    ) -> Ended {
        self.begin();
        let (mut bytes, mut size, mut streak) = (first, Size::Small, 0);
        let ended = loop {
            if let Some(buffer) = bytes.take() {
                size = if buffer.room() == 0 { Size::Large } else { Size::Small };
                self.heard.set(clock::now());
                self.bytes.set(self.bytes.get() + buffer.unread().len() as u64);
                if let Err(error) = self.take_in(buffer.unread(), on_request) {
                    break Stop::Broken(error);
                }
                on_turn();
            }
            if self.is_held_too_long() && self.may_move().is_none() {
                self.stay();
            }
            while let Some(request) = self.next_held() {
                on_request(request);
            }
            if streak == STREAK {
                streak = 0;
                give_way().await;
            }
            let mut waited = false;
            match self.wait(size, &mut waited).await {
                Wait::Bytes(buffer) => bytes = Some(buffer),
                Wait::Again => {}
                Wait::Move(to) => return Ended::Moved(to),
                Wait::Stop(stop) => break stop,
                Wait::End => break Stop::Gone,
            }
            streak = if waited { 0 } else { streak + 1 };
        };
        self.stay();
        while let Some(request) = self.next_held() {
            on_request(request);
        }
        self.finish(ended).await;
        Ended::Closed
    }

    async fn wait(&self, size: Size, waited: &mut bool) -> Wait {
        if matches!(self.rest.get(), Rest::Cold(_)) {
            return self.rest_cold(waited).await;
        }
        // A peer that makes us talk and does not listen is not listened to either.
        let full = || self.out.borrow().gathered() > 2 * OUT_BYTES_MAX;
        if full() {
            return poll_fn(|cx| match self.drive(cx) {
                Poll::Ready(stop) => Poll::Ready(Wait::Stop(stop)),
                Poll::Pending if full() => Poll::Pending,
                Poll::Pending => Poll::Ready(Wait::Again),
            })
            .await;
        }
        let buffers = &self.shard.buffers;
        let buffer = buffers.take(size).or_else(|| buffers.take(Size::Small)).unwrap_or_else(small_apart);
        self.receive(buffer, waited).await
    }

    /// Waits with a receive in flight.
    async fn receive(&self, buffer: Buffer, waited: &mut bool) -> Wait {
        let cold = || matches!(self.rest.get(), Rest::Cold(_));
        let mut receive = pin!(
            self.socket
                .recv_unless(buffer, |_| { cold() || self.may_move().is_some() || self.is_held_too_long() })
        );
        poll_fn(|cx| {
            if let Poll::Ready(stop) = self.drive(cx) {
                return Poll::Ready(Wait::Stop(stop));
            }
            match receive.as_mut().poll(cx) {
                Poll::Ready((Ok(1..), buffer)) => Poll::Ready(Wait::Bytes(buffer)),
                Poll::Ready((Ok(0), _)) => Poll::Ready(Wait::End),
                Poll::Ready((Err(error), _)) if is_cancelled(&error) => {
                    Poll::Ready(self.may_move().map_or(Wait::Again, Wait::Move))
                }
                Poll::Ready((Err(_), _)) => Poll::Ready(Wait::End),
                Poll::Pending => {
                    *waited = true;
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Waits without a buffer.
    async fn rest_cold(&self, waited: &mut bool) -> Wait {
        let mut readable = pin!(self.socket.readable());
        poll_fn(|cx| {
            if let Poll::Ready(stop) = self.drive(cx) {
                return Poll::Ready(Wait::Stop(stop));
            }
            if let Some(to) = self.may_move() {
                return Poll::Ready(Wait::Move(to));
            }
            if !matches!(self.rest.get(), Rest::Cold(_)) {
                return Poll::Ready(Wait::Again);
            }
            match readable.as_mut().poll(cx) {
                Poll::Ready(Ok(())) => {
                    self.warm_up();
                    Poll::Ready(Wait::Again)
                }
                Poll::Ready(Err(_)) => Poll::Ready(Wait::End),
                Poll::Pending => {
                    *waited = true;
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Ends all streams, sends the last frames, closes.
    async fn finish(&self, ended: Stop) {
        self.fail_all();
        if matches!(ended, Stop::Gone) {
            return cut(&self.socket);
        }
        self.lease.wake_at(Lane::Write, clock::now().after(FINISH_TIME));
        poll_fn(|cx| {
            self.lease.wait_here(cx);
            let driven = self.out.borrow_mut().drive(&self.socket, cx, false);
            let over = driven.is_err() || self.out.borrow().is_done();
            if over || self.lease.fired(Lane::Write).is_some() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        self.lease.disarm(Lane::Write);
        if let Stop::Broken(error) = ended {
            self.stats().goaways_sent.inc();
            if let Some(flood) = error.flood {
                self.stats().floods[flood as usize].inc();
            }
            tracing::debug!(code = ?error.code, reason = error.reason, "an HTTP/2 connection was ended");
        }
        self.linger().await;
        cut(&self.socket);
    }

    /// Throws away what the peer still sends until it has noticed the end.
    async fn linger(&self) {
        finish_sending(&self.socket);
        self.lease.cut_both(Lane::Read, clock::now().after(FINISH_TIME), &self.socket);
        let mut thrown = 0;
        let mut buffer = self.shard.buffers.take(Size::Small);
        while thrown < LINGER_BYTES
            && let Some(mut empty) = buffer.take()
        {
            empty.clear();
            let (result, back) = self.socket.recv(empty).await;
            let Ok(received @ 1..) = result else { break };
            thrown += received;
            buffer = Some(back);
        }
        self.lease.disarm(Lane::Read);
    }
}

/// A buffer beyond the shard's memory limit: streams may have to fail, the connection goes on.
// ALLOC: only while there is no pooled memory.
fn small_apart() -> Buffer {
    let mut buffer = Buffer::apart(&[]);
    buffer.as_vec().reserve_exact(APART_BYTES);
    buffer
}

fn is_cancelled(error: &std::io::Error) -> bool {
    rustix::io::Errno::from_io_error(error) == Some(rustix::io::Errno::CANCELED)
}
