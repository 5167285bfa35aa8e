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
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pinion_core::id::ListenerId;
use pinion_core::limits::{RATE_JUDGED_AFTER, TICK, WHEEL_SLOTS};
use pinion_core::telemetry::ShardStats;
use pinion_core::time::{Instant, Wheel};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::Shutdown;
use slab::Slab;

use monoio::io::{CancelHandle, Canceller};

use crate::net::clock;
use crate::net::wake::{Counter, new_timer};
use crate::sys::socket::Socket;

/// How often a waiting request looks whether its client is still there.
const PROBE_PERIOD: Duration = Duration::from_millis(250);
/// What warm connections need and a shard keeps for the next ones.
const CANCELLERS_KEPT: usize = 1_024;
/// A transfer's rate is judged again this often.
const RATE_PERIOD: Duration = Duration::from_secs(1);

/// Which of a connection's deadlines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Bytes from the client.
    Read = 0,
    /// Bytes to the client.
    Write = 1,
    /// Bytes from or to the upstream, a connect, a wait in the pool.
    Up = 2,
    /// The whole request.
    Request = 3,
}

const LANES: usize = 4;

/// Why a deadline fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The time was up, or nothing moved for the idle time.
    Late,
    /// Bytes moved, but slower than the minimum rate.
    Slow,
    /// The client went away.
    Gone,
}

/// What a fired deadline does.
enum Cut {
    /// Wakes the waiting task.
    Wake,
    /// Calls off the receive that a warm connection waits in.
    Cool,
    /// Ends receiving on the socket: a pending receive returns 0 bytes, answers can still be sent.
    Reading(Socket),
    /// Ends both directions.
    Both(Socket),
}

struct Timer {
    /// [`Instant::NEVER`] while it is not armed.
    due: Cell<Instant>,
    cut: Cell<Option<Cut>>,
    fired: Cell<Option<Why>>,
    /// For transfers: the least bytes a second; 0 is off.
    min_rate: Cell<u32>,
    /// For transfers: at most this many nanoseconds without progress; zero for plain deadlines.
    idle: Cell<u64>,
    started: Cell<Instant>,
    /// The last progress, or when the transfer was paused.
    moved_at: Cell<Instant>,
    moved: Cell<u64>,
}

impl Default for Timer {
    fn default() -> Self {
        Timer {
            due: Cell::new(Instant::NEVER),
            cut: Cell::default(),
            fired: Cell::default(),
            min_rate: Cell::default(),
            idle: Cell::default(),
            started: Cell::default(),
            moved_at: Cell::default(),
            moved: Cell::default(),
        }
    }
}

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
    timers: [Timer; LANES],
    /// When this slot's key fires in the wheel.
    filed: Cell<Option<Instant>>,
    key: Cell<u32>,
    waker: Cell<Option<Waker>>,
    idle: Cell<bool>,
    kick: Cell<Option<Kick>>,
    probe: Cell<Option<Probe>>,
    /// Made when the connection first waits warm.
    warm: Cell<Option<Canceller>>,
}

struct Probe {
    client: Socket,
    upstream: Socket,
    due: Instant,
    /// A client that only ended its sending direction is still there.
    half_close: bool,
}

/// All slots of a shard.
#[derive(Clone)]
pub(crate) struct Slots(Rc<Table>);

struct Table {
    slots: RefCell<Slab<Rc<Slot>>>,
    wheel: RefCell<Wheel>,
    fired: RefCell<Vec<u32>>,
    /// Free ones: a connection that warms up again allocates nothing.
    cancellers: RefCell<Vec<Canceller>>,
    timer: Counter,
    armed: Cell<Instant>,
    stats: Arc<ShardStats>,
}

/// A slot in use; freed on drop.
pub(crate) struct Lease {
    slot: Rc<Slot>,
    slots: Slots,
}

impl Slots {
    pub(crate) fn new(stats: Arc<ShardStats>) -> std::io::Result<Self> {
        Ok(Slots(Rc::new(Table {
            slots: RefCell::new(Slab::new()),
            wheel: RefCell::new(Wheel::new(TICK, WHEEL_SLOTS, clock::now())),
            fired: RefCell::new(Vec::new()),
            cancellers: RefCell::new(Vec::new()),
            timer: new_timer()?,
            armed: Cell::new(Instant::NEVER),
            stats,
        })))
    }

    /// A new slot, for one task.
    pub(crate) fn lease(&self) -> Lease {
        let mut slots = self.0.slots.borrow_mut();
        let entry = slots.vacant_entry();
        let slot = Rc::new(Slot::default());
        slot.key.set(entry.key() as u32);
        entry.insert(slot.clone());
        Lease { slot, slots: self.clone() }
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

    fn file(&self, slot: &Slot, due: Instant) {
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
            slot.cool();
            slot.wake();
        }
        idle.len()
    }
}

