//! The Huffman code of header strings (RFC 7541 section 5.2 and appendix B), read by table.
//!
//! ```text
//!   accumulator: 64 bits, the next ones highest
//!   ├─ 11 bits ─┤  PAIRS: one or two whole symbols with their lengths, or nothing: a longer code
//! ```
//!
//! The code is canonical: codes of one length follow each other in the order of their symbols, and shorter
//! codes come first. So the lengths are all there is to know, and codes beyond 11 bits are found by comparing
//! with the greatest of each length.
//!
//! Invariants: the end-of-string code is never a symbol; padding is its first bits, fewer than eight.
//!
//! HOT: no allocation while the buffer has room; about five instructions a symbol.
//!
//! Not here: writing Huffman strings. Strings that repeat are sent as an index, and for the others a fifth of
//! the bytes is not worth the receiver's time in a mesh.

/// The string is no Huffman string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

/// Bits of each symbol's code; the last is the end of the string.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28,
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6,
    6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7,
    8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7,
    15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24,
    23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23,
    23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26,
    26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20,
    21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27,
    27, 27, 26, 30,
];
/// Bits of the longest code.
const LONGEST: usize = 30;
/// Bits looked up at once: two of the shortest codes fit, and 8 KiB of table stay in the cache.
const BITS: usize = 11;

/// Symbols in the order of their codes. The end of the string would be the 257th.
const SORTED: [u8; 256] = {
    let mut sorted = [0; 256];
    let mut count = 0;
    let mut length = 1;
    while length <= LONGEST {
        let mut symbol = 0;
        while symbol < 256 {
            if LENGTHS[symbol] as usize == length {
                sorted[count] = symbol as u8;
                count += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    sorted
};

/// The codes of one length.
#[derive(Clone, Copy)]
struct Range {
    /// One past the greatest code, with its bits highest.
    end: u64,
    /// What a code's place in [`SORTED`] is beyond the code itself; wraps.
    offset: u32,
}

/// The codes of each length.
const RANGES: [Range; LONGEST + 1] = {
    let mut ranges = [Range { end: 0, offset: 0 }; LONGEST + 1];
    let mut code = 0_u32;
    let mut place = 0_u32;
    let mut length = 1;
    while length <= LONGEST {
        code <<= 1;
        ranges[length].offset = place.wrapping_sub(code);
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == length {
                code += 1;
                place += 1;
            }
            symbol += 1;
        }
        ranges[length].end = (code as u64) << (32 - length);
        length += 1;
    }
    ranges
};

/// What the next bits stand for.
#[derive(Clone, Copy)]
struct Pair {
    /// The symbols; the second is zero if there is only one.
    symbols: [u8; 2],
    /// How many symbols; zero for a code beyond [`BITS`].
    count: u8,
    /// Bits of all symbols, and of the first one in the upper four bits.
    bits: u8,
}

impl Pair {
    const fn bits(self) -> u32 {
        (self.bits & 0xF) as u32
    }

    const fn first_bits(self) -> u32 {
        (self.bits >> 4) as u32
    }
}

/// By the next [`BITS`] bits.
static PAIRS: [Pair; 1 << BITS] = {
    const NONE: Pair = Pair { symbols: [0, 0], count: 0, bits: 0 };
    let mut pairs = [NONE; 1 << BITS];
    let mut bits = 0;
    while bits < pairs.len() {
        if let Some((first, first_bits)) = short(bits, BITS) {
            let rest = bits & ((1 << (BITS - first_bits)) - 1);
            pairs[bits] = match short(rest, BITS - first_bits) {
                Some((second, second_bits)) => Pair {
                    symbols: [first, second],
                    count: 2,
                    bits: (first_bits << 4 | (first_bits + second_bits)) as u8,
                },
                None => Pair { symbols: [first, 0], count: 1, bits: (first_bits << 4 | first_bits) as u8 },
            };
        }
        bits += 1;
    }
    pairs
};

/// The symbol whose whole code the first of these `count` bits are, with its length.
const fn short(bits: usize, count: usize) -> Option<(u8, usize)> {
    let mut length = 1;
    while length <= count {
        let code = (bits >> (count - length)) as u32;
        let range = RANGES[length];
        if (code as u64) << (32 - length) < range.end {
            return Some((SORTED[code.wrapping_add(range.offset) as usize], length));
        }
        length += 1;
    }
    None
}

/// The symbol of a code beyond [`BITS`], and its length.
#[cold]
fn long(accumulator: u64) -> Result<(u8, u32), Broken> {
    let top = accumulator >> 32;
    for (length, range) in RANGES.iter().enumerate().skip(BITS + 1) {
        if top < range.end {
            let code = (top >> (32 - length)) as u32;
            let symbol = SORTED.get(code.wrapping_add(range.offset) as usize).ok_or(Broken)?;
            return Ok((*symbol, length as u32));
        }
    }
    Err(Broken)
}

/// The most bytes that so many bytes of code can stand for: the shortest code has five bits.
pub(super) const fn bound(code_bytes: usize) -> usize {
    code_bytes * 8 / 5
}

/// Appends what `code` stands for.
pub(super) fn decode(code: &[u8], out: &mut Vec<u8>) -> Result<(), Broken> {
    let start = out.len();
    // Symbols are written in pairs: one byte more than there may be.
    out.resize(start + bound(code.len()) + 1, 0);
    let written = decode_into(code, &mut out[start..]);
    out.truncate(start + *written.as_ref().unwrap_or(&0));
    written.map(drop)
}

#[inline]
fn decode_into(code: &[u8], out: &mut [u8]) -> Result<usize, Broken> {
    let mut rest = code;
    // Bits below those that count are the ones that follow in the code, or zero.
    let mut accumulator = 0_u64;
    let mut bits = 0_u32;
    let mut at = 0;
    while let Some(next) = rest.first_chunk::<8>() {
        accumulator |= u64::from_be_bytes(*next) >> bits;
        let bytes = (63 - bits) / 8;
        rest = &rest[bytes as usize..];
        bits += bytes * 8;
        while bits >= LONGEST as u32 {
            let pair = PAIRS[(accumulator >> (64 - BITS)) as usize];
            if pair.count == 0 {
                let (symbol, length) = long(accumulator)?;
                out[at] = symbol;
                at += 1;
                accumulator <<= length;
                bits -= length;
                continue;
            }
            out[at..at + 2].copy_from_slice(&pair.symbols);
            at += usize::from(pair.count);
            accumulator <<= pair.bits();
            bits -= pair.bits();
        }
    }
    loop {
        while bits <= 56 && !rest.is_empty() {
            accumulator |= u64::from(rest[0]) << (56 - bits);
            rest = &rest[1..];
            bits += 8;
        }
        let pair = PAIRS[(accumulator >> (64 - BITS)) as usize];
        let (symbol, length) = match pair.count {
            0 if bits < 8 => break,
            0 => long(accumulator)?,
            _ if pair.bits() <= bits => {
                out[at..at + 2].copy_from_slice(&pair.symbols);
                at += usize::from(pair.count);
                accumulator <<= pair.bits();
                bits -= pair.bits();
                continue;
            }
            _ => (pair.symbols[0], pair.first_bits()),
        };
        if length > bits {
            break;
        }
        out[at] = symbol;
        at += 1;
        accumulator <<= length;
        bits -= length;
    }
    // RFC 7541 section 5.2: padding is shorter than a byte and consists of the end's first bits, all ones.
    if bits >= 8 || (accumulator | u64::MAX >> bits) != u64::MAX {
        return Err(Broken);
    }
    Ok(at)
}

#[cfg(test)]
mod tests;
