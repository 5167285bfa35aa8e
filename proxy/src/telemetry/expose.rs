//! The text of a scrape: Prometheus text format 0.0.4, or OpenMetrics 1.0.0 when the scraper asks.
//!
//! The two differ in little, all of it in [`Page`]: OpenMetrics names a counter's family without
//! `_total`, states units, knows the type `info`, and ends with `# EOF`.
//!
//! Invariants:
//! - a family's samples stand together, after its help and type; no series comes twice;
//! - a histogram's `+Inf` bucket equals its count, though shards go on recording;
//! - label values are escaped, whatever names the configuration has;
//! - shards' memory is read, never written.
//!
//! Not here: what is counted, which process facts there are, the admin port.

use std::fmt::Write as _;

use pinion_core::fault::Fault;
use pinion_core::telemetry::GrpcStats;
use pinion_core::telemetry::counters::{Counter, Gauge};
use pinion_core::telemetry::histogram::Histogram;
use pinion_core::telemetry::names::{self, BUCKETS, Family, Kind};
use pinion_core::telemetry::stats::{CLASS_LABELS, Classes, Direction, ShardStats};

use super::collect::{Collected, Named};
use super::quantile::buckets;

pub(crate) use format::Format;

mod format;
mod http2;
mod tls;
mod tls_files;

/// The whole answer to one scrape.
pub(crate) fn render(collected: &Collected<'_>, format: Format) -> String {
    let mut page = Page { out: String::with_capacity(64 * 1024), format };
    program(&mut page, collected);
    listeners(&mut page, collected);
    routes(&mut page, collected);
    clusters(&mut page, collected);
    endpoints(&mut page, collected);
    shards(&mut page, &collected.shards);
    http2::http2(&mut page, &collected.shards);
    log(&mut page, collected);
    tls_files::tls_files(&mut page, &collected.tls);
    tls::tls(&mut page, &collected.shards);
    process(&mut page, collected);
    if format == Format::OpenMetrics {
        page.out.push_str("# EOF\n");
    }
    page.out
}

fn program(page: &mut Page, collected: &Collected<'_>) {
    let config = &collected.config;
    page.single(&names::BUILD_INFO, &[env!("CARGO_PKG_VERSION")], 1);
    page.single(&names::DRIVER_INFO, &[collected.driver], 1);
    page.single(&names::READY, &[], u64::from(collected.ready));
    page.single(&names::CONFIG_GENERATION, &[], config.generation);
    page.single(&names::CONFIG_LAST_RELOAD_SUCCESSFUL, &[], u64::from(config.last_successful));
    page.single(&names::CONFIG_LAST_RELOAD_SUCCESS_TIMESTAMP, &[], config.last_success.as_secs_f64());
    page.single(&names::CONFIG_LAST_RELOAD_FAILURE_TIMESTAMP, &[], config.last_failure.as_secs_f64());
    page.head(&names::CONFIG_RELOADS);
    page.sample(&names::CONFIG_RELOADS, &["success"], config.successes);
    page.sample(&names::CONFIG_RELOADS, &["failure"], config.failures);
}

fn listeners(page: &mut Page, collected: &Collected<'_>) {
    let all = &collected.listeners;
    page.sums(&names::REQUESTS, all, |stats| stats.requests_total.get());
    page.sums(&names::LISTENER_CONNECTIONS, all, |stats| stats.connections_total.get());
    page.head(&names::LISTENER_SECURED);
    for ([listener], shards) in all {
        for (place, security) in ["plain", "tls", "mutual_tls"].into_iter().enumerate() {
            let sum: u64 = shards.iter().map(|stats| stats.secured[place].get()).sum();
            page.sample(&names::LISTENER_SECURED, &[listener, security], sum);
        }
    }
    page.sums(&names::LISTENER_CONNECTIONS_ACTIVE, all, |stats| stats.connections_active.get());
    page.sums(&names::LISTENER_CONNECTIONS_REFUSED, all, |stats| stats.connections_refused.get());
    page.sums(&names::LISTENER_TUNNELS, all, |stats| stats.tunnels_total.get());
    page.sums(&names::LISTENER_TUNNELS_ACTIVE, all, |stats| stats.tunnels_active.get());
    page.histograms(&names::LISTENER_TUNNEL_DURATION, all, |stats| &stats.tunnel_duration);
    page.sums(&names::LISTENER_UPGRADES_STRIPPED, all, |stats| stats.upgrades_stripped.get());
    page.sums(&names::LISTENER_RECEIVED_BYTES, all, |stats| stats.received_bytes.get());
    page.sums(&names::LISTENER_SENT_BYTES, all, |stats| stats.sent_bytes.get());
}

