//! What a reader of measurements has to know about the machine.

use std::fmt;
use std::fs;

use serde_json::{Value, json};

/// The machine that measured.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    cpus: usize,
    model: String,
    kernel: String,
    congestion_control: String,
    /// How the clock rate is chosen, where the kernel chooses.
    governor: Option<String>,
}

impl Machine {
    /// This one.
    pub(crate) fn here() -> Self {
        let read = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned());
        let cpu = read("/proc/cpuinfo").unwrap_or_default();
        let model = cpu.lines().find(|line| line.starts_with("model name"));
        let model = model.and_then(|line| line.split_once(':')).map_or("unknown", |(_, name)| name.trim());
        let text = |path| read(path).unwrap_or_else(|_| "unknown".to_owned());
        Machine {
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            model: model.to_owned(),
            kernel: text("/proc/sys/kernel/osrelease"),
            congestion_control: text("/proc/sys/net/ipv4/tcp_congestion_control"),
            governor: read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").ok(),
        }
    }

    /// For reports.
    pub(crate) fn json(&self) -> Value {
        json!({
            "cpus": self.cpus,
            "cpu_model": self.model,
            "kernel": self.kernel,
            "congestion_control": self.congestion_control,
            "governor": self.governor,
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} CPUs ({}), Linux {}", self.cpus, self.model, self.kernel)?;
        write!(f, ", TCP congestion control {}, loopback", self.congestion_control)?;
        match &self.governor {
            Some(governor) => write!(f, ", governor {governor}"),
            None => Ok(()),
        }
    }
}
