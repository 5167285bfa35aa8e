//! Sending: heads, content as far as windows allow, trailers, resets (RFC 9113 sections 5.2, 6.1, 6.2 and 6.9).
//!
//! ```text
//!   send_data ─▶ DATA … ─▶ window used up ─┬─ the stream's: waits for its WINDOW_UPDATE ─┐
//!                                          └─ the connection's ───────────────▶ queue ◀──┘
//!                                               next_queued: Writable, first in first out, as far as the window goes
//! ```
//!
//! Invariants: END_STREAM goes with the last byte; no frame exceeds what the peer takes; nothing is sent on a stream
//! that is over.
//!
//! HOT: no allocation while `out` has room. Not here: which stream sends first; how much `out` may hold.

use super::super::error::Flood;
use super::super::frame::{ErrorCode, FrameHead, HEAD_BYTES, Kind, flags};
use super::super::head::encode_trailers;
use super::past::End;
use super::stream::{Stream, UNKNOWN, coarse, flag};
use super::{Connection, Encoder, Event, Key, Lost, control};
use crate::http::Method;
use crate::limits;

/// What came of sending content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sent {
    /// So many bytes were taken. If not all, [`Event::Writable`] says when to go on.
    Some(usize),
    /// The stream is gone, or its end was sent.
    Gone,
}

impl Connection {
    /// Opens a stream of a client: appends its HEADERS. `end`: no content follows. `None`: not now, see
    /// [`Connection::may_open`]; nothing was encoded.
    pub fn open(
        &mut self,
        out: &mut Vec<u8>,
        method: Method,
        end: bool,
        encode: impl FnOnce(&mut Encoder, &mut Vec<u8>),
    ) -> Option<Key> {
        if !self.may_open() {
            return None;
        }
        let id = if self.newest == 0 { 1 } else { self.newest + 2 };
        self.newest = id;
        self.past.begin(id);
        self.put_block(id, end, out, encode);
        let flags = if end { flag::SENT_HEAD | flag::SENT_END } else { flag::SENT_HEAD };
        let stream = self.fresh(id, method);
        self.meter.useful(1);
        Some(self.streams.insert(Stream { flags, content: UNKNOWN, ..stream }))
    }

    /// Appends a response's head, interim or final. `end`: nothing follows. `false`: the stream is gone, and nothing
    /// was encoded.
    pub fn send_head(
        &mut self,
        key: Key,
        out: &mut Vec<u8>,
        end: bool,
        encode: impl FnOnce(&mut Encoder, &mut Vec<u8>),
    ) -> bool {
        let Some(stream) = self.streams.of(key).filter(|stream| !stream.has(flag::SENT_END)) else {
            return false;
        };
        stream.flags |= flag::SENT_HEAD;
        self.put_block(key.id, end, out, encode);
        if end {
            self.sent_end(key);
        }
        true
    }

    /// Appends content as far as windows allow, in as few frames as the peer takes; with `end` and the last byte, the
    /// stream's end. What was not taken is offered again after [`Event::Writable`].
    #[inline]
    pub fn send_data(&mut self, key: Key, out: &mut Vec<u8>, bytes: &[u8], end: bool) -> Sent {
        let mut sent = 0;
        loop {
            let rest = &bytes[sent..];
            let Sent::Some(n) = self.send_data_head(key, out, rest.len(), end) else { return Sent::Gone };
            out.extend_from_slice(&rest[..n]);
            sent += n;
            if n == 0 || n == rest.len() {
                return Sent::Some(sent);
            }
        }
    }

    /// Appends the head of one DATA frame for the first of `length` bytes, and says how many of them the caller must
    /// put behind it, from wherever they are. What is left is asked for again, until that is nothing, or 0 is the answer:
    /// then there is no window, and [`Event::Writable`] will come.
    #[inline]
    pub fn send_data_head(&mut self, key: Key, out: &mut Vec<u8>, length: usize, end: bool) -> Sent {
        let connection = self.send.bytes();
        let frame = self.peer.frame_bytes;
        let Some(stream) = self.streams.of(key).filter(|stream| !stream.has(flag::SENT_END)) else {
            return Sent::Gone;
        };
        if length == 0 && !end {
            return Sent::Some(0);
        }
        let wanted = u32::try_from(length).unwrap_or(u32::MAX);
        let allowed = stream.send.bytes().min(connection);
        let n = wanted.min(allowed).min(frame);
        if n == 0 && length > 0 {
            self.fall_short(key);
            return Sent::Some(0);
        }
        stream.send.take(n);
        self.send.take(n);
        self.promised = 0;
        let end = end && n as usize == length;
        let flags = if end { flags::END_STREAM } else { 0 };
        out.extend_from_slice(&FrameHead { length: n, kind: Kind::Data, flags, stream: key.id }.encode());
        self.account(key, n, n == allowed && wanted > n);
        if end {
            self.sent_end(key);
        }
        Sent::Some(n as usize)
    }

    /// Appends trailers, given as `name: value CR LF` lines, and ends the stream. `false`: it is gone.
    pub fn send_trailers(&mut self, key: Key, out: &mut Vec<u8>, text: &[u8]) -> bool {
        if text.is_empty() {
            return self.send_data_head(key, out, 0, true) == Sent::Some(0);
        }
        if self.streams.of(key).is_none_or(|stream| stream.has(flag::SENT_END)) {
            return false;
        }
        self.put_block(key.id, true, out, |encoder, out| encode_trailers(encoder, out, text));
        self.sent_end(key);
        true
    }

