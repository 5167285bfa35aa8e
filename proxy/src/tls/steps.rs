//! A shard's budget for handshakes: how many steps of asymmetric cryptography one turn of its loop may take.
//!
//! ```text
//!   enter ──nobody waits, turn's budget left──> go
//!     └──> queue ──each turn: as many as the budget──> go
//! ```
//!
//! A step is what a handshake computes between two receives: key exchange, signature, verification. Tasks run
//! once a turn, so between two steps every established connection that has something to do gets its turn.
//!
//! Invariants:
//! - no turn takes more than [`STEPS_PER_TURN`];
//! - who waits goes in the order of coming, and nobody overtakes.
//!
//! Not here: how many handshakes may be in progress (`handshake`), which bounds the queue.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

use pinion_core::telemetry::ShardStats;
use pinion_core::time::Instant;

use crate::net::{self, clock};
use crate::sys::task::driver_next;

/// Steps a turn. A step takes 0.1 ms (ECDSA P-256) to 1 ms (RSA 2048), a turn about 2 µs beside what its tasks
/// do: asking for the next step in a turn of its own costs next to nothing, and delays nobody by more than one.
pub(crate) const STEPS_PER_TURN: u32 = 1;

/// The budget of one shard. Clones share it.
#[derive(Clone)]
pub(crate) struct Steps(Rc<Inner>);

struct Inner {
    /// The turn whose steps are counted, and how many it has taken.
    turn: Cell<Instant>,
    taken: Cell<u32>,
    queue: RefCell<VecDeque<Rc<Waiting>>>,
    stats: Arc<ShardStats>,
    /// Steps that were asked for.
    #[cfg(test)]
    asked: Cell<u64>,
}

#[derive(Default)]
struct Waiting {
    waker: Cell<Option<Waker>>,
    may_go: Cell<bool>,
    left: Cell<bool>,
}

/// A place in the queue; giving it up passes it on.
struct Place<'a> {
    steps: &'a Inner,
    waiting: Rc<Waiting>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.waiting.left.set(true);
        self.steps.stats.tls.waiting.dec();
    }
}

impl Steps {
    /// A budget nobody has touched.
    // ALLOC: once a shard.
    pub(crate) fn new(stats: Arc<ShardStats>) -> Self {
        Steps(Rc::new(Inner {
            turn: Cell::new(Instant::ZERO),
            taken: Cell::new(0),
            queue: RefCell::default(),
            stats,
            #[cfg(test)]
            asked: Cell::new(0),
        }))
    }

