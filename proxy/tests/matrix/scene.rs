//! One running program with a listener and a cluster for every kind, its origins, and its metrics.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::runtime::Runtime;

use crate::PATIENCE;
use crate::cells::{Counted, Pair};
use crate::client::Door;
use crate::origin::Origin;
use crate::pair::Kind;
use crate::peers::certificates::Certificates;
use crate::support::{Driver, Metrics, Pinion, free_address};

/// The program and what stands around it.
pub(crate) struct Scene {
    pinion: Pinion,
    addresses: Vec<(Kind, SocketAddr)>,
    origins: Vec<(Kind, Origin)>,
    client_tls: Arc<ClientConfig>,
    _certificates: Certificates,
}

/// How long what has happened may take to be counted.
const COUNTING_PATIENCE: Duration = Duration::from_secs(3);

/// Metrics of a pair at some time.
pub(crate) struct Counts(Metrics);

impl Scene {
    /// Starts everything.
    pub(crate) fn start(driver: Driver, runtime: &Runtime) -> Self {
        let certificates = Certificates::new();
        let server_tls = server_config(&certificates);
        let start = |kind| (kind, runtime.block_on(Origin::start(kind, Arc::clone(&server_tls))));
        let origins: Vec<(Kind, Origin)> = Kind::ALL.into_iter().map(start).collect();
        let mut config = String::new();
        for kind in Kind::ALL {
            config += &listener(kind, &certificates);
        }
        for (kind, origin) in &origins {
            config += &upstream(*kind, &origin.address.to_string(), &certificates);
        }
        let pinion = Pinion::with(driver).proxy("shards = 2").config(&config).start();
        let addresses = Kind::ALL.into_iter().map(|kind| (kind, pinion.address(kind.name()))).collect();
        let client_tls = client_config(&certificates);
        Scene { pinion, addresses, origins, client_tls, _certificates: certificates }
    }

    /// A pair of kinds.
    pub(crate) fn pair(&self, down: Kind, up: Kind) -> Pair {
        let address = self.addresses.iter().find(|(kind, _)| *kind == down).map(|(_, address)| *address);
        let address = address.expect("a listener of every kind");
        let door = Door { address, kind: down, tls: Arc::clone(&self.client_tls) };
        let origin = self.origins.iter().find(|(kind, _)| *kind == up).map(|(_, origin)| origin.clone());
        Pair { down, up, door, origin: origin.expect("an origin of every kind") }
    }

    /// What the program said, if it has ended, which it never should.
    pub(crate) fn has_ended(&self) -> Option<String> {
        self.pinion.try_metrics().is_none().then(|| self.pinion.stderr())
    }

    /// The metrics once nothing is in progress.
    pub(crate) fn counts(&self, down: Kind, up: Kind) -> Result<Counts, String> {
        let start = Instant::now();
        loop {
            let metrics = self.pinion.try_metrics().ok_or("the program has ended")?;
            let active = [
                ("pinion_shard_requests_active", vec![]),
                ("pinion_listener_tunnels_active", vec![("listener", down.name())]),
                ("pinion_cluster_requests_active", vec![("cluster", up.name())]),
            ];
            let busy: f64 = active.iter().map(|(name, labels)| metrics.value(name, labels)).sum();
            // A request that hangs is a failure that the comparison tells.
            if busy < 0.5 || start.elapsed() > PATIENCE {
                return Ok(Counts(metrics));
            }
            sleep(Duration::from_millis(5));
        }
    }

    /// Whether the metrics have moved by what a cell says. An answer is with its client a little before it is counted.
    pub(crate) fn compare(
        &self,
        before: &Counts,
        counted: &Counted,
        down: Kind,
        up: Kind,
    ) -> Result<(), String> {
        let start = Instant::now();
        loop {
            let compared = self.compare_now(before, counted, down, up);
            if compared.is_ok() || start.elapsed() > COUNTING_PATIENCE {
                return compared;
            }
            sleep(Duration::from_millis(20));
        }
    }

