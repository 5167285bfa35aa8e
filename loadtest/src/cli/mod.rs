//! The command line: what a user may write, parsed into values that can't be wrong.

pub(crate) mod agent;
mod load;
pub(crate) mod origin;
pub(crate) mod report;

use std::fmt;

use clap::{Parser, Subcommand};

pub(crate) use load::{Arrivals, HttpVersion, LoadOptions, Rate, StageOption, Threads};
pub(crate) use origin::{Driver, OriginOptions};
pub(crate) use report::{CompareOptions, ReportOptions};

const LOAD_EXAMPLES: &str = "\
Examples:
  pinion-load --rate 2000 --duration 10s http://127.0.0.1:8080/
  pinion-load --rate 500 --arrivals poisson -H 'end-user: jason' http://127.0.0.1:8080/reviews
  pinion-load --rate max --connections 64 --json result.json http://127.0.0.1:8080/bytes/10240
  pinion-load --rate 100..5000 --duration 60s --html report.html https://shop.example/
  pinion-load --find-knee 'p99 < 10ms' --http http2 --connections 4 http://127.0.0.1:8080/
  pinion-load --rate 500 --body @message.bin grpc://127.0.0.1:50051/echo.Echo/Unary
  pinion-load origin --listen 127.0.0.1:9001 --name my-service --version-label v1";

/// Open-loop load generator and scriptable origin server.
#[derive(Parser)]
#[command(name = "pinion-load", version, after_help = LOAD_EXAMPLES)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Arguments {
    /// What to do instead of sending load.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// The load to send.
    #[command(flatten)]
    pub(crate) load: LoadOptions,
}

/// The commands beside the generator.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Serves scripted answers over HTTP, gRPC, WebSocket and TCP
    #[command(after_help = origin::EXAMPLES)]
    Origin(Box<OriginOptions>),
    /// Compares the JSON reports of several runs
    Compare(CompareOptions),
    /// Sends what a leader on another machine tells it to (see --agents)
    #[command(after_help = agent::EXAMPLES)]
    Agent(agent::AgentOptions),
}

/// Why the program could not do what it was asked.
#[derive(Debug)]
pub(crate) enum Problem {
    /// The command line asks for something that can't be: exit status 2.
    Usage(String),
    /// It failed on the way: exit status 1.
    Failed(String),
}

impl Problem {
    /// The exit status to end with.
    pub(crate) fn status(&self) -> u8 {
        match self {
            Problem::Usage(_) => 2,
            Problem::Failed(_) => 1,
        }
    }

    /// A failed system call with what it was for.
    pub(crate) fn io(what: impl fmt::Display, error: &std::io::Error) -> Self {
        Problem::Failed(format!("{what}: {error}"))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Usage(text) | Problem::Failed(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_url_is_needed_unless_a_command_is_given() {
        assert!(Arguments::try_parse_from(["pinion-load"]).is_err());
        assert!(Arguments::try_parse_from(["pinion-load", "http://127.0.0.1:1/"]).is_ok());
        let origin = ["pinion-load", "origin", "--listen", "127.0.0.1:0", "--stall", "1s:2s"];
        assert!(Arguments::try_parse_from(origin).is_ok());
    }
}
