//! A slot in use: how a task arms its deadlines, learns why one fired, and waits to be woken.
//!
//! HOT: arming costs a few stores; 0 allocations, 0 system calls in steady state.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use pinion_core::limits::{RATE_JUDGED_AFTER, TICK};
use pinion_core::time::Instant;

use super::slots::{Kick, PROBE_PERIOD, Probe, Slot, Slots};
use super::timer::{Cut, Lane, Timer, Why};
use crate::net::clock;
use crate::net::socket::Socket;

/// A slot in use; freed on drop.
pub(crate) struct Lease {
    slot: Rc<Slot>,
    slots: Slots,
}

impl Lease {
    pub(super) fn new(slot: Rc<Slot>, slots: Slots) -> Self {
        Lease { slot, slots }
    }

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

    /// At `due`, wakes the task that asked to be woken ([`Lease::wait_here`]).
    pub(crate) fn wake_at(&self, lane: Lane, due: Instant) {
        self.timer(lane).idle.set(0);
        self.arm(lane, due, Cut::Wake);
    }

    /// Wakes the task that asked to be woken ([`Lease::wait_here`]) after `idle` without [`Lease::moved`].
    pub(crate) fn wake_idle(&self, lane: Lane, idle: Duration) {
        let now = clock::now();
        let timer = self.timer(lane);
        timer.idle.set(u64::try_from(idle.max(TICK).as_nanos()).unwrap_or(u64::MAX));
        timer.min_rate.set(0);
        timer.moved_at.set(now);
        timer.moved.set(0);
        self.arm(lane, now.after(idle), Cut::Wake);
    }

    /// Begins a transfer whose end only wakes the task that asked to be woken; else like [`Lease::transfer`].
    pub(crate) fn watch_transfer(&self, lane: Lane, idle: Duration, min_rate: u64) {
        self.begin_transfer(lane, idle, min_rate, Cut::Wake);
    }

    /// Begins a transfer on `socket`: cut after `idle` without [`Lease::moved`], or below `min_rate` bytes a
    /// second over the transfer (judged after [`RATE_JUDGED_AFTER`]; 0 is off). Reading transfers keep the
    /// sending direction, so that an answer can be given.
    pub(crate) fn transfer(&self, lane: Lane, reading: bool, idle: Duration, min_rate: u64, socket: &Socket) {
        let cut = if reading { Cut::Reading(socket.clone()) } else { Cut::Both(socket.clone()) };
        self.begin_transfer(lane, idle, min_rate, cut);
    }

    fn begin_transfer(&self, lane: Lane, idle: Duration, min_rate: u64, cut: Cut) {
        let now = clock::now();
        let timer = self.timer(lane);
        timer.idle.set(u64::try_from(idle.max(TICK).as_nanos()).unwrap_or(u64::MAX));
        timer.min_rate.set(u32::try_from(min_rate).unwrap_or(u32::MAX));
        timer.started.set(now);
        timer.moved_at.set(now);
        timer.moved.set(0);
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

    /// Notes that `bytes` moved in the transfer of `lane`, if there is one.
    pub(crate) fn moved(&self, lane: Lane, bytes: usize) {
        let timer = self.timer(lane);
        if timer.idle.get() == 0 {
            return;
        }
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
        self.watch(client, Some(upstream.clone()), half_close, now);
    }

    /// Like [`Lease::watch_client`], but wakes the task that asked to be woken instead of cutting anything.
    pub(crate) fn watch_client_only(&self, client: &Socket, half_close: bool, now: Instant) {
        self.watch(client, None, half_close, now);
    }

    fn watch(&self, client: &Socket, upstream: Option<Socket>, half_close: bool, now: Instant) {
        let due = now.after(PROBE_PERIOD);
        let probe = Probe { client: client.clone(), upstream, due, half_close };
        self.slot.probe.set(Some(probe));
        self.slots.file(&self.slot, due);
    }

    /// Ends [`Lease::watch_client`].
    pub(crate) fn unwatch_client(&self) {
        self.slot.probe.set(None);
    }

    /// Marks the connection idle, so that it can be kicked.
    pub(crate) fn set_idle(&self, idle: bool) {
        self.slot.idle.set(idle);
    }

    /// Marks the connection as a tunnel, which is woken when the proxy begins to drain.
    pub(crate) fn set_tunnel(&self, tunnel: bool) {
        self.slot.tunnel.set(tunnel);
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

impl Drop for Lease {
    fn drop(&mut self) {
        let key = self.slot.key.get();
        self.slots.free(key);
    }
}
