//! The programs of one run: a fresh origin, a fresh base or candidate in front of it, and the client.
//!
//! ```text
//! open loop   CPU 0: base or candidate      the other CPUs: client ⇄ … ⇄ origin
//! lockstep    CPU 0: client ⇄ base or candidate ⇄ origin, in turns under SCHED_BATCH
//! counting    the same, client and origin with the lowest priority
//! ```

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::scenario::Scenario;
use super::side::{Place, Side};
use crate::ports::{Ports, Turn};
use crate::process::Process;
use crate::{Problem, probe};

/// How long the origin may take until it is ready.
const ORIGIN_PATIENCE: Duration = Duration::from_secs(20);

/// What all runs of a gate have in common.
pub(crate) struct Setting<'a> {
    /// Generator and origin, the same ones for both sides.
    pub(crate) load: &'a Path,
    /// This program, which is the lockstep client too.
    pub(crate) bench: &'a Path,
    /// For configurations, logs and reports.
    pub(crate) folder: &'a Path,
    /// The CPUs of base and candidate, as `taskset` reads them.
    pub(crate) cpus: String,
    /// Those of client and origin in an open loop.
    pub(crate) other_cpus: String,
    /// The path that says whether base or candidate is ready.
    pub(crate) ready: String,
    /// How long they may take until they are.
    pub(crate) patience: Duration,
    /// Pinion's driver.
    pub(crate) driver: String,
    /// The niceness of all programs in an open loop.
    pub(crate) nice: i32,
}

impl Setting<'_> {
    /// A command on given CPUs, at the priority that was asked for.
    pub(crate) fn on(&self, cpus: &str, program: &Path) -> Command {
        let mut command = Command::new("taskset");
        command.args(["-c", cpus]);
        if self.nice != 0 {
            command.args(["nice", "-n", &self.nice.to_string()]);
        }
        command.arg(program);
        command
    }

    /// A command on the CPU that all share in lockstep, where no wake-up interrupts whoever runs.
    pub(crate) fn batch(&self, program: &Path) -> Command {
        let first = self.cpus.split([',', '-']).next().unwrap_or("0");
        let mut command = Command::new("taskset");
        command.args(["-c", first, "chrt", "-b", "0"]).arg(program);
        command
    }

    /// A command on that CPU that waits whenever base or candidate could run: it never has an answer
    /// ready that they would have had to wait for, however busy the machine is.
    pub(crate) fn yielding(&self, program: &Path) -> Command {
        let mut command = self.batch(Path::new("nice"));
        command.args(["-n", "19"]).arg(program);
        command
    }
}

/// How the programs are started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout<'a> {
    /// Base or candidate apart from client and origin.
    Apart,
    /// All on one CPU.
    Lockstep,
    /// All on one CPU, where client and origin give way to base or candidate: for counting. The tool to
    /// run it under with its arguments (empty: none), and how much that slows down.
    Counting(&'a [String], u32),
}

/// Running programs; dropped, they end: base or candidate before its upstream.
pub(crate) struct Stage<'a> {
    pub(crate) listen: SocketAddr,
    pub(crate) subject: Process,
    side: &'a Side,
    upstream: SocketAddr,
    admin: SocketAddr,
    driver: &'a str,
    folder: &'a Path,
    _origin: Process,
}

impl<'a> Stage<'a> {
    /// Starts the programs and waits until they answer.
    ///
    /// # Errors
    /// One of them does not come up.
    pub(crate) fn start(
        setting: &'a Setting<'_>,
        side: &'a Side,
        scenario: &Scenario,
        layout: Layout<'_>,
    ) -> Result<Self, Problem> {
        // Until both listen: others may pick ports at the same time.
        let _turn = Turn::take()?;
        let mut ports = Ports::default();
        let (listen, upstream, admin) = (ports.pick(0)?, ports.pick(0)?, ports.pick(0)?);
        drop(ports);
        let mut command = match layout {
            Layout::Apart => setting.on(&setting.other_cpus, setting.load),
            Layout::Lockstep => setting.batch(setting.load),
            Layout::Counting(..) => setting.yielding(setting.load),
        };
        command.args(["origin", "--driver", "epoll", "--listen", &upstream.to_string()]);
        let mut origin = Process::start("origin", &mut command, setting.folder)?;
        origin.wait_until("answering", ORIGIN_PATIENCE, || probe::status(upstream, "/") == Some(200))?;
        // The tools that count instructions know no io_uring.
        let driver = match layout {
            Layout::Counting([_, ..], _) => "epoll",
            _ => setting.driver.as_str(),
        };
        let place = Place { listen, upstream, admin, driver, folder: setting.folder };
        let plain = side.command(scenario, place)?;
        let (mut command, slowdown) = match layout {
            Layout::Apart => (setting.on(&setting.cpus, Path::new(plain.get_program())), 1),
            Layout::Counting([tool, arguments @ ..], slowdown) => {
                let mut command = setting.batch(Path::new(tool));
                command.args(arguments).arg(plain.get_program());
                (command, slowdown)
            }
            Layout::Lockstep | Layout::Counting([], _) => (setting.batch(Path::new(plain.get_program())), 1),
        };
        command.args(plain.get_args());
        let mut subject = Process::start("subject", &mut command, setting.folder)?;
        subject.wait_until("answering", setting.patience * slowdown, || {
            probe::status(listen, &setting.ready).is_some_and(|status| status < 400)
        })?;
        let folder = setting.folder;
        Ok(Stage { listen, subject, side, upstream, admin, driver, folder, _origin: origin })
    }

    /// Gives Pinion another configuration, for the given number of reloads.
    ///
    /// # Errors
    /// It can't be written.
    pub(crate) fn configure(&self, scenario: &Scenario, reloads: u32) -> Result<(), Problem> {
        let (listen, upstream, admin) = (self.listen, self.upstream, self.admin);
        let place = Place { listen, upstream, admin, driver: self.driver, folder: self.folder };
        self.side.configure(scenario, place, reloads)
    }
}

/// Bytes of resident memory of these processes together.
pub(crate) fn resident_bytes(processes: &[u32]) -> u64 {
    let of = |process: &u32| {
        let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
    };
    processes.iter().filter_map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_touched_is_resident() {
        let me = [std::process::id()];
        let before = resident_bytes(&me);
        let block = std::hint::black_box(vec![1_u8; 64 << 20]);
        // Other tests of this program give memory back meanwhile.
        assert!(resident_bytes(&me) > before + (32 << 20));
        drop(block);
        assert_eq!(resident_bytes(&[u32::MAX]), 0);
    }
}
