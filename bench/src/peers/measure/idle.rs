//! Memory: the private bytes of a proxy that has just started, and what each idle connection adds.

use std::thread;
use std::time::Duration;

use crate::Problem;
use crate::peers::http::{Connection, READ_BYTES, request};
use crate::peers::memory::private_bytes;
use crate::peers::plan::Case;
use crate::peers::results::{Figure, Sample};
use crate::peers::stage::{Layout, Setting};
use crate::peers::subject::Subject;

/// How long a proxy may take to give back what its last requests needed.
const SETTLE_TIME: Duration = Duration::from_secs(2);

/// Opens the connections of `case`, makes one request on each, and leaves them idle.
///
/// # Errors
/// A program failed, or the proxy did not take that many connections.
pub(super) fn memory(setting: &Setting<'_>, subject: Subject, case: Case) -> Result<Sample, Problem> {
    let stage = setting.start(subject, case.traffic, case.transport, Layout::Apart)?;
    let bytes = || private_bytes(stage.proxy()).ok_or("the proxy's memory can't be read".to_owned());
    thread::sleep(SETTLE_TIME);
    let before = bytes()?;
    let request = request(&stage.listen.authority(), &format!("/bytes/{}", case.bytes));
    let mut buffer = vec![0; READ_BYTES];
    let mut connections = Vec::with_capacity(case.connections as usize);
    for number in 1..=case.connections {
        let connected = Connection::open(&stage.listen).and_then(|mut connection| {
            connection.send(&request)?;
            connection.skip_answer(&mut buffer, case.bytes)?;
            Ok(connection)
        });
        connections.push(connected.map_err(|problem| format!("connection {number}: {problem}"))?);
    }
    thread::sleep(SETTLE_TIME);
    let after = bytes()?;
    // What was closed meanwhile would not be idle but gone.
    for connection in &mut connections {
        connection.send(&request)?;
        connection.skip_answer(&mut buffer, case.bytes)?;
    }
    Ok(Sample(vec![
        (Figure::IdleBytes, before as f64),
        (Figure::ConnectionBytes, after.saturating_sub(before) as f64 / f64::from(case.connections)),
    ]))
}
