//! One measurement of one subject, each in a file of its own kind.

use super::plan::{Case, Section};
use super::results::Sample;
use super::stage::Setting;
use super::subject::Subject;
use crate::Problem;

mod flow;
mod idle;
pub(super) mod step;

/// Measures `subject` in `case`.
///
/// # Errors
/// A program failed, or an answer was not what was asked for.
pub(super) fn measure(setting: &Setting<'_>, subject: Subject, case: Case) -> Result<Sample, Problem> {
    match case.section {
        Section::Lockstep => step::cpu_time(setting, subject, case),
        Section::Saturation | Section::Latency => flow::flow(setting, subject, case),
        Section::Memory => idle::memory(setting, subject, case),
    }
}
