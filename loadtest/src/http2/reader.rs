//! Reads frames in pieces of any size, and puts header blocks together.
//!
//! ```text
//! bytes ─┬─ a whole frame: read where it stands
//!        └─ a part of one: kept in `partial` until the rest has come
//!
//! HEADERS without END_HEADERS ─▶ block ─ CONTINUATION … ─▶ END_HEADERS: one `Head`
//!                                  └─ any other frame: an error (RFC 9113, section 6.10)
//! ```
//!
//! HOT: nothing is allocated once the two buffers have grown.
//!
//! Invariant: what comes out is well-formed as a frame: its length fits its kind, it is on a stream or
//! on the connection as its kind demands, its padding fits.

use super::frame::{
    CONTINUATIONS_MAX, Fault, HEADER_BYTES, HEADER_LIST_BYTES_MAX, Header, STREAM_MAX, code, flag, kind,
};

/// What came, its frame checked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming<'a> {
    /// A whole header block.
    Head { stream: u32, block: &'a [u8], end: bool },
    /// Content; `flow` is what it takes of the windows, padding included.
    Data { stream: u32, bytes: &'a [u8], end: bool, flow: u32 },
    /// The stream is reset.
    Reset { stream: u32, code: u32 },
    /// The peer's settings, in pairs of six bytes.
    Settings(&'a [u8]),
    /// Our settings are known to the peer.
    SettingsAck,
    /// To be answered.
    Ping([u8; 8]),
    /// The peer takes no streams above `last`.
    GoAway { last: u32 },
    /// More may be sent; stream 0 is the connection.
    WindowUpdate { stream: u32, increment: u32 },
    /// Nothing that matters: priorities, the peer's PING answered, kinds unknown, a part of a block.
    Nothing,
}

/// A frame that has come whole: its header, and its payload where that need not be put together.
type Whole<'a> = (Header, Option<&'a [u8]>);

/// A header block that has begun.
#[derive(Clone, Copy, Debug)]
struct Begun {
    stream: u32,
    end: bool,
    continuations: usize,
}

/// Reads one direction of a connection.
#[derive(Debug, Default)]
pub(super) struct Reader {
    payload_bytes_max: usize,
    /// A frame that has not come whole, or, when `is_whole`, the one read last.
    partial: Vec<u8>,
    is_whole: bool,
    /// The block that has begun, or the one read last.
    block: Vec<u8>,
    begun: Option<Begun>,
}

impl Reader {
    /// A reader that refuses frames of more than `payload_bytes_max`.
    pub(super) fn new(payload_bytes_max: u32) -> Self {
        Reader { payload_bytes_max: payload_bytes_max as usize, ..Reader::default() }
    }

    /// The next frame, of which `bytes` holds the rest; `bytes` moves on. `None`: it has not come whole.
    ///
    /// # Errors
    /// A frame that is not well-formed: the connection is lost.
    pub(super) fn next<'a, 'b: 'a>(
        &'a mut self,
        bytes: &mut &'b [u8],
    ) -> Result<Option<Incoming<'a>>, Fault> {
        let Some((header, direct)) = self.complete(bytes)? else { return Ok(None) };
        let payload = match direct {
            Some(payload) => payload,
            None => &self.partial[HEADER_BYTES..],
        };
        if self.begun.is_some() && header.kind != kind::CONTINUATION {
            return Err(Fault::protocol("a frame within a header block"));
        }
        let incoming = match header.kind {
            kind::HEADERS => {
                let payload = unprioritized(header, unpadded(header, on_stream(header, payload)?)?)?;
                let end = header.has(flag::END_STREAM);
                if header.has(flag::END_HEADERS) {
                    Incoming::Head { stream: header.stream, block: payload, end }
                } else {
                    self.begun = Some(Begun { stream: header.stream, end, continuations: 0 });
                    self.block.clear();
                    add_to_block(&mut self.block, payload)?;
                    Incoming::Nothing
                }
            }
            kind::CONTINUATION => {
                let begun = self.begun.as_mut().filter(|begun| begun.stream == header.stream);
                let begun = begun.ok_or(Fault::protocol("CONTINUATION of no block"))?;
                begun.continuations += 1;
                if begun.continuations > CONTINUATIONS_MAX {
                    return Err(calm("a header block in too many frames"));
                }
                add_to_block(&mut self.block, payload)?;
                if header.has(flag::END_HEADERS) {
                    let Begun { stream, end, .. } = *begun;
                    self.begun = None;
                    Incoming::Head { stream, block: &self.block, end }
                } else {
                    Incoming::Nothing
                }
            }
            _ => plain(header, payload)?,
        };
        Ok(Some(incoming))
    }

    /// The header of the next whole frame, with its payload if that stands in `bytes`; otherwise it is
    /// in `partial`.
    fn complete<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<Option<Whole<'a>>, Fault> {
        if self.is_whole {
            self.partial.clear();
            self.is_whole = false;
        }
        if self.partial.is_empty()
            && let Some((header, behind)) = bytes.split_first_chunk()
        {
            let header = self.checked(header)?;
            if let Some((payload, rest)) = behind.split_at_checked(header.length) {
                *bytes = rest;
                return Ok(Some((header, Some(payload))));
            }
        }
        self.take(bytes, HEADER_BYTES);
        let Some(header) = self.partial.first_chunk() else { return Ok(None) };
        let header = self.checked(header)?;
        self.take(bytes, HEADER_BYTES + header.length);
        self.is_whole = self.partial.len() == HEADER_BYTES + header.length;
        Ok(self.is_whole.then_some((header, None)))
    }

    /// Moves bytes into `partial` until that holds `length`.
    fn take(&mut self, bytes: &mut &[u8], length: usize) {
        let wanted = length.saturating_sub(self.partial.len()).min(bytes.len());
        let (now, later) = bytes.split_at(wanted);
        self.partial.extend_from_slice(now);
        *bytes = later;
    }

    fn checked(&self, header: &[u8; HEADER_BYTES]) -> Result<Header, Fault> {
        let header = Header::parse(header);
        if header.length > self.payload_bytes_max {
            return Err(Fault::size("a frame above the size allowed"));
        }
        Ok(header)
    }
}

