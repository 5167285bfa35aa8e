//! Finds the end of a body and rewrites its framing into one canonical form, in the buffer it came in.
//!
//! ```text
//!            ┌───────────┐     HEXDIG      ┌──────┐  BWS ";" ext  ┌───────────┐
//!   chunked: │ SizeStart ├────────────────▶│ Size ├──────────────▶│ Extension │
//!            └──▲────────┘                 └──┬───┘               └────┬──────┘
//!               │ CR LF                       │ CR LF                  │ CR LF
//!          ┌────┴─────┐    size bytes     ┌───▼────────────────────────▼───┐  empty line
//!          │ DataCrLf │◀──────────────────┤ Data, or Trailers after size 0 ├────────────▶ Done
//!          └──────────┘                   └────────────────────────────────┘
//!   feed(buf):   [ kept: to be forwarded ][ gap ][ not this body's ]
//!                0                      kept   consumed          len
//! ```
//!
//! Invariants:
//! - every byte of the body is consumed as it comes, wherever the input is torn; `consumed < len` only
//!   when the body is done;
//! - no more bytes are kept than consumed, so that compaction happens in place; only a trailer section
//!   that came torn is kept in the reader and handed out by [`BodyReader::tail`];
//! - sizes are plain hexadecimal below 2^63, lines end with CR LF, extensions are tokens and quoted
//!   strings and are dropped;
//! - the sum of what chunked coding adds beyond data is bounded per chunk line and per body.
//!
//! HOT: no allocation (except for a torn trailer section), no copy where nothing is taken out.
//!
//! Not here: whether there is a body (`fields`), writing heads (`encode`).

use super::super::edits::{is_token, is_value};
use super::super::head::Framing;
use super::trailers;
use crate::limits::{CHUNK_LINE_BYTES_MAX, TRAILER_BYTES_MAX};
use compact::Compactor;
pub use error::BodyError;
use section::{expect, hex, section_end};

mod compact;
mod error;
mod section;

/// All chunk extensions of one body together. 16 KiB: extensions are unused in practice, and without a
/// bound one-byte chunks could carry [`CHUNK_LINE_BYTES_MAX`] of them each.
const EXTENSION_BYTES_MAX: u32 = 16 * 1024;

/// What a chunked body is turned into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emit {
    /// Chunks again, in canonical form.
    Framed,
    /// Only the content; trailers are dropped.
    Payload,
    /// Only the content; trailers are kept apart, see [`BodyReader::trailers`].
    Parted,
}

/// What became of the bytes fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fed {
    /// Bytes of the buffer that belonged to this body.
    pub consumed: usize,
    /// Bytes at the start of the buffer to forward.
    pub kept: usize,
    /// The body is complete; send [`BodyReader::tail`] after the kept bytes.
    pub done: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// `left` bytes of a body with a length.
    Length,
    /// Everything is content.
    UntilClose,
    /// Before the first digit of a size.
    SizeStart,
    /// Within a size; `left` is its value so far.
    Size,
    /// White space after a size: only `;` may follow.
    BeforeExtension,
    /// Within extensions: after `;` a name must come.
    ExtensionStart,
    /// Within an extension's name or value.
    Extension,
    /// Within a quoted value.
    Quoted,
    /// After a backslash within a quoted value.
    QuotedPair,
    /// The CR of a chunk line was read.
    LineEnd,
    /// `left` bytes of chunk data.
    Data,
    /// Chunk data ended; its CR comes.
    DataCr,
    /// The LF after chunk data comes.
    DataLf,
    /// Within the trailer section.
    Trailers,
    Done,
    /// An error was returned; nothing more is read.
    Failed,
}

/// Reads one body.
#[derive(Clone, Debug)]
pub struct BodyReader {
    state: State,
    emit: Emit,
    /// Bytes left of the body or chunk; the chunk size while it is read.
    left: u64,
    payload: u64,
    line: u16,
    extensions: u32,
    /// A trailer section that came torn; what is left of it once done.
    trailers: Vec<u8>,
}

impl BodyReader {
    /// A reader for a body framed so. `emit` matters for chunked bodies only.
    pub const fn new(framing: Framing, emit: Emit) -> Self {
        let (state, left) = match framing {
            Framing::None | Framing::Length(0) => (State::Done, 0),
            Framing::Length(length) => (State::Length, length),
            Framing::Chunked => (State::SizeStart, 0),
            Framing::UntilClose => (State::UntilClose, 0),
        };
        BodyReader { state, emit, left, payload: 0, line: 0, extensions: 0, trailers: Vec::new() }
    }

    /// Whether the body is complete.
    #[inline]
    pub const fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Content bytes seen so far.
    #[inline]
    pub const fn payload_bytes(&self) -> u64 {
        self.payload
    }

