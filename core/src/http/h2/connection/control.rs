//! Frames about streams and the connection: WINDOW_UPDATE, RST_STREAM, SETTINGS, PING, GOAWAY, PRIORITY (RFC 9113
//! sections 6.3 to 6.5, 6.7 to 6.9).
//!
//! Invariants: each is checked for size and stream before anything else; each has a budget.
//!
//! HOT: no allocation, except for streams that a GOAWAY ends. Not here: DATA and header blocks.

use super::super::error::{ConnectionError, Flood};
use super::super::frame::{ErrorCode, FrameHead, Kind, STREAM_MAX, WINDOW_DEFAULT, flags};
use super::super::settings::ENTRY_BYTES;
use super::past::End;
use super::stream::{coarse, flag};
use super::{Connection, Drain, Event, Key, Lost, Role};
use crate::limits;

type Outcome = Result<Option<Event<'static>>, ConnectionError>;

/// What our pings carry: those of a drain, and those that ask whether the peer is there.
pub(super) const PING_DRAIN: [u8; 8] = *b"\0drain\0\0";
pub(super) const PING_ALIVE: [u8; 8] = *b"\0alive\0\0";

impl Connection {
    #[inline]
    pub(super) fn window_update(&mut self, head: FrameHead, payload: &[u8], out: &mut Vec<u8>) -> Outcome {
        let Ok(&bytes) = <&[u8; 4]>::try_from(payload) else {
            return Err(ConnectionError::size("WINDOW_UPDATE is not 4 bytes"));
        };
        self.meter.charge(Flood::WindowUpdate, self.clock)?;
        let more = u32::from_be_bytes(bytes) & STREAM_MAX;
        if head.stream == 0 {
            if more == 0 {
                return Err(ConnectionError::protocol("WINDOW_UPDATE of nothing"));
            }
            self.promised = 0;
            let changed = self.send.change(i64::from(more));
            return changed.map(|()| None).map_err(|_| overflow());
        }
        let Some(key) = self.streams.find(head.stream) else {
            // On a closed stream it is late (section 5.1).
            return self.late(head.stream, "WINDOW_UPDATE on an idle stream");
        };
        let Some(stream) = self.streams.of(key) else { return Ok(None) };
        if more == 0 {
            return self.stream_error(key, ErrorCode::PROTOCOL_ERROR, out);
        }
        if stream.send.change(i64::from(more)).is_err() {
            return self.stream_error(key, ErrorCode::FLOW_CONTROL_ERROR, out);
        }
        if stream.has(flag::SHORT) && stream.send.bytes() > 0 {
            self.streams.enqueue(key);
        }
        Ok(None)
    }

    pub(super) fn rst_stream(&mut self, head: FrameHead, payload: &[u8]) -> Outcome {
        let Ok(&bytes) = <&[u8; 4]>::try_from(payload) else {
            return Err(ConnectionError::size("RST_STREAM is not 4 bytes"));
        };
        let code = ErrorCode(u32::from_be_bytes(bytes));
        let Some(key) = self.streams.find(head.stream) else {
            self.meter.charge(Flood::Empty, self.clock)?;
            return self.late(head.stream, "RST_STREAM on an idle stream");
        };
        let Some(stream) = self.streams.of(key) else { return Ok(None) };
        let age = coarse(self.clock).wrapping_sub(stream.opened);
        let young = age <= (limits::H2_RAPID_RESET_AGE.as_nanos() >> 20) as u32;
        if self.role == Role::Server && young && !stream.has(flag::SENT_HEAD) {
            self.meter.charge(Flood::RapidReset, self.clock)?;
        }
        self.close(key, End::ByPeer);
        Ok(Some(Event::Reset { key, code, by_peer: true, processed: code != ErrorCode::REFUSED_STREAM }))
    }

    /// A frame that a closed stream may still get, and an idle one may not.
    fn late(&self, id: u32, idle: &'static str) -> Outcome {
        if self.is_idle_stream(id) { Err(ConnectionError::protocol(idle)) } else { Ok(None) }
    }

    pub(super) fn settings(&mut self, head: FrameHead, payload: &[u8], out: &mut Vec<u8>) -> Outcome {
        if head.stream != 0 {
            return Err(ConnectionError::protocol("SETTINGS on a stream"));
        }
        if head.has(flags::ACK) {
            if !payload.is_empty() {
                return Err(ConnectionError::size("SETTINGS acknowledgement with a payload"));
            }
            return self.settings_acknowledged();
        }
        if !payload.len().is_multiple_of(ENTRY_BYTES) {
            return Err(ConnectionError::size("SETTINGS of broken size"));
        }
        self.meter.charge(Flood::Settings, self.clock)?;
        let before = self.peer;
        self.peer.apply(payload, self.role == Role::Client)?;
        if self.peer.table_bytes != before.table_bytes {
            self.encoder.set_peer_limit(self.peer.table_bytes as usize);
        }
        let by = i64::from(self.peer.stream_window) - i64::from(before.stream_window);
        if by != 0 {
            self.change_windows(by)?;
        }
        out.extend_from_slice(
            &FrameHead { length: 0, kind: Kind::Settings, flags: flags::ACK, stream: 0 }.encode(),
        );
        Ok(Some(Event::Settings))
    }

    /// Section 6.9.2: a changed INITIAL_WINDOW_SIZE changes the windows of all streams, below zero if need be.
    fn change_windows(&mut self, by: i64) -> Result<(), ConnectionError> {
        for place in 0..self.streams.places() {
            let Some((key, stream)) = self.streams.at(place) else { continue };
            stream.send.change(by).map_err(|_| overflow())?;
            if stream.has(flag::SHORT) && stream.send.bytes() > 0 {
                self.streams.enqueue(key);
            }
        }
        Ok(())
    }

