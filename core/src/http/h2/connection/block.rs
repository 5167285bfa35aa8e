//! Header blocks: HEADERS and CONTINUATION put together, and what they mean on each kind of stream (RFC 9113
//! sections 4.3, 5.1, 6.2, 6.10 and 8.1).
//!
//! ```text
//!   HEADERS, all of it ─────────────────────────▶ decoded from the input
//!   HEADERS ─▶ block ◀─ CONTINUATION … END_HEADERS ─▶ decoded from `block`
//!
//!   server: new stream ─▶ Head      open stream ─▶ Trailers
//!   client: open stream ─▶ Head (interim…, final), then Trailers
//! ```
//!
//! Invariants: every block is decoded, also those nobody wants, because the peer's compression builds on it; a block
//! is bounded in bytes and frames; trailers end their stream.
//!
//! HOT: no allocation while blocks come in one frame. Not here: what a head may say (`head`).

use super::super::error::{ConnectionError, Flood};
use super::super::flow::{ReceiveWindow, SendWindow};
use super::super::frame::{ErrorCode, FrameHead, flags};
use super::super::head::{BlockError, decode_request, decode_response, decode_trailers};
use super::past::End;
use super::stream::{Stream, UNKNOWN, coarse, flag};
use super::streams::NONE;
use super::{Connection, Drain, Event, Key, Role, Scratch, control};
use crate::http::{Framing, Method};
use crate::limits;

/// A header block that goes on in CONTINUATION frames.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    pub(super) stream: u32,
    end: bool,
    frames: u32,
}

type Outcome = Result<Option<Event<'static>>, ConnectionError>;

impl Connection {
    #[inline]
    pub(super) fn headers(
        &mut self,
        head: FrameHead,
        payload: &[u8],
        scratch: &mut Scratch<'_>,
        out: &mut Vec<u8>,
    ) -> Outcome {
        if head.stream & 1 == 0 {
            // Stream 0, or one that a server would have announced.
            return Err(ConnectionError::protocol("HEADERS on a stream that can't have them"));
        }
        let fragment = fragment(head, payload)?;
        let end = head.has(flags::END_STREAM);
        if head.has(flags::END_HEADERS) {
            return self.whole_block(head.stream, end, fragment, scratch, out);
        }
        self.block.clear();
        self.block_of = Some(Begun { stream: head.stream, end, frames: 0 });
        self.add_fragment(fragment)?;
        Ok(None)
    }

    pub(super) fn continuation(
        &mut self,
        head: FrameHead,
        payload: &[u8],
        scratch: &mut Scratch<'_>,
        out: &mut Vec<u8>,
    ) -> Outcome {
        self.meter.charge(Flood::Continuation, self.clock)?;
        self.add_fragment(payload)?;
        let Some(begun) = self.block_of.filter(|_| head.has(flags::END_HEADERS)) else { return Ok(None) };
        self.block_of = None;
        let mut block = std::mem::take(&mut self.block);
        let outcome = self.whole_block(begun.stream, begun.end, &block, scratch, out);
        block.clear();
        if block.capacity() <= limits::H2_PARTIAL_BYTES_KEPT {
            self.block = block;
        }
        outcome
    }

    /// One more frame of a block.
    fn add_fragment(&mut self, fragment: &[u8]) -> Result<(), ConnectionError> {
        let bytes_max = 2 * self.limits.header_list_bytes as usize + limits::H2_BLOCK_SLACK_BYTES;
        let Some(begun) = &mut self.block_of else { return Ok(()) };
        begun.frames += 1;
        if begun.frames > limits::H2_BLOCK_FRAMES_MAX || self.block.len() + fragment.len() > bytes_max {
            return Err(ConnectionError::flood(Flood::Continuation));
        }
        self.block.extend_from_slice(fragment);
        Ok(())
    }

