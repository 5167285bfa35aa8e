//! System calls of a running program: counted by `perf`, else by `strace`.
//!
//! Counting costs time, so it happens in runs of its own.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::Problem;
use crate::peers::stage::{run_client, with_arguments};
use crate::process::Process;

/// How long `strace` is given until it is attached, which it does not tell.
const ATTACH_TIME: Duration = Duration::from_millis(500);

/// Runs `client` and counts the system calls of `processes` meanwhile, with what the client reports. The
/// count is `None` if this machine has no means to count.
///
/// # Errors
/// The client failed.
pub(crate) fn count(
    processes: &[u32],
    folder: &Path,
    client: &Command,
) -> Result<(Option<u64>, Value), Problem> {
    let counts = folder.join("counts");
    let ids: Vec<String> = processes.iter().map(ToString::to_string).collect();
    let mut perf = Command::new("perf");
    perf.args(["stat", "-x", ",", "-e", "raw_syscalls:sys_enter", "-p", &ids.join(","), "-o"]).arg(&counts);
    perf.arg("--").arg(client.get_program());
    if let Ok(report) = run_client(&mut with_arguments(perf, client))
        && let Some(count) = perf_count(&fs::read_to_string(&counts).unwrap_or_default())
    {
        return Ok((Some(count), report));
    }
    by_strace(&ids, folder, client)
}

/// The slower way, for machines without `perf` or its permissions.
fn by_strace(ids: &[String], folder: &Path, client: &Command) -> Result<(Option<u64>, Value), Problem> {
    let counts = folder.join("strace");
    let mut command = Command::new("strace");
    command.args(["-c", "-f", "-q", "-o"]).arg(&counts);
    for id in ids {
        command.args(["-p", id]);
    }
    let strace = Process::start("strace", &mut command, folder).ok();
    std::thread::sleep(ATTACH_TIME);
    let again = Command::new(client.get_program());
    let report = run_client(&mut with_arguments(again, client))?;
    drop(strace);
    Ok((strace_count(&fs::read_to_string(&counts).unwrap_or_default()), report))
}

/// The count in `perf stat -x ,` output: the first field of the event's line.
fn perf_count(text: &str) -> Option<u64> {
    text.lines().find(|line| line.contains("sys_enter"))?.split(',').next()?.parse().ok()
}

/// The calls in the `total` line of `strace -c`: the fourth column.
fn strace_count(text: &str) -> Option<u64> {
    let total = text.lines().rev().find(|line| line.trim_end().ends_with("total"))?;
    total.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_found_in_the_tools_output() {
        let perf = "# started on Fri\n\n12345,,raw_syscalls:sys_enter,500000,100.00,,\n";
        assert_eq!(perf_count(perf), Some(12_345));
        assert_eq!(perf_count("<not counted>,,raw_syscalls:sys_enter,0,0.00,,\n"), None);
        let strace = "% time     seconds  usecs/call     calls    errors syscall\n\
            ------ ----------- ----------- --------- --------- ----------------\n\
            60.00    0.000060           1        40           epoll_wait\n\
            100.00    0.000100           1        70         2 total\n";
        assert_eq!(strace_count(strace), Some(70));
        assert_eq!(strace_count(""), None);
    }
}
