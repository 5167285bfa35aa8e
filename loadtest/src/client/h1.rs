//! Reads HTTP/1.1 answers in pieces of any size.
//!
//! ```text
//! Head ──final head──▶ Body ──its end──▶ Complete ──begin──▶ Head
//!   └─1xx─▶ Head
//! ```
//!
//! Invariants: bytes behind an answer are never taken for the next one, because nothing was asked for
//! yet: they are an error.

use crate::message::{Body, Framing, HEAD_BYTES_MAX, Head, Malformed, head_length};

/// A complete answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The status of a gRPC call.
    pub(crate) grpc_status: Option<u16>,
    /// Bytes of content.
    pub(crate) content_bytes: u64,
    /// Whether the connection may carry another request.
    pub(crate) keep_alive: bool,
    /// The value of the header that is counted, if one is and it was there.
    pub(crate) counted: Option<String>,
}

/// Reads one answer after another.
pub(crate) struct Reader {
    is_head: bool,
    /// A head that has not come whole yet.
    partial: Vec<u8>,
    state: State,
}

enum State {
    Head,
    Body { body: Body, answer: Answer },
}

impl Reader {
    /// A reader for answers to HEAD requests, or to others.
    pub(crate) fn new(is_head: bool) -> Self {
        Reader { is_head, partial: Vec::new(), state: State::Head }
    }

    /// Whether some of the current answer has come.
    pub(crate) fn has_begun(&self) -> bool {
        !self.partial.is_empty() || matches!(self.state, State::Body { .. })
    }

    /// Takes the next bytes. `counted` names the header whose value the answer carries.
    ///
    /// # Errors
    /// An answer that is not HTTP/1.1, or bytes behind its end.
    pub(crate) fn feed(
        &mut self,
        mut bytes: &[u8],
        counted: Option<&'static str>,
    ) -> Result<Option<Answer>, Malformed> {
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
                    let next = interpret(head, self.is_head, counted)?;
                    self.partial.clear();
                    bytes = rest;
                    if let Some((framing, answer)) = next {
                        self.state = State::Body { body: Body::new(framing), answer };
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
    pub(crate) fn on_close(&mut self) -> Option<Answer> {
        let ended = match &mut self.state {
            State::Body { body, .. } => body.on_close(),
            State::Head => false,
        };
        if ended { self.complete() } else { None }
    }

    fn complete(&mut self) -> Option<Answer> {
        match std::mem::replace(&mut self.state, State::Head) {
            State::Body { body, answer } => Some(Answer { content_bytes: body.length, ..answer }),
            State::Head => None,
        }
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<Option<Answer>, Malformed> {
        self.partial.extend_from_slice(bytes);
        if self.partial.len() > HEAD_BYTES_MAX {
            return Err(Malformed("answer head too long"));
        }
        Ok(None)
    }
}

/// What a complete head says: framing and answer, or nothing if it is an interim one (1xx).
fn interpret(
    head: &[u8],
    is_head: bool,
    counted: Option<&'static str>,
) -> Result<Option<(Framing, Answer)>, Malformed> {
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
    Ok(Some((framing, Answer { status, content_bytes: 0, keep_alive, counted, grpc_status: None })))
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

    fn read(wire: &str, is_head: bool, cut: usize) -> Result<Option<Answer>, Malformed> {
        let mut reader = Reader::new(is_head);
        match reader.feed(&wire.as_bytes()[..cut], Some("x-served-by"))? {
            Some(answer) => Ok(Some(answer)),
            None if cut == wire.len() => Ok(reader.on_close()),
            None => {
                Ok(reader.feed(&wire.as_bytes()[cut..], Some("x-served-by"))?.or_else(|| reader.on_close()))
            }
        }
    }

    #[test]
    fn answers_are_the_same_at_every_split() {
        let check = |wire: &str, is_head, status, content_bytes, keep_alive, counted: Option<&str>| {
            let expected = Answer {
                status,
                content_bytes,
                keep_alive,
                counted: counted.map(str::to_owned),
                grpc_status: None,
            };
            for cut in 0..=wire.len() {
                assert_eq!(read(wire, is_head, cut), Ok(Some(expected.clone())), "{wire:?} cut at {cut}");
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
}
