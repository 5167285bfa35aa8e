//! Every metric family: name, kind, unit, help. The only place where a metric is named.
//!
//! Invariants (a test keeps them, `docs/metrics.md` is checked against [`ALL`]):
//! - names begin with `pinion_` or `process_`, use base units and end with the unit;
//! - counters end in `_total`, information in `_info`, nothing else does;
//! - labels come from the configuration or from closed lists in this crate.
//!
//! Not here: values, and the text formats.

/// What a family's samples mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A total that only grows.
    Counter,
    /// A number that goes up and down.
    Gauge,
    /// Cumulative buckets, a sum and a count.
    Histogram,
    /// Always 1; the labels say something.
    Info,
}

/// One metric family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// The name as it stands in the text format 0.0.4, `_total` and `_info` included.
    pub name: &'static str,
    /// What its samples mean.
    pub kind: Kind,
    /// The unit, which the name carries too; empty for plain numbers.
    pub unit: &'static str,
    /// The labels in the order in which they are written.
    pub labels: &'static [&'static str],
    /// One sentence for people, without the final full stop.
    pub help: &'static str,
}

impl Family {
    /// The name without the suffix of its kind: the family's name in OpenMetrics.
    pub fn base(&self) -> &'static str {
        let suffix = match self.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        };
        self.name.strip_suffix(suffix).unwrap_or(self.name)
    }
}

macro_rules! families {
    ($($const:ident: $kind:ident $name:literal $unit:literal [$($label:literal)*] $help:literal;)*) => {
        $(
            #[doc = concat!("`", $name, "`: ", $help, ".")]
            pub const $const: Family = Family {
                name: $name, kind: Kind::$kind, unit: $unit, labels: &[$($label),*], help: $help,
            };
        )*

        /// Every family, in the order of exposition.
        pub const ALL: &[Family] = &[$($const,)*];
    };
}

