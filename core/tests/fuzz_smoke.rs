//! A short fuzzing run on stable Rust: seeded mutations of a built-in corpus through the same functions
//! as the fuzz targets in `core/fuzz`.
//!
//! `PINION_FUZZ_RUNS` sets the executions per parser, `PINION_FUZZ_SEED` the seed; a failure names the
//! input. Each parser prints how often it ran.

#![allow(clippy::panic, reason = "a test")]

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pinion_core::rng::Rng;

mod common;

use common::targets;

const REQUESTS: &[&[u8]] = &[
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\r\nGET http://b:80/p%61?q=1 HTTP/1.1\r\nHost: a\r\nCookie: x=y\r\nConnection: x, close\r\nX: 1\r\n\r\n",
    b"POST /a/../b HTTP/1.1\r\nHost: a:1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhelloGET / HTTP/1.1\r\n\r\n",
    b"PUT /%2e%2E/x HTTP/1.1\r\nhost: [::1]:8\r\nTransfer-Encoding: chunked\r\n\r\n5;a=\"b\"\r\nhello\r\n0\r\nA: b\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\nX_Forwarded_For: 1\r\nTE: trailers\r\n\r\n",
    b"DELETE / HTTP/1.0\r\nConnection: keep-alive\r\nX-Forwarded-For: 1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\nTransfer_Encoding: chunked\r\n\r\n",
];
const RESPONSES: &[&[u8]] = &[
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: x\r\n\r\nhello",
    b"HTTP/1.0 200\r\nConnection: keep-alive\r\nX: y\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: \"x\"\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: a\r\n\r\n1\r\nx\r\n0\r\na: b\r\n\r\n",
];
const BODIES: &[&[u8]] = &[
    b"\x01\x035\r\nhello\r\n0\r\n\r\n",
    b"\x02\x070005;a=\"\\\"b\";c\r\nhello\r\nA\r\n0123456789\r\n00\r\nX: y\r\nHost: z\r\n\r\nGET /",
    b"\x05\x010\r\nContent-Length: 5\r\nDigest: x\r\n\r\n",
    b"\x03\x021 ; a\r\nx\r\n7fffffffffffffff\r\n",
];
const PATHS: &[&[u8]] = &[
    b"/a/b/c.html",
    b"/a/./b/../%2e%2E//%41%7e%c3%a9/..;/x",
    b"Example.COM.:8080",
    b"[2001:DB8::1]:80",
    b"/%2fa%5c%00{|}^",
];
/// A flag byte, the first block's length, two blocks.
const REQUEST_BLOCKS: &[&[u8]] = &[
    // RFC 7541 appendices C.3.1 and C.3.2, then the table used.
    b"\x01\x14\x82\x86\x84\x41\x0fwww.example.com\x82\x86\x84\xbe\x58\x08no-cache",
    // RFC 7541 appendices C.4.1 and C.4.2, with Huffman strings.
    b"\x01\x11\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf",
    b"\x00\x1c\x83\x87\x44\x04/a?b\x41\x03a:1\x00\x02te\x08trailers\x83\x87\xbf\xbe\x0f\x0d\x015\x0f\x14\x0c100-continue",
    b"\x01\x03\x3f\x45\x20\x82\x86\x84\x01\x01a\x60\x03a=b\x40\x01x\x01y\x60\x03c=d\x60\x00\x60\x03e=f\x66\x01a\x10\x01s\x01t",
    b"\x00\x23\x42\x07CONNECT\x41\x03a:1\x00\x03x-a\x01b\x42\x07OPTIONS\x42\x07CONNECT\x00\x09:protocol\x09websocket\x86\x84\x41\x01a",
];
const RESPONSE_BLOCKS: &[&[u8]] = &[
    b"\x01\x05\x88\x76\x01x\xbe\x88\xbe\x0f\x0d\x015\x61\x1dMon, 21 Oct 2013 20:13:21 GMT",
    b"\x00\x09\x48\x03302\x58\x01a\xc0\x88\x00\x0bgrpc-status\x010\x77\x03a=b\x77\x03c=d",
    b"\x00\x00\x00\x0bgrpc-status\x010\x00\x0cgrpc-message\x00\x40\x01x\x01y",
    b"\x01\x0a\x48\x03103\x6d\x03</a\x89\x0f\x0d\x010",
];
/// Pieces that parsers care about.
const TOKENS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b"\0",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
    b"\"",
    b"\\",
    b"%2e",
    b"%2f",
    b"%00",
    b"/",
    b"//",
    b"/../",
    b"Content-Length: 1\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Host: b\r\n",
    b"chunked",
    b"0\r\n\r\n",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"Connection: close\r\n",
    b"+",
    b"-1",
    b"ffffffffffffffff",
    b"\x80",
    b"_",
    b"#",
    b"?",
    b"@",
    b"Content_Length: 1\r\n",
    b"Transfer-Encoding\x0b: chunked\r\n",
    b" chunked",
    b"GET / HTTP/1.1\r\nHost: c\r\n\r\n",
    b"\x82\x86\x84\x41\x01a",
    b"\x88",
    b"\xbe",
    b"\xbf",
    b"\x20",
    b"\x3f\xe1\x1f",
    b"\x40\x01a\x01b",
    b"\x00\x06cookie\x01a",
    b"\x0f\x0d\x015",
    b"\x66\x01a",
    b"\x82\x1f\xff",
];

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

