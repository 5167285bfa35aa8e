//! The totals of one shard: for itself and for each listener, route, cluster and endpoint.
//!
//! Invariants:
//! - one shard writes a given struct, everybody may read it (see [`counters`](super::counters));
//! - structs are aligned to 128 bytes (two lines: CPUs fetch them in pairs), so that no two shards ever
//!   share a line;
//! - fields written by the same event lie together: what one request touches comes first.
//!
//! Not here: names and labels of metrics ([`names`](super::names)), counts that limit the whole proxy.

use super::counters::{Counter, Gauge};
use super::histogram::Histogram;
use super::http2::Http2Stats;
use super::tls::TlsStats;
use crate::fault::Fault;

/// Where relayed bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Direction {
    /// Towards the upstream: request bodies, what clients send through tunnels.
    Upstream,
    /// Towards the client: response bodies, what upstreams send through tunnels.
    Downstream,
}

impl Direction {
    /// Both directions, in the order of their numbers.
    pub const ALL: [Direction; 2] = [Direction::Upstream, Direction::Downstream];

    /// The word used in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Direction::Upstream => "upstream",
            Direction::Downstream => "downstream",
        }
    }
}

/// Counts of responses by class: place 0 is "none" (no status was sent), places 1 to 5 are 1xx to 5xx.
pub type Classes = [Counter; 6];

/// The labels of [`Classes`], in their order.
pub const CLASS_LABELS: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// The place of `status` in [`Classes`]; 0 for anything that is not a status.
#[inline]
pub const fn class_of(status: u16) -> usize {
    let class = (status / 100) as usize;
    if class < CLASS_LABELS.len() { class } else { 0 }
}

/// What one shard did and holds.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct ShardStats {
    // First pair of lines: written by every request.
    /// Requests begun.
    pub requests_total: Counter,
    /// Requests in progress.
    pub requests_active: Gauge,
    /// Downstream connections open.
    pub connections_active: Gauge,
    /// Pooled buffers in use.
    pub buffers_in_use: Gauge,
    /// Bytes of pooled buffers held, in use or kept for reuse.
    pub buffer_bytes: Gauge,
    /// Bytes of bodies and tunnels relayed through a buffer, by [`Direction`].
    pub relay_bytes_copy: [Counter; 2],
    /// Bytes of bodies and tunnels relayed inside the kernel, by [`Direction`].
    pub relay_bytes_splice: [Counter; 2],
    /// Access log records that found the ring full.
    pub log_dropped: Counter,
    /// Heap allocations of the shard's thread, counted by the allocator's hook where one is installed.
    pub allocations: Counter,
    // Second pair: written by every turn of the loop.
    /// How late timers ran: the time between due and done.
    pub loop_lag: Histogram,
    // The rest is rare.
    /// Generation of the snapshot in force on this shard.
    pub generation: Gauge,
    /// Accepts that failed (no descriptor, no memory, aborted).
    pub accept_errors: Counter,
    /// Connections handed to this shard by another.
    pub parked_in: Counter,
    /// Connections this shard handed to another.
    pub parked_out: Counter,
    /// Connections this shard gave away because it held more than its share.
    pub connections_rebalanced: Counter,
    /// Requests that ended with each fault, by [`Fault::index`].
    pub faults: [Counter; Fault::COUNT],
    /// HTTP/2 connections, by [`Side`](super::http2::Side).
    pub http2: [Http2Stats; 2],
    /// Handshakes, keys, and who handles the records.
    pub tls: TlsStats,
}

impl Default for ShardStats {
    fn default() -> Self {
        ShardStats {
            requests_total: Counter::new(),
            requests_active: Gauge::new(),
            connections_active: Gauge::new(),
            buffers_in_use: Gauge::new(),
            buffer_bytes: Gauge::new(),
            relay_bytes_copy: Default::default(),
            relay_bytes_splice: Default::default(),
            log_dropped: Counter::new(),
            allocations: Counter::new(),
            loop_lag: Histogram::new(),
            generation: Gauge::new(),
            accept_errors: Counter::new(),
            parked_in: Counter::new(),
            parked_out: Counter::new(),
            connections_rebalanced: Counter::new(),
            faults: [const { Counter::new() }; Fault::COUNT],
            http2: Default::default(),
            tls: TlsStats::default(),
        }
    }
}

