//! Blocks: the examples of RFC 7541 appendix C, and what is no block.

use super::*;

/// The lines of a block, and the number of those beyond the room.
fn read(decoder: &mut Decoder, block: &[u8], room: usize) -> Result<(String, usize), Broken> {
    let mut text = Vec::new();
    let mut beyond = 0;
    let mut block = decoder.begin(block)?;
    while let Some(got) = decoder.next(&mut block, &mut text, room)? {
        beyond += usize::from(!got.written);
    }
    Ok((String::from_utf8(text).unwrap().replace("\r\n", "\n"), beyond))
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// The block's lines, and the dynamic table behind it, the newest first.
#[track_caller]
fn check(decoder: &mut Decoder, hex: &str, lines: &str, table: &str, size: usize) {
    assert_eq!(read(decoder, &bytes(hex), usize::MAX), Ok((lines.to_owned(), 0)));
    let kept: String = (0..decoder.table.count())
        .map(|place| String::from_utf8_lossy(decoder.table.at(place).unwrap().1).replace("\r\n", "\n"))
        .collect();
    assert_eq!((kept.as_str(), decoder.table.size()), (table, size));
}

#[track_caller]
fn broken(decoder: &mut Decoder, block: &[u8]) {
    assert_eq!(read(&mut decoder.clone(), block, usize::MAX), Err(Broken), "{block:x?}");
    assert_eq!(read(decoder, block, 0), Err(Broken), "{block:x?}, without room");
}

#[test]
fn single_representations() {
    // RFC 7541 appendix C.2.
    let custom = "custom-key: custom-header\n";
    check(
        &mut Decoder::new(),
        "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
        custom,
        custom,
        55,
    );
    check(&mut Decoder::new(), "040c 2f73 616d 706c 652f 7061 7468", ":path: /sample/path\n", "", 0);
    check(&mut Decoder::new(), "1008 7061 7373 776f 7264 0673 6563 7265 74", "password: secret\n", "", 0);
    check(&mut Decoder::new(), "82", ":method: GET\n", "", 0);
}

const REQUESTS: [&str; 3] = [
    ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\n",
    ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\ncache-control: no-cache\n",
    ":method: GET\n:scheme: https\n:path: /index.html\n:authority: www.example.com\ncustom-key: custom-value\n",
];

fn requests(blocks: [&str; 3]) {
    let mut decoder = Decoder::new();
    let first = ":authority: www.example.com\n";
    check(&mut decoder, blocks[0], REQUESTS[0], first, 57);
    let second = format!("cache-control: no-cache\n{first}");
    check(&mut decoder, blocks[1], REQUESTS[1], &second, 110);
    let third = format!("custom-key: custom-value\n{second}");
    check(&mut decoder, blocks[2], REQUESTS[2], &third, 164);
}

#[test]
fn requests_without_huffman() {
    // RFC 7541 appendix C.3.
    requests([
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ]);
}

#[test]
fn requests_with_huffman() {
    // RFC 7541 appendix C.4.
    requests([
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ]);
}

fn responses(blocks: [&str; 3]) {
    let mut decoder = Decoder::new();
    decoder.set_limit(256);
    let mut first = bytes("3fe101");
    first.extend(bytes(blocks[0]));
    let first: String = first.iter().map(|byte| format!("{byte:02x}")).collect();
    let location = "location: https://www.example.com\n";
    let date = "date: Mon, 21 Oct 2013 20:13:21 GMT\n";
    let private = "cache-control: private\n";
    check(
        &mut decoder,
        &first,
        &format!(":status: 302\n{private}{date}{location}"),
        &format!("{location}{date}{private}:status: 302\n"),
        222,
    );
    check(
        &mut decoder,
        blocks[1],
        &format!(":status: 307\n{private}{date}{location}"),
        &format!(":status: 307\n{location}{date}{private}"),
        222,
    );
    let date = "date: Mon, 21 Oct 2013 20:13:22 GMT\n";
    let cookie = "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1\n";
    check(
        &mut decoder,
        blocks[2],
        &format!(":status: 200\n{private}{date}{location}content-encoding: gzip\n{cookie}"),
        &format!("{cookie}content-encoding: gzip\n{date}"),
        215,
    );
}

#[test]
fn responses_without_huffman_and_with_eviction() {
    // RFC 7541 appendix C.5.
    responses([
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 \
         474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 \
         666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 \
         3630 303b 2076 6572 7369 6f6e 3d31",
    ]);
}

#[test]
fn responses_with_huffman_and_with_eviction() {
    // RFC 7541 appendix C.6.
    responses([
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 \
         63c7 8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 \
         b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    ]);
}

#[test]
fn indices_that_are_nothing() {
    let mut decoder = Decoder::new();
    for block in [&[0x80][..], &[0xBE], &[0xFF], &[0xFF, 0x00], &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F]] {
        broken(&mut decoder, block);
    }
    // A name by an index that is nothing.
    broken(&mut decoder, &[0x7F, 0x00, 1, b'a']);
    broken(&mut decoder, &[0x0F, 0x2F, 1, b'a']);
    check(&mut decoder, "4001 61 01 62", "a: b\n", "a: b\n", 34);
    check(&mut decoder, "be", "a: b\n", "a: b\n", 34);
    broken(&mut decoder, &[0xBF]);
}

