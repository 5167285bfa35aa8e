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

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::assertion;
use crate::cli::{Problem, ReportOptions};
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

/// Writes the outputs that the options want, and gives what fails the run: outputs that could not be written,
/// assertions that do not hold, and the reasons why the run can't be asserted upon at all. One output that can't
/// be written keeps no other one back: what was measured can't be had again.
pub(crate) fn write(outcome: &Outcome, options: &ReportOptions) -> Vec<String> {
    let mut report = outcome.report();
    report.assertions = options.assertions.iter().map(|assertion| assertion.check(&report)).collect();
    let mut failures = Vec::new();
    let json_to_stdout = is_stdout(options.json.as_deref());
    let shown = if json_to_stdout { report.json() } else { text::render(&report) };
    failures.extend(show(&shown).err());
    let mut file = |path: &Option<PathBuf>, content: &dyn Fn() -> io::Result<Vec<u8>>| match path {
        Some(path) if !is_stdout(Some(path)) => {
            failures.extend(content().and_then(|content| write_file(path, &content)).err());
        }
        _ => {}
    };
    file(&options.json, &|| Ok(report.json().into_bytes()));
    file(&options.html, &|| Ok(html::render(&report).into_bytes()));
    file(&options.hgrm, &|| Ok(hdr_files::percentiles(&report).into_bytes()));
    file(&options.hlog, &|| hdr_files::intervals(&report));
    let mut failures: Vec<String> =
        failures.into_iter().map(|error| format!("can't write the report: {error}")).collect();
    failures.extend(assertion::failures(&report));
    failures
}

/// Whether an option names stdout instead of a file.
fn is_stdout(path: Option<&Path>) -> bool {
    path.is_some_and(|path| path.as_os_str() == "-")
}

/// Writes to stdout. Whoever closes it early, as `head` does, has seen what was wanted.
///
/// # Errors
/// Stdout can't be written.
pub(crate) fn show(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(io::Error::new(error.kind(), format!("stdout: {error}"))),
        Ok(()) => Ok(()),
    }
}

/// Finds out before anything is sent whether the outputs can be written: after an hour it would be too late.
///
/// # Errors
/// One can't, said with its name.
pub(crate) fn check_outputs<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Result<(), Problem> {
    for path in paths {
        if is_stdout(Some(path)) {
            continue;
        }
        let tried = match path.metadata() {
            Ok(known) if known.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
            Ok(known) if known.is_file() => OpenOptions::new().append(true).open(path).map(drop),
            // A pipe, say: opening it would wait for its reader.
            Ok(_) => Ok(()),
            Err(_) => OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(path)
                .and_then(|_| std::fs::remove_file(path)),
        };
        tried.map_err(|e| Problem::Usage(format!("can't write {}: {e}", path.display())))?;
    }
    Ok(())
}

/// Writes a file; the error names it.
pub(crate) fn write_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let told = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    File::create(path).and_then(|mut file| file.write_all(content)).map_err(told)
}

#[cfg(test)]
pub(crate) mod tests;
