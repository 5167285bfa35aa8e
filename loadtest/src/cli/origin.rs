//! The command line of `pinion-load origin`.

use clap::{Args, ValueEnum};

use crate::origin::delay::Delay;
use crate::origin::stall::Stall;
use crate::units::{self, Address};

pub(super) const EXAMPLES: &str = "\
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
