//! What several test programs share.

pub mod invariants;
pub mod reader;
pub mod targets;
