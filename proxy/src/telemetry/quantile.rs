//! Histograms of several shards as one: for quantiles and for classic buckets.
//!
//! Invariants: merging reads, never writes; a merged value is off by less than 1 % (the shards' cells are
//! those of an HDR histogram of two significant digits).
//!
//! Not here: recording.

use hdrhistogram::Histogram as Hdr;
use pinion_core::telemetry::histogram::{Histogram, UNIT_SHIFT};
use pinion_core::telemetry::names::BUCKETS;

/// The longest duration told apart, in nanoseconds: the shards' 73 minutes.
const NANOS_MAX: u64 = 1 << 42;

/// One histogram, in nanoseconds, of everything that `parts` hold.
fn merge<'a>(parts: impl IntoIterator<Item = &'a Histogram>) -> Hdr<u64> {
    #[expect(clippy::expect_used, reason = "the arguments are constants")]
    // INVARIANT: 1 <= low, 2 * low <= high, digits <= 5; the test below makes one.
    let mut merged = Hdr::new_with_bounds(1 << UNIT_SHIFT, NANOS_MAX, 2).expect("valid bounds");
    for (nanos, count) in parts.into_iter().flat_map(Histogram::cells) {
        merged.saturating_record_n(nanos, count);
    }
    merged
}

/// What people want to know of durations, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    /// How many there were.
    pub(crate) count: u64,
    /// Their mean.
    pub(crate) mean: f64,
    /// The median.
    pub(crate) p50: f64,
    /// What 9 of 10 do not exceed.
    pub(crate) p90: f64,
    /// What 99 of 100 do not exceed.
    pub(crate) p99: f64,
    /// What 999 of 1,000 do not exceed.
    pub(crate) p999: f64,
    /// The longest.
    pub(crate) max: f64,
}

/// Sums up everything that `parts` hold; `None` while they are empty.
pub(crate) fn summary<'a>(parts: impl IntoIterator<Item = &'a Histogram>) -> Option<Summary> {
    let merged = merge(parts);
    let at = |quantile| merged.value_at_quantile(quantile) as f64 / 1e9;
    (!merged.is_empty()).then(|| Summary {
        count: merged.len(),
        mean: merged.mean() / 1e9,
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        p999: at(0.999),
        max: at(1.0),
    })
}

/// Classic buckets of one or more shards' histograms.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Buckets {
    /// Durations up to each bound of [`BUCKETS`], cumulative.
    pub(crate) cumulative: [u64; BUCKETS.len()],
    /// Durations in all.
    pub(crate) count: u64,
    /// Their sum in nanoseconds.
    pub(crate) sum_nanos: u64,
}

/// Sorts what `parts` hold into [`BUCKETS`]. A cell that straddles a bound counts beyond it: a bucket
/// holds nothing longer than it says, and may miss what is within 1 % of its bound.
pub(crate) fn buckets<'a>(parts: impl IntoIterator<Item = &'a Histogram>) -> Buckets {
    let mut buckets = Buckets::default();
    for part in parts {
        buckets.sum_nanos = buckets.sum_nanos.wrapping_add(part.sum_nanos());
        for (nanos, count) in part.cells() {
            let place = BUCKETS.partition_point(|(bound, _)| *bound < nanos);
            if let Some(bucket) = buckets.cumulative.get_mut(place) {
                *bucket += count;
            }
            buckets.count += count;
        }
    }
    let mut below = 0;
    for bucket in &mut buckets.cumulative {
        below += *bucket;
        *bucket = below;
    }
    buckets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_merged() {
        let shards = [Histogram::new(), Histogram::new()];
        for n in 1..=1_000 {
            shards[n as usize % 2].record(n * 1_000_000);
        }
        let found = summary(&shards).unwrap();
        assert_eq!(found.count, 1_000);
        let exact = [
            (found.mean, 0.5005),
            (found.p50, 0.5),
            (found.p90, 0.9),
            (found.p99, 0.99),
            (found.p999, 0.999),
            (found.max, 1.0),
        ];
        for (found, exact) in exact {
            assert!((found - exact).abs() < 0.01 * exact, "{found} instead of {exact}");
        }
        assert_eq!(summary(&[Histogram::new()]), None);
    }

    #[test]
    fn buckets_hold_nothing_longer_than_they_say() {
        let shards = [Histogram::new(), Histogram::new()];
        for nanos in [0, 40_000, 990_000, 1_010_000, 7_000_000_000, u64::MAX >> 8] {
            shards[0].record(nanos);
            shards[1].record(nanos);
        }
        let buckets = buckets(&shards);
        let at = |bound: &str| buckets.cumulative[BUCKETS.iter().position(|b| b.1 == bound).unwrap()];
        assert_eq!(at("5e-05"), 4);
        assert_eq!(at("0.0005"), 4);
        assert_eq!(at("0.001"), 6);
        assert_eq!(at("0.0025"), 8);
        assert_eq!(at("5.0"), 8);
        assert_eq!(at("60.0"), 10);
        assert_eq!(buckets.count, 12);
        let sum: u64 = [1, 40_000, 990_000, 1_010_000, 7_000_000_000, u64::MAX >> 8].iter().sum();
        assert_eq!(buckets.sum_nanos, 2 * sum);
    }
}
