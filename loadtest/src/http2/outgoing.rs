//! What streams still have to send, and whose turn it is.
//!
//! ```text
//! pieces ─▶ one DATA frame a turn, as long as stream, connection and frame size allow ─▶ the end
//!
//! ready:  stream 5, 9, 1 …   those with something to send and a window for it, in turns
//!         └─ its window is used up: leaves, and comes back with WINDOW_UPDATE or SETTINGS
//! ```
//!
//! Invariants: no window of the peer is ever exceeded; what one stream sends is in order; a stream
//! stands in the list at most once.

use std::collections::VecDeque;
use std::sync::Arc;

use super::frame::{self, Fault, WINDOW_MAX};
use super::peer::Peer;
use super::streams::Streams;

/// Content, from `at` on.
#[derive(Debug)]
struct Piece {
    content: Arc<[u8]>,
    at: usize,
}

/// How a stream's sending ends.
#[derive(Debug, Default)]
enum Ending {
    /// Not yet: more content may be added.
    #[default]
    Open,
    /// With the content that is there.
    Content,
    /// With this header block behind the content.
    Trailers(Vec<u8>),
    /// It has ended.
    Written,
}

/// What one stream has to send.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    pieces: VecDeque<Piece>,
    /// How many bytes the pieces have left.
    bytes: usize,
    /// How many the peer takes; below zero after its SETTINGS made windows smaller.
    window: i64,
    ending: Ending,
    is_listed: bool,
}

/// What became of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// There is more to send.
    More,
    /// Nothing to send, or no window of its own.
    Waits,
    /// The connection's window is used up.
    NoCredit,
    /// The stream's end was written.
    Ended,
}

impl Outgoing {
    /// Begins anew, with the memory there is; `is_ended` if HEADERS were all.
    pub(super) fn begin(&mut self, window: u32, is_ended: bool) {
        self.pieces.clear();
        self.bytes = 0;
        self.window = i64::from(window);
        self.ending = if is_ended { Ending::Written } else { Ending::Open };
        self.is_listed = false;
    }

    /// How many bytes wait.
    pub(super) fn pending(&self) -> usize {
        self.bytes
    }

    /// Whether the stream's end was written.
    pub(super) fn is_ended(&self) -> bool {
        matches!(self.ending, Ending::Written)
    }

