//! Simulation of HTTP/2 connections: a client's machine against a server's, bytes between them in random pieces, both
//! doing at random what users of the machine may do.
//!
//! ```text
//!   ┌ client ┐ out ─▶ coming (torn anywhere) ─▶ ┌ server ┐
//!   └────────┘ ◀───────────────────── coming ◀─ └────────┘      windows, limits and frame sizes differ by seed
//!        both check every event against the shadow of each stream (`shadow`)
//! ```
//!
//! One step is one random event: bytes arrive, a stream is opened, a head, content or trailers are sent, content is
//! consumed, a stream is reset, time goes on, one side drains. Invariants that are checked:
//! - heads, content and trailers arrive unchanged, in order, once, and only what was sent;
//! - nothing is told about a stream after its end or reset; every reset has a cause;
//! - neither machine finds fault with the other;
//! - when everything has come to rest, every stream has ended on both sides, no window is lost, and nothing waits.
//!
//! Not here: sweeping seeds (`tests/sim_h2.rs`), peers that break rules (`http::h2::connection`'s tests).

use std::time::Duration;

use crate::http::h2::frame::ErrorCode;
use crate::http::h2::{Event, Sent};
use crate::rng::Rng;
use crate::time::Instant;
pub use report::{Failure, Report};
use shadow::{Direction, Shadow};
use side::{Role, Side};

mod messages;
mod report;
mod shadow;
mod side;

/// A step's outcome; an error says which invariant did not hold.
type Outcome<T = ()> = Result<T, String>;

/// Runs one connection whose whole course follows from `seed`, for at most `steps` random steps before everything is
/// let come to rest.
///
/// # Errors
/// The first invariant that did not hold.
pub fn run(seed: u64, steps: u32) -> Result<Report, Failure> {
    let mut world = World::new(seed);
    for step in 0..steps {
        world.step().map_err(|what| Failure { seed, step, what })?;
    }
    world.settle().map_err(|what| Failure { seed, step: steps, what })?;
    Ok(world.report)
}

