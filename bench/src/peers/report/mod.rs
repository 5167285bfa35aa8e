//! The comparison as text for people (`tables`), as data (`json`) and as a page with plots (`page`).

pub(super) mod json;
pub(super) mod page;
pub(super) mod tables;

use super::subject::Subject;
use crate::machine::Machine;

/// What the figures depend on.
pub(super) struct Setup {
    pub(super) machine: Machine,
    /// The command line of this program.
    pub(super) command: String,
    /// Seconds since 1970 at the start.
    pub(super) started: u64,
    pub(super) subjects: Vec<Described>,
}

/// A subject with what it is exactly.
pub(super) struct Described {
    pub(super) subject: Subject,
    pub(super) version: String,
    /// Its command line.
    pub(super) command: String,
}
