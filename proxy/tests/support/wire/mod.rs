//! Both ends of the wire for tests of traffic: raw clients and an upstream that does what the test says.
//!
//! ```text
//!   Link (client) ──bytes──> pinion ──bytes──> Link (accepted by Upstream)
//! ```
//!
//! The test's own code is the script of both ends: it sends bytes in pieces of any size, waits for bytes,
//! closes, resets. [`Upstream::serve`] answers by itself instead, for tests that look at one end only.
//!
//! Invariants: no wait is longer than `PATIENCE`; what arrives is checked by a reader of our own, which
//! shares no code with the program under test.

#![allow(dead_code, reason = "each test program uses a part")]

mod link;
mod message;
mod proxy;
mod upstream;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

pub(crate) use link::{Ended, Link};
pub(crate) use message::{Head, Message};
pub(crate) use proxy::{Proxy, Setup};
pub(crate) use upstream::{Upstream, full_backlog};

use crate::support::{Driver, drivers};

/// Long enough that the other side has seen what was sent before, on an idle machine. Nothing depends on
/// it: too short only means that fewer segmentations are tried.
pub(crate) const MOMENT: Duration = Duration::from_millis(2);

/// Runs a test on every driver at the same time.
pub(crate) fn both(test: impl Fn(Driver) + Sync) {
    std::thread::scope(|scope| {
        let runs: Vec<_> = drivers()
            .into_iter()
            .map(|driver| {
                scope.spawn({
                    let test = &test;
                    move || test(driver)
                })
            })
            .collect();
        let failed = runs.into_iter().filter_map(|run| run.join().err());
        if let Some(panic) = failed.last() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// This process's own loopback IP, so that tests of one machine don't meet.
pub(crate) fn own_ip() -> IpAddr {
    let pid = std::process::id().to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(127, 64 | (pid[1] & 0x3F), pid[2], pid[3].clamp(1, 254)))
}

/// Bytes as readable text, shortened.
pub(crate) fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(600)]).into_owned();
    if bytes.len() > 600 { format!("{text}… ({} bytes)", bytes.len()) } else { text }
}

/// `200 OK` with that body.
pub(crate) fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// A GET request.
pub(crate) fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n")
}

/// `length` bytes that look random and are always the same.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
