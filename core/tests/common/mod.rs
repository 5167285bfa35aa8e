//! What several test programs share: invariants, and one function per parser that checks them.

pub mod http2;
pub mod invariants;
pub mod targets;
