//! The open streams of a connection: found by their number, kept in slots that are used again with
//! the memory they have.
//!
//! HOT: opening and closing a stream allocates nothing once as many were open before.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

/// Numbers that this program or its peer count up: spread by one multiplication (Fibonacci hashing).
/// A peer that made them collide would slow down its own test.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spread(u64);

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u32(u32::from(byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        let product = (self.0 ^ u64::from(number)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = product ^ product >> 32;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A map by stream or ticket.
pub(super) type ByNumber<V> = HashMap<u32, V, BuildHasherDefault<Spread>>;

/// Slots with streams.
#[derive(Debug)]
pub(super) struct Streams<S> {
    slots: Vec<S>,
    free: Vec<u32>,
    by_id: ByNumber<u32>,
}

impl<S: Default> Streams<S> {
    /// None.
    pub(super) fn new() -> Self {
        Streams { slots: Vec::new(), free: Vec::new(), by_id: ByNumber::default() }
    }

    /// How many are open.
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Opens `id`, in a slot that holds what an earlier stream left.
    pub(super) fn open(&mut self, id: u32) -> &mut S {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(S::default());
            (self.slots.len() - 1) as u32
        });
        self.by_id.insert(id, slot);
        &mut self.slots[slot as usize]
    }

    /// The stream, if it is open.
    pub(super) fn by_id(&mut self, id: u32) -> Option<&mut S> {
        self.by_id.get(&id).map(|&slot| &mut self.slots[slot as usize])
    }

    /// Closes the stream. What it held can still be read until another opens.
    pub(super) fn close(&mut self, id: u32) -> Option<&mut S> {
        let slot = self.by_id.remove(&id)?;
        self.free.push(slot);
        Some(&mut self.slots[slot as usize])
    }

    /// The numbers of those open, in no order.
    pub(super) fn ids(&self) -> impl Iterator<Item = u32> {
        self.by_id.keys().copied()
    }

    /// Every open stream, in no order.
    pub(super) fn each(&mut self, mut visit: impl FnMut(u32, &mut S)) {
        for (&id, &slot) in &self.by_id {
            visit(id, &mut self.slots[slot as usize]);
        }
    }
}

/// How many streams that this side reset are remembered.
const RESETS_MAX: usize = 1_024;

/// The streams that this side reset lately: the peer may have sent on them before it knew
/// (RFC 9113, section 5.4.2).
#[derive(Debug, Default)]
pub(super) struct Resets {
    latest: VecDeque<u32>,
    /// The highest number that was forgotten: up to it the peer is given the benefit of the doubt.
    forgotten: u32,
}

impl Resets {
    /// This side reset the stream.
    pub(super) fn add(&mut self, id: u32) {
        if self.latest.len() == RESETS_MAX
            && let Some(oldest) = self.latest.pop_front()
        {
            self.forgotten = self.forgotten.max(oldest);
        }
        self.latest.push_back(id);
    }

    /// Whether frames on the closed stream `id` are excused.
    pub(super) fn excuse(&self, id: u32) -> bool {
        id <= self.forgotten || self.latest.contains(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_used_again() {
        let mut streams: Streams<Vec<u32>> = Streams::new();
        let mut model = std::collections::BTreeMap::new();
        let mut random = crate::random::Random::seeded(5);
        let mut next = 1;
        for _ in 0..20_000 {
            if model.len() < 50 && random.bits().is_multiple_of(2) {
                let slot = streams.open(next);
                slot.clear();
                slot.push(next);
                model.insert(next, ());
                next += 2;
            } else {
                let id = (random.bits() % u64::from(next)) as u32;
                let closed = streams.close(id).map(|slot| slot.clone());
                assert_eq!(closed, model.remove(&id).map(|()| vec![id]));
                assert!(streams.by_id(id).is_none());
            }
            assert_eq!(streams.len(), model.len());
        }
        let mut ids: Vec<u32> = streams.ids().collect();
        ids.sort_unstable();
        assert!(ids.iter().eq(model.keys()));
        streams.each(|id, slot| assert_eq!(slot[..], [id]));
        assert!(streams.slots.len() <= 50);
    }

    #[test]
    fn resets_are_remembered_and_then_excused() {
        let mut resets = Resets::default();
        resets.add(7);
        assert!(resets.excuse(7) && !resets.excuse(5) && !resets.excuse(9));
        (0..RESETS_MAX as u32).for_each(|at| resets.add(1_001 + 2 * at));
        assert!(resets.excuse(7) && resets.excuse(5) && !resets.excuse(9) && resets.excuse(1_003));
        assert_eq!(resets.latest.len(), RESETS_MAX);
    }
}
