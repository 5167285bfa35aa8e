//! `pinion`: the data plane of Pinion.

fn main() {}
