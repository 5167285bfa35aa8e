//! One measurement: a fresh upstream, a fresh proxy, one client run.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::subject::Subject;
use crate::ports::Ports;
use crate::process::{Process, command_line};
use crate::programs::Programs;
use crate::{Problem, counting, cpu, probe};

/// How long a program may take until it is ready.
const READY_PATIENCE: Duration = Duration::from_secs(10);

/// What is asked of the proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    /// Content bytes of each answer.
    pub(crate) bytes: usize,
    /// Requests in flight.
    pub(crate) in_flight: u32,
}

impl Case {
    /// `10 KiB, K=8`.
    pub(crate) fn label(self) -> String {
        let size = match self.bytes {
            bytes if bytes >= 1 << 20 && bytes % (1 << 20) == 0 => format!("{} MiB", bytes >> 20),
            bytes if bytes >= 1 << 10 && bytes % (1 << 10) == 0 => format!("{} KiB", bytes >> 10),
            bytes => format!("{bytes} B"),
        };
        format!("{size}, K={}", self.in_flight)
    }
}

/// What one measurement found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Microseconds of the proxy's CPU time per request.
    pub(crate) cpu_micros: f64,
    /// Microseconds from the first request of a batch out to its last answer in: the median.
    pub(crate) round_trip_micros: f64,
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:8.2} µs CPU, round trip {:.0} µs", self.cpu_micros, self.round_trip_micros)
    }
}

/// What one open-loop run found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenSample {
    /// Microseconds of the proxy's CPU time per request.
    pub(crate) cpu_micros: f64,
    /// Latency from the due time, in microseconds: half were faster.
    pub(crate) p50_micros: f64,
    /// 99 % were faster.
    pub(crate) p99_micros: f64,
}

impl fmt::Display for OpenSample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:8.2} µs CPU, p50 {:.0} µs, p99 {:.0} µs",
            self.cpu_micros, self.p50_micros, self.p99_micros
        )
    }
}

/// Everything that measurements have in common.
pub(crate) struct Setting<'a> {
    pub(crate) programs: &'a Programs,
    pub(crate) folder: &'a Path,
    /// The proxy's CPU; in lockstep, everything's.
    pub(crate) cpu: u32,
    /// The CPU of client and upstream in an open loop.
    pub(crate) other_cpu: u32,
    pub(crate) warmup: Duration,
    pub(crate) measure: Duration,
}

