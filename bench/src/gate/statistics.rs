//! The statistics of paired runs: what changed by how much, how sure that is, and how many rounds more
//! it would take.
//!
//! The data of one measure are the logarithms `d` of candidate / base, one per round. A logarithm makes
//! 2× and ½× opposite and equal. The three answers come from one theory and so never disagree:
//!
//! - the **test** is Wilcoxon's signed-rank test: a permutation test that swaps base and candidate within
//!   rounds. Its distribution is computed, not drawn, for every number of rounds;
//! - the **estimate** is Hodges and Lehmann's, the median of all means of two `d` (Walsh averages). A few
//!   wild rounds, which busy machines make, do not move it;
//! - the **interval** is the set of changes which that test would not reject: two of the sorted Walsh
//!   averages. It is exact for six rounds too, where a bootstrap interval is known to be too narrow.
//!
//! Not here: thresholds and verdicts (`verdict.rs`).

/// Confidence of the interval.
pub(crate) const CONFIDENCE: f64 = 0.95;

/// Standard normal quantiles: of 97.5 % (the interval's side) and of 95 % (see [`rounds_needed`]).
const Z_INTERVAL: f64 = 1.960;
const Z_POWER: f64 = 1.645;

/// Most rounds that are computed with: the table of the exact distribution grows with their cube.
pub(crate) const ROUNDS_MAX: usize = 300;

/// What one measure's rounds say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Comparison {
    /// The logarithm of candidate / base.
    pub(crate) center: f64,
    /// Its interval of 95 % confidence; infinite if there are fewer than six rounds.
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// The chance of rounds that speak as loudly for a higher candidate, if there is no difference.
    pub(crate) p_higher: f64,
    /// The same for a lower one.
    pub(crate) p_lower: f64,
}

/// Compares by the logarithms of the rounds' ratios. Without rounds nothing is known.
pub(crate) fn compare(logs: &[f64]) -> Comparison {
    let averages = walsh_averages(logs);
    let (p_higher, p_lower) = signed_rank(logs);
    let (low, high) = interval(&averages, logs.len());
    Comparison { center: median(&averages), low, high, p_higher, p_lower }
}

/// The sorted means of all pairs of values, each value with itself included.
fn walsh_averages(values: &[f64]) -> Vec<f64> {
    let pairs = values.iter().enumerate().flat_map(|(i, a)| values[i..].iter().map(move |b| (a + b) / 2.0));
    let mut averages: Vec<f64> = pairs.collect();
    averages.sort_by(f64::total_cmp);
    averages
}

/// The middle of sorted values; 0 if there are none.
pub(crate) fn median(sorted: &[f64]) -> f64 {
    match sorted.len() {
        0 => 0.0,
        count if count.is_multiple_of(2) => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
        count => sorted[count / 2],
    }
}

/// The chances of a rank sum at least, and at most, as high as that of `values`, if each sign were a coin.
///
/// Equal magnitudes share their mean rank, zeros take ranks but no side (Pratt, 1959), and the
/// distribution is that of these very ranks: the test is exact with ties too.
fn signed_rank(values: &[f64]) -> (f64, f64) {
    let mut sorted: Vec<f64> = values.to_vec();
    sorted.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    // Twice the ranks, which are whole numbers.
    let mut ranks = Vec::with_capacity(sorted.len());
    let mut first = 0;
    while first < sorted.len() {
        let ties = sorted[first..].iter().take_while(|v| v.abs() == sorted[first].abs()).count();
        ranks.extend(std::iter::repeat_n(2 * first + ties + 1, ties));
        first += ties;
    }
    let signed: Vec<(usize, f64)> = ranks.into_iter().zip(sorted).filter(|&(_, v)| v != 0.0).collect();
    let observed: usize = signed.iter().filter(|(_, v)| *v > 0.0).map(|(rank, _)| rank).sum();
    let chances = rank_sum_chances(signed.iter().map(|&(rank, _)| rank));
    (chances[observed..].iter().sum::<f64>().min(1.0), chances[..=observed].iter().sum::<f64>().min(1.0))
}

/// The chance of each sum when every rank is taken or left by a coin.
fn rank_sum_chances(ranks: impl Iterator<Item = usize>) -> Vec<f64> {
    let mut chances = vec![1.0];
    for rank in ranks {
        let mut next = vec![0.0; chances.len() + rank];
        for (sum, chance) in chances.iter().enumerate() {
            next[sum] += chance / 2.0;
            next[sum + rank] += chance / 2.0;
        }
        chances = next;
    }
    chances
}

