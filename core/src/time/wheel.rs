//! One coarse timer wheel: deadlines filed by slot, looked at again only when their slot comes round.
//!
//! ```text
//!            cursor (the slot of "now")
//!               v
//!  [ ][ ][ ][x][ ][x x][ ] ...        one Vec of keys per tick; a deadline beyond the last slot
//!                                     waits in the last slot and is filed again when that fires
//! ```
//!
//! Invariants:
//! - a key fires at its due tick or one tick later, never before it is due by more than the horizon:
//!   the owner compares its own deadline and files the key again if it moved ("lazy re-filing");
//! - filing allocates only while a slot's vector grows to its high-water mark.
//!
//! Not here: cancelling. A key whose owner is gone fires once and is ignored by the owner.

use std::time::Duration;

use super::Instant;

/// A hashed wheel of `u32` keys.
#[derive(Debug)]
pub struct Wheel {
    slots: Box<[Vec<u32>]>,
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
        let slots = (0..slots.max(2)).map(|_| Vec::new()).collect();
        Wheel { slots, tick_nanos, cursor: now.nanos() / tick_nanos, filed: 0 }
    }

    /// Files `key` to fire in the first tick that ends at or after `due`; says when that is (earlier than
    /// `due` where `due` lies beyond the horizon).
    pub fn file(&mut self, key: u32, due: Instant) -> Instant {
        let horizon = self.slots.len() as u64 - 1;
        let tick = due.nanos().div_ceil(self.tick_nanos).clamp(self.cursor, self.cursor + horizon);
        let slot = (tick % self.slots.len() as u64) as usize;
        self.slots[slot].push(key);
        self.filed += 1;
        self.begin(tick)
    }

    /// When the next filed key fires; `None` when nothing is filed. Looks at each slot once.
    pub fn next(&self) -> Option<Instant> {
        let slots = self.slots.len() as u64;
        let filed = |tick: &u64| !self.slots[(tick % slots) as usize].is_empty();
        (self.cursor..self.cursor + slots).find(filed).map(|tick| self.begin(tick))
    }

    fn begin(&self, tick: u64) -> Instant {
        Instant::from_nanos(tick.saturating_mul(self.tick_nanos))
    }

    /// Appends to `fired` every key whose tick has passed at `now`, and moves the cursor there.
    pub fn advance(&mut self, now: Instant, fired: &mut Vec<u32>) {
        let reached = now.nanos() / self.tick_nanos;
        let slots = self.slots.len() as u64;
        // After a stall longer than the horizon each slot is visited once, not once per missed tick.
        let mut visits = 0;
        while self.cursor <= reached && visits < slots {
            let slot = (self.cursor % slots) as usize;
            self.filed -= self.slots[slot].len();
            fired.append(&mut self.slots[slot]);
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
}