    /// Whether more may be added.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.ending, Ending::Open)
    }

    /// Adds content.
    pub(super) fn push(&mut self, content: Arc<[u8]>) {
        debug_assert!(self.is_open(), "content behind the end");
        if !content.is_empty() {
            self.bytes += content.len();
            self.pieces.push_back(Piece { content, at: 0 });
        }
    }

    /// Writes content at once if nothing waits and both windows hold all of it.
    pub(super) fn write_now(
        &mut self,
        id: u32,
        content: &[u8],
        end: bool,
        peer: &mut Peer,
        out: &mut Vec<u8>,
    ) -> bool {
        let bytes = content.len() as i64;
        // A frame without content needs no window, even one below zero.
        if self.bytes > 0 || bytes > self.window.min(peer.window) && bytes > 0 {
            return false;
        }
        let mut rest = content;
        while rest.len() > peer.frame_bytes_max {
            let (now, later) = rest.split_at(peer.frame_bytes_max);
            frame::data(id, now, false, out);
            rest = later;
        }
        if end || !rest.is_empty() {
            frame::data(id, rest, end, out);
        }
        self.window -= bytes;
        peer.window -= bytes;
        if end {
            self.ending = Ending::Written;
        }
        true
    }

    /// Nothing more will be added. Says whether the end was written at once, because nothing waits.
    pub(super) fn finish(&mut self, id: u32, peer: &mut Peer, out: &mut Vec<u8>) -> bool {
        self.finish_as(Ending::Content, id, peer, out)
    }

    /// As [`finish`](Self::finish), with a header block behind the content.
    pub(super) fn finish_with(
        &mut self,
        trailers: Vec<u8>,
        id: u32,
        peer: &mut Peer,
        out: &mut Vec<u8>,
    ) -> bool {
        self.finish_as(Ending::Trailers(trailers), id, peer, out)
    }

    fn finish_as(&mut self, ending: Ending, id: u32, peer: &mut Peer, out: &mut Vec<u8>) -> bool {
        if !self.is_open() {
            return false;
        }
        self.ending = ending;
        // An end takes nothing from any window.
        self.bytes == 0 && self.end(id, peer, out) == Turn::Ended
    }

    /// The end was written with the head.
    pub(super) fn end_here(&mut self) {
        self.ending = Ending::Written;
    }

    /// The window changes. Says whether it is still one that may be (RFC 9113, section 6.9.1).
    pub(super) fn on_window(&mut self, change: i64) -> bool {
        self.window += change;
        self.window <= i64::from(WINDOW_MAX)
    }

    /// Sends one frame, or finds out why not.
    fn turn(&mut self, id: u32, peer: &mut Peer, out: &mut Vec<u8>) -> Turn {
        let Some(piece) = self.pieces.front_mut() else { return self.end(id, peer, out) };
        let rest = &piece.content[piece.at..];
        let allowed = usize::try_from(self.window.min(peer.window)).unwrap_or(0);
        let length = rest.len().min(allowed).min(peer.frame_bytes_max);
        if length == 0 {
            return if self.window > 0 { Turn::NoCredit } else { Turn::Waits };
        }
        let end = length == self.bytes && matches!(self.ending, Ending::Content);
        frame::data(id, &rest[..length], end, out);
        piece.at += length;
        if piece.at == piece.content.len() {
            self.pieces.pop_front();
        }
        self.bytes -= length;
        self.window -= length as i64;
        peer.window -= length as i64;
        match (end, self.bytes) {
            (true, _) => {
                self.ending = Ending::Written;
                Turn::Ended
            }
            (false, 0) => self.end(id, peer, out),
            (false, _) => Turn::More,
        }
    }

    /// All content is written: the end, if it is due.
    fn end(&mut self, id: u32, peer: &mut Peer, out: &mut Vec<u8>) -> Turn {
        match &self.ending {
            Ending::Open | Ending::Written => return Turn::Waits,
            Ending::Content => frame::data(id, &[], true, out),
            Ending::Trailers(block) => peer.headers(id, block, true, out),
        }
        self.ending = Ending::Written;
        Turn::Ended
    }
}

/// A stream that sends.
pub(super) trait Sends {
    /// What it has to send.
    fn outgoing(&mut self) -> &mut Outgoing;
}

/// The streams whose turn comes.
#[derive(Debug, Default)]
pub(super) struct Ready {
    order: VecDeque<u32>,
}

impl Ready {
    /// No stream waits for its turn.
    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The stream has something to send, or its window changed.
    pub(super) fn list(&mut self, id: u32, outgoing: &mut Outgoing) {
        if !outgoing.is_listed && outgoing.bytes > 0 {
            outgoing.is_listed = true;
            self.order.push_back(id);
        }
    }

    /// Every stream's window changes by `change`, because the peer's settings did (RFC 9113, section 6.9.2).
    ///
    /// # Errors
    /// A window becomes too large.
    pub(super) fn on_windows<S: Sends + Default>(
        &mut self,
        streams: &mut Streams<S>,
        change: i64,
    ) -> Result<(), Fault> {
        let mut fits = true;
        streams.each(|id, stream| {
            let outgoing = stream.outgoing();
            fits &= outgoing.on_window(change);
            self.list(id, outgoing);
        });
        if fits { Ok(()) } else { Err(Fault::flow("settings that make a window too large")) }
    }

    /// Gives turns until nothing can be sent. The streams whose end was written are added to `ended`.
    pub(super) fn pump<S: Sends + Default>(
        &mut self,
        streams: &mut Streams<S>,
        peer: &mut Peer,
        ended: &mut Vec<u32>,
        out: &mut Vec<u8>,
    ) {
        while let Some(id) = self.order.pop_front() {
            // A stream that was closed meanwhile is no longer found.
            let Some(stream) = streams.by_id(id) else { continue };
            let outgoing = stream.outgoing();
            match outgoing.turn(id, peer, out) {
                Turn::More => self.order.push_back(id),
                Turn::NoCredit => {
                    self.order.push_front(id);
                    break;
                }
                Turn::Waits => outgoing.is_listed = false,
                Turn::Ended => {
                    outgoing.is_listed = false;
                    ended.push(id);
                }
            }
        }
    }
}