/// The interval whose ends the test just does not reject.
fn interval(averages: &[f64], rounds: usize) -> (f64, f64) {
    let (outside, _) = averages_outside(rounds, (1.0 - CONFIDENCE) / 2.0);
    if outside == 0 || averages.is_empty() {
        return (f64::NEG_INFINITY, f64::INFINITY);
    }
    (averages[outside - 1], averages[averages.len() - outside])
}

/// How many Walsh averages lie on each side outside an interval with at most the chance `tail` on each
/// side, and that chance as it is: only some are possible with few rounds.
fn averages_outside(rounds: usize, tail: f64) -> (usize, f64) {
    let mut below = 0.0;
    let mut outside = 0;
    for chance in rank_sum_chances(1..=rounds) {
        if below + chance > tail {
            break;
        }
        below += chance;
        outside += 1;
    }
    (outside, below)
}

/// Holm's correction: the smallest error rate of the whole family at which each test rejects.
pub(crate) fn holm(chances: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..chances.len()).collect();
    order.sort_by(|&a, &b| chances[a].total_cmp(&chances[b]));
    let mut adjusted = vec![1.0; chances.len()];
    let mut highest = 0.0_f64;
    for (place, &index) in order.iter().enumerate() {
        highest = highest.max((chances.len() - place) as f64 * chances[index]).min(1.0);
        adjusted[index] = highest;
    }
    adjusted
}

/// The spread of same-against-same: the standard deviation of one round's logarithm as the estimate feels
/// it, so that wild rounds, which the estimate ignores, do not count as if it did not. It is the width of
/// the inner half of the estimate's distribution, brought to that of a normal one: the outer parts of few
/// rounds are mostly their wildest. Rounds of two kinds, fast and slow, whose averages all but cancel out,
/// spread at least as far as their median does.
///
/// `logs` are logarithms of ratios of runs of one program, whose sign means nothing.
pub(crate) fn spread(logs: &[f64]) -> f64 {
    let averages = walsh_averages(logs);
    let (outside, tail) = averages_outside(logs.len(), 0.25);
    if outside == 0 {
        // One or none.
        return averages.first().map_or(0.0, |only| only.abs());
    }
    let width = averages[averages.len() - outside] - averages[outside - 1];
    let felt = width / 2.0 / normal_quantile(1.0 - tail) * (logs.len() as f64).sqrt();
    let mut sizes: Vec<f64> = logs.iter().map(|log| log.abs()).collect();
    sizes.sort_by(f64::total_cmp);
    felt.max(median(&sizes) / normal_quantile(0.75))
}

/// How many rounds make it 90 % sure that the interval lies within ± `room` if there is no difference.
/// With that many, a change of twice the room is found still more surely.
///
/// The interval reaches 1.96 spreads / √n to both sides of an estimate that itself lies within 1.645
/// spreads / √n in 90 % of cases; together they must fit into the room. [`spread`] is measured on the
/// interval, so it needs no factor for the efficiency of ranks.
pub(crate) fn rounds_needed(spread: f64, room: f64) -> f64 {
    if spread == 0.0 {
        return 0.0;
    }
    ((Z_INTERVAL + Z_POWER) * spread / room).powi(2)
}

/// The fewest rounds whose loudest result has a chance of at most `chance`: one half to their power.
pub(crate) fn rounds_for_chance(chance: f64) -> f64 {
    (-chance.log2()).ceil()
}

