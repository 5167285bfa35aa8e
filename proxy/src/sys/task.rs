//! A shard's tasks: who is ready, and running them in turns.
//!
//! ```text
//!   spawn ──> ready ──polled──> waiting ──woken──> ready          done: forgotten
//!   run:  all that are ready, once each ──> those that they woke, a few times
//!                                       ──> the driver's turn (waits if nobody is ready) ──> again
//! ```
//!
//! A waker is the task's key and nothing else: cloning copies it, dropping does nothing, waking puts the key on
//! the thread's list. A key that outlives its task at most polls another one in vain, which every future must
//! bear anyway.
//!
//! Invariants:
//! - a task is on the list at most once;
//! - nothing here crosses threads: a waker used on a foreign thread reaches that thread's tasks, which is as
//!   harmless as a stale key, and nobody does it (messages go through `shard::link`).
//!
//! HOT: 0 allocations a wake and a poll in steady state.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::ptr;
use std::rc::Rc;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

use slab::Slab;

/// So many more turns have the tasks that other tasks woke, before the driver has its own, which costs a system call:
/// a stream's request goes from its connection's task to a worker's to that of the upstream connection.
const CHAIN: usize = 3;

type Work = Pin<Box<dyn Future<Output = ()>>>;

struct Task {
    /// `None` while it is being polled.
    work: Option<Work>,
    /// It is on the list.
    ready: bool,
}

struct Tasks {
    all: RefCell<Slab<Task>>,
    ready: RefCell<VecDeque<u32>>,
    /// How many tasks this turn runs.
    turn: Cell<usize>,
    /// A task has done much and gives way: the driver has its turn next.
    gives_way: Cell<bool>,
}

thread_local! {
    // Never dropped: a shard's thread ends with the process, and what its tasks hold may be in flight.
    static TASKS: ManuallyDrop<Tasks> = const {
        ManuallyDrop::new(Tasks {
            all: RefCell::new(Slab::new()),
            ready: RefCell::new(VecDeque::new()),
            turn: Cell::new(0),
            gives_way: Cell::new(false),
        })
    };
}

static WAKER: RawWakerVTable = RawWakerVTable::new(
    |data| RawWaker::new(data, &WAKER),
    |data| TASKS.with(|tasks| tasks.wake(data.addr() as u32)),
    |data| TASKS.with(|tasks| tasks.wake(data.addr() as u32)),
    |_| (),
);

fn waker(key: u32) -> Waker {
    // SAFETY: the functions of the table never follow the pointer, which is a number, and touch only what
    // belongs to the thread that calls them. So they may be called from any thread at any time.
    unsafe { Waker::new(ptr::without_provenance(key as usize), &WAKER) }
}

impl Tasks {
    fn wake(&self, key: u32) {
        if let Some(task) = self.all.borrow_mut().get_mut(key as usize)
            && !task.ready
        {
            task.ready = true;
            self.ready.borrow_mut().push_back(key);
        }
    }

    fn spawn(&self, work: Work) {
        let key = self.all.borrow_mut().insert(Task { work: Some(work), ready: true });
        self.ready.borrow_mut().push_back(key as u32);
    }

    fn poll(&self, key: u32) {
        let work = self.all.borrow_mut().get_mut(key as usize).and_then(|task| {
            task.ready = false;
            task.work.take()
        });
        let Some(mut work) = work else {
            return;
        };
        let waker = ManuallyDrop::new(waker(key));
        match work.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => self.all.borrow_mut()[key as usize].work = Some(work),
            Poll::Ready(()) => {
                // The place goes last: what the work drops may wake it.
                drop(work);
                self.all.borrow_mut().remove(key as usize);
            }
        }
    }

    /// Runs each task that is ready now; says whether there are more.
    fn turn(&self) -> bool {
        let turn = self.ready.borrow().len();
        self.turn.set(turn);
        for _ in 0..turn {
            let Some(key) = self.ready.borrow_mut().pop_front() else {
                break;
            };
            self.poll(key);
        }
        self.is_ready()
    }

    fn is_ready(&self) -> bool {
        !self.ready.borrow().is_empty()
    }
}

/// Runs `work` on this thread until it ends; nobody waits for it.
// ALLOC: once a task.
pub(crate) fn spawn(work: impl Future<Output = ()> + 'static) {
    TASKS.with(|tasks| tasks.spawn(Box::pin(work)));
}