impl Setting<'_> {
    /// Measures CPU time.
    ///
    /// # Errors
    /// A program failed.
    pub(crate) fn cpu_time(&self, subject: Subject, case: Case) -> Result<Sample, Problem> {
        let stage = self.start(subject, Layout::Lockstep)?;
        let mut client = self.batch(&self.programs.bench);
        self.client_arguments(&mut client, &stage, case);
        let report = run_client(&mut client)?;
        let number = |name: &str| number(&report[name], name);
        let requests = number("requests")?;
        Ok(Sample {
            cpu_micros: number("cpu_nanos")? / requests / 1e3,
            round_trip_micros: number("round_trip_p50_nanos")? / 1e3,
        })
    }

    /// Measures an open loop of `rate` requests a second, 100 bytes each, over `connections` connections,
    /// with the proxy alone on its CPU.
    ///
    /// # Errors
    /// A program failed, or a request did.
    pub(crate) fn open_loop(
        &self,
        subject: Subject,
        rate: u32,
        connections: u32,
    ) -> Result<OpenSample, Problem> {
        let stage = self.start(subject, Layout::Apart)?;
        let load = |duration: Duration| {
            let mut client = self.on(self.other_cpu, &self.programs.load);
            client.args(["--quiet", "--json", "-", "--rate", &rate.to_string(), "--timeout", "10s"]);
            client.args(["--connections", &connections.to_string()]);
            client.args(["--duration", &format!("{}ms", duration.as_millis())]);
            client.arg(format!("http://{}/bytes/100", stage.listen));
            run_client(&mut client)
        };
        load(self.warmup)?;
        let processes = cpu::tree(stage.proxy.id());
        let before = cpu::run_nanos(&processes);
        // Longer than a batch measurement: a p99 needs many requests.
        let report = load(self.measure * 4)?;
        let cpu = cpu::run_nanos(&processes) - before;
        if report["failed"] != 0 {
            return Err(format!("requests failed: {}", report["errors"]));
        }
        let answered = number(&report["answered"], "answered")?;
        let percentile = |name: &str| number(&report["latency"]["percentiles_nanos"][name], name);
        Ok(OpenSample {
            cpu_micros: cpu as f64 / answered / 1e3,
            p50_micros: percentile("p50")? / 1e3,
            p99_micros: percentile("p99")? / 1e3,
        })
    }

    /// Counts system calls per request, in a run of its own: counting costs time.
    ///
    /// # Errors
    /// A program failed. `Ok(None)` if this machine has no means to count.
    pub(crate) fn system_calls(&self, subject: Subject, case: Case) -> Result<Option<f64>, Problem> {
        let stage = self.start(subject, Layout::Lockstep)?;
        let processes = cpu::tree(stage.proxy.id());
        let client = || {
            let mut client = self.batch(&self.programs.bench);
            self.client_arguments(&mut client, &stage, case);
            client
        };
        let counted = counting::system_calls(&processes, self.folder, client)?;
        let Some((count, output)) = counted else { return Ok(None) };
        let report: Value = serde_json::from_slice(&output.stdout)
            .map_err(|e| format!("the client's report can't be read: {e}"))?;
        Ok(report["requests_with_warmup"].as_f64().map(|requests| count as f64 / requests))
    }

    /// The command line of a proxy, for the report: programs without their folders, which say nothing
    /// to a reader, and the configuration by its name under `bench/peers`.
    ///
    /// # Errors
    /// The configuration can't be written.
    pub(crate) fn command_line(&self, subject: Subject) -> Result<String, Problem> {
        let (listen, upstream) = addresses()?;
        let command = subject.command(self.programs, self.folder, listen, upstream)?;
        let line = command_line(&self.wrap(&command)).replace(&self.folder.display().to_string(), "FOLDER");
        let program = command.get_program().to_string_lossy();
        let name = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy();
        Ok(line.replace(program.as_ref(), &name))
    }

    fn start(&self, subject: Subject, layout: Layout) -> Result<Stage, Problem> {
        let (listen, upstream) = addresses()?;
        let mut command = match layout {
            Layout::Lockstep => self.batch(&self.programs.load),
            Layout::Apart => self.on(self.other_cpu, &self.programs.load),
        };
        command.args(["origin", "--driver", "epoll", "--listen", &upstream.to_string()]);
        let mut origin = Process::start("origin", &mut command, self.folder)?;
        origin.wait_until("answering", READY_PATIENCE, || probe::status(upstream, "/") == Some(200))?;
        let command = subject.command(self.programs, self.folder, listen, upstream)?;
        let mut command = match layout {
            Layout::Lockstep => self.wrap(&command),
            Layout::Apart => with_arguments(self.on(self.cpu, Path::new(command.get_program())), &command),
        };
        let mut proxy = Process::start(subject.name(), &mut command, self.folder)?;
        proxy.wait_until("answering", READY_PATIENCE, || probe::status(listen, "/") == Some(200))?;
        Ok(Stage { listen, proxy, _origin: origin })
    }

    fn client_arguments(&self, client: &mut Command, stage: &Stage, case: Case) {
        client.args(["lockstep", "--connect", &stage.listen.to_string()]);
        client.args([
            "--in-flight",
            &case.in_flight.to_string(),
            "--path",
            &format!("/bytes/{}", case.bytes),
        ]);
        client.args(["--expect-bytes", &case.bytes.to_string(), "--watch", &stage.proxy.id().to_string()]);
        client.args(["--warmup", &format!("{}ms", self.warmup.as_millis())]);
        client.args(["--measure", &format!("{}ms", self.measure.as_millis())]);
    }

    /// A command on one CPU.
    fn on(&self, cpu: u32, program: &Path) -> Command {
        let mut command = Command::new("taskset");
        command.args(["-c", &cpu.to_string()]).arg(program);
        command
    }

    /// A command on the shared CPU under SCHED_BATCH: no wake-up interrupts whoever runs.
    fn batch(&self, program: &Path) -> Command {
        let mut command = self.on(self.cpu, Path::new("chrt"));
        command.args(["-b", "0"]).arg(program);
        command
    }

    fn wrap(&self, command: &Command) -> Command {
        with_arguments(self.batch(Path::new(command.get_program())), command)
    }
}

/// `command` with the arguments of another one behind its own.
fn with_arguments(mut command: Command, other: &Command) -> Command {
    command.args(other.get_args());
    command
}

/// Where the programs run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// All on one CPU, in turns.
    Lockstep,
    /// The proxy alone on one, client and upstream on another.
    Apart,
}

/// The programs of one measurement; dropped, they end: the proxy before its upstream.
struct Stage {
    listen: SocketAddr,
    proxy: Process,
    _origin: Process,
}

fn addresses() -> Result<(SocketAddr, SocketAddr), Problem> {
    let mut ports = Ports::default();
    Ok((ports.pick(0)?, ports.pick(0)?))
}

/// Runs a client to its end and reads its line of JSON.
fn run_client(command: &mut Command) -> Result<Value, Problem> {
    let output = command.output().map_err(|e| format!("can't run {}: {e}", command_line(command)))?;
    if !output.status.success() {
        return Err(format!("{}: {}", command_line(command), String::from_utf8_lossy(&output.stderr).trim()));
    }
    serde_json::from_slice(&output.stdout).map_err(|e| format!("the client's report can't be read: {e}"))
}

fn number(value: &Value, name: &str) -> Result<f64, Problem> {
    value.as_f64().ok_or_else(|| format!("the client's report has no {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_have_readable_names() {
        assert_eq!(Case { bytes: 100, in_flight: 1 }.label(), "100 B, K=1");
        assert_eq!(Case { bytes: 10_240, in_flight: 8 }.label(), "10 KiB, K=8");
        assert_eq!(Case { bytes: 1 << 20, in_flight: 4 }.label(), "1 MiB, K=4");
    }
}
