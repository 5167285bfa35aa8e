//! Compiles `[listeners.http2]` and `[clusters.http2]`.

use super::super::http2::Http2;
use super::super::problem::Problems;
use super::super::read::At;
use super::super::schema::{ClusterHttp2, ListenerHttp2};
use super::super::units::Size;
use super::{positive, within};
use crate::http::h2::frame::{WINDOW_DEFAULT, WINDOW_MAX};
use crate::limits;

/// `[listeners.http2]`.
pub(super) fn listener(section: &ListenerHttp2, problems: &mut Problems) -> Http2 {
    Http2 {
        streams: streams(&section.max_concurrent_streams, problems),
        stream_window: window(&section.stream_window, 1, "stream_window", problems),
        connection_window: window(&section.connection_window, WINDOW_DEFAULT, "connection_window", problems),
        keepalive: section.keepalive.as_ref().map(|time| positive(time, "keepalive", problems)),
        keepalive_timeout: positive(&section.keepalive_timeout, "keepalive_timeout", problems),
        age: None,
    }
}

/// `[clusters.http2]`.
pub(super) fn cluster(section: &ClusterHttp2, problems: &mut Problems) -> Http2 {
    Http2 {
        streams: streams(&section.max_concurrent_streams, problems),
        stream_window: window(&section.stream_window, 1, "stream_window", problems),
        connection_window: window(&section.connection_window, WINDOW_DEFAULT, "connection_window", problems),
        keepalive: section.keepalive.as_ref().map(|time| positive(time, "keepalive", problems)),
        keepalive_timeout: positive(&section.keepalive_timeout, "keepalive_timeout", problems),
        age: section.max_connection_age.as_ref().map(|time| positive(time, "max_connection_age", problems)),
    }
}

fn streams(number: &At<u32>, problems: &mut Problems) -> u32 {
    within(number, 1, limits::H2_STREAMS_MAX, "max_concurrent_streams", problems);
    number.value
}

/// A window: the protocol gives every connection [`WINDOW_DEFAULT`] and allows up to [`WINDOW_MAX`].
fn window(size: &At<Size>, least: u32, key: &str, problems: &mut Problems) -> u32 {
    within(size, Size(least.into()), Size(WINDOW_MAX.into()), key, problems);
    u32::try_from(size.value.0).unwrap_or(WINDOW_MAX)
}
