//! gRPC of the origin, without its transport: messages out of the bytes of a call, and what comes back.
//!
//! ```text
//! DATA: flag (1) | length (4) | message …   ─▶ replies: messages with their prefixes, then one status
//!
//! …/ServerStream            each message ten times
//! …/ClientStream            one message: all of them joined (for protobuf: merged)
//! grpc.health.v1.Health/…   Check, Watch
//! anything else             each message once, as it is complete: right for unary and for both-way streams
//! ```
//!
//! Invariants: a call gets exactly one status, and nothing behind it; a watch gets none, because only its
//! client ends it. Compressed messages come back as they are.

use std::sync::Arc;

/// The largest message, in bytes; also of all that are joined. The usual limit of gRPC's own libraries.
const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How often `ServerStream` sends a message back.
const REPEATS: usize = 10;

/// The flag and the length before each message.
const PREFIX_BYTES: usize = 5;

/// Status codes of gRPC.
pub(super) mod status {
    pub(in crate::origin) const OK: u16 = 0;
    pub(in crate::origin) const UNKNOWN: u16 = 2;
    pub(in crate::origin) const NOT_FOUND: u16 = 5;
    pub(in crate::origin) const PERMISSION_DENIED: u16 = 7;
    pub(in crate::origin) const RESOURCE_EXHAUSTED: u16 = 8;
    pub(in crate::origin) const UNIMPLEMENTED: u16 = 12;
    pub(in crate::origin) const INTERNAL: u16 = 13;
    pub(in crate::origin) const UNAVAILABLE: u16 = 14;
    pub(in crate::origin) const UNAUTHENTICATED: u16 = 16;
}

/// The status for a status code of HTTP, as clients of gRPC translate it.
pub(super) fn status_for(http: u16) -> u16 {
    match http {
        200..=399 => status::OK,
        400 => status::INTERNAL,
        401 => status::UNAUTHENTICATED,
        403 => status::PERMISSION_DENIED,
        404 => status::UNIMPLEMENTED,
        429 | 502..=504 => status::UNAVAILABLE,
        _ => status::UNKNOWN,
    }
}

/// What a call does with its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Each,
    Joined,
    Repeated,
    Check,
    Watch,
    Unknown,
}

/// A status and why.
type End = (u16, &'static str);

/// What comes back.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// A message with its prefix.
    Message(Arc<[u8]>),
    /// The call's end, and why.
    Status(u16, &'static str),
}

impl Reply {
    /// The size of the message, if it is one.
    pub(super) fn message_bytes(&self) -> usize {
        match self {
            Reply::Message(message) => message.len(),
            Reply::Status(..) => 0,
        }
    }
}

/// One call.
pub(super) struct Call {
    method: Method,
    /// What came of the message that is not complete.
    buffer: Vec<u8>,
    /// What is joined, or the one message of a health check, without prefix.
    joined: Vec<u8>,
    /// Whether the status was given.
    is_over: bool,
}

impl Call {
    /// A call at this path.
    pub(super) fn new(path: &str) -> Self {
        let method = match path {
            "/grpc.health.v1.Health/Check" => Method::Check,
            "/grpc.health.v1.Health/Watch" => Method::Watch,
            _ if path.starts_with("/grpc.health.v1.Health/") => Method::Unknown,
            _ => match path.rsplit('/').next() {
                Some("ClientStream") => Method::Joined,
                Some("ServerStream") => Method::Repeated,
                _ => Method::Each,
            },
        };
        Call { method, buffer: Vec::new(), joined: Vec::new(), is_over: false }
    }

    /// Whether the call ends only when its client ends it.
    pub(super) fn is_watch(&self) -> bool {
        self.method == Method::Watch
    }

    /// Takes the next bytes of the request.
    pub(super) fn feed(&mut self, bytes: &[u8], replies: &mut Vec<Reply>) {
        if self.is_over {
            return;
        }
        self.buffer.extend_from_slice(bytes);
        let buffer = std::mem::take(&mut self.buffer);
        let mut rest = &buffer[..];
        let outcome = loop {
            match split_message(rest) {
                Ok(Some((message, after))) => {
                    rest = after;
                    if let Err(fault) = self.on_message(message, replies) {
                        break Err(fault);
                    }
                }
                Ok(None) => break Ok(()),
                Err(fault) => break Err(fault),
            }
        };
        if let Err((code, why)) = outcome {
            self.is_over = true;
            replies.push(Reply::Status(code, why));
            return;
        }
        let left = rest.len();
        self.buffer = buffer;
        self.buffer.drain(..self.buffer.len() - left);
    }

    /// A complete message, its prefix included.
    fn on_message(&mut self, message: &[u8], replies: &mut Vec<Reply>) -> Result<(), End> {
        match self.method {
            Method::Each => replies.push(Reply::Message(Arc::from(message))),
            Method::Repeated => {
                let message: Arc<[u8]> = Arc::from(message);
                replies.extend((0..REPEATS).map(|_| Reply::Message(Arc::clone(&message))));
            }
            Method::Unknown => {}
            Method::Joined | Method::Check | Method::Watch => {
                if message[0] != 0 {
                    return Err((status::UNIMPLEMENTED, "compressed messages are not understood here"));
                }
                self.joined.extend_from_slice(&message[PREFIX_BYTES..]);
                if self.joined.len() > MESSAGE_BYTES_MAX {
                    return Err((status::RESOURCE_EXHAUSTED, "the messages are too large together"));
                }
            }
        }
        Ok(())
    }

    /// The request has ended. `name` is the service that is known to be healthy, beside the empty one.
    pub(super) fn end(&mut self, name: &str, replies: &mut Vec<Reply>) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        let is_cut = !self.buffer.is_empty();
        let (message, end) = match self.method {
            _ if is_cut => (None, Some((status::INTERNAL, "the request ends amid a message"))),
            Method::Each | Method::Repeated => (None, Some((status::OK, ""))),
            Method::Unknown => (None, Some((status::UNIMPLEMENTED, "no such method"))),
            Method::Joined => (Some(prefixed(&self.joined)), Some((status::OK, ""))),
            Method::Check | Method::Watch => self.health(name),
        };
        replies.extend(message.map(Reply::Message));
        replies.extend(end.map(|(code, why)| Reply::Status(code, why)));
    }

    fn health(&self, name: &str) -> (Option<Arc<[u8]>>, Option<End>) {
        /// `HealthCheckResponse { status }`: field 1, a varint.
        const SERVING: [u8; 2] = [0x08, 1];
        const SERVICE_UNKNOWN: [u8; 2] = [0x08, 3];
        let Some(service) = health_service(&self.joined) else {
            return (None, Some((status::INTERNAL, "not a HealthCheckRequest")));
        };
        let is_known = service.is_empty() || service == name.as_bytes();
        match (self.method, is_known) {
            (Method::Watch, true) => (Some(prefixed(&SERVING)), None),
            (Method::Watch, false) => (Some(prefixed(&SERVICE_UNKNOWN)), None),
            (_, true) => (Some(prefixed(&SERVING)), Some((status::OK, ""))),
            (_, false) => (None, Some((status::NOT_FOUND, "unknown service"))),
        }
    }
}

