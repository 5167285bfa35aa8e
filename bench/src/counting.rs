//! Counts what running processes do while a client runs: system calls, or instructions in user mode.
//!
//! `perf stat` where the machine has it and lets us; for system calls else `strace -c`, which is slower
//! but counts the same. Both attach before the client starts and detach when it has ended, so that a
//! program's start is never in the count.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use crate::Problem;
use crate::process::{Process, command_line};

/// perf's name of system calls entered.
const SYSTEM_CALLS: &str = "raw_syscalls:sys_enter";

/// perf's name of the hardware's count of instructions in user mode.
const INSTRUCTIONS: &str = "instructions:u";

/// How long strace may take to attach.
const ATTACH_PATIENCE: Duration = Duration::from_secs(10);

/// System calls of `processes` while the client runs, and what the client wrote. The client is made anew
/// for each try.
///
/// # Errors
/// The client failed. `Ok(None)` if this machine has no means to count.
pub(crate) fn system_calls(
    processes: &[u32],
    folder: &Path,
    client: impl Fn() -> Command,
) -> Result<Option<(u64, Output)>, Problem> {
    match by_perf(SYSTEM_CALLS, processes, folder, &client()) {
        Some(counted) => Ok(Some(counted)),
        None => by_strace(processes, folder, client()),
    }
}

/// Instructions that `processes` ran in user mode while the client runs, by the hardware's counter.
/// `None` where there is no such counter, as on most virtual machines.
pub(crate) fn instructions(processes: &[u32], folder: &Path, client: &Command) -> Option<(u64, Output)> {
    by_perf(INSTRUCTIONS, processes, folder, client)
}

/// Whether the hardware's counter of instructions can be read.
pub(crate) fn has_instructions() -> bool {
    let mut command = Command::new("perf");
    command.args(["stat", "-x", ",", "-e", INSTRUCTIONS, "--", "true"]);
    command.output().is_ok_and(|output| {
        perf_count(&String::from_utf8_lossy(&output.stderr), INSTRUCTIONS).is_some_and(|count| count > 0)
    })
}

/// `None` if perf is missing, is not allowed to, or the client failed under it.
fn by_perf(event: &str, processes: &[u32], folder: &Path, client: &Command) -> Option<(u64, Output)> {
    let ids: Vec<String> = processes.iter().map(ToString::to_string).collect();
    let counts = folder.join("perf");
    let mut command = Command::new("perf");
    command.args(["stat", "-x", ",", "-e", event, "-p", &ids.join(","), "-o"]).arg(&counts);
    command.arg("--").arg(client.get_program()).args(client.get_args());
    let output = command.output().ok().filter(|output| output.status.success())?;
    let count = perf_count(&fs::read_to_string(&counts).ok()?, event)?;
    Some((count, output))
}

fn by_strace(
    processes: &[u32],
    folder: &Path,
    mut client: Command,
) -> Result<Option<(u64, Output)>, Problem> {
    let counts = folder.join("strace");
    let mut command = Command::new("strace");
    command.args(["-c", "-f", "-q", "-o"]).arg(&counts);
    for id in processes {
        command.args(["-p", &id.to_string()]);
    }
    let Ok(mut strace) = Process::start("strace", &mut command, folder) else { return Ok(None) };
    let attached = || processes.iter().all(|&process| is_traced(process));
    if strace.wait_until("attached", ATTACH_PATIENCE, attached).is_err() {
        return Ok(None);
    }
    let output = client.output().map_err(|e| format!("can't run {}: {e}", command_line(&client)))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{}: {}", command_line(&client), words.trim()));
    }
    // Told to end, it detaches and writes its table.
    drop(strace);
    let text = fs::read_to_string(&counts).unwrap_or_default();
    Ok(strace_count(&text).map(|count| (count, output)))
}

/// Whether all threads of a process have a tracer.
fn is_traced(process: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return false };
    threads.flatten().all(|thread| {
        let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
        tracer.is_some_and(|id| id.trim() != "0")
    })
}

/// The count in `perf stat -x ,` output: the first field of the event's line.
fn perf_count(text: &str, event: &str) -> Option<u64> {
    text.lines().find(|line| line.contains(event))?.split(',').next()?.parse().ok()
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
        assert_eq!(perf_count(perf, SYSTEM_CALLS), Some(12_345));
        assert_eq!(perf_count("<not counted>,,raw_syscalls:sys_enter,0,0.00,,\n", SYSTEM_CALLS), None);
        assert_eq!(perf_count("<not supported>,,instructions:u,0,100.00,,\n", INSTRUCTIONS), None);
        let strace = "% time     seconds  usecs/call     calls    errors syscall\n\
            ------ ----------- ----------- --------- --------- ----------------\n\
            60.00    0.000060           1        40           epoll_wait\n\
            100.00    0.000100           1        70         2 total\n";
        assert_eq!(strace_count(strace), Some(70));
        assert_eq!(strace_count(""), None);
    }
}
