//! The totals of one shard's HTTP/2 connections, by the side they are on.

use super::counters::{Counter, Gauge};
use crate::http::h2::Flood;

/// Which side a connection is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Side {
    /// Clients'.
    Downstream,
    /// To endpoints.
    Upstream,
}

impl Side {
    /// Both sides, in the order of their numbers.
    pub const ALL: [Side; 2] = [Side::Downstream, Side::Upstream];

    /// The word used in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Side::Downstream => "downstream",
            Side::Upstream => "upstream",
        }
    }
}

/// What one shard did with the HTTP/2 connections of one side.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct Http2Stats {
    // First: written by every stream.
    /// Streams begun.
    pub streams_total: Counter,
    /// Streams in progress.
    pub streams_active: Gauge,
    // The rest is rare.
    /// Connections begun.
    pub connections_total: Counter,
    /// Connections open.
    pub connections_active: Gauge,
    /// Streams that the peer reset.
    pub resets_received: Counter,
    /// Streams that the proxy reset.
    pub resets_sent: Counter,
    /// GOAWAYs of peers.
    pub goaways_received: Counter,
    /// GOAWAYs to peers.
    pub goaways_sent: Counter,
    /// Connections closed because a sign of life did not come.
    pub pings_failed: Counter,
    /// Connections ended because a budget was used up, by the number of its [`Flood`].
    pub floods: [Counter; Flood::COUNT],
}

impl Default for Http2Stats {
    fn default() -> Self {
        Http2Stats {
            streams_total: Counter::new(),
            streams_active: Gauge::new(),
            connections_total: Counter::new(),
            connections_active: Gauge::new(),
            resets_received: Counter::new(),
            resets_sent: Counter::new(),
            goaways_received: Counter::new(),
            goaways_sent: Counter::new(),
            pings_failed: Counter::new(),
            floods: [const { Counter::new() }; Flood::COUNT],
        }
    }
}
