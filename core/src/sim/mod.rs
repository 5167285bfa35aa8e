//! Simulations: the pure machines, driven by seeded actions against scripted peers and a shadow of what
//! should be.
//!
//! Invariants: a run follows from its seed alone; a failure names seed and step.
//!
//! Not here: sweeping seeds and reading the environment (`tests/sim_*.rs`).

pub mod conn;
pub mod h2;
pub mod pool;
pub mod reader;
