//! `pinion-bench`: the demo, the gate against regressions, the comparison with other proxies, and the
//! micro benchmarks.

#![forbid(unsafe_code)]

mod counting;
mod cpu;
mod demo;
mod gate;
mod machine;
mod micro;
mod peers;
mod ports;
mod probe;
mod process;
mod programs;
mod quantile;
mod signals;
mod table;
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
  pinion-bench peers --sections lockstep --bodies 100 --in-flight 1,64 --repeats 3
  pinion-bench micro --only route --html growth.html";

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
    /// Compares CPU time, throughput, latency and memory with nginx, HAProxy, Envoy and Pingora
    Peers(Box<peers::Options>),
    /// Times each decision on a request's way, counts its instructions, and judges how they grow
    Micro(micro::Options),
    /// One operation again and again: part of `micro`
    #[command(hide = true)]
    MicroRun(micro::RunOptions),
    /// One lockstep client: part of `peers`
    #[command(hide = true)]
    Lockstep(peers::lockstep::Options),
    /// Forwards bytes and understands nothing: part of `peers`
    #[command(hide = true)]
    Floor(peers::floor::Options),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Demo(options) => demo::run(&options),
        Command::Gate(options) => return gate::run(&options),
        Command::Peers(options) => peers::run(&options),
        Command::Micro(options) => micro::run(&options),
        Command::MicroRun(options) => micro::run_one(&options),
        Command::Lockstep(options) => peers::lockstep::run(&options),
        Command::Floor(options) => peers::floor::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("pinion-bench: {problem}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
