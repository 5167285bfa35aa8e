//! HTTP/2 connections: any frames in both roles, and tearing changes nothing.
//!
//! The check itself is shared with the seeded runner (`tests/fuzz_h2.rs`).

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/common/h2_connection.rs"]
mod invariants;

fuzz_target!(|bytes: &[u8]| {
    invariants::check(bytes);
});
