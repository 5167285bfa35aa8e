//! Due times that were recorded: gaps from a file.

use std::path::Path;

use crate::cli::Problem;
use crate::units;

/// When a request falls due, and which one if that was recorded too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    /// Nanoseconds from the start.
    pub(crate) at: u64,
    /// The target; chosen by weight if there is none.
    pub(crate) target: Option<u32>,
}

impl Due {
    /// At this time, for any target.
    pub(crate) fn at(at: u64) -> Self {
        Due { at, target: None }
    }
}

/// Reads inter-arrival times, one a line (`250us`, `1.5ms`); empty lines and those that begin with `#` are
/// passed over. The first gap counts from the start.
///
/// # Errors
/// The file can't be read, a line is no duration, or there is none.
pub(crate) fn read_gaps(path: &Path) -> Result<Vec<Due>, Problem> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| Problem::Usage(format!("can't read the gaps from {}: {e}", path.display())))?;
    let mut at: u64 = 0;
    let mut due = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let gap = units::duration(line)
            .map_err(|e| Problem::Usage(format!("{}:{}: {e}", path.display(), index + 1)))?;
        at = at.saturating_add(crate::clock::nanos(gap));
        due.push(Due::at(at));
    }
    if due.is_empty() {
        return Err(Problem::Usage(format!("{} holds no inter-arrival times", path.display())));
    }
    Ok(due)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_add_up_and_wrong_lines_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gaps");
        std::fs::write(&path, "# recorded\n1ms\n\n 500us \n0\n").unwrap();
        let due: Vec<u64> = read_gaps(&path).unwrap().iter().map(|due| due.at).collect();
        assert_eq!(due, [1_000_000, 1_500_000, 1_500_000]);
        std::fs::write(&path, "1ms\n2\n").unwrap();
        let Err(Problem::Usage(text)) = read_gaps(&path) else { panic!("accepted") };
        assert!(text.contains("gaps:2:") && text.contains("unit"), "{text}");
        std::fs::write(&path, "# nothing\n").unwrap();
        assert!(read_gaps(&path).is_err());
    }
}
