//! Whether a subject does what the others do: a proxy that answers wrongly, or does less, is not compared.
//!
//! Asked of each subject before it is measured:
//! - bodies of every size come through as the origin sent them;
//! - the upstream gets method, target, `Host` and cookie as sent, and proxies write one `X-Forwarded-For`
//!   with an address (over TCP; Envoy writes the machine's own where the client's is loopback) and one
//!   `X-Forwarded-Proto`;
//! - upstream connections are used again;
//! - as many connections as the largest case has are served at the same time (and streams on them), and the pool
//!   keeps as many;
//! - both sides are spoken to in what the traffic says; TLS agrees on what is offered, and resumes sessions;
//! - gRPC messages and the bytes of a TCP connection come back.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use serde_json::Value;

use self::http2::Door;
use super::address::{Address, Transport};
use super::http::{Connection, PATIENCE, READ_BYTES, request};
use super::stage::{Layout, Setting, Stage};
use super::subject::Subject;
use super::traffic::Traffic;
use crate::Problem;

mod bytes;
mod http2;
mod tls;

/// The path of the origin that answers with the request as it was seen.
const ECHO: &str = "/echo";

/// Most connections that the origin gets from the checks before, and from waiting until it is up.
const CONNECTIONS_BEFORE: u64 = 64;

/// Content bytes of the answers on many connections.
const SMALL_BYTES: usize = 100;

/// What the cases that follow will ask of a subject.
pub(super) struct Asked<'a> {
    pub(super) traffic: Traffic,
    pub(super) transport: Transport,
    /// Sizes of content.
    pub(super) bodies: &'a [usize],
    /// Of the case with the most in flight.
    pub(super) connections: u32,
    /// On each connection.
    pub(super) streams: u32,
}

/// Whether somebody accepts connections there and, unless that is all that can be asked for yet, answers `GET /`
/// with 200.
pub(super) fn is_up(address: &Address, accepts_only: bool) -> bool {
    if accepts_only {
        return address.connect(PATIENCE).is_ok();
    }
    let asked = Connection::open(address)
        .and_then(|mut connection| connection.content(&request(&address.authority(), "/")));
    asked.is_ok()
}

/// A subject that is being checked.
struct Visit {
    stage: Stage,
    subject: Subject,
    traffic: Traffic,
    tls: Option<Arc<ClientConfig>>,
}

/// Starts `subject` and asks it everything.
///
/// # Errors
/// The first answer that is not as it should be.
pub(super) fn check(setting: &Setting<'_>, subject: Subject, asked: &Asked<'_>) -> Result<(), Problem> {
    let traffic = asked.traffic;
    let stage = setting.start(subject, traffic, asked.transport, Layout::Apart)?;
    let tls = traffic.is_tls().then(|| tls::settings(traffic, setting.certificate)).transpose()?;
    let visit = Visit { stage, subject, traffic, tls };
    if traffic == Traffic::Tcp {
        let check = |&bytes: &usize| bytes::check(&visit.stage.listen, bytes, asked.connections);
        return asked.bodies.iter().try_for_each(check);
    }
    for &bytes in asked.bodies {
        visit.check_body(bytes)?;
    }
    visit.check_request()?;
    visit.check_many(asked.connections, asked.streams)?;
    if let (Traffic::ResumedHandshakes, Some(tls)) = (traffic, &visit.tls) {
        tls::check_resumption(&visit.stage.listen, tls)?;
    }
    if traffic == Traffic::Grpc {
        let message: Vec<u8> = (0..=u8::MAX).cycle().take(SMALL_BYTES).collect();
        http2::check_call(&visit.door(), &message)?;
    }
    Ok(())
}

impl Visit {
    /// A connection for HTTP/1.
    fn open(&self) -> Result<Connection, Problem> {
        match &self.tls {
            None => Connection::open(&self.stage.listen),
            Some(settings) => tls::open(&self.stage.listen, settings),
        }
    }

    /// Where HTTP/2 connections are made.
    fn door(&self) -> Door {
        Door { address: self.stage.listen.clone(), tls: self.tls.clone() }
    }

    fn check_body(&self, bytes: usize) -> Result<(), Problem> {
        let path = format!("/bytes/{bytes}");
        let request = request(&self.stage.listen.authority(), &path);
        let sent = Connection::open(&self.stage.upstream)?.content(&request)?;
        let came = match self.traffic.is_http2() {
            true => http2::content(&self.door(), &path)?,
            false => self.open()?.content(&request)?,
        };
        if sent.len() == bytes && sent == came {
            return Ok(());
        }
        Err(format!("a body of {bytes} bytes came through changed"))
    }