/// What one shard did for one listener.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub struct ListenerStats {
    /// Requests begun.
    pub requests_total: Counter,
    /// Bytes received from clients.
    pub received_bytes: Counter,
    /// Bytes sent to clients.
    pub sent_bytes: Counter,
    /// Connections accepted.
    pub connections_total: Counter,
    /// Connections of a listener with TLS by how they are secured: not, by the server's certificate, by both.
    pub secured: [Counter; 3],
    /// Connections open.
    pub connections_active: Gauge,
    /// Connections closed at once because a limit was reached.
    pub connections_refused: Counter,
    /// Tunnels begun.
    pub tunnels_total: Counter,
    /// Tunnels open.
    pub tunnels_active: Gauge,
    /// Requests whose offer to upgrade stayed behind.
    pub upgrades_stripped: Counter,
    /// How long tunnels lasted.
    pub tunnel_duration: Histogram,
}

/// What one shard did for one route.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub struct RouteStats {
    /// Responses to clients by class.
    pub responses: Classes,
    /// From the first byte of the request to the last byte of the response.
    pub duration: Histogram,
    /// Connections taken, by a route of connections that are passed on.
    pub connections_total: Counter,
}

impl RouteStats {
    /// Counts one finished request: `status` 0 when none was sent, its duration in nanoseconds.
    #[inline]
    pub fn finished(&self, status: u16, nanos: u64) {
        self.responses[class_of(status)].inc();
        self.duration.record(nanos);
    }
}

/// What one shard did with one cluster.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub struct ClusterStats {
    // First pair of lines: written by every request.
    /// Responses by class, retried ones included; "none" is an attempt without a response.
    pub responses: Classes,
    /// From an attempt's request being sent to the response's head.
    pub first_byte: Histogram,
    /// Requests in progress.
    pub requests_active: Gauge,
    /// Requests that took an idle connection.
    pub reused: Counter,
    /// Requests waiting for a connection.
    pub pending: Gauge,
    /// Connections open.
    pub connections_active: Gauge,
    // The rest is rare.
    /// Connections attempted.
    pub connects_total: Counter,
    /// Connections that failed, timeouts included.
    pub connect_failures: Counter,
    /// Connections not accepted in time.
    pub connect_timeouts: Counter,
    /// Requests refused because the pending queue was full.
    pub pending_overflow: Counter,
    /// Requests refused because no connection became free in time.
    pub pending_timeouts: Counter,
    /// Attempts after the first, by the route's retry rules.
    pub retries: Counter,
    /// Attempts after the first, because an idle connection turned out to be closed.
    pub stale_retries: Counter,
    /// Tunnels begun.
    pub tunnels_total: Counter,
    /// Tunnels open.
    pub tunnels_active: Gauge,
    /// Bytes sent to endpoints through tunnels.
    pub tunnel_sent_bytes: Counter,
    /// Bytes received from endpoints through tunnels.
    pub tunnel_received_bytes: Counter,
    /// How long tunnels lasted.
    pub tunnel_duration: Histogram,
}

/// What one shard did with one endpoint.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub struct EndpointStats {
    /// Requests sent.
    pub requests_total: Counter,
    /// Requests that ended without a usable response, and failed connects.
    pub failures_total: Counter,
    /// Requests in progress.
    pub requests_active: Gauge,
    /// Connections open.
    pub connections_active: Gauge,
}

#[cfg(test)]
mod tests {
    use std::mem::{align_of, offset_of, size_of};

    use super::*;

    #[test]
    fn what_a_request_touches_shares_lines() {
        const PAIR: usize = 128;
        assert!(offset_of!(ShardStats, allocations) < PAIR);
        assert!(offset_of!(RouteStats, duration) + size_of::<Histogram>() <= 64, "one line for a route");
        assert!(offset_of!(ClusterStats, connections_active) < PAIR);
        assert_eq!(size_of::<ListenerStats>(), PAIR);
        assert_eq!(size_of::<EndpointStats>(), PAIR);
        for align in [align_of::<ShardStats>(), align_of::<RouteStats>(), align_of::<ClusterStats>()] {
            assert_eq!(align, PAIR);
        }
    }

    #[test]
    fn classes() {
        let labels: Vec<_> = [0, 99, 100, 200, 302, 404, 599, 600, 65_535].map(class_of).into();
        assert_eq!(labels, [0, 0, 1, 2, 3, 4, 5, 0, 0]);
        let route = RouteStats::default();
        route.finished(204, 5);
        assert_eq!((route.responses[2].get(), route.duration.count()), (1, 1));
    }
}