    /// Waits for a step.
    // ALLOC: only where steps are short, once for each that waits.
    pub(crate) async fn enter(&self) {
        let steps = &*self.0;
        #[cfg(test)]
        steps.asked.set(steps.asked.get() + 1);
        if steps.queue.borrow().is_empty() && steps.take() {
            return;
        }
        let waiting = Rc::new(Waiting::default());
        steps.stats.tls.waiting.inc();
        let place = Place { steps, waiting: waiting.clone() };
        let first = steps.queue.borrow().is_empty();
        steps.queue.borrow_mut().push_back(waiting);
        if first {
            net::spawn(hand_out(self.0.clone()));
        }
        poll_fn(|cx| {
            if place.waiting.may_go.get() {
                return Poll::Ready(());
            }
            place.waiting.waker.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

impl Inner {
    /// Takes a step of this turn's, if there is one left.
    fn take(&self) -> bool {
        let turn = clock::turn();
        if self.turn.replace(turn) != turn {
            self.taken.set(0);
        }
        let left = self.taken.get() < STEPS_PER_TURN;
        self.taken.set(self.taken.get() + u32::from(left));
        left
    }
}

/// Lets those who wait go, a turn's worth a turn, until nobody waits. Whoever is let go runs in the turn that
/// follows, whose budget it is: the queue is left only then.
async fn hand_out(steps: Rc<Inner>) {
    let mut released = 0;
    poll_fn(move |cx| {
        let mut queue = steps.queue.borrow_mut();
        queue.drain(..released);
        released = 0;
        while released < STEPS_PER_TURN as usize {
            match queue.get(released) {
                Some(waiting) if waiting.left.get() => drop(queue.remove(released)),
                Some(waiting) => {
                    waiting.may_go.set(true);
                    if let Some(waker) = waiting.waker.take() {
                        waker.wake();
                    }
                    released += 1;
                }
                None => break,
            }
        }
        if queue.is_empty() {
            return Poll::Ready(());
        }
        driver_next();
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use pinion_core::config::snapshot::Ktls;

    use super::*;
    use crate::net::buffers::Size;
    use crate::net::send::send_all;
    use crate::tls::testing::{accepted, filled, on_each, pair, receive, shard};

    /// What a storm leaves of the order of things: who took a step, in which turn, and how often an established
    /// connection had been polled by then.
    type Story = Rc<RefCell<Vec<(usize, Instant, u64)>>>;

    #[test]
    fn between_two_steps_everybody_else_has_a_turn() {
        async fn test(_: net::Driver) {
            const STORM: usize = 200;
            let shard = shard();
            let (story, polls): (Story, _) = (Story::default(), Rc::new(Cell::new(0)));
            for task in 0..STORM {
                let (shard, story, polls) = (shard.clone(), story.clone(), polls.clone());
                net::spawn(async move {
                    shard.steps.enter().await;
                    story.borrow_mut().push((task, clock::turn(), polls.get()));
                });
            }
            // An established connection that always has something to do, until the storm is over.
            poll_fn(|cx| {
                polls.set(polls.get() + 1);
                cx.waker().wake_by_ref();
                if story.borrow().len() == STORM { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            for (place, (task, turn, polled)) in story.borrow().iter().enumerate() {
                assert_eq!(*task, place, "in the order of coming");
                let steps = story.borrow().iter().filter(|(_, other, _)| other == turn).count();
                assert!(steps <= STEPS_PER_TURN as usize, "{steps} steps in a turn");
                assert!(
                    *polled >= place as u64 / u64::from(STEPS_PER_TURN),
                    "not polled before step {place}"
                );
            }
            assert!(polls.get() <= STORM as u64 + 8, "the storm wastes no turns: {}", polls.get());
            assert_eq!(shard.stats.tls.waiting.get(), 0);
        }
        on_each(test);
    }

    #[test]
    fn handshakes_of_a_storm_compute_in_steps_while_data_flows() {
        async fn test(driver: net::Driver) {
            const STORM: usize = 16;
            let shard = shard();
            let (socket, mut peer) = accepted(&shard, driver, pair(None, None), Ktls::Off).await;
            let before = shard.steps.0.asked.get();
            let done = Rc::new(Cell::new(0));
            for _ in 0..STORM {
                let (shard, done) = (shard.clone(), done.clone());
                net::spawn(async move {
                    drop(accepted(&shard, driver, pair(None, None), Ktls::Off).await);
                    done.set(done.get() + 1);
                });
            }
            let mut exchanges = 0;
            while done.get() < STORM {
                send_all(&socket, filled(&shard, b"ping"), |_| ()).await.0.unwrap();
                assert_eq!(peer.recv_exact(4), b"ping");
                peer.send(b"pong");
                assert_eq!(receive(&shard, &socket, 4, Size::Small).await, b"pong");
                exchanges += 1;
            }
            assert!(exchanges > 1, "data flows beside handshakes");
            // A ClientHello, and what the client has to say to the answer.
            assert!(shard.steps.0.asked.get() - before >= 2 * STORM as u64);
            assert_eq!((shard.stats.tls.waiting.get(), shard.stats.tls.handshaking.get()), (0, 0));
        }
        on_each(test);
    }

    #[test]
    fn who_gives_up_holds_up_nobody_and_newcomers_do_not_overtake() {
        async fn test(_: net::Driver) {
            let shard = shard();
            let order = Rc::new(RefCell::new(Vec::new()));
            shard.steps.enter().await;
            for task in 0..6 {
                let (shard, order) = (shard.clone(), order.clone());
                net::spawn(async move {
                    let mut enter = std::pin::pin!(shard.steps.enter());
                    let mut polls = 0;
                    // Every other one leaves after its first look.
                    let entered = poll_fn(|cx| {
                        polls += 1;
                        if polls > 1 && task % 2 == 0 {
                            return Poll::Ready(false);
                        }
                        if task % 2 == 0 {
                            cx.waker().wake_by_ref();
                        }
                        enter.as_mut().poll(cx).map(|()| true)
                    })
                    .await;
                    if entered {
                        order.borrow_mut().push(task);
                    }
                });
            }
            let lease = shard.slots.lease();
            while order.borrow().len() < 3 {
                lease.sleep(std::time::Duration::from_millis(1)).await;
            }
            let mut sorted = order.borrow().clone();
            sorted.sort_unstable();
            assert_eq!(*order.borrow(), sorted);
            shard.steps.enter().await;
            assert_eq!(shard.stats.tls.waiting.get(), 0);
        }
        on_each(test);
    }
}
