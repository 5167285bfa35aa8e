//! The response of an exchange with HTTP/2: interim heads, the final one with what is there of the content, the rest.

use pinion_core::fault::Fault;
use pinion_core::http::grpc::web::ResponseBody;
use pinion_core::http::h1::body::{BodyReader, Emit};
use pinion_core::http::h1::conn::Answer;
use pinion_core::http::h1::encode::ResponseFrame;
use pinion_core::http::{Framing, Method, ResponseHead};
use pinion_core::telemetry::Phase;

use super::super::grpc;
use super::super::record::Story;
use super::super::respond::{self, Responded, Responding};
use super::back::Back;
use super::origin::{Early, Origin};
use super::part::{Behind, Part};
use super::switch::{self, Asked};
use super::upload;
use crate::h2::stream::Stream;
use crate::net::clock;
use crate::net::send::abort;
use crate::shard::timer::Lane;
use crate::sys::buffer::Buffer;
use crate::upstream::connection::Upstream;

/// An upstream whose response is read.
pub(super) enum From<'a> {
    Http1(&'a mut Upstream),
    Http2(&'a Stream),
}

/// Reads the response and passes it on.
pub(super) async fn respond(
    call: &mut Responding<'_>,
    from: &mut From<'_>,
    back: &mut Back<'_>,
    head: &mut ResponseHead,
    (method, asked): (Method, Option<&Asked>),
) -> Result<Responded, Fault> {
    let (inbuf, frame, emit, web) = loop {
        let mut inbuf = match from {
            From::Http1(upstream) => respond::read_head(call, upstream, head, method).await?,
            From::Http2(stream) => {
                let received = stream.head(head).await;
                received.map_err(|fault| upload::unanswered(fault, call.exchange))?.0
            }
        };
        if call.may_retry_status && respond::is_retried(call, inbuf.unread(), head) {
            return Ok(Responded::Retry);
        }
        if call.connection.is_ending(call.shard, call.generation) {
            call.exchange.borrow_mut().on_drain();
        }
        if matches!(from, From::Http2(_)) && asked.is_some() && (200..300).contains(&head.status) {
            call.exchange.borrow_mut().on_agreed();
            return switch::switched(call, back, &inbuf.unread()[..head.len], head, &[], asked).await;
        }
        let web = match (&mut call.story.grpc, &from) {
            (Some(grpc), From::Http2(_)) if !head.is_interim() => grpc.answered(&mut inbuf, head),
            _ => None,
        };
        let choice = head.upgrade.map_or(&b""[..], |choice| choice.of(inbuf.unread()));
        let agreed = || call.connection.view.listener.upgrades.agree(call.offer, choice);
        let answer = call.exchange.borrow_mut().on_response_head(head, agreed)?;
        match answer {
            Answer::Interim { forward } => {
                if forward {
                    back.interim(&inbuf.unread()[..head.len], head).await?;
                }
                if let From::Http1(upstream) = from {
                    respond::put_back(upstream, inbuf, head.len);
                }
            }
            Answer::Switching { .. } => {
                let (bytes, behind) = inbuf.unread().split_at(head.len);
                return switch::switched(call, back, bytes, head, behind, asked).await;
            }
            Answer::Final { frame, emit, .. } => break (inbuf, frame, emit, web),
        }
    };
    let passed = pass(call, from, back, head, (inbuf, emit), &frame, web).await;
    if passed.is_err() && back.stream.is_none() && frame.framing == Framing::UntilClose {
        // Only a reset tells this client that the body is not complete.
        abort(&call.connection.socket);
    }
    passed.map(|()| Responded::Passed)
}

/// Passes the final head on, and all that follows it.
async fn pass(
    call: &mut Responding<'_>,
    from: &mut From<'_>,
    back: &mut Back<'_>,
    head: &ResponseHead,
    (mut inbuf, emit): (Buffer, Emit),
    frame: &ResponseFrame,
    mut web: Option<ResponseBody>,
) -> Result<(), Fault> {
    let now = clock::turn();
    call.cluster.stats.first_byte.record(now.since(call.story.ledger.last()).as_nanos() as u64);
    call.story.ledger.stamp(Phase::Exchange, now);
    back.lease.disarm(Lane::Up);
    call.story.status = head.status;
    let (shard, exchange) = (call.shard, call.exchange);
    let mut origin = match from {
        From::Http1(upstream) => {
            Origin::Http1 { shard, upstream, reader: BodyReader::new(head.framing, emit) }
        }
        From::Http2(stream) => Origin::Http2(stream),
    };
    let (content, behind) = origin.early(&mut inbuf.unread_mut()[head.len..], exchange)?;
    let timeouts = &call.connection.view.listener.timeouts;
    back.lease.watch_transfer(Lane::Write, timeouts.write, timeouts.min_rate);
    // The content-type of a translated head is behind it.
    let translated = call.story.grpc.is_some_and(|grpc| grpc.is_translated());
    let rest = &inbuf.unread()[head.len..];
    let bytes = if translated { inbuf.unread() } else { &inbuf.unread()[..head.len] };
    note(call.story, &behind);
    let (content, behind) = match (content, &mut web) {
        (Early::Apart(content), Some(web)) => {
            let part = grpc::translated(&shard.buffers, web, Part { content, behind })?;
            (Early::Apart(part.content), part.behind)
        }
        (Early::Here(0), Some(web)) if behind.is_end() => {
            let part = grpc::translated(&shard.buffers, web, Part { content: Buffer::stand_in(), behind })?;
            (Early::Apart(part.content), part.behind)
        }
        (content, _) => (content, behind),
    };
    let here = match &content {
        Early::Here(len) => &rest[..*len],
        Early::Apart(content) => content.unread(),
    };
    call.story.bytes_out = here.len() as u64;
    back.head(bytes, head, frame, call.route, (here, &behind)).await?;
    drop((inbuf, content));
    if !behind.is_end() {
        relay(call, &mut origin, back, web).await?;
    }
    call.story.ledger.stamp(Phase::Respond, clock::now());
    Ok(())
}

/// Passes the rest of a response's body on.
async fn relay(
    call: &mut Responding<'_>,
    origin: &mut Origin<'_>,
    back: &Back<'_>,
    mut web: Option<ResponseBody>,
) -> Result<(), Fault> {
    let (lease, stall) = (back.lease, back.patience.upstream);
    loop {
        // The client is not to blame while the upstream takes its time.
        lease.pause(Lane::Write);
        lease.wake_at(Lane::Up, clock::now().after(stall));
        let mut part = origin.next(call.exchange).await?;
        lease.disarm(Lane::Up);
        note(call.story, &part.behind);
        if let Some(web) = &mut web {
            part = grpc::translated(&call.shard.buffers, web, part)?;
        }
        lease.resume(Lane::Write);
        let over = part.behind.is_end();
        call.story.bytes_out += part.content.unread().len() as u64;
        back.part(part).await?;
        if over {
            return Ok(());
        }
    }
}

/// Takes note of the status that trailers tell.
fn note(story: &mut Story, behind: &Behind) {
    if let Some(grpc) = &mut story.grpc {
        grpc.ended(behind);
    }
}
