//! The configuration: from text to a snapshot, or to all that is wrong with it.

pub use ids::Ids;
pub use problem::{Problem, Problems, Severity};
pub use snapshot::Snapshot;

mod ids;
pub mod problem;
pub mod snapshot;
