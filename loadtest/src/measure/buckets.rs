//! Times rounded to three significant digits, in the very classes of the histograms: what is counted here
//! and there is the same.
//!
//! ```text
//! below 2048         every value has its own bucket
//! 2048 and above     the top 11 bits count:  1ABCDEFGHIJ|xxxxx   with 1,024 buckets for each power of two
//! ```

/// Bits of a value that are told apart.
const BITS: u32 = 11;

/// Buckets of each power of two above the first.
const HALF: u64 = 1 << (BITS - 1);

/// The bucket of a value. Values up to 2^63 have one; an hour in nanoseconds has number 33,000 or so.
pub(crate) fn bucket(value: u64) -> u16 {
    let shift = (u64::BITS - value.leading_zeros()).saturating_sub(BITS);
    // Below 2^63 that is at most 53 · 1024 + 2047, which 16 bits hold.
    (u64::from(shift) * HALF + (value >> shift)) as u16
}

/// The largest value of a bucket: what a percentile of a histogram says.
pub(crate) fn highest(bucket: u16) -> u64 {
    let bucket = u64::from(bucket);
    let shift = (bucket / HALF).saturating_sub(1);
    let top = bucket - shift * HALF;
    ((top + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_those_of_the_histograms() {
        let histogram = crate::measure::histogram();
        let mut value = 0_u64;
        while value <= crate::measure::NANOS_MAX {
            assert_eq!(highest(bucket(value)), histogram.highest_equivalent(value), "{value}");
            value += 1 + value / 777;
        }
        for power in 0..42 {
            for value in [(1_u64 << power) - 1, 1 << power, (1 << power) + 1] {
                assert_eq!(highest(bucket(value)), histogram.highest_equivalent(value), "{value}");
            }
        }
    }
}
