//! Header blocks of requests: the head they become is one of HTTP/1, too, and what is sent on has one reading.
//!
//! The check itself is shared with the smoke runner (`tests/fuzz_smoke.rs`).

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/common/mod.rs"]
mod common;

fuzz_target!(|bytes: &[u8]| {
    common::targets::request_block(bytes);
});
