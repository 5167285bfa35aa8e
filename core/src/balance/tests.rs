//! Proportions, preferences and refusals of both ways of balancing. Everything is seeded: a failure repeats.

use std::cell::RefCell;

use proptest::prelude::*;

use super::alias::AliasTable;
use super::{Balance, Picker};
use crate::rng::Rng;

const BOTH: [Balance; 2] = [Balance::RoundRobin, Balance::LeastRequest];

/// What `picks` picks with every endpoint usable and idle.
fn spread(weights: &[u32], balance: Balance, seed: u64, picks: usize) -> Vec<usize> {
    let mut picker = Picker::new(weights, balance, seed);
    let mut rng = Rng::seeded(seed);
    (0..picks).map(|_| picker.pick(&mut rng, |_| 0, |_| true).unwrap()).collect()
}

fn count(picked: &[usize], places: usize) -> Vec<u64> {
    let mut counts = vec![0; places];
    for &place in picked {
        counts[place] += 1;
    }
    counts
}

/// Pearson's statistic of `counts` against shares by weight; places without a share must have no count.
fn chi_square(counts: &[u64], weights: &[u32]) -> f64 {
    let total: u64 = counts.iter().sum();
    let sum: f64 = weights.iter().copied().map(f64::from).sum();
    let terms = counts.iter().zip(weights).map(|(&seen, &weight)| {
        let expected = total as f64 * f64::from(weight) / sum;
        if weight == 0 {
            assert_eq!(seen, 0, "a place without weight was picked");
            return 0.0;
        }
        (seen as f64 - expected).powi(2) / expected
    });
    terms.sum()
}

/// The statistic's bound: mean plus five standard deviations of a chi-square distribution.
fn chi_square_bound(places: usize) -> f64 {
    let freedom = places as f64 - 1.0;
    freedom + 5.0 * (2.0 * freedom).sqrt()
}

#[test]
fn smooth_round_robin_mixes_as_the_module_comment_shows() {
    let weights = [5, 1, 1];
    // Seeds differ in where they begin, not in the sequence: `a a b a c a a`, over and over.
    let cycle = [0, 0, 1, 0, 2, 0, 0];
    let mut beginnings = std::collections::HashSet::new();
    for seed in 0..50 {
        let picked = spread(&weights, Balance::RoundRobin, seed, 14);
        let begin = (0..7).find(|&begin| (0..14).all(|at| picked[at] == cycle[(begin + at) % 7]));
        beginnings.insert(begin.unwrap_or_else(|| panic!("seed {seed}: {picked:?}")));
    }
    assert!(beginnings.len() >= 5, "{beginnings:?}");
}

#[test]
fn equal_weights_take_turns_from_different_beginnings() {
    let mut beginnings = std::collections::HashSet::new();
    for seed in 0..50 {
        let picked = spread(&[7; 5], Balance::RoundRobin, seed, 20);
        assert!(picked.windows(2).all(|pair| pair[1] == (pair[0] + 1) % 5), "seed {seed}: {picked:?}");
        beginnings.insert(picked[0]);
    }
    assert_eq!(beginnings.len(), 5);
}

#[test]
fn round_robin_skips_the_unusable_and_keeps_the_others_proportions() {
    for weights in [[1, 1, 1, 1], [6, 3, 2, 1]] {
        let mut picker = Picker::new(&weights, Balance::RoundRobin, 3);
        let mut rng = Rng::seeded(3);
        let rest: u32 = weights[1..].iter().sum();
        let picked: Vec<_> =
            (0..rest * 10).map(|_| picker.pick(&mut rng, |_| 0, |place| place != 0).unwrap()).collect();
        let counts = count(&picked, 4);
        assert_eq!(counts[0], 0);
        for (place, &weight) in weights.iter().enumerate().skip(1) {
            assert!(counts[place].abs_diff(u64::from(weight) * 10) <= 1, "{weights:?}: {counts:?}");
        }
        // Back in service it gets its share, not what it missed.
        let sum: u32 = weights.iter().sum();
        let picked: Vec<_> = (0..sum * 10).map(|_| picker.pick(&mut rng, |_| 0, |_| true).unwrap()).collect();
        let counts = count(&picked, 4);
        for (place, &weight) in weights.iter().enumerate() {
            let share = u64::from(weight) * 10;
            assert!(counts[place].abs_diff(share) <= 10, "{weights:?}: {counts:?}");
        }
    }
}

