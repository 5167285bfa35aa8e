//! Whose turn it is to write: the streams of a connection that wait for room, first come first served.
//!
//! ```text
//!   [front: writes one piece] [next] ... [last]  <- joins again behind the others if it has more
//! ```
//!
//! Invariants: a place waits at most once; with nobody waiting whoever comes writes at once.

use std::collections::VecDeque;

/// The places that wait.
#[derive(Debug, Default)]
pub(super) struct Turns(VecDeque<u32>);

impl Turns {
    /// Whether `place` may write: it is first, or nobody waits.
    pub(super) fn may_write(&self, place: u32) -> bool {
        self.0.front().is_none_or(|&front| front == place)
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `place` waits, behind the others unless it waits already.
    pub(super) fn join(&mut self, place: u32) {
        if !self.0.contains(&place) {
            self.0.push_back(place);
        }
    }

    /// `place` waits no longer.
    pub(super) fn leave(&mut self, place: u32) {
        if self.0.front() == Some(&place) {
            self.0.pop_front();
        } else {
            self.0.retain(|&other| other != place);
        }
    }

    /// The `n`th of those that wait.
    pub(super) fn nth(&self, n: usize) -> Option<u32> {
        self.0.get(n).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_come_first_served_and_once_each() {
        let mut turns = Turns::default();
        assert!(turns.is_empty() && turns.may_write(7), "nobody waits");
        for place in [3, 1, 3, 2] {
            turns.join(place);
        }
        assert!(turns.may_write(3) && !turns.may_write(1) && !turns.may_write(9));
        assert_eq!(
            [turns.nth(0), turns.nth(1), turns.nth(2), turns.nth(3)],
            [Some(3), Some(1), Some(2), None]
        );
        turns.leave(1);
        turns.leave(3);
        turns.join(3);
        assert_eq!([turns.nth(0), turns.nth(1)], [Some(2), Some(3)], "behind those that waited");
        turns.leave(2);
        turns.leave(2);
        assert!(turns.may_write(3));
    }
}
