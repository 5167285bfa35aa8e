//! One coarse timer wheel: deadlines filed by slot, looked at again only when their slot comes round.
//!
//! ```text
//!            cursor (the slot of "now")
//!               v
//!  [ ][ ][ ][3]─7 [ ][5]─2─9 [ ] ...  each slot a list of keys; a deadline beyond the last slot
//!                                     waits in the last slot and is filed again when that fires
//! ```
//!
//! Invariants:
//! - a key is filed at most once; filing it again moves it;
//! - a key fires at its due tick or one tick later, never before it is due by more than the horizon:
//!   the owner compares its own deadline and files the key again if it moved ("lazy re-filing");
//! - allocates only while the largest key grows: lists are links between keys, not vectors a slot.

use std::time::Duration;

use super::Instant;

/// No key, or no slot.
const NONE: u32 = u32::MAX;

/// A key's neighbours in the list of its slot.
#[derive(Clone, Copy, Debug)]
struct Link {
    before: u32,
    after: u32,
    slot: u32,
}

const UNFILED: Link = Link { before: NONE, after: NONE, slot: NONE };

/// A hashed wheel of small `u32` keys: memory grows with the largest.
#[derive(Debug)]
pub struct Wheel {
    /// The first key of each slot.
    slots: Box<[u32]>,
    /// By key.
    links: Vec<Link>,
    tick_nanos: u64,
    /// The next tick to be fired; every slot before it has been fired.
    cursor: u64,
    filed: usize,
}

impl Wheel {
    /// A wheel of `slots` slots of `tick` each, starting at `now`. The horizon is `slots × tick`.
    ///
    /// A zero tick counts as one nanosecond and fewer than two slots as two.
    pub fn new(tick: Duration, slots: usize, now: Instant) -> Self {
        let tick_nanos = u64::try_from(tick.as_nanos()).unwrap_or(u64::MAX).max(1);
        let slots = vec![NONE; slots.max(2)].into_boxed_slice();
        Wheel { slots, links: Vec::new(), tick_nanos, cursor: now.nanos() / tick_nanos, filed: 0 }
    }

    /// Files `key` to fire in the first tick that ends at or after `due`; says when that is (earlier than
    /// `due` where `due` lies beyond the horizon). A key that is filed already moves.
    pub fn file(&mut self, key: u32, due: Instant) -> Instant {
        let place = key as usize;
        if place >= self.links.len() {
            // ALLOC: once for each key there ever was.
            self.links.resize(place + 1, UNFILED);
        }
        self.remove(key);
        let horizon = self.slots.len() as u64 - 1;
        let tick = due.nanos().div_ceil(self.tick_nanos).clamp(self.cursor, self.cursor + horizon);
        let slot = (tick % self.slots.len() as u64) as usize;
        let after = std::mem::replace(&mut self.slots[slot], key);
        self.links[place] = Link { before: NONE, after, slot: slot as u32 };
        if let Some(after) = self.links.get_mut(after as usize) {
            after.before = key;
        }
        self.filed += 1;
        self.begin(tick)
    }

    /// Forgets `key`, if it is filed.
    pub fn remove(&mut self, key: u32) {
        let Some(link) = self.links.get_mut(key as usize) else {
            return;
        };
        let Link { before, after, slot } = std::mem::replace(link, UNFILED);
        if slot == NONE {
            return;
        }
        match self.links.get_mut(before as usize) {
            Some(before) => before.after = after,
            None => self.slots[slot as usize] = after,
        }
        if let Some(after) = self.links.get_mut(after as usize) {
            after.before = before;
        }
        self.filed -= 1;
    }

    /// When the next filed key fires; `None` when nothing is filed. Looks at each slot once.
    pub fn next(&self) -> Option<Instant> {
        let slots = self.slots.len() as u64;
        let filed = |tick: &u64| self.slots[(tick % slots) as usize] != NONE;
        (self.cursor..self.cursor + slots).find(filed).map(|tick| self.begin(tick))
    }

    fn begin(&self, tick: u64) -> Instant {
        Instant::from_nanos(tick.saturating_mul(self.tick_nanos))
    }

