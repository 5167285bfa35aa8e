//! What is counted and recorded: totals that a shard keeps in its own memory and others only read, the
//! latency ledger of a request, and the record of a request that leaves for the access log.
//!
//! ```text
//!   shard ── stores ──▶ stats (counters, gauges, histograms) ◀── relaxed loads ── scrape, admin pages
//!         └─ encodes ─▶ record (bytes) ── ring ──▶ writer thread ── decodes, formats ──▶ file
//! ```
//!
//! Invariants:
//! - state is a total, never an event: reading it late or twice changes nothing;
//! - every total has one writer, so that no store needs a lock prefix;
//! - labels come from the configuration, never from a peer;
//! - metric names are constants of [`names`], each with help, kind and unit.
//!
//! Not here: text formats, files, threads (`pinion-proxy`, folder `telemetry`).
//!
//! Budget: one finished request costs about a dozen loads and stores to five or six cache lines of the
//! shard's own; no allocation, no lock, no system call.

pub mod counters;
pub mod grpc;
pub mod histogram;
pub mod http2;
pub mod ledger;
pub mod names;
pub mod record;
pub mod stats;
pub mod tls;

pub use grpc::GrpcStats;
pub use http2::{Http2Stats, Side};
pub use ledger::{Ledger, Phase};
pub use record::AccessEntry;
pub use stats::{ClusterStats, Direction, EndpointStats, ListenerStats, RouteStats, ShardStats, class_of};
