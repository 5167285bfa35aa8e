//! One measurement of one subject, each in a file of its own kind.

use super::plan::{Case, Section};
use super::results::Sample;
use super::stage::Setting;
use super::subject::Subject;
use crate::Problem;

mod flow;
mod idle;
mod step;

/// Measures `subject` in `case`.
///
/// # Errors
/// A program failed, or an answer was not what was asked for.
pub(super) fn measure(setting: &Setting<'_>, subject: Subject, case: Case) -> Result<Sample, Problem> {
    match case.section {
        Section::Lockstep => step::cpu_time(setting, subject, case),
        Section::Saturation | Section::Latency | Section::Transports => flow::flow(setting, subject, case),
        Section::Memory => idle::memory(setting, subject, case),
    }
}

/// Counts the system calls of `subject` in `case`, which no time is taken of. Empty for sections whose loads
/// don't have a steady number of them, and where this machine has no means to count.
///
/// # Errors
/// A program failed.
pub(super) fn system_calls(setting: &Setting<'_>, subject: Subject, case: Case) -> Result<Sample, Problem> {
    match case.section {
        Section::Lockstep => step::system_calls(setting, subject, case),
        Section::Transports => flow::system_calls(setting, subject, case),
        Section::Saturation | Section::Latency | Section::Memory => Ok(Sample::default()),
    }
}
