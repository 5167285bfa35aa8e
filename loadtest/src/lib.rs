//! `pinion-load`: an open-loop load generator and a scriptable origin server, the independent witness
//! of what a proxy does.
//!
//! It is a library as well, for what other programs of the workspace show and compute in the same way
//! (`random`, `plot`, `stats`, `result`); the programs themselves are [`main`].
//!
//! Invariants: nothing here comes from the proxy or from its library (a shared bug would hide itself);
//! unsafe code lives in `sys.rs` alone.

#![deny(unsafe_code)]

mod agent;
mod assertion;
mod certify;
mod cli;
mod client;
mod clock;
mod generator;
mod http2;
mod job;
mod knee;
mod measure;
mod message;
mod origin;
mod plan;
pub mod plot;
mod progress;
pub mod random;
mod report;
pub mod result;
mod samples;
mod scenario;
mod schedule;
mod sender;
pub mod stats;
#[allow(unsafe_code)]
mod sys;
mod timestamp;
mod units;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};

/// The program `pinion-load`.
#[must_use]
pub fn main() -> ExitCode {
    let given = cli::Arguments::command().get_matches();
    let arguments = cli::Arguments::from_arg_matches(&given).unwrap_or_else(|error| error.exit());
    let outcome = match arguments.command {
        Some(cli::Command::Origin(options)) => origin::run(&options),
        Some(cli::Command::Agent(options)) => agent::run(&options),
        Some(cli::Command::Compare(options)) => report::compare::run(&options),
        None => generator::run(arguments.load, &given),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("pinion-load: {problem}");
            ExitCode::from(problem.status())
        }
    }
}
