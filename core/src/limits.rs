//! Every bound of the data plane, by name: value, unit, reason, and what happens when it is reached.
//!
//! Defaults that users may change carry the configuration key; the rest are fixed by a format.

use std::time::Duration;

/// A pooled buffer for heads and small bodies. 16 KiB: 4 KiB costs 40 % more CPU at 10 KiB bodies,
/// larger ones gain nothing there (`bench/README.md`).
pub const BUFFER_BYTES: usize = 16 * 1024;
/// A pooled buffer for large bodies and heads beyond [`BUFFER_BYTES`].
pub const BUFFER_LARGE_BYTES: usize = 64 * 1024;

/// Header fields in one head. A head with more is refused with 431. Default 128, fixed: the list is
/// kept inline in per-shard state (12 bytes a field).
pub const HEADER_COUNT_MAX: usize = 128;
/// Bytes of one head, request line or status line included: 431 (upstream: 502). Key `header_bytes`.
pub const HEADER_BYTES_DEFAULT: usize = 32 * 1024;
/// The most `header_bytes` may be: a head must fit a large buffer, spans are 16 bits wide, and head room
/// stays for what the proxy adds.
pub const HEADER_BYTES_MAX: usize = 60 * 1024;
/// Bytes of a request target: 414. Key `uri_bytes`. RFC 9112 section 3 asks for at least 8000.
pub const URI_BYTES_DEFAULT: usize = 8 * 1024;
/// Bytes of a trailer section: 431 on requests, 502 on responses.
pub const TRAILER_BYTES_MAX: usize = 8 * 1024;
/// Bytes of one chunk-size line, extensions included: 400 (upstream: 502).
pub const CHUNK_LINE_BYTES_MAX: usize = 1024;
/// Interim (1xx) responses passed on before a final one: 502 beyond.
pub const INTERIM_RESPONSES_MAX: u32 = 32;
/// Empty lines skipped before a request line (RFC 9112 section 2.2 asks for at least one).
pub const LEADING_EMPTY_LINES_MAX: usize = 4;

/// Connections of one listener, whole proxy: further ones wait in the kernel's queue. Key `connections`.
pub const LISTENER_CONNECTIONS_DEFAULT: u64 = 65_536;
/// Connections of the whole proxy. Key `connections` of `[proxy]`.
pub const PROXY_CONNECTIONS_DEFAULT: u64 = 262_144;
/// Upstream connections of one cluster, whole proxy: requests beyond wait. Key `connections`.
pub const CLUSTER_CONNECTIONS_DEFAULT: u64 = 1_024;
/// Requests that may wait for an upstream connection, per cluster, whole proxy: 503 `UO`. Key `pending`.
pub const CLUSTER_PENDING_DEFAULT: u64 = 1_024;
/// Idle upstream connections kept per endpoint and shard. Key `idle_connections`.
pub const ENDPOINT_IDLE_DEFAULT: usize = 256;
/// Memory of pooled buffers per shard: connections beyond wait for a buffer, then 503. Key `shard_memory`.
pub const SHARD_MEMORY_DEFAULT: usize = 256 * 1024 * 1024;

/// The shard's timer tick: deadlines fire at most this late.
pub const TICK: Duration = Duration::from_millis(20);
/// Slots of the timer wheel; horizon 512 × 20 ms ≈ 10 s, later deadlines are re-filed.
pub const WHEEL_SLOTS: usize = 512;
/// After this long a transfer's average rate is judged against `min_rate`.
pub const RATE_JUDGED_AFTER: Duration = Duration::from_secs(5);

const _: () = assert!(HEADER_BYTES_DEFAULT <= HEADER_BYTES_MAX);
const _: () = assert!(HEADER_BYTES_MAX < BUFFER_LARGE_BYTES && BUFFER_LARGE_BYTES <= u16::MAX as usize + 1);
const _: () = assert!(URI_BYTES_DEFAULT < HEADER_BYTES_DEFAULT);