type Split<'a> = Option<(&'a [u8], &'a [u8])>;

/// The message that `bytes` begin with, with its prefix, and what follows it.
fn split_message(bytes: &[u8]) -> Result<Split<'_>, End> {
    let Some(&[flag, a, b, c, d]) = bytes.first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if flag > 1 {
        return Err((status::INTERNAL, "a message with an unknown flag"));
    }
    if length > MESSAGE_BYTES_MAX {
        return Err((status::RESOURCE_EXHAUSTED, "a message is too large"));
    }
    Ok(bytes.split_at_checked(PREFIX_BYTES + length))
}

fn prefixed(message: &[u8]) -> Arc<[u8]> {
    let mut bytes = Vec::with_capacity(PREFIX_BYTES + message.len());
    bytes.push(0);
    bytes.extend_from_slice(&(message.len() as u32).to_be_bytes());
    bytes.extend_from_slice(message);
    Arc::from(bytes)
}

/// The `service` of a `HealthCheckRequest`: its field 1, a string; fields it does not know are stepped over.
fn health_service(mut bytes: &[u8]) -> Option<&[u8]> {
    let mut service: &[u8] = b"";
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        if key >> 3 == 1 && key & 7 != 2 {
            return None;
        }
        let length = match key & 7 {
            0 => {
                varint(&mut bytes)?;
                continue;
            }
            1 => 8,
            2 => usize::try_from(varint(&mut bytes)?).ok()?,
            5 => 4,
            _ => return None,
        };
        let (value, rest) = bytes.split_at_checked(length)?;
        bytes = rest;
        if key >> 3 == 1 {
            service = value;
        }
    }
    Some(service)
}

