//! What a run found, told in every way that is asked for.
//!
//! ```text
//! Outcome ─▶ Report ─┬─▶ text on stdout        ┐
//!                    ├─▶ JSON                  │ all of them from the same numbers
//!                    ├─▶ .hgrm, .hlog          │
//!                    ├─▶ HTML                  │
//!                    └─▶ assertions ─▶ what fails the run
//! ```
//!
//! Not here: counting (`measure`), judging the generator (`certify`), the format's names (`result`).

mod build;
pub(crate) mod compare;
mod hdr_files;
mod html;
mod machine;
mod outcome;
mod plots;
mod table;
mod text;

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use crate::assertion;
use crate::cli::ReportOptions;
pub(crate) use machine::machine;
pub(crate) use outcome::{Load, Outcome, command_line, rate, target};

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// As it was asked for.
    Planned,
    /// The user ended it early.
    Signal,
    /// The wanted percentile was sure enough.
    Sure,
}

/// Writes the outputs that the options want, and gives what fails the run: assertions that do not hold, and
/// the reasons why the run can't be asserted upon at all.
///
/// # Errors
/// A file or stdout can't be written.
pub(crate) fn write(outcome: &Outcome, options: &ReportOptions) -> io::Result<Vec<String>> {
    let mut report = outcome.report();
    report.assertions = options.assertions.iter().map(|assertion| assertion.check(&report)).collect();
    let file = |path: &Option<std::path::PathBuf>, content: &dyn Fn() -> io::Result<Vec<u8>>| match path {
        Some(path) if path.as_os_str() != "-" => write_file(path, &content()?),
        _ => Ok(()),
    };
    file(&options.json, &|| Ok(report.json().into_bytes()))?;
    file(&options.html, &|| Ok(html::render(&report).into_bytes()))?;
    file(&options.hgrm, &|| Ok(hdr_files::percentiles(&report).into_bytes()))?;
    file(&options.hlog, &|| hdr_files::intervals(&report))?;
    let json_to_stdout = options.json.as_deref().is_some_and(|path| path.as_os_str() == "-");
    let mut stdout = io::stdout().lock();
    let shown = if json_to_stdout { report.json() } else { text::render(&report) };
    stdout.write_all(shown.as_bytes())?;
    stdout.flush()?;
    Ok(assertion::failures(&report))
}

/// Writes a file; the error names it.
fn write_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let told = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    File::create(path).and_then(|mut file| file.write_all(content)).map_err(told)
}

#[cfg(test)]
pub(crate) mod tests;
