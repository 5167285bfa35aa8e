//! What a request asks the origin to do: directives in its path.
//!
//! ```text
//! /delay/50ms/status/503/bytes/10   →   wait 50 ms, 503, 10 bytes
//! /anything/else                    →   the defaults
//! ```
//!
//! The same for HTTP/1 and HTTP/2; how an answer is framed is not here.

use super::delay::Delay;
use crate::units;

/// The largest body that a path can ask for, in bytes: a terabyte, so that a typing error ends.
const BYTES_MAX: u64 = 1 << 40;

/// What a truncated answer announces above what it sends, in bytes, where the path asks for no more.
const MISSING_BYTES: u64 = 1024;

/// Why a request is refused: the status and the reason.
pub(crate) type Refusal = (u16, &'static str);

/// What to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Name and version.
    Identity,
    /// The request as it was seen.
    Echo,
    /// So many bytes of the pattern.
    Bytes { length: u64, chunked: bool },
}

/// Where an answer breaks off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// After so many bytes of content, by a close.
    After(u64),
    /// Half-way, by a reset.
    Reset,
}

impl Cut {
    /// How much of a content of `length` bytes is sent.
    pub(crate) fn sent(self, length: u64) -> u64 {
        match self {
            Cut::After(bytes) => bytes.min(length),
            Cut::Reset => length / 2,
        }
    }
}

/// The whole of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) status: u16,
    pub(crate) content: Content,
    pub(crate) delay: Option<Delay>,
    /// Bytes of content a second; without it as fast as the peer takes them.
    pub(crate) rate: Option<u64>,
    pub(crate) close: bool,
    pub(crate) cut: Option<Cut>,
}

impl Default for Plan {
    /// Name and version, at once.
    fn default() -> Self {
        Plan { status: 200, content: Content::Identity, delay: None, rate: None, close: false, cut: None }
    }
}

impl Plan {
    /// Applies the directives of `path` to the defaults. A path that does not begin with a directive
    /// has none: a service behind a route is asked for all kinds of paths.
    ///
    /// # Errors
    /// A directive with a wrong argument, or something else after a directive.
    pub(crate) fn for_path(path: &str, defaults: &Plan) -> Result<Plan, Refusal> {
        let mut plan = defaults.clone();
        let mut parts = Parts(path);
        let mut first = true;
        while let Some(part) = parts.next() {
            match part {
                "echo" => plan.content = Content::Echo,
                "close" => plan.close = true,
                "reset" => plan.cut = Some(Cut::Reset),
                "bytes" | "chunked" => {
                    let length = size(&mut parts)
                        .ok_or((400, "use /bytes/N or /chunked/N, for example /bytes/64KiB"))?;
                    plan.content = Content::Bytes { length, chunked: part == "chunked" };
                }
                "slow" => {
                    let wrong = (400, "use /slow/N/RATE, for example /slow/1MiB/100KiB");
                    let length = size(&mut parts).ok_or(wrong)?;
                    plan.content = Content::Bytes { length, chunked: false };
                    plan.rate = Some(size(&mut parts).filter(|&rate| rate > 0).ok_or(wrong)?);
                }
                "truncate" => {
                    let sent = size(&mut parts).ok_or((400, "use /truncate/N, for example /truncate/100"))?;
                    plan.cut = Some(Cut::After(sent));
                }
                "delay" => {
                    let delay = parts.next().and_then(|text| text.replace("%25", "%").parse().ok());
                    plan.delay =
                        Some(delay.ok_or((400, "use /delay/50ms, /delay/1ms..9ms or /delay/exp:5ms"))?);
                }
                "status" => {
                    let status = parts.next().and_then(|text| text.parse().ok());
                    plan.status = status
                        .filter(|status| (200..=599).contains(status))
                        .ok_or((400, "use /status/CODE with 200 to 599"))?;
                }
                _ if first => return Ok(plan),
                _ => return Err((400, "unknown directive after another one")),
            }
            first = false;
        }
        plan.announce_more();
        Ok(plan)
    }

    /// Has a truncated answer announce more than it sends.
    fn announce_more(&mut self) {
        if let Some(Cut::After(sent)) = self.cut
            && !matches!(self.content, Content::Bytes { length, .. } if length > sent)
        {
            let chunked = matches!(self.content, Content::Bytes { chunked: true, .. });
            self.content = Content::Bytes { length: sent + MISSING_BYTES, chunked };
        }
    }
}

/// The parts of a path between its slashes, without empty ones.
struct Parts<'a>(&'a str);

impl<'a> Iterator for Parts<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        // By bytes: paths are short, and a slash is never part of another character.
        let begin = self.0.bytes().position(|byte| byte != b'/')?;
        let rest = &self.0[begin..];
        let end = rest.bytes().position(|byte| byte == b'/').unwrap_or(rest.len());
        let (part, rest) = rest.split_at(end);
        self.0 = rest;
        Some(part)
    }
}

fn size<'a>(parts: &mut impl Iterator<Item = &'a str>) -> Option<u64> {
    parts.next().and_then(|text| units::size(text).ok()).filter(|&size| size <= BYTES_MAX)
}

/// Whether answers with this status have content at all (RFC 9110, section 6.4.1).
pub(crate) fn has_content(status: u16) -> bool {
    status != 204 && status != 304
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::delay::Law;
    use std::time::Duration;

    fn plan(path: &str) -> Result<Plan, Refusal> {
        Plan::for_path(path, &Plan::default())
    }

    #[test]
    fn directives_follow_one_another() {
        assert_eq!(plan("/"), Ok(Plan::default()));
        assert_eq!(plan("/reviews/1/bytes"), Ok(Plan::default()));
        assert_eq!(plan("/echo").unwrap().content, Content::Echo);
        let all = plan("/delay/50ms/status/503/chunked/1KiB/close").unwrap();
        let content = Content::Bytes { length: 1024, chunked: true };
        let delay = Some(Delay::One(Law::Fixed(Duration::from_millis(50))));
        assert_eq!(all, Plan { status: 503, content, delay, close: true, ..Plan::default() });
        for wrong in [
            "/bytes",
            "/bytes/x",
            "/bytes/9999GiB",
            "/status/99",
            "/status/600",
            "/delay/5",
            "/close/now",
            "/slow/10",
            "/slow/10/0",
            "/truncate",
            "/reset/x",
        ] {
            assert!(plan(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_mixture_may_be_written_as_a_url_wants_it() {
        let delay = plan("/delay/1%25:5ms,99%25:exp:1ms").unwrap().delay;
        assert_eq!(delay, Some("1%:5ms,99%:exp:1ms".parse().unwrap()));
    }

    #[test]
    fn a_truncated_answer_announces_more_than_it_sends() {
        let announced = |path: &str| match plan(path).unwrap().content {
            Content::Bytes { length, chunked } => (length, chunked),
            other => unreachable!("{other:?}"),
        };
        assert_eq!(announced("/truncate/100"), (1124, false));
        assert_eq!(announced("/bytes/1000/truncate/100"), (1000, false));
        assert_eq!(announced("/truncate/100/bytes/1000"), (1000, false));
        assert_eq!(announced("/chunked/50/truncate/100"), (1124, true));
        assert_eq!(plan("/truncate/7").unwrap().cut, Some(Cut::After(7)));
        assert_eq!(Cut::After(7).sent(5), 5);
        assert_eq!(Cut::Reset.sent(11), 5);
    }
}
