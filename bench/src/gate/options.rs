//! The gate's command line.

use std::path::PathBuf;
use std::time::Duration;

use super::measure::Measure;
use super::statistics::ROUNDS_MAX;
use crate::units;

/// The record that is read where none is named.
const RECORD: &str = "gate";

const EXAMPLES: &str = "\
Exit status: 0 nothing is worse (with --strict: and everything can be told), 1 something is worse or the gate
failed, 2 wrong command line.

Examples:
  pinion-bench gate --base main                              the work tree against a revision
  pinion-bench gate --base recorded --record gate            against the newest recorded one; appends a line
  pinion-bench gate --base-bin old/pinion --candidate-bin new/pinion --scenarios http1-small
  pinion-bench gate --base-cmd './old --listen {listen} --to {upstream}' \\
      --candidate-cmd './new --listen {listen} --to {upstream}' --ready /health --scenario load.toml
  pinion-bench gate --calibrate --base HEAD                  how noisy is this machine?
  pinion-bench gate --history history.html";

/// Options of the gate.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(group = clap::ArgGroup::new("bases").args(["base", "base_bin", "base_cmd"]))]
#[command(group = clap::ArgGroup::new("candidates").args(["candidate", "candidate_bin", "candidate_cmd"]))]
pub(crate) struct Options {
    /// What to compare with: a git revision, `landed` (where the work left origin/main, else the commit
    /// before), or `recorded` (the newest ancestor in the record)
    #[arg(long, value_name = "REVISION")]
    pub(crate) base: Option<String>,
    /// What to judge: a git revision, or `worktree`, the files as they are (the default)
    #[arg(long, value_name = "REVISION", conflicts_with = "calibrate")]
    pub(crate) candidate: Option<String>,
    /// A built `pinion` as the base
    #[arg(long, value_name = "FILE")]
    pub(crate) base_bin: Option<PathBuf>,
    /// A built `pinion` as the candidate
    #[arg(long, value_name = "FILE", conflicts_with = "calibrate")]
    pub(crate) candidate_bin: Option<PathBuf>,
    /// Any command as the base; {listen}, {port}, {upstream}, {upstream_port} and {folder} are filled in
    #[arg(long, value_name = "COMMAND")]
    pub(crate) base_cmd: Option<String>,
    /// Any command as the candidate
    #[arg(long, value_name = "COMMAND", conflicts_with = "calibrate")]
    pub(crate) candidate_cmd: Option<String>,
    /// Build the load generator first
    #[arg(long)]
    pub(crate) build: bool,
    /// Only these scenarios, by name
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub(crate) scenarios: Vec<String>,
    /// A scenario of your own; may be given many times
    #[arg(long, value_name = "FILE")]
    pub(crate) scenario: Vec<PathBuf>,
    /// Pairs of runs in each scenario, instead of the scenario's own number; even
    #[arg(long, value_name = "N", value_parser = rounds)]
    pub(crate) rounds: Option<u32>,
    /// Only some of the measures
    #[arg(long, value_enum, value_name = "WHICH")]
    only: Option<Only>,
    /// Show what the timed measures say without judging by it
    #[arg(long)]
    pub(crate) advisory: bool,
    /// Show this measure without judging by it: `instructions`; may be given many times
    #[arg(long, value_name = "MEASURE")]
    pub(crate) accept: Vec<Measure>,
    /// The chance that a gate without any difference says worse of anything
    #[arg(long, default_value_t = 0.01, value_name = "SHARE", value_parser = alpha)]
    pub(crate) alpha: f64,
    /// Fail when something can't be told, too
    #[arg(long)]
    pub(crate) strict: bool,
    /// Start no round after this long
    #[arg(long, default_value = "1h", value_name = "D", value_parser = units::duration)]
    pub(crate) time_limit: Duration,
    /// CPUs of base and candidate, as `taskset` reads them (default: the first)
    #[arg(long, value_name = "CPUS")]
    cpus: Option<String>,
    /// CPUs of client and origin (default: all others)
    #[arg(long, value_name = "CPUS")]
    other_cpus: Option<String>,
    /// Niceness of all programs in an open loop: below 0, which root may ask for, others disturb less
    #[arg(long, default_value_t = 0, value_name = "N", allow_negative_numbers = true,
          value_parser = clap::value_parser!(i32).range(-20..=19))]
    pub(crate) nice: i32,
    /// Pinion's driver
    #[arg(long, default_value = "auto", value_parser = ["auto", "io_uring", "epoll"])]
    pub(crate) driver: String,
    /// The path that answers with less than 400 when base or candidate is ready
    #[arg(long, default_value = "/", value_name = "PATH")]
    pub(crate) ready: String,
    /// How long base and candidate may take until they are ready
    #[arg(long, default_value = "20s", value_name = "D", value_parser = units::duration)]
    pub(crate) patience: Duration,
    /// Write the table to a file as well
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,
    /// Write everything as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Keep the load generator's report of every run in a folder, for `pinion-load compare`
    #[arg(long, value_name = "FOLDER")]
    pub(crate) keep: Option<PathBuf>,
    /// Append a line to the record of this name
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = RECORD)]
    pub(crate) record: Option<String>,
    /// A remark for the record
    #[arg(long, value_name = "TEXT")]
    pub(crate) note: Option<String>,
    /// The folder of records, from the repository's root
    #[arg(long, default_value = "bench/runs", value_name = "FOLDER")]
    pub(crate) runs: String,
    /// Compare the base with itself and say how often that would be a false alarm
    #[arg(long)]
    pub(crate) calibrate: bool,
    /// Use the same-against-same rounds of a recorded calibration besides this gate's own
    #[arg(long, value_name = "FILE")]
    pub(crate) calibration: Option<PathBuf>,
    /// Only check the records: well-formed, and grown since a revision
    #[arg(long, conflicts_with_all = ["bases", "candidates", "history"])]
    pub(crate) check_runs: bool,
    /// The revision that --check-runs compares with (default: `landed`, see --base)
    #[arg(long, value_name = "REVISION", requires = "check_runs")]
    pub(crate) since: Option<String>,
    /// Only plot a record, to an HTML file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["bases", "candidates"])]
    pub(crate) history: Option<PathBuf>,
}

