//! One stream of a connection, as the request or the exchange on it uses it.
//!
//! ```text
//!   upstream side:    reserve ──> open ──> head* ──> piece* ──> (dropped)
//!                                   └───> send* (body, trailers)
//!   downstream side:  (head comes with it) piece* ┐
//!                                send_head* ──> send* ──> (dropped)
//! ```
//!
//! Invariants:
//! - dropped before both sides ended it is reset: a request that lost interest costs the peer nothing more;
//! - what was received before the end is delivered, whatever happened since.
//!
//! HOT: 0 allocations, 0 locks, 0 system calls: the connection's task does those.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use pinion_core::http::h2::Key;
use pinion_core::http::h2::frame::ErrorCode;
use pinion_core::http::h2::hpack::Encoder;
use pinion_core::http::{Method, ResponseHead};
use pinion_core::telemetry::Side;

use super::sending::Sending;
use super::session::Session;
use super::state::{Arrived, Ending, State, remember};
use super::{Piece, StreamFault};
use crate::sys::buffer::Buffer;

/// A stream, or a place kept for one. Every method may be called while others wait.
pub(crate) struct Stream {
    pub(super) session: Rc<Session>,
    pub(super) place: u32,
}

/// The place of a stream whose state was taken along to another shard.
const NO_PLACE: u32 = u32::MAX;

impl Stream {
    pub(super) fn new(session: Rc<Session>, place: u32) -> Self {
        Stream { session, place }
    }

    /// The connection it belongs to.
    pub(crate) fn session(&self) -> &Rc<Session> {
        &self.session
    }

    /// The machine's name of it.
    ///
    /// # Errors
    ///
    /// When it can't send: it was never opened, or something ended it.
    pub(super) fn key(&self) -> Result<Key, StreamFault> {
        let mut streams = self.session.streams.borrow_mut();
        let state = streams.at(self.place);
        match (state.fault, state.key) {
            (Some(fault), _) => Err(fault),
            (None, Some(key)) => Ok(key),
            (None, None) => Err(StreamFault::Closed),
        }
    }

    /// Sends the request's head in the place that was kept; `end`: it has neither body nor trailers.
    ///
    /// # Errors
    ///
    /// When the connection stopped taking streams meanwhile: the request was not sent.
    pub(crate) fn open(
        &self,
        method: Method,
        end: bool,
        encode: impl FnOnce(&mut Encoder, &mut Vec<u8>),
    ) -> Result<(), StreamFault> {
        let session = &self.session;
        debug_assert!(self.key() == Err(StreamFault::Closed) || session.closed.get(), "opened twice");
        let refused = StreamFault::Reset { code: ErrorCode::REFUSED_STREAM, processed: false };
        if session.is_leaving() {
            return Err(refused);
        }
        let key = session.write(|machine, out| machine.open(out, method, end, encode)).ok_or(refused)?;
        let mut streams = session.streams.borrow_mut();
        streams.name(self.place, key);
        streams.at(self.place).finished = end;
        drop(streams);
        session.reserved.set(session.reserved.get() - 1);
        session.on_begun();
        Ok(())
    }

    /// Waits for a response head: an interim one, or the final one. It goes to `head`, its text comes back
    /// with whether the response ends with it.
    ///
    /// # Errors
    ///
    /// When the stream ended before.
    pub(crate) async fn head(&self, head: &mut ResponseHead) -> Result<(Buffer, bool), StreamFault> {
        poll_fn(|cx| {
            let mut streams = self.session.streams.borrow_mut();
            let state = streams.at(self.place);
            if let Some(Arrived { mut trip, text, end }) = state.heads.pop_front() {
                std::mem::swap(head, &mut trip.response);
                self.session.shard.trips.give(trip);
                return Poll::Ready(Ok((text, end)));
            }
            if let Some(fault) = state.fault {
                return Poll::Ready(Err(fault));
            }
            remember(&mut state.reader, cx);
            Poll::Pending
        })
        .await
    }

