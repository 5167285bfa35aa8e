//! The streams of one connection as this side holds them: what was received and not taken, and who waits.
//!
//! Places are this table's own: a stream keeps its place until its handle is dropped, which may be long after
//! the machine has forgotten it.
//!
//! HOT: 0 allocations once there were as many streams at once.

use std::collections::VecDeque;
use std::task::{Context, Waker};

use pinion_core::http::h2::Key;

use super::StreamFault;
use super::turns::Turns;
use crate::net::buffers::{BufferPool, Size};
use crate::serve::trip::Trip;
use crate::sys::buffer::Buffer;

/// No place.
const NONE: u32 = u32::MAX;

/// A response head that nobody has taken yet.
pub(super) struct Arrived {
    /// Its `response` is the head.
    pub(super) trip: Box<Trip>,
    pub(super) text: Buffer,
    pub(super) end: bool,
}

/// How a stream's receiving side ended.
pub(super) enum Ending {
    Plain,
    Trailers(Buffer),
    /// The end was taken.
    Taken,
}

/// One stream.
#[derive(Default)]
pub(super) struct State {
    /// `None`: a place kept for a request that is not sent yet.
    pub(super) key: Option<Key>,
    /// Response heads, oldest first (upstream side).
    pub(super) heads: VecDeque<Arrived>,
    /// What was received and not taken.
    pub(super) queue: VecDeque<Buffer>,
    pub(super) ending: Option<Ending>,
    pub(super) fault: Option<StreamFault>,
    /// Our side has ended.
    pub(super) finished: bool,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
    pub(super) watcher: Option<Waker>,
}

impl State {
    /// Appends received bytes; says how many are left when the shard is out of buffers.
    pub(super) fn append(&mut self, mut bytes: &[u8], buffers: &BufferPool) -> usize {
        while !bytes.is_empty() {
            let room = self.queue.back().map_or(0, Buffer::room);
            if room == 0 {
                let Some(buffer) = buffers.take(Size::Small) else {
                    return bytes.len();
                };
                self.queue.push_back(buffer);
                continue;
            }
            let (now, rest) = bytes.split_at(room.min(bytes.len()));
            if let Some(buffer) = self.queue.back_mut() {
                buffer.as_vec().extend_from_slice(now);
            }
            bytes = rest;
        }
        0
    }

    /// Notes why the stream can't go on, unless it ended before, and wakes everybody.
    pub(super) fn fail(&mut self, fault: StreamFault) {
        self.fault.get_or_insert(fault);
        for waker in [self.reader.take(), self.writer.take(), self.watcher.take()].into_iter().flatten() {
            waker.wake();
        }
    }

    pub(super) fn wake_reader(&mut self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }

    pub(super) fn wake_writer(&mut self) {
        if let Some(waker) = self.writer.take() {
            waker.wake();
        }
    }

    /// Empties the place for its next stream.
    fn clear(&mut self) {
        self.heads.clear();
        self.queue.clear();
        let (heads, queue) = (std::mem::take(&mut self.heads), std::mem::take(&mut self.queue));
        *self = State { heads, queue, ..State::default() };
    }
}

/// Remembers the task of `cx` in `place`.
pub(super) fn remember(place: &mut Option<Waker>, cx: &Context<'_>) {
    match place {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *place = Some(cx.waker().clone()),
    }
}

/// All streams of a connection.
#[derive(Default)]
pub(super) struct Streams {
    all: Vec<State>,
    free: Vec<u32>,
    /// By the machine's slot: the place of the stream that has it.
    places: Vec<u32>,
    pub(super) turns: Turns,
}

impl Streams {
    /// Streams whose handles exist.
    pub(super) fn held(&self) -> usize {
        self.all.len() - self.free.len()
    }

    /// Gives back the memory of streams that were, if there are none. The next ones allocate anew.
    pub(super) fn shrink(&mut self) {
        if self.held() == 0 {
            *self = Streams::default();
        }
    }

    /// A place for a stream.
    // ALLOC: as many places as streams were ever held at once.
    pub(super) fn add(&mut self, key: Option<Key>) -> u32 {
        let place = self.free.pop().unwrap_or_else(|| {
            self.all.push(State::default());
            self.all.len() as u32 - 1
        });
        if let Some(key) = key {
            self.name(place, key);
        }
        place
    }

    /// A place for a stream that came from another shard.
    pub(super) fn adopt(&mut self, key: Key, state: State) -> u32 {
        let place = self.add(None);
        self.all[place as usize] = state;
        self.name(place, key);
        place
    }

    /// Takes the stream in `place` out.
    pub(super) fn take(&mut self, place: u32) -> State {
        let state = std::mem::take(&mut self.all[place as usize]);
        self.remove(place);
        state
    }

    /// The stream in `place` is called `key` by the machine.
    pub(super) fn name(&mut self, place: u32, key: Key) {
        let slot = key.place();
        if slot >= self.places.len() {
            self.places.resize(slot + 1, NONE);
        }
        self.places[slot] = place;
        self.all[place as usize].key = Some(key);
    }

    /// The stream that the machine calls `key`, if somebody holds it.
    pub(super) fn find(&mut self, key: Key) -> Option<&mut State> {
        let place = *self.places.get(key.place())?;
        self.all.get_mut(place as usize).filter(|state| state.key == Some(key))
    }

    pub(super) fn at(&mut self, place: u32) -> &mut State {
        &mut self.all[place as usize]
    }

    /// The stream in `place` is let go of.
    pub(super) fn remove(&mut self, place: u32) {
        self.turns.leave(place);
        self.all[place as usize].clear();
        self.free.push(place);
    }

    /// Nobody's stream goes on.
    pub(super) fn fail_all(&mut self, fault: StreamFault) {
        for state in &mut self.all {
            state.fail(fault);
        }
        // Places that are free have nobody to tell, and begin anew.
        for &place in &self.free {
            self.all[place as usize].fault = None;
        }
    }

    /// Wakes the first `most` of those that wait to write.
    pub(super) fn wake_writers(&mut self, most: usize) {
        for place in 0..most {
            let Some(place) = self.turns.nth(place) else {
                return;
            };
            self.all[place as usize].wake_writer();
        }
    }
}
