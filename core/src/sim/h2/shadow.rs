//! What should be true of a simulated stream: what was planned, what was sent, what came.
//!
//! Not here: doing any of it (`super`).

use super::Outcome;
use super::side::Role;
use crate::http::Method;
use crate::http::h2::Key;
use crate::http::h2::frame::ErrorCode;
use crate::rng::Rng;

/// From client to server, or back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Direction {
    Request = 0,
    Response = 1,
}

/// One direction of a stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Flow {
    /// Content that is planned.
    pub(super) total: usize,
    /// Its length is declared.
    pub(super) declared: bool,
    pub(super) trailers: bool,
    /// Sent: the head, so much content, the end.
    pub(super) head: bool,
    pub(super) sent: usize,
    pub(super) ended: bool,
    /// A send was short, and nothing was told since.
    pub(super) waits: bool,
    /// Came: the head, so much content, the end.
    came_head: bool,
    came: usize,
    pub(super) done: bool,
    /// What content is made of.
    seed: usize,
}

impl Flow {
    fn byte(&self, at: usize) -> u8 {
        (self.seed.wrapping_mul(31).wrapping_add(at * 7) >> 2) as u8
    }

    /// The next content to send, at most `size` bytes.
    pub(super) fn next_bytes(&self, size: usize) -> Vec<u8> {
        (self.sent..self.total.min(self.sent + size)).map(|at| self.byte(at)).collect()
    }
}

/// One stream.
#[derive(Clone, Debug)]
pub(super) struct Shadow {
    pub(super) id: u32,
    /// In the order of opening.
    pub(super) number: usize,
    pub(super) method: Method,
    /// Of client and server, once they have one.
    pub(super) keys: [Option<Key>; 2],
    /// Client and server have no use for it any more.
    pub(super) over: [bool; 2],
    /// Client and server have reset it.
    reset: [bool; 2],
    flows: [Flow; 2],
}

impl Shadow {
    /// A stream to come. `window`: the smaller one of both sides; content is a few hundred windows at most.
    pub(super) fn plan(rng: &mut Rng, window: usize) -> Self {
        let method = [Method::Get, Method::Head, Method::Post, Method::Post][rng.below(4) as usize];
        let mut flow = |empty: bool| {
            let size = [1, 200, 30_000, 150_000][rng.below(4) as usize];
            let total = if empty { 0 } else { (rng.below(size) as usize).min(window * 100) };
            Flow {
                total,
                declared: rng.below(2) == 0,
                trailers: !empty && rng.below(4) == 0,
                seed: rng.below(1 << 20) as usize,
                ..Flow::default()
            }
        };
        let flows = [flow(method != Method::Post), flow(method == Method::Head)];
        Shadow { id: 0, number: 0, method, keys: [None; 2], over: [false; 2], reset: [false; 2], flows }
    }

    pub(super) fn begin(&mut self, key: Key, end: bool, number: usize) {
        self.id = key.id();
        self.number = number;
        self.keys[Role::Client as usize] = Some(key);
        let request = self.flow_mut(Direction::Request);
        request.head = true;
        request.ended = end;
    }

    pub(super) fn flow(&self, direction: Direction) -> &Flow {
        &self.flows[direction as usize]
    }

    pub(super) fn flow_mut(&mut self, direction: Direction) -> &mut Flow {
        &mut self.flows[direction as usize]
    }

    /// What comes to one side.
    fn coming(&mut self, at: Role) -> Outcome<&mut Flow> {
        if self.over[at as usize] {
            return Err(format!("{at:?} hears of {} after its end", self.id));
        }
        let flow = &mut self.flows[at.other().direction() as usize];
        if flow.done {
            return Err(format!("{at:?} hears of {} after the other's end", self.id));
        }
        Ok(flow)
    }

    /// Whether one side has something to send.
    pub(super) fn may_send(&self, from: Role) -> bool {
        let flow = self.flow(from.direction());
        self.keys[from as usize].is_some() && !self.over[from as usize] && !flow.ended && !flow.waits
    }

