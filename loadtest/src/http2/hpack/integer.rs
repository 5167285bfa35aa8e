//! HPACK's integers (RFC 7541, section 5.1): a prefix of some bits, then seven bits a byte, lowest first.

/// How many bytes may follow the prefix: five carry 35 bits, and no length or index here needs 32.
const BYTES_MAX: usize = 5;

/// Reads the integer whose first byte is `first` and whose other bytes `rest` begins with, which it
/// moves on. `None`: cut off, longer than five bytes, or above 32 bits.
pub(super) fn decode(first: u8, prefix_bits: u32, rest: &mut &[u8]) -> Option<usize> {
    let full = (1_u64 << prefix_bits) - 1;
    let mut value = u64::from(first) & full;
    if value < full {
        return Some(value as usize);
    }
    for at in 0..BYTES_MAX {
        let (&byte, behind) = rest.split_first()?;
        *rest = behind;
        value += u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return u32::try_from(value).ok().map(|value| value as usize);
        }
    }
    None
}

/// Writes `value` behind `pattern`, the bits above the prefix.
pub(super) fn encode(mut value: usize, pattern: u8, prefix_bits: u32, out: &mut Vec<u8>) {
    let full = (1 << prefix_bits) - 1;
    if value < full {
        out.push(pattern | value as u8);
        return;
    }
    out.push(pattern | full as u8);
    value -= full;
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8], prefix_bits: u32) -> Option<(usize, usize)> {
        let (&first, mut rest) = bytes.split_first()?;
        decode(first, prefix_bits, &mut rest).map(|value| (value, rest.len()))
    }

    #[test]
    fn examples_of_the_standard() {
        // RFC 7541, appendix C.1.
        for (value, prefix, bytes) in
            [(10, 5, &[0b01010][..]), (1_337, 5, &[0b11111, 0x9a, 0x0a]), (42, 8, &[0x2a])]
        {
            let mut out = Vec::new();
            encode(value, 0, prefix, &mut out);
            assert_eq!(out, bytes);
            assert_eq!(decoded(bytes, prefix), Some((value, 0)));
        }
    }

    #[test]
    fn both_sides_agree_at_every_border() {
        for prefix in 1..=8 {
            let borders = (0..32).flat_map(|bit| [(1_u64 << bit) - 1, 1 << bit, (1 << bit) + 1]);
            for value in borders.chain([u64::from(u32::MAX)]) {
                let mut out = Vec::new();
                encode(value as usize, 0, prefix, &mut out);
                out.push(0xee);
                assert_eq!(decoded(&out, prefix), Some((value as usize, 1)), "{value} in {prefix}");
                assert_eq!(decoded(&out[..out.len() - 2], prefix), None, "{value} cut off");
            }
        }
    }

    #[test]
    fn what_is_too_large_is_refused() {
        // 2^32 - 1 + 31 and more, zeros without end.
        assert_eq!(decoded(&[0x1f, 0xe0, 0xff, 0xff, 0xff, 0x0f], 5), Some((0xffff_ffff, 0)));
        assert_eq!(decoded(&[0x1f, 0xe1, 0xff, 0xff, 0xff, 0x0f], 5), None);
        assert_eq!(decoded(&[0x1f, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00], 5), None);
        assert_eq!(decoded(&[0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], 5), None);
    }
}
