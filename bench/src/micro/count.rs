//! Instructions of one operation, by callgrind: two runs with different numbers of operations, and the
//! difference. What comes before the first operation is the same in both and drops out.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::work::Group;
use crate::Problem;
use crate::process::command_line;

/// Operations of the shorter run: warms up what is filled by the first ones.
const FEW: u64 = 4_096;

/// Operations of the longer run.
const MANY: u64 = FEW * 3;

/// A valgrind that works.
pub(super) struct Counter {
    valgrind: PathBuf,
}

impl Counter {
    /// The one of this machine.
    pub(super) fn find() -> Option<Self> {
        let valgrind = PathBuf::from("valgrind");
        let output = Command::new(&valgrind).arg("--version").output().ok()?;
        output.status.success().then_some(Counter { valgrind })
    }

    /// Instructions of one operation of `group` at `size`, run by `program`.
    ///
    /// # Errors
    /// A run failed, or said nothing.
    pub(super) fn instructions(&self, program: &Path, group: &Group, size: usize) -> Result<f64, Problem> {
        let few = self.collected(program, group, size, FEW)?;
        let many = self.collected(program, group, size, MANY)?;
        Ok(many.saturating_sub(few) as f64 / (MANY - FEW) as f64)
    }

    fn collected(&self, program: &Path, group: &Group, size: usize, operations: u64) -> Result<u64, Problem> {
        let mut command = Command::new(&self.valgrind);
        command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program);
        command.args(["micro-run", "--name", group.name, "--size", &size.to_string()]);
        command.args(["--operations", &operations.to_string()]);
        let output = command.output().map_err(|e| format!("can't run {}: {e}", command_line(&command)))?;
        let text = String::from_utf8_lossy(&output.stderr);
        match collected(&text) {
            Some(count) if output.status.success() => Ok(count),
            _ => Err(format!("{}: {}", command_line(&command), text.trim())),
        }
    }
}

/// The number in callgrind's line `==PID== Collected : N`.
fn collected(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.contains("Collected"))?;
    line.rsplit(':').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_found_in_callgrinds_words() {
        let text = "==7== Callgrind, a call-graph\n==7== Events    : Ir\n==7== Collected : 123456\n==7==\n";
        assert_eq!(collected(text), Some(123_456));
        assert_eq!(collected("==7== Killed"), None);
    }
}
