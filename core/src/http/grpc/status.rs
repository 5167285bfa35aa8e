//! gRPC's status codes, and what HTTP's statuses and faults are in their terms.
//!
//! HTTP's statuses are told as gRPC's clients must read them; faults rather as what they are.
//!
//! Invariants: every number has a code; what is not known is [`Code::UNKNOWN`].

use super::super::head::Fields;
use super::value_of;
use crate::fault::{Fault, Party};

/// A status code, 0 to 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Code(u8);

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident $number:literal $label:literal;)*) => {
        impl Code {
            $($(#[$doc])* pub const $name: Code = Code($number);)*

            /// Every code, in the order of their numbers.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];
            const LABELS: &'static [&'static str] = &[$($label,)*];
        }
    };
}

codes! {
    /// Success.
    OK 0 "ok";
    /// The caller gave up.
    CANCELLED 1 "cancelled";
    /// Nothing better is known.
    UNKNOWN 2 "unknown";
    /// The caller's mistake, whatever the state of the system.
    INVALID_ARGUMENT 3 "invalid_argument";
    /// The time was over.
    DEADLINE_EXCEEDED 4 "deadline_exceeded";
    /// There is no such thing.
    NOT_FOUND 5 "not_found";
    /// There is such a thing already.
    ALREADY_EXISTS 6 "already_exists";
    /// The caller may not do this.
    PERMISSION_DENIED 7 "permission_denied";
    /// A quota or memory is used up.
    RESOURCE_EXHAUSTED 8 "resource_exhausted";
    /// The system is in no state for this.
    FAILED_PRECONDITION 9 "failed_precondition";
    /// Something else was faster.
    ABORTED 10 "aborted";
    /// Beyond the valid range.
    OUT_OF_RANGE 11 "out_of_range";
    /// Nobody does this.
    UNIMPLEMENTED 12 "unimplemented";
    /// Something is broken.
    INTERNAL 13 "internal";
    /// Not now; trying again may help.
    UNAVAILABLE 14 "unavailable";
    /// Data is lost for good.
    DATA_LOSS 15 "data_loss";
    /// The caller is not known.
    UNAUTHENTICATED 16 "unauthenticated";
}

impl Code {
    /// How many codes there are.
    pub const COUNT: usize = Code::ALL.len();

    /// The code's number, below [`Code::COUNT`].
    pub const fn number(self) -> u8 {
        self.0
    }

    /// The word for metrics and logs.
    pub fn label(self) -> &'static str {
        Code::LABELS.get(usize::from(self.0)).copied().unwrap_or("unknown")
    }

    /// The number as `grpc-status` has it.
    pub fn text(self) -> &'static [u8] {
        const TEXTS: [&str; Code::COUNT] =
            ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16"];
        TEXTS.get(usize::from(self.0)).map_or(b"2", |text| text.as_bytes())
    }

    /// What a value of `grpc-status` says. Numbers beyond the known ones, and what is no number, are unknown.
    pub fn parse(value: &[u8]) -> Code {
        let number = match value {
            [ones @ b'0'..=b'9'] => ones - b'0',
            [b'1', ones @ b'0'..=b'6'] => 10 + ones - b'0',
            _ => return Code::UNKNOWN,
        };
        Code(number)
    }

    /// What a response's head says: trailers-only responses carry the status there.
    pub fn of_fields(bytes: &[u8], fields: &Fields) -> Option<Code> {
        value_of(bytes, fields, b"grpc-status").map(|value| Code::parse(value.of(bytes)))
    }

    /// What trailers say, as lines `name: value CR LF`.
    pub fn of_trailers(lines: &[u8]) -> Option<Code> {
        lines.split(|&byte| byte == b'\n').find_map(|line| {
            let colon = memchr::memchr(b':', line)?;
            let (name, value) = line.split_at(colon);
            name.eq_ignore_ascii_case(b"grpc-status").then(|| Code::parse(value[1..].trim_ascii()))
        })
    }

    /// What a response without `grpc-status` means to a gRPC client, by its HTTP status.
    pub const fn of_http(status: u16) -> Code {
        match status {
            400 => Code::INTERNAL,
            401 => Code::UNAUTHENTICATED,
            403 => Code::PERMISSION_DENIED,
            404 => Code::UNIMPLEMENTED,
            429 | 502..=504 => Code::UNAVAILABLE,
            _ => Code::UNKNOWN,
        }
    }

    /// What a gRPC client is told of a fault: rather what it is than what its HTTP status would mean.
    pub fn of_fault(fault: Fault) -> Code {
        match fault {
            Fault::FirstByteTimeout | Fault::RequestTimeout | Fault::UpstreamStalled => {
                Code::DEADLINE_EXCEEDED
            }
            Fault::ClientGone => Code::CANCELLED,
            Fault::UpstreamTruncated => Code::UNAVAILABLE,
            _ => {
                let row = fault.row();
                match (row.status, row.party) {
                    (400 | 417 | 502 | 505, _) => Code::INTERNAL,
                    (404 | 405 | 501, _) => Code::UNIMPLEMENTED,
                    (408, _) => Code::DEADLINE_EXCEEDED,
                    (413 | 414 | 429 | 431, _) => Code::RESOURCE_EXHAUSTED,
                    (401, _) => Code::UNAUTHENTICATED,
                    (403 | 421, _) => Code::PERMISSION_DENIED,
                    (503 | 504, _) | (_, Party::Proxy) => Code::UNAVAILABLE,
                    (0, Party::Upstream) => Code::INTERNAL,
                    (status, _) => Code::of_http(status),
                }
            }
        }
    }
}