fn routes(page: &mut Page, collected: &Collected<'_>) {
    page.classes(&names::ROUTE_RESPONSES, &collected.routes, |stats| &stats.responses);
    page.histograms(&names::ROUTE_DURATION, &collected.routes, |stats| &stats.duration);
    page.sums(&names::ROUTE_CONNECTIONS, &collected.routes, |stats| stats.connections_total.get());
    if !collected.methods.is_empty() {
        page.head(&names::GRPC_RESPONSES);
    }
    for ([route, service, method], shards) in &collected.methods {
        for (place, code) in GrpcStats::labels().enumerate() {
            let sum = shards.iter().map(|stats| stats.responses[place].get()).sum::<u64>();
            // 18 statuses a method, most of which never occur: success is there from the beginning.
            if sum > 0 || place == 0 {
                page.sample(&names::GRPC_RESPONSES, &[route, service, method, code], sum);
            }
        }
    }
}

fn clusters(page: &mut Page, collected: &Collected<'_>) {
    let all = &collected.clusters;
    page.classes(&names::CLUSTER_RESPONSES, all, |stats| &stats.responses);
    page.histograms(&names::CLUSTER_FIRST_BYTE, all, |stats| &stats.first_byte);
    page.sums(&names::CLUSTER_REQUESTS_ACTIVE, all, |stats| stats.requests_active.get());
    page.sums(&names::CLUSTER_CONNECTIONS_ACTIVE, all, |stats| stats.connections_active.get());
    page.sums(&names::CLUSTER_CONNECTIONS_REUSED, all, |stats| stats.reused.get());
    page.sums(&names::CLUSTER_CONNECTS, all, |stats| stats.connects_total.get());
    page.sums(&names::CLUSTER_CONNECT_FAILURES, all, |stats| stats.connect_failures.get());
    page.sums(&names::CLUSTER_CONNECT_TIMEOUTS, all, |stats| stats.connect_timeouts.get());
    page.sums(&names::CLUSTER_REQUESTS_PENDING, all, |stats| stats.pending.get());
    page.sums(&names::CLUSTER_PENDING_OVERFLOWS, all, |stats| stats.pending_overflow.get());
    page.sums(&names::CLUSTER_PENDING_TIMEOUTS, all, |stats| stats.pending_timeouts.get());
    page.sums(&names::CLUSTER_RETRIES, all, |stats| stats.retries.get());
    page.sums(&names::CLUSTER_STALE_RETRIES, all, |stats| stats.stale_retries.get());
    page.sums(&names::CLUSTER_TUNNELS, all, |stats| stats.tunnels_total.get());
    page.sums(&names::CLUSTER_TUNNELS_ACTIVE, all, |stats| stats.tunnels_active.get());
    page.sums(&names::CLUSTER_TUNNEL_SENT_BYTES, all, |stats| stats.tunnel_sent_bytes.get());
    page.sums(&names::CLUSTER_TUNNEL_RECEIVED_BYTES, all, |stats| stats.tunnel_received_bytes.get());
    page.histograms(&names::CLUSTER_TUNNEL_DURATION, all, |stats| &stats.tunnel_duration);
}

fn endpoints(page: &mut Page, collected: &Collected<'_>) {
    let all = &collected.endpoints;
    page.sums(&names::ENDPOINT_REQUESTS, all, |stats| stats.requests_total.get());
    page.sums(&names::ENDPOINT_FAILURES, all, |stats| stats.failures_total.get());
    page.sums(&names::ENDPOINT_REQUESTS_ACTIVE, all, |stats| stats.requests_active.get());
    page.sums(&names::ENDPOINT_CONNECTIONS_ACTIVE, all, |stats| stats.connections_active.get());
}

/// Picks one total of a shard.
type Of<T> = fn(&ShardStats) -> &T;

