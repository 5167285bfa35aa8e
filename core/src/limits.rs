//! Every bound of the data plane, by name: value, unit, reason, and what happens when it is reached.
//!
//! Defaults that users may change carry the configuration key; the rest are fixed by a format.

use std::time::Duration;

use crate::http::h2::{Flood, Rate};

/// A pooled buffer for heads and small bodies. 16 KiB: 4 KiB costs 40 % more CPU at 10 KiB bodies,
/// larger ones gain nothing there (`bench/README.md`).
pub const BUFFER_BYTES: usize = 16 * 1024;
/// A TLS connection with `ktls = "auto"` that moves so much is handed to the kernel: the way there costs about
/// 70,000 instructions, which small messages never earn back.
pub const KTLS_BULK_BYTES: u64 = 1024 * 1024;
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

/// Bytes of a ClientHello, heads of its records included: the connection is closed beyond. One with post-quantum key
/// shares has some 1.8 KiB, with a session ticket as well 4 KiB; 16 KiB is what a record holds.
pub const TLS_HELLO_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a PROXY header of version 1, its line end included: the connection is closed beyond. Fixed by the format.
pub const PROXY_V1_BYTES_MAX: usize = 107;
/// Bytes of a PROXY header of version 2: the connection is closed beyond. Addresses and usual values have some 200
/// bytes, a client's certificate some 2 KiB; the format itself would allow 64 KiB.
pub const PROXY_V2_BYTES_MAX: usize = 8 * 1024;
/// Bytes that decide whether a connection speaks HTTP/2 or HTTP/1: the preface of HTTP/2 (RFC 9113 section 3.4). The
/// first byte that differs from it decides for HTTP/1; the first byte of all decides between TLS and plain text.
pub const DETECT_BYTES_MAX: usize = 24;

/// Connections of one listener, whole proxy: further ones are answered 503 and closed. Key `connections`.
pub const LISTENER_CONNECTIONS_DEFAULT: u64 = 65_536;
/// Connections of the whole proxy. Key `connections` of `[proxy]`.
pub const PROXY_CONNECTIONS_DEFAULT: u64 = 262_144;
/// TLS handshakes of one listener at a time, whole proxy: further connections are closed. Each holds some 40 KiB of
/// buffers until it is done. Key `handshakes_max`.
pub const LISTENER_HANDSHAKES_DEFAULT: u64 = 4_096;
/// Upstream connections of one cluster, whole proxy: requests beyond wait. Key `connections`.
pub const CLUSTER_CONNECTIONS_DEFAULT: u64 = 1_024;
/// Requests that may wait for an upstream connection, per cluster, whole proxy: 503 `UO`. Key `pending`.
pub const CLUSTER_PENDING_DEFAULT: u64 = 1_024;
/// Idle upstream connections kept per endpoint and shard: as many as a cluster may have, because a pool below the
/// requests in flight connects anew for the difference, at twice the cost of a request. Key `idle_connections`.
pub const ENDPOINT_IDLE_DEFAULT: usize = CLUSTER_CONNECTIONS_DEFAULT as usize;
/// Memory of pooled buffers per shard: connections beyond wait for a buffer, then 503. Key `shard_memory`.
pub const SHARD_MEMORY_DEFAULT: usize = 256 * 1024 * 1024;

/// Shards: more than any machine has CPUs, far below what tables per shard would cost. Refused by `check`.
pub const SHARDS_MAX: u32 = 1024;
/// The least `shard_memory` may be: 64 large buffers, enough to serve some requests at a time.
pub const SHARD_MEMORY_MIN: usize = 64 * BUFFER_LARGE_BYTES;
/// The least `header_bytes` may be: any browser's head fits. Refused by `check`.
pub const HEADER_BYTES_MIN: usize = 1024;
/// The least `uri_bytes` may be. Refused by `check`.
pub const URI_BYTES_MIN: usize = 128;
/// Bytes of a listener's, route's or cluster's name: they label metrics. Refused by `check`.
pub const NAME_BYTES_MAX: usize = 128;
/// Bytes of one file of certificates, keys, bundles or revocation lists: a larger one is refused by `check`.
/// The lists of public authorities have up to some 10 MiB.
pub const TLS_FILE_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Certificates of one listener: their names are looked up in a table, but each is read at every reload.
/// Refused by `check`.
pub const LISTENER_CERTIFICATES_MAX: usize = 4_096;
/// Bytes of an ALPN protocol name (RFC 7301 section 3.1). Refused by `check`.
pub const ALPN_BYTES_MAX: usize = 255;
/// Bytes of one compiled regular expression: a larger one is refused by `check`. A repeated
/// character class costs some 100 bytes a time, a Unicode one some 15 KiB.
pub const REGEX_PROGRAM_BYTES_MAX: usize = 1024 * 1024;
/// Lazily built tables of one regular expression on one shard; beyond, they are cleared and built anew.
pub const REGEX_CACHE_BYTES: usize = 1024 * 1024;
/// Tries after the first that a route may ask for: more only multiply an overload. Refused by `check`.
pub const RETRY_ATTEMPTS_MAX: u32 = 10;
/// Tries after the first to reach an endpoint for a TCP connection, where its route says nothing: two dead endpoints
/// of a cluster are survived, and with the default `connect` a client waits for 15 s at most.
pub const TCP_RETRIES_DEFAULT: u32 = 2;
/// gRPC methods that one route counts one by one: each is a row for every status in every scrape. Refused by `check`.
pub const GRPC_METHODS_MAX: usize = 256;
/// Bytes of a direct response's body: it is kept in every snapshot and copied per answer. Refused by `check`.
pub const DIRECT_BODY_BYTES_MAX: usize = 16 * 1024;

