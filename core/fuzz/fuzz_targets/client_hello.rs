//! ClientHellos: a name that could be read in two ways is refused.
//!
//! The check itself is shared with the smoke runner (`tests/fuzz_smoke.rs`).

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/common/mod.rs"]
mod common;

fuzz_target!(|bytes: &[u8]| {
    common::targets::client_hello(bytes);
});
