//! One access log record as one line: a JSON object, or text like Envoy's default format.
//!
//! Invariants:
//! - a line holds exactly one line feed, its last byte, whatever a peer sent;
//! - a JSON line is valid JSON in valid UTF-8; bytes that are not UTF-8 become `\xHH` as text;
//! - the ledger's phases add up to `duration`, after rounding too.
//!
//! Not here: rings, files. `docs/access-log.md` describes every field.

use std::io::Write as _;

use pinion_core::proxy_protocol::{self, Peers, Progress};
use pinion_core::telemetry::ledger::{Phase, Phases};
use pinion_core::telemetry::record::{AccessEntry, Record};

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// One JSON object.
    Json,
    /// Envoy's default text format, with what it lacks after it.
    Text,
}

/// Appends the line of `record`.
pub(crate) fn append(out: &mut Vec<u8>, format: LogFormat, record: &Record<'_>) {
    match format {
        LogFormat::Json => json(out, record),
        LogFormat::Text => text(out, record),
    }
    out.push(b'\n');
}

/// Writes to a vector, which can't fail.
macro_rules! put {
    ($out:expr, $($arguments:tt)*) => { let _ = write!($out, $($arguments)*); };
}

fn json(out: &mut Vec<u8>, record: &Record<'_>) {
    let entry = &record.entry;
    out.extend_from_slice(b"{\"start_time\":\"");
    timestamp(out, entry.start_unix_nanos);
    out.push(b'"');
    string(out, "method", entry.method);
    string(out, "authority", entry.authority);
    path(out, entry);
    string(out, "protocol", entry.protocol);
    put!(out, ",\"response_code\":{}", entry.status);
    string(out, "response_flags", flags(record).as_bytes());
    string(out, "response_code_details", details(record).as_bytes());
    put!(out, ",\"bytes_received\":{},\"bytes_sent\":{}", entry.bytes_in, entry.bytes_out);
    let micros = micros(&entry.phases);
    put!(out, ",\"duration\":{}", micros.iter().sum::<u64>());
    string(out, "listener_name", entry.listener);
    string(out, "route_name", entry.route);
    string(out, "upstream_cluster", entry.cluster);
    string(out, "upstream_host", entry.endpoint);
    put!(out, ",\"upstream_request_attempt_count\":{}", entry.attempts);
    put!(out, ",\"upstream_connection_reused\":{}", entry.connection_reused);
    string(out, "downstream_remote_address", entry.peer);
    string(out, "x_forwarded_for", entry.forwarded_for);
    string(out, "user_agent", entry.user_agent);
    string(out, "request_id", entry.request_id);
    string(out, "downstream_tls_version", entry.tls_version);
    string(out, "downstream_tls_cipher", entry.tls_cipher);
    string(out, "requested_server_name", entry.server_name);
    string(out, "downstream_peer_uri_san", entry.peer_uri);
    string(out, "downstream_peer_subject", entry.peer_subject);
    proxy_header(out, entry.proxy);
    put!(out, ",\"config_generation\":{}", entry.generation);
    out.extend_from_slice(b",\"ledger\":");
    for (phase, micros) in Phase::ALL.into_iter().zip(micros) {
        let separator = if phase == Phase::ALL[0] { '{' } else { ',' };
        put!(out, "{separator}\"{}\":{micros}", phase.label());
    }
    put!(out, "}},\"truncated\":{}}}", record.truncated);
}

/// What a PROXY header said, as an object; null without one.
fn proxy_header(out: &mut Vec<u8>, said: &[u8]) {
    let Ok(Progress::Complete(header, _)) = proxy_protocol::read(said) else {
        out.extend_from_slice(b",\"proxy_protocol\":null");
        return;
    };
    let (sender, destination) = match header.peers {
        Peers::Inet { source, destination } => (source.to_string(), destination.to_string()),
        _ => (String::new(), String::new()),
    };
    let values = header.values;
    let ssl = values.ssl.unwrap_or_default();
    let verified = if ssl.certificate && ssl.verified { ssl.common_name } else { b"" };
    let mut id = Vec::new();
    for byte in values.unique_id {
        put!(id, "{byte:02x}");
    }
    out.extend_from_slice(b",\"proxy_protocol\":");
    let from = out.len();
    for (name, value) in [
        ("sender", sender.as_bytes()),
        ("destination", destination.as_bytes()),
        ("authority", values.authority),
        ("alpn", values.alpn),
        ("tls_version", ssl.version),
        ("tls_cipher", ssl.cipher),
        ("tls_common_name", verified),
        ("unique_id", &id),
    ] {
        string(out, name, value);
    }
    // Each begins with a comma.
    out[from] = b'{';
    out.push(b'}');
}

/// The path with its query, or null where no head was read.
fn path(out: &mut Vec<u8>, entry: &AccessEntry<'_>) {
    let Some(query) = entry.query else {
        return string(out, "path", entry.path);
    };
    out.extend_from_slice(b",\"path\":\"");
    json_escape(out, entry.path);
    out.push(b'?');
    json_escape(out, query);
    out.push(b'"');
}

