//! What the house-keeping tests share: the repository's files, read once, and a way to report.
//!
//! Not here: the rules themselves (`rules.rs`, `documents.rs`, and the test programs).

#![allow(dead_code, reason = "each test program uses its part of this")]

use std::{
    env, fmt, fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use scan::Source;

pub(crate) mod documents;
pub(crate) mod rules;
pub(crate) mod scan;

/// Something that breaks a rule, with its place.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) path: String,
    /// From 1; 0 when the whole file is meant.
    pub(crate) line: usize,
    pub(crate) what: String,
}

impl Finding {
    pub(crate) fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Finding { path: path.into(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.what),
            line => write!(f, "{}:{line}: {}", self.path, self.what),
        }
    }
}

/// Fails with every finding and the way out; passes when there are none.
#[track_caller]
pub(crate) fn none(findings: &[Finding], way_out: &str) {
    let list: String = findings.iter().map(|finding| format!("  {finding}\n")).collect();
    assert!(findings.is_empty(), "\n{list}{} finding(s). {way_out}\n", findings.len());
}

/// The repository's root: where cargo runs the test, else where it was built.
pub(crate) fn root() -> PathBuf {
    let here = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&here).join("..")
}

/// The text of a file that must exist.
pub(crate) fn read(path: &str) -> String {
    let text = fs::read_to_string(root().join(path));
    assert!(text.is_ok(), "{path} can't be read: {:?}", text.err());
    text.unwrap_or_default()
}

/// Every file of the repository whose name ends so, from the root, sorted. Build output is left out.
pub(crate) fn files(endings: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    walk(&root(), "", &mut found);
    found.retain(|path| endings.iter().any(|ending| path.ends_with(ending)));
    found.sort();
    found
}

fn walk(folder: &Path, prefix: &str, found: &mut Vec<String>) {
    const SKIPPED: [&str; 6] =
        ["target", "fuzz-target", "node_modules", "__pycache__", "corpus", "artifacts"];
    const HIDDEN: [&str; 3] = [".ci", ".github", ".cargo"];
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => {
                let hidden = name.starts_with('.') && !HIDDEN.contains(&name.as_str());
                if !hidden && !SKIPPED.contains(&name.as_str()) {
                    walk(&entry.path(), &format!("{path}/"), found);
                }
            }
            Ok(kind) if kind.is_file() => found.push(path),
            _ => {}
        }
    }
}

/// Every Rust file of the repository, with test files marked; read once for all tests.
pub(crate) fn sources() -> &'static [Source] {
    static SOURCES: OnceLock<Vec<Source>> = OnceLock::new();
    SOURCES.get_or_init(read_sources)
}

fn read_sources() -> Vec<Source> {
    let mut sources: Vec<Source> =
        files(&[".rs"]).iter().map(|path| Source::new(path, &read(path))).collect();
    let declared: Vec<String> = sources.iter().flat_map(|source| source.test_modules.clone()).collect();
    for source in &mut sources {
        let parts: Vec<&str> = source.path.split('/').collect();
        let by_folder = parts.iter().any(|part| matches!(*part, "tests" | "benches" | "fuzz"));
        let stem = source.path.trim_end_matches(".rs");
        let by_declaration = declared.iter().any(|module| {
            let module = module.trim_end_matches(".rs");
            stem == module || stem.strip_prefix(module).is_some_and(|rest| rest.starts_with('/'))
        });
        if by_folder || by_declaration {
            source.mark_as_test();
        }
    }
    sources
}