/// Changes `input` in one to six places.
fn mutate(rng: &mut Rng, input: &mut Vec<u8>) {
    for _ in 0..=rng.below(6) {
        let at = rng.below(input.len() as u64 + 1) as usize;
        match rng.below(7) {
            0 => input.insert(at, rng.bits() as u8),
            1 if at < input.len() => drop(input.remove(at)),
            2 if at < input.len() => input[at] = rng.bits() as u8,
            3 if at < input.len() => input[at] ^= 1 << rng.below(8),
            4 => {
                let token = TOKENS[rng.below(TOKENS.len() as u64) as usize];
                input.splice(at..at, token.iter().copied());
            }
            5 => {
                let end = (at + rng.below(20) as usize).min(input.len());
                let copy = input[at..end].to_vec();
                let to = rng.below(input.len() as u64 + 1) as usize;
                input.splice(to..to, copy);
            }
            _ => {
                let end = (at + rng.below(8) as usize).min(input.len());
                input.drain(at..end);
            }
        }
        input.truncate(4096);
    }
}

/// Runs `target` over mutations of `seeds`, which evolve a little: an input is kept now and then.
fn run(name: &str, seeds: &[&[u8]], target: fn(&[u8]) -> bool) {
    let runs = setting("PINION_FUZZ_RUNS", 3_000);
    let seed = setting("PINION_FUZZ_SEED", 1);
    let mut rng = Rng::seeded(seed);
    let mut pool: Vec<Vec<u8>> = seeds.iter().map(|seed| seed.to_vec()).collect();
    let mut executions = 0_u64;
    let mut accepted = 0_u64;
    for input in &pool {
        target(input);
    }
    while executions < runs {
        let mut input = pool[rng.below(pool.len() as u64) as usize].clone();
        mutate(&mut rng, &mut input);
        executions += 1;
        let passed = catch_unwind(AssertUnwindSafe(|| target(&input))).unwrap_or_else(|cause| {
            let shown = input.escape_ascii();
            eprintln!("fuzz {name}: seed {seed}, execution {executions}, input b\"{shown}\"");
            std::panic::resume_unwind(cause)
        });
        accepted += u64::from(passed);
        // What is accepted is worth going on from.
        if passed || rng.below(200) == 0 {
            let place = seeds.len() + rng.below(64) as usize;
            if place < pool.len() { pool[place] = input } else { pool.push(input) }
        }
    }
    // Past the test harness, which would hide it.
    let _ = writeln!(std::io::stdout(), "fuzz {name}: {executions} executions, {accepted} accepted");
    assert!(executions > 0, "fuzz {name} ran nothing");
    assert!(accepted > executions / 100, "fuzz {name} hardly ever came past the first check: {accepted}");
}

#[test]
fn request_head() {
    run("request_head", REQUESTS, targets::request_head);
}

#[test]
fn response_head() {
    run("response_head", RESPONSES, targets::response_head);
}

#[test]
fn body() {
    run("body", BODIES, targets::body);
}

#[test]
fn normalize() {
    run("normalize", PATHS, targets::normalize);
}

/// Bytes recorded in hexadecimal.
fn recorded(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[test]
fn client_hello() {
    let hellos = [
        include_str!("../src/tls/hellos/openssl.txt"),
        include_str!("../src/tls/hellos/openssl_tls12_noname.txt"),
        include_str!("../src/tls/hellos/curl.txt"),
    ]
    .map(recorded);
    // The same in records of 100 bytes, with right lengths.
    let torn = hellos[0][5..]
        .chunks(100)
        .flat_map(|part| [&[22, 3, 1, 0, part.len() as u8], part].concat())
        .collect::<Vec<u8>>();
    run("client_hello", &[&hellos[0], &hellos[1], &hellos[2], &torn], targets::client_hello);
}

#[test]
fn proxy_header() {
    let ssl = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x25\xc0\0\x02\x01\xc6\x33\x64\x02\x12\x67\x01\xbb\
        \x02\x00\x03a.b\x20\x00\x10\x07\0\0\0\0\x21\x00\x03TLS\x22\x00\x02cn";
    let seeds: [&[u8]; 6] = [
        b"PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\r\nrest",
        b"PROXY TCP6 2001:db8::1 ::ffff:1.2.3.4 1 65535\r\n",
        b"PROXY UNKNOWN 1 2 3\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00GET /",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x13\xc0\0\x02\x01\xc6\x33\x64\x02\x12\x67\x01\xbb\x01\x00\x02h2\x04\0\0",
        ssl,
    ];
    run("proxy_header", &seeds, targets::proxy_header);
}

#[test]
fn request_block() {
    run("request_block", REQUEST_BLOCKS, targets::request_block);
}

#[test]
fn response_block() {
    run("response_block", RESPONSE_BLOCKS, targets::response_block);
}