impl Slot {
    /// Calls off the receive in flight of a warm connection.
    fn cool(&self) {
        let canceller = self.warm.take();
        self.warm.set(canceller.map(Canceller::cancel));
    }

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
        // Shutting down fails only on sockets that are down already.
        match cut {
            Some(Cut::Reading(socket)) => drop(rustix::net::shutdown(&socket, Shutdown::Read)),
            Some(Cut::Both(socket)) => drop(rustix::net::shutdown(&socket, Shutdown::Both)),
            Some(Cut::Cool) => self.cool(),
            Some(Cut::Wake) | None => {}
        }
        self.wake();
    }

    fn check_probe(&self, now: Instant) -> Option<Instant> {
        let mut probe = self.probe.take()?;
        if probe.due <= now {
            if client_gone(&probe.client, probe.half_close) {
                self.timers[Lane::Up as usize].fired.set(Some(Why::Gone));
                self.cut(Some(Cut::Both(probe.upstream)));
                return None;
            }
            probe.due = now.after(PROBE_PERIOD);
        }
        let due = probe.due;
        self.probe.set(Some(probe));
        Some(due)
    }
}

enum Verdict {
    Unarmed,
    Again(Instant),
    Fired(Why),
}

impl Timer {
    fn verdict(&self, now: Instant) -> Verdict {
        let due = self.due.get();
        if due == Instant::NEVER {
            return Verdict::Unarmed;
        }
        let idle = Duration::from_nanos(self.idle.get());
        if idle.is_zero() {
            return if due <= now { Verdict::Fired(Why::Late) } else { Verdict::Again(due) };
        }
        let stalled = self.moved_at.get().after(idle);
        if stalled <= now {
            return Verdict::Fired(Why::Late);
        }
        let rate = self.min_rate.get();
        if rate == 0 {
            return Verdict::Again(stalled);
        }
        let judged = self.started.get().after(RATE_JUDGED_AFTER);
        let elapsed = now.since(self.started.get());
        if judged <= now && u128::from(self.moved.get()) * 1000 < u128::from(rate) * elapsed.as_millis() {
            return Verdict::Fired(Why::Slow);
        }
        Verdict::Again(stalled.min(judged.max(now.after(RATE_PERIOD))))
    }
}

