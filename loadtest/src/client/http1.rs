//! Speaks HTTP/1.1: one request at a time, and its answer in pieces of any size.
//!
//! ```text
//! Head ──final head──▶ Body ──its end──▶ Complete ──begin──▶ Head
//!   └─1xx─▶ Head
//! ```
//!
//! Invariants: bytes behind an answer are never taken for the next one, because nothing was asked for
//! yet: they are an error.

use super::failure::Failure;
use super::request::Prepared;
use super::wire::{Answer, Event, Output, Ticket};
use crate::message::{Body, Framing, HEAD_BYTES_MAX, Head, Malformed, head_length};

/// What every answer begins with.
const VERSION: &[u8] = b"HTTP/1.";

/// A connection's worth of HTTP/1.1.
pub(crate) struct Http1 {
    reader: Reader,
    /// The request whose answer is awaited.
    ticket: Option<Ticket>,
    /// Whether it carried a request before.
    is_used: bool,
    is_closing: bool,
}

impl Http1 {
    /// A new connection; `counted` names the response header whose value answers carry.
    pub(crate) fn new(counted: Option<&'static str>) -> Self {
        let reader = Reader { is_head: false, partial: Vec::new(), state: State::Head, counted };
        Http1 { reader, ticket: None, is_used: false, is_closing: false }
    }

    /// One request at a time.
    pub(crate) fn room(&self) -> usize {
        usize::from(self.ticket.is_none() && !self.is_closing)
    }

    /// Whether the last answer ended it.
    pub(crate) fn is_closing(&self) -> bool {
        self.is_closing
    }

    /// Whether an answer to a request on a kept connection has not begun.
    pub(crate) fn is_stale(&self) -> bool {
        self.is_used && !self.reader.has_begun()
    }

    /// Writes the request.
    pub(crate) fn send(&mut self, ticket: Ticket, request: &Prepared, out: &mut Output<'_>) {
        self.ticket = Some(ticket);
        self.reader.is_head = request.is_head;
        request.write_http1(out.random, out.bytes);
    }

    /// Reads answers.
    ///
    /// # Errors
    /// Not HTTP/1.1, or bytes that nobody asked for.
    pub(crate) fn feed(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Result<(), Failure> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.ticket.is_none() {
            return Err(Failure::Malformed);
        }
        if let Some((answer, keep_alive)) = self.reader.feed(bytes)? {
            self.complete(answer, keep_alive, events);
        }
        Ok(())
    }

    /// The connection ended: that is the end of some answers.
    pub(crate) fn on_close(&mut self, events: &mut Vec<Event>) {
        if let Some((answer, _)) = self.reader.on_close() {
            self.complete(answer, false, events);
        }
    }

    fn complete(&mut self, answer: Answer, keep_alive: bool, events: &mut Vec<Event>) {
        self.is_used = true;
        self.is_closing = !keep_alive;
        if let Some(ticket) = self.ticket.take() {
            events.push(Event::Answered { ticket, answer });
        }
    }
}

/// Reads one answer after another.
struct Reader {
    is_head: bool,
    /// A head that has not come whole yet.
    partial: Vec<u8>,
    state: State,
    /// The header whose value answers carry.
    counted: Option<&'static str>,
}

enum State {
    Head,
    Body { body: Body, answer: Answer, keep_alive: bool },
}

impl Reader {
    /// Whether some of the current answer has come.
    fn has_begun(&self) -> bool {
        !self.partial.is_empty() || matches!(self.state, State::Body { .. })
    }

    /// Takes the next bytes; gives an answer that is complete, and whether the connection may carry another.
    ///
    /// # Errors
    /// An answer that is not HTTP/1.1, or bytes behind its end.
    fn feed(&mut self, mut bytes: &[u8]) -> Result<Option<(Answer, bool)>, Malformed> {
        loop {
            match &mut self.state {
                State::Head => {
                    let searched = self.partial.len();
                    // The usual case: the whole head in one piece, which is then not copied.
                    let (head, rest) = if searched == 0 {
                        match head_length(bytes, 0) {
                            Some(length) => bytes.split_at(length),
                            None => return self.keep(bytes),
                        }
                    } else {
                        self.partial.extend_from_slice(bytes);
                        match head_length(&self.partial, searched) {
                            Some(length) => (&self.partial[..length], &bytes[length - searched..]),
                            None => return self.keep(&[]),
                        }
                    };
                    let next = interpret(head, self.is_head, self.counted)?;
                    self.partial.clear();
                    bytes = rest;
                    if let Some((framing, answer, keep_alive)) = next {
                        self.state = State::Body { body: Body::new(framing), answer, keep_alive };
                    }
                }
                State::Body { body, .. } => {
                    let fed = body.feed(bytes, |_| ())?;
                    if !fed.done {
                        return Ok(None);
                    }
                    if fed.consumed < bytes.len() {
                        return Err(Malformed("bytes behind the answer"));
                    }
                    return Ok(self.complete());
                }
            }
        }
    }

    /// The connection ended: the answer, if that was its proper end.
    fn on_close(&mut self) -> Option<(Answer, bool)> {
        let ended = match &mut self.state {
            State::Body { body, .. } => body.on_close(),
            State::Head => false,
        };
        if ended { self.complete() } else { None }
    }