families! {
    BUILD_INFO: Info "pinion_build_info" "" ["version"] "The version of this program";
    DRIVER_INFO: Info "pinion_driver_info" "" ["driver"] "The I/O driver the shards run on (io_uring or epoll)";
    READY: Gauge "pinion_ready" "" [] "1 while the proxy takes new connections, 0 while it starts or drains";

    CONFIG_GENERATION: Gauge "pinion_config_generation" "" [] "Generation of the configuration in force";
    CONFIG_LAST_RELOAD_SUCCESSFUL: Gauge "pinion_config_last_reload_successful" "" [] "1 if the last reload was put in force, 0 if it was rejected";
    CONFIG_LAST_RELOAD_SUCCESS_TIMESTAMP: Gauge "pinion_config_last_reload_success_timestamp_seconds" "seconds" [] "When a configuration was last put in force, in Unix time";
    CONFIG_LAST_RELOAD_FAILURE_TIMESTAMP: Gauge "pinion_config_last_reload_failure_timestamp_seconds" "seconds" [] "When a configuration was last rejected, in Unix time; 0 if never";
    CONFIG_RELOADS: Counter "pinion_config_reloads_total" "" ["result"] "Configurations put in force (success) or rejected (failure)";

    REQUESTS: Counter "pinion_requests_total" "" ["listener"] "Requests begun";
    LISTENER_CONNECTIONS: Counter "pinion_listener_connections_total" "" ["listener"] "Connections accepted";
    LISTENER_CONNECTIONS_ACTIVE: Gauge "pinion_listener_connections_active" "" ["listener"] "Connections open";
    LISTENER_CONNECTIONS_REFUSED: Counter "pinion_listener_connections_refused_total" "" ["listener"] "Connections closed at once because a limit was reached";
    LISTENER_TUNNELS: Counter "pinion_listener_tunnels_total" "" ["listener"] "Tunnels begun: upgraded connections, CONNECT and connections passed on";
    LISTENER_TUNNELS_ACTIVE: Gauge "pinion_listener_tunnels_active" "" ["listener"] "Tunnels open";
    LISTENER_TUNNEL_DURATION: Histogram "pinion_listener_tunnel_duration_seconds" "seconds" ["listener"] "How long tunnels lasted";
    LISTENER_SECURED: Counter "pinion_listener_secured_connections_total" "" ["listener" "security"] "Connections of a listener with TLS by security: plain (permissive mode), tls, mutual_tls";
    LISTENER_UPGRADES_STRIPPED: Counter "pinion_listener_upgrades_stripped_total" "" ["listener"] "Requests that offered only protocols which are not allowed, and went on as ordinary ones";
    LISTENER_RECEIVED_BYTES: Counter "pinion_listener_received_bytes_total" "bytes" ["listener"] "Bytes received from clients";
    LISTENER_SENT_BYTES: Counter "pinion_listener_sent_bytes_total" "bytes" ["listener"] "Bytes sent to clients";

    ROUTE_RESPONSES: Counter "pinion_route_responses_total" "" ["route" "code_class"] "Responses to clients by class; none if no status was sent";
    ROUTE_DURATION: Histogram "pinion_route_duration_seconds" "seconds" ["route"] "From the first byte of a request to the last byte of its response, or to the beginning of its tunnel";
    ROUTE_CONNECTIONS: Counter "pinion_route_connections_total" "" ["route"] "Connections taken, by routes of connections that are passed on";

    GRPC_RESPONSES: Counter "pinion_grpc_responses_total" "" ["route" "service" "method" "code"] "gRPC requests by their status; none if the response ended without one. Methods are those that the route lists, or other";

    CLUSTER_RESPONSES: Counter "pinion_cluster_responses_total" "" ["cluster" "code_class"] "Responses of upstreams by class, retried ones included; none if there was no response";
    CLUSTER_FIRST_BYTE: Histogram "pinion_cluster_first_byte_seconds" "seconds" ["cluster"] "From a request being sent upstream to the head of the response";
    CLUSTER_REQUESTS_ACTIVE: Gauge "pinion_cluster_requests_active" "" ["cluster"] "Requests in progress";
    CLUSTER_CONNECTIONS_ACTIVE: Gauge "pinion_cluster_connections_active" "" ["cluster"] "Upstream connections open";
    CLUSTER_CONNECTIONS_REUSED: Counter "pinion_cluster_connections_reused_total" "" ["cluster"] "Requests that took an idle upstream connection";
    CLUSTER_CONNECTS: Counter "pinion_cluster_connects_total" "" ["cluster"] "Upstream connections attempted";
    CLUSTER_CONNECT_FAILURES: Counter "pinion_cluster_connect_failures_total" "" ["cluster"] "Upstream connections that failed, timeouts included";
    CLUSTER_CONNECT_TIMEOUTS: Counter "pinion_cluster_connect_timeouts_total" "" ["cluster"] "Upstream connections not accepted in time";
    CLUSTER_REQUESTS_PENDING: Gauge "pinion_cluster_requests_pending" "" ["cluster"] "Requests waiting for an upstream connection";
    CLUSTER_PENDING_OVERFLOWS: Counter "pinion_cluster_pending_overflows_total" "" ["cluster"] "Requests refused because the pending queue was full";
    CLUSTER_PENDING_TIMEOUTS: Counter "pinion_cluster_pending_timeouts_total" "" ["cluster"] "Requests refused because no upstream connection became free in time";
    CLUSTER_RETRIES: Counter "pinion_cluster_retries_total" "" ["cluster"] "Attempts after the first, by the route's retry rules";
    CLUSTER_STALE_RETRIES: Counter "pinion_cluster_stale_retries_total" "" ["cluster"] "Attempts after the first, because an idle connection turned out to be closed";
    CLUSTER_TUNNELS: Counter "pinion_cluster_tunnels_total" "" ["cluster"] "Tunnels begun: upgraded connections, CONNECT and connections passed on";
    CLUSTER_TUNNELS_ACTIVE: Gauge "pinion_cluster_tunnels_active" "" ["cluster"] "Tunnels open";
    CLUSTER_TUNNEL_SENT_BYTES: Counter "pinion_cluster_tunnel_sent_bytes_total" "bytes" ["cluster"] "Bytes sent to endpoints through tunnels";
    CLUSTER_TUNNEL_RECEIVED_BYTES: Counter "pinion_cluster_tunnel_received_bytes_total" "bytes" ["cluster"] "Bytes received from endpoints through tunnels";
    CLUSTER_TUNNEL_DURATION: Histogram "pinion_cluster_tunnel_duration_seconds" "seconds" ["cluster"] "How long tunnels lasted";

    ENDPOINT_REQUESTS: Counter "pinion_endpoint_requests_total" "" ["cluster" "endpoint"] "Requests sent";
    ENDPOINT_FAILURES: Counter "pinion_endpoint_failures_total" "" ["cluster" "endpoint"] "Requests without a usable response, and failed connects";
    ENDPOINT_REQUESTS_ACTIVE: Gauge "pinion_endpoint_requests_active" "" ["cluster" "endpoint"] "Requests in progress";
    ENDPOINT_CONNECTIONS_ACTIVE: Gauge "pinion_endpoint_connections_active" "" ["cluster" "endpoint"] "Connections open";

    FAULTS: Counter "pinion_faults_total" "" ["stage" "reason"] "Requests, and connections without requests, that ended with a fault, by stage and reason";
    RELAY_BYTES: Counter "pinion_relay_bytes_total" "bytes" ["path" "direction"] "Bytes of bodies and tunnels relayed, through a buffer (copy) or inside the kernel (splice)";

    SHARD_REQUESTS: Counter "pinion_shard_requests_total" "" ["shard"] "Requests begun";
    SHARD_REQUESTS_ACTIVE: Gauge "pinion_shard_requests_active" "" ["shard"] "Requests in progress, without tunnels";
    SHARD_CONNECTIONS_ACTIVE: Gauge "pinion_shard_connections_active" "" ["shard"] "Downstream connections open";
    SHARD_CONNECTIONS_PARKED: Counter "pinion_shard_connections_parked_total" "" ["shard" "direction"] "Connections moved to (in) or from (out) this shard";
    SHARD_CONNECTIONS_REBALANCED: Counter "pinion_shard_connections_rebalanced_total" "" ["shard"] "Connections given away because the shard held, or worked, more than its share";
    SHARD_ACCEPT_ERRORS: Counter "pinion_shard_accept_errors_total" "" ["shard"] "Accepts that failed";
    SHARD_BUFFERS_IN_USE: Gauge "pinion_shard_buffers_in_use" "" ["shard"] "Pooled buffers in use";
    SHARD_BUFFER_BYTES: Gauge "pinion_shard_buffer_bytes" "bytes" ["shard"] "Bytes of pooled buffers held";
    SHARD_LOOP_LAG: Histogram "pinion_shard_loop_lag_seconds" "seconds" ["shard"] "How late timers ran";
    SHARD_ALLOCATIONS: Counter "pinion_shard_allocations_total" "" ["shard"] "Heap allocations of the shard's thread, where the allocator counts them";
    SHARD_CONFIG_GENERATION: Gauge "pinion_shard_config_generation" "" ["shard"] "Generation of the configuration in force on the shard";

    HTTP2_CONNECTIONS: Counter "pinion_http2_connections_total" "" ["side"] "HTTP/2 connections begun";
    HTTP2_CONNECTIONS_ACTIVE: Gauge "pinion_http2_connections_active" "" ["side"] "HTTP/2 connections open";
    HTTP2_STREAMS: Counter "pinion_http2_streams_total" "" ["side"] "Streams begun";
    HTTP2_STREAMS_ACTIVE: Gauge "pinion_http2_streams_active" "" ["side"] "Streams in progress";
    HTTP2_PINGS_FAILED: Counter "pinion_http2_pings_failed_total" "" ["side"] "Connections closed because the peer gave no sign of life";
    HTTP2_RESETS: Counter "pinion_http2_resets_total" "" ["side" "direction"] "Streams reset, by the peer (received) or by the proxy (sent)";
    HTTP2_GOAWAYS: Counter "pinion_http2_goaways_total" "" ["side" "direction"] "GOAWAYs received and sent";
    HTTP2_FLOODS: Counter "pinion_http2_floods_total" "" ["side" "kind"] "Connections ended because the peer did too much of something";

    LOG_DROPPED: Counter "pinion_log_dropped_total" "" ["reason"] "Access log records lost because a ring was full or a write failed";
    LOG_WRITTEN: Counter "pinion_log_written_total" "" [] "Access log records written";
    LOG_WRITE_ERRORS: Counter "pinion_log_write_errors_total" "" [] "Failed writes to, and failed openings of, the access log";

    TLS_CERTIFICATE_EXPIRY: Gauge "pinion_tls_certificate_expiry_timestamp_seconds" "seconds" ["kind" "name" "file"] "When the first certificate of a file in force expires, in Unix time";
    TLS_RELOADS: Counter "pinion_tls_reloads_total" "" ["kind" "name" "result"] "Changes of a listener's or cluster's TLS files that came into force or were kept out";
    TLS_LAST_RELOAD_SUCCESSFUL: Gauge "pinion_tls_last_reload_successful" "" ["kind" "name"] "1 if the TLS files are in force as they now are, 0 if older ones are";
    LISTENER_TLS_HANDSHAKES_ACTIVE: Gauge "pinion_listener_tls_handshakes_active" "" ["listener"] "TLS handshakes in progress, which `handshakes_max` bounds";
    TLS_HANDSHAKES: Counter "pinion_tls_handshakes_total" "" ["side" "version" "resumed"] "TLS handshakes finished, with clients (downstream) and endpoints (upstream)";
    TLS_HANDSHAKE_FAILURES: Counter "pinion_tls_handshake_failures_total" "" ["side" "reason"] "TLS handshakes that failed";
    TLS_HANDSHAKE_DURATION: Histogram "pinion_tls_handshake_duration_seconds" "seconds" ["side"] "How long finished TLS handshakes took";
    TLS_HANDSHAKES_ACTIVE: Gauge "pinion_tls_handshakes_active" "" [] "TLS handshakes in progress on both sides";
    TLS_HANDSHAKES_WAITING: Gauge "pinion_tls_handshakes_waiting" "" [] "TLS handshakes that wait for their turn to compute";
    TLS_CONNECTIONS_ACTIVE: Gauge "pinion_tls_connections_active" "" ["records" "reason"] "TLS connections by who handles their records, and why it is not the kernel";
    TLS_KERNEL_CONNECTIONS: Counter "pinion_tls_kernel_connections_total" "" ["result"] "TLS connections handed to the kernel, or lost on the way";
    TLS_KERNEL_KEY_UPDATES: Counter "pinion_tls_kernel_key_updates_total" "" ["direction"] "KeyUpdates of connections whose records the kernel handles";
    TLS_TRUNCATIONS: Counter "pinion_tls_truncations_total" "" [] "TLS connections that ended without close_notify";
    TLS_KEYS_EXHAUSTED: Counter "pinion_tls_keys_exhausted_total" "" [] "TLS connections ended because keys were used up or could not be renewed";

    PROCESS_CPU: Counter "process_cpu_seconds_total" "seconds" [] "User and system CPU time of the process";
    PROCESS_RESIDENT_MEMORY: Gauge "process_resident_memory_bytes" "bytes" [] "Resident memory of the process";
    PROCESS_OPEN_FDS: Gauge "process_open_fds" "" [] "Open file descriptors of the process";
    PROCESS_MAX_FDS: Gauge "process_max_fds" "" [] "The most file descriptors the process may open";
    PROCESS_START_TIME: Gauge "process_start_time_seconds" "seconds" [] "When the process was started, in Unix time";
}

