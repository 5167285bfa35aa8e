//! The program's own log: lines on stderr about what the process does, never about a request.
//!
//! Invariants: shards log only at start, stop and faults of their own; the level can be changed while
//! running (`POST /log-level`).
//!
//! Not here: the access log.

use std::sync::Arc;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

use super::args::LogFormat;

/// The level when nobody says one.
pub(super) const DEFAULT: &str = "info";

/// The level in force, and the way to change it.
#[derive(Clone)]
pub(crate) struct LogLevel(Arc<reload::Handle<EnvFilter, Registry>>);

impl LogLevel {
    /// The filter in force, as it can be given back to [`LogLevel::set`].
    pub(crate) fn text(&self) -> String {
        self.0.with_current(ToString::to_string).unwrap_or_default()
    }

    /// Puts another filter in force. The error says what is wrong with `text`.
    pub(crate) fn set(&self, text: &str) -> Result<(), String> {
        let filter = parse(text)?;
        self.0.reload(filter).map_err(|error| error.to_string())
    }
}

/// Starts the log of this process. The error says what is wrong with `level`.
pub(super) fn start(level: &str, format: LogFormat) -> Result<LogLevel, String> {
    // An empty RUST_LOG is how some environments say "unset".
    let level = if level.trim().is_empty() { DEFAULT } else { level };
    let (filter, handle) = reload::Layer::new(parse(level)?);
    let lines = fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Text => registry.with(lines.with_ansi(false)).try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    }
    .map_err(|error| error.to_string())?;
    Ok(LogLevel(Arc::new(handle)))
}

fn parse(text: &str) -> Result<EnvFilter, String> {
    if text.trim().is_empty() {
        return Err("the log level is empty; try `info`".to_owned());
    }
    EnvFilter::try_new(text).map_err(|error| format!("`{text}` is not a log level or filter: {error}"))
}
