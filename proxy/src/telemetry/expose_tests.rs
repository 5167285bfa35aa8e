//! The text of a scrape, judged by eye, by rules, and by promtool.

use std::collections::{HashMap, HashSet};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use pinion_core::fault::Party;
use pinion_core::telemetry::stats::{ClusterStats, EndpointStats, ListenerStats, RouteStats};
use pinion_core::telemetry::tls::TlsPlace;
use pinion_core::tls::reason::TlsReason;

use super::*;
use crate::telemetry::collect::ConfigStatus;
use crate::telemetry::process::ProcessFacts;
use crate::telemetry::writer::LogStats;
use crate::tls::store::{Expiry, Report};

#[derive(Default)]
struct World {
    shards: [ShardStats; 2],
    listeners: [ListenerStats; 2],
    routes: [RouteStats; 2],
    methods: [GrpcStats; 2],
    clusters: [ClusterStats; 2],
    endpoints: [EndpointStats; 2],
    log: LogStats,
}

impl World {
    /// Two shards that saw some traffic, one listener, a route with an awkward name.
    fn with_traffic() -> Self {
        let world = World::default();
        for shard in 0..2 {
            world.listeners[shard].requests_total.add(3);
            world.routes[shard].finished(200, 2_000_000);
            world.routes[shard].finished(503, 70_000_000_000);
            world.clusters[shard].responses[2].add(1);
            world.clusters[shard].first_byte.record(300_000);
            world.endpoints[shard].requests_total.inc();
            world.shards[shard].faults[Fault::NoRoute.index()].inc();
            world.shards[shard].relay_bytes_splice[Direction::Downstream as usize].add(1 << 20);
            world.shards[shard].loop_lag.record(1_000);
            world.shards[shard].log_dropped.add(2);
            let tls = &world.shards[shard].tls;
            tls.handshakes[0][1][1].inc();
            tls.failures[1][TlsReason::UnknownCa.index()].inc();
            tls.connections[TlsPlace::NotBulk as usize].inc();
            tls.key_updates[1].inc();
        }
        world.log.written.add(4);
        world
    }

    fn collected(&self) -> Collected<'_> {
        let mut collected = Collected {
            driver: "io_uring",
            ready: true,
            config: ConfigStatus {
                generation: 7,
                last_successful: true,
                last_success: Duration::from_millis(1_700_000_000_500),
                successes: 8,
                ..ConfigStatus::default()
            },
            shards: self.shards.iter().collect(),
            log: Some(&self.log),
            process: ProcessFacts::read(),
            tls: vec![Report {
                kind: "listener",
                name: "web".into(),
                expiries: [Expiry {
                    path: Path::new("/etc/pinion/a \"b\".pem").into(),
                    subject: "CN=a".into(),
                    not_after: 1_900_000_000,
                }]
                .into(),
                successes: 2,
                failures: 1,
                is_current: false,
                handshakes: 3,
            }],
            ..Collected::default()
        };
        for shard in 0..2 {
            collected.listener("web", &self.listeners[shard]);
            collected.route("a \"quoted\\\" \nroute", &self.routes[shard]);
            collected.method("a \"quoted\\\" \nroute", "shop.Cart/AddItem", &self.methods[shard]);
            collected.cluster("v1", &self.clusters[shard]);
            collected.endpoint("v1", "127.0.0.1:9001".into(), &self.endpoints[shard]);
        }
        collected
    }
}

fn has(text: &str, line: &str) {
    assert!(text.lines().any(|found| found == line), "no line {line:?} in:\n{text}");
}

