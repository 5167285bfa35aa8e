//! Simulation of exchanges: client connections, one after another, upstream connections that come and go,
//! and between them the reader, the writer and the decisions of `http::h1`, wired as a shard wires them.
//!
//! ```text
//!   client script ─pieces─▶ ┌ proxy: parse, normalise, encode ┐ ─▶ upstream scripts (slam, truncate,
//!   client's reading ◀───── └ body readers, Exchange          ┘ ◀─ surplus, garbage, early, idle close)
//! ```
//!
//! One step is one random event: bytes arrive somewhere, an upstream acts, a connection closes, the proxy
//! drains, the client vanishes. Invariants that are checked:
//! - an upstream reads whole requests, each one the client sent, unchanged; never bytes out of step;
//! - a request that is not idempotent reaches at most one upstream connection;
//! - the client gets answers in order, each to its request and as an upstream gave it (or the proxy's own),
//!   and nothing that nobody asked for;
//! - what was announced is what happens: after `close` nothing follows, otherwise the next request is served;
//! - when everything has come to rest, every request was answered or the connection is closed.
//!
//! Not here: sweeping seeds (`tests/sim_conn.rs`), pools' accounting (`super::pool`).

use std::collections::BTreeMap;

use client::{Planned, Received};
use proxy::Proxy;
pub use report::{Failure, Report};
use upstream::{Given, Upstream};
use wire::Wire;

use super::reader::Message;
use crate::http::RequestHead;
use crate::http::h1::conn::Exchange;
use crate::rng::Rng;

mod client;
mod proxy;
mod report;
mod upstream;
mod wire;

/// A step's outcome; an error says which invariant did not hold.
type Outcome<T = ()> = Result<T, String>;

/// Client connections of one run, at most.
const SESSIONS: u32 = 4;

/// How an exchange is made: [`Exchange::new`], or one with a planted bug.
pub type Make = fn(&RequestHead, bool, bool) -> Exchange;

/// Runs one client connection whose whole course follows from `seed`, for at most `steps` random steps
/// before everything is let come to rest.
///
/// # Errors
/// The first invariant that did not hold.
pub fn run(seed: u64, steps: u32, make: Make) -> Result<Report, Failure> {
    let mut world = World::new(seed, make);
    for step in 0..steps {
        world.step().map_err(|what| Failure { seed, step, what })?;
    }
    world.settle().map_err(|what| Failure { seed, step: steps, what })?;
    world.report.aborted = world.proxy.aborted();
    Ok(world.report)
}

struct World {
    rng: Rng,
    /// The requests of this client connection.
    planned: Vec<Planned>,
    /// Those of the ones before.
    past: Vec<Planned>,
    sessions_left: u32,
    /// Bytes of the client that have not arrived.
    coming: Vec<u8>,
    client_gone: bool,
    proxy: Proxy,
    upstreams: Vec<Upstream>,
    received: Received,
    given: Vec<Given>,
    /// Upstream connections that got bytes of a request.
    reached: BTreeMap<u64, Vec<usize>>,
    report: Report,
}

impl World {
    fn new(seed: u64, make: Make) -> Self {
        let mut world = World {
            rng: Rng::seeded(seed),
            planned: Vec::new(),
            past: Vec::new(),
            sessions_left: SESSIONS,
            coming: Vec::new(),
            client_gone: false,
            proxy: Proxy::new(make),
            upstreams: Vec::new(),
            received: Received::default(),
            given: Vec::new(),
            reached: BTreeMap::new(),
            report: Report::default(),
        };
        world.open();
        world
    }

    /// A client connects, with a few requests in mind. The upstream connections are those there were.
    fn open(&mut self) {
        self.past.append(&mut self.planned);
        self.coming.clear();
        let first = self.past.len() as u64 + 1;
        for id in first..=first + self.rng.below(6) {
            let (request, wire) = client::plan(&mut self.rng, id);
            self.planned.push(request);
            self.coming.extend_from_slice(&wire);
        }
        self.received = Received::default();
        self.client_gone = false;
        self.sessions_left -= 1;
        self.proxy.open();
    }

    fn step(&mut self) -> Outcome {
        if self.proxy.is_closed() && self.sessions_left > 0 && self.rng.below(10) == 0 {
            self.open();
        }
        match self.rng.below(100) {
            0..30 => self.client_sends(40),
            30..60 => self.upstream_arrives(),
            60..90 => self.upstream_acts(),
            90..95 => {
                if let Some(place) = self.any_upstream() {
                    self.upstreams[place].hang_up();
                }
                Ok(())
            }
            95..99 => self.upstream_closes(),
            _ if self.rng.below(20) == 0 => {
                self.proxy.drain();
                Ok(())
            }
            _ if self.rng.below(20) == 0 => {
                self.client_gone = true;
                self.coming.clear();
                self.proxy.client_vanishes();
                self.pump()
            }
            _ => Ok(()),
        }
    }

    /// Lets everything happen that is still to happen, and judges the end.
    fn settle(&mut self) -> Outcome {
        for _ in 0..300 {
            if self.proxy.is_closed() && self.sessions_left > 0 {
                self.open();
            }
            self.client_sends(u64::MAX)?;
            for _ in 0..=self.upstreams.len() {
                self.upstream_acts()?;
                self.upstream_arrives()?;
                self.upstream_closes()?;
            }
        }
        if self.client_gone || self.proxy.is_closed() {
            return Ok(());
        }
        if self.received.whole < self.planned.len() || self.received.has_part() {
            let state = self.proxy.describe();
            return Err(format!(
                "at rest with {} of {} answers: {state}",
                self.received.whole,
                self.planned.len()
            ));
        }
        Ok(())
    }

