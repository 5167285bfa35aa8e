//! `pinion`: the data plane of Pinion. This file only names the parts; [`boot`] starts them.

#![deny(unsafe_code)]

mod admin;
mod boot;
mod config;
mod h2;
mod net;
#[cfg(debug_assertions)]
mod plant;
mod publish;
mod serve;
mod shard;
mod sys;
mod telemetry;
mod tls;
mod upstream;

use std::process::ExitCode;

fn main() -> ExitCode {
    boot::main()
}