/// A part of the measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Only {
    /// Instructions and system calls, which a busy machine does not disturb
    Counted,
    /// Latency, CPU time and memory
    Timed,
}

impl Options {
    /// The record to read.
    pub(crate) fn record_name(&self) -> &str {
        self.record.as_deref().unwrap_or(RECORD)
    }

    /// Whether timed measures are left out.
    pub(crate) fn only_counted(&self) -> bool {
        self.only == Some(Only::Counted)
    }

    /// Whether counted measures are left out.
    pub(crate) fn only_timed(&self) -> bool {
        self.only == Some(Only::Timed)
    }

    /// The CPUs of base and candidate, and those of client and origin, of the ones that are allowed. With
    /// only one, all share it.
    pub(crate) fn cpus(&self, allowed: &[usize]) -> (String, String) {
        let list = |cpus: &[usize]| cpus.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let first = &allowed[..allowed.len().min(1)];
        let others = if allowed.len() > 1 { &allowed[1..] } else { first };
        (
            self.cpus.clone().unwrap_or_else(|| list(first)),
            self.other_cpus.clone().unwrap_or_else(|| list(others)),
        )
    }
}

fn rounds(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(rounds) if rounds.is_multiple_of(2) && (2..=ROUNDS_MAX as u32).contains(&rounds) => Ok(rounds),
        _ => Err(format!("not an even number from 2 to {ROUNDS_MAX}")),
    }
}

fn alpha(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(alpha) if alpha > 0.0 && alpha < 0.5 => Ok(alpha),
        _ => Err("not a share between 0 and 0.5, such as 0.01".to_owned()),
    }
}