#[test]
fn nothing_usable_is_none_and_everything_was_asked() {
    for balance in BOTH {
        for weights in [&[][..], &[1], &[0], &[0, 0], &[2, 2, 2], &[1, 0, 9, 3]] {
            let mut picker = Picker::new(weights, balance, 1);
            let mut rng = Rng::seeded(1);
            let asked = RefCell::new(std::collections::HashSet::new());
            let refuse = |place| {
                asked.borrow_mut().insert(place);
                false
            };
            let picked = picker.pick(&mut rng, |_| 0, refuse);
            assert_eq!(picked, None, "{balance:?} {weights:?}");
            let may = weights.iter().filter(|&&weight| weight > 0).count();
            assert_eq!(asked.borrow().len(), may, "{balance:?} {weights:?}");
        }
    }
}

#[test]
fn one_usable_of_many_is_always_found() {
    for balance in BOTH {
        for weights in [vec![1; 64], (1..=64).collect()] {
            let mut picker = Picker::new(&weights, balance, 5);
            let mut rng = Rng::seeded(5);
            for only in 0..64 {
                assert_eq!(picker.pick(&mut rng, |_| 9, |place| place == only), Some(only), "{balance:?}");
            }
        }
    }
}

#[test]
fn draws_follow_the_weights() {
    for weights in
        [&[1, 1][..], &[9, 1], &[6, 1, 2], &[1, 0, 3, 0, 5], &[100, 1, 1, 1], &[u32::MAX, u32::MAX, 7]]
    {
        let table = AliasTable::new(weights);
        let mut rng = Rng::seeded(11);
        let picked: Vec<_> = (0..60_000).map(|_| table.draw(&mut rng).unwrap()).collect();
        let found = chi_square(&count(&picked, weights.len()), weights);
        assert!(found < chi_square_bound(weights.len()), "{weights:?}: {found}");
    }
}

#[test]
fn an_idle_cluster_is_shared_by_weight() {
    for weights in [&[1, 1, 1, 1][..], &[9, 1], &[5, 3, 2], &[1, 2, 3, 4, 0]] {
        let picked = spread(weights, Balance::LeastRequest, 17, 60_000);
        let found = chi_square(&count(&picked, weights.len()), weights);
        assert!(found < chi_square_bound(weights.len()), "{weights:?}: {found}");
    }
}

#[test]
fn a_light_endpoint_keeps_its_share_with_few_requests_in_hand() {
    // The canary case: 10 % by weight, two to eight requests in hand on this shard.
    for in_hand in [2, 4, 8] {
        let shares = closed_loop(&[9, 1], &[9, 1], in_hand, Balance::LeastRequest, 40_000).picks;
        let light = shares[1] as f64 / 40_000.0;
        assert!((0.06..0.13).contains(&light), "{in_hand} in hand: {light}");
    }
}

#[test]
fn with_two_equal_endpoints_the_less_loaded_always_wins() {
    let mut picker = Picker::new(&[3, 3], Balance::LeastRequest, 0);
    let mut rng = Rng::seeded(0);
    for _ in 0..1_000 {
        assert_eq!(picker.pick(&mut rng, |place| [4, 3][place], |_| true), Some(1));
    }
}

#[test]
fn the_most_loaded_of_many_is_never_picked_and_the_least_most_often() {
    let mut picker = Picker::new(&[1; 10], Balance::LeastRequest, 0);
    let mut rng = Rng::seeded(23);
    let picked: Vec<_> =
        (0..45_000).map(|_| picker.pick(&mut rng, |place| place as u32, |_| true).unwrap()).collect();
    // Of the 45 pairs, place n is the less loaded one in 9 - n: 9000 picks for place 0, none for place 9.
    let counts = count(&picked, 10);
    let expected: Vec<u32> = (0..10).map(|place| 9 - place).collect();
    let found = chi_square(&counts, &expected);
    assert!(found < chi_square_bound(10), "{counts:?}: {found}");
}

#[test]
fn with_most_endpoints_down_the_scan_takes_the_least_loaded() {
    let weights: Vec<u32> = (0..1_000).map(|place| 1 + place % 3).collect();
    let mut picker = Picker::new(&weights, Balance::LeastRequest, 0);
    let mut rng = Rng::seeded(29);
    // Places 500 (weight 3) and 501 (weight 1) are left; 6 / 3 is less than 3 / 1.
    let load = |place: usize| if place == 500 { 6 } else { 3 };
    let scanned =
        (0..1_000).map(|_| picker.pick(&mut rng, load, |place| place == 500 || place == 501).unwrap());
    let heavy = scanned.filter(|&place| place == 500).count();
    assert!(heavy > 980, "{heavy}");
}