fn shards(page: &mut Page, shards: &[&ShardStats]) {
    page.head(&names::FAULTS);
    for fault in Fault::ALL {
        let row = fault.row();
        let sum = shards.iter().map(|shard| shard.faults[fault.index()].get()).sum::<u64>();
        page.sample(&names::FAULTS, &[row.stage.label(), row.label], sum);
    }
    page.head(&names::RELAY_BYTES);
    for direction in Direction::ALL {
        let copied = shards.iter().map(|shard| shard.relay_bytes_copy[direction as usize].get()).sum::<u64>();
        page.sample(&names::RELAY_BYTES, &["copy", direction.label()], copied);
        let spliced =
            shards.iter().map(|shard| shard.relay_bytes_splice[direction as usize].get()).sum::<u64>();
        page.sample(&names::RELAY_BYTES, &["splice", direction.label()], spliced);
    }
    let counters: [(&Family, Of<Counter>); 4] = [
        (&names::SHARD_REQUESTS, |shard| &shard.requests_total),
        (&names::SHARD_CONNECTIONS_REBALANCED, |shard| &shard.connections_rebalanced),
        (&names::SHARD_ACCEPT_ERRORS, |shard| &shard.accept_errors),
        (&names::SHARD_ALLOCATIONS, |shard| &shard.allocations),
    ];
    let gauges: [(&Family, Of<Gauge>); 5] = [
        (&names::SHARD_REQUESTS_ACTIVE, |shard| &shard.requests_active),
        (&names::SHARD_CONNECTIONS_ACTIVE, |shard| &shard.connections_active),
        (&names::SHARD_BUFFERS_IN_USE, |shard| &shard.buffers_in_use),
        (&names::SHARD_BUFFER_BYTES, |shard| &shard.buffer_bytes),
        (&names::SHARD_CONFIG_GENERATION, |shard| &shard.generation),
    ];
    for (family, counter) in counters {
        page.per_shard(family, shards, |page, index, shard| {
            page.sample(family, &[index], counter(shard).get());
        });
    }
    for (family, gauge) in gauges {
        page.per_shard(family, shards, |page, index, shard| {
            page.sample(family, &[index], gauge(shard).get())
        });
    }
    let family = &names::SHARD_CONNECTIONS_PARKED;
    page.per_shard(family, shards, |page, index, shard| {
        page.sample(family, &[index, "in"], shard.parked_in.get());
        page.sample(family, &[index, "out"], shard.parked_out.get());
    });
    let family = &names::SHARD_LOOP_LAG;
    page.per_shard(family, shards, |page, index, shard| page.histogram(family, index, &[&shard.loop_lag]));
}

fn log(page: &mut Page, collected: &Collected<'_>) {
    let full = collected.shards.iter().map(|shard| shard.log_dropped.get()).sum::<u64>();
    page.head(&names::LOG_DROPPED);
    page.sample(&names::LOG_DROPPED, &["ring_full"], full);
    if let Some(log) = collected.log {
        page.sample(&names::LOG_DROPPED, &["write_failed"], log.lost.get());
        page.single(&names::LOG_WRITTEN, &[], log.written.get());
        page.single(&names::LOG_WRITE_ERRORS, &[], log.errors.get());
    }
}

fn process(page: &mut Page, collected: &Collected<'_>) {
    let facts = &collected.process;
    if let Some(cpu) = facts.cpu {
        page.single(&names::PROCESS_CPU, &[], cpu.as_secs_f64());
    }
    if let Some(bytes) = facts.resident_bytes {
        page.single(&names::PROCESS_RESIDENT_MEMORY, &[], bytes);
    }
    if let Some(open) = facts.open_fds {
        page.single(&names::PROCESS_OPEN_FDS, &[], open);
    }
    if let Some(max) = facts.max_fds {
        page.single(&names::PROCESS_MAX_FDS, &[], max);
    }
    if let Some(start) = facts.start_unix_seconds {
        page.single(&names::PROCESS_START_TIME, &[], start);
    }
}

/// A text being written.
struct Page {
    out: String,
    format: Format,
}

