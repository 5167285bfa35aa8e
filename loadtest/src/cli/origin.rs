//! The command line of `pinion-load origin`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::origin::delay::Delay;
use crate::origin::fault::{ErrorRate, Share};
use crate::origin::stall::Stall;
use crate::units::{self, Address};

pub(super) const EXAMPLES: &str = "\
Paths (directives may follow one another, as in /delay/50ms/status/503/bytes/10):
  /                 the origin's name and version, as JSON
  /echo             the request as it was seen, as JSON
  /bytes/N          a body of N bytes (10, 64KiB, 1MiB …)
  /chunked/N        the same, in chunks
  /slow/N/RATE      the same, at RATE bytes a second (/slow/1MiB/100KiB)
  /delay/D          waits first, a time or a distribution (below)
  /status/CODE      answers with that status code
  /close            closes the connection after the answer
  /truncate/N       sends N bytes of an answer that announces more, then closes
  /reset            resets the connection (HTTP/2: the stream) amid the answer

Times and distributions (DELAY):
  50ms              always the same
  1ms..9ms          uniform
  exp:5ms           exponential with this mean
  lognormal:5ms,0.5 log-normal with this median and this sigma
  pareto:1ms,1.5    Pareto from this minimum with this exponent
  99%:1ms,1%:50ms   each for its share of the requests

gRPC: every message comes back, at any path; the last part of the path may be
  ClientStream      one message back, all messages joined
  ServerStream      each message ten times
and /grpc.health.v1.Health/{Check,Watch} tells whether the origin serves.
WebSocket: every message comes back, at any path.

Examples:
  pinion-load origin --listen 127.0.0.1:9001 --name my-service --version-label v1
  pinion-load origin --listen unix:v2.sock --version-label v2 --delay exp:2ms
  pinion-load origin --listen 127.0.0.1:9001 --stall 2s:500ms --error-rate 1%:503
  pinion-load origin --listen 127.0.0.1:9001 --service-time exp:2ms --workers 1
  pinion-load origin --listen 127.0.0.1:9443 --tls-certificate a.pem --tls-key a.key
  pinion-load origin --tcp-echo 127.0.0.1:9007";

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
    /// Where to listen for HTTP: IP:PORT or unix:PATH; may be given many times
    #[arg(long, required_unless_present = "tcp_echo", value_name = "ADDRESS")]
    pub(crate) listen: Vec<Address>,
    /// Where to listen and send every byte back; may be given many times
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) tcp_echo: Vec<Address>,
    /// The service's name, for answers
    #[arg(long, default_value = "origin", value_name = "NAME", value_parser = label)]
    pub(crate) name: String,
    /// The service's version, for answers
    #[arg(long, default_value = "v1", value_name = "VERSION", value_parser = label)]
    pub(crate) version_label: String,
    /// Connections are TLS, with this certificate chain (a PEM file)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_certificate: Option<PathBuf>,
    /// The certificate's private key (a PEM file)
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Clients must show a certificate that this authority signed (a PEM file)
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    pub(crate) client_ca: Option<PathBuf>,
    /// No TLS session tickets: every handshake is a full one
    #[arg(long, requires = "tls_certificate")]
    pub(crate) no_resumption: bool,
    /// Every connection begins with a PROXY header, version 1 or 2
    #[arg(long)]
    pub(crate) proxy_protocol: bool,
    /// Wait before every answer: a time or a distribution
    #[arg(long, value_name = "DELAY")]
    pub(crate) delay: Option<Delay>,
    /// Status code of answers whose path does not say one
    #[arg(long, default_value_t = 200, value_name = "CODE", value_parser = clap::value_parser!(u16).range(200..=599))]
    pub(crate) status: u16,
    /// Answer with so many bytes where the path does not say what to answer with
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    pub(crate) bytes: Option<u64>,
    /// Send bodies at so many bytes a second where the path does not say it
    #[arg(long, value_name = "SIZE", value_parser = body_rate)]
    pub(crate) body_rate: Option<u64>,
    /// Answer nothing for a while: AT:FOR, counted from the first request; may be given many times
    #[arg(long, value_name = "AT:FOR")]
    pub(crate) stall: Vec<Stall>,
    /// Each request occupies a worker for so long, a time or a distribution; others wait their turn
    #[arg(long, value_name = "DELAY")]
    pub(crate) service_time: Option<Delay>,
    /// Workers that serve requests, first come, first served
    #[arg(long, default_value_t = 1, value_name = "N", requires = "service_time", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) workers: u32,
    /// Share of requests that fail, and their status code (503 if it is not given): 1%:500
    #[arg(long, value_name = "SHARE[:CODE]")]
    pub(crate) error_rate: Option<ErrorRate>,
    /// Share of requests whose connection (HTTP/2: stream) is reset amid the answer: 0.1%
    #[arg(long, value_name = "SHARE")]
    pub(crate) reset_rate: Option<Share>,
    /// Seed of random delays, errors and resets
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) seed: u64,
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

/// Bytes a second, more than none.
fn body_rate(text: &str) -> Result<u64, String> {
    units::size(text).and_then(|rate| if rate > 0 { Ok(rate) } else { Err("a rate of 0 never ends".into()) })
}
