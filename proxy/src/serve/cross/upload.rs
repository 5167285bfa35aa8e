//! The request of an exchange with HTTP/2: its head, what is here of its body, and the rest as it comes.

use std::cell::{Cell, RefCell};

use pinion_core::fault::Fault;
use pinion_core::http::grpc::web::TextDecoder;
use pinion_core::http::h1::body::BodyReader;
use pinion_core::http::h1::conn::Exchange;
use pinion_core::http::h2;
use pinion_core::route::Route;

use super::super::forward::{encode, forwarding};
use super::super::grpc;
use super::super::request::Call;
use super::super::trip::Trip;
use super::Patience;
use super::part::{Behind, Part, copy};
use super::sink::{Sink, Stopped};
use super::source::{self, Source};
use super::switch;
use crate::h2::StreamFault;
use crate::h2::stream::Stream;
use crate::net::buffers::Size;
use crate::net::clock;
use crate::shard::Shard;
use crate::shard::lease::Lease;
use crate::shard::timer::Lane;
use crate::sys::buffer::Buffer;
use crate::upstream::pool::Link;

/// What is sent before anything more of the body is read.
#[derive(Default)]
pub(super) struct First {
    /// An HTTP/1 head, with what is here of the body behind it, framed.
    message: Option<Buffer>,
    /// What is here of the body, behind a head that was sent.
    part: Option<Part>,
    /// The request is complete with that.
    complete: bool,
    /// Takes the content out of what follows.
    pub(super) reader: Option<BodyReader>,
    /// Makes messages of a gRPC-Web request's text.
    text: Option<TextDecoder>,
}

/// Encodes the request for `link`; on a stream the head is on its way then.
pub(super) fn begin(
    call: &mut Call<'_>,
    trip: &Trip,
    route: &Route,
    link: &mut Link,
) -> Result<First, Fault> {
    let mut first = First { complete: call.ended, ..First::default() };
    match link {
        Link::Http1(upstream) => {
            let mut message = encode(call, trip, route)?;
            switch::add_key(call.shard, &trip.head, trip.head.bytes(call.inbuf.unread()), &mut message);
            first.message = Some(message);
            // Armed before sending: a response may come before the request is complete.
            if !upstream.receiver.started() && !upstream.arm(call.shard, Size::Small) {
                return Err(Fault::MemoryLimit);
            }
        }
        Link::Http2(stream) => {
            let mut part = here(call, trip, &mut first.reader)?;
            first.text = call.story.grpc.and_then(|grpc| grpc.decoder());
            if let Some(text) = &mut first.text {
                part = grpc::decoded(&call.shard.buffers, text, part)?;
            }
            let tunnels = call.exchange.get_mut().asks_for_tunnel();
            let over = part.content.unread().is_empty() && matches!(part.behind, Behind::End);
            send_head(call, trip, route, stream, over && !tunnels)?;
            first.part = (!over).then_some(part);
        }
    }
    Ok(first)
}

/// What is here of the request's body, without any framing.
fn here(call: &Call<'_>, trip: &Trip, rest: &mut Option<BodyReader>) -> Result<Part, Fault> {
    let pool = &call.shard.buffers;
    let kept = call.kept_body(&trip.head);
    let mut content = if kept.is_empty() { Buffer::stand_in() } else { copy(pool, kept)? };
    let mut behind = if call.ended { Behind::End } else { Behind::More };
    if call.stream.is_some() {
        if let Some(lines) = &call.trailers {
            behind = Behind::Trailers(copy(pool, lines.unread())?);
        }
    } else if let Some(mut reader) = source::unchunker(trip.head.framing) {
        if call.ended {
            content.as_vec().extend_from_slice(call.body.tail());
        }
        let fed = reader.feed(content.unread_mut()).map_err(|error| error.fault())?;
        content.truncate(fed.kept);
        if fed.done {
            behind = Behind::end(pool, reader.trailers())?;
        }
        *rest = Some(reader);
    }
    Ok(Part { content, behind })
}

/// Sends the request's head on a stream.
fn send_head(
    call: &mut Call<'_>,
    trip: &Trip,
    route: &Route,
    stream: &Stream,
    end: bool,
) -> Result<(), Fault> {
    let mut request_id = [0; 32];
    let (head, forwarding) = (&trip.head, forwarding(call, &mut request_id));
    let bytes = head.bytes(call.inbuf.unread());
    let path = (!trip.path.is_empty()).then_some(&trip.path[..]);
    let edits = &route.request_headers;
    // What this connection is, as its server sees it.
    let tls = call.story.cluster.as_ref().is_some_and(|cluster| cluster.tls.is_some());
    let scheme: &[u8] = if tls { b"https" } else { b"http" };
    let framing = call.story.grpc.map_or(head.framing, |grpc| grpc.framing(head.framing));
    let sent = stream.open(head.method, end, |encoder, out| {
        h2::head::encode_request(encoder, out, bytes, head, path, &forwarding, edits, scheme, framing);
    });
    sent.map_err(|fault| unanswered(fault, &call.exchange))
}

/// What it means for a request without an answer that its stream ended.
pub(super) fn unanswered(fault: StreamFault, exchange: &RefCell<Exchange>) -> Fault {
    let fault = fault.upstream(false);
    if fault == Fault::StreamRefused {
        exchange.borrow_mut().on_request_refused();
    }
    fault
}

/// What uploading needs besides where from and where to.
pub(super) struct Upload<'a> {
    pub(super) shard: &'a Shard,
    pub(super) lease: &'a Lease,
    pub(super) patience: Patience,
    /// Counts content that is not in the request's buffer.
    pub(super) content_in: &'a Cell<u64>,
}

impl Upload<'_> {
    /// Sends `first`, and then what comes from `source` until the body ends.
    pub(super) async fn run(
        &self,
        mut source: Source<'_>,
        sink: &Sink<'_>,
        mut first: First,
    ) -> Result<(), Stopped> {
        let pool = &self.shard.buffers;
        if let Some(message) = first.message {
            sink.message(message).await?;
        }
        if let Some(part) = first.part {
            sink.send(pool, part).await?;
        }
        if first.complete {
            return Ok(());
        }
        let (lease, patience) = (self.lease, &self.patience);
        // The response has its time only once the request is complete.
        lease.disarm(Lane::Up);
        lease.watch_transfer(Lane::Read, patience.body, patience.min_rate);
        loop {
            let mut part = source.next().await.map_err(Stopped::Fault)?;
            if let Some(text) = &mut first.text {
                part = grpc::decoded(pool, text, part).map_err(Stopped::Fault)?;
            }
            let (content, over) = (part.content.unread().len(), part.behind.is_end());
            self.content_in.set(self.content_in.get() + content as u64);
            lease.moved(Lane::Read, content);
            // The client is not to blame while the upstream takes its time.
            lease.pause(Lane::Read);
            lease.wake_at(Lane::Send, clock::now().after(patience.upstream));
            sink.send(pool, part).await?;
            lease.disarm(Lane::Send);
            if over {
                lease.disarm(Lane::Read);
                return Ok(());
            }
            lease.resume(Lane::Read);
        }
    }
}
