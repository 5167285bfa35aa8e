//! What may not grow: the instructions of an operation at its largest size against its smallest.

use std::fmt;

use super::Finding;

/// How much an operation may cost more at its largest size. Looking up a hash in a larger table compares a
/// few more tags, by how full the table happens to be; one level of a tree over 10,000 times as many
/// entries would cost far more.
pub(super) const RATIO_MAX: f64 = 1.25;

/// The growth of one operation that may not grow.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Verdict {
    pub(super) name: &'static str,
    pub(super) sizes: (usize, usize),
    pub(super) instructions: (f64, f64),
}

impl Verdict {
    /// The cost at the largest size as a multiple of that at the smallest.
    pub(super) fn ratio(&self) -> f64 {
        self.instructions.1 / self.instructions.0
    }

    /// Whether it does not grow.
    pub(super) fn holds(&self) -> bool {
        self.ratio() <= RATIO_MAX
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {:.0} instructions at {}, {:.0} at {}: {:.3} times, {:.2} allowed",
            self.name,
            self.instructions.0,
            self.sizes.0,
            self.instructions.1,
            self.sizes.1,
            self.ratio(),
            RATIO_MAX,
        )
    }
}

/// A verdict for each operation that may not grow and whose instructions were counted.
pub(super) fn judge(findings: &[Finding]) -> Vec<Verdict> {
    let mut verdicts: Vec<Verdict> = Vec::new();
    for first in findings.iter().filter(|finding| finding.group.flat) {
        let same = |finding: &&Finding| finding.group.name == first.group.name;
        let last = findings.iter().rfind(same);
        let known = verdicts.iter().any(|verdict| verdict.name == first.group.name);
        if let Some(last) = last
            && let (Some(few), Some(many)) = (first.instructions, last.instructions)
            && !known
        {
            let sizes = (first.size, last.size);
            verdicts.push(Verdict { name: first.group.name, sizes, instructions: (few, many) });
        }
    }
    verdicts
}