    /// Bytes still to come of a body with a length; `None` for other framings.
    #[inline]
    pub const fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Length => Some(self.left),
            _ => None,
        }
    }

    /// Whether all bytes until the connection closes are content, so that they may be spliced.
    #[inline]
    pub const fn is_until_close(&self) -> bool {
        matches!(self.state, State::UntilClose)
    }

    /// What to send after the last kept bytes: the rest of a canonical trailer section that came torn.
    /// Empty before the end, where trailers are dropped or kept apart, and usually.
    #[inline]
    pub fn tail(&self) -> &[u8] {
        if self.is_done() && self.emit != Emit::Parted { &self.trailers } else { &[] }
    }

    /// With [`Emit::Parted`], once the body is complete: the trailer section's lines, without the empty one.
    #[inline]
    pub fn trailers(&self) -> &[u8] {
        if self.is_done() && self.emit == Emit::Parted { &self.trailers } else { &[] }
    }

    /// Accounts for `bytes` that passed without being looked at (spliced). At most [`Self::remaining`].
    pub fn skip(&mut self, bytes: u64) {
        debug_assert!(
            matches!(self.state, State::Length | State::UntilClose),
            "only opaque bytes are spliced"
        );
        self.payload = self.payload.saturating_add(bytes);
        if self.state == State::Length {
            debug_assert!(bytes <= self.left);
            self.left = self.left.saturating_sub(bytes);
            if self.left == 0 {
                self.state = State::Done;
            }
        }
    }

    /// The peer sends no more: the end of a body that lasts until then, an error in any other.
    pub fn on_eof(&mut self) -> Result<(), BodyError> {
        match self.state {
            State::Done => Ok(()),
            State::UntilClose => {
                self.state = State::Done;
                Ok(())
            }
            _ => {
                self.state = State::Failed;
                Err(BodyError::Truncated)
            }
        }
    }

    /// Reads the next bytes and compacts what is to be forwarded to the front of `buf`.
    #[inline]
    pub fn feed(&mut self, buf: &mut [u8]) -> Result<Fed, BodyError> {
        match self.state {
            State::Length => {
                let take = usize::try_from(self.left).unwrap_or(usize::MAX).min(buf.len());
                self.left -= take as u64;
                self.payload += take as u64;
                if self.left == 0 {
                    self.state = State::Done;
                }
                Ok(Fed { consumed: take, kept: take, done: self.left == 0 })
            }
            State::UntilClose => {
                self.payload = self.payload.saturating_add(buf.len() as u64);
                Ok(Fed { consumed: buf.len(), kept: buf.len(), done: false })
            }
            State::Done => Ok(Fed { consumed: 0, kept: 0, done: true }),
            State::Failed => Err(BodyError::Truncated),
            _ => self.feed_chunked(buf).inspect_err(|_| self.state = State::Failed),
        }
    }

    fn feed_chunked(&mut self, buf: &mut [u8]) -> Result<Fed, BodyError> {
        let mut out = Compactor { buf, kept: 0, framed: self.emit == Emit::Framed, fresh_zero: false };
        let mut at = 0;
        while at < out.buf.len() {
            match self.state {
                State::Data => {
                    let take = usize::try_from(self.left).unwrap_or(usize::MAX).min(out.buf.len() - at);
                    out.keep(at, take);
                    at += take;
                    self.left -= take as u64;
                    self.payload = self.payload.saturating_add(take as u64);
                    if self.left == 0 {
                        self.state = State::DataCr;
                    }
                }
                State::Trailers => {
                    let (read, done) = self.feed_trailers(&mut out, at)?;
                    at += read;
                    if done {
                        self.state = State::Done;
                        return Ok(Fed { consumed: at, kept: out.kept, done: true });
                    }
                }
                _ => {
                    let byte = out.buf[at];
                    at += 1;
                    self.step(byte, &mut out)?;
                }
            }
        }
        Ok(Fed { consumed: at, kept: out.kept, done: false })
    }

    /// One byte of chunk framing.
    #[inline]
    fn step(&mut self, byte: u8, out: &mut Compactor<'_>) -> Result<(), BodyError> {
        match self.state {
            State::SizeStart => {
                self.left = hex(byte).ok_or(BodyError::ChunkSize)?;
                self.line = 1;
                out.digit(byte, true, false);
                self.state = State::Size;
            }
            State::Size => {
                self.count_line()?;
                match byte {
                    b'\r' => self.end_line(out),
                    b';' => self.state = State::ExtensionStart,
                    b' ' | b'\t' => self.state = State::BeforeExtension,
                    _ => {
                        let digit = hex(byte).ok_or(BodyError::ChunkSize)?;
                        if self.left > i64::MAX as u64 >> 4 {
                            return Err(BodyError::ChunkSize);
                        }
                        out.digit(byte, false, self.left == 0);
                        self.left = self.left << 4 | digit;
                    }
                }
            }
            State::BeforeExtension => {
                self.count_line()?;
                match byte {
                    b';' => self.state = State::ExtensionStart,
                    b' ' | b'\t' => {}
                    _ => return Err(BodyError::ChunkLine),
                }
            }
            State::ExtensionStart | State::Extension | State::Quoted | State::QuotedPair => {
                self.extension(byte, out)?;
            }
            State::LineEnd => {
                out.framing(expect(byte, b'\n', BodyError::ChunkLine)?);
                self.state = if self.left == 0 { State::Trailers } else { State::Data };
            }
            State::DataCr => {
                out.framing(expect(byte, b'\r', BodyError::ChunkEnd)?);
                self.state = State::DataLf;
            }
            State::DataLf => {
                out.framing(expect(byte, b'\n', BodyError::ChunkEnd)?);
                self.state = State::SizeStart;
            }
            // The callers handle these.
            State::Length
            | State::UntilClose
            | State::Data
            | State::Trailers
            | State::Done
            | State::Failed => {
                return Err(BodyError::ChunkLine);
            }
        }
        Ok(())
    }

    /// One byte of extensions (RFC 9112 section 7.1.1). They are dropped, but a line that is not clearly
    /// one could end elsewhere for another reader.
    #[cold]
    fn extension(&mut self, byte: u8, out: &mut Compactor<'_>) -> Result<(), BodyError> {
        self.count_line()?;
        self.extensions += 1;
        if self.extensions > EXTENSION_BYTES_MAX {
            return Err(BodyError::ChunkLineTooLong);
        }
        self.state = match (self.state, byte) {
            (State::Quoted, b'"') => State::Extension,
            (State::Quoted, b'\\') => State::QuotedPair,
            (State::Quoted | State::QuotedPair, byte) if is_value(byte) => State::Quoted,
            (State::Extension, b'\r') => {
                self.end_line(out);
                State::LineEnd
            }
            (State::Extension, b';') => State::ExtensionStart,
            (State::Extension, b'"') => State::Quoted,
            (State::Extension, b'=') => State::Extension,
            (state, b' ' | b'\t') => state,
            (State::ExtensionStart | State::Extension, byte) if is_token(byte) => State::Extension,
            _ => return Err(BodyError::ChunkLine),
        };
        Ok(())
    }

    fn end_line(&mut self, out: &mut Compactor<'_>) {
        out.framing(b'\r');
        self.state = State::LineEnd;
    }

    #[inline]
    fn count_line(&mut self) -> Result<(), BodyError> {
        self.line += 1;
        if usize::from(self.line) > CHUNK_LINE_BYTES_MAX { Err(BodyError::ChunkLineTooLong) } else { Ok(()) }
    }

    /// Reads trailer bytes from offset `at`. Returns how many, and whether the section is complete.
    fn feed_trailers(&mut self, out: &mut Compactor<'_>, at: usize) -> Result<(usize, bool), BodyError> {
        let new = &mut out.buf[at..];
        if self.trailers.is_empty()
            && let Some(end) = section_end(new, 0)
        {
            // All of it is here: filtered in place.
            if end > TRAILER_BYTES_MAX {
                return Err(BodyError::TrailersTooLarge);
            }
            let kept = trailers::filter(&mut new[..end]).map_err(|_| BodyError::Trailers)?;
            match self.emit {
                Emit::Framed => out.keep(at, kept),
                Emit::Parted => self.trailers.extend_from_slice(&out.buf[at..at + kept - 2]),
                Emit::Payload => {}
            }
            return Ok((end, true));
        }
        let before = self.trailers.len();
        let take = new.len().min(TRAILER_BYTES_MAX + 1 - before);
        self.trailers.extend_from_slice(&new[..take]);
        let Some(end) = section_end(&self.trailers, before) else {
            let too_large = self.trailers.len() > TRAILER_BYTES_MAX;
            return if too_large { Err(BodyError::TrailersTooLarge) } else { Ok((take, false)) };
        };
        if end > TRAILER_BYTES_MAX {
            return Err(BodyError::TrailersTooLarge);
        }
        self.trailers.truncate(end);
        let kept = trailers::filter(&mut self.trailers).map_err(|_| BodyError::Trailers)?;
        self.trailers.truncate(match self.emit {
            Emit::Framed => kept,
            Emit::Parted => kept - 2,
            Emit::Payload => 0,
        });
        Ok((end - before, true))
    }
}

#[cfg(test)]
mod tests;
