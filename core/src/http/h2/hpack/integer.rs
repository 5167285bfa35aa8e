//! Integers with a prefix of some bits of a byte (RFC 7541 section 5.1).
//!
//! Invariants: what is read is below 2^28 + 2^8 and takes at most five bytes; more is refused, whatever the value.
//!
//! HOT: no allocation while the buffer has room.

/// Reads the integer whose prefix is the lower `bits` bits of the first byte; `None` when it does not end or is
/// too great. `bytes` moves behind it.
#[inline]
pub(super) fn read(bytes: &mut &[u8], bits: u32) -> Option<usize> {
    let (&first, rest) = bytes.split_first()?;
    let mask = u8::MAX >> (8 - bits);
    *bytes = rest;
    if first & mask < mask {
        return Some(usize::from(first & mask));
    }
    read_rest(bytes, usize::from(mask))
}

fn read_rest(bytes: &mut &[u8], prefix: usize) -> Option<usize> {
    let mut value = prefix;
    for shift in [0, 7, 14, 21] {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value += usize::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Appends `value` with a prefix of `bits` bits; `first` has the bits above the prefix.
#[inline]
pub(super) fn write(out: &mut Vec<u8>, first: u8, bits: u32, value: usize) {
    let mask = (1 << bits) - 1;
    if value < mask {
        out.push(first | value as u8);
        return;
    }
    out.push(first | mask as u8);
    let mut rest = value - mask;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: usize, bits: u32, bytes: &[u8]) {
        let mut out = Vec::new();
        write(&mut out, 0, bits, value);
        assert_eq!(out, bytes);
        let mut rest = bytes;
        assert_eq!(read(&mut rest, bits), Some(value));
        assert!(rest.is_empty());
        for cut in 0..bytes.len() {
            assert_eq!(read(&mut &bytes[..cut], bits), None, "the first {cut} bytes of {value}");
        }
    }

    #[test]
    fn examples_of_the_standard() {
        // RFC 7541 appendices C.1.1 to C.1.3.
        check(10, 5, &[0b01010]);
        check(1337, 5, &[0b11111, 0b10011010, 0b00001010]);
        check(42, 8, &[0b00101010]);
    }

    #[test]
    fn edges() {
        check(30, 5, &[30]);
        check(31, 5, &[31, 0]);
        check(158, 5, &[31, 127]);
        check(159, 5, &[31, 128, 1]);
        check(127 + (1 << 28) - 1, 7, &[127, 255, 255, 255, 127]);
    }

    #[test]
    fn without_end() {
        for mut bytes in [&[127, 255, 255, 255, 255, 0][..], &[127, 128, 128, 128, 128, 0], &[127, 128, 128]]
        {
            assert_eq!(read(&mut bytes, 7), None);
        }
    }
}