struct Loop {
    picks: Vec<u64>,
    load_max: u32,
}

/// A closed loop in pure counts: always `in_hand` requests; at each step one of the busy endpoints,
/// drawn by speed, finishes one request, and the picker places the next.
fn closed_loop(weights: &[u32], speeds: &[u32], in_hand: u32, balance: Balance, steps: u32) -> Loop {
    let mut picker = Picker::new(weights, balance, 41);
    loop_with(speeds, in_hand, steps, |rng, load| picker.pick(rng, |place| load[place], |_| true).unwrap())
}

fn loop_with(
    speeds: &[u32],
    in_hand: u32,
    steps: u32,
    mut pick: impl FnMut(&mut Rng, &[u32]) -> usize,
) -> Loop {
    let mut rng = Rng::seeded(43);
    let mut load = vec![0_u32; speeds.len()];
    let mut result = Loop { picks: vec![0; speeds.len()], load_max: 0 };
    for step in 0..steps {
        if step >= in_hand {
            let busy = |place: usize| if load[place] > 0 { u64::from(speeds[place]) } else { 0 };
            let mut at = rng.below((0..speeds.len()).map(busy).sum());
            let done = (0..speeds.len()).find(|&place| {
                let own = busy(place);
                let here = at < own;
                at = at.saturating_sub(own);
                here
            });
            load[done.unwrap()] -= 1;
        }
        let place = pick(&mut rng, &load);
        load[place] += 1;
        result.picks[place] += 1;
        result.load_max = result.load_max.max(load[place]);
    }
    result
}

#[test]
fn uneven_speeds_pile_up_less_than_at_random_or_in_turn() {
    // Ten endpoints with equal weights, two of them four times slower than the rest.
    let speeds = [4, 4, 4, 4, 4, 4, 4, 4, 1, 1];
    let least = closed_loop(&[1; 10], &speeds, 50, Balance::LeastRequest, 20_000).load_max;
    let turns = closed_loop(&[1; 10], &speeds, 50, Balance::RoundRobin, 20_000).load_max;
    let random = loop_with(&speeds, 50, 20_000, |rng, load| rng.below(load.len() as u64) as usize).load_max;
    assert!(least * 2 < random && least * 2 < turns, "least {least}, random {random}, turns {turns}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Exact proportions in every window of one cycle's length.
    #[test]
    fn round_robin_is_exact_over_any_cycle(
        weights in prop::collection::vec(0_u32..12, 1..12),
        seed: u64,
        skip in 0_usize..40,
    ) {
        let cycle = weights.iter().sum::<u32>() as usize;
        prop_assume!(cycle > 0);
        let picked = spread(&weights, Balance::RoundRobin, seed, skip + cycle);
        let counts = count(&picked[skip..], weights.len());
        // Equal weights have the shorter cycle of one turn each, which divides this one.
        let expected: Vec<u64> = weights.iter().copied().map(u64::from).collect();
        prop_assert_eq!(counts, expected);
    }

    /// Whatever weights, loads and usability are: what is picked is usable and has a weight, and something
    /// is picked if anything can be.
    #[test]
    fn picks_are_usable_and_found(
        endpoints in prop::collection::vec((0_u32..5, prop::num::u32::ANY, any::<bool>()), 0..40),
        seed: u64,
    ) {
        let weights: Vec<u32> = endpoints.iter().map(|&(weight, ..)| weight).collect();
        let possible = endpoints.iter().any(|&(weight, _, usable)| weight > 0 && usable);
        for balance in BOTH {
            let mut picker = Picker::new(&weights, balance, seed);
            let mut rng = Rng::seeded(seed);
            for _ in 0..20 {
                let picked = picker.pick(&mut rng, |place| endpoints[place].1, |place| endpoints[place].2);
                prop_assert_eq!(picked.is_some(), possible);
                if let Some(place) = picked {
                    prop_assert!(endpoints[place].0 > 0 && endpoints[place].2);
                }
            }
        }
    }

    /// The alias table's chances are the weights exactly: heights summed over all columns.
    #[test]
    fn alias_table_is_exact(weights in prop::collection::vec(prop::num::u32::ANY, 1..50)) {
        let heights = AliasTable::new(&weights).heights();
        for (place, &weight) in weights.iter().enumerate() {
            prop_assert_eq!(heights.get(place).copied().unwrap_or(0), u128::from(weight) * weights.len() as u128);
        }
    }
}
