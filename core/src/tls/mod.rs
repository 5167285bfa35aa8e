//! What TLS means to decisions: words of the configuration, identities, hellos. No cryptography.
//!
//! Not here: the protocol itself and its sockets (`pinion-proxy`).

pub mod reason;
