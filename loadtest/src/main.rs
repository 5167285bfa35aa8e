//! `pinion-load`.

fn main() {}
