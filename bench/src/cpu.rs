//! CPU time of a process with its threads and children, from the scheduler's own account.
//!
//! `/proc/PID/task/TID/schedstat` begins with the nanoseconds that the thread has run. Unlike
//! `utime` and `stime` it is not sampled.

use std::fs;

/// The CPUs that this program may use.
pub(crate) fn allowed() -> Vec<usize> {
    let set = rustix::thread::sched_getaffinity(None).unwrap_or_default();
    (0..rustix::thread::CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect()
}

/// The process and everything below it.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let mut next = 0;
    while next < found.len() {
        for thread in threads(found[next]) {
            let children = fs::read_to_string(format!("/proc/{}/task/{thread}/children", found[next]));
            found.extend(
                children.unwrap_or_default().split_whitespace().filter_map(|id| id.parse::<u32>().ok()),
            );
        }
        next += 1;
    }
    found
}

fn threads(process: u32) -> Vec<u32> {
    let entries = fs::read_dir(format!("/proc/{process}/task"));
    entries
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|e| e.file_name().to_string_lossy().parse().ok())
        .collect()
}

/// Nanoseconds that all threads of these processes have run so far.
pub(crate) fn run_nanos(processes: &[u32]) -> u64 {
    let schedstat = |process: u32, thread: u32| {
        fs::read_to_string(format!("/proc/{process}/task/{thread}/schedstat"))
            .ok()
            .and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok())
    };
    processes.iter().flat_map(|&p| threads(p).into_iter().filter_map(move |t| schedstat(p, t))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_cpu_is_allowed() {
        assert!(!allowed().is_empty());
    }

    #[test]
    fn work_shows_in_the_run_time() {
        let me = std::process::id();
        assert!(tree(me).contains(&me));
        let before = run_nanos(&[me]);
        let start = std::time::Instant::now();
        let mut x = 1_u64;
        while start.elapsed().as_millis() < 30 {
            x = std::hint::black_box(x.wrapping_mul(3));
        }
        // Other work may have had most of the CPU meanwhile, but some of it was ours.
        assert!(run_nanos(&[me]) > before + 1_000_000);
    }

    #[test]
    fn children_belong_to_the_tree() {
        let mut child = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        assert!(tree(std::process::id()).contains(&child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
