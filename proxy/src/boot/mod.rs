//! From a command line to a running program, and back to an exit status.
//!
//! Invariants:
//! - exit status 0 is success (a drained stop included), 1 a failure at run time (an address that can't
//!   be bound, a driver that is not there), 2 a mistake in the command line or the configuration;
//! - what a command answers goes to stdout, everything said about it to stderr.
//!
//! Not here: anything that a request passes through.

mod args;
mod ask;
mod check;
pub(crate) mod cpu;
mod explain;
mod log;
pub(crate) mod notify;
pub(crate) mod probe;
mod run;
mod signals;

use std::fmt::Display;
use std::process::ExitCode;

use clap::Parser;

pub(crate) use log::LogLevel;

/// Why a command did not succeed, by exit status.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something at run time: exit status 1.
    Failed(String),
    /// A mistake in the command line or the configuration: exit status 2.
    Usage(String),
}

impl Failure {
    /// A failure at run time: `what` could not be done, because of `why`.
    pub(crate) fn failed(what: impl Display, why: impl Display) -> Self {
        Failure::Failed(format!("{what}: {why}"))
    }
}

/// Runs the program; the value is its exit status.
pub(crate) fn main() -> ExitCode {
    // clap exits with 2 on a usage error and 0 on --help and --version, which is what we promise.
    let done = match args::Args::parse().command {
        args::Command::Run(args) => run::run(&args),
        args::Command::Check(args) => check::check(&args),
        args::Command::Schema => check::schema(),
        args::Command::Explain(args) => explain::explain(&args),
    };
    let (status, text) = match done {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Failed(text)) => (1, text),
        Err(Failure::Usage(text)) => (2, text),
    };
    eprintln!("{}", text.trim_end());
    ExitCode::from(status)
}
