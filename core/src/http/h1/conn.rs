//! The decisions of one exchange: what to do with a response, which connections live on, and whether the
//! request may be sent again. Driven by events, so that a simulation can play them in any order.
//!
//! ```text
//!   request body:   Open ──on_request_body_done──▶ Done        (Open ──error──▶ Broken)
//!
//!                     ┌───interim───┐
//!                     ▼             │
//!   response:  ──▶ Waiting ──head──▶┴─▶ Body ──on_response_done──▶ Done
//!                     │                 │ │ 101, on_connected       (close-delimited: upstream closes)
//!                     └──closed, error──┴─┼─▶ Broken
//!                                         └─▶ Switched: a tunnel
//! ```
//!
//! Invariants:
//! - a connection is kept only after a whole message in both directions, both peers willing, and not a
//!   byte left over: whatever is unclear closes it;
//! - a request is sent again only if all of it can be, no byte of an answer was seen, and doing it twice
//!   is the same as doing it once, or nothing of it left the proxy;
//! - a tunnel begins only where one was asked for and agreed upon, ends both connections, and what asked
//!   for it is never sent twice;
//! - what the client was told with the response head (`Connection: close`) is what happens.
//!
//! Not here: bytes, timers, pools, retry policies of routes (they ask [`Exchange::is_repeatable`]).

use super::super::head::{Framing, Method, RequestHead, ResponseHead, Version};
use super::body::Emit;
use super::encode::ResponseFrame;
use crate::fault::{Fault, Retry};
use crate::limits::INTERIM_RESPONSES_MAX;

/// What becomes of a connection after the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// It may carry another exchange.
    Keep,
    /// It is closed.
    Close,
}

/// What to do with a response head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// An interim response: pass it on if `forward`, and wait for the next head.
    Interim {
        /// False for HTTP/1.0 clients, which know none.
        forward: bool,
    },
    /// The final response: write its head with `frame`, then its body read with `emit`.
    Final {
        /// How the head is written.
        frame: ResponseFrame,
        /// How the body is read.
        emit: Emit,
        /// The body has no framing of its own and each piece is sent as a chunk.
        rechunk: bool,
    },
    /// 101: write its head with this frame, then the connections are a tunnel.
    Switching {
        /// How the head is written.
        frame: ResponseFrame,
    },
}

/// What an upstream's close means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// It ended a close-delimited response: the body is complete.
    Complete,
    /// It ended the exchange early.
    Fault(Fault),
    /// The exchange was over already (or is a tunnel).
    After,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    /// Its body is still to be read.
    Open,
    Done,
    /// Its body was malformed, or the client went away.
    Broken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Response {
    Waiting,
    Body,
    Done,
    Switched,
    Broken,
}

/// The state of one exchange. Small; one per request, on the stack of whoever serves it.
#[derive(Debug)]
pub struct Exchange {
    method: Method,
    client: Version,
    client_keeps: bool,
    upgrade: bool,
    closes_upstream: bool,
    request: Request,
    /// Bytes of the body have left the buffer they could be repeated from.
    streamed: bool,
    /// Bytes of the request were handed to an upstream connection.
    sent: bool,
    response: Response,
    /// Bytes of a response were seen.
    answered: bool,
    /// Bytes of a response were passed to the client.
    passed_on: bool,
    interims: u32,
    until_close: bool,
    upstream_keeps: bool,
    told_keep: bool,
    #[cfg(test)]
    pub(super) planted: Option<Planted>,
}

/// Bugs that the simulation has to find.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Planted {
    /// Bytes behind a response don't count.
    SurplusForgiven,
    /// An upstream that answered early is used again at once.
    EarlyAnswerForgiven,
    /// What is not idempotent is sent again, too.
    RetriesEverything,
}

impl Exchange {
    /// An exchange for that request. `close_after`: the client's connection is to end with this exchange
    /// (the proxy drains, or the connection has served its last request). `upgrade`: the request's
    /// Upgrade is passed on.
    pub const fn new(head: &RequestHead, close_after: bool, upgrade: bool) -> Self {
        Exchange {
            method: head.method,
            client: head.version,
            client_keeps: head.keep_alive && !close_after,
            upgrade: upgrade && head.upgrade.is_some(),
            closes_upstream: head.closes_upstream(),
            request: if head.framing.has_body() { Request::Open } else { Request::Done },
            streamed: false,
            sent: false,
            response: Response::Waiting,
            answered: false,
            passed_on: false,
            interims: 0,
            until_close: false,
            upstream_keeps: false,
            told_keep: false,
            #[cfg(test)]
            planted: None,
        }
    }