    fn complete(&mut self) -> Option<(Answer, bool)> {
        match std::mem::replace(&mut self.state, State::Head) {
            State::Body { body, answer, keep_alive } => {
                Some((Answer { content_bytes: body.length, ..answer }, keep_alive))
            }
            State::Head => None,
        }
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<Option<(Answer, bool)>, Malformed> {
        self.partial.extend_from_slice(bytes);
        if self.partial.len() > HEAD_BYTES_MAX {
            return Err(Malformed("answer head too long"));
        }
        // Known before the head ends, which it may never do.
        let known = self.partial.len().min(VERSION.len());
        if self.partial[..known] != VERSION[..known] {
            return Err(Malformed("answer does not begin with HTTP/1"));
        }
        Ok(None)
    }
}

/// What a complete head says: framing, answer and whether the connection lives on, or nothing if it is an interim one (1xx).
fn interpret(
    head: &[u8],
    is_head: bool,
    counted: Option<&'static str>,
) -> Result<Option<(Framing, Answer, bool)>, Malformed> {
    let head = Head::split(head)?;
    let (status, is_11) = status_line(head.start)?;
    if status == 101 {
        return Err(Malformed("the protocol was switched unasked"));
    }
    if status < 200 {
        return Ok(None);
    }
    let framing = head.framing()?;
    let framing = match framing {
        _ if is_head || status == 204 || status == 304 => Framing::Length(0),
        Some(framing) => framing,
        None => Framing::UntilClose,
    };
    let keep_alive = framing != Framing::UntilClose
        && if is_11 {
            !head.has_token("connection", "close")
        } else {
            head.has_token("connection", "keep-alive")
        };
    let counted = counted
        .and_then(|name| head.values(name).next())
        .map(|value| String::from_utf8_lossy(value).into_owned());
    Ok(Some((framing, Answer { status, counted, ..Answer::default() }, keep_alive)))
}

/// The status, and whether it is HTTP/1.1 (RFC 9112, section 4).
fn status_line(line: &[u8]) -> Result<(u16, bool), Malformed> {
    let is_11 = line.starts_with(b"HTTP/1.1 ");
    if !is_11 && !line.starts_with(b"HTTP/1.0 ") {
        return Err(Malformed("status line does not begin with HTTP/1.1"));
    }
    match line[9..] {
        [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', ref rest @ ..]
            if rest.first().is_none_or(|&s| s == b' ') =>
        {
            let digit = |byte: u8| u16::from(byte - b'0');
            Ok((digit(a) * 100 + digit(b) * 10 + digit(c), is_11))
        }
        _ => Err(Malformed("status is not three digits")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(wire: &str, is_head: bool, cut: usize) -> Result<Option<(Answer, bool)>, Failure> {
        let mut http = Http1::new(Some("x-served-by"));
        http.ticket = Some(7);
        http.reader.is_head = is_head;
        let mut events = Vec::new();
        http.feed(&wire.as_bytes()[..cut], &mut events)?;
        if events.is_empty() {
            http.feed(&wire.as_bytes()[cut..], &mut events)?;
        }
        if events.is_empty() {
            http.on_close(&mut events);
        }
        Ok(events.pop().map(|event| match event {
            Event::Answered { ticket: 7, answer } => (answer, !http.is_closing()),
            other => panic!("{other:?}"),
        }))
    }

    #[test]
    fn answers_are_the_same_at_every_split() {
        let check = |wire: &str, is_head, status, content_bytes, keep_alive, counted: Option<&str>| {
            let counted = counted.map(str::to_owned);
            let expected = Answer { status, content_bytes, counted, grpc_status: None };
            for cut in 0..=wire.len() {
                let found = read(wire, is_head, cut);
                assert_eq!(found, Ok(Some((expected.clone(), keep_alive))), "{wire:?} cut at {cut}");
            }
        };
        check(
            "HTTP/1.1 200 OK\r\nX-Served-By: a/v1\r\nContent-Length: 2\r\n\r\nhi",
            false,
            200,
            2,
            true,
            Some("a/v1"),
        );
        check("HTTP/1.1 200\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", false, 200, 0, false, None);
        check("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", true, 200, 0, true, None);
        check("HTTP/1.1 204 No Content\r\n\r\n", false, 204, 0, true, None);
        check(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 No\r\nContent-Length: 1\r\n\r\nx",
            false,
            503,
            1,
            true,
            None,
        );
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            false,
            200,
            3,
            true,
            None,
        );
        check("HTTP/1.0 200 OK\r\n\r\nuntil the end", false, 200, 13, false, None);
    }

    #[test]
    fn wrong_answers_are_errors() {
        for wrong in [
            "SSH-2.0-x\r\n\r\n",
            // What an HTTP/2 server says first; and less than a head.
            "\0\0\x12\x04\0\0\0\0\0",
            "HELLO",
            "HTTQ",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 2000 OK\r\n\r\n",
            "HTTP/1.1 101 Switching\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        ] {
            assert!(read(wrong, false, wrong.len()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_close_in_the_middle_is_not_an_answer() {
        for cut in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh"] {
            assert_eq!(read(cut, false, cut.len()), Ok(None));
        }
    }

    #[test]
    fn bytes_that_nobody_asked_for_are_an_error() {
        let mut http = Http1::new(None);
        assert_eq!(http.feed(b"HTTP/1.1 408 Too slow\r\n\r\n", &mut Vec::new()), Err(Failure::Malformed));
    }
}
