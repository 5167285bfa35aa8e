//! Book-keeping: connections of a pool, the phases of a request, and the histogram of its duration.

use std::hint::black_box;
use std::time::Duration;

use pinion_core::pool::{Acquire, IdleLimits, PoolLedger};
use pinion_core::telemetry::histogram::Histogram;
use pinion_core::telemetry::{Ledger, Phase};
use pinion_core::time::Instant;
use pinion_load::random::Random;

use super::{Group, Work, in_turn};

/// Durations that are recorded in turn.
const DURATIONS: usize = 4_096;

pub(super) const POOL: Group = Group {
    name: "pool-ledger",
    what: "take an idle connection and give it back",
    unit: "idle connections",
    sizes: &[1, 64, 1_024],
    flat: false,
    make: pool,
};

pub(super) const PHASES: Group = Group {
    name: "phase-ledger",
    what: "stamp the six phases of a request",
    unit: "requests",
    sizes: &[1],
    flat: false,
    make: |_| {
        in_turn(vec![17_u64], |&step| {
            let mut now = Instant::from_nanos(step);
            let mut ledger = Ledger::begin(now);
            for phase in Phase::ALL {
                now = Instant::from_nanos(now.nanos() + step);
                ledger.stamp(phase, black_box(now));
            }
            black_box(&ledger);
        })
    },
};

pub(super) const HISTOGRAM: Group = Group {
    name: "histogram",
    what: "record a duration",
    unit: "requests",
    sizes: &[1],
    flat: false,
    make: |_| {
        let histogram = Histogram::new();
        let mut random = Random::seeded(1);
        // From 10 µs to 10 ms, as latencies are: the logarithm is even.
        let nanos = |_| 10_000 << (random.bits() % 10);
        let durations: Vec<u64> = (0..DURATIONS).map(nanos).collect();
        in_turn(durations, move |&nanos| histogram.record(nanos))
    },
};

fn pool(idle: usize) -> Work {
    let limits = IdleLimits { connections: idle, time: Duration::from_secs(60) };
    let mut ledger = PoolLedger::new(limits);
    let mut now = Instant::from_nanos(1);
    for key in 0..idle as u32 {
        ledger.on_connecting();
        ledger.on_connected(key);
        let _ = ledger.release(key, true, now);
    }
    Box::new(move |operations| {
        for _ in 0..operations {
            now = Instant::from_nanos(now.nanos() + 1_000);
            if let Acquire::Reuse(key) = ledger.acquire(black_box(now), || false) {
                let released = ledger.release(key, true, now);
                black_box(&released);
            }
        }
    })
}
