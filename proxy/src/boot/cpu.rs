//! Which CPUs this process may use, and how many shards that makes.
//!
//! Invariants: the affinity mask and the cgroup's CPU quota are both respected; a quota smaller than the mask
//! means that time is shared, so that shards are then not pinned (every such process would pin itself to the
//! same first CPUs).

use std::fs;
use std::path::{Path, PathBuf};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Shards and where they run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Placement {
    /// The CPU of each shard; `None` runs wherever the scheduler puts it.
    pub(crate) shards: Vec<Option<usize>>,
    /// CPUs in the affinity mask.
    pub(crate) allowed: usize,
    /// The cgroup's quota in CPUs, if there is one.
    pub(crate) quota: Option<f64>,
}

/// Places `wanted` shards, or one per CPU that may be used.
pub(crate) fn place(wanted: Option<u32>) -> Placement {
    plan(&allowed_cpus(), cgroup_quota(Path::new("/sys/fs/cgroup"), Path::new("/proc/self/cgroup")), wanted)
}

fn plan(allowed: &[usize], quota: Option<f64>, wanted: Option<u32>) -> Placement {
    let by_quota = quota.map_or(usize::MAX, |quota| (quota.floor() as usize).max(1));
    let usable = allowed.len().min(by_quota).max(1);
    let count = wanted.map_or(usable, |wanted| (wanted as usize).max(1));
    let shared = usable < allowed.len() || allowed.is_empty();
    let cpu = |shard: usize| (!shared).then(|| allowed[shard % allowed.len()]);
    Placement { shards: (0..count).map(cpu).collect(), allowed: allowed.len(), quota }
}

fn allowed_cpus() -> Vec<usize> {
    match sched_getaffinity(None) {
        Ok(set) => (0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect(),
        Err(_) => Vec::new(),
    }
}

/// The smallest quota from this process's cgroup up to the root, in CPUs: `cpu.max` (version 2) or
/// `cpu.cfs_quota_us` (version 1).
fn cgroup_quota(root: &Path, membership: &Path) -> Option<f64> {
    let text = fs::read_to_string(membership).ok()?;
    let mut least: Option<f64> = None;
    for line in text.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let base = match controllers {
            "" => root.to_path_buf(),
            list if list.split(',').any(|name| name == "cpu") => root.join("cpu"),
            _ => continue,
        };
        for folder in ancestors(&base, path) {
            if let Some(quota) = folder_quota(&folder) {
                least = Some(least.map_or(quota, |least| least.min(quota)));
            }
        }
    }
    least
}

fn ancestors(base: &Path, path: &str) -> Vec<PathBuf> {
    let leaf = base.join(path.trim_start_matches('/'));
    leaf.ancestors().take_while(|folder| folder.starts_with(base)).map(Path::to_path_buf).collect()
}

fn folder_quota(folder: &Path) -> Option<f64> {
    let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let (quota, period) = match read("cpu.max") {
        Some(text) => {
            let mut words = text.split_whitespace().map(str::to_owned);
            (words.next()?, words.next()?)
        }
        None => (read("cpu.cfs_quota_us")?, read("cpu.cfs_period_us")?),
    };
    // "max" and -1 mean no quota.
    let quota: f64 = quota.trim().parse().ok()?;
    let period: f64 = period.trim().parse().ok()?;
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

/// Pins the calling thread to `cpu`.
pub(crate) fn pin(cpu: usize) -> std::io::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(sched_setaffinity(None, &set)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pinned_shard_per_allowed_cpu() {
        let placement = plan(&[2, 5], None, None);
        assert_eq!(placement.shards, [Some(2), Some(5)]);
        assert_eq!(plan(&[2, 5], None, Some(3)).shards, [Some(2), Some(5), Some(2)]);
    }

    #[test]
    fn a_smaller_quota_means_fewer_shards_and_no_pinning() {
        assert_eq!(plan(&[0, 1, 2, 3], Some(2.5), None).shards, [None, None]);
        assert_eq!(plan(&[0, 1], Some(0.2), None).shards, [None]);
        assert_eq!(plan(&[0, 1], Some(8.0), None).shards, [Some(0), Some(1)]);
    }

    #[test]
    fn the_smallest_quota_on_the_way_up_counts() {
        let folder = tempfile::tempdir().unwrap();
        let leaf = folder.path().join("a/b");
        fs::create_dir_all(&leaf).unwrap();
        fs::write(leaf.join("cpu.max"), "max 100000\n").unwrap();
        fs::write(folder.path().join("a/cpu.max"), "150000 100000\n").unwrap();
        let membership = folder.path().join("membership");
        fs::write(&membership, "0::/a/b\n").unwrap();
        assert_eq!(cgroup_quota(folder.path(), &membership), Some(1.5));
        fs::write(&membership, "0::/\n").unwrap();
        assert_eq!(cgroup_quota(folder.path(), &membership), None);
    }
}
