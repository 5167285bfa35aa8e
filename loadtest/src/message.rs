//! HTTP/1.1 messages as both halves of this program read them: the origin requests, the generator
//! responses. Own code on purpose: a witness that shared the proxy's parser would share its bugs.
//!
//! ```text
//! start line CRLF | name: value CRLF | … | CRLF | body: none, Content-Length, chunked, until close
//! ```
//!
//! Strict: what RFC 9112 lets a recipient repair is refused here, so that a proxy which passes on an
//! ambiguous message is seen to have done so.

use std::fmt;

use smallvec::SmallVec;

/// Fields that are split without memory of their own; a head with more takes some.
const FIELDS_INLINE: usize = 16;

/// The longest head that is read, in bytes: far above the 64 KiB which proxies allow at most, so that
/// what a proxy lets through is seen whole.
pub(crate) const HEAD_BYTES_MAX: usize = 256 * 1024;

/// The longest line of a chunk size with its extensions, or of one trailer field, in bytes.
const LINE_BYTES_MAX: usize = 16 * 1024;

/// How many bytes of trailer lines are kept, in all.
const TRAILER_BYTES_MAX: usize = 64 * 1024;

/// Why a message can't be read. The text is for people; nothing decides on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// How the end of a body is known (RFC 9112, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// So many bytes.
    Length(u64),
    /// Until the last chunk and its trailers.
    Chunked,
    /// Until the connection closes; responses only.
    UntilClose,
}

/// The length of the head that `bytes` begin with, its empty line included, or `None` while that has
/// not come yet. `searched` bytes were looked at before.
pub(crate) fn head_length(bytes: &[u8], searched: usize) -> Option<usize> {
    let from = searched.saturating_sub(3).min(bytes.len());
    memchr::memmem::find(&bytes[from..], b"\r\n\r\n").map(|at| from + at + 4)
}

/// The lines of a head, split: the start line and the fields in their order, nothing merged.
pub(crate) struct Head<'a> {
    /// The first line, without its line end.
    pub(crate) start: &'a [u8],
    /// Names as they were written, values without the white space around them.
    pub(crate) fields: SmallVec<[(&'a [u8], &'a [u8]); FIELDS_INLINE]>,
}

impl<'a> Head<'a> {
    /// Splits a complete head (as measured by [`head_length`]).
    ///
    /// # Errors
    /// Whatever is not exactly the grammar of RFC 9112, section 5: folded lines, white space before the
    /// colon, bare CR or LF, control bytes, empty names.
    pub(crate) fn split(head: &'a [u8]) -> Result<Self, Malformed> {
        let mut lines = Lines(head.strip_suffix(b"\r\n\r\n").ok_or(Malformed("head without its end"))?);
        let start = lines.next().ok_or(Malformed("empty head"))?;
        if !start.iter().all(|&byte| KINDS[usize::from(byte)] & IN_VALUE != 0 && byte != b'\t') {
            return Err(Malformed("control byte in the start line"));
        }
        let mut fields = SmallVec::new();
        for line in lines {
            let colon = memchr::memchr(b':', line).ok_or(Malformed("header line without a colon"))?;
            let (name, value) = (&line[..colon], &line[colon + 1..]);
            if name.is_empty() || !name.iter().all(|&byte| is_token(byte)) {
                return Err(Malformed("header name is not a token"));
            }
            if !value.iter().all(|&byte| KINDS[usize::from(byte)] & IN_VALUE != 0) {
                return Err(Malformed("control byte in a header value"));
            }
            fields.push((name, value.trim_ascii()));
        }
        Ok(Head { start, fields })
    }

    /// The values of the fields named `name`, in order.
    pub(crate) fn values(&self, name: &'static str) -> impl Iterator<Item = &'a [u8]> + '_ {
        self.fields
            .iter()
            .filter(move |(other, _)| other.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| *value)
    }

