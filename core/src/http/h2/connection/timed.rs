//! What goes by time: drains, pings, streams that are given no window (RFC 9113 sections 6.7 and 6.8).
//!
//! ```text
//!   server's drain:  GOAWAY(2^31-1), PING ──▶ answer or 2 s ──▶ GOAWAY(newest) ──▶ its streams end ──▶ over
//!   client's drain:  GOAWAY(0) ────────────────────────────────────────────────▶ its streams end ──▶ over
//! ```
//!
//! Not here: how long an idle connection is kept, when to ping, how long to wait for the answer.

use super::super::error::{ConnectionError, Flood};
use super::super::frame::{ErrorCode, STREAM_MAX};
use super::control::{self, PING_ALIVE, PING_DRAIN};
use super::past::End;
use super::stream::{coarse, flag};
use super::{Connection, Drain, Lost, Role};
use crate::limits;
use crate::time::Instant;

impl Connection {
    /// Asks the peer to end what it has here and to start nothing new. A server gives streams that are on their way
    /// the time of a round trip ([`Connection::on_time`] is to be called then); see [`Connection::is_over`].
    pub fn drain(&mut self, out: &mut Vec<u8>) {
        if self.drain != Drain::No || self.dead.is_some() {
            return;
        }
        if self.role == Role::Client {
            // The streams that a server might open: none.
            self.drain = Drain::Above(0);
            self.put_goaway(0, ErrorCode::NO_ERROR, out);
            return;
        }
        self.drain = Drain::Asked { until: None };
        self.put_goaway(STREAM_MAX, ErrorCode::NO_ERROR, out);
        control::put_ping(out, 0, PING_DRAIN);
    }

    /// The second step of a server's drain: streams after the newest are not taken.
    pub(super) fn finish_drain(&mut self, out: &mut Vec<u8>) {
        self.drain = Drain::Above(self.newest);
        self.put_goaway(self.newest, ErrorCode::NO_ERROR, out);
    }

    /// Asks whether the peer is there; [`super::Event::Pong`] is the answer.
    pub fn ping(&mut self, out: &mut Vec<u8>, now: Instant) {
        self.clock = now;
        if self.dead.is_none() {
            self.pings = self.pings.saturating_add(1);
            control::put_ping(out, 0, PING_ALIVE);
        }
    }

    /// Does what is due: to be called at the time it returned last, and after `drain` and the first stream of a
    /// connection that was told [`Instant::NEVER`]. Streams without a window for [`limits::H2_STALL`] are reset, and
    /// told by [`Connection::next_queued`].
    ///
    /// # Errors
    /// The connection is at its end, as with [`Connection::receive`].
    pub fn on_time(&mut self, now: Instant, out: &mut Vec<u8>) -> Result<Instant, ConnectionError> {
        self.clock = now;
        // A stream that was told it may send, and did not, holds up the others no longer.
        self.promised = 0;
        let looked = self.check_alive().and_then(|()| self.look(now, out));
        looked.map_err(|error| self.give_up(error, out))
    }

    fn look(&mut self, now: Instant, out: &mut Vec<u8>) -> Result<Instant, ConnectionError> {
        let mut next = Instant::NEVER;
        if let Drain::Asked { until } = self.drain {
            match until {
                Some(until) if until <= now => self.finish_drain(out),
                _ => {
                    next = until.unwrap_or(now.after(limits::H2_DRAIN_PING));
                    self.drain = Drain::Asked { until: Some(next) };
                }
            }
        }
        if self.active() > 0 {
            self.end_stalled(now, out)?;
            next = next.min(now.after(limits::H2_LOOK));
        }
        Ok(next)
    }

    /// Resets the streams that wait for a window in vain.
    fn end_stalled(&mut self, now: Instant, out: &mut Vec<u8>) -> Result<(), ConnectionError> {
        let patience = (limits::H2_STALL.as_nanos() >> 20) as u32;
        let now = coarse(now);
        for place in 0..self.streams.places() {
            let Some((key, stream)) = self.streams.at(place) else { continue };
            if !stream.has(flag::SHORT) || now.wrapping_sub(stream.short_since) < patience {
                continue;
            }
            self.meter.charge(Flood::WindowStall, self.clock)?;
            let code = ErrorCode::CANCEL;
            control::put_reset(out, key.id, code);
            self.close(key, End::ByUs);
            self.lost.push_back(Lost { key, code, by_peer: false, processed: true });
        }
        Ok(())
    }
}
