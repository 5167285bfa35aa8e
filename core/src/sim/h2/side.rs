//! One end of the simulated connection: its machine, and what the machine's caller keeps.
//!
//! Not here: what it does when (`super`).

use super::Outcome;
use super::shadow::Direction;
use crate::http::h2::{Budget, Connection, ConnectionError, Event, Flood, Key, Limits, Rate, Scratch};
use crate::http::{RequestHead, ResponseHead};
use crate::rng::Rng;
use crate::time::Instant;

/// Which end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    Client = 0,
    Server = 1,
}

impl Role {
    pub(super) const fn other(self) -> Self {
        match self {
            Role::Client => Role::Server,
            Role::Server => Role::Client,
        }
    }

    /// What it sends.
    pub(super) const fn direction(self) -> Direction {
        match self {
            Role::Client => Direction::Request,
            Role::Server => Direction::Response,
        }
    }
}

/// Random behaviour looks like a flood, and is none here.
static ENDLESS: Budget = {
    let rate = Rate { burst: u32::MAX, per_second: 0, per_useful: 0, per_answered: 0 };
    Budget([rate; Flood::COUNT])
};

pub(super) struct Side {
    pub(super) machine: Connection,
    pub(super) out: Vec<u8>,
    /// Bytes on their way to it.
    pub(super) coming: Vec<u8>,
    pub(super) text: Vec<u8>,
    pub(super) request: Box<RequestHead>,
    pub(super) response: Box<ResponseHead>,
    /// Content that came and was not consumed.
    pub(super) held: Vec<(Key, usize)>,
    /// Pings without an answer.
    pub(super) pings: u32,
}

/// A client and a server with limits of their own; what they say first is on its way.
/// Also says the smaller window of a stream.
pub(super) fn pair(rng: &mut Rng) -> (Side, Side, usize) {
    let mut limits = |base: Limits| Limits {
        concurrent_streams: 1 + rng.below(12) as u32,
        stream_window: [1, 10, 1_000, 65_535, 300_000][rng.below(5) as usize],
        connection_window: [0, 100_000, 1_000_000][rng.below(3) as usize],
        frame_bytes: [16_384, 20_000][rng.below(2) as usize],
        table_bytes: [0, 100, 4_096, 10_000][rng.below(4) as usize],
        budget: &ENDLESS,
        ..base
    };
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let (ours, theirs) = (limits(Limits::client()), limits(Limits::server()));
    let window = ours.stream_window.min(theirs.stream_window) as usize;
    let client = Connection::client(ours, &mut first);
    let server = Connection::server(theirs, &mut second);
    (Side::new(client, second), Side::new(server, first), window)
}

impl Side {
    fn new(machine: Connection, coming: Vec<u8>) -> Self {
        Side {
            machine,
            out: Vec::new(),
            coming,
            text: Vec::new(),
            request: Box::new(RequestHead::new()),
            response: Box::new(ResponseHead::new()),
            held: Vec::new(),
            pings: 0,
        }
    }

    pub(super) fn receive<'a>(
        &mut self,
        bytes: &mut &'a [u8],
        now: Instant,
    ) -> Result<Option<Event<'a>>, ConnectionError> {
        // What an earlier response left behind is no interim head.
        self.response.status = 0;
        let mut scratch =
            Scratch { text: &mut self.text, request: &mut self.request, response: &mut self.response };
        self.machine.receive(bytes, now, &mut scratch, &mut self.out)
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.held.iter().map(|(_, bytes)| bytes).sum()
    }

    /// Nothing is left.
    pub(super) fn at_rest(&self) -> Outcome {
        let left = (self.machine.active(), self.coming.len(), self.held.len(), self.pings);
        if left != (0, 0, 0, 0) || !self.machine.is_idle() {
            return Err(format!("streams, bytes, content, pings left: {left:?}"));
        }
        if self.machine.is_draining() && !self.machine.is_over() {
            return Err("a drain without an end".into());
        }
        Ok(())
    }
}
