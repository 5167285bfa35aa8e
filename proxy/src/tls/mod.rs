//! TLS: what listeners and clusters show, whom they believe, and how that follows its files.
//!
//! ```text
//!   settings ─▶ files ─▶ read together ─▶ ServerContext / ClientContext ─▶ swapped in ─▶ next handshake
//!                 └ watched: changed ──────────────▲ a bad set is kept out, the last good one stays
//! ```
//!
//! - [`server`], [`client`]: the contexts that handshakes take;
//! - `verify`: whose certificates are believed, who is permitted, and why not;
//! - `identity`: what a verified certificate says of its owner;
//! - `material`, `files`: reading and checking files;
//! - [`store`]: the contexts of one configuration.
//!
//! Not here: noticing that files changed (`config::reload`).

pub(crate) mod client;
mod context;
mod files;
mod identity;
mod material;
mod ocsp;
pub(crate) mod server;
pub(crate) mod store;
#[cfg(test)]
mod tests;
pub(crate) mod verify;