#[test]
fn shards_are_summed_and_names_escaped() {
    let world = World::with_traffic();
    let text = render(&world.collected(), Format::Prometheus);
    has(&text, "# HELP pinion_requests_total Requests begun");
    has(&text, "# TYPE pinion_requests_total counter");
    has(&text, "pinion_requests_total{listener=\"web\"} 6");
    has(&text, "pinion_driver_info{driver=\"io_uring\"} 1");
    has(&text, "# TYPE pinion_driver_info gauge");
    has(&text, "pinion_config_generation 7");
    has(&text, "pinion_config_last_reload_success_timestamp_seconds 1700000000.5");
    has(&text, "pinion_config_reloads_total{result=\"success\"} 8");
    let route = r#"route="a \"quoted\\\" \nroute""#;
    has(&text, &format!("pinion_route_responses_total{{{route},code_class=\"5xx\"}} 2"));
    has(&text, &format!("pinion_route_duration_seconds_bucket{{{route},le=\"0.001\"}} 0"));
    has(&text, &format!("pinion_route_duration_seconds_bucket{{{route},le=\"0.0025\"}} 2"));
    has(&text, &format!("pinion_route_duration_seconds_bucket{{{route},le=\"60.0\"}} 2"));
    has(&text, &format!("pinion_route_duration_seconds_bucket{{{route},le=\"+Inf\"}} 4"));
    has(&text, &format!("pinion_route_duration_seconds_count{{{route}}} 4"));
    has(&text, &format!("pinion_route_duration_seconds_sum{{{route}}} 140.004"));
    has(&text, "pinion_endpoint_requests_total{cluster=\"v1\",endpoint=\"127.0.0.1:9001\"} 2");
    has(&text, "pinion_faults_total{stage=\"route\",reason=\"no_route\"} 2");
    has(&text, "pinion_relay_bytes_total{path=\"splice\",direction=\"downstream\"} 2097152");
    has(&text, "pinion_shard_loop_lag_seconds_count{shard=\"1\"} 1");
    has(&text, "pinion_log_dropped_total{reason=\"ring_full\"} 4");
    let file = r#"kind="listener",name="web",file="/etc/pinion/a \"b\".pem""#;
    has(&text, &format!("pinion_tls_certificate_expiry_timestamp_seconds{{{file}}} 1900000000"));
    has(&text, "pinion_tls_reloads_total{kind=\"listener\",name=\"web\",result=\"failure\"} 1");
    has(&text, "pinion_tls_last_reload_successful{kind=\"listener\",name=\"web\"} 0");
    has(&text, "pinion_listener_tls_handshakes_active{listener=\"web\"} 3");
    let handshakes = "side=\"downstream\",version=\"TLSv1.3\",resumed=\"true\"";
    has(&text, &format!("pinion_tls_handshakes_total{{{handshakes}}} 2"));
    has(&text, "pinion_tls_handshake_failures_total{side=\"upstream\",reason=\"unknown_ca\"} 2");
    has(&text, "pinion_tls_connections_active{records=\"user\",reason=\"not_bulk\"} 2");
    has(&text, "pinion_tls_kernel_key_updates_total{direction=\"sent\"} 2");
}

#[test]
fn openmetrics_differs_where_it_must() {
    let world = World::with_traffic();
    let text = render(&world.collected(), Format::OpenMetrics);
    assert!(text.ends_with("\n# EOF\n"));
    has(&text, "# TYPE pinion_requests counter");
    has(&text, "pinion_requests_total{listener=\"web\"} 6");
    has(&text, "# TYPE pinion_driver info");
    has(&text, "pinion_driver_info{driver=\"io_uring\"} 1");
    has(&text, "# TYPE pinion_relay_bytes counter");
    has(&text, "# UNIT pinion_relay_bytes bytes");
    has(&text, "# UNIT pinion_route_duration_seconds seconds");
    assert!(!render(&world.collected(), Format::Prometheus).contains("# UNIT"));
    assert!(!render(&world.collected(), Format::Prometheus).contains("# EOF"));
}

/// Every family is there, whole, once; every sample belongs to the family before it; no series twice.
#[test]
fn families_stand_together() {
    let world = World::with_traffic();
    for format in [Format::Prometheus, Format::OpenMetrics] {
        let text = render(&world.collected(), format);
        let (mut types, mut series, mut family) = (HashMap::new(), HashSet::new(), String::new());
        for line in text.lines().filter(|line| *line != "# EOF") {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                family = name.to_owned();
                assert!(types.insert(family.clone(), kind.to_owned()).is_none(), "{name} twice");
            } else if !line.starts_with('#') {
                let (name, value) = line.rsplit_once(' ').unwrap();
                assert!(series.insert(name.to_owned()), "{name} twice");
                assert!(name.starts_with(&family), "{name} in {family}");
                assert!(value.parse::<f64>().unwrap().is_finite(), "{line}");
            }
        }
        let expected: HashSet<_> = names::ALL
            .iter()
            .map(|family| if format == Format::Prometheus { family.name } else { family.base() })
            .map(str::to_owned)
            .collect();
        assert_eq!(types.into_keys().collect::<HashSet<_>>(), expected);
    }
}

