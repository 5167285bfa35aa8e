//! The totals of one shard's TLS: handshakes, where connections' records are handled and why, keys.

use super::counters::{Counter, Gauge};
use super::histogram::Histogram;
use crate::tls::reason::TlsReason;

/// Whose handshake it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum TlsSide {
    /// A client's, with a listener.
    Downstream,
    /// Ours, with an endpoint.
    Upstream,
}

impl TlsSide {
    /// Both sides, in the order of their numbers.
    pub const ALL: [TlsSide; 2] = [TlsSide::Downstream, TlsSide::Upstream];

    /// The word used in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            TlsSide::Downstream => "downstream",
            TlsSide::Upstream => "upstream",
        }
    }
}

/// The labels of versions, in the order of [`TlsStats::handshakes`].
pub const TLS_VERSIONS: [&str; 2] = ["TLSv1.2", "TLSv1.3"];

/// Who handles a connection's records, and why it is not the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum TlsPlace {
    /// The kernel does.
    Kernel,
    /// The configuration says so.
    Off,
    /// The kernel has no TLS.
    NoKernelTls,
    /// The kernel has TLS, but not this version with this suite.
    Suite,
    /// The kernel can't renew keys.
    NoRekey,
    /// The kernel calls a socket readable that has half a record.
    HalfRecords,
    /// It has not moved much, and is no tunnel.
    NotBulk,
    /// A message about keys has come that has no answer yet, or part of a record.
    Unsettled,
}

impl TlsPlace {
    /// All of them, in the order of their numbers.
    pub const ALL: [TlsPlace; 8] = [
        TlsPlace::Kernel,
        TlsPlace::Off,
        TlsPlace::NoKernelTls,
        TlsPlace::Suite,
        TlsPlace::NoRekey,
        TlsPlace::HalfRecords,
        TlsPlace::NotBulk,
        TlsPlace::Unsettled,
    ];

    /// The words used in metrics: who, and why.
    pub const fn labels(self) -> [&'static str; 2] {
        match self {
            TlsPlace::Kernel => ["kernel", "chosen"],
            TlsPlace::Off => ["user", "off"],
            TlsPlace::NoKernelTls => ["user", "no_kernel_tls"],
            TlsPlace::Suite => ["user", "suite"],
            TlsPlace::NoRekey => ["user", "no_rekey"],
            TlsPlace::HalfRecords => ["user", "half_records"],
            TlsPlace::NotBulk => ["user", "not_bulk"],
            TlsPlace::Unsettled => ["user", "unsettled"],
        }
    }
}

/// What one shard's TLS did and holds.
#[derive(Debug, Default)]
pub struct TlsStats {
    /// Finished handshakes by [`TlsSide`], version (see [`TLS_VERSIONS`]), and whether a session was resumed.
    pub handshakes: [[[Counter; 2]; 2]; 2],
    /// Failed handshakes by [`TlsSide`] and [`TlsReason::index`].
    pub failures: [[Counter; TlsReason::COUNT]; 2],
    /// How long finished handshakes took, by [`TlsSide`].
    pub duration: [Histogram; 2],
    /// Handshakes in progress.
    pub handshaking: Gauge,
    /// Handshakes that wait for their turn to compute.
    pub waiting: Gauge,
    /// Connections by who handles their records, by [`TlsPlace`].
    pub connections: [Gauge; 8],
    /// Connections that were handed to the kernel.
    pub kernel_total: Counter,
    /// Connections that were lost while they were handed to the kernel.
    pub kernel_lost: Counter,
    /// Messages that renew keys: received, sent.
    pub key_updates: [Counter; 2],
    /// Connections whose end came without the peer's close_notify.
    pub truncated: Counter,
    /// Connections that were ended because their keys were used up, or could not be renewed.
    pub keys_exhausted: Counter,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_in_order() {
        for (number, place) in TlsPlace::ALL.into_iter().enumerate() {
            assert_eq!(place as usize, number);
        }
        assert_eq!(TlsStats::default().connections.len(), TlsPlace::ALL.len());
    }
}
