//! A generator that is not let work says so. Alone in its file, because it takes a CPU from every other test.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};

use common::{Origin, program};
use serde_json::Value;

/// Other programs take the CPU that the generator is pinned to: the run is invalid, says why, and fails its
/// assertions.
#[test]
fn a_starved_generator_does_not_certify_its_run() {
    let origin = Origin::start("epoll", &[]);
    let url = format!("http://{}/", origin.address);
    let over = AtomicBool::new(false);
    let (report, status) = std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut set = rustix::thread::CpuSet::new();
                set.set(0);
                rustix::thread::sched_setaffinity(None, &set).unwrap();
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let output =
            program(&["--quiet", "--json", "-", "--pin", "0", "--rate", "20000", "--duration", "2s"])
                .args(["--assert", "p99 < 1h", &url])
                .output();
        over.store(true, Ordering::Relaxed);
        let output = output.unwrap();
        (serde_json::from_slice::<Value>(&output.stdout).unwrap(), output.status)
    });
    assert_eq!(report["certified"]["valid"], false, "{report:#}");
    let reasons = report["certified"]["reasons"].to_string();
    assert!(reasons.contains("waited for a CPU") || reasons.contains("late"), "{reasons}");
    assert_eq!(status.code(), Some(1));
}
