//! The working memory of one request, kept and reused by the shard: heads, the normalised host and path.
//!
//! Boxed, because heads are more than a kilobyte each and futures are moved.

use std::cell::RefCell;

use pinion_core::http::{RequestHead, ResponseHead};

/// Working memory of one request.
pub(crate) struct Trip {
    pub(crate) head: RequestHead,
    pub(crate) response: ResponseHead,
    pub(crate) host: [u8; 256],
    /// The normalised path, when it differs from the received one.
    pub(crate) path: Vec<u8>,
}

/// A shard's free trips.
#[derive(Default)]
#[expect(clippy::vec_box, reason = "trips move between this list and futures: by pointer, not by kilobytes")]
pub(crate) struct Trips(RefCell<Vec<Box<Trip>>>);

/// Free trips kept over a trim.
const TRIPS_KEPT: usize = 64;

impl Trips {
    /// Working memory; allocated only beyond the most that were ever in use at once.
    pub(crate) fn take(&self) -> Box<Trip> {
        self.0.borrow_mut().pop().unwrap_or_else(|| {
            // ALLOC: as many as requests were ever in progress at once.
            Box::new(Trip {
                head: RequestHead::new(),
                response: ResponseHead::new(),
                host: [0; 256],
                path: Vec::with_capacity(256),
            })
        })
    }

    /// Gives working memory back.
    pub(crate) fn give(&self, trip: Box<Trip>) {
        self.0.borrow_mut().push(trip);
    }

    /// Frees all but a few.
    pub(crate) fn trim(&self) {
        self.0.borrow_mut().truncate(TRIPS_KEPT);
    }
}
