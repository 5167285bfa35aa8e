//! `pinion`: the data plane of Pinion.

mod telemetry;

fn main() {}