impl Page {
    /// Help, type and unit of a family; before its samples.
    fn head(&mut self, family: &Family) {
        let open = self.format == Format::OpenMetrics;
        let name = if open { family.base() } else { family.name };
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Info if open => "info",
            Kind::Info => "gauge",
        };
        let _ = writeln!(self.out, "# HELP {name} {}\n# TYPE {name} {kind}", family.help);
        if open && !family.unit.is_empty() {
            let _ = writeln!(self.out, "# UNIT {name} {}", family.unit);
        }
    }

    /// One sample of a family that has no suffixes of its own.
    fn sample(&mut self, family: &Family, labels: &[&str], value: impl std::fmt::Display) {
        self.series(family, "", labels, None);
        let _ = writeln!(self.out, " {value}");
    }

    /// A family of one sample.
    fn single(&mut self, family: &Family, labels: &[&str], value: impl std::fmt::Display) {
        self.head(family);
        self.sample(family, labels, value);
    }

    /// A family with one number for each thing, summed over shards.
    fn sums<T, const N: usize>(
        &mut self,
        family: &Family,
        all: &Named<'_, T, N>,
        number: impl Fn(&T) -> u64,
    ) {
        if !all.is_empty() {
            self.head(family);
        }
        for (labels, shards) in all {
            let sum = shards.iter().map(|stats| number(stats)).sum::<u64>();
            self.sample(family, &labels.each_ref().map(String::as_str), sum);
        }
    }

    /// A family with one number for each name and class of status, summed over shards.
    fn classes<T>(&mut self, family: &Family, all: &Named<'_, T>, classes: impl Fn(&T) -> &Classes) {
        if !all.is_empty() {
            self.head(family);
        }
        for ([name], shards) in all {
            for (class, label) in CLASS_LABELS.into_iter().enumerate() {
                let sum = shards.iter().map(|stats| classes(stats)[class].get()).sum::<u64>();
                self.sample(family, &[name, label], sum);
            }
        }
    }

    /// A family with one histogram for each name, merged over shards.
    fn histograms<T>(&mut self, family: &Family, all: &Named<'_, T>, part: impl Fn(&T) -> &Histogram) {
        if !all.is_empty() {
            self.head(family);
        }
        for ([name], shards) in all {
            let parts: Vec<_> = shards.iter().map(|stats| part(stats)).collect();
            self.histogram(family, name, &parts);
        }
    }

    /// One histogram: buckets, sum, count.
    fn histogram(&mut self, family: &Family, label: &str, parts: &[&Histogram]) {
        let buckets = buckets(parts.iter().copied());
        let bounds = BUCKETS.iter().map(|(_, bound)| *bound).chain(["+Inf"]);
        for (bound, count) in bounds.zip(buckets.cumulative.into_iter().chain([buckets.count])) {
            self.series(family, "_bucket", &[label], Some(bound));
            let _ = writeln!(self.out, " {count}");
        }
        self.series(family, "_sum", &[label], None);
        let _ = writeln!(self.out, " {}", buckets.sum_nanos as f64 / 1e9);
        self.series(family, "_count", &[label], None);
        let _ = writeln!(self.out, " {}", buckets.count);
    }

    /// A family with something for each shard.
    fn per_shard(
        &mut self,
        family: &Family,
        shards: &[&ShardStats],
        each: impl Fn(&mut Page, &str, &ShardStats),
    ) {
        if !shards.is_empty() {
            self.head(family);
        }
        for (index, shard) in shards.iter().enumerate() {
            each(self, &index.to_string(), shard);
        }
    }

    /// A sample's name and labels, up to the blank before its value.
    fn series(&mut self, family: &Family, suffix: &str, labels: &[&str], bound: Option<&str>) {
        debug_assert_eq!(family.labels.len(), labels.len(), "{}", family.name);
        self.out.push_str(family.name);
        self.out.push_str(suffix);
        let pairs = family.labels.iter().copied().zip(labels.iter().copied());
        let mut separator = '{';
        for (label, value) in pairs.chain(bound.map(|bound| ("le", bound))) {
            self.out.push(separator);
            separator = ',';
            self.out.push_str(label);
            self.out.push_str("=\"");
            escape(&mut self.out, value);
            self.out.push('"');
        }
        if separator == ',' {
            self.out.push('}');
        }
    }
}

/// Appends a label's value: backslash, quote and line feed are escaped.
fn escape(out: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
#[path = "expose_tests.rs"]
mod tests;
