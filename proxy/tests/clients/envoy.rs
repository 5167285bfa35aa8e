//! Envoy on either side, with mutual TLS and service identities: a peer whose TLS is BoringSSL's, not rustls's. It
//! proves what is agreed on by its own counters: X25519MLKEM768, and that each verified the other.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::peers::certificates::Certificates;
use crate::peers::origin::{Origin, load_program};
use crate::peers::tools::{need, run};
use crate::scene::Setup;
use crate::support::{PATIENCE, drivers, eventually};

/// Envoy, by `ENVOY_BIN` or the search path; says that the test is skipped if it is nowhere.
fn envoy() -> Option<PathBuf> {
    match std::env::var_os("ENVOY_BIN") {
        Some(program) => Some(program.into()),
        None => need("envoy"),
    }
}

/// A running Envoy with one listener and one cluster.
struct Envoy {
    child: Child,
    listener: u16,
    admin: u16,
}

/// Where traffic comes and goes, and what TLS there is on either side, as Envoy writes it.
struct Plan<'a> {
    upstream: &'a str,
    downstream_tls: String,
    upstream_tls: String,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Envoy {
    fn start(program: &Path, folder: &Path, plan: &Plan<'_>) -> Self {
        let (listener, admin) = (free_port(), free_port());
        let address =
            |ip: &str, port: u16| format!("{{ socket_address: {{ address: {ip}, port_value: {port} }} }}");
        let upstream: SocketAddr = plan.upstream.parse().unwrap();
        let extension = "type.googleapis.com/envoy.extensions";
        let config = format!(
            "admin: {{ address: {} }}\n\
             static_resources:\n\
             \x20 listeners:\n\
             \x20   - name: web\n\
             \x20     address: {}\n\
             \x20     filter_chains:\n\
             \x20       - {}\n\
             \x20         filters:\n\
             \x20           - name: envoy.filters.network.http_connection_manager\n\
             \x20             typed_config:\n\
             \x20               \"@type\": {extension}.filters.network.http_connection_manager.v3.HttpConnectionManager\n\
             \x20               stat_prefix: web\n\
             \x20               codec_type: AUTO\n\
             \x20               route_config: {{ virtual_hosts: [{{ name: all, domains: [\"*\"], routes: [{{ match: {{ prefix: / }}, route: {{ cluster: up }} }}] }}] }}\n\
             \x20               http_filters: [{{ name: envoy.filters.http.router, typed_config: {{ \"@type\": {extension}.filters.http.router.v3.Router }} }}]\n\
             \x20 clusters:\n\
             \x20   - name: up\n\
             \x20     type: STATIC\n\
             \x20     {}\n\
             \x20     typed_extension_protocol_options: {{ envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {{ \"@type\": {extension}.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {{ http2_protocol_options: {{}} }} }} }}\n\
             \x20     load_assignment: {{ cluster_name: up, endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {} }} }}] }}] }}\n",
            address("127.0.0.1", admin),
            address("127.0.0.1", listener),
            plan.downstream_tls,
            plan.upstream_tls,
            address(&upstream.ip().to_string(), upstream.port()),
        );
        let path = folder.join("envoy.yaml");
        std::fs::write(&path, config).unwrap();
        let log = std::fs::File::create(folder.join("envoy.log")).unwrap();
        let mut command = Command::new(program);
        command.arg("-c").arg(&path).args([
            "--concurrency",
            "1",
            "--disable-hot-restart",
            "--log-level",
            "warning",
        ]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let mut envoy = Envoy { child, listener, admin };
        eventually("Envoy is ready", || {
            if let Some(status) = envoy.child.try_wait().unwrap() {
                panic!("{status}: {}", std::fs::read_to_string(folder.join("envoy.log")).unwrap());
            }
            envoy.admin("/ready").is_some_and(|answer| answer.contains("LIVE"))
        });
        envoy
    }

    fn admin(&self, path: &str) -> Option<String> {
        let url = format!("http://127.0.0.1:{}{path}", self.admin);
        let said = run(Command::new("curl").args(["--silent", "--max-time", "10", &url]), PATIENCE);
        (said.status == Some(0)).then_some(said.stdout)
    }

    /// The counters that say what went wrong.
    fn told(&self) -> String {
        let stats = self.admin("/stats?usedonly").unwrap_or_default();
        let told = stats
            .lines()
            .filter(|line| ["ssl.", "fail", "_cx_", "_rq_"].iter().any(|word| line.contains(word)));
        told.collect::<Vec<_>>().join("\n")
    }

    /// The sum of all counters whose names end so.
    fn counter(&self, end: &str) -> u64 {
        let stats = self.admin("/stats").expect("Envoy's counters");
        let values = stats.lines().filter_map(|line| line.split_once(": "));
        values
            .filter(|(name, _)| name.ends_with(end))
            .filter_map(|(_, value)| value.parse::<u64>().ok())
            .sum()
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What Envoy says about TLS on either side: its own certificate, who may be on the other end, and that it offers
/// X25519MLKEM768 and nothing else.
fn transport_socket(side: &str, certificates: &Certificates, own: &str, peer: &str) -> String {
    let [ca, chain, key] = ["ca.pem".to_owned(), format!("{own}.pem"), format!("{own}.key")]
        .map(|file| certificates.path(&file));
    let client = if side == "Downstream" { "require_client_certificate: true, " } else { "sni: localhost, " };
    format!(
        "transport_socket: {{ name: tls, typed_config: {{ \
         \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.{side}TlsContext, {client}\
         common_tls_context: {{ alpn_protocols: [\"h2\"], \
         tls_params: {{ tls_maximum_protocol_version: TLSv1_3, ecdh_curves: [\"X25519MLKEM768\"] }}, \
         tls_certificates: [{{ certificate_chain: {{ filename: {chain} }}, private_key: {{ filename: {key} }} }}], \
         validation_context: {{ trusted_ca: {{ filename: {ca} }}, \
         match_typed_subject_alt_names: [{{ san_type: URI, matcher: {{ exact: \"{peer}\" }} }}] }} }} }} }}"
    )
}

/// Requests over 4 connections with 8 streams each; all must succeed.
fn load(address: &str, envoy: &Envoy) {
    let mut command = Command::new(load_program());
    command.args([
        "--http",
        "http2",
        "--rate",
        "500",
        "--duration",
        "10s",
        "-n",
        "500",
        "--connections",
        "4",
    ]);
    command.args(["--streams", "8", "--quiet", "--driver", "epoll", "--assert", "errors = 0", "--json", "-"]);
    let said = run(command.arg(format!("http://{address}/bytes/20000")), PATIENCE * 2);
    let report: serde_json::Value = serde_json::from_str(&said.stdout).unwrap_or_default();
    let found = (&report["answered"], &report["statuses"]["200"]);
    assert_eq!(found, (&500.into(), &500.into()), "{} {}", report["statuses"], envoy.told());
}

#[test]
fn envoy_calls_with_its_identity_and_hybrid_keys() {
    let (Some(envoy), Some(_)) = (envoy(), need("curl")) else { return };
    let (certificates, origin) = (Certificates::new(), Origin::start(&[]));
    for driver in drivers() {
        let upstream = origin.address();
        let setup = Setup { driver, certificates: &certificates, upstream, protocol: "http2", cluster: "" };
        let scene = setup.start();
        let plan = Plan {
            upstream: &scene.address("mtls"),
            downstream_tls: "name: plain".to_owned(),
            upstream_tls: transport_socket("Upstream", &certificates, "client", "spiffe://mesh.test/server"),
        };
        let envoy = Envoy::start(&envoy, scene.pinion.folder(), &plan);
        load(&format!("127.0.0.1:{}", envoy.listener), &envoy);
        assert!(envoy.counter("cluster.up.ssl.curves.X25519MLKEM768") >= 1);
        assert_eq!(envoy.counter("cluster.up.ssl.fail_verify_san"), 0);
        assert_eq!(scene.requests("mtls"), 500.0);
        scene.expect_faults(0);

        // The other authority's certificate for the same identity: refused, and no request comes.
        let plan = Plan {
            upstream_tls: transport_socket(
                "Upstream",
                &certificates,
                "stranger",
                "spiffe://mesh.test/server",
            ),
            downstream_tls: "name: plain".to_owned(),
            ..plan
        };
        let stranger = Envoy::start(&self::envoy().unwrap(), scene.pinion.folder(), &plan);
        let url = format!("http://127.0.0.1:{}/", stranger.listener);
        let said = run(
            Command::new("curl").args(["--silent", "-o", "/dev/null", "-w", "%{http_code}", &url]),
            PATIENCE,
        );
        assert_eq!(said.success(), "503");
        assert_eq!(scene.requests("mtls"), 500.0);
    }
}

#[test]
fn envoy_is_called_with_identity_and_hybrid_keys() {
    let (Some(envoy), Some(_)) = (envoy(), need("curl")) else { return };
    let (certificates, origin) = (Certificates::new(), Origin::start(&[]));
    let [ca, cert, key] = ["ca.pem", "client.pem", "client.key"].map(|file| certificates.path(file));
    let identity = |server: &str| {
        format!(
            "tls.ca = \"{ca}\"\ntls.certificate = \"{cert}\"\ntls.private_key = \"{key}\"\n\
             tls.permitted_peers = [\"{server}\"]\n"
        )
    };
    for driver in drivers() {
        let folder = tempfile::tempdir().unwrap();
        let plan = Plan {
            upstream: origin.address(),
            downstream_tls: transport_socket(
                "Downstream",
                &certificates,
                "server",
                "spiffe://mesh.test/client",
            ),
            upstream_tls: "connect_timeout: 5s".to_owned(),
        };
        let envoy = Envoy::start(&envoy, folder.path(), &plan);
        let upstream = format!("127.0.0.1:{}", envoy.listener);
        let scene = |server: &str| {
            let (certificates, upstream, cluster) = (&certificates, &*upstream, &*identity(server));
            Setup { driver, certificates, upstream, protocol: "http2", cluster }.start()
        };
        let right = scene("spiffe://mesh.test/server");
        load(&right.address("plain"), &envoy);
        assert!(envoy.counter("ssl.curves.X25519MLKEM768") >= 1);
        right.expect_faults(0);

        // A server with another identity than the configuration wants is not spoken to.
        let before = envoy.counter("http.web.downstream_rq_total");
        let wrong = scene("spiffe://mesh.test/other");
        let url = wrong.url("plain", "/");
        let said = run(
            Command::new("curl").args(["--silent", "-o", "/dev/null", "-w", "%{http_code}", &url]),
            PATIENCE,
        );
        assert_eq!(said.success(), "503");
        assert_eq!(envoy.counter("http.web.downstream_rq_total"), before);
    }
}
