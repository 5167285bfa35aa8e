//! Lockstep: CPU time per request, and system calls per request in a run of its own.

use std::process::Command;

use crate::Problem;
use crate::counting;
use crate::peers::plan::Case;
use crate::peers::results::{Figure, Sample};
use crate::peers::stage::{Layout, Setting, Stage, number, report, run_client};
use crate::peers::subject::Subject;

/// Measures CPU time.
///
/// # Errors
/// A program failed.
pub(super) fn cpu_time(setting: &Setting<'_>, subject: Subject, case: Case) -> Result<Sample, Problem> {
    let stage = setting.start(subject, case.traffic, case.transport, Layout::Lockstep)?;
    let report = run_client(&mut client(setting, &stage, case))?;
    let number = |name: &str| number(&report[name], name);
    Ok(Sample(vec![
        (Figure::Cpu, number("cpu_nanos")? / number("requests")?),
        (Figure::UserTicks, number("user_ticks")?),
        (Figure::SystemTicks, number("system_ticks")?),
        (Figure::RoundTrip, number("round_trip_p50_nanos")?),
    ]))
}

/// Counts system calls, those of connecting and warming up in the count as in the number of requests. The
/// sample is empty if this machine has no means to count.
///
/// # Errors
/// A program failed.
pub(super) fn system_calls(setting: &Setting<'_>, subject: Subject, case: Case) -> Result<Sample, Problem> {
    let stage = setting.start(subject, case.traffic, case.transport, Layout::Lockstep)?;
    let client = || client(setting, &stage, case);
    let counted = counting::system_calls(&stage.processes(), stage.folder.path(), client)?;
    let Some((count, output)) = counted else { return Ok(Sample::default()) };
    let requests = number(&report(&output.stdout)?["requests_with_warmup"], "requests_with_warmup")?;
    Ok(Sample(vec![(Figure::SystemCalls, count as f64 / requests)]))
}

fn client(setting: &Setting<'_>, stage: &Stage, case: Case) -> Command {
    let mut client = Command::new(&setting.programs.bench);
    client.args(["lockstep", "--connect", &stage.listen.to_string()]);
    client.args(["--in-flight", &case.connections.to_string()]);
    client.args(["--path", &format!("/bytes/{}", case.bytes), "--expect-bytes", &case.bytes.to_string()]);
    client.args(["--watch", &stage.proxy().to_string()]);
    client.args(["--warmup", &format!("{}ms", setting.warmup.as_millis())]);
    client.args(["--measure", &format!("{}ms", setting.measure.as_millis())]);
    setting.client(&client, Layout::Lockstep)
}
