//! Drawing places by weight in constant time: Walker's alias table, built by Vose's method.
//!
//! ```text
//!   weights 6 1 2, sum 9: three columns, each 9 high, hold 3 × weight of every place
//!
//!   column      0        1        2
//!           | 0 (9) | 0 (6) | 0 (3) |      above `own`: the column's alias
//!           |       | 1 (3) | 2 (6) |      below `own`: the place itself
//! ```
//!
//! A draw picks a column evenly and a height evenly; whole numbers throughout, so that the chances are the
//! weights' exactly.
//!
//! Invariants: a place of weight zero is never drawn; the table is empty if all are zero.
//!
//! Not here: load, usability.

use crate::rng::Rng;

/// One column: heights below `own` mean the column's own place, the others `alias`.
#[derive(Clone, Copy, Debug, Default)]
struct Column {
    own: u64,
    alias: u32,
}

#[derive(Debug)]
pub(super) struct AliasTable {
    columns: Box<[Column]>,
    /// The height of every column: the sum of the weights.
    height: u64,
}

impl AliasTable {
    pub(super) fn new(weights: &[u32]) -> Self {
        // 2^32 places of 2^32 each do not overflow 64 bits, and a cluster has far fewer than 2^32 places.
        let height: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
        if height == 0 {
            return AliasTable { columns: Box::new([]), height };
        }
        let count = weights.len() as u128;
        let height_wide = u128::from(height);
        // What each place has still to put into columns.
        let mut left: Vec<u128> = weights.iter().map(|&weight| u128::from(weight) * count).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..weights.len()).partition(|&place| left[place] < height_wide);
        let mut columns = vec![Column { own: height, alias: 0 }; weights.len()];
        while let (Some(low), Some(&high)) = (small.pop(), large.last()) {
            columns[low] = Column { own: left[low] as u64, alias: high as u32 };
            left[high] -= height_wide - left[low];
            if left[high] < height_wide {
                large.pop();
                small.push(high);
            }
        }
        // What is in neither pair fills its own column, as set above: whole numbers leave no remainder.
        AliasTable { columns: columns.into_boxed_slice(), height }
    }

    /// A place, by weight; `None` if no place has a weight.
    pub(super) fn draw(&self, rng: &mut Rng) -> Option<usize> {
        let place = rng.below(self.columns.len() as u64) as usize;
        let column = self.columns.get(place)?;
        Some(if rng.below(self.height) < column.own { place } else { column.alias as usize })
    }

    /// The total height that each place has over all columns, for the proof that chances are exact.
    #[cfg(test)]
    pub(super) fn heights(&self) -> Vec<u128> {
        let mut heights = vec![0; self.columns.len()];
        for (place, column) in self.columns.iter().enumerate() {
            heights[place] += u128::from(column.own);
            heights[column.alias as usize] += u128::from(self.height - column.own);
        }
        heights
    }
}
