//! A client that runs in step with the proxy: K requests out, K answers in, and again.
//!
//! With client, proxy and upstream on one CPU under SCHED_BATCH there is no idle time and no interrupt
//! from another CPU, and the proxy finds about K requests at once: what remains is the cost of the
//! work. That repeats within a few percent where a free-running load does not.
//!
//! The window of measurement begins and ends between two batches, when the proxy has nothing to do.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::{Problem, cpu, units};

/// How much is read at once.
const READ_BYTES: usize = 256 * 1024;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Options of one client run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Where the proxy listens
    #[arg(long)]
    connect: SocketAddr,
    /// Requests in a batch, each on a connection of its own
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    in_flight: u32,
    /// The path to ask for
    #[arg(long)]
    path: String,
    /// Content bytes that each answer must have
    #[arg(long)]
    expect_bytes: usize,
    /// How long to run before the measurement
    #[arg(long, value_parser = units::duration)]
    warmup: Duration,
    /// How long to measure
    #[arg(long, value_parser = units::duration)]
    measure: Duration,
    /// The proxy's process id
    #[arg(long)]
    watch: u32,
}

/// Runs batches and prints one line of JSON.
///
/// # Errors
/// The proxy can't be reached, or an answer is not what was asked for.
pub(crate) fn run(options: &Options) -> Result<(), Problem> {
    let mut connections = (0..options.in_flight)
        .map(|_| Connection::open(options.connect))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| format!("can't connect to {}: {e}", options.connect))?;
    let request = request(options.connect, &options.path);
    let mut buffer = vec![0; READ_BYTES];
    let mut batch = || -> Result<(), Problem> {
        for connection in &mut connections {
            connection.stream.write_all(&request).map_err(|e| format!("can't send: {e}"))?;
        }
        for connection in &mut connections {
            connection.answer(&mut buffer, options.expect_bytes)?;
        }
        Ok(())
    };
    let mut all = 0_u64;
    let start = Instant::now();
    while start.elapsed() < options.warmup {
        batch()?;
        all += 1;
    }
    let processes = cpu::tree(options.watch);
    let mut times = Vec::with_capacity(1 << 16);
    let cpu_before = cpu::run_nanos(&processes);
    let start = Instant::now();
    let mut now = start;
    while now.duration_since(start) < options.measure {
        batch()?;
        let end = Instant::now();
        times.push(u64::try_from(end.duration_since(now).as_nanos()).unwrap_or(u64::MAX));
        now = end;
    }
    let cpu = cpu::run_nanos(&processes) - cpu_before;
    let batches = times.len() as u64;
    all += batches;
    times.sort_unstable();
    let in_flight = u64::from(options.in_flight);
    let line = json!({
        "requests": batches * in_flight,
        "requests_with_warmup": all * in_flight,
        "cpu_nanos": cpu,
        "wall_nanos": u64::try_from(now.duration_since(start).as_nanos()).unwrap_or(u64::MAX),
        "round_trip_p50_nanos": times.get(times.len() / 2),
    });
    println!("{line}");
    Ok(())
}

/// A request like a browser's smallest: six header lines.
fn request(host: SocketAddr, path: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: lockstep/1\r\naccept: */*\r\n\
         accept-language: en\r\nx-request-id: 0123456789abcdef\r\ncookie: session=0123456789\r\n\r\n"
    )
    .into_bytes()
}

struct Connection {
    stream: TcpStream,
}

impl Connection {
    fn open(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Connection { stream })
    }

    /// Reads one answer to its end.
    fn answer(&mut self, buffer: &mut [u8], expect_bytes: usize) -> Result<(), Problem> {
        let mut filled = 0;
        let head = loop {
            filled += self.read(&mut buffer[filled..])?;
            if let Some(at) = find(&buffer[..filled], b"\r\n\r\n") {
                break at + 4;
            }
        };
        if !buffer.starts_with(b"HTTP/1.1 200") {
            return Err(format!("not a 200: {}", String::from_utf8_lossy(&buffer[..head.min(200)])));
        }
        if content_length(&buffer[..head]) != Some(expect_bytes) {
            return Err("an answer does not have the length that was asked for".to_owned());
        }
        let mut left = (head + expect_bytes).checked_sub(filled).ok_or("bytes behind an answer")?;
        while left > 0 {
            let most = left.min(buffer.len());
            left -= self.read(&mut buffer[..most])?;
        }
        Ok(())
    }

    fn read(&mut self, into: &mut [u8]) -> Result<usize, Problem> {
        match self.stream.read(into) {
            Ok(0) => Err("the proxy closed a connection, or its head is too long".to_owned()),
            Ok(length) => Ok(length),
            Err(error) => Err(format!("no answer: {error}")),
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn content_length(head: &[u8]) -> Option<usize> {
    std::str::from_utf8(head).ok()?.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") { value.trim().parse().ok() } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_checked_to_their_last_byte() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for part in ["HTTP/1.1 200 OK\r\nContent-", "Length: 3\r\n\r\na", "bc"] {
                stream.write_all(part.as_bytes()).unwrap();
                std::thread::sleep(Duration::from_millis(5));
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab").unwrap();
        });
        let mut connection = Connection::open(address).unwrap();
        let mut buffer = vec![0; 1024];
        assert_eq!(connection.answer(&mut buffer, 3), Ok(()));
        assert!(connection.answer(&mut buffer, 3).unwrap_err().contains("length"));
        server.join().unwrap();
    }
}
