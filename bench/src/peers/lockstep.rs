//! A client that runs in step with the proxy: K requests out, K answers in, and again.
//!
//! With client, proxy and upstream on one CPU under SCHED_BATCH there is no idle time and no interrupt
//! from another CPU, and the proxy finds about K requests at once: what remains is the cost of the
//! work. That repeats within a few percent where a free-running load does not.
//!
//! The window of measurement begins and ends between two batches, when the proxy has nothing to do.

use std::time::{Duration, Instant};

use serde_json::json;

use super::address::Address;
use super::http::{Connection, READ_BYTES, request};
use crate::cpu::{self, Ticks};
use crate::{Problem, units};

/// Options of one client run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Where the proxy listens: IP:PORT or unix:PATH
    #[arg(long)]
    connect: Address,
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
    let connect = |_| Connection::open(&options.connect);
    let mut connections = (0..options.in_flight).map(connect).collect::<Result<Vec<_>, _>>()?;
    let request = request(&options.connect.authority(), &options.path);
    let mut buffer = vec![0; READ_BYTES];
    let mut batch = || -> Result<(), Problem> {
        for connection in &mut connections {
            connection.send(&request)?;
        }
        for connection in &mut connections {
            connection.skip_answer(&mut buffer, options.expect_bytes)?;
        }
        Ok(())
    };
    let mut all = 0_u64;
    let start = Instant::now();
    while all == 0 || start.elapsed() < options.warmup {
        batch()?;
        all += 1;
    }
    let processes = cpu::tree(options.watch);
    let mut times = Vec::with_capacity(1 << 16);
    let ticks_before = Ticks::of(&processes);
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
    let ticks = Ticks::of(&processes).since(ticks_before);
    let batches = times.len() as u64;
    all += batches;
    times.sort_unstable();
    let in_flight = u64::from(options.in_flight);
    let line = json!({
        "requests": batches * in_flight,
        "requests_with_warmup": all * in_flight,
        "cpu_nanos": cpu,
        "user_ticks": ticks.user,
        "system_ticks": ticks.system,
        "wall_nanos": u64::try_from(now.duration_since(start).as_nanos()).unwrap_or(u64::MAX),
        "round_trip_p50_nanos": times.get(times.len() / 2),
    });
    println!("{line}");
    Ok(())
}
