//! One stream's data on its way into the connection's frames, in turn with its neighbours.
//!
//! ```text
//!   poll ──> its turn, and room? ──no──> waits in turn for room
//!                 │yes
//!                 v one piece
//!            window used up? ──yes──> waits for the peer
//!                 │no
//!            neighbours wait? ──yes──> behind them
//!                 │no: the next piece
//! ```

use std::task::{Context, Poll};

use pinion_core::http::h2::Sent;

use super::state::remember;
use super::stream::Stream;
use super::{PIECE_BYTES, StreamFault};

/// A send in progress: how far it is, and its place among those that wait for room.
pub(super) struct Sending<'a> {
    pub(super) stream: &'a Stream,
    pub(super) sent: usize,
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        let session = &self.stream.session;
        session.streams.borrow_mut().turns.leave(self.stream.place);
    }
}

impl Sending<'_> {
    pub(super) fn poll(
        &mut self,
        cx: &Context<'_>,
        bytes: &[u8],
        end: bool,
    ) -> Poll<Result<(), StreamFault>> {
        let (session, place) = (&self.stream.session, self.stream.place);
        loop {
            let key = match self.stream.key() {
                Ok(key) => key,
                Err(fault) => return Poll::Ready(Err(fault)),
            };
            let mut streams = session.streams.borrow_mut();
            let left = bytes.len() - self.sent;
            let piece = left.min(PIECE_BYTES);
            let room = session.out.borrow_mut().room(&session.shard.buffers, piece);
            if !streams.turns.may_write(place) || (room == 0 && piece > 0) || session.is_full() {
                streams.turns.join(place);
                remember(&mut streams.at(place).writer, cx);
                return Poll::Pending;
            }
            if left == 0 && !end {
                streams.turns.leave(place);
                drop(streams);
                session.wake_writers();
                return Poll::Ready(Ok(()));
            }
            let part = &bytes[self.sent..self.sent + room];
            let last = end && room == left;
            let written = session.write(|machine, out| machine.send_data(key, out, part, last));
            let Sent::Some(written) = written else {
                return Poll::Ready(Err(streams.at(place).fault.unwrap_or(StreamFault::Closed)));
            };
            self.sent += written;
            streams.turns.leave(place);
            let done = self.sent == bytes.len();
            let stuck = written < room;
            if done {
                streams.at(place).finished |= end;
            } else if stuck || !streams.turns.is_empty() {
                // Without a window it waits for the peer, else behind its neighbours.
                if !stuck {
                    streams.turns.join(place);
                }
                remember(&mut streams.at(place).writer, cx);
            } else {
                continue;
            }
            drop(streams);
            session.wake_writers();
            return if done { Poll::Ready(Ok(())) } else { Poll::Pending };
        }
    }
}