    fn compare_now(&self, before: &Counts, counted: &Counted, down: Kind, up: Kind) -> Result<(), String> {
        let after = self.counts(down, up)?;
        let mut wrong = Vec::new();
        let moved = |name: &str, labels: &[(&str, &str)]| {
            (after.0.value(name, labels) - before.0.value(name, labels)).round() as i64
        };
        let mut expect = |name: &str, labels: &[(&str, &str)], wanted: u32| {
            let moved = moved(name, labels);
            if moved != i64::from(wanted) {
                wrong.push(format!("{name}{labels:?} moved by {moved} instead of {wanted}"));
            }
        };
        let listener = ("listener", down.name());
        expect("pinion_requests_total", &[listener], counted.requests);
        expect("pinion_listener_tunnels_total", &[listener], counted.tunnels);
        for (class, count) in &counted.answers {
            let labels = [("cluster", up.name()), ("code_class", *class)];
            expect("pinion_cluster_responses_total", &labels, *count);
        }
        let faults = u32::from(!counted.fault.is_empty());
        expect("pinion_faults_total", &[], faults);
        expect("pinion_shard_requests_active", &[], 0);
        let of_kind: i64 =
            counted.fault.iter().map(|reason| moved("pinion_faults_total", &[("reason", reason)])).sum();
        if of_kind != i64::from(faults) {
            wrong.push(format!("no fault was one of {:?}: {}", counted.fault, self.faults(before, &after)));
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
    }

    /// The faults that were counted in between, by reason.
    fn faults(&self, before: &Counts, after: &Counts) -> String {
        let reasons = after.0.labels("pinion_faults_total", "reason");
        let told = |reason: &String| {
            let labels = [("reason", reason.as_str())];
            let moved = after.0.value("pinion_faults_total", &labels)
                - before.0.value("pinion_faults_total", &labels);
            (moved > 0.5).then(|| format!("{reason} {moved}"))
        };
        reasons.iter().filter_map(told).collect::<Vec<_>>().join(", ")
    }
}

fn listener(kind: Kind, certificates: &Certificates) -> String {
    let tls = format!(
        "tls.certificate = \"{}\"\ntls.private_key = \"{}\"\n",
        certificates.path("server.pem"),
        certificates.path("server.key")
    );
    let tls = if kind.is_tls() { tls + &ktls() } else { String::new() };
    format!("[[listeners]]\nname = \"{}\"\naddress = \"{}\"\n{tls}\n", kind.name(), free_address())
}

/// Whether the kernel takes over the records: what `PINION_MATRIX_KTLS` says.
fn ktls() -> String {
    std::env::var("PINION_MATRIX_KTLS").map_or(String::new(), |ktls| format!("tls.ktls = \"{ktls}\"\n"))
}

/// Routes and clusters of an upstream: the plain one, one with a time limit, one with a dead endpoint first.
fn upstream(kind: Kind, address: &str, certificates: &Certificates) -> String {
    let name = kind.name();
    let protocol = if kind.is_http2() { "http2" } else { "http1" };
    let tls = format!("tls.ca = \"{}\"\ntls.server_name = \"localhost\"\n", certificates.path("ca.pem"));
    let tls = if kind.is_tls() { tls + &ktls() } else { String::new() };
    let cluster = |name: &str, endpoints: &str| {
        format!(
            "[[clusters]]\nname = \"{name}\"\nendpoints = [{endpoints}]\nprotocol = \"{protocol}\"\n{tls}\n"
        )
    };
    format!(
        "[[routes]]\nname = \"{name}\"\nheaders = {{ x-upstream = \"{name}\" }}\ncluster = \"{name}\"\n\
         [[routes]]\nname = \"{name}-short\"\nheaders = {{ x-upstream = \"{name}-short\" }}\n\
         cluster = \"{name}\"\ntimeout = \"300ms\"\n\
         [[routes]]\nname = \"{name}-retry\"\nheaders = {{ x-upstream = \"{name}-retry\" }}\n\
         cluster = \"{name}-retry\"\nretry = {{ attempts = 2, on = [\"connect-failure\"] }}\n{}{}",
        cluster(name, &format!("\"{address}\"")),
        cluster(&format!("{name}-retry"), &format!("\"{}\", \"{address}\"", free_address())),
    )
}

fn server_config(certificates: &Certificates) -> Arc<ServerConfig> {
    let chain = CertificateDer::from_pem_file(certificates.path("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(certificates.path("server.key")).unwrap();
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![chain], key);
    Arc::new(config.unwrap())
}

fn client_config(certificates: &Certificates) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificates.path("ca.pem")).unwrap()).unwrap();
    Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}
