//! Waking up on time: one timer of the kernel for each serving thread, good for tens of microseconds.
//! The runtime's own timers count whole milliseconds, too coarse for service times.
//!
//! ```text
//! until(t) ─▶ due: time → waker ─▶ timerfd set to the earliest ─▶ readable ─▶ wake all that are due
//! ```
//!
//! Invariants: the timer is armed for the earliest entry, or not at all; a dropped wait leaves no entry.
//! Accuracy: an answer is late by the kernel's wake-up and by what the thread is just doing, never early.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

/// The timer of one thread.
pub(super) struct Alarm {
    timer: OwnedFd,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    /// Who waits for what, in the order of time; the number tells equal times apart.
    due: BTreeMap<(Instant, u64), Waker>,
    next: u64,
    armed: Option<Instant>,
}

impl Alarm {
    /// Starts the timer and the task that serves it; call it on the thread's runtime.
    ///
    /// # Errors
    /// No descriptor is to be had.
    pub(super) fn start() -> io::Result<Rc<Self>> {
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        // The runtime waits for sockets and files only. Waiting for readability is the same system call
        // for any descriptor, and nothing else is done with this one.
        let readiness = monoio::net::UnixStream::from_std(UnixStream::from(timer.try_clone()?))?;
        let alarm = Rc::new(Alarm { timer, state: RefCell::default() });
        let served = Rc::clone(&alarm);
        monoio::spawn(async move {
            loop {
                if let Err(error) = readiness.readable(false).await {
                    // Whoever waits would wait for ever: as bad as a thread that can't serve.
                    eprintln!("pinion-load: the timer: {error}");
                    std::process::exit(1);
                }
                served.wake();
            }
        });
        Ok(alarm)
    }

    /// Waits until `at`.
    pub(super) fn until(&self, at: Instant) -> Until<'_> {
        Until { alarm: self, at, number: None }
    }

    /// Wakes all that are due, and sets the timer for the next.
    fn wake(&self) {
        let now = Instant::now();
        let mut state = self.state.borrow_mut();
        // Setting the timer also takes back its readiness, which an expired one keeps.
        state.armed = None;
        while let Some(first) = state.due.first_entry()
            && first.key().0 <= now
        {
            first.remove().wake();
        }
        self.arm(&mut state, now);
    }

    /// Sets the timer for the earliest entry.
    fn arm(&self, state: &mut State, now: Instant) {
        let earliest = state.due.first_key_value().map(|((at, _), _)| *at);
        if earliest.is_some() && earliest == state.armed {
            return;
        }
        // Zero would stop the timer.
        let left = earliest.map(|at| at.saturating_duration_since(now).max(Duration::from_nanos(1)));
        let left = left.unwrap_or(Duration::ZERO);
        let it_value = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        let once = Itimerspec { it_interval: Timespec::default(), it_value };
        if timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once).is_ok() {
            state.armed = earliest;
        }
    }
}

/// A wait for a moment.
pub(super) struct Until<'a> {
    alarm: &'a Alarm,
    at: Instant,
    number: Option<u64>,
}

impl Future for Until<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let now = Instant::now();
        if now >= self.at {
            return Poll::Ready(());
        }
        let mut state = self.alarm.state.borrow_mut();
        let number = self.number.unwrap_or(state.next);
        if self.number.is_none() {
            state.next += 1;
        }
        state.due.insert((self.at, number), context.waker().clone());
        self.alarm.arm(&mut state, now);
        drop(state);
        self.number = Some(number);
        Poll::Pending
    }
}

impl Drop for Until<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            // The timer may now ring for nobody, once.
            self.alarm.state.borrow_mut().due.remove(&(self.at, number));
        }
    }
}
