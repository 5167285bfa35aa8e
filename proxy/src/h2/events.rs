//! What received bytes come to: events of the machine go to the streams they belong to.
//!
//! HOT: 0 allocations in steady state; heads and texts are the shard's, taken only while bytes are at hand.

use std::rc::Rc;

use pinion_core::fault::Fault;
use pinion_core::http::h2::frame::ErrorCode;
use pinion_core::http::h2::{ConnectionError, Event, Key, Scratch};
use pinion_core::telemetry::Side;

use super::StreamFault;
use super::server::NewRequest;
use super::session::Session;
use super::state::{Arrived, Ending};
use super::stream::Stream;
use crate::net::clock;
use crate::serve::trip::Trip;

impl Session {
    /// Feeds received bytes to the machine; hands every request that begins to `on_request`.
    ///
    /// # Errors
    ///
    /// When the peer broke the protocol; what to tell it is among the frames to send.
    pub(super) fn take_in(
        self: &Rc<Self>,
        mut bytes: &[u8],
        on_request: &mut impl FnMut(NewRequest),
    ) -> Result<(), ConnectionError> {
        let now = clock::now();
        let shared = self.shard.h2.clone();
        let mut text = shared.take_text();
        let mut spare = self.shard.trips.take();
        let mut moved = false;
        let result = loop {
            let event = {
                let Trip { head: request, response, .. } = &mut *spare;
                let mut scratch = Scratch { text: &mut text, request, response };
                let mut out = self.out.borrow_mut();
                let frames = out.frames(&self.shard.buffers);
                self.machine.borrow_mut().receive(&mut bytes, now, &mut scratch, frames)
            };
            match event {
                Ok(Some(event)) => {
                    moved = true;
                    self.on_event(event, &text, &mut spare, on_request);
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.shard.trips.give(spare);
        shared.give_text(text);
        let since = self.unfinished.get().filter(|_| !moved);
        self.unfinished.set(self.machine.borrow().is_unfinished().then(|| since.unwrap_or(now)));
        if self.out.borrow_mut().settle() {
            self.touch();
        }
        result
    }

    fn on_event(
        self: &Rc<Self>,
        event: Event<'_>,
        text: &[u8],
        spare: &mut Box<Trip>,
        on_request: &mut impl FnMut(NewRequest),
    ) {
        match event {
            Event::Head { key, end } if self.settings.side == Side::Downstream => {
                self.on_request(key, end, None, text, spare, on_request);
            }
            Event::HeadRefused { key, error, end } if self.settings.side == Side::Downstream => {
                if error.is_answered() {
                    self.on_request(key, end, Some(error.fault()), text, spare, on_request);
                } else {
                    // It is reset already: there is nobody to answer.
                    self.stats().resets_sent.inc();
                    self.shard.stats.faults[error.fault().index()].inc();
                    self.fail(key, StreamFault::Head(error));
                }
            }
            Event::HeadRefused { key, error, .. } => {
                self.stats().resets_sent.inc();
                self.fail(key, StreamFault::Head(error));
            }
            Event::Head { key, end } => self.on_response(key, end, text, spare),
            Event::Trailers { key } => match self.shard.buffers.copy(text) {
                Some(lines) => self.on_end(key, Ending::Trailers(lines)),
                None => self.give_up(key),
            },
            Event::Data { key, bytes, end } => self.on_data(key, bytes, end),
            Event::Reset { key, code, by_peer, processed } => self.on_reset(key, code, by_peer, processed),
            Event::Writable { key } => self.on_writable(key),
            Event::GoAway { .. } => {
                self.stats().goaways_received.inc();
                // A client's says only that it wants nothing pushed.
                if self.settings.side == Side::Upstream {
                    self.leaving.set(true);
                }
            }
            Event::Pong => self.asked.set(false),
            Event::Settings => self.greeted.set(true),
        }
    }

    /// A request began: it gets its stream.
    fn on_request(
        self: &Rc<Self>,
        key: Key,
        end: bool,
        refused: Option<Fault>,
        text: &[u8],
        spare: &mut Box<Trip>,
        on_request: &mut impl FnMut(NewRequest),
    ) {
        let Some(text) = self.shard.buffers.copy(text) else {
            self.give_up(key);
            return;
        };
        let trip = std::mem::replace(spare, self.shard.trips.take());
        let place = {
            let mut streams = self.streams.borrow_mut();
            let place = streams.add(Some(key));
            streams.at(place).ending = end.then_some(Ending::Plain);
            place
        };
        self.on_begun();
        let request = NewRequest { stream: Stream::new(self.clone(), place), trip, text, end, refused };
        if let Some(request) = self.hold(request) {
            on_request(request);
        }
    }

    /// A response head came, interim or final.
    fn on_response(&self, key: Key, end: bool, text: &[u8], spare: &mut Box<Trip>) {
        let mut streams = self.streams.borrow_mut();
        let Some(state) = streams.find(key) else {
            return;
        };
        let Some(text) = self.shard.buffers.copy(text) else {
            drop(streams);
            self.give_up(key);
            return;
        };
        let trip = std::mem::replace(spare, self.shard.trips.take());
        state.heads.push_back(Arrived { trip, text, end });
        if end {
            state.ending = Some(Ending::Plain);
        }
        state.wake_reader();
    }

    fn on_data(&self, key: Key, bytes: &[u8], end: bool) {
        let mut streams = self.streams.borrow_mut();
        let Some(state) = streams.find(key) else {
            drop(streams);
            // Nobody wants it, but the connection's window is everybody's.
            self.consumed(key, bytes.len());
            return;
        };
        let lost = state.append(bytes, &self.shard.buffers);
        if lost > 0 {
            drop(streams);
            self.consumed(key, lost);
            self.give_up(key);
            return;
        }
        if end {
            state.ending = Some(Ending::Plain);
        }
        state.wake_reader();
    }

    fn on_end(&self, key: Key, ending: Ending) {
        if let Some(state) = self.streams.borrow_mut().find(key) {
            state.ending = Some(ending);
            state.wake_reader();
        }
    }

    /// The shard is out of memory for this stream.
    pub(super) fn give_up(&self, key: Key) {
        self.reset(key, ErrorCode::INTERNAL_ERROR);
        self.fail(key, StreamFault::Memory);
    }

    /// The stream can't go on.
    fn fail(&self, key: Key, fault: StreamFault) {
        if let Some(state) = self.streams.borrow_mut().find(key) {
            state.fail(fault);
        }
    }

    /// What happened without received bytes: streams that may send again, streams that are lost.
    pub(super) fn take_queued(&self) {
        loop {
            let queued = self.machine.borrow_mut().next_queued();
            match queued {
                Some(Event::Writable { key }) => self.on_writable(key),
                Some(Event::Reset { key, code, by_peer, processed }) => {
                    self.on_reset(key, code, by_peer, processed);
                }
                Some(_) => {}
                None => return,
            }
        }
    }

    fn on_writable(&self, key: Key) {
        if let Some(state) = self.streams.borrow_mut().find(key) {
            state.wake_writer();
        }
    }

    fn on_reset(&self, key: Key, code: ErrorCode, by_peer: bool, processed: bool) {
        let stats = self.stats();
        if by_peer {
            stats.resets_received.inc()
        } else {
            stats.resets_sent.inc()
        }
        self.fail(key, StreamFault::Reset { code, processed });
    }

    /// What a stream received was taken, or is not wanted any more.
    pub(super) fn consumed(&self, key: Key, bytes: usize) {
        self.write(|machine, out| machine.consumed(key, bytes, out));
    }

    /// A stream began.
    pub(super) fn on_begun(&self) {
        self.begun.set(self.begun.get() + 1);
        let stats = self.stats();
        if self.begun.get() >= self.settings.requests {
            self.drain();
        }
        stats.streams_total.inc();
        stats.streams_active.inc();
    }

    /// A stream's handle was let go of.
    pub(super) fn on_ended(&self) {
        self.stats().streams_active.dec();
    }
}
