//! `pinion-control`: not built yet; says so and exits 2.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    eprintln!("pinion-control: not built yet; see control/README.md for what it will do");
    ExitCode::from(2)
}
