//! What the gate measures, how each measure is called and shown.

use serde::{Deserialize, Serialize};

use crate::units;

/// A measure of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Measure {
    /// Latency from the due time that half of the requests do not exceed, in nanoseconds.
    P50,
    /// The same for 99 %.
    P99,
    /// The same for 99.9 %.
    P999,
    /// Nanoseconds of CPU time per request, of all threads and children, kernel included.
    Cpu,
    /// Bytes of resident memory before the first request.
    MemoryIdle,
    /// Most bytes of resident memory seen under load.
    MemoryLoaded,
    /// System calls per request, one request at a time.
    SystemCalls,
    /// Instructions in user mode per request, one request at a time.
    Instructions,
}

impl Measure {
    /// All, in the order of tables.
    pub(crate) const ALL: [Measure; 8] = [
        Measure::P50,
        Measure::P99,
        Measure::P999,
        Measure::Cpu,
        Measure::MemoryIdle,
        Measure::MemoryLoaded,
        Measure::SystemCalls,
        Measure::Instructions,
    ];

    /// How tables call it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Measure::P50 => "p50",
            Measure::P99 => "p99",
            Measure::P999 => "p99.9",
            Measure::Cpu => "CPU per request",
            Measure::MemoryIdle => "memory, idle",
            Measure::MemoryLoaded => "memory, loaded",
            Measure::SystemCalls => "system calls per request",
            Measure::Instructions => "instructions per request",
        }
    }

    /// Whether it is counted in runs of its own, where the same program gives the same figure.
    pub(crate) fn is_counted(self) -> bool {
        matches!(self, Measure::SystemCalls | Measure::Instructions)
    }

    /// The share of requests that a percentile covers.
    pub(crate) fn quantile(self) -> Option<f64> {
        match self {
            Measure::P50 => Some(0.5),
            Measure::P99 => Some(0.99),
            Measure::P999 => Some(0.999),
            _ => None,
        }
    }

    /// A value with its unit.
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Measure::P50 | Measure::P99 | Measure::P999 | Measure::Cpu => units::show_nanos(value),
            Measure::MemoryIdle | Measure::MemoryLoaded => format!("{:.2} MiB", value / f64::from(1 << 20)),
            Measure::SystemCalls => format!("{value:.2}"),
            Measure::Instructions => format!("{value:.0}"),
        }
    }
}

/// A measure by its name in files: `p999`, `memory_idle`.
impl std::str::FromStr for Measure {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = serde_json::Value::from(text);
        serde_json::from_value(name).map_err(|_| format!("`{text}` is no measure"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_read_well() {
        assert_eq!("memory_idle".parse(), Ok(Measure::MemoryIdle));
        assert_eq!("p999".parse(), Ok(Measure::P999));
        assert!("p98".parse::<Measure>().is_err());
        assert_eq!(Measure::Cpu.show(12_340.0), "12.3 µs");
        assert_eq!(Measure::MemoryIdle.show(f64::from(8 << 20)), "8.00 MiB");
        assert_eq!(Measure::SystemCalls.show(4.0), "4.00");
    }
}