    /// Waits for the next piece of the body. Taking it lets the peer send as much more.
    ///
    /// # Errors
    ///
    /// When the stream ended before its end.
    pub(crate) async fn piece(&self) -> Result<Piece, StreamFault> {
        poll_fn(|cx| self.poll_piece(cx)).await
    }

    /// The next piece, if it is there already.
    pub(crate) fn try_piece(&self) -> Option<Result<Piece, StreamFault>> {
        match self.poll_piece(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(piece) => Some(piece),
            Poll::Pending => None,
        }
    }

    /// Moves what was received of the body behind what `into` holds, as far as whole buffers fit; once all of it
    /// was moved and the stream had ended, that, with the trailers if there are any.
    ///
    /// # Errors
    ///
    /// When the stream ended before its end.
    pub(crate) fn collect(&self, into: &mut Buffer) -> Result<Option<Option<Buffer>>, StreamFault> {
        let mut streams = self.session.streams.borrow_mut();
        let state = streams.at(self.place);
        let mut moved = 0;
        while let Some(buffer) = state.queue.pop_front_if(|buffer| buffer.unread().len() <= into.room()) {
            into.as_vec().extend_from_slice(buffer.unread());
            moved += buffer.unread().len();
        }
        let ended = match (state.queue.is_empty(), state.ending.take()) {
            (true, Some(Ending::Plain | Ending::Taken)) => Some(None),
            (true, Some(Ending::Trailers(lines))) => Some(Some(lines)),
            (_, ending) => {
                state.ending = ending;
                None
            }
        };
        if ended.is_some() {
            state.ending = Some(Ending::Taken);
        }
        let (key, fault) = (state.key, state.fault);
        drop(streams);
        if let Some(key) = key
            && moved > 0
        {
            self.session.consumed(key, moved);
        }
        match (ended, fault) {
            (None, Some(fault)) => Err(fault),
            (ended, _) => Ok(ended),
        }
    }

    /// See [`Stream::piece`].
    pub(crate) fn poll_piece(&self, cx: &mut Context<'_>) -> Poll<Result<Piece, StreamFault>> {
        let mut streams = self.session.streams.borrow_mut();
        let state = streams.at(self.place);
        if let Some(buffer) = state.queue.pop_front() {
            let key = state.key;
            let last = state.queue.is_empty() && matches!(state.ending, Some(Ending::Plain));
            if last {
                state.ending = Some(Ending::Taken);
            }
            drop(streams);
            if let Some(key) = key {
                self.session.consumed(key, buffer.unread().len());
            }
            return Poll::Ready(Ok(Piece::Data(buffer, last)));
        }
        match state.ending.take() {
            Some(Ending::Trailers(lines)) => {
                state.ending = Some(Ending::Taken);
                return Poll::Ready(Ok(Piece::Trailers(lines)));
            }
            Some(_) => {
                state.ending = Some(Ending::Taken);
                return Poll::Ready(Ok(Piece::End));
            }
            None => {}
        }
        if let Some(fault) = state.fault {
            return Poll::Ready(Err(fault));
        }
        remember(&mut state.reader, cx);
        Poll::Pending
    }

    /// Sends a response head, interim or final; `end`: nothing follows.
    ///
    /// # Errors
    ///
    /// When the stream can't send any more.
    pub(crate) fn send_head(
        &self,
        end: bool,
        encode: impl FnOnce(&mut Encoder, &mut Vec<u8>),
    ) -> Result<(), StreamFault> {
        let key = self.key()?;
        let sent = self.session.write(|machine, out| machine.send_head(key, out, end, encode));
        self.sent(sent, end)
    }

