//! The options of a run's outputs: what is written where, and what is shown meanwhile.

use std::path::PathBuf;

use clap::Args;

use crate::assertion::Assertion;
use crate::progress::Surety;

/// How a run is shown and what is written of it.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Output")]
pub(crate) struct ReportOptions {
    /// Write the result as JSON to a file, or to stdout (`-`) instead of the summary
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write the result as one HTML page with plots
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Write the latencies as a percentile distribution of HdrHistogram, in milliseconds
    #[arg(long, value_name = "FILE")]
    pub(crate) hgrm: Option<PathBuf>,
    /// Write the latencies of each interval as a log of HdrHistogram
    #[arg(long, value_name = "FILE")]
    pub(crate) hlog: Option<PathBuf>,
    /// Fail unless this holds of a certified run: 'p99 < 5ms', 'errors = 0', 'error_rate < 0.1%',
    /// 'rate > 900'; may be given many times
    #[arg(long = "assert", value_name = "ASSERTION")]
    pub(crate) assertions: Vec<Assertion>,
    /// No progress on stderr
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// End the run once a percentile is so sure: `5%` (half the width of its 95 % confidence interval, of
    /// p99), or `p50:2%`; --duration is the longest it takes
    #[arg(long, value_name = "SHARE")]
    pub(crate) until_ci: Option<Surety>,
}

/// Options of the comparison.
#[derive(Args, Clone, Debug)]
pub(crate) struct CompareOptions {
    /// JSON reports of runs; each is compared with the first
    #[arg(required = true, num_args = 2.., value_name = "REPORT")]
    pub(crate) reports: Vec<PathBuf>,
    /// Write the comparison as an HTML page with plots
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}
