//! `pinion-bench`: the demo, the gate against regressions, and the comparison with other proxies.

#![forbid(unsafe_code)]

mod counting;
mod cpu;
mod demo;
mod gate;
mod machine;
mod peers;
mod ports;
mod probe;
mod process;
mod programs;
mod signals;
mod units;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What went wrong, as a sentence for the user.
type Problem = String;

const EXAMPLES: &str = "\
Examples:
  pinion-bench demo --for 30s
  pinion-bench gate --base main
  pinion-bench peers
  pinion-bench peers --bodies 100 --in-flight 1,64 --repeats 3";

/// The demo and the measurements of Pinion.
#[derive(Parser)]
#[command(name = "pinion-bench", version, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Shows the proxy at work: a header route and a weighted split under load
    Demo(demo::Options),
    /// Says whether a candidate is slower than its base
    Gate(Box<gate::Options>),
    /// Compares CPU time and system calls per request with nginx and HAProxy
    Peers(peers::Options),
    /// One lockstep client: part of `peers`
    #[command(hide = true)]
    Lockstep(peers::lockstep::Options),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Demo(options) => demo::run(&options),
        Command::Gate(options) => return gate::run(&options),
        Command::Peers(options) => peers::run(&options),
        Command::Lockstep(options) => peers::lockstep::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("pinion-bench: {problem}");
            ExitCode::FAILURE
        }
    }
}
