//! One HTTP/1 connection of the origin: requests in, answers out, in order.
//!
//! ```text
//! input:  [ taken | request | request | part of a … ]   taken from the front, read at the end
//! output: [ answer  | answer ]                          written when no whole request is left in the input
//! ```
//!
//! Invariants: a body is read to its end before its answer begins; the output is written before the
//! connection waits for anything; after a refusal the connection ends.
//!
//! Budget: a request without a body whose answer is small takes no memory, and one that repeats the last
//! one byte for byte, as a load generator's do, is not parsed again (see [`Memo`]).

use std::io::{self, Write as _};
use std::rc::Rc;

use super::answer::{Content, Cut, Plan, Refusal, has_content};
use super::connection::Facts;
use super::content::{Echo, Pace, Source, header_pairs, pattern, reason};
use super::memo::Memo;
use super::request::{self, Request};
use super::state::{Busy, Thread};
use super::websocket;
use super::wire::{Stream, Wire};
use crate::message::{Body, Framing, HEAD_BYTES_MAX, head_length};

/// Answers up to this size go out in one write with their heads; larger ones from the pattern itself.
const COALESCE_BYTES: u64 = 16 * 1024;

/// Answers are gathered up to this size before they are written.
const OUTPUT_BYTES: usize = 64 * 1024;

/// How much of a request's body `/echo` gives back.
pub(super) const ECHO_BYTES_MAX: usize = 1024 * 1024;

/// The size of the chunks of `/chunked/N`.
const CHUNK_BYTES: u64 = 64 * 1024;

/// Serves one connection to its end; `input` is what has been read of it.
pub(super) async fn serve<S: Stream>(
    wire: Wire<S>,
    input: Vec<u8>,
    facts: Facts,
    thread: Rc<Thread>,
) -> io::Result<()> {
    let busy = Busy::new(&thread);
    busy.set(!input.is_empty());
    let (memo, output) = (Memo::default(), Vec::with_capacity(1024));
    Connection { wire, thread, facts, input, taken: 0, output, requests: 0, busy, memo }.serve().await
}

struct Connection<S: Stream> {
    wire: Wire<S>,
    thread: Rc<Thread>,
    facts: Facts,
    input: Vec<u8>,
    /// Bytes at the front of the input that have been used.
    taken: usize,
    output: Vec<u8>,
    requests: u64,
    busy: Busy,
    memo: Memo,
}

/// Why a connection ends before its peer ends it.
enum Stop {
    Refused(Refusal),
    Broken(io::Error),
    /// The answer was cut off, or its connection ends with it.
    End,
    Reset,
    /// It speaks WebSocket now; the plan says how.
    Upgraded(Plan),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Stop::Broken(error)
    }
}

impl<S: Stream> Connection<S> {
    async fn serve(mut self) -> io::Result<()> {
        loop {
            let stop = match self.next_head().await {
                Ok(None) => return Ok(()),
                Ok(Some(length)) => match self.take_request(length).await {
                    Ok(()) => continue,
                    Err(stop) => stop,
                },
                Err(stop) => stop,
            };
            match stop {
                Stop::Broken(error) => return Err(error),
                Stop::End => {}
                Stop::Refused(refusal) => self.refuse(refusal),
                Stop::Reset => {
                    self.flush().await?;
                    self.wire.reset();
                    return Ok(());
                }
                Stop::Upgraded(plan) => {
                    self.flush().await?;
                    self.busy.set(false);
                    self.input.drain(..self.taken);
                    return websocket::serve(self.wire, self.input, plan, self.thread).await;
                }
            }
            self.flush().await?;
            return self.wire.linger().await;
        }
    }

    /// Waits for a whole head at the front of the input; `None` when the peer closed.
    async fn next_head(&mut self) -> Result<Option<usize>, Stop> {
        let mut searched = 0;
        loop {
            while self.repeat() {
                searched = 0;
                if self.output.len() >= OUTPUT_BYTES {
                    self.flush().await?;
                }
            }
            // RFC 9112, section 2.2: empty lines before a request line are skipped.
            while self.input[self.taken..].starts_with(b"\r\n") {
                self.taken += 2;
                searched = 0;
            }
            let ahead = &self.input[self.taken..];
            let length = head_length(ahead, searched);
            request::check_begin(ahead).map_err(Stop::Refused)?;
            searched = ahead.len();
            if length.unwrap_or(searched) > HEAD_BYTES_MAX {
                return Err(Stop::Refused((431, "request head too long")));
            }
            if length.is_some() {
                return Ok(length);
            }
            self.flush().await?;
            if searched == 0 {
                self.busy.set(false);
            }
            if !self.read().await? {
                return Ok(None);
            }
            self.busy.set(true);
        }
    }