    /// Whether one of the comma-separated elements of the field `name` is `token`.
    pub(crate) fn has_token(&self, name: &'static str, token: &str) -> bool {
        self.values(name).any(|value| {
            value.split(|&b| b == b',').any(|e| e.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
        })
    }

    /// The framing that the fields give, if they give one.
    ///
    /// # Errors
    /// Content-Length beside Transfer-Encoding, more than one of either, a length that is not digits
    /// or does not fit 63 bits, any transfer coding but `chunked`.
    pub(crate) fn framing(&self) -> Result<Option<Framing>, Malformed> {
        let mut codings = self.values("transfer-encoding");
        let mut lengths = self.values("content-length");
        match (codings.next(), lengths.next()) {
            (Some(_), Some(_)) => Err(Malformed("Content-Length beside Transfer-Encoding")),
            (Some(coding), None) => {
                if codings.next().is_some() {
                    Err(Malformed("more than one Transfer-Encoding"))
                } else if coding.eq_ignore_ascii_case(b"chunked") {
                    Ok(Some(Framing::Chunked))
                } else {
                    Err(Malformed("a transfer coding other than chunked"))
                }
            }
            (None, Some(length)) => {
                if lengths.next().is_some() {
                    return Err(Malformed("more than one Content-Length"));
                }
                number(length).map(|length| Some(Framing::Length(length)))
            }
            (None, None) => Ok(None),
        }
    }
}

struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let mut from = 0;
        // A bare LF stays in its line, where no field allows it.
        while let Some(at) = memchr::memchr(b'\n', &self.0[from..]).map(|at| from + at) {
            if at > 0 && self.0[at - 1] == b'\r' {
                let line = &self.0[..at - 1];
                self.0 = &self.0[at + 1..];
                return Some(line);
            }
            from = at + 1;
        }
        Some(std::mem::take(&mut self.0))
    }
}

/// May stand in a token (RFC 9110, section 5.6.2).
const IN_TOKEN: u8 = 1;

/// May stand in a field's value (RFC 9110, section 5.5): no control byte but the tab.
const IN_VALUE: u8 = 2;

/// What each byte may stand in.
const KINDS: [u8; 256] = {
    let mut kinds = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let is_symbol = matches!(
            byte as u8,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        );
        if is_symbol || (byte as u8).is_ascii_alphanumeric() {
            kinds[byte] |= IN_TOKEN;
        }
        if (byte >= 0x20 && byte != 0x7f) || byte as u8 == b'\t' {
            kinds[byte] |= IN_VALUE;
        }
        byte += 1;
    }
    kinds
};

/// Whether `byte` may stand in a token (RFC 9110, section 5.6.2).
pub(crate) fn is_token(byte: u8) -> bool {
    KINDS[usize::from(byte)] & IN_TOKEN != 0
}

/// A Content-Length: digits only, at most 63 bits.
fn number(text: &[u8]) -> Result<u64, Malformed> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return Err(Malformed("Content-Length is not a number"));
    }
    let mut value: u64 = 0;
    for &digit in text {
        value = value
            .checked_mul(10)
            .and_then(|v| v.checked_add(u64::from(digit - b'0')))
            .filter(|&v| i64::try_from(v).is_ok())
            .ok_or(Malformed("Content-Length is too large"))?;
    }
    Ok(value)
}

/// What a [`Body`] made of the bytes it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fed {
    /// How many of the bytes belong to the body (its framing included).
    pub(crate) consumed: usize,
    /// Whether the body has ended; bytes behind `consumed` are the next message's.
    pub(crate) done: bool,
}

/// Reads one body of any framing, in pieces of any size.
///
/// ```text
/// Length(n): Content ── n bytes ──▶ Done
/// Chunked:   Size ─line─▶ Content ─n bytes─▶ Ending(CRLF) ─▶ Size … Size ─"0" line─▶ Trailers ─empty line─▶ Done
/// ```
pub(crate) struct Body {
    step: Step,
    chunked: bool,
    line: Vec<u8>,
    trailer_bytes: usize,
    /// Trailer lines as they came, without line ends.
    pub(crate) trailers: Vec<Vec<u8>>,
    /// Bytes of content so far.
    pub(crate) length: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Size,
    Content(u64),
    Ending,
    Trailers,
    Done,
}

