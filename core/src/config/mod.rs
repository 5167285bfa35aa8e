//! The configuration: from text to a snapshot, or to all that is wrong with it.
//!
//! - [`compile()`]: the one entry; pure, the program reads the file;
//! - [`snapshot`]: what it compiles to, which shards read;
//! - [`Problems`]: what is wrong, with places, carets and suggestions;
//! - [`json_schema`]: the document's JSON Schema for editors.
//!
//! Inside: `schema` declares every key once, `read` reads documents by these declarations, `compile` checks
//! and resolves.
//!
//! Not here: reading and watching the file, publishing snapshots (`pinion-proxy`).

pub use compile::compile;
pub use http2::{ClusterProtocol, Http2};
pub use ids::Ids;
pub use problem::{Problem, Problems, Severity};
pub use schema::json_schema;
pub use snapshot::{
    AccessLogFormat, AccessLogPath, AccessLogSettings, Address, Cluster, DriverChoice, Endpoint, Listener,
    ProxySettings, Snapshot,
};

mod compile;
mod http2;
mod ids;
pub mod problem;
mod read;
mod schema;
pub mod snapshot;
#[cfg(test)]
mod stream_tests;
mod suggest;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_tls;
mod units;
mod values;
