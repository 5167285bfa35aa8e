//! Which shard should serve a connection: when it begins, and when it turns out that few long connections work
//! one shard while others rest.
//!
//! ```text
//!   every period, each shard by itself, from the totals of all:
//!
//!     hottest ──gives to──> coldest          the shards are ranked by load; the first gives to the last,
//!     second  ──gives to──> last but one     the second to the last but one, and so on: no two shards give
//!     ...                                    to the same one, without a word between them
//! ```
//!
//! Load is work done in a period, in any unit that all shards share (requests, and bytes in parts that cost as
//! much as one).
//!
//! Invariants:
//! - a move makes the busier of the two shards less busy by a good part of the gap: never to and fro;
//! - a shard gives at most one connection a period; nothing moves while the gap is small or the load is;
//! - the same totals give the same answer on every shard.
//!
//! Not here: who counts the work, moving connections, what a connection may be (`pinion-proxy`).

/// Less work than this in a period is not worth a move: some 1 % of what a shard does in a second.
pub const WORK_MIN: u64 = 500;
/// Two shards are left alone unless the gap between them is this part of the busier one's work.
const GAP_PART: u64 = 4;
/// A connection moves only if it does at most this part of the gap (in quarters): then the gap shrinks to a half
/// or less, whichever way it points afterwards.
const WORK_QUARTERS_MAX: u64 = 3;
/// And at least this part of the gap, or [`WORK_MIN`], so that moves are worth it.
const WORK_PART_MIN: u64 = 16;

/// What one shard should do in a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gift {
    /// The shard that gets a connection.
    pub to: usize,
    /// How much more this shard works than that one.
    pub gap: u64,
}

impl Gift {
    /// Which of the connections to give, by the work each did: the one whose move leaves both shards most alike.
    /// `None`: none would do, because the work is one connection's, or many small ones'.
    pub fn choose(&self, connections: impl IntoIterator<Item = u64>) -> Option<usize> {
        let fits = |work: &u64| {
            work.saturating_mul(4) <= self.gap.saturating_mul(WORK_QUARTERS_MAX)
                && *work >= WORK_MIN.min(self.gap / WORK_PART_MIN)
        };
        let half = self.gap / 2;
        let fitting = connections.into_iter().enumerate().filter(|(_, work)| fits(work));
        fitting.min_by_key(|(_, work)| work.abs_diff(half)).map(|(place, _)| place)
    }
}

/// Whether shard `mine` should give a connection away, and to whom. `work` is what each shard did in the last
/// period; O(n²), of a handful.
pub fn gift(work: &[u64], mine: usize) -> Option<Gift> {
    let own = *work.get(mine)?;
    // Ties go by number, so that ranks are a permutation.
    let rank = rank_of(work, mine);
    let to = (0..work.len()).find(|&other| rank_of(work, other) == work.len() - 1 - rank)?;
    let gap = own.saturating_sub(work[to]);
    (gap >= WORK_MIN && gap.saturating_mul(GAP_PART) >= own).then_some(Gift { to, gap })
}

/// How many shards are hotter.
fn rank_of(work: &[u64], shard: usize) -> usize {
    let key = |place: usize| (work[place], place);
    (0..work.len()).filter(|&other| key(other) > key(shard)).count()
}

/// Where a connection should begin whose client came to shard `mine`: elsewhere if another shard has clearly less
/// to do. `connections` are those of each shard that may become as busy as this one (it is not among them).
/// `None`: it stays.
pub fn beginning(work: &[u64], connections: &[u64], mine: usize) -> Option<usize> {
    debug_assert_eq!(work.len(), connections.len());
    let (all, every) = (work.iter().sum::<u64>(), connections.iter().sum::<u64>());
    // A shard's share of the work and its share of the connections weigh the same; in parts of 2^16.
    let share = |part: u64, whole: u64| (part << 16).checked_div(whole).unwrap_or(0);
    let worked = if all < WORK_MIN { 0 } else { all };
    let cost = |at: usize| share(work[at], worked) + share(connections[at], every);
    // Of equally cold ones the next in the round, so that shards do not all think of the same.
    let round = (0..work.len()).map(|step| (mine + step) % work.len());
    let coldest = round.min_by_key(|&at| cost(at))?;
    // A part of an equal share: below, staying is cheaper than going.
    let margin = (1 << 16) / work.len().max(1) as u64 / 2;
    (cost(mine) > cost(coldest) + margin).then_some(coldest)
}

#[cfg(test)]
#[path = "shards_tests.rs"]
mod tests;