    /// The peer has taken over what we asked for at the start.
    fn settings_acknowledged(&mut self) -> Outcome {
        if self.acknowledged {
            return Err(ConnectionError::protocol("SETTINGS acknowledged twice"));
        }
        self.acknowledged = true;
        self.decoder.set_limit(self.limits.table_bytes as usize);
        // Until now a stream had the larger of both windows; see `stream_window`.
        let less = WINDOW_DEFAULT.saturating_sub(self.limits.stream_window);
        if less > 0 {
            for (_, stream) in self.streams.iter_mut() {
                stream.receive.shrink(less);
            }
        }
        Ok(None)
    }

    /// The window that a new stream has: what we asked for, but not less than the default before the peer knows.
    #[inline]
    pub(super) fn stream_window(&self) -> u32 {
        let window = self.limits.stream_window;
        if self.acknowledged { window } else { window.max(WINDOW_DEFAULT) }
    }

    pub(super) fn pinged(&mut self, head: FrameHead, payload: &[u8], out: &mut Vec<u8>) -> Outcome {
        if head.stream != 0 {
            return Err(ConnectionError::protocol("PING on a stream"));
        }
        let Ok(&bytes) = <&[u8; 8]>::try_from(payload) else {
            return Err(ConnectionError::size("PING is not 8 bytes"));
        };
        if !head.has(flags::ACK) {
            self.meter.charge(Flood::Ping, self.clock)?;
            put_ping(out, flags::ACK, bytes);
            return Ok(None);
        }
        if bytes == PING_DRAIN && matches!(self.drain, Drain::Asked { .. }) {
            self.finish_drain(out);
            return Ok(None);
        }
        if bytes == PING_ALIVE && self.pings > 0 {
            self.pings -= 1;
            return Ok(Some(Event::Pong));
        }
        self.meter.charge(Flood::Ping, self.clock)?;
        Ok(None)
    }

    pub(super) fn goaway(&mut self, head: FrameHead, payload: &[u8]) -> Outcome {
        if head.stream != 0 {
            return Err(ConnectionError::protocol("GOAWAY on a stream"));
        }
        let &[l0, l1, l2, l3, c0, c1, c2, c3, ..] = payload else {
            return Err(ConnectionError::size("GOAWAY is below 8 bytes"));
        };
        self.meter.charge(Flood::Empty, self.clock)?;
        let last = u32::from_be_bytes([l0, l1, l2, l3]) & STREAM_MAX;
        let code = ErrorCode(u32::from_be_bytes([c0, c1, c2, c3]));
        if self.peer_last.is_some_and(|before| last > before) {
            return Err(ConnectionError::protocol("GOAWAY took back what it had refused"));
        }
        self.peer_last = Some(last);
        if self.role == Role::Client {
            self.lose_above(last, code);
        }
        Ok(Some(Event::GoAway { code }))
    }

    /// Streams that the server will not process.
    fn lose_above(&mut self, last: u32, code: ErrorCode) {
        for place in 0..self.streams.places() {
            let Some((key, _)) = self.streams.at(place).filter(|(key, _)| key.id > last) else { continue };
            self.close(key, End::ByPeer);
            self.lost.push_back(Lost { key, code, by_peer: true, processed: false });
        }
    }

    pub(super) fn priority(&mut self, head: FrameHead, out: &mut Vec<u8>) -> Outcome {
        if head.stream == 0 {
            return Err(ConnectionError::protocol("PRIORITY on stream 0"));
        }
        if head.length != 5 {
            // Section 6.3: a stream error; where there is no stream, the connection's (section 5.4.1 allows it).
            let Some(key) = self.streams.find(head.stream) else {
                return Err(ConnectionError::size("PRIORITY is not 5 bytes"));
            };
            return self.stream_error(key, ErrorCode::FRAME_SIZE_ERROR, out);
        }
        self.meter.charge(Flood::Priority, self.clock)?;
        Ok(None)
    }

    /// A stream is gone.
    #[inline]
    pub(super) fn close(&mut self, key: Key, end: End) {
        if self.streams.remove(key).is_some() {
            self.past.ended(key.id, end);
            self.promised = 0;
            if end == End::Regular {
                self.meter.answered();
            }
        }
    }
}

fn overflow() -> ConnectionError {
    ConnectionError::new(ErrorCode::FLOW_CONTROL_ERROR, "window above 2^31 - 1")
}

/// Appends RST_STREAM.
pub(super) fn put_reset(out: &mut Vec<u8>, id: u32, code: ErrorCode) {
    out.extend_from_slice(&FrameHead { length: 4, kind: Kind::RstStream, flags: 0, stream: id }.encode());
    out.extend_from_slice(&code.0.to_be_bytes());
}

/// Appends WINDOW_UPDATE.
#[inline]
pub(super) fn put_window_update(out: &mut Vec<u8>, id: u32, more: u32) {
    out.extend_from_slice(&FrameHead { length: 4, kind: Kind::WindowUpdate, flags: 0, stream: id }.encode());
    out.extend_from_slice(&more.to_be_bytes());
}

/// Appends PING.
pub(super) fn put_ping(out: &mut Vec<u8>, flags: u8, payload: [u8; 8]) {
    out.extend_from_slice(&FrameHead { length: 8, kind: Kind::Ping, flags, stream: 0 }.encode());
    out.extend_from_slice(&payload);
}
