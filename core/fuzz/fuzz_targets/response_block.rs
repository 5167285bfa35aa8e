//! Header blocks of responses and trailers: what is passed on says the same.
//!
//! The check itself is shared with the smoke runner (`tests/fuzz_smoke.rs`).

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/common/mod.rs"]
mod common;

fuzz_target!(|bytes: &[u8]| {
    common::targets::response_block(bytes);
});
