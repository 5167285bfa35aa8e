//! DATA: content passed through in pieces, and the windows around it (RFC 9113 sections 6.1 and 6.9).
//!
//! ```text
//!   | pad length? | content ............ | padding ... |      all of it counts against both windows
//!                  └─ Event::Data, piece by piece; given back when the caller has consumed it
//!    └─────────────── given back at once ──────────────┘
//! ```
//!
//! Invariants: content is never more or less than the head declared; what comes on a stream that is gone still counts
//! against the connection's window, and is given back at once.
//!
//! HOT: no allocation, no copy. Not here: sending (`send`).

use super::super::error::{ConnectionError, Flood};
use super::super::frame::{ErrorCode, FrameHead, flags};
use super::past::End;
use super::receive::Reading;
use super::stream::{UNKNOWN, flag};
use super::{Connection, Event, Key, control};
use crate::limits;

/// A DATA frame of which the head has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Piece {
    /// `None`: nobody wants it.
    key: Option<Key>,
    /// Content that has not come, with the padding while its length is not known.
    left: u32,
    /// Padding that has not come.
    padding: u32,
    /// The length of the padding has not come.
    padded: bool,
    /// The stream ends with the content.
    end: bool,
}

impl Piece {
    /// It ends the stream, and there is no content to wait for.
    pub(super) const fn is_due(&self) -> bool {
        self.end && self.left == 0 && !self.padded && self.key.is_some()
    }
}

