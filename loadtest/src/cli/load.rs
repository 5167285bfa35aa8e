//! The options of the generator.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::agent::LeaderOptions;
use super::{Driver, ReportOptions};
use crate::client::proxy_protocol;
use crate::client::sizes::Sizes;
use crate::client::target::Target;
use crate::client::tls::TlsOptions;
use crate::knee::Knee;
use crate::units;

/// The highest rate, in requests a second.
const RATE_MAX: f64 = 1e7;

/// When requests fall due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Arrivals {
    /// Evenly spaced.
    Constant,
    /// Independent of one another, as many users are: exponential gaps.
    Poisson,
    /// With the gaps of a file.
    Recorded(PathBuf),
}

impl FromStr for Arrivals {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("recorded:")) {
            ("constant", _) => Ok(Arrivals::Constant),
            ("poisson", _) => Ok(Arrivals::Poisson),
            (_, Some(file)) if !file.is_empty() => Ok(Arrivals::Recorded(file.into())),
            _ => Err(format!("`{text}` is none of constant, poisson, recorded:FILE")),
        }
    }
}

impl fmt::Display for Arrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Arrivals::Constant => f.write_str("constant"),
            Arrivals::Poisson => f.write_str("poisson"),
            Arrivals::Recorded(file) => write!(f, "recorded:{}", file.display()),
        }
    }
}

/// The rate of requests.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Rate {
    /// So many requests fall due each second, whatever becomes of them.
    PerSecond(f64),
    /// From the one to the other in a straight line over the duration.
    Ramp(f64, f64),
    /// One after the other, each for an equal share of the duration.
    Steps(Vec<f64>),
    /// A closed loop: each connection sends when its last answer is complete.
    Max,
}

fn rate(text: &str, least: f64) -> Result<f64, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    match number.parse::<f64>() {
        Ok(rate) if rate >= least && rate <= RATE_MAX => Ok(rate),
        _ => Err(format!("`{text}` is not a number of requests a second (up to 10 million)")),
    }
}

/// `A..B`; one of the two may be 0.
fn ramp(text: &str) -> Option<Result<(f64, f64), String>> {
    let (from, to) = text.split_once("..")?;
    Some(rate(from, 0.0).and_then(|from| Ok((from, rate(to, 0.0)?))).and_then(|(from, to)| {
        if from + to > 0.0 { Ok((from, to)) } else { Err(format!("`{text}` never sends anything")) }
    }))
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Rate::Max);
        }
        if let Some(ramp) = ramp(text) {
            return ramp.map(|(from, to)| Rate::Ramp(from, to));
        }
        if text.contains(',') {
            let steps: Result<Vec<f64>, String> =
                text.split(',').map(|step| rate(step, f64::MIN_POSITIVE)).collect();
            return steps.map(Rate::Steps);
        }
        rate(text, f64::MIN_POSITIVE)
            .map(Rate::PerSecond)
            .map_err(|e| format!("{e}, nor `max`, a ramp `100..1000` or steps `100,200,400`"))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rate::PerSecond(rate) => write!(f, "{rate}/s"),
            Rate::Ramp(from, to) => write!(f, "{from}..{to}/s"),
            Rate::Steps(steps) => {
                let steps: Vec<String> = steps.iter().map(ToString::to_string).collect();
                write!(f, "{}/s", steps.join(","))
            }
            Rate::Max => f.write_str("max"),
        }
    }
}

/// A stage of a schedule: `RATE:DURATION` or `FROM..TO:DURATION`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct StageOption {
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) length: Duration,
}

impl FromStr for StageOption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (rates, length) = text
            .rsplit_once(':')
            .ok_or("write RATE:DURATION or FROM..TO:DURATION, for example 0..500:30s")?;
        let length = units::duration(length)?;
        if length.is_zero() {
            return Err("a stage needs a duration above zero".to_owned());
        }
        let (from, to) = match ramp(rates) {
            Some(ramp) => ramp?,
            // Nothing for a while is a stage too.
            None => rate(rates, 0.0).map(|rate| (rate, rate))?,
        };
        Ok(StageOption { from, to, length })
    }
}

/// How many threads send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Threads {
    /// So many.
    Count(u32),
    /// One for each CPU that the process may use, pinned to it.
    Auto,
}

