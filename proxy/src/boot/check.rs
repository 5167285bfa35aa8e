//! `pinion check` and `pinion schema`.
//!
//! Not here: the checks themselves (`pinion_core::config`).

use std::io::Write;

use super::Failure;
use super::args::CheckArgs;
use crate::config::file;
use crate::tls::store::TlsStore;

/// Says `ok` on stdout, or every problem on stderr (exit status 2).
pub(super) fn check(args: &CheckArgs) -> Result<(), Failure> {
    let loaded = file::load(&args.file).map_err(|error| Failure::Usage(error.to_string()))?;
    let (_, warnings) =
        TlsStore::load(&loaded, None).map_err(|problems| Failure::Usage(problems.to_string()))?;
    if !warnings.is_empty() {
        eprintln!("{warnings}");
    }
    answer("ok\n")
}

/// Prints the JSON Schema of the configuration.
pub(super) fn schema() -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(&pinion_core::config::json_schema())
        .map_err(|error| Failure::failed("JSON Schema", error))?;
    answer(&format!("{text}\n"))
}

/// Writes an answer to stdout; a reader that went away early is no failure.
pub(super) fn answer(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::failed("standard output", error))
        }
        _ => Ok(()),
    }
}
