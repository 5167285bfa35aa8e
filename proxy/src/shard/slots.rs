//! The shard's table of connections and their deadlines: one coarse wheel, no timer operation a request.
//!
//! ```text
//!   arm(due)  -> writes the slot's fields; moves its key in the wheel unless that fires earlier
//!   timerfd   -> armed for the wheel's next key
//!   fire(key) -> compare the slot's own deadlines: passed -> cut the socket or wake the task;
//!                                                  moved  -> file again ("lazy re-filing")
//! ```
//!
//! A deadline never cancels an operation: it shuts the socket down, so that the operation in flight ends by
//! itself, and the task then asks the slot why.
//!
//! HOT: arming costs a few stores; 0 allocations, 0 system calls in steady state.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use pinion_core::id::ListenerId;
use pinion_core::limits::{TICK, WHEEL_SLOTS};
use pinion_core::telemetry::ShardStats;
use pinion_core::time::{Instant, Wheel};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::Shutdown;
use slab::Slab;

use super::lease::Lease;
use super::timer::{Cut, LANES, Lane, Timer, Verdict, Why};
use crate::net::clock;
use crate::net::socket::Socket;
use crate::net::wake::{Counter, new_timer};

/// How often a waiting request looks whether its client is still there.
pub(super) const PROBE_PERIOD: Duration = Duration::from_millis(250);

/// What others may ask of an idle connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kick {
    /// Close: the proxy drains.
    Drain,
    /// Go to this shard.
    Move(usize),
    /// Close, if this listener is yours: it left the configuration.
    Leave(ListenerId),
}

/// One task's deadlines, and how to reach it while it idles.
#[derive(Default)]
pub(crate) struct Slot {
    pub(super) timers: [Timer; LANES],
    /// When this slot's key fires in the wheel.
    pub(super) filed: Cell<Option<Instant>>,
    pub(super) key: Cell<u32>,
    pub(super) waker: Cell<Option<Waker>>,
    pub(super) idle: Cell<bool>,
    pub(super) tunnel: Cell<bool>,
    pub(super) kick: Cell<Option<Kick>>,
    pub(super) probe: Cell<Option<Probe>>,
}

pub(super) struct Probe {
    pub(super) client: Socket,
    /// What is cut when the client is gone; without it the task is woken.
    pub(super) upstream: Option<Socket>,
    pub(super) due: Instant,
    /// A client that only ended its sending direction is still there.
    pub(super) half_close: bool,
}

/// All slots of a shard.
#[derive(Clone)]
pub(crate) struct Slots(Rc<Table>);

struct Table {
    slots: RefCell<Slab<Rc<Slot>>>,
    wheel: RefCell<Wheel>,
    fired: RefCell<Vec<u32>>,
    timer: Counter,
    armed: Cell<Instant>,
    stats: Arc<ShardStats>,
}

impl Slots {
    pub(crate) fn new(stats: Arc<ShardStats>) -> std::io::Result<Self> {
        // ALLOC: once a shard.
        Ok(Slots(Rc::new(Table {
            slots: RefCell::new(Slab::new()),
            wheel: RefCell::new(Wheel::new(TICK, WHEEL_SLOTS, clock::now())),
            fired: RefCell::new(Vec::new()),
            timer: new_timer()?,
            armed: Cell::new(Instant::NEVER),
            stats,
        })))
    }

    /// A new slot, for one task.
    // ALLOC: once a connection, at its start.
    pub(crate) fn lease(&self) -> Lease {
        let mut slots = self.0.slots.borrow_mut();
        let entry = slots.vacant_entry();
        let slot = Rc::new(Slot::default());
        slot.key.set(entry.key() as u32);
        entry.insert(slot.clone());
        Lease::new(slot, self.clone())
    }

    /// Fires deadlines for ever; one task of the shard.
    pub(crate) async fn run(&self) -> std::io::Result<()> {
        loop {
            self.0.timer.wait().await?;
            let now = clock::now();
            self.0.stats.loop_lag.record(now.since(self.0.armed.get()).as_nanos() as u64);
            self.fire(now);
        }
    }