/// Takes a number of protobuf from the front: seven bits a byte, the lowest first.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn message(bytes: &[u8]) -> Reply {
        Reply::Message(prefixed(bytes))
    }

    /// The replies to these bytes, which are the same in pieces of every size.
    fn replies(path: &str, bytes: &[u8]) -> Vec<Reply> {
        let run = |size: usize| {
            let (mut call, mut replies) = (Call::new(path), Vec::new());
            bytes.chunks(size).for_each(|piece| call.feed(piece, &mut replies));
            call.end("shop", &mut replies);
            replies
        };
        let whole = run(bytes.len().max(1));
        for size in (1..bytes.len()).take(20) {
            assert_eq!(run(size), whole, "in pieces of {size}");
        }
        whole
    }

    #[test]
    fn messages_come_back_as_the_method_says() {
        let two = [prefixed(b"ab"), prefixed(b"c")].concat();
        let ok = || Reply::Status(status::OK, "");
        assert_eq!(replies("/a.B/C", &two), [message(b"ab"), message(b"c"), ok()]);
        assert_eq!(replies("/a.B/C", b""), [ok()]);
        assert_eq!(replies("/a.B/ClientStream", &two), [message(b"abc"), ok()]);
        let repeated = replies("/a.B/ServerStream", &two);
        assert_eq!(repeated.len(), 2 * REPEATS + 1);
        assert_eq!(repeated.iter().filter(|reply| **reply == message(b"ab")).count(), REPEATS);
        // A compressed message comes back as it is, its flag included.
        let compressed = [1, 0, 0, 0, 1, b'x'];
        assert_eq!(replies("/a.B/C", &compressed), [Reply::Message(Arc::from(compressed)), ok()]);
    }

    #[test]
    fn what_is_no_message_ends_the_call() {
        let codes = |path: &str, bytes: &[u8]| {
            let codes = replies(path, bytes).into_iter().filter_map(|reply| match reply {
                Reply::Status(code, _) => Some(code),
                Reply::Message(_) => None,
            });
            codes.collect::<Vec<_>>()
        };
        assert_eq!(codes("/a.B/C", &[0, 0, 0, 0, 2, b'x']), [status::INTERNAL]);
        assert_eq!(codes("/a.B/C", &[2, 0, 0, 0, 0]), [status::INTERNAL]);
        assert_eq!(codes("/a.B/C", &[0, 0, 64, 0, 1, 0, 0]), [status::RESOURCE_EXHAUSTED]);
        assert_eq!(codes("/a.B/ClientStream", &[1, 0, 0, 0, 0]), [status::UNIMPLEMENTED]);
        let half = prefixed(&vec![0; MESSAGE_BYTES_MAX / 2 + 1]);
        let mut call = Call::new("/a.B/ClientStream");
        let mut replies = Vec::new();
        call.feed(&[half.clone(), half.clone(), half].concat(), &mut replies);
        call.end("shop", &mut replies);
        assert!(matches!(replies[..], [Reply::Status(status::RESOURCE_EXHAUSTED, _)]), "{}", replies.len());
    }

    #[test]
    fn health_is_told_by_service() {
        let ask = |path: &str, request: &[u8]| replies(path, &prefixed(request));
        let (check, watch) = ("/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch");
        let ok = || Reply::Status(status::OK, "");
        for request in [&b""[..], b"\x0a\x04shop", b"\x10\x07\x0a\x04shop", b"\x1a\x01x\x0a\x04shop"] {
            assert_eq!(ask(check, request), [message(&[8, 1]), ok()]);
        }
        let unknown = b"\x0a\x05other";
        assert_eq!(ask(check, unknown), [Reply::Status(status::NOT_FOUND, "unknown service")]);
        assert_eq!(ask(watch, b""), [message(&[8, 1])]);
        assert_eq!(ask(watch, unknown), [message(&[8, 3])]);
        for wrong in [&b"\x0a\x05shop"[..], b"\x0a", b"\x08\x01", b"\xff", b"\x0f"] {
            assert!(matches!(ask(check, wrong)[..], [Reply::Status(status::INTERNAL, _)]), "{wrong:x?}");
        }
        let other = ask("/grpc.health.v1.Health/List", b"");
        assert_eq!(other, [Reply::Status(status::UNIMPLEMENTED, "no such method")]);
    }

    #[test]
    fn noise_ends_a_call_or_waits_but_never_panics() {
        let mut random = Random::seeded(11);
        for path in ["/a.B/C", "/a.B/ClientStream", "/grpc.health.v1.Health/Check"] {
            for _ in 0..3000 {
                let (mut call, mut replies) = (Call::new(path), Vec::new());
                for _ in 0..random.bits() % 8 {
                    // Mostly zeros, so that lengths are small.
                    let bytes: Vec<u8> = (0..random.bits() % 12)
                        .map(|_| if random.bits().is_multiple_of(3) { random.bits() as u8 % 16 } else { 0 })
                        .collect();
                    call.feed(&bytes, &mut replies);
                }
                call.end("shop", &mut replies);
                let ends = replies.iter().filter(|reply| matches!(reply, Reply::Status(..))).count();
                assert_eq!(ends, 1);
                assert!(matches!(replies.last(), Some(Reply::Status(..))), "something behind the status");
            }
        }
    }
}