/// A set of codes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Codes(u32);

impl Codes {
    /// The codes that may ask for another try, with their words in the configuration (Envoy's).
    pub const RETRIABLE: [(&'static str, Code); 5] = [
        ("cancelled", Code::CANCELLED),
        ("deadline-exceeded", Code::DEADLINE_EXCEEDED),
        ("internal", Code::INTERNAL),
        ("resource-exhausted", Code::RESOURCE_EXHAUSTED),
        ("unavailable", Code::UNAVAILABLE),
    ];

    /// Adds a code.
    pub fn add(&mut self, code: Code) {
        self.0 |= 1 << code.number();
    }

    /// Whether the code is among them.
    pub const fn has(self, code: Code) -> bool {
        self.0 >> code.number() & 1 == 1
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_words() {
        for (number, code) in Code::ALL.iter().enumerate() {
            assert_eq!(usize::from(code.number()), number);
            assert_eq!(code.text(), number.to_string().as_bytes());
            assert_eq!(Code::parse(code.text()), *code);
            assert!(code.label().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
        }
        assert_eq!(Code::COUNT, 17);
        for text in ["", "17", "00", "-1", "1 ", "x", "100"] {
            assert_eq!(Code::parse(text.as_bytes()), Code::UNKNOWN, "{text}");
        }
    }

    #[test]
    fn responses_without_a_status() {
        for (status, code) in [
            (200, Code::UNKNOWN),
            (400, Code::INTERNAL),
            (401, Code::UNAUTHENTICATED),
            (403, Code::PERMISSION_DENIED),
            (404, Code::UNIMPLEMENTED),
            (429, Code::UNAVAILABLE),
            (500, Code::UNKNOWN),
            (502, Code::UNAVAILABLE),
            (503, Code::UNAVAILABLE),
            (504, Code::UNAVAILABLE),
            (302, Code::UNKNOWN),
        ] {
            assert_eq!(Code::of_http(status), code, "{status}");
        }
    }

    #[test]
    fn faults() {
        for (fault, code) in [
            (Fault::NoRoute, Code::UNIMPLEMENTED),
            (Fault::MethodUnsupported, Code::UNIMPLEMENTED),
            (Fault::BadRequest, Code::INTERNAL),
            (Fault::HeadTooLarge, Code::RESOURCE_EXHAUSTED),
            (Fault::NoEndpoint, Code::UNAVAILABLE),
            (Fault::PendingOverflow, Code::UNAVAILABLE),
            (Fault::ConnectTimeout, Code::UNAVAILABLE),
            (Fault::StreamRefused, Code::UNAVAILABLE),
            (Fault::UpstreamReset, Code::UNAVAILABLE),
            (Fault::MemoryLimit, Code::UNAVAILABLE),
            (Fault::Drained, Code::UNAVAILABLE),
            (Fault::FirstByteTimeout, Code::DEADLINE_EXCEEDED),
            (Fault::RequestTimeout, Code::DEADLINE_EXCEEDED),
            (Fault::BodyTimeout, Code::DEADLINE_EXCEEDED),
            (Fault::ClientGone, Code::CANCELLED),
            (Fault::UpstreamMalformed, Code::INTERNAL),
            (Fault::UpstreamBadBody, Code::INTERNAL),
            (Fault::UpstreamTruncated, Code::UNAVAILABLE),
        ] {
            assert_eq!(Code::of_fault(fault), code, "{fault:?}");
        }
        assert!(Fault::ALL.iter().all(|fault| Code::of_fault(*fault) != Code::OK));
    }

    #[test]
    fn trailers() {
        assert_eq!(Code::of_trailers(b"a: b\r\nGrpc-Status:14\r\n"), Some(Code::UNAVAILABLE));
        assert_eq!(Code::of_trailers(b"grpc-status: 0\r\ngrpc-status: 1\r\n"), Some(Code::OK));
        assert_eq!(Code::of_trailers(b"grpc-status: x\r\n"), Some(Code::UNKNOWN));
        assert_eq!(Code::of_trailers(b"grpc-message: 0\r\n"), None);
        assert_eq!(Code::of_trailers(b""), None);
    }

    #[test]
    fn sets() {
        let mut set = Codes::default();
        assert!(set.is_empty());
        set.add(Code::UNAVAILABLE);
        assert!(set.has(Code::UNAVAILABLE) && !set.has(Code::INTERNAL) && !set.is_empty());
    }
}
