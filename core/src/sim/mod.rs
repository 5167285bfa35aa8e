//! Placeholder: filled by its own change.

pub mod pool;
