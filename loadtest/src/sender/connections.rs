//! How connections come and go.

use super::CONNECT_NANOS_MAX;
use super::core::Core;
use super::slot::Phase;
use super::stream::{self, Addresses, Opening};
use crate::client::calls::Calls;
use crate::client::echo::Echo;
use crate::client::failure::Failure;
use crate::client::http1::Http1;
use crate::client::proxy_protocol;
use crate::client::streams::Streams;
use crate::client::tls::Session;
use crate::client::websocket::WebSocket;
use crate::client::wire::{Output, Wire};
use crate::http2::client::ClientOptions;
use crate::plan::{Speaks, WINDOW_BYTES, source_of};
use crate::sys::SocketNumber;

/// How long to wait after a failed connect before the next try on the same slot, in nanoseconds.
const RECONNECT_NANOS: u64 = 50_000_000;

/// How often a connection fails before the start of the run stops waiting for it: about a second.
const FAILURES_ENOUGH: u32 = 20;

/// The most connections that are being made at once: more would overflow the queues of listeners, which costs
/// seconds.
const OPENING_MAX: usize = 128;

/// The largest HTTP/2 frame that is taken, in bytes.
const FRAME_BYTES_MAX: u32 = 64 * 1024;

impl Core {
    /// Opens every slot.
    pub(super) fn open_all(&mut self) {
        for slot in 0..self.slots.len() {
            self.open(slot);
        }
    }

    /// How many slots have a connection that can carry requests, or is to stay idle.
    pub(super) fn connected(&self) -> usize {
        self.slots.iter().filter(|slot| slot.is_usable()).count()
    }

    /// Whether waiting for the connections that are missing would be in vain: each of them failed, once if there
    /// is not one connection, else so often that it is no moment's trouble.
    pub(super) fn is_hopeless(&self, connected: usize) -> bool {
        let enough = if connected == 0 { 1 } else { FAILURES_ENOUGH };
        self.slots.iter().all(|slot| slot.failures >= enough || slot.is_usable())
    }

    /// Why connections are missing, and which peer that is about.
    pub(super) fn why_unconnected(&self) -> String {
        self.unconnected.clone().unwrap_or_else(|| {
            let missing = self.slots.iter().find(|slot| !slot.is_usable());
            let peer = &self.job.groups[missing.map_or(0, |slot| slot.group)].peer;
            format!("{peer}: no answer for {} s", CONNECT_NANOS_MAX / 1_000_000_000)
        })
    }

    /// Makes a connection for a slot, at once or when fewer are under way.
    pub(super) fn open(&mut self, index: usize) {
        if self.opening >= OPENING_MAX {
            self.unopened.push_back(index);
            return;
        }
        let Some(shared) = self.me.upgrade() else { return };
        self.opening += 1;
        let now = self.clock.now();
        let slot = &mut self.slots[index];
        slot.open(now);
        let opening = Opening {
            slot: index,
            generation: slot.generation,
            peer: self.job.groups[slot.group].peer.clone(),
            source: source_of(&self.job.sources, index),
            is_idle: slot.is_idle,
        };
        drop(monoio::spawn(stream::live(shared, opening)));
    }

    /// One less under way: another one may begin.
    fn on_opened(&mut self) {
        self.opening -= 1;
        if let Some(next) = self.unopened.pop_front() {
            self.open(next);
        }
    }

    /// A connecting slot's socket exists.
    pub(super) fn on_socket(&mut self, index: usize, generation: u32, socket: SocketNumber) {
        let slot = &mut self.slots[index];
        if slot.generation == generation {
            slot.socket = Some(socket);
        }
    }

