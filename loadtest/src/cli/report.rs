//! The options of a run's outputs: what is written where, and what is shown meanwhile.

use std::path::PathBuf;

use clap::Args;

/// How a run is shown and what is written of it.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Output")]
pub(crate) struct ReportOptions {
    /// Write the result as JSON to a file, or to stdout (`-`) instead of the summary
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// No progress on stderr
    #[arg(long, short)]
    pub(crate) quiet: bool,
}