    #[cfg(test)]
    fn has(&self, bug: Planted) -> bool {
        self.planted == Some(bug)
    }

    /// The proxy begins to drain: the client's connection ends with this exchange if it can still be told.
    pub fn on_drain(&mut self) {
        self.client_keeps = false;
    }

    /// Bytes of the request are handed to an upstream connection.
    pub fn on_request_sent(&mut self) {
        self.sent = true;
    }

    /// Bytes of the body were forwarded and are kept nowhere: the request can't be repeated any more.
    pub fn on_request_streamed(&mut self) {
        self.streamed = true;
    }

    /// The upstream said that it did nothing with the request (RFC 9113 section 8.7): as if it was not sent.
    pub fn on_request_refused(&mut self) {
        self.sent = false;
    }

    /// The whole body was read from the client.
    pub fn on_request_body_done(&mut self) {
        if self.request == Request::Open {
            self.request = Request::Done;
        }
    }

    /// The body was malformed or will not be completed.
    pub fn on_request_body_error(&mut self) {
        self.request = Request::Broken;
    }

    /// A new attempt begins on another connection. Only when [`Self::may_retry`] or
    /// [`Self::is_repeatable`] said so.
    pub fn on_retry(&mut self) {
        debug_assert!(!self.streamed && !self.passed_on, "a request is repeated whole or not at all");
        self.sent = false;
        self.answered = false;
        self.interims = 0;
        self.until_close = false;
        self.upstream_keeps = false;
        self.response = Response::Waiting;
    }

    /// Bytes of a response arrived, complete head or not.
    pub fn on_response_bytes(&mut self) {
        self.answered = true;
    }

    /// A response head is complete; `agreed` says whether the protocol that a 101 names is one of those that
    /// were passed on. An error is the upstream's fault and ends the exchange.
    pub fn on_response_head(
        &mut self,
        head: &ResponseHead,
        agreed: impl FnOnce() -> bool,
    ) -> Result<Answer, Fault> {
        self.answered = true;
        if self.response != Response::Waiting {
            return Err(self.broken(Fault::UpstreamMalformed));
        }
        if head.is_interim() {
            self.interims += 1;
            if self.interims > INTERIM_RESPONSES_MAX {
                return Err(self.broken(Fault::UpstreamMalformed));
            }
            let forward = self.client != Version::Http10;
            self.passed_on |= forward;
            return Ok(Answer::Interim { forward });
        }
        if head.status == 101 {
            if !self.upgrade || head.upgrade.is_none() || !agreed() {
                // Nobody asked for it: what follows has no meaning here (RFC 9110 section 15.2.2).
                return Err(self.broken(Fault::UpstreamMalformed));
            }
            self.response = Response::Switched;
            self.passed_on = true;
            let frame = ResponseFrame {
                version: self.client,
                keep_alive: false,
                framing: Framing::None,
                upgrade: true,
            };
            return Ok(Answer::Switching { frame });
        }
        self.response = Response::Body;
        self.passed_on = true;
        self.until_close = head.framing == Framing::UntilClose;
        self.upstream_keeps = head.keep_alive;
        Ok(self.answer(head))
    }

    /// The endpoint of a CONNECT has taken the connection: the client is told so, and both are a tunnel.
    pub fn on_connected(&mut self) {
        debug_assert!(self.method == Method::Connect);
        self.response = Response::Switched;
        self.passed_on = true;
    }

    /// A stream's 2xx agreed to the tunnel that was asked for (RFC 8441 section 5).
    pub fn on_agreed(&mut self) {
        debug_assert!(self.asks_for_tunnel());
        self.response = Response::Switched;
        self.answered = true;
        self.passed_on = true;
    }

    /// Whether the request's Upgrade is passed on, so that its answer may begin a tunnel.
    pub const fn asks_for_tunnel(&self) -> bool {
        self.upgrade || matches!(self.method, Method::Connect)
    }

    /// How the final response is passed on.
    fn answer(&mut self, head: &ResponseHead) -> Answer {
        let (framing, emit, rechunk) = match (head.framing, self.client) {
            // DATA frames and END_STREAM delimit whatever it is.
            (framing, Version::Http2) => (framing, Emit::Parted, false),
            (Framing::Chunked, Version::Http10) => (Framing::UntilClose, Emit::Payload, false),
            (Framing::UntilClose, Version::Http11) => (Framing::Chunked, Emit::Payload, true),
            (framing, _) => (framing, Emit::Framed, false),
        };
        // An answer that comes before the request's end ends both connections: the rest of the body would
        // have to be read and thrown away, and an upstream may or may not read it.
        self.told_keep = self.client_keeps && self.request == Request::Done && framing != Framing::UntilClose;
        let frame =
            ResponseFrame { version: self.client, keep_alive: self.told_keep, framing, upgrade: false };
        Answer::Final { frame, emit, rechunk }
    }

