//! The values of the document that are more than a string, number or switch: choices, addresses, and what
//! may be written short or as a table.

use ipnet::IpNet;
use serde_json::{Value as Json, json};
use toml::Spanned;
use toml::de::DeValue;

use super::super::http2::ClusterProtocol;
use super::super::problem::Problems;
use super::super::read::{At, Preset, Read, read_section, text, wrong_type};
use super::super::snapshot::{AccessLogFormat, Address, AddressError, DriverChoice, Protocol};
use super::super::values::words;
use super::{EndpointTable, PathKinds, ValueKinds};
use crate::balance::Balance;
use crate::http::grpc::Code;
use crate::http::{UpgradeRefused, Upgrades};

/// A protocol that a request may upgrade to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Upgrade(pub(in super::super) String);

impl Upgrade {
    /// What a listener allows that says nothing.
    pub(in super::super) fn websocket() -> Self {
        Upgrade("websocket".to_owned())
    }
}

/// What asks for another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum RetryCondition {
    ConnectFailure,
    RefusedStream,
    Reset,
    ServerError,
    GatewayError,
    StatusCodes,
    /// A status of gRPC.
    Grpc(Code),
}

words!(DriverChoice, "`auto`, `io_uring` or `epoll`" {
    "auto" => DriverChoice::Auto,
    "io_uring" => DriverChoice::IoUring,
    "epoll" => DriverChoice::Epoll,
});

words!(AccessLogFormat, "`json` or `text`" {
    "json" => AccessLogFormat::Json,
    "text" => AccessLogFormat::Text,
});

words!(Protocol, "`auto`, `http1`, `http2`, `tcp` or `tls-passthrough`" {
    "auto" => Protocol::Auto,
    "http1" => Protocol::Http1,
    "http2" => Protocol::Http2,
    "tcp" => Protocol::Tcp,
    "tls-passthrough" => Protocol::TlsPassthrough,
});

words!(ClusterProtocol, "`http1`, `http2`, `auto` or `tcp`" {
    "http1" => ClusterProtocol::Http1,
    "http2" => ClusterProtocol::Http2,
    "auto" => ClusterProtocol::Auto,
    "tcp" => ClusterProtocol::Tcp,
});

words!(Balance, "`least-request` or `round-robin`" {
    "least-request" => Balance::LeastRequest,
    "round-robin" => Balance::RoundRobin,
});

words!(RetryCondition, "a condition for another try" {
    "connect-failure" => RetryCondition::ConnectFailure,
    "refused-stream" => RetryCondition::RefusedStream,
    "reset" => RetryCondition::Reset,
    "5xx" => RetryCondition::ServerError,
    "gateway-error" => RetryCondition::GatewayError,
    "retriable-status-codes" => RetryCondition::StatusCodes,
    "cancelled" => RetryCondition::Grpc(Code::CANCELLED),
    "deadline-exceeded" => RetryCondition::Grpc(Code::DEADLINE_EXCEEDED),
    "internal" => RetryCondition::Grpc(Code::INTERNAL),
    "resource-exhausted" => RetryCondition::Grpc(Code::RESOURCE_EXHAUSTED),
    "unavailable" => RetryCondition::Grpc(Code::UNAVAILABLE),
});

impl Read for Upgrade {
    const EXPECTED: &'static str = "a protocol such as \"websocket\", or \"*\" for every one";

    fn read(value: &Spanned<DeValue<'_>>, problems: &mut Problems) -> Option<Self> {
        let word = text(value, Self::EXPECTED, problems)?;
        match Upgrades::check(word) {
            Ok(()) => return Some(Upgrade(word.to_owned())),
            Err(UpgradeRefused::Malformed) => {
                problems.error(value.span(), format!("expected {}, found `{word}`", Self::EXPECTED));
            }
            Err(UpgradeRefused::Http) => {
                problems
                    .error(value.span(), format!("`{word}` is never passed on"))
                    .label("the proxy would have to speak it")
                    .suggest("leave it out: a request that offers it goes on as an ordinary one");
            }
        }
        None
    }

    fn schema() -> Json {
        json!({ "type": "string", "minLength": 1 })
    }
}

impl Preset for Upgrade {
    fn json(&self) -> Json {
        json!(self.0)
    }
}

/// A limit that may be off: an integer from 1, or `"unlimited"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Ceiling(pub(in super::super) u64);

impl Read for Ceiling {
    const EXPECTED: &'static str = "an integer from 1, or \"unlimited\"";

    fn read(value: &Spanned<DeValue<'_>>, problems: &mut Problems) -> Option<Self> {
        match value.get_ref() {
            DeValue::String(word) if word == "unlimited" => Some(Ceiling(u64::MAX)),
            DeValue::Integer(_) => u64::read(value, problems).map(Ceiling),
            _ => {
                wrong_type(value, Self::EXPECTED, problems);
                None
            }
        }
    }