struct World {
    rng: Rng,
    now: Instant,
    client: Side,
    server: Side,
    streams: Vec<Shadow>,
    /// The smaller window of a stream.
    window: usize,
    /// Nothing new is begun.
    settling: bool,
    report: Report,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::seeded(seed);
        let (client, server, window) = side::pair(&mut rng);
        World {
            rng,
            window,
            now: Instant::from_nanos(1 << 40),
            client,
            server,
            streams: Vec::new(),
            settling: false,
            report: Report::default(),
        }
    }

    fn side(&mut self, role: Role) -> &mut Side {
        match role {
            Role::Client => &mut self.client,
            Role::Server => &mut self.server,
        }
    }

    fn any_role(&mut self) -> Role {
        if self.rng.below(2) == 0 { Role::Client } else { Role::Server }
    }

    fn step(&mut self) -> Outcome {
        let role = self.any_role();
        match self.rng.below(100) {
            0..40 => self.deliver(role),
            40..52 => self.open(),
            52..80 => self.send(role),
            80..92 => self.consume(role),
            92..95 => self.reset(role),
            95..97 => {
                self.now = self.now.after(Duration::from_millis(self.rng.below(50)));
                self.on_time(role)
            }
            97..99 => {
                let now = self.now;
                let side = self.side(role);
                side.machine.ping(&mut side.out, now);
                side.pings += 1;
                self.pass_on(role)
            }
            _ if self.rng.below(8) == 0 => self.drain(role),
            _ => Ok(()),
        }
    }

    /// What one side has written is on its way to the other.
    fn pass_on(&mut self, from: Role) -> Outcome {
        let bytes = std::mem::take(&mut self.side(from).out);
        self.side(from.other()).coming.extend_from_slice(&bytes);
        self.queued(from)
    }

    /// Some of the bytes on their way arrive.
    fn deliver(&mut self, to: Role) -> Outcome {
        let most = [1, 9, 100, 20_000][self.rng.below(4) as usize];
        let n = if self.settling { usize::MAX } else { 1 + self.rng.below(most) as usize };
        let now = self.now;
        let side = self.side(to);
        let n = n.min(side.coming.len());
        let bytes: Vec<u8> = side.coming.drain(..n).collect();
        let mut rest = bytes.as_slice();
        loop {
            let side = self.side(to);
            let event = side.receive(&mut rest, now).map_err(|error| format!("{to:?} gives up: {error}"))?;
            let Some(event) = event else { break };
            self.judge(to, event)?;
        }
        if !rest.is_empty() {
            return Err(format!("{to:?} left {} bytes", rest.len()));
        }
        self.pass_on(to)
    }

    fn queued(&mut self, at: Role) -> Outcome {
        while let Some(event) = self.side(at).machine.next_queued() {
            self.judge(at, event)?;
        }
        Ok(())
    }

    /// An event against what was done.
    fn judge(&mut self, at: Role, event: Event<'_>) -> Outcome {
        let text = String::from_utf8_lossy(&self.side(at).text).into_owned();
        let interim = at == Role::Client && self.side(at).response.is_interim();
        match event {
            Event::Head { key, end } if interim => {
                self.report.interim += 1;
                self.shadow(key.id())?.interim_came(end)
            }
            Event::Head { key, end } => {
                let shadow = self.shadow(key.id())?;
                shadow.keys[at as usize] = Some(key);
                shadow.head_came(at, end, &text)
            }
            Event::HeadRefused { key, error, .. } => Err(format!("head of {} refused: {error:?}", key.id())),
            Event::Trailers { key } => {
                self.report.trailers += 1;
                self.shadow(key.id())?.trailers_came(at, &text)
            }
            Event::Data { key, bytes, end } => {
                let side = self.side(at);
                side.held.push((key, bytes.len()));
                self.shadow(key.id())?.data_came(at, bytes, end)
            }
            Event::Reset { key, code, by_peer, processed } => {
                if !by_peer {
                    return Err(format!("{at:?} reset {} itself: {code:?}", key.id()));
                }
                self.report.resets += 1;
                self.report.refused += u64::from(!processed);
                self.shadow(key.id())?.reset_came(at, code, processed)
            }
            Event::Writable { key } => {
                self.report.short += 1;
                self.shadow(key.id())?.writable_came(at)
            }
            Event::GoAway { code: ErrorCode::NO_ERROR } => {
                self.report.drained += 1;
                Ok(())
            }
            Event::GoAway { code } => Err(format!("{at:?} was told to go away: {code:?}")),
            Event::Settings => Ok(()),
            Event::Pong => {
                let side = self.side(at);
                side.pings = side.pings.checked_sub(1).ok_or("a pong that nobody asked for")?;
                Ok(())
            }
        }
    }

    fn shadow(&mut self, id: u32) -> Outcome<&mut Shadow> {
        let found = self.streams.iter_mut().rfind(|stream| stream.id == id);
        found.ok_or_else(|| format!("an event of stream {id}, which there is not"))
    }

    /// The client asks for something.
    fn open(&mut self) -> Outcome {
        if self.settling || !self.client.machine.may_open() {
            return Ok(());
        }
        let mut shadow = Shadow::plan(&mut self.rng, self.window);
        let client = &mut self.client;
        let end = shadow.flow(Direction::Request).total == 0 && !shadow.flow(Direction::Request).trailers;
        let request = messages::Request::new(&shadow, self.streams.len());
        let opened = client
            .machine
            .open(&mut client.out, shadow.method, end, |encoder, out| request.encode(encoder, out));
        let key = opened.ok_or("it may open and does not")?;
        shadow.begin(key, end, self.streams.len());
        self.streams.push(shadow);
        self.report.opened += 1;
        self.pass_on(Role::Client)
    }

    /// A stream of those that one side has not finished.
    fn any_stream(&mut self, wanted: impl Fn(&Shadow) -> bool) -> Option<usize> {
        let places: Vec<usize> =
            (0..self.streams.len()).filter(|&place| wanted(&self.streams[place])).collect();
        places.get(self.rng.below(places.len() as u64) as usize).copied()
    }

    /// One side sends the next thing of some stream.
    fn send(&mut self, from: Role) -> Outcome {
        let Some(place) = self.any_stream(|stream| stream.may_send(from)) else { return Ok(()) };
        let size = [1, 100, 5_000, 40_000][self.rng.below(4) as usize];
        let size = 1 + self.rng.below(size) as usize;
        let interim = from == Role::Server && !self.settling && self.rng.below(4) == 0;
        let World { client, server, streams, report, .. } = self;
        let side = if from == Role::Client { client } else { server };
        let shadow = &mut streams[place];
        let Some(key) = shadow.keys[from as usize] else { return Ok(()) };
        if !shadow.flow(from.direction()).head {
            report.early += u64::from(!shadow.flow(Direction::Request).done);
            messages::answer(side, shadow, key, interim)?;
            return self.pass_on(from);
        }
        let flow = shadow.flow(from.direction());
        let bytes = flow.next_bytes(size);
        let last = flow.sent + bytes.len() == flow.total;
        let end = last && !flow.trailers;
        if bytes.is_empty() && flow.trailers {
            if !side.machine.send_trailers(key, &mut side.out, messages::TRAILERS) {
                return Err(format!("{from:?} can't send trailers on {}", key.id()));
            }
            shadow.flow_mut(from.direction()).ended = true;
            return self.pass_on(from);
        }
        match side.machine.send_data(key, &mut side.out, &bytes, end) {
            Sent::Gone => return Err(format!("{from:?} can't send on {}", key.id())),
            Sent::Some(n) => {
                let short = n < bytes.len();
                let flow = shadow.flow_mut(from.direction());
                flow.sent += n;
                flow.ended = end && !short;
                flow.waits = short;
            }
        }
        self.pass_on(from)
    }

    /// One side passes on some of what it got.
    fn consume(&mut self, at: Role) -> Outcome {
        let choice = self.rng.bits();
        let whole = self.rng.below(2) == 0;
        let side = self.side(at);
        if side.held.is_empty() {
            return Ok(());
        }
        let place = (choice % side.held.len() as u64) as usize;
        let (key, held) = side.held[place];
        let n = if whole { held } else { held / 2 };
        if n == held {
            side.held.swap_remove(place);
        } else {
            side.held[place].1 -= n;
        }
        side.machine.consumed(key, n, &mut side.out);
        self.pass_on(at)
    }

    fn reset(&mut self, by: Role) -> Outcome {
        let alive = |stream: &Shadow| stream.keys[by as usize].is_some() && !stream.over[by as usize];
        let Some(place) = self.any_stream(alive).filter(|_| !self.settling) else { return Ok(()) };
        let World { client, server, streams, .. } = self;
        let side = if by == Role::Client { client } else { server };
        let shadow = &mut streams[place];
        if let Some(key) = shadow.keys[by as usize] {
            side.machine.reset(key, ErrorCode::CANCEL, &mut side.out);
            shadow.reset_by(by);
        }
        self.pass_on(by)
    }

    fn on_time(&mut self, at: Role) -> Outcome {
        let now = self.now;
        let side = self.side(at);
        let next = side.machine.on_time(now, &mut side.out).map_err(|error| format!("{at:?}: {error}"))?;
        if next <= now {
            return Err("what is due now was not done".into());
        }
        self.pass_on(at)
    }

    fn drain(&mut self, by: Role) -> Outcome {
        let side = self.side(by);
        side.machine.drain(&mut side.out);
        self.pass_on(by)
    }

    /// Everything that was begun is finished, however long it takes; then nothing may be left.
    fn settle(&mut self) -> Outcome {
        self.settling = true;
        let mut quiet = 0;
        while quiet < 200 {
            let before = self.progress();
            for role in [Role::Client, Role::Server] {
                self.deliver(role)?;
                self.consume(role)?;
                self.send(role)?;
            }
            quiet = if self.progress() == before { quiet + 1 } else { 0 };
            if quiet == 100 {
                // A drain may wait for its ping no longer.
                self.now = self.now.after(Duration::from_secs(3));
                self.on_time(Role::Client)?;
                self.on_time(Role::Server)?;
            }
        }
        for stream in &self.streams {
            stream.at_rest()?;
        }
        self.report.answered += self.streams.iter().filter(|stream| stream.is_answered()).count() as u64;
        for side in [&self.client, &self.server] {
            side.at_rest()?;
        }
        Ok(())
    }

    /// Changes whenever something happens.
    fn progress(&self) -> (usize, usize, usize, usize) {
        let sent: usize = self.streams.iter().map(Shadow::progress).sum();
        let coming = self.client.coming.len() + self.server.coming.len();
        (sent, coming, self.client.held_bytes(), self.server.held_bytes())
    }
}
