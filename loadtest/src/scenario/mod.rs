//! What a run asks for: one URL, the weighted targets of a scenario file, or a recorded access log.

pub(crate) mod file;
pub(crate) mod mix;
pub(crate) mod replay;

use std::path::Path;
use std::sync::Arc;

use crate::cli::Problem;
use crate::client::request::{Content, Prepared};

/// A target of a run.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// How reports call it.
    pub(crate) name: String,
    /// Its share of the requests, relative to the others'.
    pub(crate) weight: f64,
    pub(crate) request: Prepared,
}

/// The body that a text on the command line means: itself, or the content of a file.
///
/// # Errors
/// The file can't be read.
pub(crate) fn body(text: &str) -> Result<Content, Problem> {
    match text.strip_prefix('@') {
        Some(file) => body_file(Path::new(file)),
        None => Ok(Content::Fixed(Arc::from(text.as_bytes()))),
    }
}

fn body_file(file: &Path) -> Result<Content, Problem> {
    std::fs::read(file)
        .map(|bytes| Content::Fixed(bytes.into()))
        .map_err(|e| Problem::Usage(format!("can't read the body from {}: {e}", file.display())))
}