impl Body {
    /// A reader for a body of this framing.
    pub(crate) fn new(framing: Framing) -> Self {
        let (step, chunked) = match framing {
            Framing::Length(0) => (Step::Done, false),
            Framing::Length(length) => (Step::Content(length), false),
            Framing::Chunked => (Step::Size, true),
            // Only the connection's end ends it: see `on_close`.
            Framing::UntilClose => (Step::Content(u64::MAX), false),
        };
        Body { step, chunked, line: Vec::new(), trailer_bytes: 0, trailers: Vec::new(), length: 0 }
    }

    /// Whether the body has ended.
    pub(crate) fn is_done(&self) -> bool {
        self.step == Step::Done
    }

    /// Takes the next bytes; content goes to `content` in order.
    ///
    /// # Errors
    /// A chunk that is not exactly the grammar of RFC 9112, section 7.1.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut content: impl FnMut(&[u8])) -> Result<Fed, Malformed> {
        let mut at = 0;
        while at < bytes.len() {
            match self.step {
                Step::Done => break,
                Step::Content(left) => {
                    let take = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - at);
                    content(&bytes[at..at + take]);
                    self.length += take as u64;
                    at += take;
                    self.step = match left - take as u64 {
                        0 if self.chunked => Step::Ending,
                        0 => Step::Done,
                        left => Step::Content(left),
                    };
                }
                Step::Size | Step::Ending | Step::Trailers => {
                    let (used, line) = self.take_line(&bytes[at..])?;
                    at += used;
                    if line {
                        self.end_line()?;
                    }
                }
            }
        }
        Ok(Fed { consumed: at, done: self.is_done() })
    }

    /// Collects bytes up to the next CRLF. Says how many it used, and whether the line is complete.
    fn take_line(&mut self, bytes: &[u8]) -> Result<(usize, bool), Malformed> {
        let end = memchr::memchr(b'\n', bytes);
        let used = end.map_or(bytes.len(), |at| at + 1);
        self.line.extend_from_slice(&bytes[..used]);
        if self.line.len() > LINE_BYTES_MAX {
            return Err(Malformed("line in a chunked body too long"));
        }
        if end.is_some() {
            if !self.line.ends_with(b"\r\n") {
                return Err(Malformed("bare LF in a chunked body"));
            }
            self.line.truncate(self.line.len() - 2);
            if self.line.contains(&b'\r') {
                return Err(Malformed("bare CR in a chunked body"));
            }
        }
        Ok((used, end.is_some()))
    }

    fn end_line(&mut self) -> Result<(), Malformed> {
        let mut line = std::mem::take(&mut self.line);
        match self.step {
            Step::Size => {
                self.step = match chunk_size(&line)? {
                    0 => Step::Trailers,
                    size => Step::Content(size),
                };
            }
            Step::Ending if line.is_empty() => self.step = Step::Size,
            Step::Ending => return Err(Malformed("chunk longer than its size")),
            _ if line.is_empty() => self.step = Step::Done,
            _ => {
                self.trailer_bytes += line.len();
                if self.trailer_bytes > TRAILER_BYTES_MAX {
                    return Err(Malformed("trailers too long"));
                }
                self.trailers.push(std::mem::take(&mut line));
            }
        }
        // The line's memory serves the next line.
        line.clear();
        self.line = line;
        Ok(())
    }

    /// The connection ended. Says whether that was this body's proper end.
    pub(crate) fn on_close(&mut self) -> bool {
        if self.step == Step::Content(u64::MAX - self.length) && !self.chunked {
            self.step = Step::Done;
        }
        self.is_done()
    }
}