    /// Ends a stream at once, both ways. Does nothing when it is gone.
    pub fn reset(&mut self, key: Key, code: ErrorCode, out: &mut Vec<u8>) {
        if self.streams.has(key) {
            control::put_reset(out, key.id, code);
            self.close(key, End::ByUs);
        }
    }

    /// What happened without received bytes to tell it: streams that may send again, streams that are lost. To be
    /// asked until it returns `None`, after receiving (also when that was an error: streams lost before may be asked for
    /// again) and after sending.
    pub fn next_queued(&mut self) -> Option<Event<'static>> {
        if let Some(Lost { key, code, by_peer, processed }) = self.lost.pop_front() {
            return Some(Event::Reset { key, code, by_peer, processed });
        }
        // As many as the window is likely to serve; the others after those have sent.
        while self.send.bytes() > self.promised {
            let key = self.streams.dequeue()?;
            let frame = self.peer.frame_bytes;
            let Some(stream) = self.streams.of(key).filter(|stream| stream.send.bytes() > 0) else {
                // SETTINGS took its window away meanwhile.
                continue;
            };
            stream.flags &= !flag::SHORT;
            self.promised = self.promised.saturating_add(stream.send.bytes().min(frame));
            return Some(Event::Writable { key });
        }
        None
    }

    /// Counts what was sent. `cut`: a window made it less.
    #[inline]
    fn account(&mut self, key: Key, n: u32, cut: bool) {
        /// A useful frame for each so many bytes, see [`super::super::budget::Rate`].
        const USEFUL_SHIFT: u32 = 12;
        if cut && n < limits::H2_TINY_BYTES {
            if self.meter.charge(Flood::TinyWindow, self.clock).is_err() {
                self.flood = Some(Flood::TinyWindow);
            }
        } else if n > 0 {
            self.meter.useful(1 + (n >> USEFUL_SHIFT));
        }
        let now = coarse(self.clock);
        let Some(stream) = self.streams.of(key).filter(|stream| stream.has(flag::HELD_UP)) else { return };
        stream.short_sent = stream.short_sent.saturating_add(n);
        if !cut && !stream.has(flag::SHORT) {
            stream.flags &= !flag::HELD_UP;
        } else if stream.short_sent >= limits::H2_STALL_BYTES {
            stream.short_sent = 0;
            stream.short_since = now;
        }
    }

    /// There is no window: the stream waits, from now on if it did not before.
    fn fall_short(&mut self, key: Key) {
        let now = coarse(self.clock);
        let Some(stream) = self.streams.of(key) else { return };
        if !stream.has(flag::HELD_UP) {
            stream.short_since = now;
            stream.short_sent = 0;
        }
        stream.flags |= flag::SHORT | flag::HELD_UP;
        if stream.send.bytes() > 0 {
            self.streams.enqueue(key);
        }
    }

    /// We are done with a stream.
    #[inline]
    fn sent_end(&mut self, key: Key) {
        let Some(stream) = self.streams.of(key) else { return };
        stream.flags |= flag::SENT_END;
        stream.flags &= !(flag::SHORT | flag::HELD_UP);
        if stream.is_over() {
            self.close(key, End::Regular);
        }
    }

    /// Appends a header block, in HEADERS and as many CONTINUATION as the peer's frame size asks for.
    #[inline]
    fn put_block(
        &mut self,
        id: u32,
        end: bool,
        out: &mut Vec<u8>,
        encode: impl FnOnce(&mut Encoder, &mut Vec<u8>),
    ) {
        let start = out.len();
        out.extend_from_slice(&[0; HEAD_BYTES]);
        encode(&mut self.encoder, out);
        let length = out.len() - start - HEAD_BYTES;
        let most = self.peer.frame_bytes as usize;
        let end = if end { flags::END_STREAM } else { 0 };
        if length > most {
            split_block(out, start, most, id, end);
            return;
        }
        let head = FrameHead {
            length: length as u32,
            kind: Kind::Headers,
            flags: flags::END_HEADERS | end,
            stream: id,
        };
        out[start..start + HEAD_BYTES].copy_from_slice(&head.encode());
    }
}

/// Makes several frames of the block at the end of `out`, which begins behind the room for a head at `start`.
#[cold]
fn split_block(out: &mut Vec<u8>, start: usize, most: usize, id: u32, end: u8) {
    let block = start + HEAD_BYTES;
    let length = out.len() - block;
    let frames = length.div_ceil(most);
    out.resize(out.len() + (frames - 1) * HEAD_BYTES, 0);
    for frame in (0..frames).rev() {
        let from = frame * most;
        let bytes = most.min(length - from);
        // Moved from behind, so that nothing is overwritten before it is moved.
        let to = block + from + frame * HEAD_BYTES;
        out.copy_within(block + from..block + from + bytes, to);
        let kind = if frame == 0 { Kind::Headers } else { Kind::Continuation };
        let last = if frame + 1 == frames { flags::END_HEADERS } else { 0 };
        let flags = if frame == 0 { last | end } else { last };
        let head = FrameHead { length: bytes as u32, kind, flags, stream: id };
        out[to - HEAD_BYTES..to].copy_from_slice(&head.encode());
    }
}
