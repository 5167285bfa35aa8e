//! Single bytes of chunk framing, and where a trailer section ends.

use super::BodyError;

/// Where a trailer section ends: after its empty line. `from`: bytes before it were looked at already.
pub(super) fn section_end(section: &[u8], from: usize) -> Option<usize> {
    if section.starts_with(b"\r\n") {
        return Some(2);
    }
    let from = from.saturating_sub(3);
    memchr::memmem::find(&section[from..], b"\r\n\r\n").map(|place| from + place + 4)
}

#[inline]
pub(super) const fn expect(byte: u8, wanted: u8, error: BodyError) -> Result<u8, BodyError> {
    if byte == wanted { Ok(byte) } else { Err(error) }
}

#[inline]
pub(super) const fn hex(byte: u8) -> Option<u64> {
    match byte {
        b'0'..=b'9' => Some((byte - b'0') as u64),
        b'a'..=b'f' => Some((byte - b'a') as u64 + 10),
        b'A'..=b'F' => Some((byte - b'A') as u64 + 10),
        _ => None,
    }
}
