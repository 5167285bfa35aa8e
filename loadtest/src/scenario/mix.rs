//! Chooses targets by weight.

use crate::random::Random;

/// Weights, added up.
#[derive(Clone, Debug)]
pub(crate) struct Mix(Vec<f64>);

impl Mix {
    /// A mix of so many targets with these weights.
    pub(crate) fn new(weights: impl Iterator<Item = f64>) -> Self {
        let mut sum = 0.0;
        Mix(weights
            .map(|weight| {
                sum += weight;
                sum
            })
            .collect())
    }

    /// The number of a target.
    pub(crate) fn choose(&self, random: &mut Random) -> usize {
        let Some(&sum) = self.0.last().filter(|_| self.0.len() > 1) else { return 0 };
        let point = random.unit() * sum;
        self.0.partition_point(|&edge| edge <= point).min(self.0.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_get_their_shares() {
        let mix = Mix::new([1.0, 0.5, 8.5].into_iter());
        let mut random = Random::seeded(9);
        let mut counts = [0_u32; 3];
        for _ in 0..100_000 {
            counts[mix.choose(&mut random)] += 1;
        }
        assert!((9_600..10_400).contains(&counts[0]) && (4_700..5_300).contains(&counts[1]), "{counts:?}");
    }
}
