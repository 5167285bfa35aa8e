//! The programs of one measurement: a fresh upstream, a fresh proxy in front of it, each on its CPU.
//!
//! ```text
//!   lockstep     CPU `cpu`, SCHED_BATCH:  client ⇄ proxy ⇄ origin, all in turns
//!   apart        CPU `cpu`: proxy         CPU `other_cpu`: client and origin
//! ```
//!
//! Fresh, because long-lived proxies spread over their idle upstream connections.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::address::{Address, Transport};
use super::answers;
use super::certificate::Certificate;
use super::subject::Subject;
use super::subject::configure::{self, Place};
use super::subject::find::Found;
use super::traffic::Traffic;
use crate::Problem;
use crate::cpu;
use crate::ports::Ports;
use crate::process::{Process, command_line};
use crate::programs::Programs;

/// How long a program may take until it is ready.
const READY_PATIENCE: Duration = Duration::from_secs(20);

/// Everything that measurements have in common.
pub(super) struct Setting<'a> {
    pub(super) programs: &'a Programs,
    pub(super) found: &'a Found,
    /// What proxies show to TLS clients.
    pub(super) certificate: &'a Certificate,
    pub(super) folder: &'a Path,
    /// The proxy's CPU; in lockstep, everything's.
    pub(super) cpu: u32,
    /// The CPU of client and upstream when the proxy is alone on its own.
    pub(super) other_cpu: u32,
    /// Before each measurement.
    pub(super) warmup: Duration,
    /// Of each measurement in lockstep.
    pub(super) measure: Duration,
}

/// Where the programs run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// All on one CPU, in turns.
    Lockstep,
    /// The proxy alone on one, client and upstream on another.
    Apart,
}

/// The programs of one measurement; dropped, they end: the proxy before its upstream, then their files go.
pub(super) struct Stage {
    /// Where clients come.
    pub(super) listen: Address,
    /// Behind the proxy.
    pub(super) upstream: Address,
    proxy: Process,
    _origin: Process,
    pub(super) folder: TempDir,
}

impl Stage {
    /// The proxy's process id.
    pub(super) fn proxy(&self) -> u32 {
        self.proxy.id()
    }

    /// The proxy with its children.
    pub(super) fn processes(&self) -> Vec<u32> {
        cpu::tree(self.proxy.id())
    }
}