    /// A block is complete: what is it?
    fn whole_block(
        &mut self,
        id: u32,
        end: bool,
        block: &[u8],
        scratch: &mut Scratch<'_>,
        out: &mut Vec<u8>,
    ) -> Outcome {
        let server = self.role == Role::Server;
        match self.streams.find(id) {
            Some(key) => match self.streams.of(key).map(|stream| (stream.flags, stream.method)) {
                Some((flags, _)) if flags & flag::GOT_END != 0 => {
                    // Section 5.1, half-closed (remote).
                    self.skim(block, scratch)?;
                    self.stream_error(key, ErrorCode::STREAM_CLOSED, out)
                }
                Some((flags, method)) if flags & flag::GOT_HEAD == 0 => {
                    self.response(key, method, end, block, scratch, out)
                }
                _ => self.trailers(key, end, block, scratch, out),
            },
            None if server && id > self.newest => self.request(id, end, block, scratch, out),
            None if self.is_idle_stream(id) => Err(ConnectionError::protocol("HEADERS on an idle stream")),
            None => self.on_closed(id, block, scratch, out),
        }
    }

    /// A new stream of a client.
    fn request(
        &mut self,
        id: u32,
        end: bool,
        block: &[u8],
        scratch: &mut Scratch<'_>,
        out: &mut Vec<u8>,
    ) -> Outcome {
        self.newest = id;
        self.past.begin(id);
        if let Drain::Above(last) = self.drain
            && id > last
        {
            // Section 6.8: the client knows, or will, that it was not processed.
            self.past.ended(id, End::ByUs);
            self.skim(block, scratch)?;
            self.meter.charge(Flood::Empty, self.clock)?;
            return Ok(None);
        }
        if self.streams.open() >= self.limits.concurrent_streams {
            // Section 5.1.2.
            self.past.ended(id, End::ByUs);
            self.skim(block, scratch)?;
            self.meter.charge(Flood::Refused, self.clock)?;
            control::put_reset(out, id, ErrorCode::REFUSED_STREAM);
            return Ok(None);
        }
        let limits = self.limits.head();
        let mut decoded =
            decode_request(&mut self.decoder, block, end, &limits, scratch.text, scratch.request);
        if decoded.is_ok() && scratch.request.protocol.is_some() && !self.limits.extended_connect {
            decoded = Err(BlockError::Malformed("extended CONNECT was not offered"));
        }
        match decoded {
            Ok(()) => {
                let head = &*scratch.request;
                let tunnel = head.protocol.is_some() || head.method == Method::Connect;
                let content = if tunnel { UNKNOWN } else { content(head.framing) };
                let key = self.add(id, head.method, content, end);
                self.meter.useful(1);
                Ok(Some(Event::Head { key, end }))
            }
            Err(error) if error.is_answered() => {
                self.meter.charge(Flood::HeaderList, self.clock)?;
                let key = self.add(id, Method::Other, UNKNOWN, end);
                Ok(Some(Event::HeadRefused { key, error, end }))
            }
            Err(BlockError::Compression) => Err(compression()),
            Err(error) => {
                self.past.ended(id, End::ByUs);
                self.provoked(id, error.code(), out)?;
                Ok(Some(Event::HeadRefused { key: Key { id, place: NONE }, error, end }))
            }
        }
    }

    /// A stream of the client begins.
    #[inline]
    fn add(&mut self, id: u32, method: Method, content: u64, end: bool) -> Key {
        let mut flags = flag::GOT_HEAD;
        if end {
            flags |= flag::GOT_END;
        }
        let stream = self.fresh(id, method);
        self.streams.insert(Stream { content, flags, ..stream })
    }

    /// A stream with the windows that new ones have.
    #[inline]
    pub(super) fn fresh(&self, id: u32, method: Method) -> Stream {
        Stream {
            id,
            send: SendWindow::new(self.peer.stream_window),
            receive: ReceiveWindow::new(self.stream_window()),
            opened: coarse(self.clock),
            method,
            ..Stream::GONE
        }
    }

    /// A response's head, interim or final.
    fn response(
        &mut self,
        key: Key,
        method: Method,
        end: bool,
        block: &[u8],
        scratch: &mut Scratch<'_>,
        out: &mut Vec<u8>,
    ) -> Outcome {
        let limits = self.limits.head();
        let decoded =
            decode_response(&mut self.decoder, block, end, method, &limits, scratch.text, scratch.response);
        let interim = decoded.is_ok() && scratch.response.is_interim();
        let Some(stream) = self.streams.of(key) else { return Ok(None) };
        match decoded {
            Ok(()) if interim => {
                stream.interim = stream.interim.saturating_add(1);
                if u32::from(stream.interim) > limits::INTERIM_RESPONSES_MAX {
                    let error = BlockError::Malformed("too many interim responses");
                    return self.refuse(key, error, end, out);
                }
                Ok(Some(Event::Head { key, end: false }))
            }
            Ok(()) => {
                stream.flags |= flag::GOT_HEAD;
                let tunnel = method == Method::Connect && (200..300).contains(&scratch.response.status);
                stream.content = if tunnel { UNKNOWN } else { content(scratch.response.framing) };
                self.meter.useful(1);
                if end {
                    self.got_end(key);
                }
                Ok(Some(Event::Head { key, end }))
            }
            Err(BlockError::Compression) => Err(compression()),
            Err(error) => self.refuse(key, error, end, out),
        }
    }

