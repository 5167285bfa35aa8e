//! Moving a client's connection to another shard, at rest or between its requests.
//!
//! ```text
//!   asked ──at rest──────────────────────────────────────────────> gone
//!     └─busy─> hold: new requests wait, those in progress end ──> gone, with the requests that wait
//!                 └─ too long: those that wait are served here, and asking again takes longer each time
//! ```
//!
//! Invariants:
//! - a request is held for [`HOLD_TIME`] at most, and served exactly once, here or there;
//! - what moves has nothing in flight: no frame half sent, no receive, no request in progress.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use pinion_core::fault::Fault;
use pinion_core::http::RequestHead;
use pinion_core::http::h2::{Connection, Key};
use pinion_core::time::Instant;

use super::server::NewRequest;
use super::session::Session;
use super::state::{Ending, State};
use super::stream::Stream;
use crate::net::{self, clock, wake};

/// How long new requests may wait for those in progress to end: less than people or timeouts notice, enough for
/// a gap between requests of a millisecond.
const HOLD_TIME: Duration = Duration::from_millis(2);
/// After a hold in vain, how long the connection is left alone at first; twice as long each time.
const RETRY_TIME: Duration = Duration::from_secs(1);
/// And at most.
const RETRY_TIME_MAX: Duration = Duration::from_secs(64);
/// A connection that has just come stays for so long.
const SETTLE_TIME: Duration = Duration::from_secs(5);

/// Whether and where a connection shall go.
pub(super) struct Moving {
    to: Cell<Option<usize>>,
    /// Until when new requests are held, while they are.
    hold: Cell<Option<Instant>>,
    held: RefCell<VecDeque<NewRequest>>,
    /// Not asked again before this time.
    rests: Cell<Instant>,
    patience: Cell<Duration>,
}

impl Moving {
    /// Of a connection that began here, or came from another shard.
    pub(super) fn new(came: bool) -> Self {
        let now = clock::now();
        Moving {
            to: Cell::new(None),
            hold: Cell::new(None),
            held: RefCell::default(),
            rests: Cell::new(if came { now.after(SETTLE_TIME) } else { now }),
            patience: Cell::new(RETRY_TIME),
        }
    }
}

/// A connection as it crosses shards: plain data.
#[derive(Debug)]
pub(crate) struct Resting {
    pub(super) machine: Connection,
    /// Streams begun.
    pub(super) begun: u64,
    pub(super) waiting: Vec<Waiting>,
}

/// A request that has begun and was not looked at yet.
#[derive(Debug)]
pub(super) struct Waiting {
    key: Key,
    head: RequestHead,
    text: Box<[u8]>,
    refused: Option<Fault>,
    end: bool,
    content: Vec<u8>,
    /// The receiving side has ended, with these trailers (maybe none).
    ended: Option<Vec<u8>>,
}

impl Session {
    /// Asks the connection to go to shard `to` as soon as it can; `false`: it does not want to for now.
    pub(crate) fn ask_to_move(self: &Rc<Self>, to: usize) -> bool {
        let now = clock::now();
        let moving = &self.moving;
        if !self.settings.movable
            || self.is_leaving()
            || moving.to.get().is_some()
            || now < moving.rests.get()
        {
            return false;
        }
        moving.to.set(Some(to));
        let until = now.after(HOLD_TIME);
        moving.hold.set(Some(until));
        // The shard's own timer is too coarse for this.
        if !self.is_quiet()
            && let Ok(timer) = wake::new_timer()
        {
            let session = Rc::downgrade(self);
            net::spawn(async move {
                timer.arm(until);
                if timer.wait().await.is_ok()
                    && let Some(session) = session.upgrade()
                {
                    session.touch();
                }
            });
        }
        self.touch();
        true
    }

    /// Somebody else wants it to go there while it rests.
    pub(super) fn ask_at_rest(&self, to: usize) {
        if self.settings.movable {
            self.moving.to.set(Some(to));
        }
    }

    /// Whether it shall go.
    pub(super) fn is_moving(&self) -> bool {
        self.moving.to.get().is_some()
    }

    /// Keeps `request` while requests are held; gives it back when it is to be served.
    pub(super) fn hold(&self, request: NewRequest) -> Option<NewRequest> {
        if self.moving.hold.get().is_none() {
            return Some(request);
        }
        self.moving.held.borrow_mut().push_back(request);
        None
    }