/// Whether the client closed or reset the connection.
fn client_gone(client: &Socket, half_close: bool) -> bool {
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

impl Lease {
    fn timer(&self, lane: Lane) -> &Timer {
        &self.slot.timers[lane as usize]
    }

    fn arm(&self, lane: Lane, due: Instant, cut: Cut) {
        let timer = self.timer(lane);
        timer.due.set(due);
        timer.fired.set(None);
        timer.cut.set(Some(cut));
        self.slots.file(&self.slot, due);
    }

    /// At `due`, ends receiving on `socket`.
    pub(crate) fn cut_reading(&self, lane: Lane, due: Instant, socket: &Socket) {
        self.timer(lane).idle.set(0);
        self.arm(lane, due, Cut::Reading(socket.clone()));
    }

    /// At `due`, ends both directions of `socket`.
    pub(crate) fn cut_both(&self, lane: Lane, due: Instant, socket: &Socket) {
        self.timer(lane).idle.set(0);
        self.arm(lane, due, Cut::Both(socket.clone()));
    }

    /// At `due`, wakes the task that waits in [`Lease::woken`].
    pub(crate) fn wake_at(&self, lane: Lane, due: Instant) {
        self.timer(lane).idle.set(0);
        self.arm(lane, due, Cut::Wake);
    }

    /// Begins a transfer on `socket`: cut after `idle` without [`Lease::moved`], or below `min_rate` bytes a
    /// second over the transfer (judged after [`RATE_JUDGED_AFTER`]; 0 is off). Reading transfers keep the
    /// sending direction, so that an answer can be given.
    pub(crate) fn transfer(&self, lane: Lane, reading: bool, idle: Duration, min_rate: u64, socket: &Socket) {
        let now = clock::now();
        let timer = self.timer(lane);
        timer.idle.set(u64::try_from(idle.max(TICK).as_nanos()).unwrap_or(u64::MAX));
        timer.min_rate.set(u32::try_from(min_rate).unwrap_or(u32::MAX));
        timer.started.set(now);
        timer.moved_at.set(now);
        timer.moved.set(0);
        let cut = if reading { Cut::Reading(socket.clone()) } else { Cut::Both(socket.clone()) };
        let judged = if min_rate > 0 { now.after(RATE_JUDGED_AFTER) } else { Instant::NEVER };
        self.arm(lane, now.after(idle).min(judged), cut);
    }

    /// The transfer of `lane` waits for somebody else: its clocks stand still until [`Lease::resume`].
    pub(crate) fn pause(&self, lane: Lane) {
        let timer = self.timer(lane);
        timer.due.set(Instant::NEVER);
        timer.moved_at.set(clock::now());
    }

    /// The transfer of `lane` goes on.
    pub(crate) fn resume(&self, lane: Lane) {
        let timer = self.timer(lane);
        if timer.fired.get().is_some() {
            return;
        }
        let now = clock::now();
        let paused = now.since(timer.moved_at.get());
        timer.started.set(timer.started.get().after(paused));
        timer.moved_at.set(now);
        let due = now.after(Duration::from_nanos(timer.idle.get()));
        timer.due.set(due);
        self.slots.file(&self.slot, due);
    }

    /// Notes that `bytes` moved in the transfer of `lane`.
    pub(crate) fn moved(&self, lane: Lane, bytes: usize) {
        let timer = self.timer(lane);
        timer.moved.set(timer.moved.get() + bytes as u64);
        timer.moved_at.set(clock::now());
    }

    /// Disarms `lane` and says whether and why it fired.
    pub(crate) fn disarm(&self, lane: Lane) -> Option<Why> {
        let timer = self.timer(lane);
        timer.due.set(Instant::NEVER);
        timer.cut.set(None);
        timer.fired.take()
    }

    /// Whether `lane` has fired.
    pub(crate) fn fired(&self, lane: Lane) -> Option<Why> {
        self.timer(lane).fired.get()
    }

    /// While the upstream works: looks now and then whether `client` is still there; if not, cuts `upstream`
    /// and fires `Lane::Up` with [`Why::Gone`].
    pub(crate) fn watch_client(&self, client: &Socket, upstream: &Socket, half_close: bool, now: Instant) {
        let due = now.after(PROBE_PERIOD);
        let probe = Probe { client: client.clone(), upstream: upstream.clone(), due, half_close };
        self.slot.probe.set(Some(probe));
        self.slots.file(&self.slot, due);
    }

    /// Ends [`Lease::watch_client`].
    pub(crate) fn unwatch_client(&self) {
        self.slot.probe.set(None);
    }

    /// At `due`, calls off the receive that is started with the returned handle.
    pub(crate) fn cool_at(&self, lane: Lane, due: Instant) -> CancelHandle {
        self.timer(lane).idle.set(0);
        let canceller = self.slot.warm.take().or_else(|| self.slots.0.cancellers.borrow_mut().pop());
        // ALLOC: as many as connections were ever warm at once.
        let canceller = canceller.unwrap_or_else(Canceller::new);
        let handle = canceller.handle();
        self.slot.warm.set(Some(canceller));
        self.arm(lane, due, Cut::Cool);
        handle
    }

    /// Gives back what waiting warm needed.
    pub(crate) fn forget_warmth(&self) {
        if let Some(canceller) = self.slot.warm.take() {
            let mut free = self.slots.0.cancellers.borrow_mut();
            if free.len() < CANCELLERS_KEPT {
                free.push(canceller);
            }
        }
    }

    /// Marks the connection idle, so that it can be kicked.
    pub(crate) fn set_idle(&self, idle: bool) {
        self.slot.idle.set(idle);
    }

    /// What was asked of the idle connection, once.
    pub(crate) fn poll_kick(&self, cx: &mut Context<'_>) -> Poll<Kick> {
        match self.slot.kick.take() {
            Some(kick) => Poll::Ready(kick),
            None => {
                self.wait_here(cx);
                Poll::Pending
            }
        }
    }

    /// Whether something was asked of the connection.
    pub(crate) fn is_kicked(&self) -> bool {
        self.slot.kick.get().is_some()
    }

    /// Remembers the task of `cx` as the one to wake.
    pub(crate) fn wait_here(&self, cx: &Context<'_>) {
        let waker = match self.slot.waker.take() {
            Some(waker) if waker.will_wake(cx.waker()) => waker,
            _ => cx.waker().clone(),
        };
        self.slot.waker.set(Some(waker));
    }

    /// A handle for others to wake the waiting task.
    pub(crate) fn key(&self) -> u32 {
        self.slot.key.get()
    }

    /// Waits `period`.
    pub(crate) async fn sleep(&self, period: Duration) {
        self.wake_at(Lane::Up, clock::now().after(period));
        std::future::poll_fn(|cx| {
            if self.fired(Lane::Up).is_some() {
                return Poll::Ready(());
            }
            self.wait_here(cx);
            Poll::Pending
        })
        .await;
        self.disarm(Lane::Up);
    }
}

impl Slots {
    /// Wakes the task that waits in slot `key`.
    pub(crate) fn wake(&self, key: u32) {
        let slot = self.0.slots.borrow().get(key as usize).cloned();
        if let Some(slot) = slot {
            slot.wake();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.forget_warmth();
        let key = self.slot.key.get();
        self.slots.0.wheel.borrow_mut().remove(key);
        self.slots.0.slots.borrow_mut().remove(key as usize);
    }
}
