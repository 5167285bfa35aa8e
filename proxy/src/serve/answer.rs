//! Answers of our own: faults and direct responses.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use pinion_core::fault::Fault;
use pinion_core::http::grpc::answer::encode_message;
use pinion_core::http::grpc::{self, Code};
use pinion_core::http::h1::encode::encode_own;
use pinion_core::http::h2;
use pinion_core::route::DirectResponse;
use rustix::net::SendFlags;
use smallvec::SmallVec;

use super::downstream::Downstream;
use super::request::Call;
use crate::h2::StreamFault;
use crate::h2::stream::Stream;
use crate::net::buffers::Size;
use crate::net::clock;
use crate::net::send::send_all;
use crate::shard::timer::Lane;

const TEXT: (&[u8], &[u8]) = (b"Content-Type", b"text/plain; charset=utf-8");

/// Appends a short plain-text answer to `out`.
pub(crate) fn plain(out: &mut Vec<u8>, status: u16, reason: &str, keep_alive: bool) {
    encode_own(out, status, &[TEXT], reason.as_bytes(), keep_alive, false);
}

/// Answers `fault`; says whether an answer was sent.
pub(crate) async fn fault(call: &mut Call<'_>, fault: Fault, head_request: bool) -> bool {
    let row = fault.row();
    call.story.fault = Some(fault);
    if row.status == 0 {
        return false;
    }
    if fault == Fault::MemoryLimit {
        // There may be no buffer for the answer either.
        call.exchange.borrow_mut().on_own_answer();
        if call.stream.is_some() {
            return false;
        }
        call.story.status = row.status;
        without_memory(call.connection);
        return true;
    }
    let keep = call.exchange.borrow_mut().on_own_answer() && row.after == pinion_core::fault::After::Keep;
    call.keep = keep;
    if call.story.grpc.is_some() {
        return in_grpc(call, fault, keep).await;
    }
    own(call, row.status, &[TEXT], row.reason.as_bytes(), keep, head_request).await
}

/// Answers in gRPC's terms: HTTP 200, and what went wrong as its status in the head.
async fn in_grpc(call: &mut Call<'_>, fault: Fault, keep: bool) -> bool {
    let Some(grpc) = &mut call.story.grpc else { return false };
    let code = Code::of_fault(fault);
    grpc.status = Some(code);
    let mut message = SmallVec::<[u8; 128]>::new();
    encode_message(fault.row().reason, &mut message);
    let fields = grpc::answer::fields(grpc.content_type(), code, &message);
    own(call, 200, &fields, b"", keep, false).await
}

/// Answers with what the route says; says whether it was sent.
pub(crate) async fn direct(call: &mut Call<'_>, response: &DirectResponse, head_request: bool) -> bool {
    let fields: SmallVec<[(&[u8], &[u8]); 8]> =
        response.headers.iter().map(|(name, value)| (&name[..], &value[..])).collect();
    let keep = call.exchange.borrow_mut().on_own_answer();
    call.keep = keep;
    own(call, response.status, &fields, &response.body, keep, head_request).await
}

async fn own(
    call: &mut Call<'_>,
    status: u16,
    fields: &[(&[u8], &[u8])],
    body: &[u8],
    keep: bool,
    head_request: bool,
) -> bool {
    let length = match call.stream {
        Some(stream) => on_stream(call, stream, status, fields, body, head_request).await,
        None => on_connection(call, status, fields, body, keep, head_request).await,
    };
    let Some(length) = length else {
        return false;
    };
    call.story.status = status;
    call.story.bytes_out = if head_request { 0 } else { body.len() as u64 };
    call.connection.view.stats.sent_bytes.add(length as u64);
    true
}

/// Sends an answer; how many bytes that were.
async fn on_connection(
    call: &Call<'_>,
    status: u16,
    fields: &[(&[u8], &[u8])],
    body: &[u8],
    keep: bool,
    head_request: bool,
) -> Option<usize> {
    let connection = call.connection;
    // Without memory for an answer the connection is closed without one.
    let mut out = call.shard.buffers.take(Size::Small)?;
    encode_own(out.as_vec(), status, fields, body, keep, head_request);
    let length = out.unread().len();
    let due = clock::now().after(connection.view.listener.timeouts.write);
    call.lease.cut_both(Lane::Write, due, &connection.socket);
    let (sent, _) = send_all(&connection.socket, out, |_| ()).await;
    call.lease.disarm(Lane::Write);
    sent.ok().map(|()| length)
}

/// Sends an answer on a stream; how many bytes of content that were.
async fn on_stream(
    call: &Call<'_>,
    stream: &Stream,
    status: u16,
    fields: &[(&[u8], &[u8])],
    body: &[u8],
    head_request: bool,
) -> Option<usize> {
    let content = if head_request { &[][..] } else { body };
    let sent = stream.send_head(content.is_empty(), |encoder, out| {
        h2::head::encode_own(encoder, out, status, fields, body.len() as u64);
    });
    sent.ok()?;
    if content.is_empty() {
        return Some(0);
    }
    let lease = call.lease;
    lease.wake_at(Lane::Write, clock::now().after(call.connection.view.listener.timeouts.write));
    let mut sending = pin!(stream.send(content, true, |_| ()));
    let sent = poll_fn(|cx| {
        lease.wait_here(cx);
        if lease.fired(Lane::Write).is_some() {
            return Poll::Ready(Err(StreamFault::Closed));
        }
        sending.as_mut().poll(cx)
    })
    .await;
    lease.disarm(Lane::Write);
    sent.ok().map(|()| content.len())
}

/// Answers a client when the shard is out of buffers. One with TLS sees the end: sealing takes a buffer, too.
pub(crate) fn without_memory(connection: &Downstream) {
    if connection.socket.session().is_some() {
        return;
    }
    let row = Fault::MemoryLimit.row();
    // ALLOC: outside the pool, and only when that has run out.
    let mut out = Vec::with_capacity(256);
    plain(&mut out, row.status, row.reason, false);
    // Best effort, without waiting.
    let _ = rustix::net::send(&connection.socket, &out, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
}
