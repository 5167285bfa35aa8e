//! Huffman strings: the standard's examples, every symbol at every place, and what is no Huffman string.

use super::*;

/// Each symbol's code, made from the lengths.
const CODES: [u32; 257] = {
    let mut code = [0; 257];
    let mut next = 0_u32;
    let mut length = 1;
    while length <= LONGEST {
        next <<= 1;
        let mut symbol = 0;
        while symbol < 257 {
            if LENGTHS[symbol] as usize == length {
                code[symbol] = next;
                next += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    assert!(next == 1 << LONGEST, "the code is complete");
    code
};

/// The code of a string, padded.
fn encode(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bits = 0_u64;
    let mut count = 0;
    for &byte in text {
        bits = bits << LENGTHS[usize::from(byte)] | u64::from(CODES[usize::from(byte)]);
        count += LENGTHS[usize::from(byte)];
        while count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    if count > 0 {
        out.push((bits << (8 - count)) as u8 | 0xFF >> count);
    }
    out
}

fn decoded(code: &[u8]) -> Result<Vec<u8>, Broken> {
    let mut out = b"before".to_vec();
    let result = decode(code, &mut out);
    assert!(out.starts_with(b"before"));
    result.map(|()| out.split_off(6))
}

#[track_caller]
fn check(hex: &str, text: &str) {
    let code: Vec<u8> =
        (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).unwrap()).collect();
    assert_eq!(decoded(&code), Ok(text.as_bytes().to_vec()));
    assert_eq!(encode(text.as_bytes()), code);
}

#[test]
fn examples_of_the_standard() {
    // RFC 7541 appendices C.4 and C.6.
    check("f1e3c2e5f23a6ba0ab90f4ff", "www.example.com");
    check("a8eb10649cbf", "no-cache");
    check("25a849e95ba97d7f", "custom-key");
    check("25a849e95bb8e8b4bf", "custom-value");
    check("6402", "302");
    check("aec3771a4b", "private");
    check("d07abe941054d444a8200595040b8166e082a62d1bff", "Mon, 21 Oct 2013 20:13:21 GMT");
    check("9d29ad171863c78f0b97c8e9ae82ae43d3", "https://www.example.com");
    check("640eff", "307");
    check("d07abe941054d444a8200595040b8166e084a62d1bff", "Mon, 21 Oct 2013 20:13:22 GMT");
    check("9bd9ab", "gzip");
    check(
        "94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
        "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
    );
}

#[test]
fn every_pair_of_symbols_at_every_distance_from_the_end() {
    for first in 0..=255_u8 {
        for second in 0..=255_u8 {
            let text = [first, second];
            assert_eq!(decoded(&encode(&text)).as_deref(), Ok(&text[..]));
        }
        for pad in 0..24 {
            let mut text = vec![b'a'; pad];
            text.push(first);
            text.extend(std::iter::repeat_n(b'z', 24 - pad));
            assert_eq!(decoded(&encode(&text)).as_deref(), Ok(&text[..]), "{first} behind {pad}");
        }
    }
    assert_eq!(decoded(&[]), Ok(Vec::new()));
}

#[test]
fn padding() {
    assert_eq!(decoded(&[0b0000_0111]), Ok(b"0".to_vec()));
    assert_eq!(decoded(&[0b0000_0110]), Err(Broken), "padding is ones");
    assert_eq!(decoded(&[0b0000_0000]), Err(Broken), "half a symbol");
    assert_eq!(decoded(&[0b0000_0111, 0xFF]), Err(Broken), "eight bits and more of padding");
    assert_eq!(decoded(&[0xFF]), Err(Broken), "nothing but a byte of padding");
    // '&' has eight bits.
    assert_eq!(decoded(&[0b1111_1000]), Ok(b"&".to_vec()));
    assert_eq!(decoded(&[0b1111_1000, 0xFF]), Err(Broken), "a whole byte of padding");
    assert_eq!(decoded(&[0xFF, 0xFF, 0xFF, 0xFC]), Err(Broken), "the end is no symbol");
    let mut end = encode(b"0123456789abcdef");
    end.extend([0xFF; 8]);
    assert_eq!(decoded(&end), Err(Broken), "the end is no symbol");
    assert_eq!(decoded(&[0xFF; 64]), Err(Broken));
}

#[test]
fn a_code_cut_short_is_refused_or_shorter() {
    let text: Vec<u8> = (0..=255).collect();
    let code = encode(&text);
    for cut in 0..code.len() {
        if let Ok(some) = decoded(&code[..cut]) {
            assert!(text.starts_with(&some));
        }
    }
}
