//! The first bytes of a connection: received until somebody has seen enough of them.
//!
//! Invariants:
//! - while nothing has come no buffer is held;
//! - what came is in the connection's buffer and stays there: whoever takes it says so;
//! - bounded in time by the deadline, in bytes by the one who looks.
//!
//! Not here: what the bytes mean.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use pinion_core::fault::Fault;
use pinion_core::time::Instant;
use rustix::io::Errno;

use super::downstream::Downstream;
use crate::net::buffers::Size;
use crate::shard::Shard;
use crate::shard::slots::Kick;
use crate::shard::timer::Lane;
use crate::sys::buffer::Buffer;

/// Receives until `judge`, which gets everything that came so far, has seen enough. `late` is the fault of a
/// deadline that passes before.
///
/// # Errors
///
/// The fault, if there is one: a client that leaves before its first byte (a port scan, a health check), or while the
/// proxy drains, has done nothing wrong.
pub(super) async fn sniff<T>(
    shard: &Shard,
    connection: &mut Downstream,
    deadline: Instant,
    late: Fault,
    mut judge: impl FnMut(&[u8]) -> Result<Option<T>, Fault>,
) -> Result<T, Option<Fault>> {
    connection.lease.wake_at(Lane::Read, deadline);
    let result = loop {
        let seen = connection.inbuf.as_ref().map_or(0, |inbuf| inbuf.unread().len());
        if seen > 0 {
            match judge(connection.inbuf.as_ref().map_or(&[], Buffer::unread)) {
                Ok(None) => {}
                Ok(Some(judged)) => break Ok(judged),
                Err(fault) => break Err(Some(fault)),
            }
        }
        match more(shard, connection, seen == 0).await {
            Ok(()) => {}
            Err(Stopped::Late) => break Err(Some(late)),
            Err(Stopped::Over(fault)) => break Err(fault),
        }
    };
    connection.lease.disarm(Lane::Read);
    result
}

/// Why no more comes.
enum Stopped {
    /// The deadline has passed.
    Late,
    /// The connection is over, with that fault.
    Over(Option<Fault>),
}

/// Receives what is there, or comes. `fresh`: nothing has come yet.
async fn more(shard: &Shard, connection: &mut Downstream, fresh: bool) -> Result<(), Stopped> {
    loop {
        wait(shard, connection, fresh).await?;
        let take = |size| shard.buffers.take(size).ok_or(Stopped::Over(Some(Fault::MemoryLimit)));
        let mut inbuf = match connection.inbuf.take() {
            Some(inbuf) => inbuf,
            None => take(Size::Small)?,
        };
        inbuf.compact();
        if inbuf.room() == 0 {
            let mut larger = take(Size::Large)?;
            larger.as_vec().extend_from_slice(inbuf.unread());
            inbuf = larger;
        }
        let received = connection.socket.try_recv(&mut inbuf);
        connection.inbuf = Some(inbuf).filter(|inbuf| !inbuf.unread().is_empty());
        match received {
            Ok(received @ 1..) => {
                connection.view.stats.received_bytes.add(received as u64);
                return Ok(());
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Ok(0) | Err(_) => return Err(gone(fresh)),
        }
    }
}

/// The client has left: in the middle of something, unless nothing has come.
fn gone(fresh: bool) -> Stopped {
    Stopped::Over((!fresh).then_some(Fault::ClientGone))
}

/// Waits until something is there.
async fn wait(shard: &Shard, connection: &Downstream, fresh: bool) -> Result<(), Stopped> {
    let (lease, id) = (&connection.lease, connection.view.listener.id);
    if fresh && shard.draining().is_some() {
        return Err(Stopped::Over(None));
    }
    lease.set_idle(fresh);
    let mut readable = pin!(connection.socket.readable());
    let waited = poll_fn(|cx| {
        if let Poll::Ready(ready) = readable.as_mut().poll(cx) {
            return Poll::Ready(ready.map_err(|_| gone(fresh)));
        }
        while let Poll::Ready(kick) = lease.poll_kick(cx) {
            match kick {
                Kick::Drain => return Poll::Ready(Err(Stopped::Over(None))),
                Kick::Leave(left) if left == id => return Poll::Ready(Err(Stopped::Over(None))),
                // Its beginning is read where it was accepted.
                Kick::Leave(_) | Kick::Move(_) => {}
            }
        }
        if lease.fired(Lane::Read).is_some() { Poll::Ready(Err(Stopped::Late)) } else { Poll::Pending }
    })
    .await;
    lease.set_idle(false);
    waited
}
