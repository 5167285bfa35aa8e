//! Seats for active connections: the memory of a request in progress, kept and reused by the shard.
//!
//! ```text
//!   idle connection (small future) --first byte--> seat (large future) --between requests--> idle
//! ```
//!
//! Invariants: an idle connection holds no seat; taking and giving back a seat allocates nothing once the
//! shard has as many seats as it ever had active connections; `trim` frees what the last period did not need.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::connection::Next;
use super::downstream::Downstream;
use crate::shard::Shard;

type Served = (Box<Downstream>, Next);

trait Seat {
    fn begin(self: Pin<&mut Self>, shard: Rc<Shard>, connection: Box<Downstream>);
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Served>;
}

pin_project! {
    struct Place<F, M> {
        #[pin]
        work: Option<F>,
        make: M,
    }
}

impl<F, M> Seat for Place<F, M>
where
    F: Future<Output = Served>,
    M: Fn(Rc<Shard>, Box<Downstream>) -> F,
{
    fn begin(self: Pin<&mut Self>, shard: Rc<Shard>, connection: Box<Downstream>) {
        let mut this = self.project();
        this.work.set(Some((this.make)(shard, connection)));
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Served> {
        let mut this = self.project();
        let Some(work) = this.work.as_mut().as_pin_mut() else {
            return Poll::Pending;
        };
        let served = std::task::ready!(work.poll(cx));
        this.work.set(None);
        Poll::Ready(served)
    }
}

fn new_seat() -> Pin<Box<dyn Seat>> {
    Box::pin(Place { work: None, make: super::connection::serve })
}

/// Free seats that `trim` leaves alone, so that ordinary load does not allocate each time it comes back.
const SEATS_KEPT: usize = 64;

/// A shard's free seats.
#[derive(Default)]
pub(crate) struct Seats {
    free: RefCell<Vec<Pin<Box<dyn Seat>>>>,
    taken: Cell<usize>,
    peak: Cell<usize>,
}

impl Seats {
    /// Serves `connection` in a seat until it is idle again or done.
    pub(crate) async fn serve(&self, shard: Rc<Shard>, connection: Box<Downstream>) -> Served {
        let recycled = self.free.borrow_mut().pop();
        // ALLOC: as many seats as connections were ever active at once.
        let mut seat = recycled.unwrap_or_else(new_seat);
        self.taken.set(self.taken.get() + 1);
        self.peak.set(self.peak.get().max(self.taken.get()));
        seat.as_mut().begin(shard, connection);
        let served = poll_fn(|cx| seat.as_mut().poll(cx)).await;
        self.taken.set(self.taken.get() - 1);
        self.free.borrow_mut().push(seat);
        served
    }

    /// Frees the seats that were not needed since the last call; says how many those were.
    pub(crate) fn trim(&self) -> usize {
        let needed = (self.peak.get() - self.taken.get()).max(SEATS_KEPT);
        self.peak.set(self.taken.get());
        let mut free = self.free.borrow_mut();
        let surplus = free.len().saturating_sub(needed);
        if surplus > 0 {
            // What is kept lies together, see `BufferPool::trim`.
            free.sort_unstable_by_key(|seat| Reverse((&raw const **seat).addr()));
            free.drain(..surplus);
        }
        surplus
    }
}