    /// The response is complete. `surplus`: bytes that belong to no response came behind it.
    pub fn on_response_done(&mut self, surplus: bool) {
        if self.response == Response::Body {
            self.response = Response::Done;
            self.upstream_keeps &= !surplus;
            #[cfg(test)]
            if self.has(Planted::SurplusForgiven) {
                self.upstream_keeps |= surplus;
            }
        }
    }

    /// The response body was malformed or stopped.
    pub fn on_response_error(&mut self) {
        self.response = Response::Broken;
    }

    /// The upstream closed its side. `reused`: the connection had served an exchange before.
    pub fn on_upstream_closed(&mut self, reused: bool) -> Closed {
        self.upstream_keeps = false;
        match self.response {
            Response::Waiting => {
                let stale = reused && !self.answered;
                Closed::Fault(self.broken(if stale { Fault::StaleConnection } else { Fault::UpstreamClosed }))
            }
            Response::Body if self.until_close => {
                self.response = Response::Done;
                Closed::Complete
            }
            Response::Body => Closed::Fault(self.broken(Fault::UpstreamTruncated)),
            Response::Done | Response::Switched | Response::Broken => Closed::After,
        }
    }

    /// The client is gone.
    pub fn on_downstream_closed(&mut self) {
        self.client_keeps = false;
        self.told_keep = false;
        if self.request == Request::Open {
            self.request = Request::Broken;
        }
    }

    /// We answer ourselves, instead of an upstream. Returns whether the client's connection stays open.
    pub fn on_own_answer(&mut self) -> bool {
        self.response = Response::Done;
        self.passed_on = true;
        self.upstream_keeps = false;
        // HTTP/1.0 clients would need to be told (see `encode_own`).
        self.told_keep = self.client_keeps && self.request == Request::Done && self.client != Version::Http10;
        self.told_keep
    }

    /// Whether the final response's head has not come yet.
    pub const fn awaits_response(&self) -> bool {
        matches!(self.response, Response::Waiting)
    }

    /// Whether the response (or our own answer) is complete.
    pub const fn is_answered(&self) -> bool {
        matches!(self.response, Response::Done)
    }

    /// What becomes of the client's connection.
    pub fn downstream(&self) -> Reuse {
        let keep = self.told_keep && self.response == Response::Done && self.request == Request::Done;
        if keep { Reuse::Keep } else { Reuse::Close }
    }

    /// What becomes of the upstream's connection.
    pub fn upstream(&self) -> Reuse {
        #[cfg(test)]
        if self.has(Planted::EarlyAnswerForgiven) && self.upstream_keeps {
            return Reuse::Keep;
        }
        let keep = self.upstream_keeps
            && !self.closes_upstream
            && self.response == Response::Done
            && self.request == Request::Done;
        if keep { Reuse::Keep } else { Reuse::Close }
    }

    /// Whether the whole request can be sent once more and no answer was passed on; doing so may still
    /// do its work twice. What a route's retry policy builds on. What asks for a tunnel is not repeated once
    /// it was sent: the upstream may have begun to speak the other protocol.
    pub fn is_repeatable(&self) -> bool {
        let begun = self.upgrade && self.sent;
        !begun && !self.streamed && !self.passed_on && self.request != Request::Broken
    }

    /// Whether the request is sent again without anybody asking for it: the fault allows it, and either
    /// nothing of the request left the proxy, or a reused connection closed under an idempotent one.
    pub fn may_retry(&self, fault: Fault, reused_connection: bool) -> bool {
        if !self.is_repeatable() || self.answered {
            return false;
        }
        #[cfg(test)]
        if self.has(Planted::RetriesEverything) {
            return fault.row().retry != Retry::Never;
        }
        match fault.row().retry {
            Retry::Safe => !self.sent,
            Retry::Idempotent => !self.sent || (reused_connection && self.method.is_idempotent()),
            Retry::Never => false,
        }
    }

    fn broken(&mut self, fault: Fault) -> Fault {
        self.response = Response::Broken;
        fault
    }
}

#[cfg(test)]
mod sim_tests;
#[cfg(test)]
mod tests;