/// `,"name":"value"`, or null for an empty value.
fn string(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    put!(out, ",\"{name}\":");
    if value.is_empty() {
        out.extend_from_slice(b"null");
    } else {
        out.push(b'"');
        json_escape(out, value);
        out.push(b'"');
    }
}

fn text(out: &mut Vec<u8>, record: &Record<'_>) {
    let entry = &record.entry;
    let micros = micros(&entry.phases);
    out.push(b'[');
    timestamp(out, entry.start_unix_nanos);
    out.extend_from_slice(b"] \"");
    text_escape(out, or_dash(entry.method));
    out.push(b' ');
    text_escape(out, or_dash(entry.path));
    if let Some(query) = entry.query {
        out.push(b'?');
        text_escape(out, query);
    }
    out.push(b' ');
    text_escape(out, or_dash(entry.protocol));
    put!(out, "\" {} {} {} {}", entry.status, flags(record), entry.bytes_in, entry.bytes_out);
    put!(out, " {} {}", micros.iter().sum::<u64>(), micros[Phase::Exchange as usize]);
    let quoted = [
        entry.forwarded_for,
        entry.user_agent,
        entry.request_id,
        entry.authority,
        entry.endpoint,
        entry.peer,
    ];
    for value in quoted.into_iter().chain([entry.listener, entry.route, entry.cluster]) {
        out.extend_from_slice(b" \"");
        text_escape(out, or_dash(value));
        out.push(b'"');
    }
    put!(out, " {} {}", details(record), entry.generation);
    for (phase, micros) in Phase::ALL.into_iter().zip(micros) {
        put!(out, " {}={micros}", phase.label());
    }
    for value in [entry.tls_version, entry.server_name, entry.peer_uri] {
        out.extend_from_slice(b" \"");
        text_escape(out, or_dash(value));
        out.push(b'"');
    }
}

/// What stands for what is absent.
fn or_dash(value: &[u8]) -> &[u8] {
    if value.is_empty() { b"-" } else { value }
}

fn flags(record: &Record<'_>) -> &'static str {
    record.entry.fault.map_or("-", |fault| fault.row().flag)
}

/// Where the response came from: the fault's label, else the upstream, else the proxy itself.
fn details(record: &Record<'_>) -> &'static str {
    match record.entry.fault {
        Some(fault) => fault.row().label,
        None if record.entry.attempts > 0 => "via_upstream",
        None => "direct_response",
    }
}

/// Whole microseconds of each phase, so rounded that they add up to the whole microseconds of all:
/// each is the difference of two rounded running sums.
fn micros(phases: &Phases) -> [u64; Phase::COUNT] {
    let mut end = 0_u64;
    phases.0.map(|nanos| {
        let start = end;
        end = end.saturating_add(nanos);
        end / 1_000 - start / 1_000
    })
}

/// RFC 3339 with microseconds, in UTC.
fn timestamp(out: &mut Vec<u8>, unix_nanos: u64) {
    let (seconds, nanos) = (unix_nanos / 1_000_000_000, unix_nanos % 1_000_000_000);
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    let micros = nanos / 1_000;
    put!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z");
}

/// The date `days` after 1970-01-01. Years are counted from 1 March, so that the leap day comes last:
/// then a month's length follows from its number (153 days each five months), and only years, centuries
/// and 400-year cycles need correcting.
fn date(days: u64) -> (u64, u64, u64) {
    const CYCLE: u64 = 146_097; // days of 400 years
    let since = days + 719_468; // 0000-03-01
    let of_cycle = since % CYCLE;
    let year = (of_cycle - of_cycle / 1_460 + of_cycle / 36_524 - of_cycle / (CYCLE - 1)) / 365;
    let of_year = of_cycle - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let year = year + since / CYCLE * 400 + u64::from(month >= 10);
    (year, if month < 10 { month + 3 } else { month - 9 }, day)
}

/// Appends `value` as the inside of a JSON string (RFC 8259 section 7).
fn json_escape(out: &mut Vec<u8>, value: &[u8]) {
    for chunk in value.utf8_chunks() {
        let mut plain = 0;
        let valid = chunk.valid().as_bytes();
        for (at, &byte) in valid.iter().enumerate() {
            if byte >= 0x20 && byte != b'"' && byte != b'\\' && byte != 0x7f {
                continue;
            }
            out.extend_from_slice(&valid[plain..at]);
            plain = at + 1;
            match byte {
                b'"' => out.extend_from_slice(b"\\\""),
                b'\\' => out.extend_from_slice(b"\\\\"),
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\r' => out.extend_from_slice(b"\\r"),
                b'\t' => out.extend_from_slice(b"\\t"),
                other => {
                    put!(out, "\\u{other:04x}");
                }
            }
        }
        out.extend_from_slice(&valid[plain..]);
        for byte in chunk.invalid() {
            put!(out, "\\\\x{byte:02x}");
        }
    }
}

/// Appends `value` for a quoted field of a text line: quotes and backslashes are escaped, and what is not
/// printable ASCII becomes `\xHH`.
fn text_escape(out: &mut Vec<u8>, value: &[u8]) {
    for &byte in value {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b' '..=b'~' => out.push(byte),
            other => {
                put!(out, "\\x{other:02x}");
            }
        }
    }
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