    /// A slot's socket is connected; says whether it is still wanted.
    pub(super) fn on_connected(&mut self, index: usize, generation: u32, addresses: Addresses) -> bool {
        let now = self.clock.now();
        let slot = &mut self.slots[index];
        if slot.generation != generation {
            return false;
        }
        let group = &self.job.groups[slot.group];
        if let (Some((version, named)), Some((local, remote))) = (group.proxy_protocol, addresses) {
            proxy_protocol::write(version, named.unwrap_or(local), remote, &mut slot.out);
        }
        match &group.tls {
            None => {
                let is_http2 = group.speaks == Speaks::Http2;
                self.on_ready(index, is_http2, now);
            }
            Some(settings) => match Session::new(settings) {
                Ok(mut session) => {
                    session.flush(&mut slot.out);
                    slot.tls = Some(session);
                    slot.phase = Phase::Securing;
                }
                Err(failure) => {
                    self.lose(index, failure);
                    return false;
                }
            },
        }
        self.mark_dirty(index);
        self.flush_dirty(now);
        self.slots[index].generation == generation
    }

    /// The handshake of a slot's session is done.
    pub(super) fn on_secured(&mut self, index: usize, session: &Session, now: u64) {
        if session.is_resumed() {
            self.measure.handshakes.resumed += 1;
        } else {
            self.measure.handshakes.full += 1;
        }
        self.on_ready(index, session.is_http2(), now);
    }

    /// A slot can carry requests, or what its protocol needs before.
    fn on_ready(&mut self, index: usize, is_http2: bool, now: u64) {
        let group = &self.job.groups[self.slots[index].group];
        let first = &self.job.items[group.first].request;
        let options = ClientOptions {
            max_streams: self.job.streams,
            window: WINDOW_BYTES,
            frame_bytes_max: FRAME_BYTES_MAX,
            counted: self.job.counted,
        };
        let mut wire = match group.speaks {
            Speaks::Negotiated | Speaks::Http2 if is_http2 => Wire::Http2(Box::new(Streams::new(options))),
            Speaks::Http2 => Wire::Http2(Box::new(Streams::new(options))),
            Speaks::Negotiated | Speaks::Http1 => Wire::Http1(Http1::new(self.job.counted)),
            Speaks::Calls => Wire::Calls(Box::new(Calls::new(options, &first.block))),
            Speaks::WebSocket => Wire::WebSocket(WebSocket::new(first)),
            Speaks::Echo => Wire::Echo(Echo::default()),
        };
        let slot = &mut self.slots[index];
        slot.phase = Phase::Ready;
        self.pools[slot.group].ready += 1;
        self.measure.connects += 1;
        self.measure.connect_times.saturating_record(now.saturating_sub(slot.opened));
        if !slot.is_idle {
            // A session's plain text is encrypted by whoever holds the session.
            let bytes =
                if slot.tls.is_some() || group.tls.is_some() { &mut self.plain_out } else { &mut slot.out };
            wire.begin(&mut Output { bytes, random: &mut self.random });
        }
        slot.wire = Some(wire);
        self.on_opened();
        self.list(index);
    }

    /// A slot's task says that its connection ended.
    pub(super) fn on_end(&mut self, index: usize, generation: u32, failure: Failure) {
        if self.slots[index].generation == generation {
            if failure == Failure::Closed {
                self.on_close(index);
            }
            if self.slots[index].generation == generation {
                self.lose(index, failure);
            }
            let now = self.clock.now();
            self.flush_dirty(now);
        }
    }

    /// A slot's socket takes more.
    pub(super) fn on_writable(&mut self, index: usize, generation: u32) {
        let slot = &mut self.slots[index];
        if slot.generation == generation {
            slot.is_blocked = false;
            self.flush(index);
        }
    }

    /// Writes what the socket takes.
    pub(super) fn flush(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        let Some(socket) = slot.socket.filter(|_| !slot.is_blocked) else { return };
        while slot.written < slot.out.len() {
            match socket.send(&slot.out[slot.written..]) {
                Ok(length) => {
                    slot.written += length;
                    self.measure.bytes_out += length as u64;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    slot.is_blocked = true;
                    let Some(shared) = self.me.upgrade() else { return };
                    drop(monoio::spawn(stream::wait_writable(shared, index, slot.generation, socket)));
                    return;
                }
                // What came before the end may still be read: the task that reads finds the end.
                Err(_) => break,
            }
        }
        slot.out.clear();
        slot.written = 0;
    }

