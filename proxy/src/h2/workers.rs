//! What a shard keeps for the streams of all its connections: working memory, and tasks that serve them.
//!
//! ```text
//!   give(job) ──free worker?──> job in its seat, woken ──> done ──> free again
//!                  └─no──> a new worker's task
//! ```
//!
//! A stream's task would cost an allocation of some kilobytes each; a worker's task serves one stream after the
//! other in the same memory.
//!
//! Invariants: in steady state serving a stream allocates nothing; `trim` ends the workers that the last period
//! did not need, beyond a floor.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::placement::Placement;
use super::server::NewRequest;
use crate::net;
use crate::serve::http2::{self, Front};
use crate::shard::Shard;

/// Free workers that `trim` leaves alone.
const KEPT: usize = 64;
/// The scratch of header blocks keeps at most so many bytes: a block that needed more was rare.
const TEXT_BYTES_KEPT: usize = 64 * 1024;

/// The shard's part of HTTP/2.
#[derive(Default)]
pub(crate) struct Shared {
    text: Cell<Vec<u8>>,
    workers: Workers,
    /// Which shard serves which connection.
    pub(crate) placement: Placement,
}

impl Shared {
    /// Where the text of a head is written while bytes are taken in.
    pub(super) fn take_text(&self) -> Vec<u8> {
        self.text.take()
    }

    pub(super) fn give_text(&self, text: Vec<u8>) {
        if text.capacity() <= TEXT_BYTES_KEPT {
            self.text.set(text);
        }
    }

    /// Serves a request that came on the connection of `front` in the task of a free worker.
    pub(crate) fn serve(self: &Rc<Self>, shard: &Rc<Shard>, front: Rc<Front>, request: NewRequest) {
        self.workers.taken.set(self.workers.taken.get() + 1);
        self.workers.peak.set(self.workers.peak.get().max(self.workers.taken.get()));
        if let Some(seat) = self.workers.free.borrow_mut().pop() {
            seat.job.set(Some(Job::Serve(front, request)));
            if let Some(waker) = seat.waker.take() {
                waker.wake();
            }
            return;
        }
        // ALLOC: as many workers as streams were ever in progress at once.
        let seat = Rc::new(Seat { job: Cell::new(Some(Job::Serve(front, request))), waker: Cell::default() });
        net::spawn(work(shard.clone(), self.clone(), seat));
    }

    /// Ends the workers that were not needed since the last call; says how many those were.
    pub(crate) fn trim(&self) -> usize {
        let workers = &self.workers;
        let needed = (workers.peak.get() - workers.taken.get()).max(KEPT);
        workers.peak.set(workers.taken.get());
        let mut free = workers.free.borrow_mut();
        let surplus = free.len().saturating_sub(needed);
        for seat in free.drain(..surplus) {
            seat.job.set(Some(Job::End));
            if let Some(waker) = seat.waker.take() {
                waker.wake();
            }
        }
        surplus
    }
}

#[derive(Default)]
struct Workers {
    free: RefCell<Vec<Rc<Seat>>>,
    taken: Cell<usize>,
    /// The most that were taken at once since the last trim.
    peak: Cell<usize>,
}

enum Job {
    Serve(Rc<Front>, NewRequest),
    End,
}

/// Where a worker finds its next job.
struct Seat {
    job: Cell<Option<Job>>,
    waker: Cell<Option<Waker>>,
}

async fn work(shard: Rc<Shard>, shared: Rc<Shared>, seat: Rc<Seat>) {
    let lease = shard.slots.lease();
    loop {
        let job = poll_fn(|cx| match seat.job.take() {
            Some(job) => Poll::Ready(job),
            None => {
                seat.waker.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        })
        .await;
        let Job::Serve(front, request) = job else {
            return;
        };
        http2::serve(&shard, &lease, front, request).await;
        shared.workers.taken.set(shared.workers.taken.get() - 1);
        shared.workers.free.borrow_mut().push(seat.clone());
    }
}
