//! Cutting what is received into frames, however it was torn.
//!
//! ```text
//!   Preface ─▶ Head ─┬─ DATA ──────────────▶ Data   pieces go out as they come
//!               ▲    ├─ all of it is here ─▶ handled from the input, without a copy
//!               │    ├─ ignored anyway ────▶ Skip
//!               │    └─ a part is here ────▶ Whole  collected in `partial`
//!               └───────────────────────────────┘
//! ```
//!
//! Invariants: the order of checks is the RFC's: size (4.2), header blocks are not interrupted (4.3), SETTINGS first
//! (3.4), then the frame's own rules.
//!
//! HOT: no allocation while frames come whole. Not here: what frames mean (`data`, `block`, `control`).

use super::super::error::{ConnectionError, Flood};
use super::super::frame::{ErrorCode, FrameHead, HEAD_BYTES, Kind, PREFACE, flags};
use super::data::Piece;
use super::{Connection, Drain, Event, Role, Scratch};
use crate::limits;
use crate::time::Instant;

/// What comes next in the input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reading {
    /// The client's preface, of which so many bytes have come.
    Preface(u8),
    /// A frame's head.
    Head,
    /// The rest of a frame that is collected.
    Whole(FrameHead),
    /// So many bytes that nobody wants.
    Skip(u32),
    /// The payload of a DATA frame.
    Data(Piece),
}

