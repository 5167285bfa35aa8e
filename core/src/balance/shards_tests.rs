//! Single decisions, and seeded simulations of shards that decide for themselves every period.

use super::*;
use crate::rng::Rng;

/// The work of all shards, whose turn it is, and to whom it gives across which gap.
type GiftRow = (&'static [u64], usize, Option<(usize, u64)>);
/// The work and the connections of all shards, where the client came, and where it goes.
type BeginningRow = (&'static [u64], &'static [u64], usize, Option<usize>);

#[test]
fn gifts() {
    #[rustfmt::skip]
    let rows: &[GiftRow] = &[
        (&[10_000, 0], 0, Some((1, 10_000))),
        (&[10_000, 0], 1, None),
        (&[10_000, 8_000], 0, None),
        (&[400, 0], 0, None),
        (&[5_000], 0, None),
        (&[9_000, 5_000, 1_000], 0, Some((2, 8_000))),
        (&[9_000, 5_000, 1_000], 1, None),
        (&[9_000, 8_000, 1_000, 0], 1, Some((2, 7_000))),
        (&[5_000, 5_000, 5_000, 5_000], 0, None),
        (&[], 0, None),
    ];
    for (work, mine, expected) in rows {
        assert_eq!(gift(work, *mine).map(|gift| (gift.to, gift.gap)), *expected, "{work:?} of {mine}");
    }
}

#[test]
fn the_connection_that_halves_the_gap_goes() {
    let gift = Gift { to: 1, gap: 8_000 };
    assert_eq!(gift.choose([8_000]), None, "alone, it would only take the work with it");
    assert_eq!(gift.choose([4_000, 4_000]), Some(0));
    assert_eq!(gift.choose([6_000, 2_000]), Some(0), "both leave a gap of 4,000");
    assert_eq!(gift.choose([7_500, 500]), Some(1), "the large one would only turn the gap around");
    assert_eq!(gift.choose([7_500, 499]), None, "the other is not worth it");
    assert_eq!(gift.choose([100, 3_900, 200, 3_800]), Some(1));
    assert_eq!(gift.choose([]), None);
}

#[test]
fn beginnings() {
    #[rustfmt::skip]
    let rows: &[BeginningRow] = &[
        (&[0, 0], &[0, 0], 0, None),
        (&[0, 0], &[1, 0], 0, Some(1)),
        (&[0, 0], &[1, 0], 1, None),
        (&[0, 0, 0], &[1, 1, 0], 1, Some(2)),
        (&[0, 0, 0, 0], &[1, 0, 1, 0], 0, Some(1)),
        (&[0, 0, 0, 0], &[1, 0, 1, 0], 2, Some(3)),
        (&[0, 0], &[5, 4], 0, None),
        (&[90_000, 10_000], &[1, 1], 0, Some(1)),
        (&[90_000, 10_000], &[1, 1], 1, None),
        (&[55_000, 45_000], &[1, 1], 0, None),
        (&[300, 0], &[1, 1], 0, None),
        (&[0], &[7], 0, None),
    ];
    for (work, connections, mine, expected) in rows {
        assert_eq!(beginning(work, connections, *mine), *expected, "{work:?} {connections:?} at {mine}");
    }
}

/// Connections by shard, each with the work it does a period.
struct World {
    rng: Rng,
    shards: Vec<Vec<u64>>,
    moves: usize,
}

impl World {
    /// `rates` land on shards by chance, or all on the first.
    fn new(seed: u64, shards: usize, rates: &[u64], together: bool) -> Self {
        let mut world = World { rng: Rng::seeded(seed), shards: vec![Vec::new(); shards], moves: 0 };
        for &rate in rates {
            let at = if together { 0 } else { world.rng.below(shards as u64) as usize };
            world.shards[at].push(rate);
        }
        world
    }

    fn work(&self) -> Vec<u64> {
        self.shards.iter().map(|shard| shard.iter().sum()).collect()
    }

    /// One period in which each connection does its work, more or less by `noise` percent.
    fn period(&mut self, noise: u64) {
        let jitter = |rate: u64, rng: &mut Rng| rate * (100 - noise + rng.below(2 * noise + 1)) / 100;
        let seen: Vec<Vec<u64>> = self
            .shards
            .iter()
            .map(|shard| shard.iter().map(|&rate| jitter(rate, &mut self.rng)).collect())
            .collect();
        let work: Vec<u64> = seen.iter().map(|shard| shard.iter().sum()).collect();
        let gifts: Vec<_> = (0..work.len())
            .filter_map(|mine| {
                let gift = gift(&work, mine)?;
                Some((mine, gift.choose(seen[mine].iter().copied())?, gift.to))
            })
            .collect();
        for (from, place, to) in gifts {
            let rate = self.shards[from].remove(place);
            self.shards[to].push(rate);
            self.moves += 1;
        }
    }
}

#[test]
fn few_equal_connections_spread_and_then_stay() {
    for seed in 0..200 {
        let shards = 2 + (seed % 15) as usize;
        let count = shards * (1 + (seed % 3) as usize);
        let mut world = World::new(seed, shards, &vec![10_000; count], seed % 2 == 0);
        (0..100).for_each(|_| world.period(5));
        let work = world.work();
        let most = work.iter().max().copied().unwrap_or(0);
        let fair = 10_000 * (count / shards) as u64;
        assert!(most <= fair + 10_000, "seed {seed}: {work:?}");
        assert!(work.iter().all(|&work| work > 0), "seed {seed}: {work:?}");
        let settled = world.moves;
        assert!(settled <= 2 * count, "seed {seed}: {settled} moves of {count} connections");
        (0..500).for_each(|_| world.period(5));
        assert_eq!(world.moves, settled, "seed {seed}: it flaps");
    }
}

#[test]
fn uneven_connections_come_near_to_even_and_moves_end() {
    for seed in 0..60 {
        let mut rng = Rng::seeded(seed ^ 0x5eed);
        let shards = 2 + rng.below(15) as usize;
        let count = shards * 2 + rng.below(60) as usize;
        let rates: Vec<u64> = (0..count).map(|_| (rng.below(100) + 1).pow(2)).collect();
        let (total, largest) = (rates.iter().sum::<u64>(), rates.iter().max().copied().unwrap_or(0));
        let mut world = World::new(seed, shards, &rates, true);
        (0..300).for_each(|_| world.period(5));
        let most = world.work().into_iter().max().unwrap_or(0);
        let fair = total / shards as u64;
        assert!(
            most <= (fair * 3 / 2).max(largest) + WORK_MIN,
            "seed {seed}: {most} of {fair}, largest {largest}"
        );
        let settled = world.moves;
        (0..300).for_each(|_| world.period(5));
        assert!(world.moves - settled <= 12, "seed {seed}: {} moves in 300 periods", world.moves - settled);
    }
}

#[test]
fn two_connections_on_two_shards_never_share_one_for_long() {
    for seed in 0..100 {
        let mut world = World::new(seed, 2, &[20_000, 15_000], true);
        world.period(10);
        assert_eq!(world.moves, 1, "seed {seed}: in the first period");
        (0..1_000).for_each(|_| world.period(10));
        assert_eq!(world.moves, 1, "seed {seed}: and never again");
    }
}
