//! The scripted upstream: one connection that reads requests with the independent reader and misbehaves.
//!
//! ```text
//!   input ─▶ read_request ─▶ manner (by seed) ─▶ output ─▶ pieces ─▶ the proxy
//! ```
//!
//! Not here: who connects when (`world`).

use super::Outcome;
use crate::rng::Rng;
use crate::sim::reader::{Message, Reading, read_request};

/// A response that some upstream gave, as a client may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) id: u64,
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// How the next request is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Proper,
    /// Answers as soon as the head is there, and reads on.
    Early,
    /// Closes without a word.
    Slam,
    /// Sends half a response and closes.
    Truncate,
    /// Sends more than one response.
    Surplus,
    /// Sends what is no response.
    Garbage,
}

/// One connection, the far side of it.
#[derive(Debug)]
pub(super) struct Upstream {
    input: Vec<u8>,
    output: Vec<u8>,
    /// Bytes of `output` that arrive together at the end.
    glued: usize,
    manner: Manner,
    answered_early: bool,
    /// It closes once its output is out.
    pub(super) closing: bool,
    /// The proxy has closed its side, or has learned that this one did.
    pub(super) closed: bool,
    /// It must not be given another request: something said so on the wire.
    spoiled: bool,
    pub(super) served: u32,
}

