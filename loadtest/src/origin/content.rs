//! The content of answers: numbered lines of any length, who the origin is, what it saw.

use std::io::{self, Write as _};
use std::rc::Rc;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::proxy::ProxyHeader;
use super::tls::TlsFacts;

/// The bytes of all bodies: lines of 16 characters, each the number of the line, so that a lost,
/// doubled or shifted piece shows. It repeats after 256 KiB.
static PATTERN: LazyLock<Box<[u8]>> = LazyLock::new(|| {
    let mut block = Vec::with_capacity(PATTERN_BYTES);
    for line in 0..PATTERN_BYTES / 16 {
        // INVARIANT: writing to a vector does not fail.
        let _ = writeln!(block, "{line:015x}");
    }
    block.into_boxed_slice()
});

/// Length of the repeating block of content.
const PATTERN_BYTES: usize = 256 * 1024;

/// A piece of the content of every body, from `offset` on, at most `most` bytes.
pub(crate) fn pattern(offset: u64, most: u64) -> &'static [u8] {
    let block: &'static [u8] = &PATTERN;
    let from = (offset % PATTERN_BYTES as u64) as usize;
    let length = most.min((PATTERN_BYTES - from) as u64) as usize;
    &block[from..from + length]
}

/// The content of one answer.
#[derive(Clone)]
pub(super) enum Source {
    /// Of the pattern.
    Pattern,
    /// This.
    Text(Rc<[u8]>),
}

impl Source {
    /// A piece from `offset` on, of at most `most` bytes, all of which exist.
    pub(super) fn piece(&self, offset: u64, most: u64) -> &[u8] {
        match self {
            Source::Pattern => pattern(offset, most),
            Source::Text(text) => {
                let from = (offset as usize).min(text.len());
                &text[from..text.len().min(from.saturating_add(most as usize))]
            }
        }
    }
}

/// The pieces in which a slow body goes out, each second.
const PIECES_PER_SECOND: u64 = 50;

/// When the bytes of a slow body are due.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    started: Instant,
    /// Bytes a second, more than none.
    rate: u64,
}

impl Pace {
    /// A body that begins now.
    pub(super) fn start(rate: u64) -> Self {
        Pace { started: Instant::now(), rate }
    }

    /// The size of a piece, in bytes.
    pub(super) fn piece_bytes(self) -> u64 {
        (self.rate / PIECES_PER_SECOND).max(1)
    }

    /// When the first `bytes` of the body are to be out.
    pub(super) fn due(self, bytes: u64) -> Instant {
        // In 128 bits: a terabyte times a billion does not fit 64.
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.rate);
        self.started + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX / 2))
    }
}

/// The answer of `/echo`.
#[derive(Serialize)]
pub(crate) struct Echo<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: &'a str,
    pub(crate) method: &'a str,
    pub(crate) target: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: Option<&'a str>,
    pub(crate) http_version: &'a str,
    /// Name and value of every header line, in order, nothing merged.
    pub(crate) headers: Vec<[String; 2]>,
    /// Bytes of content, whatever its framing was.
    pub(crate) body_length: u64,
    /// The content, as far as it is kept; what is not UTF-8 is replaced.
    pub(crate) body: String,
    pub(crate) body_truncated: bool,
    pub(crate) body_chunked: bool,
    pub(crate) trailers: Vec<String>,
    /// Where the connection comes from: IP:PORT, by the PROXY header if there is one.
    pub(crate) source: Option<&'a str>,
    /// What the PROXY header said.
    pub(crate) proxy_protocol: Option<&'a ProxyHeader>,
    /// How the connection is encrypted.
    pub(crate) tls: Option<&'a TlsFacts>,
    /// Which connection to this origin it came on, from 1.
    pub(crate) connection: u64,
    /// Which request on that connection it was, from 1.
    pub(crate) request: u64,
}

impl Echo<'_> {
    /// As JSON, with a line end.
    ///
    /// # Errors
    /// None that is known: everything in it can be written.
    pub(super) fn json(&self) -> io::Result<Rc<[u8]>> {
        let mut json = serde_json::to_vec(self)?;
        json.push(b'\n');
        Ok(Rc::from(json))
    }
}

/// Name and value of every header line, as text.
pub(super) fn header_pairs<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Vec<[String; 2]> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    fields.map(|(name, value)| [text(name), text(value)]).collect()
}

/// The reason phrase of a status code (RFC 9110, section 15), or an empty one.
pub(crate) fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        417 => "Expectation Failed",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_tells_its_own_place() {
        assert_eq!(pattern(0, 16), b"000000000000000\n");
        assert_eq!(pattern(16 * 255, 16), b"0000000000000ff\n");
        assert_eq!(pattern(PATTERN_BYTES as u64 - 3, 100), b"ff\n");
        assert_eq!(pattern(PATTERN_BYTES as u64, 3), b"000");
    }

    #[test]
    fn texts_come_in_pieces_too() {
        let source = Source::Text(Rc::from(&b"hello"[..]));
        assert_eq!(source.piece(0, 3), b"hel");
        assert_eq!(source.piece(3, 10), b"lo");
        assert_eq!(source.piece(5, 10), b"");
    }

    #[test]
    fn a_slow_body_takes_its_length_by_its_rate() {
        let pace = Pace::start(100);
        assert_eq!(pace.due(250) - pace.started, Duration::from_millis(2500));
        assert_eq!(pace.piece_bytes(), 2);
        assert_eq!(Pace::start(1).piece_bytes(), 1);
        // A terabyte at a byte a second is beyond what a clock counts, not beyond what is asked for.
        let slow = Pace::start(1);
        assert!(slow.due(1 << 40) - slow.started > Duration::from_secs(9_000_000_000));
    }
}