#[test]
fn blocks_that_end_early() {
    let whole = bytes("400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572");
    for cut in 1..whole.len() {
        broken(&mut Decoder::new(), &whole[..cut]);
    }
    broken(&mut Decoder::new(), &[0x00, 0x7F, 0xFF, 0xFF, 0xFF, 0x7F]);
    broken(&mut Decoder::new(), &[0x00, 0x81, 0xFF, 0x00]);
}

#[test]
fn huffman_that_is_none() {
    // A value that ends with a byte of padding, has padding of zeros, or holds the end.
    for value in [&[0x82, 0x07, 0xFF][..], &[0x81, 0x00], &[0x84, 0xFF, 0xFF, 0xFF, 0xFC]] {
        let mut block = vec![0x00, 1, b'a'];
        block.extend(value);
        broken(&mut Decoder::new(), &block);
    }
}

#[test]
fn the_maximum_changes_at_a_blocks_beginning_only() {
    let mut decoder = Decoder::new();
    check(&mut decoder, "4001 61 01 62", "a: b\n", "a: b\n", 34);
    check(&mut decoder, "20 3fe11f 82", ":method: GET\n", "", 0);
    broken(&mut decoder, &[0x82, 0x20]);
    broken(&mut decoder, &[0x3F, 0xE2, 0x1F]);
    check(&mut decoder, "3fe11f", "", "", 0);
    // An entry beyond the maximum empties the table and is no error (RFC 7541 section 4.4).
    check(&mut decoder, "4001 61 01 62", "a: b\n", "a: b\n", 34);
    check(&mut decoder, "21 4001 61 01 62", "a: b\n", "", 0);
}

#[test]
fn a_lower_limit_has_to_be_followed_at_once() {
    let mut decoder = Decoder::new();
    decoder.set_limit(100);
    broken(&mut decoder.clone(), &[0x82]);
    broken(&mut decoder.clone(), &[]);
    broken(&mut decoder.clone(), &[0x3F, 70]);
    check(&mut decoder, "3f45 82", ":method: GET\n", "", 0);
    check(&mut decoder, "82", ":method: GET\n", "", 0);
    // A limit that rises, or falls to what is used anyway, needs nothing.
    decoder.set_limit(1 << 20);
    check(&mut decoder, "82", ":method: GET\n", "", 0);
    check(&mut decoder, "3fe1ff03 82", ":method: GET\n", "", 0);
    broken(&mut decoder, &[0x3F, 0xE2, 0xFF, 0x03]);
}

#[test]
fn what_is_beyond_the_room_is_kept_in_the_table_all_the_same() {
    let mut decoder = Decoder::new();
    let block = bytes("4001 61 01 62 82 4001 63 8193 0001 64 01 65");
    assert_eq!(read(&mut decoder, &block, 33), Ok((String::new(), 4)));
    // Huffman strings may be shorter than the bound they are judged by.
    check(&mut decoder, "be bf", "c: d\na: b\n", "c: d\na: b\n", 68);
    assert_eq!(read(&mut decoder, &bytes("0001 61 87 07ff"), 34), Err(Broken));
    let huffman = [0x00, 1, b'a', 0x82, 0xF8, 0xF8];
    assert_eq!(read(&mut decoder, &huffman, 36), Ok(("a: &&\n".to_owned(), 0)));
    assert_eq!(read(&mut decoder, &huffman, 35), Ok(("a: &&\n".to_owned(), 0)));
    assert_eq!(read(&mut decoder, &huffman, 34), Ok((String::new(), 1)));
}

#[test]
fn never_to_be_compressed() {
    let mut decoder = Decoder::new();
    for (first, sensitive) in [(0x10, true), (0x00, false), (0x40, false)] {
        let block = [first, 1, b'a', 1, b'b'];
        let mut block = decoder.begin(&block).unwrap();
        let got = decoder.next(&mut block, &mut Vec::new(), 100).unwrap().unwrap();
        assert_eq!(got.sensitive, sensitive, "{first:x}");
    }
}