impl Upstream {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Upstream {
            input: Vec::new(),
            output: Vec::new(),
            glued: 0,
            manner: manner(rng),
            answered_early: false,
            closing: false,
            closed: false,
            spoiled: false,
            served: 0,
        }
    }

    /// Bytes from the proxy.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> Outcome {
        if self.spoiled && self.input.is_empty() && !self.answered_early && !bytes.is_empty() {
            return Err("a request on a connection that is out of step or announced its end".into());
        }
        if !self.closing && !self.closed {
            self.input.extend_from_slice(bytes);
        }
        Ok(())
    }

    /// Reads what came and answers. Returns the request, if one became whole, and the response given.
    pub(super) fn react(&mut self, rng: &mut Rng) -> Outcome<(Option<Message>, Option<Given>)> {
        if self.input.is_empty() || self.closing || self.closed {
            return Ok((None, None));
        }
        if self.manner == Manner::Slam {
            self.closing = true;
            return Ok((None, None));
        }
        match read_request(&self.input)
            .map_err(|error| format!("an upstream can't read its request: {error}"))?
        {
            Reading::Part => {
                let head = self.input.windows(4).position(|end| end == b"\r\n\r\n");
                let early = self.manner == Manner::Early && !self.answered_early;
                let (Some(head), true) = (head, early) else { return Ok((None, None)) };
                let text = String::from_utf8_lossy(&self.input[..head]).into_owned();
                let id = text.split("X-Id: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
                let id = id.ok_or("a request without X-Id")?;
                self.answered_early = true;
                let given = self.answer(rng, id, text.starts_with("HEAD"), false);
                Ok((None, Some(given)))
            }
            Reading::Whole(message, used) => {
                self.input.drain(..used);
                if !self.input.is_empty() && !self.answered_early {
                    return Err("a request before the last one was answered".into());
                }
                let id =
                    message.one("x-id").and_then(|id| id.parse().ok()).ok_or("a request without X-Id")?;
                self.served += 1;
                let given = if self.answered_early {
                    self.answered_early = false;
                    None
                } else {
                    Some(self.answer(rng, id, message.start[0] == "HEAD", message.closes()))
                };
                self.manner = manner(rng);
                Ok((Some(*message), given))
            }
        }
    }

    /// Writes a response to request `id`, in this connection's manner.
    fn answer(&mut self, rng: &mut Rng, id: u64, to_head: bool, close: bool) -> Given {
        for _ in 0..rng.below(8).saturating_sub(5) {
            self.output.extend_from_slice(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n");
        }
        let before = self.output.len();
        let status = [200, 200, 200, 404, 204, 304][rng.below(6) as usize];
        let bodiless = status == 204 || status == 304;
        let size = if bodiless { 0 } else { rng.below(80) };
        let body: Vec<u8> = (0..size).map(|place| b'A' + ((id + place) % 26) as u8).collect();
        let old = rng.below(8) == 0;
        let announce = close || rng.below(8) == 0;
        let mut head = format!("HTTP/1.{} {status} Because\r\nX-Id: {id}\r\n", u8::from(!old));
        let framing = if bodiless { 3 } else { rng.below(if old { 2 } else { 3 }) };
        match framing {
            0 => {}
            1 => head.push_str(&format!("Content-Length: {size}\r\n")),
            2 => head.push_str("Transfer-Encoding: chunked\r\n"),
            _ => {}
        }
        let until_close = framing == 0 && !to_head;
        match (old, announce) {
            (true, false) => head.push_str("Connection: keep-alive\r\n"),
            (false, true) => head.push_str("Connection: close\r\n"),
            _ => {}
        }
        self.output.extend_from_slice(head.as_bytes());
        self.output.extend_from_slice(b"\r\n");
        if !to_head {
            match framing {
                2 => {
                    for chunk in body.chunks(1 + rng.below(30) as usize) {
                        self.output.extend_from_slice(format!("0{:X} ;x\r\n", chunk.len()).as_bytes());
                        self.output.extend_from_slice(chunk);
                        self.output.extend_from_slice(b"\r\n");
                    }
                    self.output.extend_from_slice(b"0\r\nX-Sum: 2\r\n\r\n");
                }
                _ => self.output.extend_from_slice(&body),
            }
        }
        self.closing = announce || until_close;
        self.misbehave(rng, before, until_close);
        self.spoiled |= self.closing;
        Given { id, status, body: if to_head { Vec::new() } else { body } }
    }

    /// Spoils the response that was just written from offset `before` on.
    fn misbehave(&mut self, rng: &mut Rng, before: usize, until_close: bool) {
        match self.manner {
            Manner::Truncate if !until_close => {
                let len = self.output.len() - before;
                self.output.truncate(before + rng.below(len as u64) as usize);
                self.closing = true;
            }
            Manner::Surplus if !until_close => {
                let evil = b"HTTP/1.1 200 OK\r\nX-Id: 0\r\nContent-Length: 4\r\n\r\nevil";
                self.output.extend_from_slice(&evil[..1 + rng.below(evil.len() as u64) as usize]);
                // Were they to come later, nothing could tell them from the next response.
                self.glued = self.output.len() - before;
                self.spoiled = true;
            }
            Manner::Garbage => {
                self.output.truncate(before);
                let garbage: [&[u8]; 4] = [
                    b"HTTP/1.1 200 OK\nX: y\n\n",
                    b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
                    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                    b"220 smtp ready\r\n\r\n",
                ];
                self.output.extend_from_slice(garbage[rng.below(4) as usize]);
                self.closing = true;
            }
            _ => {}
        }
    }

    /// A piece of the output, as the network tears it; empty when there is none.
    pub(super) fn piece(&mut self, rng: &mut Rng) -> Vec<u8> {
        let mut cut = rng.below(self.output.len() as u64 + 1) as usize;
        if self.output.len() - cut < self.glued {
            cut = self.output.len();
        }
        if cut == self.output.len() {
            self.glued = 0;
        }
        self.output.drain(..cut).collect()
    }

    /// Whether there is output that has not arrived.
    pub(super) fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// The upstream tires of an idle connection.
    pub(super) fn hang_up(&mut self) {
        if self.input.is_empty() && self.output.is_empty() {
            self.closing = true;
        }
    }
}

fn manner(rng: &mut Rng) -> Manner {
    match rng.below(26) {
        0..=2 | 24.. => Manner::Early,
        3 => Manner::Slam,
        4 => Manner::Truncate,
        5 | 6 => Manner::Surplus,
        7 => Manner::Garbage,
        _ => Manner::Proper,
    }
}
