//! What a connection's task looks at whenever it runs: sending, deadlines, coming to rest.
//!
//! ```text
//!   lane      what is due
//!   Read      the next step of rest: giving the buffer up, leaving, closing
//!   Write     the peer took nothing of what is sent
//!   Up        the machine wants to look (unfinished header blocks, settings, stalled windows)
//!   Request   a sign of life
//!   Send      the connection's age
//! ```

use std::task::{Context, Poll};
use std::time::Duration;

use pinion_core::fault::Fault;
use pinion_core::http::h2::ConnectionError;
use pinion_core::telemetry::Side;
use pinion_core::time::Instant;

use super::session::{Rest, Session};
use crate::net::clock;
use crate::shard::slots::Kick;
use crate::shard::timer::Lane;

/// Without streams for this time a connection gives up its buffer and its receive in flight.
const WARM_TIME: Duration = Duration::from_millis(250);
/// How long a peer may take to notice that an idle connection is leaving, before it is closed.
const GOODBYE_TIME: Duration = Duration::from_secs(1);
/// A machine with streams is looked at this often.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

/// Why a connection's task stops waiting for bytes.
#[derive(Debug)]
pub(super) enum Stop {
    /// It is over: drained, idle for too long, or told to end.
    Over,
    /// The peer takes no more.
    Gone,
    /// The peer broke the protocol, or let it rest for too long.
    Broken(ConnectionError),
}

impl Session {
    /// Arms what is due by time alone.
    pub(super) fn begin(&self) {
        let now = clock::now();
        if let Some(age) = self.settings.max_age {
            self.lease.wake_at(Lane::Send, now.after(age));
        }
        if let Some(period) = self.settings.keepalive {
            self.lease.wake_at(Lane::Request, now.after(period));
        }
        self.lease.wake_at(Lane::Up, now.after(LOOK_PERIOD));
        // It shall hear of a drain at once, whether it rests or not.
        self.lease.set_tunnel(true);
    }

    /// Sends what gathered and looks at every deadline; ready when the connection ends.
    pub(super) fn drive(&self, cx: &mut Context<'_>) -> Poll<Stop> {
        self.pump_here(cx);
        if self.closed.get() {
            return Poll::Ready(Stop::Over);
        }
        while let Poll::Ready(kick) = self.lease.poll_kick(cx) {
            match kick {
                Kick::Move(to) => self.ask_at_rest(to),
                Kick::Leave(id) if self.settings.listener != Some(id) => {}
                Kick::Drain | Kick::Leave(_) => self.drain(),
            }
        }
        if !self.leaving.get() && self.shard.draining().is_some() && self.may_drain() {
            self.drain();
        }
        match self.look() {
            Ok(None) => {}
            Ok(Some(stop)) => return Poll::Ready(stop),
            Err(error) => return Poll::Ready(Stop::Broken(error)),
        }
        self.take_queued();
        match self.send(cx) {
            Some(stop) => Poll::Ready(stop),
            None => Poll::Pending,
        }
    }

    /// Sends what gathered, and goes on with what is in flight.
    fn send(&self, cx: &mut Context<'_>) -> Option<Stop> {
        let lazily = self.rest.get() == Rest::Busy && !self.leaving.get() && !self.is_moving();
        let stalled = self.lease.fired(Lane::Write).is_some();
        let driven = self.out.borrow_mut().drive(&self.socket, cx, lazily && !stalled);
        let Ok(driven) = driven else {
            return Some(Stop::Gone);
        };
        self.bytes.set(self.bytes.get() + driven.sent as u64);
        if driven.started {
            self.wake_writers();
        }
        if !self.out.borrow().is_sending() {
            self.lease.disarm(Lane::Write);
            // The last frames of a connection that is over are out.
            return self.is_over().then_some(Stop::Over);
        }
        if driven.started || driven.sent > 0 {
            self.lease.wake_at(Lane::Write, clock::now().after(self.settings.write));
        } else if stalled {
            return Some(Stop::Gone);
        }
        None
    }

