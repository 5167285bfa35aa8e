//! Quantiles of a few repeated measurements.
//!
//! Not here: percentiles of many latencies, which the load generator's histograms give.

/// A quantile of some values, between the two nearest in proportion. `None` of none.
pub(crate) fn quantile(mut values: Vec<f64>, quantile: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let place = quantile * values.len().checked_sub(1)? as f64;
    let (low, share) = (place.floor() as usize, place.fract());
    let high = values[(low + 1).min(values.len() - 1)];
    Some(values[low] + (high - values[low]) * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_few_values() {
        assert_eq!(quantile(vec![], 0.5), None);
        assert_eq!(quantile(vec![3.0], 0.25), Some(3.0));
        assert_eq!(quantile(vec![2.0, 1.0], 0.5), Some(1.5));
    }
}