/// The shard's timer tick: deadlines fire at most this late.
pub const TICK: Duration = Duration::from_millis(20);
/// Slots of the timer wheel; horizon 512 × 20 ms ≈ 10 s, later deadlines are re-filed.
pub const WHEEL_SLOTS: usize = 512;
/// After this long a transfer's average rate is judged against `min_rate`.
pub const RATE_JUDGED_AFTER: Duration = Duration::from_secs(5);

const _: () = assert!(HEADER_BYTES_DEFAULT <= HEADER_BYTES_MAX);
const _: () = assert!(HEADER_BYTES_MAX < BUFFER_LARGE_BYTES && BUFFER_LARGE_BYTES <= u16::MAX as usize + 1);
const _: () = assert!(URI_BYTES_DEFAULT < HEADER_BYTES_DEFAULT);

/// Bytes of a method kept in an access log record; longer strings are cut, and the record says so.
pub const LOG_METHOD_BYTES_MAX: usize = 32;
/// Bytes of an authority kept in an access log record: a DNS name has at most 253, a port 6.
pub const LOG_AUTHORITY_BYTES_MAX: usize = 260;
/// Bytes of a path, and of a query, kept in an access log record.
pub const LOG_PATH_BYTES_MAX: usize = 2 * 1024;
/// Bytes of a request header field's value kept in an access log record.
pub const LOG_HEADER_BYTES_MAX: usize = 512;
/// Bytes of a configured name (listener, route, cluster) kept in an access log record.
pub const LOG_NAME_BYTES_MAX: usize = 128;
/// Bytes of an address kept in an access log record: `unix:` and the kernel's 108 bytes of path fit.
pub const LOG_ADDRESS_BYTES_MAX: usize = 120;
/// Bytes of a server name kept in an access log record: a DNS name has at most 253.
pub const LOG_SERVER_NAME_BYTES_MAX: usize = 256;
/// Bytes of what a PROXY header said kept in an access log record: addresses and usual values have some 200.
pub const LOG_PROXY_BYTES_MAX: usize = 512;
/// Bytes of one shard's ring of access log records: 3,000 records of about 330 bytes, 30 ms of a shard at
/// 100,000 requests a second. A record that finds it full is dropped and counted.
pub const LOG_RING_BYTES: usize = 1024 * 1024;
/// Bytes of formatted access log written at once.
pub const LOG_BATCH_BYTES: usize = 64 * 1024;
/// Commands waiting for the access log's writer (reopen, new settings): further ones are refused.
pub const LOG_COMMANDS_MAX: usize = 8;

