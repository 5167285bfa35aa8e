//! The record of gates: `bench/runs/NAME.jsonl`, one line a gate, committed with the change it judged.
//!
//! Invariants: a record only grows, and each line is a whole report. `check` says whether that holds
//! against an earlier revision.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use super::report::Report;
use super::repository::Repository;
use crate::Problem;

/// The end of a record's name.
const SUFFIX: &str = ".jsonl";

/// Where a record is, from the repository's root.
pub(crate) fn path(folder: &str, name: &str) -> String {
    format!("{folder}/{name}{SUFFIX}")
}

/// Appends a line to a record, which is made if it is not there.
///
/// # Errors
/// It can't be written.
pub(crate) fn append(file: &Path, report: &Report) -> Result<(), Problem> {
    let write = || {
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = OpenOptions::new().create(true).append(true).open(file)?;
        file.write_all((report.line() + "\n").as_bytes())
    };
    write().map_err(|e| format!("can't write {}: {e}", file.display()))
}

/// The reports of a record, oldest first.
///
/// # Errors
/// The file can't be read, or a line is not a report: with its number.
pub(crate) fn read(file: &Path) -> Result<Vec<Report>, Problem> {
    let text = fs::read_to_string(file).map_err(|e| format!("can't read {}: {e}", file.display()))?;
    parse(&text).map_err(|e| format!("{}: {e}", file.display()))
}

fn parse(text: &str) -> Result<Vec<Report>, Problem> {
    if !text.is_empty() && !text.ends_with('\n') {
        return Err("the last line has no end".to_owned());
    }
    let line = |(at, line)| Report::parse(line).map_err(|e| format!("line {}: {e}", at + 1));
    text.lines().enumerate().map(line).collect()
}

/// The newest revision on the way to `HEAD` that a record names as a candidate. A work tree with changes
/// became the commit that added its line.
///
/// # Errors
/// The record can't be read, or names no ancestor.
pub(crate) fn newest(repository: &Repository, folder: &str, name: &str) -> Result<String, Problem> {
    let path = path(folder, name);
    let reports = read(&repository.root().join(&path))?;
    let commit = |(at, report): (usize, &Report)| {
        let commit = report.candidate.commit.clone()?;
        let commit = if commit.ends_with('+') { repository.added_line(&path, at + 1)? } else { commit };
        repository.is_ancestor(&commit).then_some(commit)
    };
    let newest = reports.iter().enumerate().rev().find_map(commit);
    newest.ok_or_else(|| format!("{path} names no ancestor of this revision"))
}

/// What is wrong with the records in a folder, compared with an earlier revision; without one, only their
/// lines are judged.
///
/// # Errors
/// The folder or the revision can't be read.
pub(crate) fn check(
    repository: &Repository,
    folder: &str,
    since: Option<&str>,
) -> Result<Vec<Problem>, Problem> {
    let mut complaints = Vec::new();
    let place = repository.root().join(folder);
    if place.is_dir() {
        let entries = fs::read_dir(&place).map_err(|e| format!("can't read {folder}: {e}"))?;
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().ends_with(SUFFIX) {
                complaints.extend(read(&entry.path()).err());
            }
        }
    }
    let Some(since) = since else { return Ok(complaints) };
    for path in repository.files(since, folder)?.iter().filter(|path| path.ends_with(SUFFIX)) {
        let before = repository.file(since, path).unwrap_or_default();
        match fs::read_to_string(repository.root().join(path)) {
            Err(_) => complaints.push(format!("{path} is gone: records stay")),
            Ok(now) if !now.starts_with(&before) => {
                complaints
                    .push(format!("{path}: a line that was there is changed or gone: records only grow"));
            }
            Ok(_) => {}
        }
    }
    Ok(complaints)
}

#[cfg(test)]
mod tests;
