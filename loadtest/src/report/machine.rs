//! The machine that sends: what a reader has to know to judge or repeat a measurement.

use std::fs;

use crate::result::Machine;

/// This machine, with the driver that the sockets use.
pub(crate) fn machine(driver: &str) -> Machine {
    let system = rustix::system::uname();
    let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    Machine {
        cpu: fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| model(&text)).unwrap_or_else(|| {
            // Not every architecture names its model.
            text(system.machine())
        }),
        cpus: std::thread::available_parallelism().map_or(1, |count| count.get() as u32),
        kernel: format!("{} {}", text(system.sysname()), text(system.release())),
        governor: word("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        congestion_control: word("/proc/sys/net/ipv4/tcp_congestion_control"),
        driver: driver.to_owned(),
    }
}

/// The model in the text of `/proc/cpuinfo`.
fn model(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    let name = line.split_once(':')?.1;
    // Some have runs of spaces in their names.
    Some(name.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn word(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned()).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_a_processor_and_a_kernel() {
        assert_eq!(model("processor\t: 0\nmodel name\t: A  B\n"), Some("A B".to_owned()));
        assert_eq!(model("processor\t: 0\n"), None);
        let machine = machine("epoll");
        assert!(!machine.cpu.is_empty() && machine.kernel.starts_with("Linux ") && machine.cpus > 0);
    }
}