impl Connection {
    /// Takes bytes from the front of `bytes`, until something happened: call it again until it returns `None`, which
    /// it does when all are taken. Answers are appended to `out`.
    ///
    /// # Errors
    /// The connection is at its end: GOAWAY was appended to `out`. Whatever comes after that is an error again.
    #[inline]
    pub fn receive<'a>(
        &mut self,
        bytes: &mut &'a [u8],
        now: Instant,
        scratch: &mut Scratch<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Option<Event<'a>>, ConnectionError> {
        self.clock = now;
        let received = match self.check_alive() {
            Ok(()) => self.read(bytes, scratch, out),
            Err(error) => Err(error),
        };
        received.map_err(|error| self.give_up(error, out))
    }

    /// What was found out since the last call.
    pub(super) fn check_alive(&mut self) -> Result<(), ConnectionError> {
        match (self.dead, self.flood.take()) {
            (Some(error), _) => Err(error),
            (None, Some(flood)) => Err(ConnectionError::flood(flood)),
            (None, None) => Ok(()),
        }
    }

    /// The connection ends here, once: every stream is gone, and GOAWAY says why.
    #[cold]
    pub(super) fn give_up(&mut self, error: ConnectionError, out: &mut Vec<u8>) -> ConnectionError {
        if self.dead.is_none() {
            self.dead = Some(error);
            self.streams = super::Streams::new();
            let last = match (self.role, self.drain) {
                (Role::Client, _) => 0,
                // Section 6.8: what was announced is not raised, whatever was refused since.
                (Role::Server, Drain::Above(last)) => last,
                (Role::Server, _) => self.newest,
            };
            self.put_goaway(last, error.code, out);
        }
        error
    }

    fn read<'a>(
        &mut self,
        bytes: &mut &'a [u8],
        scratch: &mut Scratch<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Option<Event<'a>>, ConnectionError> {
        loop {
            let event = match self.reading {
                Reading::Head => {
                    let Some(head) = self.take_head(bytes) else { return Ok(None) };
                    self.check(head)?;
                    self.begin(head, bytes, scratch, out)?
                }
                Reading::Data(piece) => self.read_data(piece, bytes, out)?,
                Reading::Whole(head) => self.collect(head, bytes, scratch, out)?,
                Reading::Skip(left) => {
                    let n = (left as usize).min(bytes.len());
                    *bytes = &bytes[n..];
                    let left = left - n as u32;
                    self.reading = if left == 0 { Reading::Head } else { Reading::Skip(left) };
                    None
                }
                Reading::Preface(seen) => {
                    self.read_preface(seen, bytes)?;
                    None
                }
            };
            if event.is_some() {
                return Ok(event);
            }
            if bytes.is_empty() && !self.is_due() {
                return Ok(None);
            }
        }
    }

    /// Whether something happens without more bytes: the end of an empty DATA frame.
    fn is_due(&self) -> bool {
        matches!(self.reading, Reading::Data(piece) if piece.is_due())
    }

    fn read_preface(&mut self, seen: u8, bytes: &mut &[u8]) -> Result<(), ConnectionError> {
        let wanted = &PREFACE[usize::from(seen)..];
        let n = wanted.len().min(bytes.len());
        if bytes[..n] != wanted[..n] {
            return Err(ConnectionError::protocol("no HTTP/2 preface"));
        }
        *bytes = &bytes[n..];
        self.reading = if n == wanted.len() { Reading::Head } else { Reading::Preface(seen + n as u8) };
        Ok(())
    }

    #[inline]
    fn take_head(&mut self, bytes: &mut &[u8]) -> Option<FrameHead> {
        if self.head_len == 0
            && let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>()
        {
            *bytes = rest;
            return Some(FrameHead::parse(head));
        }
        let have = usize::from(self.head_len);
        let n = (HEAD_BYTES - have).min(bytes.len());
        self.head[have..have + n].copy_from_slice(&bytes[..n]);
        *bytes = &bytes[n..];
        self.head_len += n as u8;
        if usize::from(self.head_len) < HEAD_BYTES {
            return None;
        }
        self.head_len = 0;
        Some(FrameHead::parse(&self.head))
    }

    /// What holds for all frames.
    #[inline]
    fn check(&mut self, head: FrameHead) -> Result<(), ConnectionError> {
        if head.length > self.limits.frame_bytes {
            return Err(ConnectionError::size("frame over SETTINGS_MAX_FRAME_SIZE"));
        }
        match (&self.block_of, head.kind) {
            (Some(begun), Kind::Continuation) if begun.stream == head.stream => {}
            (Some(_), _) => return Err(ConnectionError::protocol("a header block was interrupted")),
            (None, Kind::Continuation) => {
                return Err(ConnectionError::protocol("CONTINUATION without a header block"));
            }
            (None, _) => {}
        }
        if !self.greeted {
            if head.kind != Kind::Settings || head.has(flags::ACK) {
                return Err(ConnectionError::protocol("the first frame is no SETTINGS"));
            }
            self.greeted = true;
        }
        Ok(())
    }

    /// Handles a frame of which all is here, or prepares for its rest.
    #[inline]
    fn begin<'a>(
        &mut self,
        head: FrameHead,
        bytes: &mut &'a [u8],
        scratch: &mut Scratch<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Option<Event<'a>>, ConnectionError> {
        if head.kind == Kind::Data {
            return self.begin_data(head, out);
        }
        if let Kind::Other(number) = head.kind {
            self.unknown(number)?;
            self.reading = Reading::Skip(head.length);
            return Ok(None);
        }
        match bytes.split_at_checked(head.length as usize) {
            Some((payload, rest)) => {
                *bytes = rest;
                self.frame(head, payload, scratch, out)
            }
            None => {
                self.reading = Reading::Whole(head);
                Ok(None)
            }
        }
    }

    /// Frames of types not known here: ignored (section 5.5), but not without end.
    fn unknown(&mut self, number: u8) -> Result<(), ConnectionError> {
        /// RFC 9218 section 7.1: as PRIORITY, of no use here.
        const PRIORITY_UPDATE: u8 = 0x10;
        let flood = if number == PRIORITY_UPDATE { Flood::Priority } else { Flood::Empty };
        self.meter.charge(flood, self.clock)
    }

    /// Adds to a frame that comes in parts, and handles it when it is whole.
    fn collect<'a>(
        &mut self,
        head: FrameHead,
        bytes: &mut &'a [u8],
        scratch: &mut Scratch<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Option<Event<'a>>, ConnectionError> {
        let missing = head.length as usize - self.partial.len();
        let n = missing.min(bytes.len());
        self.partial.extend_from_slice(&bytes[..n]);
        *bytes = &bytes[n..];
        if n < missing {
            return Ok(None);
        }
        self.reading = Reading::Head;
        let mut payload = std::mem::take(&mut self.partial);
        let handled = self.frame(head, &payload, scratch, out);
        payload.clear();
        if payload.capacity() <= limits::H2_PARTIAL_BYTES_KEPT {
            self.partial = payload;
        }
        handled
    }

    /// A whole frame that is not DATA.
    fn frame(
        &mut self,
        head: FrameHead,
        payload: &[u8],
        scratch: &mut Scratch<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Option<Event<'static>>, ConnectionError> {
        match head.kind {
            Kind::Headers => self.headers(head, payload, scratch, out),
            Kind::Continuation => self.continuation(head, payload, scratch, out),
            Kind::WindowUpdate => self.window_update(head, payload, out),
            Kind::RstStream => self.rst_stream(head, payload),
            Kind::Settings => self.settings(head, payload, out),
            Kind::Ping => self.pinged(head, payload, out),
            Kind::GoAway => self.goaway(head, payload),
            Kind::Priority => self.priority(head, out),
            // Section 8.4: only servers push, and not to those that said they want none.
            Kind::PushPromise => Err(ConnectionError::protocol("PUSH_PROMISE")),
            Kind::Data | Kind::Other(_) => Ok(None),
        }
    }

    /// Whether a stream was never used: nothing but HEADERS and PRIORITY may come on it.
    #[inline]
    pub(super) fn is_idle_stream(&self, id: u32) -> bool {
        // Even ones are a server's, of which there are none: pushes are refused.
        id & 1 == 0 || id > self.newest
    }

    /// Ends one stream for what the peer did on it (section 5.4.2), and tells so.
    #[cold]
    pub(super) fn stream_error(
        &mut self,
        key: super::Key,
        code: ErrorCode,
        out: &mut Vec<u8>,
    ) -> Result<Option<Event<'static>>, ConnectionError> {
        self.provoked(key.id, code, out)?;
        self.close(key, super::past::End::ByUs);
        Ok(Some(Event::Reset { key, code, by_peer: false, processed: true }))
    }

    /// A RST_STREAM that the peer made us send.
    pub(super) fn provoked(
        &mut self,
        id: u32,
        code: ErrorCode,
        out: &mut Vec<u8>,
    ) -> Result<(), ConnectionError> {
        self.meter.charge(Flood::ProvokedReset, self.clock)?;
        super::control::put_reset(out, id, code);
        Ok(())
    }
}
