//! Header blocks against the standard's examples, against each other, and malformed ones.

use super::*;
use crate::random::Random;

type Fields = Vec<(String, String)>;

/// A block in hexadecimal, its fields, and the size of the table behind it.
type Step<'a> = (&'a str, &'a [(&'a str, &'a str)], usize);

fn decoded(decoder: &mut Decoder, block: &[u8]) -> Result<Fields, Bad> {
    let mut fields = Vec::new();
    decoder.decode(block, usize::MAX, |name, value| {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        fields.push((text(name), text(value)));
    })?;
    Ok(fields)
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// Decodes a series of blocks on one connection; each with the fields expected and the table's size after.
fn check_series(limit: Option<usize>, series: &[Step<'_>]) {
    let mut decoder = Decoder::new();
    for (at, (block, expected, size)) in series.iter().enumerate() {
        let mut bytes = hex(block);
        if let (0, Some(limit)) = (at, limit) {
            // The examples with responses suppose a table of 256 bytes: 001 and 31, then the rest.
            let left = limit - 31;
            bytes.splice(0..0, [0x3f, 0x80 | (left & 0x7f) as u8, (left >> 7) as u8]);
        }
        let fields = decoded(&mut decoder, &bytes);
        let expected: Fields = expected.iter().map(|&(name, value)| (name.into(), value.into())).collect();
        assert_eq!(fields, Ok(expected), "block {at}");
        assert_eq!(decoder.table_bytes(), *size, "block {at}");
    }
}

#[test]
fn single_fields_of_the_standard() {
    // RFC 7541, appendix C.2.
    check_series(
        None,
        &[(
            "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
            &[("custom-key", "custom-header")],
            55,
        )],
    );
    check_series(None, &[("040c 2f73 616d 706c 652f 7061 7468", &[(":path", "/sample/path")], 0)]);
    check_series(None, &[("1008 7061 7373 776f 7264 0673 6563 7265 74", &[("password", "secret")], 0)]);
    check_series(None, &[("82", &[(":method", "GET")], 0)]);
}

const DATE: &str = "Mon, 21 Oct 2013 20:13:21 GMT";
const LATER: &str = "Mon, 21 Oct 2013 20:13:22 GMT";
const COOKIE: &str = "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";

#[test]
fn requests_of_the_standard() {
    // RFC 7541, appendix C.3, and the same in Huffman text, C.4.
    let first: &[_] =
        &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")];
    let second: &[_] = &[
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "www.example.com"),
        ("cache-control", "no-cache"),
    ];
    let third: &[_] = &[
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/index.html"),
        (":authority", "www.example.com"),
        ("custom-key", "custom-value"),
    ];
    check_series(
        None,
        &[
            ("8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", first, 57),
            ("8286 84be 5808 6e6f 2d63 6163 6865", second, 110),
            ("8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65", third, 164),
        ],
    );
    check_series(
        None,
        &[
            ("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", first, 57),
            ("8286 84be 5886 a8eb 1064 9cbf", second, 110),
            ("8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", third, 164),
        ],
    );
}

#[test]
fn responses_of_the_standard() {
    // RFC 7541, appendix C.5, and the same in Huffman text, C.6: entries are pushed out.
    let common = [("cache-control", "private"), ("date", DATE), ("location", "https://www.example.com")];
    let first = [&[(":status", "302")], &common[..]].concat();
    let second = [&[(":status", "307")], &common[..]].concat();
    let third = [
        (":status", "200"),
        ("cache-control", "private"),
        ("date", LATER),
        ("location", "https://www.example.com"),
        ("content-encoding", "gzip"),
        ("set-cookie", COOKIE),
    ];
    check_series(
        Some(256),
        &[
            (
                "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a \
                 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
                &first,
                222,
            ),
            ("4803 3330 37c1 c0bf", &second, 222),
            (
                "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 \
                 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 \
                 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
                &third,
                215,
            ),
        ],
    );
    check_series(
        Some(256),
        &[
            (
                "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e \
                 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
                &first,
                222,
            ),
            ("4883 640e ffc1 c0bf", &second, 222),
            (
                "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 \
                 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed \
                 4ee5 b106 3d50 07",
                &third,
                215,
            ),
        ],
    );
}

#[test]
fn malformed_blocks() {
    for (block, why) in [
        ("80", "bad index"),
        ("ff", "bad index"),
        ("be", "index outside the tables"),
        ("7f", "bad index"),
        ("7e 00", "index outside the tables"),
        ("0f", "bad index"),
        ("40", "string cut off"),
        ("40 01", "string cut off"),
        ("40 01 61", "string cut off"),
        ("40 01 61 02 62", "string cut off"),
        ("00 7f ff ff ff ff ff", "bad string length"),
        ("04 81 00", "bad Huffman text"),
        ("82 20", "table size behind a field"),
        ("3f e2 1f", "table size above the limit"),
        ("3f", "bad table size"),
    ] {
        let mut decoder = Decoder::new();
        let expected = if block == "80" { "index outside the tables" } else { why };
        assert_eq!(decoded(&mut decoder, &hex(block)), Err(Bad(expected)), "{block}");
    }
    // What is just inside: both size updates at once, the whole table.
    assert_eq!(decoded(&mut Decoder::new(), &hex("20 3f e1 1f 82")).map(|fields| fields.len()), Ok(1));
}

#[test]
fn a_list_that_is_too_long_still_fills_the_table() {
    let mut decoder = Decoder::new();
    let mut seen = 0;
    // ":method GET" counts 42; the custom field goes into the table.
    let block = hex("82 400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572 82");
    assert_eq!(decoder.decode(&block, 42 + 55 + 41, |_, _| seen += 1), Ok(false));
    assert_eq!(seen, 2);
    assert_eq!(decoded(&mut decoder, &hex("be")), Ok(vec![("custom-key".into(), "custom-header".into())]));
    assert_eq!(decoder.decode(&block, 42 + 55 + 42, |_, _| ()), Ok(true));
}

#[test]
fn what_is_encoded_is_decoded_on_any_connection() {
    let mut random = Random::seeded(3);
    let names = [":path", ":status", "content-type", "x-own", "X-Mixed-Case", "accept-encoding"];
    let mut decoder = Decoder::new();
    for _ in 0..500 {
        let (mut block, mut expected) = (Vec::new(), Fields::new());
        for _ in 0..random.bits() % 8 {
            let name = names[random.bits() as usize % names.len()];
            let length = random.bits() % 300;
            let value: String = (0..length).map(|_| (b' ' + (random.bits() % 95) as u8) as char).collect();
            encode_field(name.as_bytes(), value.as_bytes(), &mut block);
            expected.push((name.to_ascii_lowercase(), value));
        }
        assert_eq!(decoded(&mut decoder, &block), Ok(expected));
        assert_eq!(decoder.table_bytes(), 0, "nothing went into the table");
    }
    for status in 100..=999 {
        let mut block = Vec::new();
        encode_status(status, &mut block);
        assert_eq!(decoded(&mut decoder, &block), Ok(vec![(":status".into(), status.to_string())]));
    }
    let mut block = vec![TABLE_OFF];
    encode_field(b":method", b"GET", &mut block);
    encode_field(b"accept-encoding", b"gzip, deflate", &mut block);
    assert_eq!(block, [0x20, 0x82, 0x90]);
}

#[test]
fn random_blocks_never_panic() {
    let mut random = Random::seeded(11);
    let (mut read, mut refused) = (0, 0);
    for _ in 0..100_000 {
        let mut decoder = Decoder::new();
        for _ in 0..4 {
            // Mostly plausible first bytes, so that some get deep.
            let length = 1 + random.bits() % 24;
            let block: Vec<u8> = (0..length)
                .map(|_| match random.bits() % 4 {
                    0 => random.bits() as u8,
                    1 => 0x80 | (random.bits() % 64) as u8,
                    2 => 0x40 | (random.bits() % 4) as u8,
                    _ => (random.bits() % 4) as u8,
                })
                .collect();
            match decoded(&mut decoder, &block) {
                Ok(_) => read += 1,
                Err(_) => refused += 1,
            }
            assert!(decoder.table_bytes() <= TABLE_BYTES);
        }
    }
    assert!(read > 10_000 && refused > 10_000, "{read} read, {refused} refused");
}
