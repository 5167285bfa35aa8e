//! HPACK's Huffman code (RFC 7541, section 5.2 and appendix B).
//!
//! ```text
//! decoding:  source bytes ─▶ 64-bit buffer, next bit on top ─▶ top 10 bits ─▶ FAST: symbol and length
//!                                                                 └─ longer code: first code of each length
//! ```
//!
//! The code is canonical: within one length the codes count up with the symbols, and each length goes
//! on where the shorter one stopped. So appendix B is its 257 lengths, and everything else here is
//! computed from them when the program is compiled.
//!
//! Invariant: what is decoded was encoded: the end-of-string symbol, padding of more than seven bits
//! and padding with a zero in it are errors.

/// The end-of-string symbol: never sent, its ones are the padding.
const END_OF_STRING: usize = 256;

/// The longest code, in bits.
const CODE_BITS_MAX: usize = 30;

/// How many bits are looked up at once: every code of up to ten bits is found in one step, which are
/// those of all letters, digits and most punctuation.
const FAST_BITS: usize = 10;

/// The length of each symbol's code, in bits.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7,
    7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21,
    23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24,
    21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,];

/// What follows from the lengths.
struct Code {
    /// Each symbol's code, in its lowest bits.
    codes: [u32; 257],
    /// The symbols in the order of their codes.
    symbols: [u16; 257],
    /// The first code of each length.
    first: [u32; CODE_BITS_MAX + 1],
    /// How many codes there are of each length.
    count: [u32; CODE_BITS_MAX + 1],
    /// Where each length begins in `symbols`.
    offset: [u32; CODE_BITS_MAX + 1],
    /// By the next ten bits: the symbol, and its code's length above it; 0 for longer codes.
    fast: [u16; 1 << FAST_BITS],
}

const CODE: Code = code();
/// In memory once: indexing a constant would build it anew.
static TABLES: Code = CODE;

const fn code() -> Code {
    let mut code = Code {
        codes: [0; 257],
        symbols: [0; 257],
        first: [0; CODE_BITS_MAX + 1],
        count: [0; CODE_BITS_MAX + 1],
        offset: [0; CODE_BITS_MAX + 1],
        fast: [0; 1 << FAST_BITS],
    };
    let mut symbol = 0;
    while symbol < 257 {
        code.count[LENGTHS[symbol] as usize] += 1;
        symbol += 1;
    }
    let (mut length, mut next, mut sorted) = (1, 0, 0);
    while length <= CODE_BITS_MAX {
        next = (next + code.count[length - 1]) << 1;
        code.first[length] = next;
        code.offset[length] = sorted;
        let (mut symbol, mut at) = (0, 0);
        while symbol < 257 {
            if LENGTHS[symbol] as usize == length {
                code.codes[symbol] = next + at;
                code.symbols[(sorted + at) as usize] = symbol as u16;
                if length <= FAST_BITS {
                    let free = FAST_BITS - length;
                    let from = ((next + at) as usize) << free;
                    let mut entry = from;
                    while entry < from + (1 << free) {
                        code.fast[entry] = (length as u16) << 8 | symbol as u16;
                        entry += 1;
                    }
                }
                at += 1;
            }
            symbol += 1;
        }
        sorted += at;
        length += 1;
    }
    code
}

// A complete code uses up all bit strings: its last one is all ones, and it is the end of the string.
const _: () = assert!(CODE.codes[END_OF_STRING] == (1 << CODE_BITS_MAX) - 1);

/// How many bytes `text` takes when it is encoded.
pub(super) fn encoded_bytes(text: &[u8]) -> usize {
    text.iter().map(|&byte| usize::from(LENGTHS[usize::from(byte)])).sum::<usize>().div_ceil(8)
}

/// Encodes `text` behind what `out` holds.
pub(super) fn encode(text: &[u8], out: &mut Vec<u8>) {
    let (mut bits, mut held) = (0_u64, 0);
    for &byte in text {
        let length = u32::from(LENGTHS[usize::from(byte)]);
        // At most 7 + 30 bits are held.
        bits = bits << length | u64::from(TABLES.codes[usize::from(byte)]);
        held += length;
        while held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
    }
    if held > 0 {
        // The rest of the last byte is the beginning of the end-of-string code: ones.
        out.push((bits << (8 - held)) as u8 | 0xff >> held);
    }
}

