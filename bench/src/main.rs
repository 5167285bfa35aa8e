//! `pinion-bench`.

fn main() {}