    fn schema() -> Json {
        json!({ "anyOf": [{ "type": "integer", "minimum": 1 }, { "const": "unlimited" }] })
    }
}

impl Preset for Ceiling {
    fn json(&self) -> Json {
        if self.0 == u64::MAX { json!("unlimited") } else { json!(self.0) }
    }
}

impl Read for Address {
    const EXPECTED: &'static str = "an address, such as \"127.0.0.1:8080\" or \"unix:/run/app.sock\"";

    fn read(value: &Spanned<DeValue<'_>>, problems: &mut Problems) -> Option<Self> {
        let written = text(value, Self::EXPECTED, problems)?;
        let error: AddressError = match written.parse() {
            Ok(address) => return Some(address),
            Err(error) => error,
        };
        let problem = problems.error(value.span(), format!("{error}: `{written}`"));
        if let Some(port) = written.strip_prefix("localhost") {
            problem.suggest(format!("write `127.0.0.1{port}`"));
        } else {
            problem.suggest(format!("expected {}", Self::EXPECTED));
        }
        None
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^(unix:.+|.+:[0-9]+)$" })
    }
}

impl Preset for Address {
    fn json(&self) -> Json {
        json!(self.to_string())
    }
}

/// A network, or one address.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Network(pub(in super::super) IpNet);

impl Read for Network {
    const EXPECTED: &'static str = "a network or address, such as \"10.0.0.0/8\" or \"192.0.2.7\"";

    fn read(value: &Spanned<DeValue<'_>>, problems: &mut Problems) -> Option<Self> {
        let written = text(value, Self::EXPECTED, problems)?;
        let parsed =
            written.parse::<IpNet>().or_else(|_| written.parse().map(|ip: std::net::IpAddr| ip.into()));
        if parsed.is_err() {
            problems.error(value.span(), format!("expected {}, found `{written}`", Self::EXPECTED));
        }
        parsed.ok().map(|net| Network(net.trunc()))
    }

    fn schema() -> Json {
        json!({ "type": "string" })
    }
}

/// A value for a header field, or several.
#[derive(Clone, Debug)]
pub(in super::super) struct OneOrMore(pub(in super::super) Vec<At<String>>);

impl Read for OneOrMore {
    const EXPECTED: &'static str = "a string or a list of strings";

    fn read(value: &Spanned<DeValue<'_>>, problems: &mut Problems) -> Option<Self> {
        match value.get_ref() {
            DeValue::String(one) => Some(OneOrMore(vec![At::new(value.span(), one.to_string())])),
            DeValue::Array(_) => Vec::read(value, problems).map(OneOrMore),
            _ => {
                wrong_type(value, Self::EXPECTED, problems);
                None
            }
        }
    }

    fn schema() -> Json {
        json!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
    }
}

/// The JSON Schema of a table that has exactly one of its keys.
fn exactly_one<T: Read>() -> Json {
    let mut schema = T::schema();
    if let Some(object) = schema.as_object_mut() {
        object.insert("minProperties".to_owned(), json!(1));
        object.insert("maxProperties".to_owned(), json!(1));
    }
    schema
}

/// Declares a value that is a string (`$short`) or a table (`$table`).
macro_rules! shorthand {
    ($(#[doc = $doc:literal])* $name:ident = $short:ident($value:ty) | $long:ident($table:ident: $long_schema:expr), $expected:literal) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug)]
        pub(in super::super) enum $name {
            $short($value),
            $long(Box<$table>),
        }

        impl Read for $name {
            const EXPECTED: &'static str = $expected;

            fn read(value: &Spanned<DeValue<'_>>, problems: &mut Problems) -> Option<Self> {
                match value.get_ref() {
                    DeValue::String(_) => <$value as Read>::read(value, problems).map($name::$short),
                    DeValue::Table(table) => {
                        Some($name::$long(Box::new(read_section(table, value.span(), problems))))
                    }
                    _ => {
                        wrong_type(value, Self::EXPECTED, problems);
                        None
                    }
                }
            }

            fn schema() -> Json {
                json!({ "anyOf": [<$value as Read>::schema(), $long_schema] })
            }
        }
    };
}

pub(super) use shorthand;

shorthand!(
    /// A path condition.
    PathCondition = Exact(String) | Kinds(PathKinds: exactly_one::<PathKinds>()),
    "a path such as \"/x\", or { exact | prefix | regex = … }"
);
shorthand!(
    /// A condition on a header field or query parameter.
    ValueCondition = Exact(String) | Kinds(ValueKinds: exactly_one::<ValueKinds>()),
    "a string, or { exact | prefix | suffix | contains | regex | present | absent | range = … }"
);
shorthand!(
    /// An endpoint.
    EndpointEntry = Address(Address) | Table(EndpointTable: EndpointTable::schema()),
    "an address, or { address = …, weight = …, zone = … }"
);