/// Whether the task that asks is the only one this turn runs.
pub(crate) fn alone() -> bool {
    TASKS.with(|tasks| tasks.turn.get() == 1 && !tasks.is_ready())
}

/// The driver has its turn before tasks that this turn wakes run: what a turn may cost is somebody's budget.
pub(crate) fn driver_next() {
    TASKS.with(|tasks| tasks.gives_way.set(true));
}

/// Lets the driver, and every other task that is ready, have a turn before the one that asks goes on.
pub(crate) async fn give_way() {
    let mut waited = false;
    poll_fn(|cx| {
        if waited {
            return Poll::Ready(());
        }
        waited = true;
        driver_next();
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Runs `main` and what it spawns, until `main` ends. `driver` wakes tasks; told to wait, it returns only once
/// something happened.
///
/// # Errors
///
/// What the driver fails with.
// ALLOC: once a shard.
pub(crate) fn run(
    main: impl Future<Output = ()> + 'static,
    mut driver: impl FnMut(bool) -> io::Result<()>,
) -> io::Result<()> {
    let done = Rc::new(Cell::new(false));
    let ended = done.clone();
    spawn(async move {
        main.await;
        ended.set(true);
    });
    loop {
        let mut more = TASKS.with(|tasks| tasks.turn());
        for _ in 0..CHAIN {
            if !more || done.get() || TASKS.with(|tasks| tasks.gives_way.get()) {
                break;
            }
            more = TASKS.with(|tasks| tasks.turn());
        }
        if done.get() {
            return Ok(());
        }
        TASKS.with(|tasks| tasks.gives_way.set(false));
        driver(!more)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wakes itself once and counts how often it was polled.
    async fn twice(polls: Rc<Cell<u32>>) {
        poll_fn(|cx| {
            polls.set(polls.get() + 1);
            cx.waker().wake_by_ref();
            let again = cx.waker().clone();
            again.wake_by_ref();
            drop(again);
            if polls.get().is_multiple_of(2) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    #[test]
    fn a_task_is_polled_once_for_any_number_of_wakes() {
        let polls = Rc::new(Cell::new(0));
        let (mut waits, counted) = (0, polls.clone());
        let main = async move {
            twice(counted.clone()).await;
            spawn(twice(counted.clone()));
            poll_fn(|cx| {
                cx.waker().wake_by_ref();
                if counted.get() == 4 { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        };
        run(main, |wait| {
            waits += u32::from(wait);
            Ok(())
        })
        .unwrap();
        assert_eq!((polls.get(), waits), (4, 0), "nobody waits while a task is ready");
    }

    #[test]
    fn the_driver_has_its_turn_after_a_chain_or_as_soon_as_a_task_gives_way() {
        let polls = Rc::new(Cell::new(0));
        let (counted, seen) = (polls.clone(), polls.clone());
        let main = async move {
            // Woken by tasks again and again.
            for _ in 0..2 * (CHAIN + 1) {
                let mut woken = false;
                poll_fn(|cx| {
                    counted.set(counted.get() + 1);
                    cx.waker().wake_by_ref();
                    if std::mem::replace(&mut woken, true) { Poll::Ready(()) } else { Poll::Pending }
                })
                .await;
            }
            give_way().await;
            give_way().await;
        };
        let mut turns = Vec::new();
        run(main, |wait| {
            assert!(!wait, "somebody is ready all the time");
            turns.push(seen.get());
            Ok(())
        })
        .unwrap();
        let whole = (CHAIN + 1) as u32;
        assert_eq!(turns.len() as u32, 2 + 2, "{turns:?}");
        assert!(turns.windows(2).all(|pair| pair[1] - pair[0] <= 2 * whole), "{turns:?}");
    }

    #[test]
    fn a_waker_outlives_its_task() {
        let kept = Rc::new(RefCell::new(None));
        let keep = kept.clone();
        spawn(poll_fn(move |cx| {
            *keep.borrow_mut() = Some(cx.waker().clone());
            Poll::Ready(())
        }));
        run(async {}, |_| Ok(())).unwrap();
        let stale: Waker = kept.borrow_mut().take().unwrap();
        stale.wake_by_ref();
        run(async {}, |_| Ok(())).unwrap();
        stale.wake();
    }

    #[test]
    fn a_failing_driver_ends_the_run() {
        let failed = run(std::future::pending(), |wait| {
            assert!(wait);
            Err(io::Error::other("broken"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "broken");
    }
}
