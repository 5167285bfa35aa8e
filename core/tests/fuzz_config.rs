//! Damaged and random documents, judged by `common/config.rs`. `PINION_FUZZ_RUNS` sets how many are tried,
//! `PINION_FUZZ_SEED` where they start.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed helper fails its test")]

use std::path::Path;

use pinion_core::rng::Rng;

#[path = "common/config.rs"]
mod invariants;

const RUNS_DEFAULT: u64 = 2_000;

/// What documents are damaged with: pieces of the language, of its values, and of trouble.
const PIECES: &[&str] = &[
    "[[listeners]]",
    "[[routes]]",
    "[[clusters]]",
    "[proxy]",
    "[listeners.timeouts]",
    "[routes.retry]",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    ",",
    ".",
    "\"",
    "'",
    "\"\"\"",
    "'''",
    "#",
    "\n",
    "\r\n",
    "\r",
    "\t",
    " ",
    "\\",
    "\\u0000",
    "\\n",
    "\u{0}",
    "\u{feff}",
    "é",
    "日本",
    "\u{1f980}",
    "\u{202e}",
    "name = ",
    "address = ",
    "hosts = [",
    "path = { regex = ",
    "cluster = ",
    "split = [{",
    "weight = ",
    "timeout = ",
    "\"1s\"",
    "\"64KiB\"",
    "\"127.0.0.1:80\"",
    "\"unix:x\"",
    "\"*.x\"",
    "\"(\"",
    "\"/a/../b\"",
    "0",
    "-1",
    "99999999999999999999",
    "0x10",
    "1.5",
    "nan",
    "true",
    "1979-05-27",
    "headers = { a = { range = ",
    "retry = 1",
    "tls = {}",
    "direct_response = {",
    "a.b.c = 1",
    "\"(?x)#\"",
    "\"[[:^alpha:]]{9}{9}\"",
];

fn seeds() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    assert!(!paths.is_empty());
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// One document: a seed damaged a few times, or pieces in a row.
fn document(rng: &mut Rng, seeds: &[Vec<u8>]) -> String {
    let mut below = |bound: usize| rng.below(bound.max(1) as u64) as usize;
    let mut bytes = if below(8) == 0 { Vec::new() } else { seeds[below(seeds.len())].clone() };
    let edits = if bytes.is_empty() { 1 + below(40) } else { 1 + below(8) };
    for _ in 0..edits {
        let at = below(bytes.len() + 1);
        let to = (at + 1 + below(20)).min(bytes.len());
        match below(6) {
            0 if at < to => drop(bytes.drain(at..to)),
            1 if at < bytes.len() => bytes[at] ^= 1 << below(8),
            2 => {
                let copy = bytes[at..to.max(at)].to_vec();
                let place = below(bytes.len() + 1);
                bytes.splice(place..place, copy);
            }
            3 => bytes.truncate(at),
            _ => drop(bytes.splice(at..at, PIECES[below(PIECES.len())].bytes())),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn no_document_panics_and_every_problem_has_a_place() {
    let number = |name: &str, default| {
        std::env::var(name)
            .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
    };
    let (runs, first) = (number("PINION_FUZZ_RUNS", RUNS_DEFAULT), number("PINION_FUZZ_SEED", 1));
    let seeds = seeds();
    let (mut taken, mut refused) = (0u64, 0u64);
    for seed in first..first + runs {
        let text = document(&mut Rng::seeded(seed), &seeds);
        let judged = std::panic::catch_unwind(|| invariants::check(&text));
        match judged {
            Ok(true) => taken += 1,
            Ok(false) => refused += 1,
            Err(_) => panic!("PINION_FUZZ_SEED={seed} PINION_FUZZ_RUNS=1 fails with\n{text}"),
        }
    }
    println!("fuzz config: {runs} executions");
    assert!(
        taken > 0 && refused > 0 || runs < 100,
        "{taken} taken, {refused} refused: the documents are too alike"
    );
}