    /// A connection is of no more use; the requests on it have failed or are sent again.
    pub(super) fn lose(&mut self, index: usize, failure: Failure) {
        let slot = &mut self.slots[index];
        let was_opening = matches!(slot.phase, Phase::Connecting | Phase::Securing);
        let had_requests = !slot.tickets.is_empty();
        let was_used = slot.requests > 0;
        // Whatever ended a handshake is told as that.
        let failure = match (slot.phase, failure) {
            (Phase::Connecting, _) => Failure::Connect,
            (Phase::Securing, _) => Failure::Tls,
            (_, failure) => failure,
        };
        let is_stale = slot.wire.as_ref().is_some_and(Wire::is_stale)
            && matches!(failure, Failure::Reset | Failure::Closed);
        self.abandon(index, failure, is_stale);
        self.vacate(index);
        let why = self.why.take();
        if !was_used {
            self.slots[index].failures = self.slots[index].failures.saturating_add(1);
            self.unconnected = Some(self.explain(index, failure, why));
        }
        if was_opening {
            self.on_opened();
        } else if self.slots[index].is_idle {
            self.measure.idle_lost += 1;
        }
        if had_requests || was_used && !was_opening {
            self.open(index);
        } else {
            // A peer that closes at once must not be asked again at once.
            self.broken.push_back((self.clock.now() + RECONNECT_NANOS, index));
        }
        if was_opening {
            self.on_unconnected(self.slots[index].group, failure);
        }
    }

    /// What ended a connection before its first request, for people.
    fn explain(&self, index: usize, failure: Failure, why: Option<String>) -> String {
        let group = &self.job.groups[self.slots[index].group];
        let why = why.unwrap_or_else(|| match (failure, group.speaks) {
            (Failure::Tls, _) => "the peer ended the handshake".to_owned(),
            (Failure::Malformed, Speaks::Http2 | Speaks::Calls) => {
                "what the peer answers is not HTTP/2".to_owned()
            }
            (Failure::Malformed | Failure::Refused, Speaks::WebSocket) => {
                "the peer does not accept WebSocket connections for this path".to_owned()
            }
            (Failure::Malformed, _) => "the peer spoke before it was asked".to_owned(),
            _ => "the peer ended the connection before its first request".to_owned(),
        });
        format!("{}: {}: {why}", group.peer, failure.label())
    }

    /// While nothing at all is connected in a group, what waits for it fails.
    fn on_unconnected(&mut self, group: usize, failure: Failure) {
        if self.pools[group].ready == 0 {
            self.fail_waiting(group, failure);
        }
    }

    /// Ends a connection that has nothing on it, and opens another one in its place.
    pub(super) fn replace(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        if let Some(wire) = &mut slot.wire {
            let bytes = if slot.tls.is_some() { &mut self.plain_out } else { &mut slot.out };
            wire.end(&mut Output { bytes, random: &mut self.random });
        }
        if let Some(tls) = &mut slot.tls {
            tls.send(&self.plain_out, &mut slot.out);
            self.plain_out.clear();
            tls.close(&mut slot.out);
        }
        self.flush(index);
        self.vacate(index);
        self.open(index);
    }

    fn vacate(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        if let Some(socket) = slot.socket {
            socket.shut_down();
        }
        if slot.phase == Phase::Ready {
            self.pools[slot.group].ready -= 1;
        }
        slot.vacate();
    }

    /// Tries the slots again whose last connect failed long enough ago.
    pub(super) fn reopen(&mut self) {
        let now = self.clock.now();
        while let Some(&(_, index)) = self.broken.front().filter(|(at, _)| *at <= now) {
            self.broken.pop_front();
            self.open(index);
        }
    }

    /// Replaces the connections whose time has come.
    pub(super) fn churn(&mut self, now: u64) {
        let Some(gap) = self.job.churn else { return };
        while let Some((at, index)) = self.churn.filter(|(at, _)| *at <= now as f64) {
            // Those that are to stay idle stand behind the others.
            let active = self.slots.len() - self.job.idle_connections;
            self.churn = Some((at + gap, (index + 1) % active));
            let slot = &mut self.slots[index];
            if slot.phase == Phase::Ready {
                slot.is_retiring = true;
                if slot.is_spent() {
                    self.replace(index);
                }
            }
        }
    }
}
