//! Round robin: in turn if all weights are equal, else smooth weighted round robin.
//!
//! Smooth weighted round robin (Igor Sysoev's rule for nginx): at each pick every usable endpoint gains its
//! weight, the richest is picked and pays the sum of what was gained.
//!
//! ```text
//!   weights 5 1 1    credit before   picked   credit after
//!                      5  1  1         a        -2  1  1
//!                      3  2  2         a        -4  2  2
//!                      1  3  3         b         1 -4  3
//!                      6 -3  4         a        -1 -3  4     a a b a c a a
//!                      4 -2  5         c         4 -2 -2
//!                      9 -1 -1         a         2 -1 -1
//!                      7  0  0         a         0  0  0
//! ```
//!
//! Invariants:
//! - over any cycle (as many picks as the weights' sum) each endpoint is picked exactly its weight's times;
//!   when endpoints become unusable or usable again, the others' counts shift by single picks, once: one
//!   that is unusable neither gains nor pays, so it does not catch up later;
//! - credits sum to zero and stay within the weights' sum: 64 bits cannot overflow.
//!
//! Not here: load; round robin does not look at it.

use super::equal_weight;
use crate::rng::Rng;

/// Turns taken ahead at most when a picker begins: enough to spread shards, cheap to do.
const BEGIN_TURNS_MAX: u64 = 64;

#[derive(Debug)]
pub(super) enum RoundRobin {
    /// All weights are equal: whose turn is next.
    Equal { count: usize, next: usize },
    /// The members with a weight above zero.
    Smooth(Box<[Member]>),
}

#[derive(Debug)]
pub(super) struct Member {
    place: u32,
    weight: u32,
    credit: i64,
}

impl RoundRobin {
    pub(super) fn new(weights: &[u32], seed: u64) -> Self {
        let mut rng = Rng::seeded(seed);
        if equal_weight(weights).is_some() {
            return RoundRobin::Equal {
                count: weights.len(),
                next: rng.below(weights.len() as u64) as usize,
            };
        }
        let members = (0_u32..).zip(weights).filter(|&(_, &weight)| weight > 0);
        let members = members.map(|(place, &weight)| Member { place, weight, credit: 0 });
        let mut turns = RoundRobin::Smooth(members.collect());
        for _ in 0..rng.below(BEGIN_TURNS_MAX) {
            turns.pick(|_| true);
        }
        turns
    }

    pub(super) fn pick(&mut self, usable: impl Fn(usize) -> bool) -> Option<usize> {
        match self {
            RoundRobin::Equal { count, next } => {
                let picked = (*next..*count).chain(0..*next).find(|&place| usable(place))?;
                *next = if picked + 1 == *count { 0 } else { picked + 1 };
                Some(picked)
            }
            RoundRobin::Smooth(members) => {
                let mut gained = 0;
                let mut richest: Option<&mut Member> = None;
                for member in members.iter_mut().filter(|member| usable(member.place as usize)) {
                    member.credit += i64::from(member.weight);
                    gained += i64::from(member.weight);
                    if richest.as_ref().is_none_or(|best| member.credit > best.credit) {
                        richest = Some(member);
                    }
                }
                let picked = richest?;
                picked.credit -= gained;
                Some(picked.place as usize)
            }
        }
    }
}
