//! What leaves the proxy about itself: metrics by scrape, records of requests by the access log.
//!
//! ```text
//!   shards' stats ──▶ collect ──▶ expose ──▶ text for a scrape
//!   shards' rings ──▶ writer ──▶ line ──▶ standard output or a file
//! ```
//!
//! Invariants: nothing here runs on a shard except [`access::AccessSink`], and nothing here writes memory
//! that a shard writes.
//!
//! Not here: what is counted (`pinion-core`, folder `telemetry`), the admin port.

pub(crate) mod access;
pub(crate) mod collect;
pub(crate) mod expose;
pub(crate) mod line;
pub(crate) mod process;
pub(crate) mod quantile;
pub(crate) mod writer;