fn calm(text: &'static str) -> Fault {
    Fault { code: code::ENHANCE_YOUR_CALM, text }
}

fn add_to_block(block: &mut Vec<u8>, payload: &[u8]) -> Result<(), Fault> {
    if block.len() + payload.len() > HEADER_LIST_BYTES_MAX {
        return Err(calm("a header block too long"));
    }
    block.extend_from_slice(payload);
    Ok(())
}

/// Frames that stand for themselves.
fn plain(header: Header, payload: &[u8]) -> Result<Incoming<'_>, Fault> {
    let stream = header.stream;
    Ok(match header.kind {
        kind::DATA => {
            let bytes = unpadded(header, on_stream(header, payload)?)?;
            Incoming::Data { stream, bytes, end: header.has(flag::END_STREAM), flow: payload.len() as u32 }
        }
        kind::PRIORITY => {
            sized::<5>(on_stream(header, payload)?, "PRIORITY of a wrong length")?;
            Incoming::Nothing
        }
        kind::RST_STREAM => {
            let code = sized(on_stream(header, payload)?, "RST_STREAM of a wrong length")?;
            Incoming::Reset { stream, code: u32::from_be_bytes(code) }
        }
        kind::SETTINGS => {
            let payload = on_connection(header, payload)?;
            match (header.has(flag::ACK), payload.len()) {
                (true, 0) => Incoming::SettingsAck,
                (true, _) => return Err(Fault::size("SETTINGS acknowledged with a payload")),
                (false, length) if length % 6 == 0 => Incoming::Settings(payload),
                (false, _) => return Err(Fault::size("SETTINGS of a wrong length")),
            }
        }
        kind::PUSH_PROMISE => return Err(Fault::protocol("PUSH_PROMISE, which was not allowed")),
        kind::PING => {
            let opaque = sized(on_connection(header, payload)?, "PING of a wrong length")?;
            if header.has(flag::ACK) { Incoming::Nothing } else { Incoming::Ping(opaque) }
        }
        kind::GOAWAY => match on_connection(header, payload)? {
            [a, b, c, d, _, _, _, _, ..] => {
                Incoming::GoAway { last: u32::from_be_bytes([*a, *b, *c, *d]) & STREAM_MAX }
            }
            _ => return Err(Fault::size("GOAWAY of a wrong length")),
        },
        kind::WINDOW_UPDATE => {
            let increment = u32::from_be_bytes(sized(payload, "WINDOW_UPDATE of a wrong length")?);
            Incoming::WindowUpdate { stream, increment: increment & STREAM_MAX }
        }
        _ => Incoming::Nothing,
    })
}

fn on_stream(header: Header, payload: &[u8]) -> Result<&[u8], Fault> {
    if header.stream == 0 { Err(Fault::protocol("a stream's frame on stream 0")) } else { Ok(payload) }
}

fn on_connection(header: Header, payload: &[u8]) -> Result<&[u8], Fault> {
    if header.stream == 0 { Ok(payload) } else { Err(Fault::protocol("a connection's frame on a stream")) }
}

fn sized<const BYTES: usize>(payload: &[u8], text: &'static str) -> Result<[u8; BYTES], Fault> {
    payload.try_into().map_err(|_| Fault::size(text))
}

/// The payload without its padding (RFC 9113, section 6.1).
fn unpadded(header: Header, payload: &[u8]) -> Result<&[u8], Fault> {
    if !header.has(flag::PADDED) {
        return Ok(payload);
    }
    let (&padding, rest) = payload.split_first().ok_or(Fault::size("no room for the padding's length"))?;
    let length = rest.len().checked_sub(usize::from(padding));
    length.map(|length| &rest[..length]).ok_or(Fault::protocol("padding longer than its frame"))
}

/// The block without the priority before it.
fn unprioritized(header: Header, payload: &[u8]) -> Result<&[u8], Fault> {
    if !header.has(flag::PRIORITY) {
        return Ok(payload);
    }
    payload.get(5..).ok_or(Fault::size("no room for the priority"))
}
