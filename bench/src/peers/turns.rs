//! Turns: every repeat measures all subjects one after the other, every other repeat in reverse order.
//!
//! That spreads whatever else the machine does over all of them.

use super::plan::Case;
use super::results::{Row, Sample};
use super::subject::Subject;
use crate::Problem;

/// Measures the subjects in turns.
pub(super) struct Turns<'a> {
    pub(super) repeats: u32,
    /// Whether it is time to stop.
    pub(super) over: &'a dyn Fn() -> bool,
    /// What failed. One failure says something about that subject and nothing about the others, which are
    /// measured all the same.
    pub(super) failures: Vec<Problem>,
}

impl Turns<'_> {
    /// Measures the subjects in a case, there and back again; a row for each.
    pub(super) fn measure(
        &mut self,
        case: Case,
        subjects: &[Subject],
        measure: impl Fn(Subject) -> Result<Sample, Problem>,
    ) -> Vec<Row> {
        let row = |&subject: &Subject| Row { case, subject, samples: Vec::new() };
        let mut rows: Vec<Row> = subjects.iter().map(row).collect();
        for repeat in 0..self.repeats {
            for turn in order(subjects.len(), repeat) {
                let found = self.once(&case.label(), subjects[turn], || measure(subjects[turn]));
                rows[turn].samples.extend(found);
            }
        }
        rows
    }

    /// One measurement of one subject, if there is time.
    pub(super) fn once<T: std::fmt::Display>(
        &mut self,
        label: &str,
        subject: Subject,
        measure: impl FnOnce() -> Result<T, Problem>,
    ) -> Option<T> {
        if (self.over)() {
            return None;
        }
        match measure() {
            Ok(found) => {
                eprintln!("{label:<34} {:<18} {found}", subject.label());
                Some(found)
            }
            Err(problem) => {
                let failure = format!("{label}, {}: {problem}", subject.label());
                eprintln!("FAILED: {failure}");
                self.failures.push(failure);
                None
            }
        }
    }
}

/// There and back again.
fn order(count: usize, repeat: u32) -> Vec<usize> {
    if repeat.is_multiple_of(2) { (0..count).collect() } else { (0..count).rev().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::address::Transport;
    use crate::peers::plan::Section;
    use crate::peers::results::Figure;
    use crate::peers::traffic::Traffic;

    #[test]
    fn the_order_turns_round() {
        assert_eq!(order(3, 0), [0, 1, 2]);
        assert_eq!(order(3, 1), [2, 1, 0]);
    }

    #[test]
    fn a_failure_spares_the_others_and_time_ends_everything() {
        let case = Case {
            section: Section::Lockstep,
            bytes: 1,
            connections: 1,
            streams: 1,
            traffic: Traffic::Http1,
            transport: Transport::Tcp,
            rate: 0,
        };
        let left = std::cell::Cell::new(5);
        let over = || left.replace(left.get() - 1) <= 0;
        let mut turns = Turns { repeats: 3, over: &over, failures: Vec::new() };
        let rows = turns.measure(case, &[Subject::Nginx, Subject::Haproxy], |subject| match subject {
            Subject::Nginx => Err("no".to_owned()),
            _ => Ok(Sample(vec![(Figure::Cpu, 1.0)])),
        });
        // Five of six turns: nginx, HAProxy, HAProxy, nginx, nginx.
        assert_eq!((rows[0].samples.len(), rows[1].samples.len()), (0, 2));
        assert_eq!(turns.failures.len(), 3);
    }
}