    /// Answers the next request if it is the last one again; says whether it was.
    fn repeat(&mut self) -> bool {
        let Some(length) = self.memo.matches(&self.input[self.taken..]) else { return false };
        if self.thread.shared.is_stopping() {
            return false;
        }
        self.taken += length;
        self.requests += 1;
        self.memo.answer(&mut self.output);
        true
    }

    /// Appends what comes next to the input; says whether anything did.
    async fn read(&mut self) -> io::Result<bool> {
        self.input.drain(..std::mem::take(&mut self.taken));
        self.wire.read(&mut self.input).await
    }

    /// Answers the request whose head is the next `length` bytes.
    async fn take_request(&mut self, length: usize) -> Result<(), Stop> {
        let head = self.memo.take(&self.input[self.taken..self.taken + length]);
        self.taken += length;
        self.requests += 1;
        let outcome = match Request::read(&head) {
            Ok(request) => self.exchange(&request).await,
            Err(refusal) => Err(Stop::Refused(refusal)),
        };
        self.memo.give_back(head);
        outcome
    }

    /// Reads the body of a request whose head is taken, and answers.
    async fn exchange(&mut self, request: &Request<'_>) -> Result<(), Stop> {
        let thread = Rc::clone(&self.thread);
        let mut plan = Plan::for_path(request.path, &thread.shared.defaults).map_err(Stop::Refused)?;
        let keeps = if plan.content == Content::Echo { ECHO_BYTES_MAX } else { 0 };
        let (body, kept) = self.read_body(request, keeps).await?;
        thread.strike(&mut plan);
        if let Some(at) = thread.ready(&plan) {
            self.flush().await?;
            thread.alarm.until(at).await;
        }
        if plan.status < 400 && websocket::is_wanted(request) {
            return self.upgrade(request, plan);
        }
        let keep = request.keep_alive && !plan.close && !thread.shared.is_stopping();
        let (kind, source, length, chunked) = match plan.content {
            Content::Bytes { length, chunked } => {
                ("application/octet-stream", Source::Pattern, length, chunked && request.is_11)
            }
            Content::Identity => {
                let text = Rc::clone(&thread.identity);
                ("application/json", Source::Text(text.clone()), text.len() as u64, false)
            }
            Content::Echo => {
                let text = self.echo(request, &body, &kept)?;
                ("application/json", Source::Text(text.clone()), text.len() as u64, false)
            }
        };
        let from = self.output.len();
        self.head(plan.status, kind, (!chunked).then_some(length), keep, request.is_11);
        let has_body = request.method != "HEAD" && has_content(plan.status);
        let (sent, chunked) = (if has_body { length } else { 0 }, chunked && has_body);
        let is_plain = !chunked && plan.rate.is_none() && plan.cut.is_none() && sent <= COALESCE_BYTES;
        let head_end = self.output.len();
        if is_plain {
            self.output.extend_from_slice(source.piece(0, sent));
        }
        let is_fixed = keep && plan.content != Content::Echo && plan.delay.is_none();
        if is_plain && is_fixed && matches!(request.framing, None | Some(Framing::Length(0))) {
            if thread.shared.is_steady() {
                match source {
                    Source::Pattern => self.memo.remember(&self.output[from..head_end], pattern(0, sent)),
                    Source::Text(_) => self.memo.remember(&self.output[from..], b""),
                }
            }
            return Ok(());
        }
        if !is_plain {
            self.send(&source, sent, chunked, &plan).await?;
        }
        if keep { Ok(()) } else { Err(Stop::End) }
    }

    /// Answers a request for WebSocket.
    fn upgrade(&mut self, request: &Request<'_>, plan: Plan) -> Result<(), Stop> {
        match websocket::accept(request) {
            Ok(accepted) => {
                self.output.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\n");
                self.output.extend_from_slice(self.thread.served_by.as_bytes());
                self.output.extend_from_slice(accepted.as_bytes());
                Err(Stop::Upgraded(plan))
            }
            Err(refusal) => Err(Stop::Refused(refusal)),
        }
    }