    fn fire(&self, now: Instant) {
        let mut fired = self.0.fired.take();
        self.0.wheel.borrow_mut().advance(now, &mut fired);
        for key in fired.drain(..) {
            let slot = self.0.slots.borrow().get(key as usize).cloned();
            if let Some(slot) = slot {
                slot.filed.set(None);
                if let Some(due) = slot.check(now) {
                    self.file(&slot, due);
                }
            }
        }
        self.0.fired.replace(fired);
        self.0.armed.set(Instant::NEVER);
        self.rearm();
    }

    pub(super) fn file(&self, slot: &Slot, due: Instant) {
        if slot.filed.get().is_some_and(|filed| filed <= due) {
            return;
        }
        let at = self.0.wheel.borrow_mut().file(slot.key.get(), due);
        slot.filed.set(Some(at));
        if at < self.0.armed.get() {
            self.rearm();
        }
    }

    fn rearm(&self) {
        let next = self.0.wheel.borrow().next().unwrap_or(Instant::NEVER);
        if next != self.0.armed.get() {
            self.0.armed.set(next);
            self.0.timer.arm(next);
        }
    }

    /// Wakes every tunnel, so that it sees that the proxy drains.
    pub(crate) fn wake_tunnels(&self) {
        for (_, slot) in self.0.slots.borrow().iter().filter(|(_, slot)| slot.tunnel.get()) {
            slot.wake();
        }
    }

    /// Kicks up to `most` idle connections; says how many.
    pub(crate) fn kick_idle(&self, kick: Kick, most: usize) -> usize {
        let idle: Vec<_> = {
            let slots = self.0.slots.borrow();
            slots
                .iter()
                .filter(|(_, slot)| slot.idle.get())
                .map(|(_, slot)| slot.clone())
                .take(most)
                .collect()
        };
        for slot in &idle {
            slot.kick.set(Some(kick));
            slot.wake();
        }
        idle.len()
    }
}

impl Slot {
    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Fires what is due and says when to look again.
    fn check(&self, now: Instant) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        let mut sooner = |at: Instant| next = Some(next.map_or(at, |n: Instant| n.min(at)));
        for timer in &self.timers {
            match timer.verdict(now) {
                Verdict::Unarmed => {}
                Verdict::Again(at) => sooner(at),
                Verdict::Fired(why) => {
                    timer.due.set(Instant::NEVER);
                    timer.fired.set(Some(why));
                    self.cut(timer.cut.take());
                }
            }
        }
        if let Some(at) = self.check_probe(now) {
            sooner(at);
        }
        next
    }

    fn cut(&self, cut: Option<Cut>) {
        match cut {
            Some(Cut::Reading(socket)) => socket.shut(Shutdown::Read),
            Some(Cut::Both(socket)) => socket.shut(Shutdown::Both),
            Some(Cut::Wake) | None => {}
        }
        self.wake();
    }

    fn check_probe(&self, now: Instant) -> Option<Instant> {
        let mut probe = self.probe.take()?;
        if self.timers[Lane::Read as usize].fired.get().is_some() {
            // We ended receiving ourselves, which looks as if the client had.
            return None;
        }
        if probe.due <= now {
            if client_gone(&probe.client, probe.half_close) {
                self.timers[Lane::Up as usize].fired.set(Some(Why::Gone));
                self.cut(Some(probe.upstream.map_or(Cut::Wake, Cut::Both)));
                return None;
            }
            probe.due = now.after(PROBE_PERIOD);
        }
        let due = probe.due;
        self.probe.set(Some(probe));
        Some(due)
    }
}

/// Whether the client closed or reset the connection.
pub(crate) fn client_gone(client: &Socket, half_close: bool) -> bool {
    let mut polled = [PollFd::new(client, PollFlags::RDHUP)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    if rustix::event::poll(&mut polled, Some(&now)).is_err() {
        return false;
    }
    let mut gone = PollFlags::HUP | PollFlags::ERR;
    if !half_close {
        gone |= PollFlags::RDHUP;
    }
    polled[0].revents().intersects(gone)
}

impl Slots {
    /// Frees slot `key`.
    pub(super) fn free(&self, key: u32) {
        self.0.wheel.borrow_mut().remove(key);
        self.0.slots.borrow_mut().remove(key as usize);
    }

    /// Wakes the task that waits in slot `key`.
    pub(crate) fn wake(&self, key: u32) {
        let slot = self.0.slots.borrow().get(key as usize).cloned();
        if let Some(slot) = slot {
            slot.wake();
        }
    }
}
