//! The response of an exchange with HTTP/2: interim heads, the final one with what is there of the content, the rest.

use std::time::Duration;

use pinion_core::fault::Fault;
use pinion_core::http::h1::body::BodyReader;
use pinion_core::http::h1::conn::Answer;
use pinion_core::http::{Framing, Method, ResponseHead};
use pinion_core::telemetry::Phase;

use super::super::respond::{self, Responded, Responding};
use super::back::Back;
use super::origin::{Early, Origin};
use super::switch::{self, Asked};
use super::upload;
use super::web::Bridge;
use crate::h2::stream::Stream;
use crate::net::clock;
use crate::net::send::abort;
use crate::shard::timer::Lane;
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
    (method, asked, bridge): (Method, Option<&Asked>, Option<&Bridge>),
    stall: Duration,
) -> Result<Responded, Fault> {
    let (mut inbuf, web_text, frame, emit) = loop {
        let inbuf = match from {
            From::Http1(upstream) => respond::read_head(call, upstream, head, method).await?,
            From::Http2(stream) => {
                let received = stream.head(head).await;
                received.map_err(|fault| upload::unanswered(fault, call.exchange))?.0
            }
        };
        if call.may_retry_status && respond::is_retried(call, head, inbuf.unread()) {
            return Ok(Responded::Retry);
        }
        if call.connection.is_ending(call.shard, call.generation) {
            call.exchange.borrow_mut().on_drain();
        }
        if matches!(from, From::Http2(_)) && asked.is_some() && (200..300).contains(&head.status) {
            call.exchange.borrow_mut().on_agreed();
            return switch::switched(call, back, &inbuf.unread()[..head.len], head, &[], asked).await;
        }
        let choice = head.upgrade.map_or(&b""[..], |choice| choice.of(inbuf.unread()));
        let agreed = || call.connection.view.listener.upgrades.agree(call.offer, choice);
        let translated = match (&from, bridge) {
            (From::Http2(_), Some(bridge)) if !head.is_interim() => bridge.answer(inbuf.unread(), head),
            _ => None,
        };
        let (text, body) = translated.unzip();
        back.web = body.flatten();
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
            Answer::Final { frame, emit, .. } => break (inbuf, text, frame, emit),
        }
    };
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
    let (bytes, rest) = inbuf.unread().split_at(head.len);
    let here = match &content {
        Early::Here(len) => &rest[..*len],
        Early::Apart(content) => content.unread(),
    };
    call.story.bytes_out = here.len() as u64;
    let bytes = web_text.as_deref().unwrap_or(bytes);
    let mut passed = back.head(bytes, head, &frame, call.route, (here, &behind)).await;
    drop((inbuf, content));
    if passed.is_ok() && !behind.is_end() {
        passed = relay(call, &mut origin, back, stall).await;
    }
    if passed.is_err() && back.stream.is_none() && frame.framing == Framing::UntilClose {
        // Only a reset tells this client that the body is not complete.
        abort(&call.connection.socket);
    }
    passed?;
    call.story.ledger.stamp(Phase::Respond, clock::now());
    Ok(Responded::Passed)
}

/// Passes the rest of a response's body on.
async fn relay(
    call: &mut Responding<'_>,
    origin: &mut Origin<'_>,
    back: &mut Back<'_>,
    stall: Duration,
) -> Result<(), Fault> {
    let lease = back.lease;
    loop {
        // The client is not to blame while the upstream takes its time.
        lease.pause(Lane::Write);
        lease.wake_at(Lane::Up, clock::now().after(stall));
        let part = origin.next(call.exchange).await?;
        lease.disarm(Lane::Up);
        lease.resume(Lane::Write);
        let over = part.behind.is_end();
        call.story.bytes_out += part.content.unread().len() as u64;
        back.part(part).await?;
        if over {
            return Ok(());
        }
    }
}
