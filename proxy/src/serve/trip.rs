//! The working memory of one request, kept and reused by the shard: heads, the normalised host and path.
//!
//! Boxed, because heads are more than a kilobyte each and futures are moved.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;

use pinion_core::http::{RequestHead, ResponseHead};

/// Working memory of one request.
pub(crate) struct Trip {
    pub(crate) head: RequestHead,
    pub(crate) response: ResponseHead,
    pub(crate) host: [u8; 256],
    /// How many bytes the host has.
    pub(crate) host_len: usize,
    /// The normalised path, when it differs from the received one.
    pub(crate) path: Vec<u8>,
}

/// A shard's free trips.
#[derive(Default)]
#[expect(clippy::vec_box, reason = "trips move between this list and futures: by pointer, not by kilobytes")]
pub(crate) struct Trips {
    free: RefCell<Vec<Box<Trip>>>,
    taken: Cell<usize>,
    /// The most that were taken at once since the last trim.
    peak: Cell<usize>,
}

/// Free trips that `trim` leaves alone.
const TRIPS_KEPT: usize = 64;

impl Trips {
    /// Working memory; allocated only beyond the most that were ever in use at once.
    pub(crate) fn take(&self) -> Box<Trip> {
        self.taken.set(self.taken.get() + 1);
        self.peak.set(self.peak.get().max(self.taken.get()));
        self.free.borrow_mut().pop().unwrap_or_else(|| {
            // ALLOC: as many as requests were ever in progress at once.
            Box::new(Trip {
                head: RequestHead::new(),
                response: ResponseHead::new(),
                host: [0; 256],
                host_len: 0,
                path: Vec::with_capacity(256),
            })
        })
    }

    /// Gives working memory back.
    pub(crate) fn give(&self, trip: Box<Trip>) {
        self.taken.set(self.taken.get() - 1);
        self.free.borrow_mut().push(trip);
    }

    /// Frees what was not needed since the last call; says how many those were.
    pub(crate) fn trim(&self) -> usize {
        let needed = (self.peak.get() - self.taken.get()).max(TRIPS_KEPT);
        self.peak.set(self.taken.get());
        let mut free = self.free.borrow_mut();
        let surplus = free.len().saturating_sub(needed);
        if surplus > 0 {
            // What is kept lies together, see `BufferPool::trim`.
            free.sort_unstable_by_key(|trip| Reverse((&raw const **trip).addr()));
            free.drain(..surplus);
        }
        surplus
    }
}