    fn any_upstream(&mut self) -> Option<usize> {
        let live: Vec<usize> =
            (0..self.upstreams.len()).filter(|&place| !self.upstreams[place].closed).collect();
        (!live.is_empty()).then(|| live[self.rng.below(live.len() as u64) as usize])
    }

    fn client_sends(&mut self, most: u64) -> Outcome {
        let most = most.min(self.coming.len() as u64);
        let size = if most == 0 { 0 } else { 1 + self.rng.below(most) as usize };
        if size > 0 {
            let piece: Vec<u8> = self.coming.drain(..size).collect();
            self.proxy.client_bytes(&piece);
            self.pump()?;
        }
        Ok(())
    }

    fn upstream_arrives(&mut self) -> Outcome {
        let Some(place) = self.any_upstream() else { return Ok(()) };
        let piece = self.upstreams[place].piece(&mut self.rng);
        if piece.is_empty() {
            return Ok(());
        }
        self.proxy.upstream_bytes(place, &piece)?;
        self.pump()
    }

    fn upstream_acts(&mut self) -> Outcome {
        let Some(place) = self.any_upstream() else { return Ok(()) };
        let (message, given) = self.upstreams[place].react(&mut self.rng)?;
        if let Some(message) = message {
            self.judge_request(&message)?;
        }
        self.given.extend(given);
        Ok(())
    }

    /// An upstream that closes is seen to have closed once all its bytes have arrived.
    fn upstream_closes(&mut self) -> Outcome {
        let Some(place) = self.any_upstream() else { return Ok(()) };
        if !self.upstreams[place].closing || self.upstreams[place].has_output() {
            return Ok(());
        }
        self.upstreams[place].closed = true;
        self.proxy.upstream_closed(place)?;
        self.pump()
    }

    /// An upstream read a whole request: one that the client sent, unchanged.
    fn judge_request(&self, message: &Message) -> Outcome {
        let id = message.one("x-id").unwrap_or_default();
        let Some(sent) = self.planned.iter().chain(&self.past).find(|sent| sent.id.to_string() == id) else {
            return Err(format!("an upstream got request {id:?}, which was never sent"));
        };
        let expected = [sent.method.to_owned(), format!("/r/{id}"), "HTTP/1.1".to_owned()];
        if message.start != expected || message.body != sent.body {
            return Err(format!("request {id} became {message:?}"));
        }
        if !message.all("x-hop").is_empty() || message.one("host").as_deref() != Some("sim") {
            return Err(format!("request {id} has fields it must not have: {message:?}"));
        }
        Ok(())
    }

    /// Carries out what the proxy wants done to the wires.
    fn pump(&mut self) -> Outcome {
        loop {
            let wires = self.proxy.pump(&mut self.report)?;
            if wires.is_empty() {
                return Ok(());
            }
            for wire in wires {
                self.carry(wire)?;
            }
        }
    }

    fn carry(&mut self, wire: Wire) -> Outcome {
        match wire {
            Wire::Connect { place } => {
                debug_assert_eq!(place, self.upstreams.len());
                let upstream = Upstream::new(&mut self.rng);
                self.upstreams.push(upstream);
                if self.rng.below(16) == 0 {
                    // The connection could not be made.
                    self.upstreams[place].closed = true;
                    return self.proxy.connect_failed(place);
                }
                self.proxy.connected(place)
            }
            Wire::Upstream { place, id, bytes } => {
                let reached = self.reached.entry(id).or_default();
                if !reached.contains(&place) {
                    reached.push(place);
                    self.report.reused += u64::from(self.upstreams[place].served > 0);
                    self.report.retried += u64::from(reached.len() > 1);
                }
                let again = reached.len() > 1;
                if again && self.planned.iter().any(|sent| sent.id == id && !sent.is_idempotent()) {
                    return Err(format!("request {id} is not idempotent and was sent twice"));
                }
                self.upstreams[place].receive(&bytes)
            }
            Wire::CloseUpstream { place } => {
                self.upstreams[place].closed = true;
                Ok(())
            }
            Wire::Client { bytes, ended } => {
                if self.client_gone {
                    return Ok(());
                }
                let whole = self.received.take(&bytes, ended, &self.planned)?;
                for message in whole {
                    self.judge_response(&message)?;
                }
                if ended && self.received.has_part() {
                    return Err("an orderly close in the middle of a response".into());
                }
                let last = self.planned.get(self.received.whole.wrapping_sub(1));
                let announced = self.received.told_close || last.is_none_or(|last| !last.keep);
                if ended && !announced {
                    return Err("closed without having said so".into());
                }
                Ok(())
            }
        }
    }

    /// The client read a whole final response: the next one in order, as given.
    fn judge_response(&mut self, message: &Message) -> Outcome {
        let Some(request) = self.planned.get(self.received.whole.wrapping_sub(1)) else {
            return Err("no request for a response".into());
        };
        if self.received.whole == 2 {
            self.report.kept += 1;
        }
        if message.one("x-own").is_some() {
            self.report.own += 1;
            return Ok(());
        }
        self.report.relayed += 1;
        let seen = Given { id: request.id, status: message.status(), body: message.body.clone() };
        if message.one("x-id") != Some(request.id.to_string()) || !self.given.contains(&seen) {
            return Err(format!("the answer to request {} is {message:?}", request.id));
        }
        Ok(())
    }
}
