//! The scripted client: which requests it sends, and what it may see of the answers.
//!
//! Not here: when bytes arrive (`world`).

use std::fmt::Write as _;

use super::Outcome;
use crate::rng::Rng;
use crate::sim::reader::{Message, Reading, read_response};

/// One request as the client means it.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    pub(super) id: u64,
    pub(super) method: &'static str,
    pub(super) body: Vec<u8>,
    /// The connection may go on after it.
    pub(super) keep: bool,
    pub(super) old: bool,
}

impl Planned {
    pub(super) fn is_idempotent(&self) -> bool {
        self.method != "POST"
    }
}

/// A request and its bytes.
pub(super) fn plan(rng: &mut Rng, id: u64) -> (Planned, Vec<u8>) {
    let method = ["GET", "GET", "HEAD", "POST", "POST", "PUT", "DELETE"][rng.below(7) as usize];
    let old = rng.below(8) == 0;
    let keep = rng.below(6) > 0;
    let with_body = match method {
        "POST" | "PUT" => rng.below(4) > 0,
        // Content without a meaning is refused on HTTP/1.0.
        _ => !old && rng.below(8) == 0,
    };
    let size = if with_body { 1 + rng.below(90) } else { 0 };
    let body: Vec<u8> = (0..size).map(|place| b'a' + ((id + place) % 26) as u8).collect();
    let mut head = format!("{method} /r/{id} HTTP/1.{}\r\nX-Id: {id}\r\nHost: sim\r\n", u8::from(!old));
    match (old, keep) {
        (true, true) => head.push_str("Connection: keep-alive\r\n"),
        (false, false) => head.push_str("Connection: close, x-hop\r\nX-Hop: 1\r\n"),
        _ => {}
    }
    let mut wire;
    if with_body && !old && rng.below(2) == 0 {
        head.push_str("Transfer-Encoding: chunked\r\n\r\n");
        wire = head.into_bytes();
        let mut rest = body.as_slice();
        while !rest.is_empty() {
            let (chunk, tail) = rest.split_at((1 + rng.below(30) as usize).min(rest.len()));
            let extension = if rng.below(4) == 0 { ";a=\"b\"" } else { "" };
            wire.extend_from_slice(format!("{:x}{extension}\r\n", chunk.len()).as_bytes());
            wire.extend_from_slice(chunk);
            wire.extend_from_slice(b"\r\n");
            rest = tail;
        }
        wire.extend_from_slice(if rng.below(3) == 0 {
            b"0\r\nX-Sum: 1\r\nHost: evil\r\n\r\n"
        } else {
            b"0\r\n\r\n"
        });
    } else {
        if with_body || rng.below(6) == 0 {
            let _ = write!(head, "Content-Length: {size}\r\n");
        }
        head.push_str("\r\n");
        wire = head.into_bytes();
        wire.extend_from_slice(&body);
    }
    (Planned { id, method, body, keep, old }, wire)
}

/// What the client has received and understood.
#[derive(Debug, Default)]
pub(super) struct Received {
    bytes: Vec<u8>,
    /// How many final responses came whole.
    pub(super) whole: usize,
    /// The last whole one announced the end.
    pub(super) told_close: bool,
}

impl Received {
    /// Bytes come. `ended`: the proxy closed in an orderly way after them. Returns the final responses that
    /// became whole.
    pub(super) fn take(&mut self, bytes: &[u8], ended: bool, planned: &[Planned]) -> Outcome<Vec<Message>> {
        self.bytes.extend_from_slice(bytes);
        let mut whole = Vec::new();
        while !self.bytes.is_empty() {
            let Some(request) = planned.get(self.whole) else {
                return Err("a response that nobody asked for".into());
            };
            if self.told_close {
                return Err("bytes after the announced end".into());
            }
            match read_response(&self.bytes, request.method == "HEAD", ended)? {
                Reading::Part => break,
                Reading::Whole(message, used) => {
                    self.bytes.drain(..used);
                    if message.status() >= 200 {
                        self.whole += 1;
                        self.told_close = message.closes()
                            || (request.old
                                && message.one("connection").is_none_or(|value| value != "keep-alive"));
                        whole.push(*message);
                    } else if request.old {
                        return Err("an interim response to HTTP/1.0".into());
                    }
                }
            }
        }
        Ok(whole)
    }

    /// Bytes of a response that did not become whole.
    pub(super) fn has_part(&self) -> bool {
        !self.bytes.is_empty()
    }
}
