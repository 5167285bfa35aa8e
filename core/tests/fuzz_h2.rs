//! Damaged and random frames, judged by `common/h2_connection.rs`. `PINION_FUZZ_RUNS` sets how many inputs are tried,
//! `PINION_FUZZ_SEED` where they start.

#![allow(clippy::panic, reason = "a failed helper fails its test")]

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pinion_core::http::h2::frame::{FrameHead, Kind};
use pinion_core::rng::Rng;

#[path = "common/h2_connection.rs"]
mod invariants;

const RUNS_DEFAULT: u64 = 20_000;

/// Header blocks: requests, responses, trailers, an entry of the table, nonsense.
const BLOCKS: &[&[u8]] = &[
    &[0x82, 0x86, 0x84, 0x41, 1, b'a'],
    &[0x83, 0x86, 0x84, 0x41, 1, b'a', 0x0f, 0x0d, 1, b'5'],
    &[0x88],
    &[0x88, 0x0f, 0x0d, 1, b'3'],
    &[0x08, 3, b'1', b'0', b'3'],
    &[0x00, 1, b'x', 1, b'y'],
    &[0xbe],
    &[0x82],
    &[],
    &[0xff, 0xff, 0xff, 0xff, 0xff],
];

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

/// A frame that is right, or nearly so. `next`: the first stream that was not used.
fn frame(rng: &mut Rng, next: &mut u32, input: &mut Vec<u8>) {
    const KINDS: [Kind; 12] = [
        Kind::Headers,
        Kind::Headers,
        Kind::Headers,
        Kind::Headers,
        Kind::Data,
        Kind::Data,
        Kind::Data,
        Kind::WindowUpdate,
        Kind::RstStream,
        Kind::Ping,
        Kind::Settings,
        Kind::Priority,
    ];
    let kind = if rng.below(20) == 0 { Kind::of(rng.below(12) as u8) } else { KINDS[rng.below(12) as usize] };
    let mut payload: Vec<u8> = match kind {
        Kind::Headers if rng.below(2) == 0 => BLOCKS[0].to_vec(),
        Kind::Headers | Kind::Continuation => BLOCKS[rng.below(BLOCKS.len() as u64) as usize].to_vec(),
        Kind::Data => vec![b'x'; rng.below(8) as usize],
        Kind::Settings => vec![0, rng.below(10) as u8, 0, 0, rng.bits() as u8, rng.bits() as u8],
        Kind::Ping => vec![0; 8],
        Kind::GoAway => vec![0, 0, 0, rng.below(8) as u8, 0, 0, 0, 0],
        Kind::WindowUpdate | Kind::RstStream => vec![0, 0, 1, rng.below(3) as u8],
        Kind::Priority => vec![0; 5],
        _ => vec![0; rng.below(4) as usize],
    };
    let end = u8::from(rng.below(3) == 0);
    let mut flags = match kind {
        Kind::Headers | Kind::Continuation => end | if rng.below(8) > 0 { 4 } else { 0 },
        Kind::Data => end,
        _ => 0,
    };
    if rng.below(6) == 0 && matches!(kind, Kind::Headers | Kind::Data) {
        flags |= 8;
        payload.insert(0, rng.below(3) as u8);
        payload.extend_from_slice(&[0, 0]);
    }
    if rng.below(40) == 0 {
        flags = rng.bits() as u8;
    }
    let used = 1 + 2 * rng.below(u64::from(*next / 2).max(1)) as u32;
    let stream = match kind {
        Kind::Settings | Kind::Ping | Kind::GoAway => 0,
        Kind::WindowUpdate if rng.below(2) == 0 => 0,
        Kind::Headers if rng.below(3) > 0 => *next,
        _ if rng.below(40) == 0 => rng.below(12) as u32,
        _ => used,
    };
    if kind == Kind::Headers {
        *next = (*next).max(stream + 2) | 1;
    }
    input.extend_from_slice(&FrameHead { length: payload.len() as u32, kind, flags, stream }.encode());
    input.extend_from_slice(&payload);
}

#[test]
fn h2_connection() {
    let runs = setting("PINION_FUZZ_RUNS", RUNS_DEFAULT);
    let seed = setting("PINION_FUZZ_SEED", 1);
    let mut rng = Rng::seeded(seed);
    let (mut executions, mut accepted) = (0_u64, 0_u64);
    while executions < runs {
        let mut input = vec![rng.bits() as u8, rng.below(40) as u8];
        let mut next = 1;
        for _ in 0..1 + rng.below(12) {
            frame(&mut rng, &mut next, &mut input);
        }
        for _ in 0..rng.below(5).saturating_sub(2) {
            let at = rng.below(input.len() as u64) as usize;
            match rng.below(4) {
                0 => input[at] = rng.bits() as u8,
                1 => input[at] ^= 1 << rng.below(8),
                2 => input.insert(at, rng.bits() as u8),
                _ => drop(input.remove(at)),
            }
        }
        executions += 1;
        let passed = catch_unwind(AssertUnwindSafe(|| invariants::check(&input))).unwrap_or_else(|cause| {
            let shown = input.escape_ascii();
            eprintln!("fuzz h2_connection: seed {seed}, execution {executions}, input b\"{shown}\"");
            std::panic::resume_unwind(cause)
        });
        accepted += u64::from(passed);
    }
    // Past the test harness, which would hide it.
    let _ = writeln!(std::io::stdout(), "fuzz h2_connection: {executions} executions, {accepted} accepted");
    assert!(accepted > executions / 50, "hardly ever anything right: {accepted}");
}