/// The size in a chunk's first line: hexadecimal digits, then nothing or `;extensions`.
fn chunk_size(line: &[u8]) -> Result<u64, Malformed> {
    let digits = memchr::memchr(b';', line).map_or(line, |at| &line[..at]);
    // At most 15 digits: 60 bits, which no sum below can carry past 64.
    if digits.is_empty() || digits.len() > 15 {
        return Err(Malformed("chunk size is missing or too large"));
    }
    let mut size = 0;
    for &digit in digits {
        let value = char::from(digit).to_digit(16).ok_or(Malformed("chunk size is not hexadecimal"))?;
        size = size << 4 | u64::from(value);
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framing(fields: &str) -> Result<Option<Framing>, Malformed> {
        let head = format!("GET / HTTP/1.1\r\n{fields}\r\n");
        assert_eq!(head_length(head.as_bytes(), 0), Some(head.len()));
        Head::split(head.as_bytes())?.framing()
    }

    #[test]
    fn framing_is_strict() {
        assert_eq!(framing(""), Ok(None));
        assert_eq!(framing("Content-Length: 12\r\n"), Ok(Some(Framing::Length(12))));
        assert_eq!(framing("transfer-encoding:Chunked\r\n"), Ok(Some(Framing::Chunked)));
        for wrong in [
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 1\r\nContent-Length: 1\r\n",
            "Content-Length: 1,1\r\n",
            "Content-Length: +1\r\n",
            "Content-Length:\r\n",
            "Content-Length: 9223372036854775808\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length : 1\r\n",
            "a: b\r\n c: d\r\n",
            "a: b\nc: d\r\n",
            "no colon\r\n",
            ": empty\r\n",
            "a: \0\r\n",
            "a: b\rc\r\n",
            "a: \x7f\r\n",
            "a\x00: b\r\n",
            "\nno: name\r\n",
        ] {
            assert!(framing(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn tokens_and_values_are_told_from_other_bytes() {
        for byte in 0..=u8::MAX {
            let token = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            assert_eq!(is_token(byte), token, "{byte:#x}");
            let value = (byte >= 0x20 && byte != 0x7f) || byte == b'\t';
            assert_eq!(KINDS[usize::from(byte)] & IN_VALUE != 0, value, "{byte:#x}");
        }
    }

    #[test]
    fn the_head_ends_at_its_empty_line_wherever_the_pieces_are_cut() {
        let bytes = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET";
        for cut in 0..=bytes.len() {
            let found = head_length(&bytes[..cut], 0).or_else(|| head_length(bytes, cut));
            assert_eq!(found, Some(bytes.len() - 3), "cut at {cut}");
        }
    }

    #[test]
    fn chunked_bodies_read_the_same_at_every_split() {
        let wire = b"5\r\nhello\r\n10;a=\"b\"\r\n0123456789abcdef\r\n0\r\nx-sum: 1\r\n\r\nNEXT";
        for cut in 0..wire.len() {
            let (mut body, mut content) = (Body::new(Framing::Chunked), Vec::new());
            let first = body.feed(&wire[..cut], |part| content.extend_from_slice(part)).unwrap();
            let second = body.feed(&wire[first.consumed..], |part| content.extend_from_slice(part)).unwrap();
            assert!(second.done);
            assert_eq!(first.consumed + second.consumed, wire.len() - 4, "cut at {cut}");
            assert_eq!(content, b"hello0123456789abcdef");
            assert_eq!(body.trailers, [b"x-sum: 1".to_vec()]);
            assert_eq!(body.length, 21);
        }
    }

    #[test]
    fn wrong_chunks_are_refused() {
        for wrong in [
            "g\r\n",
            "\r\n",
            "-1\r\n",
            "0x5\r\nhello\r\n",
            "5 \r\nhello\r\n",
            "5\nhello\r\n",
            "5\r\nhelloworld\r\n",
            "5\r\nhello\r\r\n",
            "fffffffffffffffff\r\n",
        ] {
            let mut body = Body::new(Framing::Chunked);
            assert!(body.feed(wrong.as_bytes(), |_| ()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn only_the_close_ends_a_body_without_framing() {
        let mut body = Body::new(Framing::UntilClose);
        assert_eq!(body.feed(b"abc", |_| ()), Ok(Fed { consumed: 3, done: false }));
        assert!(body.on_close());
        let mut body = Body::new(Framing::Length(5));
        assert_eq!(body.feed(b"abc", |_| ()), Ok(Fed { consumed: 3, done: false }));
        assert!(!body.on_close());
        let mut body = Body::new(Framing::Chunked);
        assert!(!body.on_close());
    }
}
