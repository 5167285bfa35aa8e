//! Blocks that are written are read as what was meant, and what repeats gets short.

use super::*;
use crate::http::h2::hpack::Decoder;
use crate::rng::Rng;

/// Both ends of a connection.
struct Pair {
    encoder: Encoder,
    decoder: Decoder,
}

impl Pair {
    fn new(most: usize) -> Self {
        Pair { encoder: Encoder::new(most), decoder: Decoder::new() }
    }

    /// Sends lines; returns the block.
    #[track_caller]
    fn send(&mut self, lines: &[(&str, &str)]) -> Vec<u8> {
        let mut block = Vec::new();
        self.encoder.begin(&mut block);
        let mut expected = String::new();
        for (name, value) in lines {
            self.encoder.any_field(&mut block, name.as_bytes(), value.as_bytes(), Indexing::Usual);
            expected.push_str(&format!("{}: {value}\r\n", name.to_ascii_lowercase()));
        }
        let mut text = Vec::new();
        let mut reader = self.decoder.begin(&block).unwrap();
        while self.decoder.next(&mut reader, &mut text, usize::MAX).unwrap().is_some() {}
        assert_eq!(String::from_utf8_lossy(&text), expected);
        block
    }
}

#[test]
fn names_whose_values_repeat_are_kept_at_once() {
    let mut pair = Pair::new(4096);
    let lines = [(":authority", "www.example.com"), ("content-type", "application/grpc")];
    assert!(pair.send(&lines).len() > 30);
    assert_eq!(pair.send(&lines), [0xBF, 0xBE]);
    assert_eq!(pair.send(&[("Content-Type", "application/grpc")]), [0xBE]);
}

#[test]
fn other_lines_are_kept_the_second_time() {
    let mut pair = Pair::new(4096);
    let line = [("x-tenant", "acme")];
    assert!(pair.send(&line).len() > 10);
    assert!(pair.send(&line).len() > 10);
    assert_eq!(pair.send(&line), [0xBE]);
    // Lines that are sent once enter nothing.
    for number in 0..1_000 {
        let id = format!("{number}");
        pair.send(&[("x-request-id", &id), (":path", &id)]);
        assert_eq!(pair.send(&line), [0xBE], "after {number}");
    }
}

#[test]
fn short_credentials_and_large_values_are_not_kept() {
    let mut pair = Pair::new(4096);
    for (name, value) in [("authorization", "Basic x"), ("cookie", "a=b"), ("set-cookie", "a=b")] {
        for _ in 0..3 {
            let block = pair.send(&[(name, value)]);
            assert_eq!(block[0] & 0xF0, 0x10, "{name} is never to be compressed");
        }
    }
    let large = "x".repeat(1_100);
    for _ in 0..3 {
        assert!(pair.send(&[("x-large", &large), ("user-agent", &large)]).len() > 2_200);
    }
    let token = format!("Bearer {}", "x".repeat(200));
    for _ in 0..2 {
        assert!(pair.send(&[("authorization", &token)]).len() > 200);
    }
    assert_eq!(pair.send(&[("authorization", &token)]).len(), 1);
}

#[test]
fn what_a_peer_marked_is_never_kept() {
    let mut pair = Pair::new(4096);
    pair.send(&[("user-agent", "curl")]);
    let mut block = Vec::new();
    pair.encoder.field(&mut block, b"user-agent", b"curl", Indexing::Never);
    assert_eq!(block, [0x1F, 58 - 15, 4, b'c', b'u', b'r', b'l']);
}

#[test]
fn changes_of_the_maximum_are_told() {
    let mut pair = Pair::new(4096);
    pair.send(&[("user-agent", "curl")]);
    pair.encoder.set_peer_limit(1 << 20);
    assert_eq!(pair.send(&[("user-agent", "curl")]), [0xBE], "this side keeps no more");
    pair.encoder.set_peer_limit(0);
    pair.encoder.set_peer_limit(100);
    pair.decoder.set_limit(100);
    let block = pair.send(&[("user-agent", "curl")]);
    assert_eq!(block[..3], [0x20, 0x3F, 69], "first the least, then the last");
    assert_eq!(pair.send(&[("user-agent", "curl")]), [0xBE]);
    assert!(pair.send(&[("user-agent", "more than a fourth of it")]).len() > 16);
    assert_eq!(pair.send(&[("user-agent", "curl")]), [0xBE], "and so it was not kept");
    pair.encoder.set_peer_limit(0);
    assert_eq!(pair.send(&[("a", "b")])[0], 0x20);
    let mut none = Pair::new(0);
    assert_eq!(none.send(&[("user-agent", "curl")])[0], 0x20);
    assert!(none.send(&[("user-agent", "curl")]).len() > 5);
    assert_eq!(none.encoder.memory(), none.encoder.scratch.capacity());
}

#[test]
fn ends_stay_in_step() {
    for seed in 0..30 {
        let mut rng = Rng::seeded(seed);
        let mut pair = Pair::new(1 << (6 + rng.below(9)));
        let mut announced = 4096;
        for _ in 0..300 {
            if rng.below(20) == 0 {
                announced = rng.below(6_000) as usize;
                pair.encoder.set_peer_limit(announced);
                pair.decoder.set_limit(announced);
            }
            let lines: Vec<(String, String)> = (0..rng.below(12))
                .map(|_| {
                    let names = ["user-agent", "x-a", "accept", ":path", "x-long-name", "cookie", "etag"];
                    let name = names[rng.below(7) as usize].to_owned();
                    (name, "v".repeat(rng.below(9) as usize * rng.below(20) as usize))
                })
                .collect();
            let lines: Vec<(&str, &str)> =
                lines.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            pair.send(&lines);
            assert!(pair.encoder.table.size() <= announced);
        }
    }
}

#[test]
fn memory_stays_once_it_has_grown() {
    let mut pair = Pair::new(4096);
    let mut fill = || {
        for number in 0..3_000 {
            let value = format!("{}", number / 2 * 7919);
            pair.send(&[("x-some-name", &value), ("user-agent", &value)]);
        }
        (pair.encoder.memory(), pair.decoder.memory())
    };
    let once = fill();
    assert_eq!(fill(), once);
    assert!(once.0 < 14 * 1024 && once.1 < 12 * 1024, "{once:?}");
}
