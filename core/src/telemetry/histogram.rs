//! Durations, counted in a fixed log-linear array: recording is O(1), two loads and two stores.
//!
//! The layout is that of an HDR histogram with two significant digits:
//!
//! ```text
//!   unit = 1,024 ns (a shift instead of a division)
//!   cells 0..256          one unit each          0 .. 262 µs
//!   cells 256..384        two units each       262 .. 524 µs
//!   cells 384..512        four units each      524 µs .. 1.05 ms
//!   …  128 cells per doubling …
//!   cells 3200..3328      2^24 units each     36.7 .. 73.3 min; anything longer counts in the last cell
//! ```
//!
//! Invariants:
//! - a value above 262 µs is off by less than 1/128 (0.8 %), one below by less than one unit;
//! - one writer, any readers; readers see every cell whole, but not all cells at one instant;
//! - cells come zeroed from the allocator, so that fresh pages no duration has touched are not resident.
//!
//! Not here: quantiles and merging (off the shards, with the `hdrhistogram` crate), classic buckets.
//!
//! Budget: no allocation after [`Histogram::new`], one cache line of cells plus the caller's line.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::counters::Counter;

/// Nanoseconds of one unit, as a shift: 1,024 ns.
pub const UNIT_SHIFT: u32 = 10;
/// Cells of each doubling, as a shift: 128, which keeps two significant digits.
const HALF_SHIFT: u32 = 7;
/// The largest unit count that has a cell of its own: 32 bits of units, 73 minutes.
const UNITS_MAX: u64 = (1 << 32) - 1;
/// Cells of one histogram: 256 for the first two halves, 128 for each of 24 doublings; 26 KiB.
pub const CELLS: usize = 256 + 24 * 128;

const _: () = assert!(cell_of(u64::MAX) == CELLS - 1);

/// The cell in which a duration of `nanos` is counted.
const fn cell_of(nanos: u64) -> usize {
    let units = nanos >> UNIT_SHIFT;
    let units = if units > UNITS_MAX { UNITS_MAX } else { units };
    let shift = (63 - HALF_SHIFT) - (units | (1 << HALF_SHIFT)).leading_zeros();
    ((shift as usize) << HALF_SHIFT) + (units >> shift) as usize
}

/// The first duration beyond cell number `cell`, in nanoseconds.
const fn end_of(cell: usize) -> u64 {
    let shift = (cell >> HALF_SHIFT).saturating_sub(1);
    let step = cell - (shift << HALF_SHIFT);
    (step as u64 + 1) << (shift as u32 + UNIT_SHIFT)
}

/// A histogram of durations.
#[derive(Debug)]
pub struct Histogram {
    /// Nanoseconds recorded in all. Zero only while nothing was recorded, which readers use to skip.
    sum: Counter,
    cells: Box<[AtomicU64; CELLS]>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl Histogram {
    /// An empty histogram. Allocates its 26 KiB; fresh pages of them become resident as they are used.
    pub fn new() -> Self {
        Histogram { sum: Counter::new(), cells: bytemuck::zeroed_box() }
    }

    /// Counts one duration of `nanos` nanoseconds. Only the owning thread may call this.
    #[inline]
    pub fn record(&self, nanos: u64) {
        self.sum.add(if nanos == 0 { 1 } else { nanos });
        let cell = &self.cells[cell_of(nanos)];
        cell.store(cell.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// Counts one duration. Only the owning thread may call this.
    #[inline]
    pub fn record_duration(&self, duration: Duration) {
        self.record(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    /// The sum of all recorded durations, in nanoseconds.
    pub fn sum_nanos(&self) -> u64 {
        self.sum.get()
    }

    /// The cells in which something was counted, shortest first: the longest duration that belongs to
    /// the cell in nanoseconds, and how many were counted.
    pub fn cells(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let used = if self.sum.get() == 0 { &self.cells[..0] } else { &self.cells[..] };
        used.iter().enumerate().filter_map(|(cell, count)| {
            let count = count.load(Ordering::Relaxed);
            (count != 0).then(|| (end_of(cell) - 1, count))
        })
    }

    /// How many durations were recorded; reads every cell, so not for shards.
    pub fn count(&self) -> u64 {
        self.cells().map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn cells_are_contiguous() {
        let mut start = 0;
        for cell in 0..CELLS {
            assert_eq!(cell_of(start), cell, "first of cell {cell}");
            assert_eq!(cell_of(end_of(cell) - 1), cell, "last of cell {cell}");
            start = end_of(cell);
        }
        assert_eq!(start, 1 << 42, "the horizon is 2^32 units");
    }

    #[test]
    fn what_is_recorded_is_read_back() {
        let histogram = Histogram::new();
        assert_eq!(histogram.cells().count(), 0);
        histogram.record(0);
        histogram.record_duration(Duration::from_millis(2));
        histogram.record_duration(Duration::from_millis(2));
        histogram.record(u64::MAX / 2);
        assert_eq!(histogram.count(), 4);
        assert_eq!(histogram.sum_nanos(), 1 + 4_000_000 + u64::MAX / 2);
        let cells: Vec<_> = histogram.cells().collect();
        assert_eq!(cells[0], (1023, 1));
        assert_eq!(cells[1].1, 2);
        assert_eq!(cells[2], ((1 << 42) - 1, 1));
    }

    proptest! {
        #[test]
        fn precision_holds(nanos in 0_u64..(1 << 42)) {
            let last = end_of(cell_of(nanos)) - 1;
            prop_assert!(last >= nanos);
            prop_assert!(last - nanos <= (nanos >> HALF_SHIFT).max(1 << UNIT_SHIFT), "{} for {}", last, nanos);
        }
    }
}
