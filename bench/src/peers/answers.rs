//! Whether a subject does what the others do: a proxy that answers wrongly, or does less, is not compared.
//!
//! Asked of each subject before it is measured:
//! - bodies of every size come through as the origin sent them;
//! - the upstream gets method, target, `Host` and cookie as sent, and proxies write one `X-Forwarded-For`
//!   with an address (over TCP; Envoy writes the machine's own where the client's is loopback) and one
//!   `X-Forwarded-Proto`;
//! - upstream connections are used again;
//! - as many connections as the largest case has are served at the same time, and the pool keeps as many.

use std::net::IpAddr;

use serde_json::Value;

use super::address::{Address, Transport};
use super::http::{Connection, READ_BYTES, request};
use super::stage::{Layout, Setting, Stage};
use super::subject::Subject;
use crate::Problem;

/// The path of the origin that answers with the request as it was seen.
const ECHO: &str = "/echo";

/// Most connections that the origin gets from the checks before, and from waiting until it is up.
const CONNECTIONS_BEFORE: u64 = 64;

/// Content bytes of the answers on many connections.
const SMALL_BYTES: usize = 100;

/// Whether `GET /` is answered with 200 there.
pub(super) fn is_up(address: &Address) -> bool {
    let asked = Connection::open(address)
        .and_then(|mut connection| connection.content(&request(&address.authority(), "/")));
    asked.is_ok()
}

/// Starts `subject` and asks it everything.
///
/// # Errors
/// The first answer that is not as it should be.
pub(super) fn check(
    setting: &Setting<'_>,
    subject: Subject,
    transport: Transport,
    bodies: &[usize],
    connections: u32,
) -> Result<(), Problem> {
    let stage = setting.start(subject, transport, Layout::Apart)?;
    for &bytes in bodies {
        check_body(&stage, bytes)?;
    }
    check_request(&stage, subject)?;
    check_many(&stage, connections)
}

fn check_body(stage: &Stage, bytes: usize) -> Result<(), Problem> {
    let ask = |address: &Address| {
        let request = request(&stage.listen.authority(), &format!("/bytes/{bytes}"));
        Connection::open(address)?.content(&request)
    };
    let (sent, came) = (ask(&stage.upstream)?, ask(&stage.listen)?);
    if sent.len() == bytes && sent == came {
        return Ok(());
    }
    Err(format!("a body of {bytes} bytes came through changed"))
}

fn check_request(stage: &Stage, subject: Subject) -> Result<(), Problem> {
    let mut connection = Connection::open(&stage.listen)?;
    let authority = stage.listen.authority();
    let mut echo = || -> Result<Value, Problem> {
        let content = connection.content(&request(&authority, ECHO))?;
        serde_json::from_slice(&content).map_err(|e| format!("the origin's echo can't be read: {e}"))
    };
    let (_, first, second) = (echo()?, echo()?, echo()?);
    judge_echo(&second, &authority, subject, matches!(stage.listen, Address::Tcp(_)))?;
    if first["connection"] != second["connection"] {
        return Err("upstream connections are not used again".to_owned());
    }
    Ok(())
}

/// What the upstream saw of a request.
fn judge_echo(echo: &Value, authority: &str, subject: Subject, over_tcp: bool) -> Result<(), Problem> {
    if echo["method"] != "GET" || echo["target"] != ECHO {
        return Err(format!("the upstream got {} {}", echo["method"], echo["target"]));
    }
    let values = |name: &str| -> Vec<&str> {
        let lines = echo["headers"].as_array().into_iter().flatten();
        lines
            .filter(|line| line[0].as_str().is_some_and(|found| found.eq_ignore_ascii_case(name)))
            .filter_map(|line| line[1].as_str())
            .collect()
    };
    let mut expected = vec![("host", authority), ("cookie", "session=0123456789")];
    if subject.is_proxy() {
        expected.push(("x-forwarded-proto", "http"));
        let client = values("x-forwarded-for");
        if over_tcp && !matches!(client[..], [client] if client.parse::<IpAddr>().is_ok()) {
            return Err(format!("the upstream got x-forwarded-for {client:?} instead of an address"));
        }
    }
    for (name, value) in expected {
        if values(name) != [value] {
            return Err(format!("the upstream got {name} {:?} instead of {value:?}", values(name)));
        }
    }
    Ok(())
}

fn check_many(stage: &Stage, connections: u32) -> Result<(), Problem> {
    let connect = |_| Connection::open(&stage.listen);
    let mut connections = (0..connections).map(connect).collect::<Result<Vec<_>, _>>()?;
    let request = request(&stage.listen.authority(), &format!("/bytes/{SMALL_BYTES}"));
    let mut buffer = vec![0; READ_BYTES];
    for _ in 0..3 {
        for connection in &mut connections {
            connection.send(&request)?;
        }
        for connection in &mut connections {
            connection.skip_answer(&mut buffer, SMALL_BYTES)?;
        }
    }
    let echo = self::request(&stage.listen.authority(), ECHO);
    for connection in &mut connections {
        connection.send(&echo)?;
    }
    let mut newest = 0;
    for connection in &mut connections {
        newest = newest.max(upstream_connection(&connection.read_content()?)?);
    }
    judge_pool(newest, connections.len() as u64)
}

/// Whether a pool keeps what its requests need: after several rounds of requests, upstream connections have
/// no higher numbers than there are client connections, and those of the checks before.
fn judge_pool(newest: u64, connections: u64) -> Result<(), Problem> {
    if newest <= connections + CONNECTIONS_BEFORE {
        return Ok(());
    }
    Err(format!(
        "{connections} connections at a time needed more than {newest} to the upstream: its pool is too small"
    ))
}

/// The number of the upstream connection that an echo came over.
fn upstream_connection(echo: &[u8]) -> Result<u64, Problem> {
    let echo: Value =
        serde_json::from_slice(echo).map_err(|e| format!("the origin's echo can't be read: {e}"))?;
    echo["connection"].as_u64().ok_or_else(|| "the origin's echo has no connection".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pool_that_is_too_small_is_found() {
        assert_eq!(judge_pool(520, 512), Ok(()));
        assert!(judge_pool(1_024, 512).unwrap_err().contains("too small"));
        assert_eq!(upstream_connection(br#"{"connection": 7}"#), Ok(7));
        assert!(upstream_connection(b"{}").is_err());
    }

    #[test]
    fn what_the_upstream_saw_is_judged_line_by_line() {
        let lines = [
            ["Host", "h:1"],
            ["cookie", "session=0123456789"],
            ["X-Forwarded-For", "127.0.0.1"],
            ["X-Forwarded-Proto", "http"],
        ];
        let judge = |lines: &[[&str; 2]], subject, over_tcp| {
            let echo = json!({ "method": "GET", "target": ECHO, "headers": lines });
            judge_echo(&echo, "h:1", subject, over_tcp)
        };
        assert_eq!(judge(&lines, Subject::Envoy, true), Ok(()));
        assert_eq!(judge(&lines[..2], Subject::Floor, true), Ok(()));
        let without = [lines[0], lines[1], lines[3]];
        assert!(judge(&without, Subject::Nginx, true).unwrap_err().contains("x-forwarded-for"));
        assert_eq!(judge(&without, Subject::Nginx, false), Ok(()));
        assert!(judge(&lines[..3], Subject::Nginx, true).unwrap_err().contains("x-forwarded-proto"));
        let twice = [lines[0], lines[0], lines[1], lines[2], lines[3]];
        assert!(judge(&twice, Subject::Pinion, true).unwrap_err().contains("host"));
    }
}