    /// Appends to `fired` every key whose tick has passed at `now`, and moves the cursor there.
    pub fn advance(&mut self, now: Instant, fired: &mut Vec<u32>) {
        // ALLOC: only after there are more keys than ever before, however many fire at once.
        fired.reserve(self.links.len());
        let reached = now.nanos() / self.tick_nanos;
        let slots = self.slots.len() as u64;
        // After a stall longer than the horizon each slot is visited once, not once per missed tick.
        let mut visits = 0;
        while self.cursor <= reached && visits < slots {
            let slot = (self.cursor % slots) as usize;
            let mut key = std::mem::replace(&mut self.slots[slot], NONE);
            while let Some(link) = self.links.get_mut(key as usize) {
                fired.push(key);
                self.filed -= 1;
                key = std::mem::replace(link, UNFILED).after;
            }
            self.cursor += 1;
            visits += 1;
        }
        self.cursor = self.cursor.max(reached.saturating_add(1));
    }

    /// How many keys are filed.
    pub fn len(&self) -> usize {
        self.filed
    }

    /// Whether nothing is filed, so that no tick is needed.
    pub fn is_empty(&self) -> bool {
        self.filed == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    fn fired(wheel: &mut Wheel, now: Instant) -> Vec<u32> {
        let mut keys = Vec::new();
        wheel.advance(now, &mut keys);
        keys.sort_unstable();
        keys
    }

    #[test]
    fn fires_at_the_tick_after_due_and_not_before() {
        let mut wheel = Wheel::new(Duration::from_millis(20), 8, at(0));
        wheel.file(1, at(30));
        wheel.file(2, at(40));
        wheel.file(3, at(41));
        assert_eq!(fired(&mut wheel, at(39)), Vec::<u32>::new());
        assert_eq!(fired(&mut wheel, at(40)), vec![1, 2]);
        assert_eq!(fired(&mut wheel, at(60)), vec![3]);
        assert!(wheel.is_empty());
    }

    #[test]
    fn beyond_the_horizon_fires_early_for_re_filing() {
        let mut wheel = Wheel::new(Duration::from_millis(10), 4, at(0));
        assert_eq!(wheel.file(7, at(1_000)), at(30));
        assert_eq!(wheel.next(), Some(at(30)));
        assert_eq!(fired(&mut wheel, at(29)), Vec::<u32>::new());
        assert_eq!(fired(&mut wheel, at(30)), vec![7]);
    }

    #[test]
    fn a_long_stall_fires_everything_once() {
        let mut wheel = Wheel::new(Duration::from_millis(10), 4, at(0));
        for key in 0..4 {
            wheel.file(key, at(10 * u64::from(key)));
        }
        assert_eq!(fired(&mut wheel, at(1_000_000)), vec![0, 1, 2, 3]);
        wheel.file(9, at(0));
        assert_eq!(fired(&mut wheel, at(1_000_010)), vec![9]);
    }

    #[test]
    fn a_key_is_filed_once_and_can_be_taken_out() {
        let mut wheel = Wheel::new(Duration::from_millis(10), 16, at(0));
        for round in 0..100 {
            wheel.file(3, at(10 + round % 50));
            wheel.file(1, at(20));
        }
        wheel.file(2, at(20));
        assert_eq!(wheel.len(), 3);
        wheel.remove(1);
        wheel.remove(1);
        wheel.remove(77);
        assert_eq!(fired(&mut wheel, at(1_000)), vec![2, 3]);
        assert!(wheel.is_empty() && wheel.next().is_none());
    }

    proptest::proptest! {
        #[test]
        fn agrees_with_a_list(
            steps in proptest::collection::vec((0_u32..6, 0_u64..400, 0_u8..4), 1..200),
        ) {
            let mut wheel = Wheel::new(Duration::from_millis(10), 8, at(0));
            let mut list: std::collections::BTreeMap<u32, Instant> = Default::default();
            let mut now = 0;
            for (key, millis, step) in steps {
                match step {
                    0 => {
                        wheel.remove(key);
                        list.remove(&key);
                    }
                    1 => {
                        now += millis / 8;
                        let mut due: Vec<u32> =
                            list.iter().filter(|(_, at_)| **at_ <= at(now)).map(|(key, _)| *key).collect();
                        due.sort_unstable();
                        list.retain(|_, at_| *at_ > at(now));
                        proptest::prop_assert_eq!(fired(&mut wheel, at(now)), due);
                    }
                    _ => drop(list.insert(key, wheel.file(key, at(now + millis)))),
                }
                proptest::prop_assert_eq!(wheel.len(), list.len());
                proptest::prop_assert_eq!(wheel.next(), list.values().min().copied());
            }
        }
    }
}