/// Upper bounds of the classic buckets of every histogram, in nanoseconds and as the text of the `le`
/// label in seconds: 50 µs to 60 s, about three a decade, then `+Inf`.
pub const BUCKETS: [(u64, &str); 19] = [
    (50_000, "5e-05"),
    (100_000, "0.0001"),
    (250_000, "0.00025"),
    (500_000, "0.0005"),
    (1_000_000, "0.001"),
    (2_500_000, "0.0025"),
    (5_000_000, "0.005"),
    (10_000_000, "0.01"),
    (25_000_000, "0.025"),
    (50_000_000, "0.05"),
    (100_000_000, "0.1"),
    (250_000_000, "0.25"),
    (500_000_000, "0.5"),
    (1_000_000_000, "1.0"),
    (2_500_000_000, "2.5"),
    (5_000_000_000, "5.0"),
    (10_000_000_000, "10.0"),
    (30_000_000_000, "30.0"),
    (60_000_000_000, "60.0"),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_follow_the_rules() {
        let mut names = HashSet::new();
        for family in ALL {
            let name = family.name;
            assert!(names.insert(name), "{name} twice");
            assert!(names.insert(family.base()) || family.base() == name, "{name}: base taken");
            assert!(name.starts_with("pinion_") || name.starts_with("process_"), "{name}");
            assert!(
                name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
                "{name}"
            );
            assert_eq!(name.ends_with("_total"), family.kind == Kind::Counter, "{name}");
            assert_eq!(name.ends_with("_info"), family.kind == Kind::Info, "{name}");
            for suffix in ["_bucket", "_count", "_sum", "_created"] {
                assert!(!name.ends_with(suffix), "{name}");
            }
            let says = ["seconds", "bytes"].into_iter().find(|unit| family.base().ends_with(unit));
            assert_eq!(says.unwrap_or(""), family.unit, "{name}");
            assert!(!family.help.is_empty() && !family.help.ends_with('.'), "{name}");
            assert!(!family.labels.contains(&"le") && !family.help.contains(['\\', '\n', '"']), "{name}");
        }
    }

    #[test]
    fn buckets_say_what_they_hold() {
        assert!(BUCKETS.is_sorted_by(|a, b| a.0 < b.0));
        for (nanos, text) in BUCKETS {
            let seconds: f64 = text.parse().unwrap();
            assert_eq!((seconds * 1e9).round() as u64, nanos);
        }
    }
}
