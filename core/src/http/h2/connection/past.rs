//! How streams ended that are gone: two bits for each of the last 512 (RFC 9113 section 5.1, "closed").
//!
//! ```text
//!   ordinal = id / 2     ◀── too old to know ──┤ newest-511 ........ newest ├── idle ──▶
//! ```
//!
//! What a late frame means depends on how its stream ended; of streams too old to know, frames are taken for late
//! ones and ignored, which section 5.1 allows for all closed streams.
//!
//! Invariants: a ring indexed by the ordinal, so that nothing is searched; 128 bytes.
//!
//! HOT: no allocation. Not here: streams that are open (`streams`).

/// Streams remembered.
const SPAN: u32 = 512;
const PER_WORD: u32 = 32;
const WORDS: usize = (SPAN / PER_WORD) as usize;

/// How a stream ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// It was never used, and a later one was (section 5.1.1).
    Skipped,
    /// Both sides said that they were done.
    Regular,
    /// The peer reset it.
    ByPeer,
    /// We reset it: what the peer sent before it learned so may still come.
    ByUs,
    /// Longer ago than is remembered.
    Forgotten,
}

/// The ends of the streams up to the newest.
#[derive(Clone, Debug)]
pub(super) struct Past {
    bits: [u64; WORDS],
    newest: u32,
}

impl Past {
    pub(super) const fn new() -> Self {
        Past { bits: [0; WORDS], newest: 0 }
    }

    /// Stream `id` begins; those before it that were not used are skipped ones.
    #[inline]
    pub(super) fn begin(&mut self, id: u32) {
        let ordinal = id >> 1;
        if ordinal.saturating_sub(self.newest) >= SPAN {
            self.bits = [0; WORDS];
        } else {
            for ordinal in self.newest + 1..=ordinal {
                self.set(ordinal, 0);
            }
        }
        self.newest = self.newest.max(ordinal);
    }

    /// Stream `id` ended; nothing happens if that is long forgotten.
    #[inline]
    pub(super) fn ended(&mut self, id: u32, end: End) {
        let ordinal = id >> 1;
        if self.newest.saturating_sub(ordinal) >= SPAN {
            return;
        }
        let bits = match end {
            End::Regular => 1,
            End::ByPeer => 2,
            End::ByUs => 3,
            End::Skipped | End::Forgotten => 0,
        };
        self.set(ordinal, bits);
    }

    /// How stream `id`, which is neither idle nor open, ended.
    pub(super) fn of(&self, id: u32) -> End {
        let ordinal = id >> 1;
        if self.newest.saturating_sub(ordinal) >= SPAN {
            return End::Forgotten;
        }
        let (word, shift) = place(ordinal);
        match self.bits[word] >> shift & 3 {
            0 => End::Skipped,
            1 => End::Regular,
            2 => End::ByPeer,
            _ => End::ByUs,
        }
    }

    #[inline]
    fn set(&mut self, ordinal: u32, bits: u64) {
        let (word, shift) = place(ordinal);
        self.bits[word] = self.bits[word] & !(3 << shift) | bits << shift;
    }
}

#[inline]
const fn place(ordinal: u32) -> (usize, u32) {
    let place = ordinal % SPAN;
    ((place / PER_WORD) as usize, place % PER_WORD * 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_apart_and_forgotten_in_time() {
        let mut past = Past::new();
        for (id, end) in [(1, End::Regular), (7, End::ByPeer), (9, End::ByUs)] {
            past.begin(id);
            past.ended(id, end);
        }
        let seen: Vec<End> = [1, 3, 5, 7, 9].map(|id| past.of(id)).to_vec();
        assert_eq!(seen, [End::Regular, End::Skipped, End::Skipped, End::ByPeer, End::ByUs]);
        past.begin(1 + 2 * (SPAN - 1));
        assert_eq!(past.of(1), End::Regular);
        past.begin(1 + 2 * SPAN);
        assert_eq!((past.of(1), past.of(7)), (End::Forgotten, End::ByPeer));
        past.ended(1, End::ByUs);
        assert_eq!((past.of(1), past.of(1 + 2 * SPAN)), (End::Forgotten, End::Skipped));
        past.begin(u32::MAX >> 1);
        assert_eq!((past.of((u32::MAX >> 1) - 2), past.of(9)), (End::Skipped, End::Forgotten));
    }
}
