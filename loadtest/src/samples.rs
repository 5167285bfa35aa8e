//! Single requests, for those who want to look at each: a line of CSV apiece.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use crate::client::failure::Failure;
use crate::measure::Stamp;

/// The most that a thread keeps: 32 bytes each.
pub(crate) const SAMPLES_MAX: usize = 20_000_000;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// An answer with this status.
    Status(u16),
    Failed(Failure),
}

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) due: u64,
    /// When it was sent, if it was.
    pub(crate) sent: Option<u64>,
    pub(crate) done: u64,
    pub(crate) target: u32,
    pub(crate) ending: Ending,
}

/// Collects samples, if they are wanted.
#[derive(Default)]
pub(crate) struct Samples {
    /// `None` if they are not.
    kept: Option<Vec<Sample>>,
    /// Those that found no room.
    lost: u64,
}

impl Samples {
    /// An empty collection.
    pub(crate) fn new(is_wanted: bool) -> Self {
        Samples { kept: is_wanted.then(Vec::new), lost: 0 }
    }

    /// Notes a request that ended at `done`.
    pub(crate) fn note(&mut self, due: u64, stamp: Option<Stamp>, done: u64, target: usize, ending: Ending) {
        let Some(kept) = &mut self.kept else { return };
        if kept.len() < SAMPLES_MAX {
            let sent = stamp.map(|stamp| stamp.sent);
            kept.push(Sample { due, sent, done, target: target as u32, ending });
        } else {
            self.lost += 1;
        }
    }

    /// Adds another thread's.
    pub(crate) fn append(&mut self, other: Samples) {
        if let (Some(mine), Some(mut theirs)) = (&mut self.kept, other.kept) {
            mine.append(&mut theirs);
        }
        self.lost += other.lost;
    }

    /// Writes them in the order of their due times; gives how many are missing.
    ///
    /// # Errors
    /// The file can't be written.
    pub(crate) fn write(mut self, path: &Path) -> io::Result<u64> {
        let kept = self.kept.get_or_insert_default();
        kept.sort_by_key(|sample| (sample.due, sample.done));
        let mut out = BufWriter::new(File::create(path)?);
        writeln!(out, "due_ns,sent_ns,done_ns,target,status,error")?;
        for sample in kept {
            let Sample { due, sent, done, target, ending } = sample;
            write!(out, "{due},")?;
            if let Some(sent) = sent {
                write!(out, "{sent}")?;
            }
            match ending {
                Ending::Status(status) => writeln!(out, ",{done},{target},{status},")?,
                Ending::Failed(failure) => writeln!(out, ",{done},{target},,{}", failure.label())?,
            }
        }
        out.flush().map(|()| self.lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_stand_in_the_order_of_their_due_times() {
        let mut one = Samples::new(true);
        one.note(20, Some(Stamp { due: 20, sent: 21 }), 30, 1, Ending::Status(200));
        let mut other = Samples::new(true);
        other.note(10, None, 40, 0, Ending::Failed(Failure::Unsent));
        one.append(other);
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(one.write(file.path()).unwrap(), 0);
        let text = std::fs::read_to_string(file.path()).unwrap();
        assert_eq!(text, "due_ns,sent_ns,done_ns,target,status,error\n10,,40,0,,unsent\n20,21,30,1,200,\n");
        let mut none = Samples::new(false);
        none.note(1, None, 1, 0, Ending::Status(200));
        assert!(none.kept.is_none());
    }
}
