//! Lines are read back with a JSON parser and by eye.

use pinion_core::fault::Fault;
use pinion_core::telemetry::record::{AccessEntry, decode};
use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// What a JSON reader should see of `bytes`.
fn readable(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text
}

fn line(format: LogFormat, entry: &AccessEntry<'_>) -> String {
    let (mut record, mut out) = (Vec::new(), Vec::new());
    entry.encode(&mut record);
    append(&mut out, format, &decode(&record).unwrap());
    String::from_utf8(out).unwrap()
}

fn entry() -> AccessEntry<'static> {
    AccessEntry {
        start_unix_nanos: 1_795_164_201_000_123_456,
        generation: 3,
        bytes_in: 10,
        bytes_out: 2_000,
        phases: Phases([1_999, 1, 500, 500, 1_000_000, 10_000]),
        status: 200,
        attempts: 1,
        connection_reused: true,
        fault: None,
        method: b"GET",
        authority: b"my-service:8080",
        path: b"/items",
        query: Some(b"q=1"),
        protocol: b"HTTP/1.1",
        peer: b"127.0.0.1:50000",
        listener: b"web",
        route: b"items",
        cluster: b"v1",
        endpoint: b"127.0.0.1:9001",
        user_agent: b"curl/8",
        forwarded_for: b"",
        request_id: b"abc",
        proxy: b"",
        tls_version: b"TLSv1.3",
        tls_cipher: b"TLS_AES_128_GCM_SHA256",
        server_name: b"my-service",
        peer_uri: b"spiffe://example.org/a",
        peer_subject: b"",
    }
}

#[test]
fn a_json_line_is_as_documented() {
    let expected = concat!(
        r#"{"start_time":"2026-11-20T08:43:21.000123Z","method":"GET","authority":"my-service:8080","#,
        r#""path":"/items?q=1","protocol":"HTTP/1.1","response_code":200,"response_flags":"-","#,
        r#""response_code_details":"via_upstream","bytes_received":10,"bytes_sent":2000,"duration":1013,"#,
        r#""listener_name":"web","route_name":"items","upstream_cluster":"v1","#,
        r#""upstream_host":"127.0.0.1:9001","upstream_request_attempt_count":1,"#,
        r#""upstream_connection_reused":true,"downstream_remote_address":"127.0.0.1:50000","#,
        r#""x_forwarded_for":null,"user_agent":"curl/8","request_id":"abc","downstream_tls_version":"TLSv1.3","#,
        r#""downstream_tls_cipher":"TLS_AES_128_GCM_SHA256","requested_server_name":"my-service","#,
        r#""downstream_peer_uri_san":"spiffe://example.org/a","downstream_peer_subject":null,"#,
        r#""proxy_protocol":null,"config_generation":3,"#,
        r#""ledger":{"codec":1,"route":1,"pool":0,"connect":1,"exchange":1000,"respond":10},"#,
        r#""truncated":false}"#,
        "\n"
    );
    assert_eq!(line(LogFormat::Json, &entry()), expected);
}

#[test]
fn a_text_line_is_as_documented() {
    let expected = concat!(
        r#"[2026-11-20T08:43:21.000123Z] "GET /items?q=1 HTTP/1.1" 200 - 10 2000 1013 1000 "-" "curl/8" "#,
        r#""abc" "my-service:8080" "127.0.0.1:9001" "127.0.0.1:50000" "web" "items" "v1" via_upstream 3 "#,
        r#"codec=1 route=1 pool=0 connect=1 exchange=1000 respond=10 "TLSv1.3" "my-service" "#,
        "\"spiffe://example.org/a\"\n"
    );
    assert_eq!(line(LogFormat::Text, &entry()), expected);
}

#[test]
fn faults_and_own_answers_are_told_apart() {
    let own = AccessEntry { attempts: 0, cluster: b"", endpoint: b"", ..entry() };
    let json: Value = serde_json::from_str(&line(LogFormat::Json, &own)).unwrap();
    assert_eq!(json["response_code_details"], "direct_response");
    assert_eq!(json["upstream_cluster"], Value::Null);
    let failed = AccessEntry { fault: Some(Fault::NoRoute), status: 404, ..own };
    let json: Value = serde_json::from_str(&line(LogFormat::Json, &failed)).unwrap();
    assert_eq!((&json["response_flags"], &json["response_code_details"]), (&"NR".into(), &"no_route".into()));
}

