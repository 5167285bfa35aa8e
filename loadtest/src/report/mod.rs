//! What a run found, for people on stdout and for programs as JSON.

mod json;
mod text;

use std::fs::File;
use std::io::{self, Write as _};

use crate::cli::LoadOptions;
use crate::client::target::Target;
use crate::measure::Measure;

/// The percentiles that are reported.
pub(crate) const PERCENTILES: [f64; 8] = [50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99, 100.0];

/// A finished run.
pub(crate) struct Outcome<'a> {
    pub(crate) options: &'a LoadOptions,
    pub(crate) target: &'a Target,
    pub(crate) threads: u32,
    pub(crate) measure: &'a Measure,
    /// The user ended it early.
    pub(crate) interrupted: bool,
}

impl Outcome<'_> {
    /// How long the measured part took, in seconds: until the last answer, at least until the last due
    /// time.
    fn seconds(&self) -> f64 {
        let end = (self.measure.last as f64 / 1e9 - self.options.warmup.as_secs_f64()).max(1e-9);
        let planned = self.options.duration.as_secs_f64();
        if self.interrupted || self.options.requests.is_some() { end } else { end.max(planned) }
    }
}

/// Writes the report where the options want it.
///
/// # Errors
/// The file or stdout can't be written.
pub(crate) fn write(outcome: &Outcome<'_>) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match &outcome.options.report.json {
        Some(path) if path.as_os_str() == "-" => {
            stdout.write_all(json::render(outcome).as_bytes())?;
        }
        Some(path) => {
            File::create(path)?.write_all(json::render(outcome).as_bytes())?;
            stdout.write_all(text::render(outcome).as_bytes())?;
        }
        None => stdout.write_all(text::render(outcome).as_bytes())?,
    }
    stdout.flush()
}

/// `p99`, `p99.9`; the largest value is `max`.
fn label(percentile: f64) -> String {
    if percentile >= 100.0 { "max".to_owned() } else { format!("p{percentile}") }
}
