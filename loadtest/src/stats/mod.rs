//! How sure a percentile is: confidence intervals by resampling the run's own intervals.
//!
//! ```text
//! run        │ 1 │ 2 │ 3 │ 4 │ 5 │ 6 │ …          counts of each interval
//! resample   │ 4   5 │ 1   2 │ 4   5 │ …          blocks of neighbours, drawn with replacement
//!            └─────────┬─────────────┘
//!             percentile of all of them together, many times over ─▶ their 2.5 % and 97.5 % points
//! ```
//!
//! Requests of one moment are not independent of one another (one pause slows many of them), so single
//! requests must not be drawn: an interval that assumed so would be far too narrow. Whole stretches of the
//! run are drawn instead (the circular block bootstrap of Politis and Romano, 1992), with blocks of about
//! the cube root of the number of intervals, so that a slow stretch stays together.
//!
//! Invariants: the same data gives the same interval (the draws are seeded); where the data can't tell,
//! there is no interval rather than a narrow one.
//!
//! Not here: counting (`Measure`), tests that compare more than two runs (the gate of the bench).

use hdrhistogram::Histogram;

use crate::random::Random;

/// How sure the intervals are: the share of them that hold the true value.
pub const LEVEL: f64 = 0.95;

/// Resamples behind an interval: the error of its ends is then well below its width.
const DRAWS: usize = 400;

/// Resamples behind [`relative_half_width`], which is asked every second.
const DRAWS_QUICK: usize = 100;

/// With fewer intervals, resampling them says nothing.
const INTERVALS_MIN: usize = 10;

/// Intervals beyond this number are merged with their neighbours before they are drawn.
const UNITS_MAX: usize = 200;

/// With fewer requests beyond a percentile, resampling can't know how far the tail reaches.
const BEYOND_MIN: f64 = 10.0;

/// The seed of the draws.
const SEED: u64 = 0x5EED;

/// A value and the range in which it lies with the confidence of `level`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The value of the data itself.
    pub value: f64,
    /// The lower end of the range.
    pub low: f64,
    /// The upper end of the range.
    pub high: f64,
    /// How sure the range is, for example 0.95.
    pub level: f64,
}

impl Estimate {
    /// Whether `value` lies within the range.
    #[must_use]
    pub fn holds(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }
}

/// How often each value occurred in one interval of a run: `(value, count)` by rising value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(pub Vec<(u64, u64)>);

impl Counts {
    /// The counts of a histogram, at the values that its percentiles name.
    #[must_use]
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let recorded = histogram.iter_recorded();
        Counts(recorded.map(|at| (at.value_iterated_to(), at.count_at_value())).collect())
    }

    /// How many values there are.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().map(|&(_, count)| count).sum()
    }
}

/// The value at quantile `q` (0 to 1) of values in rising order, between two of them by their distance;
/// NaN of none.
#[must_use]
pub fn quantile(sorted: &[f64], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = q.clamp(0.0, 1.0) * last as f64;
    let (below, share) = (place.floor() as usize, place.fract());
    let above = (below + 1).min(last);
    sorted[below] + (sorted[above] - sorted[below]) * share
}

/// The middle value; NaN of none.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile(&sorted, 0.5)
}

/// A percentile (0 to 100) of everything that the intervals counted; `None` of nothing.
#[must_use]
pub fn percentile(intervals: &[Counts], percentile: f64) -> Option<u64> {
    let pool = Pool::new(intervals);
    (!pool.values.is_empty()).then(|| pool.whole(percentile) as u64)
}

/// A percentile (0 to 100) of a run, with its confidence interval. `None` where the data can't tell: fewer
/// than ten intervals with requests, or fewer than ten requests beyond the percentile.
#[must_use]
pub fn estimate(intervals: &[Counts], percentile: f64) -> Option<Estimate> {
    estimates(intervals, &[percentile]).pop().flatten()
}

/// The same for several percentiles at once.
#[must_use]
pub fn estimates(intervals: &[Counts], percentiles: &[f64]) -> Vec<Option<Estimate>> {
    let pool = Pool::new(intervals);
    let one = |&percentile: &f64| {
        pool.tells(percentile).then(|| around(pool.whole(percentile), pool.draws(percentile, DRAWS, SEED)))
    };
    percentiles.iter().map(one).collect()
}

/// Half the width of a percentile's confidence interval as a share of the percentile: 0.05 is ±5 %. Quick
/// enough to be asked every second of a run. `None` as for [`estimate`].
#[must_use]
pub fn relative_half_width(intervals: &[Counts], percentile: f64) -> Option<f64> {
    let pool = Pool::new(intervals);
    pool.tells(percentile).then(|| {
        let range = around(pool.whole(percentile), pool.draws(percentile, DRAWS_QUICK, SEED));
        (range.high - range.low) / 2.0 / range.value.max(1.0)
    })
}

