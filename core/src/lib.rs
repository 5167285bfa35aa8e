//! Every decision of Pinion, pure: what bytes mean, where a request goes, which connection it takes,
//! what is counted. Time and randomness are arguments, output goes to the caller's buffer.
//!
//! Invariants:
//! - no clock, socket, thread, file, randomness or runtime in here (`tests/architecture.rs` checks);
//! - nothing a peer sends can panic, allocate without bound, or be read in two ways;
//! - every bound has a name in [`limits`].
//!
//! Not here: moving bytes (`pinion-proxy`), and anything the load generator uses (it shares no code).

#![forbid(unsafe_code)]

pub mod balance;
pub mod config;
pub mod fault;
pub mod http;
pub mod id;
pub mod limits;
pub mod pool;
pub mod proxy_protocol;
pub mod rng;
pub mod route;
pub mod sim;
pub mod telemetry;
pub mod time;
pub mod tls;