    /// Sends trailers (lines `name: value\r\n`), which end the stream.
    ///
    /// # Errors
    ///
    /// When the stream can't send any more.
    pub(crate) fn send_trailers(&self, lines: &[u8]) -> Result<(), StreamFault> {
        let key = self.key()?;
        let sent = self.session.write(|machine, out| machine.send_trailers(key, out, lines));
        self.sent(sent, true)
    }

    fn sent(&self, sent: bool, end: bool) -> Result<(), StreamFault> {
        let mut streams = self.session.streams.borrow_mut();
        let state = streams.at(self.place);
        if !sent {
            return Err(state.fault.unwrap_or(StreamFault::Closed));
        }
        state.finished |= end;
        Ok(())
    }

    /// Sends all of `bytes` as the windows and the neighbours allow, calling `progress` after each part; `end`:
    /// the body ends with them.
    ///
    /// # Errors
    ///
    /// When the stream can't send any more.
    pub(crate) async fn send(
        &self,
        bytes: &[u8],
        end: bool,
        progress: impl Fn(usize),
    ) -> Result<(), StreamFault> {
        let mut sending = Sending { stream: self, sent: 0 };
        poll_fn(|cx| {
            let before = sending.sent;
            let polled = sending.poll(cx, bytes, end);
            if sending.sent > before {
                progress(sending.sent - before);
            }
            polled
        })
        .await
    }

    /// Waits until what was written before is so far on its way that more may be: before a head, so that slow
    /// readers do not make heads gather.
    ///
    /// # Errors
    ///
    /// When the stream can't send any more.
    pub(crate) async fn ready(&self) -> Result<(), StreamFault> {
        self.send(&[], false, |_| ()).await
    }

    /// Takes the stream's state out of the connection, as it is.
    pub(super) fn dissolve(mut self) -> State {
        let place = std::mem::replace(&mut self.place, NO_PLACE);
        self.session.on_ended();
        self.session.streams.borrow_mut().take(place)
    }

    /// Resets the stream.
    pub(crate) fn reset(self, code: ErrorCode) {
        if let Ok(key) = self.key() {
            self.session.reset(key, code);
            self.session.streams.borrow_mut().at(self.place).fault = Some(StreamFault::Closed);
        }
    }

    /// Ready when the peer reset the stream or the connection went.
    pub(crate) fn poll_gone(&self, cx: &Context<'_>) -> Poll<StreamFault> {
        let mut streams = self.session.streams.borrow_mut();
        let state = streams.at(self.place);
        match state.fault {
            Some(fault) => Poll::Ready(fault),
            None => {
                remember(&mut state.watcher, cx);
                Poll::Pending
            }
        }
    }

    /// Why the stream can't go on, if so.
    pub(crate) fn gone(&self) -> Option<StreamFault> {
        self.session.streams.borrow_mut().at(self.place).fault
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.place == NO_PLACE {
            return;
        }
        let session = &self.session;
        let mut streams = session.streams.borrow_mut();
        let state = streams.at(self.place);
        let (key, failed, finished) = (state.key, state.fault.is_some(), state.finished);
        let left: usize = state.queue.iter().map(|buffer| buffer.unread().len()).sum();
        let over = finished && state.ending.is_some();
        while let Some(arrived) = state.heads.pop_front() {
            session.shard.trips.give(arrived.trip);
        }
        streams.remove(self.place);
        drop(streams);
        match key {
            None => session.reserved.set(session.reserved.get() - 1),
            Some(key) => {
                session.on_ended();
                if left > 0 && !session.closed.get() {
                    session.consumed(key, left);
                }
                if !over && !failed && !session.closed.get() {
                    // A complete answer does not need the rest of the request (RFC 9113 section 8.1).
                    let answered = finished && session.settings.side == Side::Downstream;
                    session.reset(key, if answered { ErrorCode::NO_ERROR } else { ErrorCode::CANCEL });
                }
            }
        }
        // Somebody may wait for the room it waited for; without it the connection may be at rest.
        session.wake_writers();
        session.touch();
    }
}
