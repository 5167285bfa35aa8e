//! The program under test, as tests of traffic set it up and ask it.

use std::cell::OnceCell;
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{Link, Upstream, own_ip};
use crate::support::{Builder, Driver, PATIENCE, Pinion, eventually};

/// The configuration of a test: one listener `web`, one cluster `app`, a route between them.
pub(crate) struct Setup {
    builder: Builder,
    address: String,
    listener: String,
    cluster: String,
    routes: String,
    more: String,
}

impl Setup {
    /// One shard on `driver`.
    pub(crate) fn on(driver: Driver) -> Self {
        Self::sharded(driver, 1)
    }

    /// So many shards on `driver`.
    pub(crate) fn sharded(driver: Driver, shards: u32) -> Self {
        Setup {
            builder: Pinion::with(driver).proxy(&format!("shards = {shards}")),
            address: format!("{}:0", own_ip()),
            listener: String::new(),
            cluster: String::new(),
            routes: "[[routes]]\nname = \"all\"\ncluster = \"app\"\n".to_owned(),
            more: String::new(),
        }
    }

    /// Another address to listen on.
    pub(crate) fn address(mut self, address: &str) -> Self {
        self.address = address.to_owned();
        self
    }

    /// A line for `[proxy]`.
    pub(crate) fn proxy(mut self, line: &str) -> Self {
        self.builder = self.builder.proxy(line);
        self
    }

    /// Lets the process have at most so many descriptors.
    pub(crate) fn descriptors(mut self, most: u32) -> Self {
        self.builder = self.builder.descriptors(most);
        self
    }

    /// Lines for the listener; keys of its tables dotted, as in `timeouts.idle = "1s"`.
    pub(crate) fn listener(mut self, lines: &str) -> Self {
        self.listener += lines;
        self.listener.push('\n');
        self
    }

    /// Lines for the cluster, likewise.
    pub(crate) fn cluster(mut self, lines: &str) -> Self {
        self.cluster += lines;
        self.cluster.push('\n');
        self
    }

    /// Lines for the only route, likewise.
    pub(crate) fn route(mut self, lines: &str) -> Self {
        self.routes += lines;
        self.routes.push('\n');
        self
    }

    /// Other routes altogether.
    pub(crate) fn routes(mut self, text: &str) -> Self {
        self.routes = text.to_owned();
        self
    }

    /// More sections.
    pub(crate) fn more(mut self, text: &str) -> Self {
        self.more += text;
        self.more.push('\n');
        self
    }

    /// Starts the program in front of `upstreams`.
    pub(crate) fn start(self, upstreams: &[&Upstream]) -> Proxy {
        let endpoints: Vec<_> = upstreams.iter().map(|upstream| upstream.address().to_owned()).collect();
        self.start_with(&endpoints)
    }

    /// Starts the program in front of these addresses.
    pub(crate) fn start_with(self, endpoints: &[String]) -> Proxy {
        let Setup { builder, address, listener, cluster, routes, more } = self;
        let config = format!(
            "[[listeners]]\nname = \"web\"\naddress = \"{address}\"\n{listener}\n{routes}\n\
             [[clusters]]\nname = \"app\"\nendpoints = {endpoints:?}\n{cluster}\n{more}"
        );
        let pinion = builder.config(&config).start();
        Proxy { pinion, address: OnceCell::new() }
    }
}

/// The running program, as tests of traffic use it.
pub(crate) struct Proxy {
    pub(crate) pinion: Pinion,
    address: OnceCell<SocketAddr>,
}

impl Proxy {
    /// A new client connection to the listener.
    pub(crate) fn client(&self) -> Link {
        Link::connect(*self.address.get_or_init(|| self.pinion.address("web")))
    }

    /// A metric's sum over all its series with these labels.
    pub(crate) fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.pinion.metrics().value(name, labels)
    }

    /// Waits until a metric has exactly this value. What is counted shows a moment after it was seen on
    /// the wire.
    #[track_caller]
    pub(crate) fn expect_metric(&self, name: &str, labels: &[(&str, &str)], value: f64) {
        let start = Instant::now();
        loop {
            let now = self.metric(name, labels);
            if (now - value).abs() < 0.5 {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{name}{labels:?} is {now}, not {value}");
            sleep(Duration::from_millis(10));
        }
    }

    /// Waits until so many requests ended with that fault.
    #[track_caller]
    pub(crate) fn expect_faults(&self, reason: &str, count: u64) {
        self.expect_metric("pinion_faults_total", &[("reason", reason)], count as f64);
    }

    /// Waits until nothing is in progress, and no request ended with a fault that was not expected.
    #[track_caller]
    pub(crate) fn expect_no_faults(&self) {
        eventually("no request in progress", || {
            self.metric("pinion_shard_requests_active", &[]) < 0.5
                && self.metric("pinion_cluster_requests_active", &[]) < 0.5
        });
        assert_eq!(self.metric("pinion_faults_total", &[]), 0.0, "a fault was counted");
    }
}