#[test]
fn every_field_is_documented() {
    let document = include_str!("../../../docs/access-log.md");
    let json: Value = serde_json::from_str(&line(LogFormat::Json, &entry())).unwrap();
    for field in json.as_object().unwrap().keys().chain(json["ledger"].as_object().unwrap().keys()) {
        assert!(document.contains(&format!("| `{field}` |")), "{field} is not in docs/access-log.md");
    }
}

#[test]
fn dates_are_right() {
    let at = |seconds: u64| {
        let mut out = Vec::new();
        timestamp(&mut out, seconds * 1_000_000_000);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(at(0), "1970-01-01T00:00:00.000000Z");
    assert_eq!(at(951_782_399), "2000-02-28T23:59:59.000000Z");
    assert_eq!(at(951_782_400), "2000-02-29T00:00:00.000000Z");
    assert_eq!(at(1_709_251_199), "2024-02-29T23:59:59.000000Z");
    assert_eq!(at(1_735_689_599), "2024-12-31T23:59:59.000000Z");
    assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00.000000Z");
}

/// A date by counting year after year and month after month.
fn plain(seconds: u64) -> String {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let (mut days, mut year, mut month) = (seconds / 86_400, 1970, 0);
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}", month + 1, days + 1)
}

proptest! {
    #[test]
    fn dates_agree_with_counting(seconds in 0_u64..18_000_000_000) {
        let mut out = Vec::new();
        timestamp(&mut out, seconds * 1_000_000_000);
        prop_assert_eq!(String::from_utf8(out).unwrap(), plain(seconds) + ".000000Z");
    }

    #[test]
    fn arbitrary_bytes_survive_as_json(
        strings in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 6),
        query in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..60)),
        phases in any::<[u32; 6]>(),
    ) {
        let entry = AccessEntry {
            method: &strings[0][..strings[0].len().min(32)], path: &strings[1], authority: &strings[2],
            user_agent: &strings[3], forwarded_for: &strings[4], request_id: &strings[5],
            query: query.as_deref(), phases: Phases(phases.map(u64::from)), ..entry()
        };
        let text = line(LogFormat::Json, &entry);
        prop_assert_eq!(text.find('\n'), Some(text.len() - 1));
        let json: Value = serde_json::from_str(&text).unwrap();
        let fields = [
            ("method", entry.method), ("authority", entry.authority), ("user_agent", entry.user_agent),
            ("x_forwarded_for", entry.forwarded_for), ("request_id", entry.request_id),
        ];
        for (name, bytes) in fields {
            let expected = if bytes.is_empty() { Value::Null } else { Value::String(readable(bytes)) };
            prop_assert_eq!(&json[name], &expected);
        }
        let expected = match (entry.path, entry.query) {
            ([], None) => Value::Null,
            (path, None) => Value::String(readable(path)),
            (path, Some(query)) => Value::String(format!("{}?{}", readable(path), readable(query))),
        };
        prop_assert_eq!(&json["path"], &expected);
        let ledger: u64 = json["ledger"].as_object().unwrap().values().map(|micros| micros.as_u64().unwrap()).sum();
        prop_assert_eq!(json["duration"].as_u64(), Some(ledger));
        prop_assert_eq!(ledger, entry.duration_nanos() / 1_000);
    }

    #[test]
    fn a_text_line_is_one_printable_line(path in proptest::collection::vec(any::<u8>(), 0..60)) {
        let text = line(LogFormat::Text, &AccessEntry { path: &path, user_agent: &path, ..entry() });
        prop_assert_eq!(text.find('\n'), Some(text.len() - 1));
        prop_assert!(text.trim_end().bytes().all(|byte| (b' '..=b'~').contains(&byte)));
    }
}