    pub(super) fn head_came(&mut self, at: Role, end: bool, text: &str) -> Outcome {
        let number = self.number;
        let flow = self.coming(at)?;
        if !flow.head || flow.came_head {
            return Err(format!("a head of {number} that was not sent, or twice"));
        }
        flow.came_head = true;
        if !text.contains(&format!("x-number: {number}\r\n")) {
            return Err(format!("the head of {number} became {text:?}"));
        }
        self.ends(at, end)
    }

    pub(super) fn interim_came(&mut self, end: bool) -> Outcome {
        let flow = self.coming(Role::Client)?;
        if end || flow.came_head { Err("an interim head in the wrong place".into()) } else { Ok(()) }
    }

    pub(super) fn data_came(&mut self, at: Role, bytes: &[u8], end: bool) -> Outcome {
        let id = self.id;
        let flow = self.coming(at)?;
        let right = bytes.iter().enumerate().all(|(n, &byte)| byte == flow.byte(flow.came + n));
        flow.came += bytes.len();
        if !flow.came_head || !right || flow.came > flow.sent {
            return Err(format!("content of {id} that was not sent, up to {} of {}", flow.came, flow.sent));
        }
        if bytes.is_empty() && !end {
            return Err("content without content".into());
        }
        self.ends(at, end)
    }

    pub(super) fn trailers_came(&mut self, at: Role, text: &str) -> Outcome {
        let flow = self.coming(at)?;
        if !flow.trailers || text.as_bytes() != super::messages::TRAILERS {
            return Err(format!("trailers that were not sent: {text:?}"));
        }
        self.ends(at, true)
    }

    fn ends(&mut self, at: Role, end: bool) -> Outcome {
        let id = self.id;
        let flow = self.coming(at)?;
        if end {
            if !flow.ended || flow.came != flow.total {
                return Err(format!("{id} ends after {} of {}", flow.came, flow.total));
            }
            flow.done = true;
        }
        Ok(())
    }

    pub(super) fn writable_came(&mut self, at: Role) -> Outcome {
        let id = self.id;
        let flow = self.flow_mut(at.direction());
        if !flow.waits {
            return Err(format!("{at:?} may write on {id} and did not wait"));
        }
        flow.waits = false;
        Ok(())
    }

    /// One side reset it.
    pub(super) fn reset_by(&mut self, by: Role) {
        self.reset[by as usize] = true;
        self.over[by as usize] = true;
    }

    /// One side hears that it is gone.
    pub(super) fn reset_came(&mut self, at: Role, code: ErrorCode, processed: bool) -> Outcome {
        if self.over[at as usize] {
            return Err(format!("{at:?} hears of the reset of {} after its end", self.id));
        }
        self.over[at as usize] = true;
        let refused = self.keys[Role::Server as usize].is_none() && at == Role::Client;
        match (processed, code) {
            (true, ErrorCode::CANCEL) if self.reset[at.other() as usize] => Ok(()),
            (false, ErrorCode::REFUSED_STREAM | ErrorCode::NO_ERROR) if refused => Ok(()),
            _ => Err(format!("{at:?} hears of a reset of {} that nobody did: {code:?}", self.id)),
        }
    }

    fn is_reset(&self) -> bool {
        self.over[0] || self.over[1]
    }

    /// It went its regular way.
    pub(super) fn is_answered(&self) -> bool {
        !self.is_reset() && self.flows[0].done && self.flows[1].done
    }

    pub(super) fn progress(&self) -> usize {
        let flow = |flow: &Flow| flow.sent + flow.came + usize::from(flow.ended) + usize::from(flow.done);
        flow(&self.flows[0]) + flow(&self.flows[1]) + usize::from(self.over[0]) + usize::from(self.over[1])
    }

    /// Everything that was begun has ended.
    pub(super) fn at_rest(&self) -> Outcome {
        if self.is_reset() || self.is_answered() { Ok(()) } else { Err(format!("stuck: {self:?}")) }
    }
}
