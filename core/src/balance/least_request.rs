//! Least request by the power of two choices: of two endpoints drawn by weight, the less loaded one.
//!
//! Two draws get most of what looking at all would get (the fullest of n endpoints grows like log log n
//! instead of log n / log log n; Mitzenmacher 2001), and shards that see the same loads do not all run to
//! the same endpoint.
//!
//! Less loaded means a lower `load / weight`; of equals the first drawn is taken. `(load + 1) / weight`,
//! which counts the request being placed, would prefer the heavier of two idle endpoints every time: with
//! weights 9 and 1 and up to 8 requests in hand, which is much for one shard, the light one would get 1 %
//! instead of 10 % (this rule: 7 to 10 %), and a canary by weight would see no traffic. With many requests
//! in hand the two rules give the same shares.
//!
//! Invariants: both draws are usable or the scan decides; an idle cluster is shared exactly by weight.
//!
//! Not here: how load is counted.

use super::alias::AliasTable;
use super::equal_weight;
use crate::rng::Rng;

/// Draws per choice before giving up on chance. With half of the endpoints unusable one pick in sixteen
/// scans for its first choice.
const DRAWS_MAX: u32 = 4;

#[derive(Debug)]
pub(super) struct LeastRequest {
    weights: Box<[u32]>,
    /// `None` if all weights are equal.
    table: Option<AliasTable>,
}

impl LeastRequest {
    pub(super) fn new(weights: &[u32]) -> Self {
        let table = equal_weight(weights).is_none().then(|| AliasTable::new(weights));
        LeastRequest { weights: weights.into(), table }
    }

    pub(super) fn pick(
        &self,
        rng: &mut Rng,
        load: impl Fn(usize) -> u32,
        usable: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let Some(first) = self.draw_usable(rng, &usable, None) else {
            return self.scan(rng, load, usable);
        };
        match self.draw_usable(rng, &usable, Some(first)) {
            Some(second) if self.less_loaded(second, first, &load) => Some(second),
            _ => Some(first),
        }
    }

    /// A usable endpoint by chance; another than `not` if weights are equal.
    fn draw_usable(
        &self,
        rng: &mut Rng,
        usable: &impl Fn(usize) -> bool,
        not: Option<usize>,
    ) -> Option<usize> {
        (0..DRAWS_MAX).find_map(|_| self.draw(rng, not).filter(|&place| usable(place)))
    }

    fn draw(&self, rng: &mut Rng, not: Option<usize>) -> Option<usize> {
        let count = self.weights.len();
        match (&self.table, not) {
            // With weights the second draw may repeat the first: leaving the first out would favour light
            // endpoints beside a heavy one.
            (Some(table), _) => table.draw(rng),
            (None, None) => (count > 0).then(|| rng.below(count as u64) as usize),
            (None, Some(not)) => (count > 1).then(|| {
                let place = rng.below(count as u64 - 1) as usize;
                if place < not { place } else { place + 1 }
            }),
        }
    }

    /// Whether `load / weight` is lower at `a` than at `b`, without dividing: two 32-bit numbers' product
    /// fits 64 bits.
    fn less_loaded(&self, a: usize, b: usize, load: &impl Fn(usize) -> u32) -> bool {
        let scaled = |one: usize, other: usize| u64::from(load(one)) * u64::from(self.weights[other]);
        scaled(a, b) < scaled(b, a)
    }

    /// The least loaded of all usable endpoints; looked for from a place by chance, so that equal ones
    /// share. Only for clusters of which most is unusable.
    fn scan(
        &self,
        rng: &mut Rng,
        load: impl Fn(usize) -> u32,
        usable: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let count = self.weights.len();
        let begin = rng.below(count as u64) as usize;
        let places = (begin..count).chain(0..begin);
        let candidates = places.filter(|&place| self.weights[place] > 0 && usable(place));
        candidates.reduce(|best, place| if self.less_loaded(place, best, &load) { place } else { best })
    }
}
