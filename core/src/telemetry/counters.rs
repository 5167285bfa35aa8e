//! Totals with one writer and any number of readers.
//!
//! Invariants:
//! - one thread writes a given counter or gauge: an addition is a plain load and a plain store, without a
//!   lock prefix; two writers would lose additions, but never corrupt anything;
//! - readers see each total whole and monotonic (counters), but several totals not at one instant.
//!
//! Not here: totals that several shards write (limits of the whole proxy have their own counts).

use std::sync::atomic::{AtomicU64, Ordering};

/// A total that only grows; wraps after 2^64.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Counter(AtomicU64);

impl Counter {
    /// A counter at zero.
    pub const fn new() -> Self {
        Counter(AtomicU64::new(0))
    }

    /// Adds one. Only the owning thread may call this.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `n`. Only the owning thread may call this.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// The total so far.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number of things that exist right now.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// A gauge at zero.
    pub const fn new() -> Self {
        Gauge(AtomicU64::new(0))
    }

    /// One more. Only the owning thread may call this.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// One less. Only the owning thread may call this; below zero is a bug and stays at zero.
    #[inline]
    pub fn dec(&self) {
        self.sub(1);
    }

    /// `n` more. Only the owning thread may call this.
    #[inline]
    pub fn add(&self, n: u64) {
        self.set(self.get().saturating_add(n));
    }

    /// `n` fewer. Only the owning thread may call this; below zero is a bug and stays at zero.
    #[inline]
    pub fn sub(&self, n: u64) {
        let now = self.get();
        debug_assert!(now >= n, "a gauge of {now} can't lose {n}");
        self.set(now.saturating_sub(n));
    }

    /// Exactly `n`. Only the owning thread may call this.
    #[inline]
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The number now.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_add_up() {
        let counter = Counter::new();
        counter.inc();
        counter.add(41);
        assert_eq!(counter.get(), 42);
        let gauge = Gauge::new();
        gauge.add(3);
        gauge.inc();
        gauge.dec();
        gauge.sub(2);
        assert_eq!(gauge.get(), 1);
        gauge.set(7);
        assert_eq!(gauge.get(), 7);
    }

    #[test]
    fn a_reader_never_sees_a_counter_fall() {
        let counter = Counter::new();
        std::thread::scope(|scope| {
            scope.spawn(|| (0..100_000).for_each(|_| counter.inc()));
            let mut last = 0;
            while last < 100_000 {
                let now = counter.get();
                assert!(now >= last);
                last = now;
            }
        });
    }
}