/// Decodes `source` behind what `out` holds.
///
/// # Errors
/// The end-of-string symbol, a code cut off, padding that is too long or not ones.
pub(super) fn decode(source: &[u8], out: &mut Vec<u8>) -> Result<(), ()> {
    let mut rest = source.iter();
    // The next bit is the top one of `bits`, `held` of them are the source's.
    let (mut bits, mut held) = (0_u64, 0_u32);
    loop {
        while held <= 56 {
            let Some(&byte) = rest.next() else { break };
            bits |= u64::from(byte) << (56 - held);
            held += 8;
        }
        if held == 0 {
            return Ok(());
        }
        // Behind the source's bits stand ones, as in padding.
        let window = ((bits | u64::MAX.checked_shr(held).unwrap_or(0)) >> 32) as u32;
        if held < 8 && window == u32::MAX {
            return Ok(());
        }
        let (symbol, length) = symbol(window).ok_or(())?;
        if length > held {
            return Err(());
        }
        out.push(symbol);
        bits <<= length;
        held -= length;
    }
}

/// The symbol that `window` begins with, and its length in bits; `None` for the end of the string.
fn symbol(window: u32) -> Option<(u8, u32)> {
    let fast = TABLES.fast[(window >> (32 - FAST_BITS)) as usize];
    if fast != 0 {
        return Some((fast as u8, u32::from(fast >> 8)));
    }
    for length in FAST_BITS + 1..=CODE_BITS_MAX {
        let at = (window >> (32 - length)).wrapping_sub(TABLES.first[length]);
        if at < TABLES.count[length] {
            let symbol = TABLES.symbols[(TABLES.offset[length] + at) as usize];
            return u8::try_from(symbol).ok().map(|symbol| (symbol, length as u32));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn decoded(source: &[u8]) -> Result<Vec<u8>, ()> {
        let mut out = Vec::new();
        decode(source, &mut out).map(|()| out)
    }

    #[test]
    fn strings_of_the_standard() {
        // The encodings that RFC 7541, appendix C.4 and C.6, spells out.
        let rows: &[(&str, &[u8])] = &[
            ("www.example.com", &[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff]),
            ("no-cache", &[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]),
            ("custom-key", &[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xa9, 0x7d, 0x7f]),
            ("custom-value", &[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf]),
            ("302", &[0x64, 0x02]),
            ("private", &[0xae, 0xc3, 0x77, 0x1a, 0x4b]),
        ];
        for (text, bytes) in rows {
            let mut out = Vec::new();
            encode(text.as_bytes(), &mut out);
            assert_eq!(&out, bytes, "{text}");
            assert_eq!(encoded_bytes(text.as_bytes()), bytes.len());
            assert_eq!(decoded(bytes).as_deref(), Ok(text.as_bytes()));
        }
    }

    #[test]
    fn every_byte_survives_beside_every_other() {
        let mut random = Random::seeded(1);
        for round in 0..2_000 {
            let length = random.bits() % 40;
            let text: Vec<u8> = match round {
                0..256 => vec![round as u8; length as usize],
                _ => (0..length).map(|_| random.bits() as u8).collect(),
            };
            let mut out = vec![7];
            encode(&text, &mut out);
            assert_eq!(decoded(&out[1..]).as_deref(), Ok(&text[..]));
        }
    }

    #[test]
    fn padding_is_judged() {
        // "a" is 00011 and three ones.
        assert_eq!(decoded(&[0b0001_1111]).as_deref(), Ok(&b"a"[..]));
        for (wrong, why) in [
            (&[0b0001_1110][..], "a zero in the padding"),
            (&[0b0001_1000], "zeros as padding"),
            (&[0b0001_1111, 0xff], "more than seven bits"),
            (&[0xff], "eight bits of nothing but padding"),
            (&[0xff, 0xff, 0xff, 0xff], "the end of the string and more"),
            (&[0xff, 0xff, 0xff, 0xfc], "the end of the string"),
            (&[0xff, 0xff, 0xff], "a code cut off"),
            (&[0b1111_1110], "a code of eight ones and a zero, cut off"),
        ] {
            assert_eq!(decoded(wrong), Err(()), "{why}");
        }
        assert_eq!(decoded(&[]).as_deref(), Ok(&b""[..]));
    }
}
