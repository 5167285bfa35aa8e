//! Reading a request head: the stage `codec`.

use std::time::Duration;

use pinion_core::fault::Fault;
use pinion_core::http::RequestHead;
use pinion_core::http::h1::parse::{HeadLimits, Progress, may_end, parse_request};
use pinion_core::limits::DETECT_BYTES_MAX;
use pinion_core::time::Instant;

use super::downstream::Downstream;
use crate::net::buffers::Size;
use crate::net::clock;
use crate::shard::Shard;
use crate::shard::timer::{Lane, Why};
use crate::sys::buffer::Buffer;

/// How reading a head ended.
pub(crate) enum Read {
    /// The head is complete; when its first byte was there.
    Head(Instant),
    /// The client ended the connection between requests.
    End,
    /// The client speaks HTTP/2: its preface is complete.
    Http2,
    /// The head is refused; when its first byte was there.
    Refused(Fault, Instant),
}

/// What a client that knows that the server speaks HTTP/2 begins with (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const _: () = assert!(PREFACE.len() == DETECT_BYTES_MAX);

/// How far `bytes` are the preface: `None` when they are something else, or whether all of it is there.
fn preface(bytes: &[u8]) -> Option<bool> {
    let len = bytes.len().min(PREFACE.len());
    (bytes[..len] == PREFACE[..len]).then_some(len == PREFACE.len())
}

/// Reads one request head into `head`; `inbuf` holds it and whatever came behind it.
pub(crate) async fn read(
    shard: &Shard,
    connection: &Downstream,
    inbuf: &mut Buffer,
    head: &mut RequestHead,
) -> Read {
    let listener = &connection.view.listener;
    let limits =
        HeadLimits { head_bytes: listener.limits.header_bytes, uri_bytes: listener.limits.uri_bytes };
    let mut began: Option<Instant> = (!inbuf.unread().is_empty()).then(clock::turn);
    let mut seen = 0;
    let mut timed = false;
    // Only a connection's first bytes can be the preface.
    let mut may_be_http2 = connection.requests == 0 && listener.protocol.takes_http2();
    let outcome = loop {
        // One pass over new bytes tells whether the head can have ended: no parsing again for each byte.
        if may_be_http2 && !inbuf.unread().is_empty() {
            match preface(inbuf.unread()) {
                Some(true) => break Ok(true),
                Some(false) => {}
                None if !listener.protocol.takes_http1() => break Err(Fault::VersionUnsupported),
                None => may_be_http2 = false,
            }
        }
        if !may_be_http2
            && !inbuf.unread().is_empty()
            && (seen == 0 || may_end(inbuf.unread(), seen) || too_long(inbuf, &limits))
        {
            match parse_request(inbuf.unread(), &limits, head) {
                Ok(Progress::Complete) => break Ok(false),
                Ok(Progress::Partial) => {}
                Err(error) => break Err(error.fault()),
            }
        }
        seen = inbuf.unread().len();
        if let Some(began) = began
            && !timed
        {
            timed = true;
            time(connection, began);
        }
        if let Err(fault) = make_room(shard, inbuf) {
            break Err(fault);
        }
        let got = recv(connection, inbuf).await;
        match got {
            // What comes after the cut is too late, although the kernel has it.
            Ok(1..) if !timed || why_cut(connection).is_none() => {
                if timed {
                    connection.lease.moved(Lane::Up, inbuf.unread().len() - seen);
                }
                began.get_or_insert_with(clock::turn);
            }
            _ if began.is_none() => return Read::End,
            _ => break Err(cut_short(connection)),
        }
    };
    if timed {
        connection.lease.disarm(Lane::Read);
        connection.lease.disarm(Lane::Up);
    }
    let began = began.unwrap_or(Instant::ZERO);
    match outcome {
        Ok(false) => Read::Head(began),
        Ok(true) => Read::Http2,
        Err(fault) => Read::Refused(fault, began),
    }
}

fn too_long(inbuf: &Buffer, limits: &HeadLimits) -> bool {
    inbuf.unread().len() > limits.uri_bytes.min(limits.head_bytes)
}

/// The whole head has `header` to arrive, and a trickle below `min_rate` ends sooner.
fn time(connection: &Downstream, began: Instant) {
    let timeouts = &connection.view.listener.timeouts;
    let lease = &connection.lease;
    lease.cut_reading(Lane::Read, began.after(timeouts.header), &connection.socket);
    if timeouts.min_rate > 0 {
        lease.transfer(Lane::Up, true, FOREVER, timeouts.min_rate, &connection.socket);
    }
}

/// Only the rate is judged; the time is on another lane.
const FOREVER: Duration = Duration::from_secs(86_400);

fn why_cut(connection: &Downstream) -> Option<Why> {
    connection.lease.fired(Lane::Read).or(connection.lease.fired(Lane::Up))
}

fn cut_short(connection: &Downstream) -> Fault {
    match why_cut(connection) {
        Some(Why::Late | Why::Slow) => Fault::HeaderTimeout,
        Some(Why::Gone) | None => Fault::ClientGone,
    }
}

/// Room for more bytes: behind the unread ones, in front of them, or in a large buffer.
fn make_room(shard: &Shard, inbuf: &mut Buffer) -> Result<(), Fault> {
    if inbuf.room() > 0 {
        return Ok(());
    }
    inbuf.compact();
    if inbuf.room() > 0 {
        return Ok(());
    }
    if inbuf.capacity() >= Size::Large.bytes() {
        return Err(Fault::HeadTooLarge);
    }
    let mut larger = shard.buffers.take(Size::Large).ok_or(Fault::MemoryLimit)?;
    larger.as_vec().extend_from_slice(inbuf.unread());
    *inbuf = larger;
    Ok(())
}

async fn recv(connection: &Downstream, inbuf: &mut Buffer) -> std::io::Result<usize> {
    let buffer = std::mem::replace(inbuf, Buffer::stand_in());
    let (result, buffer) = connection.socket.recv(buffer).await;
    *inbuf = buffer;
    if let Ok(received) = result {
        connection.view.stats.received_bytes.add(received as u64);
    }
    result
}
