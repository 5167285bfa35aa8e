//! `[listeners.http2]` and `[clusters.http2]`.

use serde_json::Value as Json;
use toml::Spanned;
use toml::de::DeValue;

use super::super::problem::Problems;
use super::super::read::{
    At, Fields, Preset, Property, Read, Section, read_section, section, section_schema, wrong_type,
};
use super::super::units::{Size, Time};
use super::seconds;
use crate::limits;

section! {
    /// `[listeners.http2]`.
    ListenerHttp2 = "[listeners.http2]" {
        /// Streams that a client may have open at a time. More are refused.
        has max_concurrent_streams: u32 = limits::H2_STREAMS_DEFAULT;
        /// Bytes of one request's body that are taken before they are passed on.
        has stream_window: Size = Size(limits::H2_STREAM_WINDOW_DEFAULT as u64);
        /// Bytes of all bodies of a connection that are taken before they are passed on.
        has connection_window: Size = Size(limits::H2_SERVER_WINDOW_DEFAULT as u64);
        /// After this time without a byte from the client it is asked for a sign of life. Default: never.
        may keepalive: Time;
        /// How long the sign of life may take: the connection is closed.
        has keepalive_timeout: Time = seconds(10);
    }
}

section! {
    /// `[clusters.http2]`.
    ClusterHttp2 = "[clusters.http2]" {
        /// Requests at a time on one connection; more take another one. The endpoint's own limit holds besides.
        has max_concurrent_streams: u32 = limits::H2_STREAMS_DEFAULT;
        /// Bytes of one response's body that are taken before they are passed on.
        has stream_window: Size = Size(limits::H2_STREAM_WINDOW_DEFAULT as u64);
        /// Bytes of all bodies of a connection that are taken before they are passed on.
        has connection_window: Size = Size(limits::H2_CLIENT_WINDOW_DEFAULT as u64);
        /// After this time without a byte from the endpoint it is asked for a sign of life. Default: never.
        may keepalive: Time;
        /// How long the sign of life may take: the connection is closed.
        has keepalive_timeout: Time = seconds(10);
        /// How long a connection takes new requests; those in progress finish. Default: no limit.
        may max_connection_age: Time;
    }
}
