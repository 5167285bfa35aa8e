//! What frames chunks (RFC 9112 section 7.1).

/// What ends a chunked body without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
/// What ends each chunk's data.
pub const CHUNK_END: &[u8] = b"\r\n";

/// Appends the size line of a chunk of `size` bytes (not zero: that is [`LAST_CHUNK`]).
pub fn encode_chunk_size(out: &mut Vec<u8>, size: usize) {
    out.extend_from_slice(SizeLine::new(size).as_bytes());
}

/// The size line of a chunk, where it must stand in front of content that is in its place already.
#[derive(Clone, Copy, Debug)]
pub struct SizeLine {
    text: [u8; SizeLine::BYTES_MAX],
    start: u8,
}

impl SizeLine {
    /// The longest one: 16 hexadecimal digits, CR LF.
    pub const BYTES_MAX: usize = 18;

    /// The line for `size` bytes (not zero: that is [`LAST_CHUNK`]).
    pub fn new(size: usize) -> Self {
        debug_assert!(size > 0, "an empty chunk ends the body");
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = *b"0000000000000000\r\n";
        let mut start = Self::BYTES_MAX - 2;
        let mut rest = size;
        while rest > 0 && start > 0 {
            start -= 1;
            text[start] = DIGITS[rest & 15];
            rest >>= 4;
        }
        SizeLine { text, start: start as u8 }
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text[usize::from(self.start)..]
    }
}