    /// Trailers of a request or response.
    fn trailers(
        &mut self,
        key: Key,
        end: bool,
        block: &[u8],
        scratch: &mut Scratch<'_>,
        out: &mut Vec<u8>,
    ) -> Outcome {
        let limits = self.limits.head();
        match decode_trailers(&mut self.decoder, block, &limits, scratch.text) {
            Err(BlockError::Compression) => return Err(compression()),
            Err(_) => return self.stream_error(key, ErrorCode::PROTOCOL_ERROR, out),
            Ok(()) => {}
        }
        let short = self.streams.of(key).is_some_and(|stream| !matches!(stream.content, 0 | UNKNOWN));
        if !end || short {
            // Section 8.1: malformed.
            return self.stream_error(key, ErrorCode::PROTOCOL_ERROR, out);
        }
        self.got_end(key);
        Ok(Some(Event::Trailers { key }))
    }

    /// HEADERS on a stream that is gone (section 5.1).
    fn on_closed(&mut self, id: u32, block: &[u8], scratch: &mut Scratch<'_>, out: &mut Vec<u8>) -> Outcome {
        match self.past.of(id) {
            End::Skipped => Err(ConnectionError::protocol("HEADERS on a stream below the newest")),
            End::Regular => Err(ConnectionError::new(ErrorCode::STREAM_CLOSED, "HEADERS on a closed stream")),
            End::ByPeer => {
                self.skim(block, scratch)?;
                self.provoked(id, ErrorCode::STREAM_CLOSED, out)?;
                Ok(None)
            }
            End::ByUs | End::Forgotten => {
                self.skim(block, scratch)?;
                self.meter.charge(Flood::Empty, self.clock)?;
                Ok(None)
            }
        }
    }

    /// A response that can't be taken: its stream is reset.
    fn refuse(&mut self, key: Key, error: BlockError, end: bool, out: &mut Vec<u8>) -> Outcome {
        self.stream_error(key, error.code(), out)?;
        Ok(Some(Event::HeadRefused { key, error, end }))
    }

    /// Decodes a block for the sake of the table alone.
    fn skim(&mut self, block: &[u8], scratch: &mut Scratch<'_>) -> Result<(), ConnectionError> {
        let limits = self.limits.head();
        match decode_trailers(&mut self.decoder, block, &limits, scratch.text) {
            Err(BlockError::Compression) => Err(compression()),
            _ => Ok(()),
        }
    }
}

/// What HEADERS carries besides padding and priority.
#[inline]
fn fragment(head: FrameHead, payload: &[u8]) -> Result<&[u8], ConnectionError> {
    const PRIORITY_BYTES: usize = 5;
    let mut rest = payload;
    let mut padding = 0;
    if head.has(flags::PADDED) {
        let Some((&length, after)) = rest.split_first() else {
            return Err(ConnectionError::size("HEADERS too short for its padding"));
        };
        padding = usize::from(length);
        rest = after;
    }
    if head.has(flags::PRIORITY) {
        let Some(after) = rest.get(PRIORITY_BYTES..) else {
            return Err(ConnectionError::size("HEADERS too short for its priority"));
        };
        rest = after;
    }
    match rest.len().checked_sub(padding) {
        Some(length) => Ok(&rest[..length]),
        None => Err(ConnectionError::protocol("padding longer than its frame")),
    }
}

/// Content that must come, if that is known.
const fn content(framing: Framing) -> u64 {
    match framing {
        Framing::None => 0,
        Framing::Length(length) => length,
        Framing::Chunked | Framing::UntilClose => UNKNOWN,
    }
}

const fn compression() -> ConnectionError {
    ConnectionError::new(ErrorCode::COMPRESSION_ERROR, "header block can't be decompressed")
}