impl FromStr for Threads {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            _ if text == "auto" => Ok(Threads::Auto),
            Ok(count @ 1..=256) => Ok(Threads::Count(count)),
            _ => Err("write a number from 1 to 256, or `auto`".to_owned()),
        }
    }
}

/// What is spoken to `http` and `https` URLs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum HttpVersion {
    /// HTTP/1.1 in plain text; in TLS what the peer chooses.
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, in plain text with prior knowledge.
    Http2,
}

/// Options of the generator.
#[derive(Args, Clone, Debug)]
pub(crate) struct LoadOptions {
    /// Where to send: `http://HOST:PORT/PATH`, or https, grpc, grpcs, ws, wss, tcp, tls
    #[arg(required_unless_present = "scenario")]
    pub(crate) url: Option<Target>,
    /// Several weighted targets, from a TOML file
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    pub(crate) scenario: Option<PathBuf>,

    /// Requests a second: a number, a ramp `100..1000`, steps `100,200,400`, or `max` for a closed loop
    #[arg(long, short, default_value = "1000", value_name = "R")]
    pub(crate) rate: Rate,
    /// A stage of the schedule, RATE:DURATION or FROM..TO:DURATION, instead of --rate and --duration; may be
    /// given many times
    #[arg(long, value_name = "STAGE", conflicts_with_all = ["rate", "duration"])]
    pub(crate) stage: Vec<StageOption>,
    /// How long requests fall due
    #[arg(long, short, default_value = "10s", value_name = "D", value_parser = units::duration)]
    pub(crate) duration: Duration,
    /// Stop after so many requests, if that comes first
    #[arg(long, short = 'n', value_name = "N")]
    pub(crate) requests: Option<u64>,
    /// How the requests are spread over time: constant, poisson, or recorded:FILE with one gap a line
    #[arg(long, default_value = "constant", value_name = "KIND")]
    pub(crate) arrivals: Arrivals,
    /// Send the requests of an access log (JSON lines or combined format) again, with its timing
    #[arg(long, value_name = "FILE", conflicts_with_all = ["rate", "stage", "arrivals", "scenario"])]
    pub(crate) replay: Option<PathBuf>,
    /// Replay so many times faster
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR", requires = "replay")]
    pub(crate) speed: f64,
    /// Find the highest rate at which this holds, for example 'p99 < 10ms'
    #[arg(long, value_name = "CONDITION", conflicts_with_all = ["stage", "replay", "samples", "assertions", "hgrm", "hlog", "until_ci"])]
    pub(crate) find_knee: Option<Knee>,
    /// Seed of random arrivals, targets and bodies
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) seed: u64,
    /// Leave the first requests, for so long, out of the measurement
    #[arg(long, default_value = "0", value_name = "D", value_parser = units::duration)]
    pub(crate) warmup: Duration,
    /// An answer that takes longer from its send is an error
    #[arg(long, default_value = "30s", value_name = "D", value_parser = units::duration)]
    pub(crate) timeout: Duration,

    /// Connections to hold open, for each host
    #[arg(long, short, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=60_000), help_heading = "Connections")]
    pub(crate) connections: u32,
    /// Requests in flight on one HTTP/2 connection, and calls of --grpc-streaming
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000), help_heading = "Connections")]
    pub(crate) streams: u32,
    /// What is spoken to http and https URLs
    #[arg(long, value_enum, default_value = "auto", value_name = "VERSION", help_heading = "Connections")]
    pub(crate) http: HttpVersion,
    /// Keep gRPC calls open: each request is a message on one
    #[arg(long, help_heading = "Connections")]
    pub(crate) grpc_streaming: bool,
    /// Close a connection after so many requests
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Connections")]
    pub(crate) requests_per_connection: Option<u64>,
    /// Replace so many connections a second by new ones
    #[arg(long, value_name = "R", help_heading = "Connections")]
    pub(crate) new_connections: Option<f64>,
    /// Hold so many connections open besides, which send nothing
    #[arg(long, default_value_t = 0, value_name = "N", help_heading = "Connections")]
    pub(crate) idle_connections: u32,
    /// Connect from these addresses, in turn (each has some 28,000 ports)
    #[arg(long, value_name = "IP", value_delimiter = ',', help_heading = "Connections")]
    pub(crate) source: Vec<IpAddr>,
    /// Connect to this Unix socket; the URL gives only host and path
    #[arg(long, value_name = "PATH", help_heading = "Connections")]
    pub(crate) unix: Option<PathBuf>,
    /// Begin connections with a PROXY protocol header
    #[arg(long, value_enum, value_name = "VERSION", help_heading = "Connections")]
    pub(crate) proxy_protocol: Option<proxy_protocol::Version>,
    /// The client that the PROXY protocol header names, instead of the own address
    #[arg(long, value_name = "IP:PORT", requires = "proxy_protocol", help_heading = "Connections")]
    pub(crate) proxy_source: Option<SocketAddr>,

    /// Request method
    #[arg(long, short = 'X', default_value = "GET", value_name = "METHOD", help_heading = "Requests")]
    pub(crate) method: String,
    /// A request header, `name: value`; may be given many times
    #[arg(long = "header", short = 'H', value_name = "HEADER", help_heading = "Requests")]
    pub(crate) headers: Vec<String>,
    /// Request body or message: a text, or @FILE
    #[arg(long, short, value_name = "BODY", help_heading = "Requests")]
    pub(crate) body: Option<String>,
    /// A body of this size: 2KiB, 1KiB..8KiB (uniform), exp:2KiB (exponential)
    #[arg(long, value_name = "SIZE", conflicts_with = "body", help_heading = "Requests")]
    pub(crate) body_size: Option<Sizes>,
    /// Write every request as a line of CSV: when it was due, sent and done, and what became of it
    #[arg(long, value_name = "FILE", help_heading = "Requests")]
    pub(crate) samples: Option<PathBuf>,
    /// Count the answers by the value of this response header
    #[arg(long, value_name = "NAME", help_heading = "Requests")]
    pub(crate) count_header: Option<String>,

    /// TLS.
    #[command(flatten)]
    pub(crate) tls: TlsOptions,

    /// Threads to send from: a number, or `auto` for one on each CPU
    #[arg(long, short = 't', default_value = "1", value_name = "N", help_heading = "Machine")]
    pub(crate) threads: Threads,
    /// Pin the threads to these CPUs, one after the other: 0,1
    #[arg(long, value_name = "CPUS", value_delimiter = ',', help_heading = "Machine")]
    pub(crate) pin: Vec<usize>,
    /// Driver of the sockets
    #[arg(long, value_enum, default_value = "auto", help_heading = "Machine")]
    pub(crate) driver: Driver,

    /// Several machines.
    #[command(flatten)]
    pub(crate) leader: LeaderOptions,

    /// How the result is shown.
    #[command(flatten)]
    pub(crate) report: ReportOptions,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_numbers_ramps_steps_or_max() {
        let rate = |text: &str| text.parse::<Rate>();
        assert_eq!(rate("max"), Ok(Rate::Max));
        assert_eq!(rate("1000"), Ok(Rate::PerSecond(1000.0)));
        assert_eq!(rate("0.5/s"), Ok(Rate::PerSecond(0.5)));
        assert_eq!(rate("0..100"), Ok(Rate::Ramp(0.0, 100.0)));
        assert_eq!(rate("1,2,4"), Ok(Rate::Steps(vec![1.0, 2.0, 4.0])));
        for wrong in ["", "0", "-1", "inf", "NaN", "1e9", "fast", "0..0", "1,,2", "1..x"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
        assert_eq!(rate("5..10").unwrap().to_string(), "5..10/s");
    }

    #[test]
    fn stages_have_a_rate_and_a_duration() {
        let stage = |from, to, seconds| StageOption { from, to, length: Duration::from_secs(seconds) };
        assert_eq!("0..500:30s".parse(), Ok(stage(0.0, 500.0, 30)));
        assert_eq!("0:1m".parse(), Ok(stage(0.0, 0.0, 60)));
        for wrong in ["", "5", "5:", ":5s", "5:5", "5:0s"] {
            assert!(wrong.parse::<StageOption>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn arrivals_and_threads_have_names() {
        assert_eq!("recorded:a b".parse(), Ok(Arrivals::Recorded("a b".into())));
        assert!("recorded:".parse::<Arrivals>().is_err() && "bursty".parse::<Arrivals>().is_err());
        assert_eq!(("auto".parse(), "2".parse()), (Ok(Threads::Auto), Ok(Threads::Count(2))));
        assert!("0".parse::<Threads>().is_err());
    }
}