/// Streams that one HTTP/2 client may have open at a time (SETTINGS_MAX_CONCURRENT_STREAMS); further ones are refused
/// with REFUSED_STREAM. 100 is what RFC 9113 section 6.5.2 calls the least that should be, and what most servers say.
pub const H2_STREAMS_DEFAULT: u32 = 100;
/// The most it may be: a stream's place is kept in 16 bits, and one of them says "none".
pub const H2_STREAMS_MAX: u32 = 32 * 1024;
/// Bytes that a peer may send on one stream before we pass any on: 256 KiB fill 10 Gbit/s at 0.2 ms, 200 Mbit/s at 10 ms.
pub const H2_STREAM_WINDOW_DEFAULT: u32 = 256 * 1024;
/// Bytes that a client may send on all its streams before we pass any on: what one connection can make us hold. Its
/// slow uploads hold up its own uploads only.
pub const H2_SERVER_WINDOW_DEFAULT: u32 = 1024 * 1024;
/// Bytes that an upstream may send on all streams: as much as all streams together, because they belong to different
/// clients, of whom slow ones must not hold up the others.
pub const H2_CLIENT_WINDOW_DEFAULT: u32 = H2_STREAMS_DEFAULT * H2_STREAM_WINDOW_DEFAULT;
/// A WINDOW_UPDATE is sent when this part of a window has been passed on: halves keep the peer sending and cost one
/// frame per half window.
pub const H2_WINDOW_PART: u32 = 2;
/// Bytes of a header block, compressed, beyond twice the header list's limit: a somewhat too large head is answered
/// 431, one beyond this ends the connection as [`Flood::Continuation`], because it can't be decoded unread.
pub const H2_BLOCK_SLACK_BYTES: usize = 16 * 1024;
/// Frames of one header block: 64 of 1 KiB hold any head that is allowed. Beyond: [`Flood::Continuation`].
pub const H2_BLOCK_FRAMES_MAX: u32 = 64;
/// Bytes of a partly received frame or header block that a connection keeps room for when it is done: most heads.
pub const H2_PARTIAL_BYTES_KEPT: usize = 4 * 1024;
/// A request reset when younger than this, and unanswered, counts as [`Flood::RapidReset`]. 100 streams of 20 ms are
/// 5,000 requests a second, less than a connection gets by waiting for answers of 1 ms: older ones paid by waiting.
pub const H2_RAPID_RESET_AGE: Duration = Duration::from_millis(20);
/// DATA that a window cuts below this many bytes counts as [`Flood::TinyWindow`]: the frame's head and the work for it
/// then outweigh what it carries, and no real client has such a window (small devices have a kilobyte).
pub const H2_TINY_BYTES: u32 = 256;
/// A stream with something to send that could send less than [`H2_STALL_BYTES`] for this long, for want of a window, is
/// reset and counts as [`Flood::WindowStall`]. nginx's send_timeout is the same.
pub const H2_STALL: Duration = Duration::from_secs(60);
/// See [`H2_STALL`]: a trickle of window is no window.
pub const H2_STALL_BYTES: u32 = 4 * 1024;
/// How often a connection with open streams looks for stalled ones.
pub const H2_LOOK: Duration = Duration::from_secs(5);
/// How long the PING between the two GOAWAYs of a drain may take; then the second is sent without it.
pub const H2_DRAIN_PING: Duration = Duration::from_secs(2);

/// Budgets per HTTP/2 connection, in the order of [`Flood::ALL`]; used up: GOAWAY with ENHANCE_YOUR_CALM.
///
/// How others draw the lines: Envoy allows 500 streams reset within a second of their start, the `h2` crate 1,024
/// resets of its own and 20 unaccepted streams reset, nginx as many streams as keep-alive requests (1,000), Go 10,000
/// control frames that wait to be written. A busy honest client: 100 streams, 20,000 requests a second, a page left
/// with 100 requests open, a ping and two window updates for each DATA frame, hedged calls of which one in twenty is
/// cancelled. None of it empties a budget here, since answered streams and content refill them.
pub const H2_BUDGETS: [Rate; Flood::COUNT] = [
    // RapidReset: five times all streams at once; hedging and impatient users beyond come with answered streams.
    rate(500, 100, 0, 1),
    // ProvokedReset: correct clients provoke none; a buggy one gets as many as it has streams.
    rate(100, 10, 0, 0),
    // Refused: a client may open many streams before our SETTINGS reach it.
    rate(1_000, 100, 0, 0),
    // Continuation: a head of 60 KiB takes three besides HEADERS.
    rate(256, 32, 4, 0),
    // HeaderList: each is decoded to its end and answered 431; a browser with too many cookies tries a few times.
    rate(100, 10, 0, 0),
    // Ping: keep-alive needs one in seconds, bandwidth probes (gRPC) one per round trip while content flows.
    rate(500, 50, 1, 0),
    // Settings: one at the start, and rare changes of the window; each change walks all streams.
    rate(64, 4, 0, 0),
    // Empty: late frames on streams just reset, extensions, padding.
    rate(500, 50, 1, 0),
    // Priority: one tree at the start, one or two frames per request.
    rate(1_000, 100, 2, 0),
    // WindowUpdate: some clients send two for every 4 KiB they read.
    rate(1_000, 100, 4, 0),
    // TinyWindow: the rest of a window, once per window.
    rate(500, 50, 1, 0),
    // WindowStall: paused downloads of one user; attackers stall all streams.
    rate(32, 1, 0, 0),
];

const fn rate(burst: u32, per_second: u32, per_useful: u32, per_answered: u32) -> Rate {
    Rate { burst, per_second, per_useful, per_answered }
}

const _: () = assert!(H2_STREAMS_DEFAULT <= H2_STREAMS_MAX && H2_STREAMS_MAX < u16::MAX as u32);
const _: () = assert!(H2_CLIENT_WINDOW_DEFAULT < 1 << 31);
