//! `pinion-load`: an open-loop load generator and a scriptable origin server, the independent witness
//! of what a proxy does.
//!
//! It is a library as well, for what other programs of the workspace show and compute in the same way
//! (`random`, `plot`, `stats`); the programs themselves are [`main`].
//!
//! Invariants: nothing here comes from the proxy or from its library (a shared bug would hide itself);
//! unsafe code lives in `sys.rs` alone.

#![deny(unsafe_code)]

mod cli;
mod client;
mod clock;
mod generator;
mod job;
mod measure;
mod message;
mod origin;
pub mod plot;
mod poller;
mod progress;
pub mod random;
mod report;
mod schedule;
mod sender;
pub mod stats;
#[allow(unsafe_code)]
mod sys;
mod units;

use std::process::ExitCode;

use clap::Parser as _;

/// The program `pinion-load`.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    let outcome = match arguments.command {
        Some(cli::Command::Origin(options)) => origin::run(&options),
        None => generator::run(&arguments.load),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("pinion-load: {problem}");
            ExitCode::from(problem.status())
        }
    }
}
