//! What the kernel says of this process: CPU time, memory, descriptors, start.
//!
//! Invariants: a number that can't be read is left out, never guessed.
//!
//! Not here: anything that shards count. Reading `/proc` costs tens of microseconds: control thread only.

use std::fs;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// A reading; `None` where the kernel did not say.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProcessFacts {
    /// User and system time of all threads.
    pub(crate) cpu: Option<Duration>,
    /// Resident memory in bytes.
    pub(crate) resident_bytes: Option<u64>,
    /// Open descriptors.
    pub(crate) open_fds: Option<u64>,
    /// The soft limit of descriptors; `u64::MAX` for "unlimited".
    pub(crate) max_fds: Option<u64>,
    /// When the process was started, in seconds of Unix time.
    pub(crate) start_unix_seconds: Option<f64>,
}

impl ProcessFacts {
    /// Reads everything now.
    pub(crate) fn read() -> Self {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        ProcessFacts {
            cpu: Duration::try_from(cpu).ok(),
            resident_bytes: fs::read_to_string("/proc/self/status").ok().as_deref().and_then(resident_bytes),
            // The listing itself holds one descriptor.
            open_fds: fs::read_dir("/proc/self/fd").ok().map(|list| (list.count() as u64).saturating_sub(1)),
            max_fds: Some(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)),
            start_unix_seconds: start(),
        }
    }
}

/// The `VmRSS` line of `/proc/self/status`, which is in units of 1,024 bytes.
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1_024)
}

/// Boot time plus field 22 of `/proc/self/stat`, which is in clock ticks since boot.
fn start() -> Option<f64> {
    let ticks = start_ticks(&fs::read_to_string("/proc/self/stat").ok()?)?;
    let boot = fs::read_to_string("/proc/stat").ok()?;
    let boot: u64 = boot.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(boot as f64 + ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Field 22, counted after the program's name, which is in brackets and may hold spaces and brackets.
fn start_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(22 - 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn everything_is_read_and_plausible() {
        let facts = ProcessFacts::read();
        assert!(facts.cpu.unwrap() > Duration::ZERO);
        assert!((1 << 20..1 << 40).contains(&facts.resident_bytes.unwrap()));
        assert!((3..100_000).contains(&facts.open_fds.unwrap()));
        assert!(facts.max_fds.unwrap() >= facts.open_fds.unwrap());
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
        let start = facts.start_unix_seconds.unwrap();
        assert!(start > 1e9 && start < now + 2.0 && start > now - 86_400.0, "{start} at {now}");
    }

    #[test]
    fn odd_program_names_do_not_shift_fields() {
        let rest = (4..=30).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(start_ticks(&format!("17 (a) b) (c) S {rest}")), Some(22));
        assert_eq!(start_ticks("17 (a"), None);
        assert_eq!(resident_bytes("VmPeak:\t 9 kB\nVmRSS:\t   12 kB\n"), Some(12_288));
        assert_eq!(resident_bytes("nothing"), None);
    }
}
