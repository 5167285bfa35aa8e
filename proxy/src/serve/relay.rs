//! Bodies on their way: copied through one large buffer, or spliced where nothing looks at the bytes.
//!
//! ```text
//!   recv (64 KiB) ─> framing checked in place ─> send        back-pressure: nothing is received
//!   splice: socket ─> pipe ─> socket                          before what came is sent
//! ```
//!
//! Invariants:
//! - at most one buffer a direction is held, whatever the body's length;
//! - a body is spliced only where its length is known: the proxy never reads past a message.
//!
//! HOT: 0 allocations; deadlines are stores.

use std::cell::Cell;
use std::time::Duration;

use pinion_core::fault::Fault;
use pinion_core::http::h1::body::BodyReader;
use pinion_core::telemetry::Direction;

use super::downstream::Downstream;
use crate::net::buffers::Size;
use crate::net::clock;
use crate::net::send::send_all;
use crate::net::socket::Socket;
use crate::net::splice::{Broken, splice_exact};
use crate::shard::Shard;
use crate::shard::lease::Lease;
use crate::shard::timer::{Lane, Why};
use crate::sys::buffer::Buffer;

/// From this many bytes left on a body is spliced: below, the pipe costs more than the copy.
pub(crate) const SPLICE_BYTES_MIN: u64 = 64 * 1024;

/// How streaming a request body ended.
pub(crate) enum Uploaded {
    /// All of it was sent; what came behind it.
    All(Option<Buffer>),
    /// The upstream takes no more; it may have answered.
    UpstreamClosed,
    /// The client's fault, or ours.
    Refused(Fault),
}

/// Streams the rest of a request body to the upstream.
pub(crate) async fn upload(
    shard: &Shard,
    connection: &Downstream,
    to: &Socket,
    stall: Duration,
    body: &mut BodyReader,
) -> Uploaded {
    let lease = &connection.lease;
    let timeouts = &connection.view.listener.timeouts;
    // The response has its time only once the request is complete.
    lease.disarm(Lane::Up);
    lease.transfer(Lane::Read, true, timeouts.body, timeouts.min_rate, &connection.socket);
    let end = loop {
        let moved = Cell::new(0);
        if let Some(left) = body.remaining()
            && left >= SPLICE_BYTES_MIN
            && let Some(spliced) = splice_up(shard, connection, to, stall, left, &moved).await
        {
            body.skip(moved.get());
            break spliced.map_or_else(|end| end, |()| Uploaded::All(None));
        }
        let Some(buffer) = shard.buffers.take(Size::Large) else {
            break Uploaded::Refused(Fault::MemoryLimit);
        };
        let (result, mut buffer) = connection.socket.recv(buffer).await;
        let received = match result {
            // What comes after the cut is not read any more, although the kernel has it.
            Ok(received @ 1..) if lease.fired(Lane::Read).is_none() => received,
            _ => break Uploaded::Refused(why_no_body(lease)),
        };
        lease.moved(Lane::Read, received);
        connection.view.stats.received_bytes.add(received as u64);
        let fed = match body.feed(buffer.unread_mut()) {
            Ok(fed) => fed,
            Err(error) => break Uploaded::Refused(error.fault()),
        };
        let rest = match behind(shard, &buffer, fed.consumed) {
            Ok(rest) => rest,
            Err(fault) => break Uploaded::Refused(fault),
        };
        buffer.truncate(fed.kept);
        if fed.done {
            buffer.as_vec().extend_from_slice(body.tail());
        }
        // The client is not to blame while the upstream takes its time.
        lease.pause(Lane::Read);
        lease.cut_both(Lane::Send, clock::now().after(stall), to);
        let copied = buffer.unread().len() as u64;
        let (sent, _) = send_all(to, buffer, |_| ()).await;
        let stalled = lease.disarm(Lane::Send);
        shard.stats.relay_bytes_copy[Direction::Upstream as usize].add(copied);
        if sent.is_err() {
            break not_taken(stalled);
        }
        if fed.done {
            break Uploaded::All(rest);
        }
        lease.resume(Lane::Read);
    };
    lease.disarm(Lane::Read);
    end
}