impl Setting<'_> {
    /// Starts origin and proxy and waits until both answer.
    ///
    /// # Errors
    /// One of them does not start, or does not answer.
    pub(super) fn start(
        &self,
        subject: Subject,
        traffic: Traffic,
        transport: Transport,
        layout: Layout,
    ) -> Result<Stage, Problem> {
        let folder = tempfile::tempdir_in(self.folder).map_err(|e| format!("no temporary folder: {e}"))?;
        let mut ports = Ports::default();
        let mut address = |name: &str| -> Result<Address, Problem> {
            Ok(match transport {
                Transport::Tcp => Address::Tcp(ports.pick(0)?),
                Transport::Unix => Address::Unix(folder.path().join(name)),
            })
        };
        let (listen, upstream) = (address("web.sock")?, address("origin.sock")?);
        let command = self.command((subject, traffic), &listen, &upstream, &mut ports, folder.path())?;
        drop(ports);

        let mut origin = Command::new(&self.programs.load);
        let option = if traffic == Traffic::Tcp { "--tcp-echo" } else { "--listen" };
        origin.args(["origin", "--driver", "epoll", option, &upstream.to_string()]);
        let mut origin = self.placed(&origin, layout, Role::Origin);
        let mut origin = Process::start("origin", &mut origin, folder.path())?;
        origin
            .wait_until("answering", READY_PATIENCE, || answers::is_up(&upstream, traffic == Traffic::Tcp))?;
        let mut command = self.placed(&command, layout, Role::Proxy);
        let mut proxy = Process::start(subject.name(), &mut command, folder.path())?;
        proxy
            .wait_until("answering", READY_PATIENCE, || answers::is_up(&listen, traffic != Traffic::Http1))?;
        Ok(Stage { listen, upstream, proxy, _origin: origin, folder })
    }

    fn command(
        &self,
        (subject, traffic): (Subject, Traffic),
        listen: &Address,
        upstream: &Address,
        ports: &mut Ports,
        folder: &Path,
    ) -> Result<Command, Problem> {
        let installed = self.found.get(&subject).ok_or_else(|| format!("no {}", subject.label()))?;
        let admin = Address::Tcp(ports.pick(0)?);
        let place = Place { listen, upstream, admin: &admin, certificate: self.certificate, folder };
        configure::command(subject, traffic, &installed.program, &place)
    }

    /// A client's command where clients run in that layout.
    pub(super) fn client(&self, command: &Command, layout: Layout) -> Command {
        self.placed(command, layout, Role::Client)
    }

    /// `command` on the CPU of its role; in lockstep under SCHED_BATCH, so that no wake-up interrupts
    /// whoever runs.
    fn placed(&self, command: &Command, layout: Layout, role: Role) -> Command {
        let cpu = match (layout, role) {
            (Layout::Lockstep, _) | (Layout::Apart, Role::Proxy) => self.cpu,
            (Layout::Apart, Role::Origin | Role::Client) => self.other_cpu,
        };
        let mut placed = Command::new("taskset");
        placed.args(["-c", &cpu.to_string()]);
        if layout == Layout::Lockstep {
            placed.args(["chrt", "-b", "0"]);
        }
        placed.arg(command.get_program());
        with_arguments(placed, command)
    }

    /// The command line of a proxy, for the report: programs without their folders, which say nothing
    /// to a reader, and the configuration by its name under `bench/peers`.
    ///
    /// # Errors
    /// The configuration can't be written.
    pub(super) fn command_line(&self, subject: Subject) -> Result<String, Problem> {
        let mut ports = Ports::default();
        let (listen, upstream) = (Address::Tcp(ports.pick(0)?), Address::Tcp(ports.pick(0)?));
        let command = self.command((subject, Traffic::Http1), &listen, &upstream, &mut ports, self.folder)?;
        let program = command.get_program().to_string_lossy().into_owned();
        let name = Path::new(&program).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let line = command_line(&self.placed(&command, Layout::Apart, Role::Proxy));
        Ok([
            (program.as_str(), name.as_str()),
            (&self.folder.display().to_string(), "FOLDER"),
            (&listen.to_string(), "LISTEN"),
            (&upstream.to_string(), "UPSTREAM"),
        ]
        .iter()
        .fold(line, |line, (from, to)| line.replace(from, to)))
    }
}

/// What a program is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Proxy,
    Origin,
    Client,
}

/// `command` with the arguments of another one behind its own.
pub(super) fn with_arguments(mut command: Command, other: &Command) -> Command {
    command.args(other.get_args());
    command
}

/// Runs a client to its end and reads its line of JSON.
///
/// # Errors
/// It can't be run, failed, or wrote something else.
pub(super) fn run_client(command: &mut Command) -> Result<Value, Problem> {
    let output = command.output().map_err(|e| format!("can't run {}: {e}", command_line(command)))?;
    if !output.status.success() {
        return Err(format!("{}: {}", command_line(command), String::from_utf8_lossy(&output.stderr).trim()));
    }
    report(&output.stdout)
}

/// A client's report.
///
/// # Errors
/// It is no JSON.
pub(super) fn report(text: &[u8]) -> Result<Value, Problem> {
    serde_json::from_slice(text).map_err(|e| format!("the client's report can't be read: {e}"))
}

/// A number in a client's report.
///
/// # Errors
/// There is none.
pub(super) fn number(value: &Value, name: &str) -> Result<f64, Problem> {
    value.as_f64().ok_or_else(|| format!("the client's report has no {name}"))
}