#[test]
fn promtool_has_no_remark() {
    if Command::new("promtool").arg("--version").output().is_err() {
        println!("SKIPPED: promtool not installed");
        return;
    }
    let world = World::with_traffic();
    let text = render(&world.collected(), Format::Prometheus);
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = promtool.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let remarks = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && remarks.is_empty(), "{}", String::from_utf8_lossy(&remarks));
}

#[test]
fn every_family_is_documented_and_nothing_else() {
    let document = include_str!("../../../docs/metrics.md");
    let documented: HashSet<_> = document
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name.split_once('{').map_or(name, |(name, _)| name))
        .collect();
    let known: HashSet<_> = names::ALL.iter().map(|family| family.name).collect();
    assert_eq!(documented, known);
    for family in names::ALL {
        let labels = family.labels.join(", ");
        let entry =
            if labels.is_empty() { family.name.into() } else { format!("{}{{{labels}}}", family.name) };
        assert!(document.contains(&format!("| `{entry}` |")), "labels of {entry}");
    }
    for (_, bound) in BUCKETS {
        assert!(document.contains(&format!("`{bound}`")), "bucket {bound}");
    }
}

/// `docs/responses.md` says of every fault what the table says, and knows no other.
#[test]
fn every_fault_is_documented_and_nothing_else() {
    let document = include_str!("../../../docs/responses.md");
    for fault in Fault::ALL {
        let row = fault.row();
        let status = if row.status == 0 { "none".to_owned() } else { row.status.to_string() };
        let party = match row.party {
            Party::Downstream => "the client",
            Party::Upstream => "the upstream",
            Party::Proxy => "the proxy",
        };
        let after = format!("{:?}", row.after).to_lowercase();
        let retry = format!("{:?}", row.retry).to_lowercase();
        let stage = row.stage.label();
        let entry = format!(
            "| `{}` | `{}` | {status} | {stage} | {party} | {after} | {retry} | ",
            row.label, row.flag
        );
        assert!(document.contains(&entry), "docs/responses.md has no row {entry}");
        assert!(document.contains(&format!("- **`{}`**: ", row.label)), "what to do about {}", row.label);
        assert!(document.contains(&format!("\n| `{}` | ", row.flag)), "flag {}", row.flag);
    }
    let rows = document.lines().filter(|line| line.starts_with("| `")).count();
    let flags: HashSet<_> = Fault::ALL.iter().map(|fault| fault.row().flag).collect();
    assert_eq!(rows, Fault::COUNT + flags.len(), "a row without a fault or flag");
}

#[test]
fn the_format_follows_accept() {
    let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
        application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
        text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
    let rows = [
        (prometheus, Format::OpenMetrics),
        ("application/openmetrics-text", Format::OpenMetrics),
        ("Application/OpenMetrics-Text; version=\"1.0.0\"; charset=utf-8", Format::OpenMetrics),
        ("", Format::Prometheus),
        ("*/*", Format::Prometheus),
        ("text/html, text/plain;q=0.9", Format::Prometheus),
        ("text/plain;version=0.0.4;q=1,application/openmetrics-text;q=0.9", Format::Prometheus),
        ("application/openmetrics-text;q=0", Format::Prometheus),
        ("application/openmetrics-text;version=7.0.0", Format::Prometheus),
        ("application/openmetrics-text;q=nonsense", Format::Prometheus),
    ];
    for (accept, expected) in rows {
        assert_eq!(Format::from_accept(accept), expected, "{accept}");
    }
    assert!(Format::OpenMetrics.content_type().starts_with("application/openmetrics-text; version=1.0.0"));
    assert!(Format::Prometheus.content_type().starts_with("text/plain; version=0.0.4"));
}

/// A scrape reads while shards write: the count is always what the last bucket says.
#[test]
fn scraping_beside_recording_is_consistent() {
    let world = World::default();
    std::thread::scope(|scope| {
        scope.spawn(|| (0..200_000_u64).for_each(|n| world.routes[0].finished(200, n * 10_000)));
        for _ in 0..20 {
            let text = render(&world.collected(), Format::Prometheus);
            let value = |part: &str| {
                let line = text.lines().find(|line| {
                    line.starts_with(&format!("{}{part}", names::ROUTE_DURATION.name))
                        && (part != "_bucket" || line.contains("+Inf"))
                });
                line.unwrap().rsplit_once(' ').unwrap().1.to_owned()
            };
            assert_eq!(value("_bucket"), value("_count"));
        }
    });
}