    /// Looks at the deadlines that have fired.
    fn look(&self) -> Result<Option<Stop>, ConnectionError> {
        if self.lease.fired(Lane::Up).is_some() {
            self.lease.disarm(Lane::Up);
            let now = clock::now();
            if self.is_late(now) {
                self.shard.stats.faults[Fault::HeaderTimeout.index()].inc();
                return Ok(Some(Stop::Over));
            }
            self.leave_with_listener();
            let next = self.write(|machine, out| machine.on_time(now, out))?;
            let busy = !self.is_quiet() || self.unfinished.get().is_some();
            self.lease.wake_at(Lane::Up, if busy { next.min(now.after(LOOK_PERIOD)) } else { next });
        }
        if self.lease.fired(Lane::Send).is_some() {
            self.lease.disarm(Lane::Send);
            self.drain();
        }
        if self.lease.fired(Lane::Request).is_some() && self.is_silent() {
            self.stats().pings_failed.inc();
            return Ok(Some(Stop::Over));
        }
        Ok(self.rest())
    }

    /// Leaves when its listener has left the configuration. Those that rest are told (`Kick::Leave`).
    fn leave_with_listener(&self) {
        if self.settings.listener.is_some_and(|id| !self.shard.has_listener(id)) {
            self.drain();
        }
    }

    /// Whether a client takes too long to complete a head, or the preface.
    fn is_late(&self, now: Instant) -> bool {
        self.settings.side == Side::Downstream
            && self.unfinished.get().is_some_and(|since| now >= since.after(self.settings.header))
    }

    /// Whether a proxy that drains wants the connection to end: requests in progress may still need an upstream.
    fn may_drain(&self) -> bool {
        self.settings.side == Side::Downstream || self.is_quiet()
    }

    /// Whether a sign of life did not come in time; asks for one, or looks again later.
    fn is_silent(&self) -> bool {
        self.lease.disarm(Lane::Request);
        let Some(period) = self.settings.keepalive else {
            return false;
        };
        let now = clock::now();
        let due = self.heard.get().after(period);
        if due > now {
            self.asked.set(false);
            self.lease.wake_at(Lane::Request, due);
            return false;
        }
        if self.asked.replace(true) {
            return true;
        }
        self.write(|machine, out| machine.ping(out, now));
        self.lease.wake_at(Lane::Request, now.after(self.settings.keepalive_timeout));
        false
    }

    /// Takes the next step of rest, or notes that there are streams again.
    fn rest(&self) -> Option<Stop> {
        let quiet = self.is_quiet();
        let fired = self.lease.fired(Lane::Read).is_some();
        match self.rest.get() {
            Rest::Busy if quiet => {
                let now = clock::now();
                self.rest.set(Rest::Warm(now));
                self.lease.set_idle(true);
                self.lease.wake_at(Lane::Read, now.after(WARM_TIME.min(self.settings.idle)));
                // What the machine waits for without streams, if anything.
                self.lease.wake_at(Lane::Up, now.after(LOOK_PERIOD));
                self.leave_with_listener();
            }
            Rest::Busy => {}
            Rest::Warm(_) | Rest::Cold(_) if !quiet => {
                self.rest.set(Rest::Busy);
                self.lease.set_idle(false);
                self.lease.disarm(Lane::Read);
                self.lease.wake_at(Lane::Up, clock::now().after(LOOK_PERIOD));
            }
            Rest::Warm(since) if fired => {
                self.rest.set(Rest::Cold(since));
                self.machine.borrow_mut().shrink();
                self.streams.borrow_mut().shrink();
                self.lease.wake_at(Lane::Read, since.after(self.settings.idle));
            }
            Rest::Cold(_) if fired && self.leaving.get() => return Some(Stop::Over),
            Rest::Cold(_) if fired => {
                self.drain();
                self.lease.wake_at(Lane::Read, clock::now().after(GOODBYE_TIME));
            }
            Rest::Warm(_) | Rest::Cold(_) => {}
        }
        None
    }

    /// Bytes are there for a connection that holds no buffer: it takes one for a while.
    pub(super) fn warm_up(&self) {
        if let Rest::Cold(since) = self.rest.get() {
            self.rest.set(Rest::Warm(since));
            self.lease.wake_at(Lane::Read, clock::now().after(WARM_TIME));
        }
    }

    /// Whether it leaves and has nothing left to do or to say.
    fn is_over(&self) -> bool {
        self.leaving.get()
            && self.is_quiet()
            && self.out.borrow().is_done()
            && self.machine.borrow().is_over()
    }
}
