//! Configuration documents: never a panic, and every problem has a place.
//!
//! The check itself is shared with the seeded runner (`tests/fuzz_config.rs`).

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/common/config.rs"]
mod config;

fuzz_target!(|text: &str| {
    config::check(text);
});
