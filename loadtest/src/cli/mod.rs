//! The command line: what a user may write, parsed into values that can't be wrong.

pub(crate) mod report;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::client::target::Target;
use crate::origin::delay::Delay;
use crate::origin::stall::Stall;
use crate::units::{self, Address};

pub(crate) use report::ReportOptions;

const LOAD_EXAMPLES: &str = "\
Examples:
  pinion-load --rate 2000 --duration 10s http://127.0.0.1:8080/
  pinion-load --rate 500 --arrivals poisson -H 'end-user: jason' http://127.0.0.1:8080/reviews
  pinion-load --rate max --connections 64 --json result.json http://127.0.0.1:8080/bytes/10240
  pinion-load origin --listen 127.0.0.1:9001 --name my-service --version-label v1";

const ORIGIN_EXAMPLES: &str = "\
Paths (directives may follow one another, as in /delay/50ms/status/503/bytes/10):
  /                 the origin's name and version, as JSON
  /echo             the request as it was seen, as JSON
  /bytes/N          a body of N bytes (10, 64KiB, 1MiB …)
  /chunked/N        the same, in chunks
  /delay/D          waits first: 50ms, 1ms..9ms (uniform), exp:5ms (exponential)
  /status/CODE      answers with that status code
  /close            closes the connection after the answer

Examples:
  pinion-load origin --listen 127.0.0.1:9001 --name my-service --version-label v1
  pinion-load origin --listen unix:v2.sock --version-label v2 --delay exp:2ms
  pinion-load origin --listen 127.0.0.1:9001 --stall 2s:500ms";

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
    /// Serves scripted answers over HTTP/1.1
    #[command(after_help = ORIGIN_EXAMPLES)]
    Origin(OriginOptions),
}

/// When requests fall due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arrivals {
    /// Evenly spaced.
    Constant,
    /// Independent of one another, as many users are: exponential gaps.
    Poisson,
}

/// The rate of requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rate {
    /// So many requests fall due each second, whatever becomes of them.
    PerSecond(f64),
    /// A closed loop: each connection sends when its last answer is complete.
    Max,
}

impl std::str::FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Rate::Max);
        }
        let number = text.strip_suffix("/s").unwrap_or(text);
        match number.parse::<f64>() {
            Ok(rate) if rate > 0.0 && rate <= 1e7 => Ok(Rate::PerSecond(rate)),
            _ => {
                Err(format!("`{text}` is neither `max` nor a number of requests a second (up to 10 million)"))
            }
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rate::PerSecond(rate) => write!(f, "{rate}/s"),
            Rate::Max => f.write_str("max"),
        }
    }
}

/// Options of the generator.
#[derive(Args)]
pub(crate) struct LoadOptions {
    /// Where to send: `http://HOST:PORT/PATH`
    #[arg(required = true)]
    pub(crate) url: Option<Target>,
    /// Requests a second, or `max` for a closed loop
    #[arg(long, short, default_value = "1000", value_name = "R")]
    pub(crate) rate: Rate,
    /// How long requests fall due
    #[arg(long, short, default_value = "10s", value_name = "D", value_parser = units::duration)]
    pub(crate) duration: Duration,
    /// Stop after so many requests, if that comes first
    #[arg(long, short = 'n', value_name = "N")]
    pub(crate) requests: Option<u64>,
    /// Connections to hold open, which is the most requests in flight
    #[arg(long, short, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub(crate) connections: u32,
    /// Threads to send from
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) threads: u32,
    /// How the requests are spread over time
    #[arg(long, value_enum, default_value = "constant")]
    pub(crate) arrivals: Arrivals,
    /// Seed of the random arrivals
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) seed: u64,
    /// Leave the first requests, for so long, out of the measurement
    #[arg(long, default_value = "0", value_name = "D", value_parser = units::duration)]
    pub(crate) warmup: Duration,
    /// An answer that takes longer from its send is an error
    #[arg(long, default_value = "30s", value_name = "D", value_parser = units::duration)]
    pub(crate) timeout: Duration,
    /// Request method
    #[arg(long, short = 'X', default_value = "GET", value_name = "METHOD")]
    pub(crate) method: String,
    /// A request header, `name: value`; may be given many times
    #[arg(long = "header", short = 'H', value_name = "HEADER")]
    pub(crate) headers: Vec<String>,
    /// Request body: a text, or @FILE
    #[arg(long, short, value_name = "BODY")]
    pub(crate) body: Option<String>,
    /// Connect to this Unix socket; the URL gives only host and path
    #[arg(long, value_name = "PATH")]
    pub(crate) unix: Option<PathBuf>,
    /// Count the answers by the value of this response header
    #[arg(long, value_name = "NAME")]
    pub(crate) count_header: Option<String>,
    /// How the result is shown.
    #[command(flatten)]
    pub(crate) report: ReportOptions,
}

/// The driver of the origin's sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Driver {
    /// io_uring where the kernel allows it, else epoll.
    Auto,
    /// io_uring or nothing.
    #[value(name = "io_uring")]
    IoUring,
    /// epoll.
    Epoll,
}

/// Options of the origin.
#[derive(Args, Clone)]
pub(crate) struct OriginOptions {
    /// Where to listen: IP:PORT or unix:PATH; may be given many times
    #[arg(long, required = true, value_name = "ADDRESS")]
    pub(crate) listen: Vec<Address>,
    /// The service's name, for answers
    #[arg(long, default_value = "origin", value_name = "NAME", value_parser = label)]
    pub(crate) name: String,
    /// The service's version, for answers
    #[arg(long, default_value = "v1", value_name = "VERSION", value_parser = label)]
    pub(crate) version_label: String,
    /// Wait before every answer: 5ms, 1ms..9ms, exp:5ms
    #[arg(long, value_name = "DELAY")]
    pub(crate) delay: Option<Delay>,
    /// Status code of answers whose path does not say one
    #[arg(long, default_value_t = 200, value_name = "CODE", value_parser = clap::value_parser!(u16).range(200..=599))]
    pub(crate) status: u16,
    /// Answer with so many bytes where the path does not say what to answer with
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    pub(crate) bytes: Option<u64>,
    /// Answer nothing for a while: AT:FOR, counted from the first request; may be given many times
    #[arg(long, value_name = "AT:FOR")]
    pub(crate) stall: Vec<Stall>,
    /// Serving threads
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) threads: u32,
    /// Pin the threads to these CPUs, one after the other: 0,1
    #[arg(long, value_name = "CPUS", value_delimiter = ',')]
    pub(crate) pin: Vec<usize>,
    /// Driver of the sockets
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) driver: Driver,
}

/// A name that may stand in a header value and in JSON without quoting.
fn label(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
    if text.is_empty() || text.len() > 200 || !text.chars().all(fits) {
        return Err("use letters, digits, `-`, `_`, `.` and `+`".to_owned());
    }
    Ok(text.to_owned())
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

    #[test]
    fn rates_are_positive_numbers_or_max() {
        assert_eq!("max".parse(), Ok(Rate::Max));
        assert_eq!("2000".parse(), Ok(Rate::PerSecond(2000.0)));
        assert_eq!("0.5/s".parse(), Ok(Rate::PerSecond(0.5)));
        for wrong in ["0", "-1", "nan", "inf", "fast", "1e9"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }
}