/// The ratio of a percentile of one run to that of another, `after / before`, with its confidence interval:
/// a difference is outside the noise when the interval does not hold 1. `None` as for [`estimate`], for
/// either run.
#[must_use]
pub fn ratio(before: &[Counts], after: &[Counts], percentile: f64) -> Option<Estimate> {
    let pools = (Pool::new(before), Pool::new(after));
    if !pools.0.tells(percentile) || !pools.1.tells(percentile) {
        return None;
    }
    let value = pools.1.whole(percentile) / pools.0.whole(percentile).max(1.0);
    let below = pools.0.draws(percentile, DRAWS, SEED);
    let above = pools.1.draws(percentile, DRAWS, SEED + 1);
    Some(around(value, above.iter().zip(&below).map(|(above, below)| above / below.max(1.0)).collect()))
}

/// The range that holds the share [`LEVEL`] of the draws.
fn around(value: f64, mut draws: Vec<f64>) -> Estimate {
    draws.sort_by(f64::total_cmp);
    let beyond = (1.0 - LEVEL) / 2.0;
    let (low, high) = (quantile(&draws, beyond), quantile(&draws, 1.0 - beyond));
    Estimate { value, low: low.min(value), high: high.max(value), level: LEVEL }
}

/// The intervals of a run, ready for percentiles of any choice of them.
struct Pool {
    /// Every value that occurs, rising.
    values: Vec<u64>,
    /// For each of `values` a row: how many requests of each interval had this value or a smaller one.
    below: Vec<Vec<u64>>,
    /// Of each interval.
    totals: Vec<u64>,
}

impl Pool {
    fn new(intervals: &[Counts]) -> Self {
        // Twice as many are as good as these, and merging neighbours keeps what lies together together.
        let together = intervals.len().div_ceil(UNITS_MAX).max(1);
        let units: Vec<&[Counts]> = intervals.chunks(together).collect();
        let mut values: Vec<u64> =
            intervals.iter().flat_map(|counts| counts.0.iter().map(|at| at.0)).collect();
        values.sort_unstable();
        values.dedup();
        let mut below = vec![vec![0; units.len()]; values.len()];
        for (unit, counts) in units.iter().enumerate() {
            for &(value, count) in counts.iter().flat_map(|counts| &counts.0) {
                below[values.partition_point(|&other| other < value)][unit] += count;
            }
        }
        let mut totals = vec![0; units.len()];
        for row in &mut below {
            for (count, total) in row.iter_mut().zip(&mut totals) {
                *total += *count;
                *count = *total;
            }
        }
        Pool { values, below, totals }
    }

    /// Whether there is enough to say how sure a percentile is.
    fn tells(&self, percentile: f64) -> bool {
        let filled = self.totals.iter().filter(|&&total| total > 0).count();
        let beyond = self.totals.iter().sum::<u64>() as f64 * (1.0 - percentile / 100.0);
        filled >= INTERVALS_MIN && beyond + 1e-6 >= BEYOND_MIN
    }

    /// The percentile of everything.
    fn whole(&self, percentile: f64) -> f64 {
        self.percentile(&vec![1; self.totals.len()], percentile)
    }

    /// The percentile of the requests in all units, each taken as often as its weight says.
    fn percentile(&self, weights: &[u64], percentile: f64) -> f64 {
        let weighted =
            |row: &[u64]| row.iter().zip(weights).map(|(count, weight)| count * weight).sum::<u64>();
        let wanted = ((percentile / 100.0 * weighted(&self.totals) as f64).ceil() as u64).max(1);
        let index = self.below.partition_point(|row| weighted(row) < wanted);
        self.values.get(index).or(self.values.last()).copied().unwrap_or(0) as f64
    }

    /// The percentile of so many resamples.
    fn draws(&self, percentile: f64, count: usize, seed: u64) -> Vec<f64> {
        let units = self.totals.len();
        let block = block_length(units);
        let mut random = Random::seeded(seed);
        let mut weights = vec![0; units];
        (0..count)
            .map(|_| {
                weights.fill(0);
                let mut taken = 0;
                while taken < units {
                    let first = (random.unit() * units as f64) as usize;
                    for index in (first..first + block).take(units - taken) {
                        weights[index % units] += 1;
                    }
                    taken += block;
                }
                self.percentile(&weights, percentile)
            })
            .collect()
    }
}

/// How many neighbouring intervals are drawn together: the cube root of their number, rounded up.
fn block_length(units: usize) -> usize {
    (units as f64).cbrt().ceil().max(1.0) as usize
}

#[cfg(test)]
mod tests;