/// The standard normal value that a draw does not exceed with the given chance: the rational approximation
/// of Abramowitz and Stegun, 26.2.23, whose error is below 0.0005.
pub(crate) fn normal_quantile(chance: f64) -> f64 {
    let tail = chance.min(1.0 - chance).max(f64::MIN_POSITIVE);
    let t = (-2.0 * tail.ln()).sqrt();
    let above = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let below = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    (t - above / below).copysign(chance - 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pinion_load::random::Random;

    #[test]
    fn signed_ranks_have_their_tabled_chances() {
        // All ten positive: 1 in 2^10. The sum 8 or less of ten ranks: 25 subsets of 1,024.
        assert_eq!(signed_rank(&[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]).0, 1.0 / 1024.0);
        let mixed = [1.0, -2.0, 3.0, 4.0, 5.0, -6.0, 7.0, 8.0, 9.0, 10.0];
        assert!((signed_rank(&mixed).0 - 25.0 / 1024.0).abs() < 1e-12);
        assert_eq!(signed_rank(&[]), (1.0, 1.0));
        assert_eq!(signed_rank(&[0.0; 8]), (1.0, 1.0));
    }

    #[test]
    fn ties_are_exact_as_counting_all_swaps_is() {
        let values: [f64; 7] = [0.5, 0.5, -0.5, 0.25, 0.0, 0.75, 0.25];
        let midrank = |v: f64| -> f64 {
            let smaller = values.iter().filter(|o| o.abs() < v.abs()).count() as f64;
            let same = values.iter().filter(|o| o.abs() == v.abs()).count() as f64;
            smaller + same.midpoint(1.0)
        };
        let sum = |signs: u32| -> f64 {
            let of = |(i, v): (usize, &f64)| if signs >> i & 1 == 1 && *v != 0.0 { midrank(*v) } else { 0.0 };
            values.iter().enumerate().map(of).sum()
        };
        let observed: f64 = values.iter().filter(|v| **v > 0.0).map(|&v| midrank(v)).sum();
        let as_high = (0..128).filter(|&signs| sum(signs) >= observed - 1e-9).count();
        assert!((signed_rank(&values).0 - as_high as f64 / 128.0).abs() < 1e-12);
    }

    #[test]
    fn one_wild_round_moves_neither_estimate_nor_interval_far() {
        let calm = [0.048, 0.050, 0.052, 0.049, 0.051, 0.050, 0.047, 0.053];
        let mut wild = calm;
        wild[3] = 3.0;
        let (calm, wild) = (compare(&calm), compare(&wild));
        assert!((calm.center - 0.05).abs() < 1e-3 && (wild.center - 0.05).abs() < 3e-3, "{wild:?}");
        assert!(wild.low > 0.04 && calm.high < 0.055, "{calm:?} {wild:?}");
    }

    #[test]
    fn normal_quantiles_are_the_tabled_ones() {
        for (chance, value) in [(0.975, 1.960), (0.99, 2.326), (0.05, -1.645), (0.5, 0.0)] {
            assert!((normal_quantile(chance) - value).abs() < 1e-3, "{chance}");
        }
    }

    #[test]
    fn six_rounds_are_the_fewest_with_an_interval() {
        assert_eq!(compare(&[0.1; 5]).high, f64::INFINITY);
        let six = compare(&[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]);
        assert_eq!((six.low, six.high), (0.1, 0.6));
        assert_eq!(compare(&[]).p_higher, 1.0);
    }

    /// Normal by the sum of twelve.
    fn normal(random: &mut Random) -> f64 {
        (0..12).map(|_| random.unit()).sum::<f64>() - 6.0
    }

    #[test]
    fn the_interval_holds_the_truth_as_often_as_it_says() {
        let mut random = Random::seeded(7);
        let held = (0..2000)
            .filter(|_| {
                let logs: Vec<f64> = (0..12).map(|_| 0.03 + 0.1 * normal(&mut random)).collect();
                let found = compare(&logs);
                found.low <= 0.03 && 0.03 <= found.high
            })
            .count();
        // 1,900 are expected, 30 is three standard deviations; exact tests err to the safe side.
        assert!((1870..=1960).contains(&held), "{held}");
    }

    #[test]
    fn holm_is_stricter_than_each_and_kinder_than_bonferroni() {
        let close = |found: Vec<f64>, expected: &[f64]| {
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?}");
        };
        close(holm(&[0.01, 0.04, 0.03]), &[0.03, 0.06, 0.06]);
        close(holm(&[0.6, 0.5]), &[1.0, 1.0]);
        assert!(holm(&[]).is_empty());
    }

    #[test]
    fn the_rounds_that_are_said_to_suffice_do_and_half_do_not() {
        let mut random = Random::seeded(11);
        let (sigma, room) = (0.06, 0.05);
        // As many same-against-same rounds as a first short gate has.
        let mut estimates: Vec<f64> = (0..200)
            .map(|_| {
                let first: Vec<f64> = (0..11).map(|_| sigma * normal(&mut random)).collect();
                rounds_needed(spread(&first), room)
            })
            .collect();
        estimates.sort_by(f64::total_cmp);
        let needed = median(&estimates);
        let settled = |rounds: usize, random: &mut Random| {
            let trials = 400;
            let settled = (0..trials)
                .filter(|_| {
                    let logs: Vec<f64> = (0..rounds).map(|_| sigma * normal(random)).collect();
                    let found = compare(&logs);
                    -room < found.low && found.high < room
                })
                .count();
            settled as f64 / f64::from(trials)
        };
        let enough = settled(needed.ceil() as usize, &mut random);
        let too_few = settled((needed / 2.0) as usize, &mut random);
        assert!(enough > 0.80 && too_few < 0.55, "{needed} rounds: {enough}, half: {too_few}");
    }
}
