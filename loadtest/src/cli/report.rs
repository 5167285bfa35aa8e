//! The options of a run's outputs: what is written where, and what is shown meanwhile.

use std::path::PathBuf;

use clap::Args;

use crate::progress::Surety;

/// How a run is shown and what is written of it.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Output")]
pub(crate) struct ReportOptions {
    /// Write the result as JSON to a file, or to stdout (`-`) instead of the summary
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write the result as a self-contained HTML page
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// No progress on stderr
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// End the run once a percentile is so sure: `5%` (half the width of its 95 % confidence interval, of
    /// p99), or `p50:2%`; --duration is the longest it takes
    #[arg(long, value_name = "SHARE")]
    pub(crate) until_ci: Option<Surety>,
}
