//! Times rounded to a number of binary digits, in the very classes of the histograms: what is counted here
//! and there is the same.
//!
//! ```text
//! with 11 bits, as a histogram of three significant digits
//! below 2048         every value has its own bucket
//! 2048 and above     the top 11 bits count:  1ABCDEFGHIJ|xxxxx   with 1,024 buckets for each power of two
//! ```

/// The bits of a histogram of three significant digits.
pub(crate) const FINE: u32 = 11;

/// The bits of what is only looked at: buckets less than 1 % wide.
pub(crate) const COARSE: u32 = 8;

/// The bucket of a value below 2^63.
pub(crate) fn bucket<const BITS: u32>(value: u64) -> u16 {
    let shift = (u64::BITS - value.leading_zeros()).saturating_sub(BITS);
    // With 11 bits at most 52 · 1024 + 2047, which 16 bits hold.
    (u64::from(shift) * (1 << (BITS - 1)) + (value >> shift)) as u16
}

/// The largest value of a bucket: what a percentile of a histogram says.
pub(crate) fn highest<const BITS: u32>(bucket: u16) -> u64 {
    let (bucket, half) = (u64::from(bucket), 1 << (BITS - 1));
    let shift = (bucket / half).saturating_sub(1);
    let top = bucket - shift * half;
    ((top + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{NANOS_MAX, histogram};

    #[test]
    fn buckets_are_those_of_the_histograms() {
        let histogram = histogram();
        let check = |value| {
            assert_eq!(
                highest::<FINE>(bucket::<FINE>(value)),
                histogram.highest_equivalent(value),
                "{value}"
            );
        };
        let mut value = 0_u64;
        while value <= NANOS_MAX {
            check(value);
            value += 1 + value / 777;
        }
        for power in 0..42 {
            [(1_u64 << power) - 1, 1 << power, (1 << power) + 1].into_iter().for_each(check);
        }
    }

    #[test]
    fn coarse_buckets_are_off_by_less_than_one_percent() {
        let mut value = 1_u64;
        while value <= NANOS_MAX {
            let shown = highest::<COARSE>(bucket::<COARSE>(value));
            assert!(shown >= value && (shown - value) as f64 <= value as f64 * 0.01, "{value} {shown}");
            value += 1 + value / 333;
        }
    }
}
