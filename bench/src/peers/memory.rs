//! Private memory of a process with its children: what would be free again without it.

use std::fs;

use crate::cpu;

/// Bytes of private pages, touched ones only, of the process and everything below it. `None` if it is gone.
pub(crate) fn private_bytes(root: u32) -> Option<u64> {
    let rollup = |process: u32| fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok();
    cpu::tree(root).into_iter().map(|process| parse(&rollup(process)?)).sum()
}

/// The sum of the lines `Private_Clean` and `Private_Dirty`, given in KiB.
fn parse(text: &str) -> Option<u64> {
    let line = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    Some((line("Private_Clean:")? + line("Private_Dirty:")?) * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::process::{Command, Stdio};

    #[test]
    fn memory_that_is_written_to_is_counted() {
        assert_eq!(parse("Rss: 9 kB\nPrivate_Clean:  1 kB\nPrivate_Dirty:  2 kB\n"), Some(3 * 1024));
        assert_eq!(parse("Rss: 9 kB\n"), None);
        // Two shells, one of which keeps 20 MB.
        let [small, large] = ["x=", "x=$(head -c 20000000 /dev/zero | tr '\\0' a)"].map(|keep| {
            let script = format!("{keep}; echo up; read line; echo $x >/dev/null");
            let mut shell = Command::new("sh")
                .args(["-c", &script])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            shell.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).unwrap();
            let bytes = private_bytes(shell.id()).unwrap();
            drop(shell.stdin.take());
            shell.wait().unwrap();
            bytes
        });
        assert!(large > small + 19_000_000, "{small} {large}");
        assert_eq!(private_bytes(u32::MAX - 1), None);
    }
}
