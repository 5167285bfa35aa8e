//! Sources of configuration: where a text comes from, and what it takes to put it in force.
//!
//! Not here: what a text means (`pinion_core::config`).

pub(crate) mod control;
pub(crate) mod file;
pub(crate) mod reload;