    fn check_request(&self) -> Result<(), Problem> {
        let authority = self.stage.listen.authority();
        let (first, second) = if self.traffic.is_http2() {
            let echo = || parsed(&http2::content(&self.door(), ECHO)?);
            let (_, first, second) = (echo()?, echo()?, echo()?);
            (first, second)
        } else {
            let mut connection = self.open()?;
            let mut echo = || parsed(&connection.content(&request(&authority, ECHO))?);
            let (_, first, second) = (echo()?, echo()?, echo()?);
            (first, second)
        };
        let is_over_tcp = matches!(self.stage.listen, Address::Tcp(_));
        judge_echo(&second, &authority, self.subject, self.traffic, is_over_tcp)?;
        // A forwarder of bytes has an upstream connection for each of its clients', which here were three.
        if self.subject.is_proxy() && first["connection"] != second["connection"] {
            return Err("upstream connections are not used again".to_owned());
        }
        Ok(())
    }

    fn check_many(&self, connections: u32, streams: u32) -> Result<(), Problem> {
        let contents = match self.traffic.is_http2() {
            true => {
                let small = format!("/bytes/{SMALL_BYTES}");
                let answers = http2::many(&self.door(), connections, streams, &small)?;
                if answers.iter().any(|content| content.len() != SMALL_BYTES) {
                    return Err("an answer does not have the length that was asked for".to_owned());
                }
                http2::many(&self.door(), connections, streams, ECHO)?
                    .iter()
                    .map(|echo| echo.to_vec())
                    .collect()
            }
            false => self.ask_many(connections)?,
        };
        let mut newest = 0;
        for content in &contents {
            newest = newest.max(upstream_connection(content)?);
        }
        judge_pool(newest, contents.len() as u64)
    }

    /// Requests on many connections at a time, four on each; gives the last answers, which are echoes.
    fn ask_many(&self, connections: u32) -> Result<Vec<Vec<u8>>, Problem> {
        let mut connections = (0..connections).map(|_| self.open()).collect::<Result<Vec<_>, _>>()?;
        let authority = self.stage.listen.authority();
        let small = request(&authority, &format!("/bytes/{SMALL_BYTES}"));
        let mut buffer = vec![0; READ_BYTES];
        for _ in 0..3 {
            for connection in &mut connections {
                connection.send(&small)?;
            }
            for connection in &mut connections {
                connection.skip_answer(&mut buffer, SMALL_BYTES)?;
            }
        }
        let echo = request(&authority, ECHO);
        for connection in &mut connections {
            connection.send(&echo)?;
        }
        connections.iter_mut().map(Connection::read_content).collect()
    }
}

fn parsed(content: &[u8]) -> Result<Value, Problem> {
    serde_json::from_slice(content).map_err(|e| format!("the origin's echo can't be read: {e}"))
}

/// What the upstream saw of a request.
fn judge_echo(
    echo: &Value,
    authority: &str,
    subject: Subject,
    traffic: Traffic,
    over_tcp: bool,
) -> Result<(), Problem> {
    let version = if traffic.is_http2_upstream() { "HTTP/2" } else { "HTTP/1.1" };
    if echo["http_version"] != version {
        return Err(format!("the upstream got {} instead of {version}", echo["http_version"]));
    }
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
    // HTTP/2 has it in one of two places (RFC 9113, 8.3.1); nginx takes the older one.
    let is_newer = traffic.is_http2_upstream() && !values(":authority").is_empty();
    let host = if is_newer { ":authority" } else { "host" };
    let mut expected = vec![(host, authority), ("cookie", "session=0123456789")];
    if subject.is_proxy() {
        expected.push(("x-forwarded-proto", if traffic.is_tls() { "https" } else { "http" }));
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
    parsed(echo)?["connection"].as_u64().ok_or_else(|| "the origin's echo has no connection".to_owned())
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
            let version = "HTTP/1.1";
            let echo = json!({ "method": "GET", "target": ECHO, "http_version": version, "headers": lines });
            judge_echo(&echo, "h:1", subject, Traffic::Http1, over_tcp)
        };
        assert_eq!(judge(&lines, Subject::Envoy, true), Ok(()));
        assert_eq!(judge(&lines[..2], Subject::Floor, true), Ok(()));
        let without = [lines[0], lines[1], lines[3]];
        assert!(judge(&without, Subject::Nginx, true).unwrap_err().contains("x-forwarded-for"));
        assert_eq!(judge(&without, Subject::Nginx, false), Ok(()));
        assert!(judge(&lines[..3], Subject::Nginx, true).unwrap_err().contains("x-forwarded-proto"));
        let twice = [lines[0], lines[0], lines[1], lines[2], lines[3]];
        assert!(judge(&twice, Subject::Pinion, true).unwrap_err().contains("host"));
        let echo = json!({ "method": "GET", "target": ECHO, "http_version": "HTTP/1.1", "headers": lines });
        let judged = judge_echo(&echo, "h:1", Subject::Haproxy, Traffic::Http2, true);
        assert!(judged.unwrap_err().contains("instead of HTTP/2"));
        let judged = judge_echo(&echo, "h:1", Subject::Haproxy, Traffic::Tls, true);
        assert!(judged.unwrap_err().contains("x-forwarded-proto"));
    }
}
