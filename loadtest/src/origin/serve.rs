//! One connection of the origin: requests in, answers out, in order.
//!
//! ```text
//! input:  [ request | request | part of a … ]   read here, taken from the front
//! output: [ answer  | answer ]                  written when no whole request is left in the input
//! ```
//!
//! Invariants: a body is read to its end before its answer begins; the output is written before the
//! connection waits for anything; after a refusal the connection ends.

use std::io::{self, Write as _};
use std::rc::Rc;
use std::time::Duration;

use monoio::buf::IoBufMut as _;
use monoio::io::{AsyncReadRent, AsyncWriteRent, AsyncWriteRentExt as _};

use super::answer::{Content, Echo, Plan, Refusal, Request, header_pairs, pattern, reason};
use super::state::Thread;
use crate::message::{Body, Framing, HEAD_BYTES_MAX, head_length};

/// How much is read at once: a head with a body of common size in one call.
const READ_BYTES: usize = 32 * 1024;

/// Answers up to this size go out in one write with their heads; larger ones from the pattern itself.
const COALESCE_BYTES: u64 = 16 * 1024;

/// How much of a request's body `/echo` gives back.
const ECHO_BYTES_MAX: usize = 1024 * 1024;

/// The size of the chunks of `/chunked/N`.
const CHUNK_BYTES: u64 = 64 * 1024;

/// How long a refused peer is listened to, so that it can read the refusal before a reset.
const LINGER: Duration = Duration::from_millis(500);

/// Serves one connection to its end.
pub(crate) async fn connection<S: AsyncReadRent + AsyncWriteRent>(stream: S, thread: Rc<Thread>) {
    let number = thread.shared.next_connection();
    let mut connection = Connection {
        stream,
        thread,
        input: Vec::with_capacity(READ_BYTES),
        output: Vec::with_capacity(1024),
        number,
        requests: 0,
        busy: false,
    };
    // A peer that goes away is the peer's business: there is nobody to tell.
    let _ = connection.serve().await;
    connection.set_busy(false);
}

struct Connection<S> {
    stream: S,
    thread: Rc<Thread>,
    input: Vec<u8>,
    output: Vec<u8>,
    number: u64,
    requests: u64,
    busy: bool,
}

impl<S: AsyncReadRent + AsyncWriteRent> Connection<S> {
    async fn serve(&mut self) -> io::Result<()> {
        while let Some(length) = self.next_head().await? {
            let head: Vec<u8> = self.input.drain(..length).collect();
            self.requests += 1;
            let keep = match Request::read(&head) {
                Ok(request) => self.exchange(&request).await,
                Err(refusal) => Err(Stop::Refused(refusal)),
            };
            match keep {
                Ok(true) => {}
                Ok(false) => {
                    self.flush().await?;
                    return self.linger().await;
                }
                Err(Stop::Broken(error)) => return Err(error),
                Err(Stop::Refused(refusal)) => {
                    self.refuse(refusal);
                    self.flush().await?;
                    return self.linger().await;
                }
            }
        }
        Ok(())
    }

    /// Waits for a whole head at the front of the input; `None` when the peer closed.
    async fn next_head(&mut self) -> io::Result<Option<usize>> {
        let mut searched = 0;
        loop {
            // RFC 9112, section 2.2: empty lines before a request line are skipped.
            while self.input.starts_with(b"\r\n") {
                self.input.drain(..2);
                searched = 0;
            }
            let length = head_length(&self.input, searched);
            searched = self.input.len();
            if length.unwrap_or(searched) <= HEAD_BYTES_MAX {
                if length.is_some() {
                    return Ok(length);
                }
            } else {
                self.refuse((431, "request head too long"));
                self.flush().await?;
                self.linger().await?;
                return Ok(None);
            }
            self.flush().await?;
            if self.input.is_empty() {
                self.set_busy(false);
            }
            if !self.read().await? {
                return Ok(None);
            }
            self.set_busy(true);
        }
    }

    /// Appends what comes next to the input; says whether anything did.
    async fn read(&mut self) -> io::Result<bool> {
        self.input.reserve(READ_BYTES);
        let (from, to) = (self.input.len(), self.input.capacity());
        let (result, slice) = self.stream.read(std::mem::take(&mut self.input).slice_mut(from..to)).await;
        self.input = slice.into_inner();
        Ok(result? > 0)
    }

    /// Reads the body of a request whose head is taken, and answers. Says whether the connection lives.
    async fn exchange(&mut self, request: &Request<'_>) -> Result<bool, Stop> {
        let plan = Plan::for_path(request.path, self.thread.shared.defaults).map_err(Stop::Refused)?;
        let keeps = if plan.content == Content::Echo { ECHO_BYTES_MAX } else { 0 };
        let (body, kept) = self.read_body(request, keeps).await?;
        self.wait(&plan).await?;
        let keep = request.keep_alive && !plan.close && !self.thread.shared.is_stopping();
        match plan.content {
            Content::Bytes { length, chunked } => {
                self.answer_bytes(request, &plan, keep, length, chunked && request.is_11).await?;
            }
            Content::Identity => {
                let thread = Rc::clone(&self.thread);
                self.answer(request, &plan, keep, thread.shared.identity.as_bytes());
            }
            Content::Echo => {
                let echo = self.echo(request, &body, &kept)?;
                self.answer(request, &plan, keep, &echo);
            }
        }
        Ok(keep)
    }

