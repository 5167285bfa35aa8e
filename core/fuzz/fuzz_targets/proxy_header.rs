//! PROXY headers, both versions: what they say survives being sent on.
//!
//! The check itself is shared with the smoke runner (`tests/fuzz_smoke.rs`).

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/common/mod.rs"]
mod common;

fuzz_target!(|bytes: &[u8]| {
    common::targets::proxy_header(bytes);
});
