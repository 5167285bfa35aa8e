//! Micro benchmarks of `core`: time and instructions of each decision on a request's way, and how both grow
//! with what they work on.
//!
//! ```text
//!   time          all sizes of an operation in turns, there and back; the first quartile of the repeats
//!   instructions  callgrind runs `micro-run` twice with different numbers of operations: the difference
//! ```
//!
//! Instructions repeat exactly, so they are what growth is judged by: routing may not cost more with
//! 100,000 hosts or paths than with ten. They do not see caches, which is what the times are for.
//!
//! Not here: what operations do (`work`), the system around them (`peers`).

mod count;
mod growth;
mod report;
mod time;
mod work;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::machine::Machine;
use crate::programs;
use crate::signals::Stop;
use crate::{Problem, units};
use work::{GROUPS, Group};

/// Options of the micro benchmarks.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only operations whose names begin so
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    only: Vec<String>,
    /// How often each is timed
    #[arg(long, default_value_t = 15, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    repeats: u32,
    /// How long each is timed
    #[arg(long, default_value = "20ms", value_name = "D", value_parser = units::duration)]
    slice: Duration,
    /// Leave the instructions out, which takes most of the time
    #[arg(long)]
    no_instructions: bool,
    /// Write everything that was found as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page with plots
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// What was found about one operation at one size.
#[derive(Clone, Debug)]
struct Finding {
    group: &'static Group,
    size: usize,
    /// Nanoseconds of one operation, one for each repeat.
    nanos: Vec<f64>,
    /// Instructions of one operation, if they could be counted.
    instructions: Option<f64>,
}

/// Measures, prints a table, and judges growth.
///
/// # Errors
/// No operation has such a name, a file can't be written, or something grows that must not.
pub(crate) fn run(options: &Options) -> Result<(), Problem> {
    let groups = chosen(&options.only)?;
    let stop = Stop::watch()?;
    let counter = if options.no_instructions { None } else { count::Counter::find() };
    if counter.is_none() {
        eprintln!("LEFT OUT: instructions, so growth is not judged (on Debian: apt-get install valgrind)");
    }
    let program = programs::own()?;
    let mut findings = Vec::new();
    for group in groups {
        if stop.is_set() {
            break;
        }
        let mut found = time::measure(group, options.repeats, options.slice);
        for finding in &mut found {
            if let Some(counter) = &counter {
                finding.instructions = Some(counter.instructions(&program, group, finding.size)?);
            }
            eprintln!("{}", report::line(finding));
        }
        findings.extend(found);
    }
    let verdicts = growth::judge(&findings);
    let machine = Machine::here();
    print!("{}", report::markdown(&findings, &verdicts, &machine));
    write(options.json.as_deref(), || report::json(&findings, &verdicts, &machine))?;
    write(options.html.as_deref(), || report::page(&findings, &verdicts, &machine))?;
    match verdicts.iter().filter(|verdict| !verdict.holds()).map(ToString::to_string).collect::<Vec<_>>() {
        grown if grown.is_empty() => Ok(()),
        grown => Err(format!("something grows that must not:\n{}", grown.join("\n"))),
    }
}

/// The operations that are wanted.
fn chosen(only: &[String]) -> Result<Vec<&'static Group>, Problem> {
    let wanted =
        |group: &&Group| only.is_empty() || only.iter().any(|name| group.name.starts_with(name.as_str()));
    let groups: Vec<&'static Group> = GROUPS.iter().filter(wanted).collect();
    if groups.is_empty() {
        let names: Vec<&str> = GROUPS.iter().map(|group| group.name).collect();
        return Err(format!("no operation has such a name; there are {}", names.join(", ")));
    }
    Ok(groups)
}

fn write(path: Option<&Path>, text: impl FnOnce() -> String) -> Result<(), Problem> {
    match path {
        Some(path) => {
            std::fs::write(path, text()).map_err(|e| format!("can't write {}: {e}", path.display()))
        }
        None => Ok(()),
    }
}

/// Options of one run under the counter.
#[derive(clap::Args)]
pub(crate) struct RunOptions {
    /// The operation
    #[arg(long)]
    name: String,
    /// What it works on
    #[arg(long)]
    size: usize,
    /// How often
    #[arg(long)]
    operations: u64,
}

/// Runs one operation again and again, for a counter around this program.
///
/// # Errors
/// There is no such operation.
pub(crate) fn run_one(options: &RunOptions) -> Result<(), Problem> {
    let group = GROUPS.iter().find(|group| group.name == options.name);
    let group = group.ok_or_else(|| format!("no operation is called {}", options.name))?;
    (group.make)(options.size)(options.operations);
    Ok(())
}

#[cfg(test)]
mod tests;
