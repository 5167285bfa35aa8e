//! CPU time of a process with its threads and children, from the scheduler's own account.
//!
//! `/proc/PID/task/TID/schedstat` begins with the nanoseconds that the thread has run. Unlike
//! `utime` and `stime` in `/proc/PID/stat` it is not sampled. Those are what tells the program's own time
//! from the kernel's on its behalf, in ticks of 10 ms: they give the shares, over many measurements.

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

/// Ticks that these processes have spent in their own code and in the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ticks {
    /// In the program.
    pub(crate) user: u64,
    /// In the kernel for the program.
    pub(crate) system: u64,
}

impl Ticks {
    /// The ticks of these processes so far.
    pub(crate) fn of(processes: &[u32]) -> Self {
        let read = |process: &u32| fs::read_to_string(format!("/proc/{process}/stat")).ok();
        processes.iter().filter_map(read).filter_map(|line| Self::parse(&line)).fold(
            Ticks::default(),
            |sum, ticks| Ticks { user: sum.user + ticks.user, system: sum.system + ticks.system },
        )
    }

    /// `utime` and `stime`, fields 14 and 15. The second field is a name that may hold spaces and brackets.
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.rsplit_once(')')?.1.split_whitespace().skip(11);
        Some(Ticks { user: fields.next()?.parse().ok()?, system: fields.next()?.parse().ok()? })
    }

    /// What came after `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        Ticks {
            user: self.user.saturating_sub(before.user),
            system: self.system.saturating_sub(before.system),
        }
    }
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
    fn ticks_are_found_behind_a_strange_name() {
        let line = "12 (a) b) S 1 12 12 0 -1 4194560 100 0 0 0 77 33 0 0 20 0 1 0 5 1 1";
        assert_eq!(Ticks::parse(line), Some(Ticks { user: 77, system: 33 }));
        assert_eq!(Ticks::parse(line).unwrap().since(Ticks { user: 70, system: 33 }).user, 7);
        assert_eq!(Ticks::parse(""), None);
    }

    #[test]
    fn children_belong_to_the_tree() {
        let mut child = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        assert!(tree(std::process::id()).contains(&child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