    /// Reads the body to its end, keeping the first `keeps` bytes of content.
    async fn read_body(&mut self, request: &Request<'_>, keeps: usize) -> Result<(Body, Vec<u8>), Stop> {
        let mut body = Body::new(request.framing.unwrap_or(Framing::Length(0)));
        let mut kept = Vec::new();
        if request.expects_continue && !body.is_done() && self.input.len() == self.taken {
            self.output.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        loop {
            let fed = body.feed(&self.input[self.taken..], |part| {
                let room = keeps - kept.len();
                kept.extend_from_slice(&part[..part.len().min(room)]);
            });
            let fed = fed.map_err(|malformed| Stop::Refused((400, malformed.0)))?;
            self.taken += fed.consumed;
            if fed.done {
                return Ok((body, kept));
            }
            self.flush().await?;
            if !self.read().await? {
                return Err(Stop::Broken(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    fn echo(&self, request: &Request<'_>, body: &Body, kept: &[u8]) -> io::Result<Rc<[u8]>> {
        let echo = Echo {
            name: &self.thread.shared.name,
            version: &self.thread.shared.version,
            method: request.method,
            target: request.target,
            path: request.path,
            query: request.query,
            http_version: if request.is_11 { "HTTP/1.1" } else { "HTTP/1.0" },
            headers: header_pairs(request.head.fields.iter().copied()),
            body_length: body.length,
            body: String::from_utf8_lossy(kept).into_owned(),
            body_truncated: body.length > kept.len() as u64,
            body_chunked: request.framing == Some(Framing::Chunked),
            trailers: body.trailers.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect(),
            source: self.facts.source.as_deref(),
            proxy_protocol: self.facts.proxy.as_ref(),
            tls: self.facts.tls.as_ref(),
            connection: self.facts.number,
            request: self.requests,
        };
        echo.json()
    }

    /// Sends `length` bytes of content as the plan says, or as much of them as it lets out.
    async fn send(&mut self, source: &Source, length: u64, chunked: bool, plan: &Plan) -> Result<(), Stop> {
        let end = plan.cut.map_or(length, |cut| cut.sent(length));
        let pace = plan.rate.map(Pace::start);
        let piece_bytes = pace.map_or(u64::MAX, Pace::piece_bytes);
        let mut sent = 0;
        while sent < end {
            let most = piece_bytes.min(end - sent);
            if let Some(pace) = pace {
                self.flush().await?;
                self.thread.alarm.until(pace.due(sent + most)).await;
            }
            let piece = if chunked {
                let piece = source.piece(sent, most.min(CHUNK_BYTES));
                write!(self.output, "{:x}\r\n", piece.len())?;
                self.output.extend_from_slice(piece);
                self.output.extend_from_slice(b"\r\n");
                piece
            } else if let (Source::Pattern, true) = (source, sent > 0 && most > COALESCE_BYTES) {
                self.flush().await?;
                let piece = pattern(sent, most);
                self.wire.writer.write_static(piece).await?;
                piece
            } else {
                let piece = source.piece(sent, most.min(COALESCE_BYTES));
                self.output.extend_from_slice(piece);
                piece
            };
            sent += piece.len() as u64;
            if self.output.len() >= OUTPUT_BYTES {
                self.flush().await?;
            }
        }
        match plan.cut {
            Some(Cut::After(_)) => return Err(Stop::End),
            Some(Cut::Reset) => return Err(Stop::Reset),
            None if chunked => self.output.extend_from_slice(b"0\r\n\r\n"),
            None => {}
        }
        Ok(())
    }

    fn refuse(&mut self, (status, why): Refusal) {
        let body = format!("{{\"error\":\"{why}\"}}\n");
        self.head(status, "application/json", Some(body.len() as u64), false, true);
        self.output.extend_from_slice(body.as_bytes());
    }

    /// Queues the head of an answer; without a length it is chunked.
    fn head(&mut self, status: u16, kind: &str, length: Option<u64>, keep: bool, is_11: bool) {
        let out = &mut self.output;
        out.extend_from_slice(b"HTTP/1.1 ");
        push_number(out, u64::from(status));
        for part in [" ", reason(status), "\r\n", &self.thread.served_by] {
            out.extend_from_slice(part.as_bytes());
        }
        if status == 426 {
            // RFC 6455, section 4.4.
            out.extend_from_slice(b"upgrade: websocket\r\nsec-websocket-version: 13\r\n");
        }
        if has_content(status) {
            for part in ["content-type: ", kind, "\r\n"] {
                out.extend_from_slice(part.as_bytes());
            }
            match length {
                Some(length) => {
                    out.extend_from_slice(b"content-length: ");
                    push_number(out, length);
                    out.extend_from_slice(b"\r\n");
                }
                None => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
            }
        }
        match (keep, is_11) {
            (false, _) => out.extend_from_slice(b"connection: close\r\n"),
            (true, false) => out.extend_from_slice(b"connection: keep-alive\r\n"),
            (true, true) => {}
        }
        out.extend_from_slice(b"\r\n");
    }

    async fn flush(&mut self) -> io::Result<()> {
        if self.output.is_empty() {
            return Ok(());
        }
        self.wire.writer.write(&mut self.output).await
    }
}

/// Appends a number in decimal digits.
fn push_number(out: &mut Vec<u8>, mut number: u64) {
    // 2^64 has 20 digits.
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_decimal() {
        for number in [0, 9, 10, 16_384, u64::MAX] {
            let mut out = Vec::new();
            push_number(&mut out, number);
            assert_eq!(out, number.to_string().as_bytes());
        }
    }
}