    /// Where it shall go, if it may go now: nothing in progress but what is held, nothing left to send.
    pub(super) fn may_move(&self) -> Option<usize> {
        let to = self.moving.to.get()?;
        if self.leaving.get() {
            self.moving.to.set(None);
            return None;
        }
        let held = self.moving.held.borrow();
        if held.iter().any(|request| request.stream.gone().is_some()) {
            return None;
        }
        let quiet = self.reserved.get() == 0
            && self.streams.borrow().held() == held.len()
            && self.machine.borrow().active() == held.len();
        if !quiet && self.moving.hold.get().is_none() {
            // It was asked at rest, and rests no longer.
            self.moving.to.set(None);
        }
        (quiet && self.out.borrow().is_done()).then_some(to)
    }

    /// Whether what is held waits no longer.
    pub(super) fn is_held_too_long(&self) -> bool {
        self.moving.hold.get().is_some_and(|until| clock::now() >= until || self.leaving.get())
    }

    /// Gives up moving; the next ask takes longer.
    pub(super) fn stay(&self) {
        let moving = &self.moving;
        moving.to.set(None);
        moving.hold.set(None);
        let patience = moving.patience.get();
        moving.rests.set(clock::now().after(patience));
        moving.patience.set((patience * 2).min(RETRY_TIME_MAX));
    }

    /// A period is over: what it did in it is [`Session::work_done`] from now on.
    pub(super) fn settle_work(&self) {
        let work = self.work();
        self.work_done.set(work - self.work_seen.replace(work));
    }

    /// What it did in the last period, see [`Session::work`].
    pub(super) fn work_done(&self) -> u64 {
        self.work_done.get()
    }

    /// A request that was held and is to be served here.
    pub(super) fn next_held(&self) -> Option<NewRequest> {
        if self.moving.hold.get().is_some() {
            return None;
        }
        self.moving.held.borrow_mut().pop_front()
    }

    /// Takes the connection apart for another shard; `None` if somebody still holds it.
    // ALLOC: once a move.
    pub(super) fn into_resting(self: Rc<Self>) -> Option<Resting> {
        let held = self.moving.held.take();
        let waiting = held.into_iter().filter_map(|request| self.take_along(request)).collect();
        let session = Rc::try_unwrap(self).ok()?;
        let mut machine = session.machine.into_inner();
        machine.shrink();
        Some(Resting { machine, begun: session.begun.get(), waiting })
    }

    fn take_along(&self, request: NewRequest) -> Option<Waiting> {
        let NewRequest { stream, trip, text, end, refused } = request;
        let state = stream.dissolve();
        let key = state.key?;
        let mut content = Vec::new();
        for buffer in &state.queue {
            content.extend_from_slice(buffer.unread());
        }
        let ended = match &state.ending {
            None => None,
            Some(Ending::Plain | Ending::Taken) => Some(Vec::new()),
            Some(Ending::Trailers(lines)) => Some(lines.unread().to_vec()),
        };
        let waiting = Waiting {
            key,
            head: trip.head.clone(),
            text: text.unread().into(),
            refused,
            end,
            content,
            ended,
        };
        self.shard.trips.give(trip);
        Some(waiting)
    }

    /// Gives requests that came along their streams here.
    pub(super) fn resume(self: &Rc<Self>, waiting: Vec<Waiting>, on_request: &mut impl FnMut(NewRequest)) {
        for Waiting { key, head, text, refused, end, content, ended } in waiting {
            let mut state = State::default();
            let buffers = &self.shard.buffers;
            let text = buffers.copy(&text);
            let ending = ended.map(|lines| match lines.is_empty() {
                true => Some(Ending::Plain),
                false => buffers.copy(&lines).map(Ending::Trailers),
            });
            let lost = state.append(&content, buffers);
            let (Some(text), 0, Some(ending)) = (text, lost, ending.map_or(Some(None), |e| e.map(Some)))
            else {
                self.consumed(key, content.len());
                self.give_up(key);
                continue;
            };
            state.ending = ending;
            let place = self.streams.borrow_mut().adopt(key, state);
            self.stats().streams_active.inc();
            let mut trip = self.shard.trips.take();
            trip.head = head;
            on_request(NewRequest { stream: Stream::new(self.clone(), place), trip, text, end, refused });
        }
    }
}

#[cfg(test)]
impl Session {
    /// Forgets that it moved, or tried to, a short time ago.
    pub(super) fn forget_moves(&self) {
        self.moving.rests.set(Instant::ZERO);
        self.moving.patience.set(Duration::ZERO);
    }
}