impl Connection {
    /// The head of a DATA frame.
    #[inline]
    pub(super) fn begin_data(
        &mut self,
        head: FrameHead,
        out: &mut Vec<u8>,
    ) -> Result<Option<Event<'static>>, ConnectionError> {
        let padded = head.has(flags::PADDED);
        if head.stream == 0 {
            return Err(ConnectionError::protocol("DATA on stream 0"));
        }
        if padded && head.length == 0 {
            return Err(ConnectionError::size("DATA too short for its padding"));
        }
        if !self.receive.take(head.length) {
            let code = ErrorCode::FLOW_CONTROL_ERROR;
            return Err(ConnectionError::new(code, "DATA beyond the connection's window"));
        }
        let mut piece =
            Piece { key: None, left: head.length, padding: 0, padded, end: head.has(flags::END_STREAM) };
        let fault = match self.streams.find(head.stream) {
            None => {
                self.data_on_no_stream(head.stream, out)?;
                None
            }
            Some(key) => {
                piece.key = Some(key);
                self.data_fault(key, head.length)
            }
        };
        if let (Some(key), Some(code)) = (piece.key, fault) {
            piece.key = None;
            if padded {
                self.reading = Reading::Data(piece);
            } else {
                self.next_piece(piece);
            }
            return self.stream_error(key, code, out);
        }
        if padded {
            self.reading = Reading::Data(piece);
            return Ok(None);
        }
        self.settle(piece, out)
    }

    /// Why a stream can't take a DATA frame, if so; else its window is used.
    #[inline]
    fn data_fault(&mut self, key: Key, length: u32) -> Option<ErrorCode> {
        let stream = self.streams.of(key)?;
        if stream.has(flag::GOT_END) {
            // Section 5.1, half-closed (remote).
            return Some(ErrorCode::STREAM_CLOSED);
        }
        if !stream.has(flag::GOT_HEAD) {
            // Section 8.1: a response begins with its head.
            return Some(ErrorCode::PROTOCOL_ERROR);
        }
        if !stream.receive.take(length) {
            return Some(ErrorCode::FLOW_CONTROL_ERROR);
        }
        None
    }

    /// DATA on a stream that is idle or gone (section 5.1).
    #[cold]
    fn data_on_no_stream(&mut self, id: u32, out: &mut Vec<u8>) -> Result<(), ConnectionError> {
        if self.is_idle_stream(id) {
            return Err(ConnectionError::protocol("DATA on an idle stream"));
        }
        match self.past.of(id) {
            End::Skipped | End::Regular => {
                Err(ConnectionError::new(ErrorCode::STREAM_CLOSED, "DATA on a closed stream"))
            }
            End::ByPeer => self.provoked(id, ErrorCode::STREAM_CLOSED, out),
            // It may have been on its way when we reset the stream.
            End::ByUs | End::Forgotten => self.meter.charge(Flood::Empty, self.clock),
        }
    }

    /// How much content and padding a frame has is known: does it agree with what was declared?
    #[inline]
    fn settle(&mut self, piece: Piece, out: &mut Vec<u8>) -> Result<Option<Event<'static>>, ConnectionError> {
        self.next_piece(piece);
        let Some(key) = piece.key else { return Ok(None) };
        let Some(stream) = self.streams.of(key) else { return Ok(None) };
        let content = u64::from(piece.left);
        if stream.content != UNKNOWN {
            if content > stream.content || piece.end && content < stream.content {
                // Section 8.1.1: malformed.
                self.next_piece(Piece { key: None, ..piece });
                return self.stream_error(key, ErrorCode::PROTOCOL_ERROR, out);
            }
            stream.content -= content;
        }
        if content > 0 {
            self.meter.useful(1);
        } else if !piece.end {
            self.meter.charge(Flood::Empty, self.clock)?;
        }
        Ok(None)
    }

    /// Passes on what there is of a DATA frame.
    #[inline]
    pub(super) fn read_data<'a>(
        &mut self,
        mut piece: Piece,
        bytes: &mut &'a [u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<Event<'a>>, ConnectionError> {
        if piece.padded {
            return self.read_padding(piece, bytes, out);
        }
        if piece.left > 0 || piece.is_due() {
            let n = (piece.left as usize).min(bytes.len());
            let (content, rest) = bytes.split_at(n);
            *bytes = rest;
            piece.left -= n as u32;
            let end = piece.end && piece.left == 0;
            let key = piece.key.filter(|&key| self.streams.has(key));
            piece.key = if end { None } else { key };
            self.next_piece(piece);
            let Some(key) = key else {
                self.give_back(n as u32, out);
                return Ok(None);
            };
            if n == 0 && !end {
                return Ok(None);
            }
            self.held += n as u64;
            if end {
                self.got_end(key);
            }
            return Ok(Some(Event::Data { key, bytes: content, end }));
        }
        // The padding was given back when its length was known.
        let n = (piece.padding as usize).min(bytes.len());
        *bytes = &bytes[n..];
        piece.padding -= n as u32;
        self.next_piece(piece);
        Ok(None)
    }

    fn next_piece(&mut self, piece: Piece) {
        let over = piece.left == 0 && piece.padding == 0 && !piece.is_due();
        self.reading = if over { Reading::Head } else { Reading::Data(piece) };
    }

    /// The first byte of a padded frame says how much padding there is.
    fn read_padding<'a>(
        &mut self,
        mut piece: Piece,
        bytes: &mut &'a [u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<Event<'a>>, ConnectionError> {
        let Some((&length, rest)) = bytes.split_first() else { return Ok(None) };
        *bytes = rest;
        piece.padded = false;
        piece.padding = u32::from(length);
        let Some(left) = (piece.left - 1).checked_sub(piece.padding) else {
            return Err(ConnectionError::protocol("padding longer than its frame"));
        };
        piece.left = left;
        let wasted = piece.padding + 1;
        if let Some(key) = piece.key {
            self.give_stream_back(key, wasted, out);
        }
        self.give_back(wasted, out);
        self.settle(piece, out)
    }

    /// The peer is done with a stream.
    #[inline]
    pub(super) fn got_end(&mut self, key: Key) {
        let Some(stream) = self.streams.of(key) else { return };
        stream.flags |= flag::GOT_END;
        if stream.is_over() {
            self.close(key, End::Regular);
        }
    }

    /// So many bytes of an [`Event::Data`] were passed on or thrown away: the peer may send as many again, which is
    /// told it in due time. To be called for every byte, also if the stream is gone by then.
    #[inline]
    pub fn consumed(&mut self, key: Key, n: usize, out: &mut Vec<u8>) {
        debug_assert!(n as u64 <= self.held, "more given back than was given out");
        let n = (n as u64).min(self.held);
        self.held -= n;
        // INVARIANT: held is at most the connection's window, which is below 2^31.
        let n = n as u32;
        self.give_back(n, out);
        self.give_stream_back(key, n, out);
    }

    /// Bytes of a stream's window are free again.
    #[inline]
    fn give_stream_back(&mut self, key: Key, n: u32, out: &mut Vec<u8>) {
        let least = (self.limits.stream_window / limits::H2_WINDOW_PART).max(1);
        let Some(stream) = self.streams.of(key).filter(|stream| !stream.has(flag::GOT_END)) else { return };
        stream.receive.owe(n);
        // Nobody needs a window for what fits the open one.
        if stream.content > u64::from(stream.receive.bytes())
            && let Some(more) = stream.receive.announce(least)
        {
            control::put_window_update(out, key.id, more);
        }
    }

    /// Bytes of the connection's window are free again.
    #[inline]
    pub(super) fn give_back(&mut self, n: u32, out: &mut Vec<u8>) {
        self.receive.owe(n);
        if let Some(more) = self.receive.announce(self.limits.connection_window / limits::H2_WINDOW_PART) {
            control::put_window_update(out, 0, more);
        }
    }
}
