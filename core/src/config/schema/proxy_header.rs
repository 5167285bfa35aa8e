//! `proxy_protocol` of listeners and clusters.

use super::super::read::text;
use super::super::values::words;
use super::kinds::{Network, shorthand};
use super::*;
use crate::proxy_protocol::Version;

/// Whether a listener's connections begin with a PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum HeaderMode {
    Off,
    Optional,
    Require,
}

/// A value of a PROXY header that is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum HeaderValue {
    Authority,
    Alpn,
    Tls,
    UniqueId,
    Crc32c,
}

words!(HeaderMode, "`off`, `optional` or `require`" {
    "off" => HeaderMode::Off,
    "optional" => HeaderMode::Optional,
    "require" => HeaderMode::Require,
});

words!(Version, "`v1` or `v2`" {
    "v1" => Version::V1,
    "v2" => Version::V2,
});

words!(HeaderValue, "`authority`, `alpn`, `tls`, `unique-id` or `crc32c`" {
    "authority" => HeaderValue::Authority,
    "alpn" => HeaderValue::Alpn,
    "tls" => HeaderValue::Tls,
    "unique-id" => HeaderValue::UniqueId,
    "crc32c" => HeaderValue::Crc32c,
});

section! {
    /// `proxy_protocol` of a listener, as a table.
    AcceptTable = "listeners.proxy_protocol" {
        /// Whether connections begin with a PROXY header.
        need mode: HeaderMode;
        /// Peers (addresses or networks) that may send one. Default: those of `trusted_proxies`.
        may trusted: Vec<At<Network>>;
    }
}

section! {
    /// `proxy_protocol` of a cluster, as a table.
    SendTable = "clusters.proxy_protocol" {
        /// The header's version.
        need version: Version;
        /// What else it says, each where it is known. Version 1 has no room for any.
        has values: Vec<At<HeaderValue>> = [HeaderValue::Authority, HeaderValue::Alpn, HeaderValue::Tls].map(At::preset).into();
    }
}

shorthand!(
    /// Whether a listener's connections begin with a PROXY header.
    AcceptHeader = Mode(HeaderMode) | Table(AcceptTable: AcceptTable::schema()),
    "\"off\", \"optional\" or \"require\", or { mode = …, trusted = […] }"
);
shorthand!(
    /// The PROXY header that endpoints get.
    SendHeader = Version(Version) | Table(SendTable: SendTable::schema()),
    "\"v1\" or \"v2\", or { version = …, values = […] }"
);
