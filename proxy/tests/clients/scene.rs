//! The program between a client and an upstream, with three listeners that differ in nothing but TLS.
//!
//! ```text
//!   plain   HTTP/1.1, HTTP/2 with prior knowledge  ─┐
//!   tls     ALPN; certificates by SNI               ├─▶ cluster `app`: the upstream, in HTTP/1 or HTTP/2
//!   mtls    wants a certificate of `ca`            ─┘   path /down/…: cluster `down`, where nobody listens
//! ```

use crate::peers::certificates::Certificates;
use crate::support::{Driver, Pinion, eventually, free_address};

/// What a scene is made of.
pub(crate) struct Setup<'a> {
    pub(crate) driver: Driver,
    pub(crate) certificates: &'a Certificates,
    /// `IP:PORT` of the upstream.
    pub(crate) upstream: &'a str,
    /// What is spoken to it: `http1` or `http2`.
    pub(crate) protocol: &'a str,
    /// More lines for the cluster.
    pub(crate) cluster: &'a str,
}

/// The running program.
pub(crate) struct Scene {
    pub(crate) pinion: Pinion,
}

/// The names of the listeners.
pub(crate) const LISTENERS: [&str; 3] = ["plain", "tls", "mtls"];

impl Setup<'_> {
    /// Starts the program.
    pub(crate) fn start(&self) -> Scene {
        let Setup { certificates, upstream, protocol, cluster, .. } = self;
        let path = |file: &str| certificates.path(file);
        let pair = format!(
            "tls.certificate = \"{}\"\ntls.private_key = \"{}\"\n",
            path("server.pem"),
            path("server.key")
        );
        let by_name = format!(
            "tls.certificates = [{{ certificate = \"{}\", private_key = \"{}\" }}]\n",
            path("wildcard.pem"),
            path("wildcard.key")
        );
        let ca = format!("tls.client_ca = \"{}\"\n", path("ca.pem"));
        let listener = |name: &str, lines: &str| {
            format!("[[listeners]]\nname = \"{name}\"\naddress = \"{}\"\n{lines}\n", free_address())
        };
        let config = format!(
            "{}{}{}\
             [[routes]]\nname = \"all\"\ncluster = \"app\"\n\
             [[routes]]\nname = \"down\"\npath = {{ prefix = \"/down\" }}\ncluster = \"down\"\n\
             [[routes]]\nname = \"down-calls\"\npath = {{ prefix = \"/down.Down\" }}\ncluster = \"down\"\n\
             [[clusters]]\nname = \"app\"\nendpoints = [\"{upstream}\"]\nprotocol = \"{protocol}\"\n{cluster}\n\
             [[clusters]]\nname = \"down\"\nendpoints = [\"{}\"]\nprotocol = \"{protocol}\"\n",
            listener("plain", ""),
            listener("tls", &(pair.clone() + &by_name)),
            listener("mtls", &(pair + &ca)),
            free_address(),
        );
        Scene { pinion: Pinion::with(self.driver).proxy("shards = 2").config(&config).start() }
    }
}

impl Scene {
    /// `IP:PORT` of a listener.
    pub(crate) fn address(&self, listener: &str) -> String {
        self.pinion.address(listener).to_string()
    }

    /// A URL of that listener.
    pub(crate) fn url(&self, listener: &str, path: &str) -> String {
        let scheme = if listener == "plain" { "http" } else { "https" };
        format!("{scheme}://{}{path}", self.address(listener))
    }

    /// Requests that came to a listener.
    pub(crate) fn requests(&self, listener: &str) -> f64 {
        self.pinion.metrics().value("pinion_requests_total", &[("listener", listener)])
    }

    /// Connections that came to a listener.
    pub(crate) fn connections(&self, listener: &str) -> f64 {
        self.pinion.metrics().value("pinion_listener_connections_total", &[("listener", listener)])
    }

    /// Waits until nothing is in progress; then so many faults have been counted in all.
    #[track_caller]
    pub(crate) fn expect_faults(&self, count: u32) {
        eventually("no request in progress", || {
            self.pinion.metrics().value("pinion_shard_requests_active", &[]) < 0.5
        });
        let faults = self.pinion.metrics().value("pinion_faults_total", &[]);
        assert!((faults - f64::from(count)).abs() < 0.5, "{faults} faults, not {count}");
    }
}