/// Why nothing more came of a request body.
fn why_no_body(lease: &Lease) -> Fault {
    match lease.fired(Lane::Read) {
        Some(Why::Late) => Fault::BodyTimeout,
        Some(Why::Slow) => Fault::BodyTooSlow,
        Some(Why::Gone) | None => Fault::ClientGone,
    }
}

/// The bytes of `buffer` behind the first `consumed`, in a buffer of their own.
pub(super) fn behind(shard: &Shard, buffer: &Buffer, consumed: usize) -> Result<Option<Buffer>, Fault> {
    let rest = &buffer.unread()[consumed..];
    if rest.is_empty() {
        return Ok(None);
    }
    let size = Size::of(rest.len());
    let mut copy = shard.buffers.take(size).ok_or(Fault::MemoryLimit)?;
    copy.as_vec().extend_from_slice(rest);
    Ok(Some(copy))
}

/// Splices `left` bytes from the client to the upstream and counts them in `moved`; `None` when there is no
/// pipe to be had.
async fn splice_up(
    shard: &Shard,
    connection: &Downstream,
    to: &Socket,
    stall: Duration,
    left: u64,
    moved: &Cell<u64>,
) -> Option<Result<(), Uploaded>> {
    let lease = &connection.lease;
    let held = Cell::new(0_usize);
    let progress = |read: usize, written: usize| {
        held.set(held.get() + read - written);
        if read > 0 {
            lease.moved(Lane::Read, read);
            moved.set(moved.get() + read as u64);
            connection.view.stats.received_bytes.add(read as u64);
            lease.pause(Lane::Read);
            lease.cut_both(Lane::Send, clock::now().after(stall), to);
        }
        if held.get() == 0 {
            lease.disarm(Lane::Send);
            lease.resume(Lane::Read);
        }
        shard.stats.relay_bytes_splice[Direction::Upstream as usize].add(written as u64);
    };
    let result = splice_exact(&connection.socket, to, left, &shard.pipes, shard.driver, progress).await;
    Some(match result.ok()? {
        Ok(()) => Ok(()),
        Err(Broken::Source) => Err(Uploaded::Refused(why_no_body(lease))),
        Err(Broken::Destination) => Err(not_taken(lease.disarm(Lane::Send))),
    })
}

/// What an upstream that takes no more of a body means: it closed, or a deadline of ours cut it.
const fn not_taken(stalled: Option<Why>) -> Uploaded {
    match stalled {
        Some(_) => Uploaded::Refused(Fault::FirstByteTimeout),
        None => Uploaded::UpstreamClosed,
    }
}

/// Splices `left` bytes of a response to the client and counts them in `moved`; `None` when there is no pipe
/// to be had.
pub(crate) async fn splice_down(
    shard: &Shard,
    connection: &Downstream,
    from: &Socket,
    stall: Duration,
    left: u64,
    moved: &Cell<u64>,
) -> Option<Result<(), Broken>> {
    let lease = &connection.lease;
    let held = Cell::new(0_usize);
    lease.pause(Lane::Write);
    lease.cut_both(Lane::Up, clock::now().after(stall), from);
    let progress = |read: usize, written: usize| {
        held.set(held.get() + read - written);
        if read > 0 {
            lease.disarm(Lane::Up);
            lease.resume(Lane::Write);
        } else {
            lease.moved(Lane::Write, written);
            moved.set(moved.get() + written as u64);
            connection.view.stats.sent_bytes.add(written as u64);
            shard.stats.relay_bytes_splice[Direction::Downstream as usize].add(written as u64);
        }
        if held.get() == 0 {
            lease.pause(Lane::Write);
            lease.cut_both(Lane::Up, clock::now().after(stall), from);
        }
    };
    splice_exact(from, &connection.socket, left, &shard.pipes, shard.driver, progress).await.ok()
}
