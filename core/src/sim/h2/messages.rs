//! The messages of simulated streams, made by the encoders that the proxy uses.
//!
//! Not here: content.

use super::Outcome;
use super::shadow::{Direction, Flow, Shadow};
use super::side::Side;
use crate::http::h1::encode::Forwarding;
use crate::http::h1::parse::{HeadLimits, Progress, parse_request, parse_response};
use crate::http::h2::Key;
use crate::http::h2::head::{encode_interim, encode_request, encode_response};
use crate::http::h2::hpack::Encoder;
use crate::http::{Framing, HeaderEdits, Method, RequestHead, ResponseHead};

/// The trailers of all messages that have some.
pub(super) const TRAILERS: &[u8] = b"x-sum: 1\r\ngrpc-status: 0\r\n";

const LIMITS: HeadLimits = HeadLimits { head_bytes: 4096, uri_bytes: 1024 };

fn framing(flow: &Flow) -> Framing {
    match (flow.declared, flow.total, flow.trailers) {
        (true, total, _) => Framing::Length(total as u64),
        (false, 0, false) => Framing::None,
        (false, ..) => Framing::Chunked,
    }
}

/// A request's head.
pub(super) struct Request {
    text: String,
    framing: Framing,
}

impl Request {
    pub(super) fn new(shadow: &Shadow, number: usize) -> Self {
        let method = match shadow.method {
            Method::Head => "HEAD",
            Method::Post => "POST",
            _ => "GET",
        };
        let text = format!("{method} /r/{number} HTTP/1.1\r\nHost: sim\r\nX-Number: {number}\r\n\r\n");
        Request { text, framing: framing(shadow.flow(Direction::Request)) }
    }

    pub(super) fn encode(&self, encoder: &mut Encoder, out: &mut Vec<u8>) {
        let mut head = RequestHead::new();
        let parsed = parse_request(self.text.as_bytes(), &LIMITS, &mut head);
        debug_assert_eq!(parsed, Ok(Progress::Complete));
        let (bytes, edits) = (self.text.as_bytes(), HeaderEdits::empty());
        encode_request(
            encoder,
            out,
            bytes,
            &head,
            None,
            &Forwarding::default(),
            &edits,
            b"http",
            self.framing,
        );
    }
}

/// The server answers: an interim head, or the final one.
pub(super) fn answer(side: &mut Side, shadow: &mut Shadow, key: Key, interim: bool) -> Outcome {
    let status = if interim { "103 Early Hints" } else { "200 OK" };
    let text = format!("HTTP/1.1 {status}\r\nX-Number: {}\r\n\r\n", shadow.number);
    let mut head = ResponseHead::new();
    let parsed = parse_response(text.as_bytes(), &LIMITS, shadow.method, &mut head);
    debug_assert_eq!(parsed, Ok(Progress::Complete));
    let flow = shadow.flow(Direction::Response);
    let end = !interim && flow.total == 0 && !flow.trailers;
    let framing = framing(flow);
    let sent = side.machine.send_head(key, &mut side.out, end, |encoder, out| {
        if interim {
            encode_interim(encoder, out, text.as_bytes(), &head);
        } else {
            encode_response(encoder, out, text.as_bytes(), &head, &HeaderEdits::empty(), framing);
        }
    });
    if !sent {
        return Err(format!("can't answer {}", shadow.number));
    }
    let flow = shadow.flow_mut(Direction::Response);
    flow.head |= !interim;
    flow.ended |= end;
    Ok(())
}