    /// Reads the body to its end, keeping the first `keeps` bytes of content.
    async fn read_body(&mut self, request: &Request<'_>, keeps: usize) -> Result<(Body, Vec<u8>), Stop> {
        let mut body = Body::new(request.framing.unwrap_or(Framing::Length(0)));
        let mut kept = Vec::new();
        if request.expects_continue && !body.is_done() && self.input.is_empty() {
            self.output.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        loop {
            let fed = body.feed(&self.input, |part| {
                let room = keeps - kept.len();
                kept.extend_from_slice(&part[..part.len().min(room)]);
            });
            let fed = fed.map_err(|malformed| Stop::Refused((400, malformed.0)))?;
            self.input.drain(..fed.consumed);
            if fed.done {
                return Ok((body, kept));
            }
            self.flush().await?;
            if !self.read().await? {
                return Err(Stop::Broken(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Waits as the path, the options and the script of stalls say.
    async fn wait(&mut self, plan: &Plan) -> io::Result<()> {
        let delay =
            plan.delay.map_or(Duration::ZERO, |delay| delay.sample(&mut self.thread.random.borrow_mut()));
        let wait = delay + self.thread.shared.script.wait();
        if !wait.is_zero() {
            self.flush().await?;
            monoio::time::sleep(wait).await;
        }
        Ok(())
    }

    fn echo(&self, request: &Request<'_>, body: &Body, kept: &[u8]) -> io::Result<Vec<u8>> {
        let mut json = serde_json::to_vec(&Echo {
            name: &self.thread.shared.name,
            version: &self.thread.shared.version,
            method: request.method,
            target: request.target,
            path: request.path,
            query: request.query,
            http_version: if request.is_11 { "HTTP/1.1" } else { "HTTP/1.0" },
            headers: header_pairs(&request.head),
            body_length: body.length,
            body: String::from_utf8_lossy(kept).into_owned(),
            body_truncated: body.length > kept.len() as u64,
            body_chunked: request.framing == Some(Framing::Chunked),
            trailers: body.trailers.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect(),
            connection: self.number,
            request: self.requests,
        })?;
        json.push(b'\n');
        Ok(json)
    }

    /// Queues an answer of JSON.
    fn answer(&mut self, request: &Request<'_>, plan: &Plan, keep: bool, json: &[u8]) {
        self.head(plan.status, "application/json", Some(json.len() as u64), keep, request.is_11);
        if sends_content(request, plan) {
            self.output.extend_from_slice(json);
        }
    }

    /// Sends an answer of `length` bytes of the pattern.
    async fn answer_bytes(
        &mut self,
        request: &Request<'_>,
        plan: &Plan,
        keep: bool,
        length: u64,
        chunked: bool,
    ) -> io::Result<()> {
        let framing = (!chunked).then_some(length);
        self.head(plan.status, "application/octet-stream", framing, keep, request.is_11);
        if !sends_content(request, plan) {
            return Ok(());
        }
        let mut sent = 0;
        while sent < length {
            if chunked {
                let part = pattern(sent, (length - sent).min(CHUNK_BYTES));
                write!(self.output, "{:x}\r\n", part.len())?;
                self.output.extend_from_slice(part);
                self.output.extend_from_slice(b"\r\n");
                sent += part.len() as u64;
                self.flush().await?;
            } else if length <= COALESCE_BYTES || sent == 0 {
                let part = pattern(sent, length.min(COALESCE_BYTES));
                self.output.extend_from_slice(part);
                sent += part.len() as u64;
            } else {
                self.flush().await?;
                let part = pattern(sent, length - sent);
                self.stream.write_all(part).await.0?;
                sent += part.len() as u64;
            }
        }
        if chunked {
            self.output.extend_from_slice(b"0\r\n\r\n");
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
        let shared = &self.thread.shared;
        let out = &mut self.output;
        // INVARIANT: writing to a vector does not fail.
        let _ = write!(
            out,
            "HTTP/1.1 {status} {}\r\nx-served-by: {}/{}\r\n",
            reason(status),
            shared.name,
            shared.version
        );
        if has_content(status) {
            let _ = write!(out, "content-type: {kind}\r\n");
            let _ = match length {
                Some(length) => write!(out, "content-length: {length}\r\n"),
                None => write!(out, "transfer-encoding: chunked\r\n"),
            };
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
        let (result, mut output) = self.stream.write_all(std::mem::take(&mut self.output)).await;
        output.clear();
        self.output = output;
        result.map(|_| ())
    }

    /// Ends a connection so that the peer can read the last answer: closing with unread input would
    /// reset the connection and could destroy what is on its way.
    async fn linger(&mut self) -> io::Result<()> {
        self.stream.shutdown().await?;
        let rest = async {
            loop {
                self.input.clear();
                if !self.read().await? {
                    return io::Result::Ok(());
                }
            }
        };
        monoio::time::timeout(LINGER, rest).await.unwrap_or(Ok(()))
    }

    fn set_busy(&mut self, busy: bool) {
        if busy != self.busy {
            self.busy = busy;
            self.thread.count_busy(busy);
        }
    }
}

/// Whether answers with this status have content at all (RFC 9110, section 6.4.1).
fn has_content(status: u16) -> bool {
    status != 204 && status != 304
}

fn sends_content(request: &Request<'_>, plan: &Plan) -> bool {
    request.method != "HEAD" && has_content(plan.status)
}

/// Why a connection ends before its peer ends it.
enum Stop {
    Refused(Refusal),
    Broken(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Stop::Broken(error)
    }
}
