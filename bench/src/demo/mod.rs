//! The demo: two versions of a service behind the proxy, a header route and a weighted split, load, and
//! what came of it.
//!
//! ```text
//! pinion-load ──plain──────────▶ pinion ──90 %──▶ my-service v1 (pinion-load origin)
//! pinion-load ──end-user: jason─▶       ──10 %──▶ my-service v2
//!                                       ──jason─▶ my-service v2
//! ```
//!
//! It is also a test: it ends with status 0 only if every request was answered, all of Jason's by v2,
//! and the split is what the weights say, within sampling error.

mod judge;
mod plan;
mod show;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::Problem;
use crate::ports::Turn;
use crate::process::Process;
use crate::programs::Programs;
use crate::signals::Stop;
use crate::{probe, units};
use judge::Seen;
use plan::{Addresses, HEADER_NAME, HEADER_VALUE, SERVICE};

/// How long a program may take until it is ready.
const READY_PATIENCE: Duration = Duration::from_secs(20);

/// How long a program may take to stop: the proxy's drain time and some more.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// Options of the demo.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Build the programs first
    #[arg(long)]
    build: bool,
    /// Stop by itself after this long, instead of at Ctrl-C
    #[arg(long = "for", value_name = "DURATION", value_parser = units::duration)]
    time: Option<Duration>,
    /// Requests a second without Jason's header; his are a fifth of that
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(50..=100_000))]
    rate: u32,
    /// How long the load lasts
    #[arg(long, default_value = "5s", value_name = "DURATION", value_parser = units::duration)]
    load: Duration,
}

/// Runs the demo to its end.
///
/// # Errors
/// A program failed, a request failed, or requests went where they should not.
pub(crate) fn run(options: &Options) -> Result<(), Problem> {
    let programs = Programs::find(options.build)?;
    let stop = Stop::watch()?;
    let folder = tempfile::tempdir().map_err(|e| format!("no temporary folder: {e}"))?;
    let turn = Turn::take()?;
    let addresses = Addresses::pick()?;
    let started = Instant::now();
    let mut running = start_all(&programs, &addresses, folder.path())?;
    drop(turn);
    println!("{}", show::header(&addresses));

    // With a short `--for`, the load leaves time for the rest.
    let load = options.time.map_or(options.load, |time| options.load.min(time.mul_f64(0.8)));
    let outcome = drive(&programs, &addresses, options.rate, load, folder.path(), &stop, &mut running);
    let judged = match outcome {
        Ok(Some((plain, jason))) => {
            println!("{}", show::results(&plain, &jason));
            let complaints = judge::judge(&plain, &jason);
            println!("{}", show::afterwards(&addresses, options.time));
            if complaints.is_empty() {
                let deadline = options.time.map(|time| started + time);
                stop.sleep(deadline, || running.iter_mut().try_for_each(Process::check))
            } else {
                Err(complaints.join("\n"))
            }
        }
        // The user wants to stop before there is anything to judge.
        Ok(None) => Ok(()),
        Err(problem) => Err(problem),
    };
    println!("stopping");
    // The proxy first: what is in progress still finds its upstreams.
    let stopped = running.into_iter().rev().map(|process| process.stop(STOP_PATIENCE));
    let stopped: Result<Vec<()>, Problem> = stopped.collect();
    judged?;
    stopped?;
    println!("stopped");
    Ok(())
}

/// Starts the two versions and, when they are up, the proxy; the proxy is the last in the list.
fn start_all(programs: &Programs, addresses: &Addresses, folder: &Path) -> Result<Vec<Process>, Problem> {
    let config = folder.join("demo.toml");
    std::fs::write(&config, plan::config(addresses))
        .map_err(|e| format!("can't write {}: {e}", config.display()))?;
    let mut running = Vec::new();
    for (version, address) in [("v1", addresses.v1), ("v2", addresses.v2)] {
        let mut command = Command::new(&programs.load);
        command.args([
            "origin",
            "--listen",
            &address.to_string(),
            "--name",
            SERVICE,
            "--version-label",
            version,
        ]);
        let mut origin = Process::start(&format!("{SERVICE}-{version}"), &mut command, folder)?;
        origin.wait_until("answering", READY_PATIENCE, || probe::status(address, "/") == Some(200))?;
        running.push(origin);
    }
    let mut command = Command::new(&programs.pinion);
    command.arg("run").arg("--config").arg(&config);
    let mut pinion = Process::start("pinion", &mut command, folder)?;
    pinion.wait_until("ready", READY_PATIENCE, || probe::status(addresses.admin, "/ready") == Some(200))?;
    running.push(pinion);
    Ok(running)
}

/// Sends both kinds of requests at once. `None` when the user ended it.
fn drive(
    programs: &Programs,
    addresses: &Addresses,
    rate: u32,
    duration: Duration,
    folder: &Path,
    stop: &Stop,
    running: &mut [Process],
) -> Result<Option<(Seen, Seen)>, Problem> {
    let plain_file = folder.join("plain.json");
    let jason_file = folder.join("jason.json");
    let command = |rate: u32, file: &Path, header: Option<String>| {
        let mut command = Command::new(&programs.load);
        command.args(["--quiet", "--rate", &rate.to_string(), "--connections", "32", "--timeout", "10s"]);
        command.args(["--duration", &format!("{}ms", duration.as_millis().max(1))]);
        command.args(["--count-header", "x-served-by", "--json"]).arg(file);
        if let Some(header) = header {
            command.args(["--header", &header]);
        }
        command.arg(format!("http://{}/", addresses.web));
        command
    };
    println!(
        "sending {rate} plain and {} of {HEADER_VALUE}'s requests a second for {duration:?} …\n",
        rate / 5
    );
    let header = format!("{HEADER_NAME}: {HEADER_VALUE}");
    let mut plain = Process::start("load-plain", &mut command(rate, &plain_file, None), folder)?;
    let mut jason = Process::start("load-jason", &mut command(rate / 5, &jason_file, Some(header)), folder)?;
    // Time-outs of the generator end it long before this.
    let patience = Instant::now() + duration + Duration::from_secs(60);
    let mut seen = (None, None);
    while !stop.is_set() && (seen.0.is_none() || seen.1.is_none()) {
        running.iter_mut().try_for_each(Process::check)?;
        for (process, file, seen) in
            [(&mut plain, &plain_file, &mut seen.0), (&mut jason, &jason_file, &mut seen.1)]
        {
            if seen.is_none() && process.has_succeeded()? {
                *seen = Some(Seen::read(file)?);
            }
        }
        if Instant::now() > patience {
            return Err("the load generator does not end".to_owned());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(seen.0.zip(seen.1))
}
