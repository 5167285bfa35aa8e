//! What a subject's configuration says differently for each traffic: the template, and what stands where in it.

use std::path::Path;

use super::Subject;
use crate::peers::certificate::Certificate;
use crate::peers::traffic::Traffic;

const ENVOY: &str = include_str!("../../../peers/envoy.yaml");
const ENVOY_TCP: &str = include_str!("../../../peers/envoy-tcp.yaml");
const HAPROXY: &str = include_str!("../../../peers/haproxy.cfg");
const HAPROXY_TCP: &str = include_str!("../../../peers/haproxy-tcp.cfg");
const NGINX: &str = include_str!("../../../peers/nginx.conf");
const NGINX_TCP: &str = include_str!("../../../peers/nginx-tcp.conf");
const PINION: &str = include_str!("../../../peers/pinion.toml");
const PINION_TCP: &str = include_str!("../../../peers/pinion-tcp.toml");

/// Where Debian has nginx's module for TCP; elsewhere it is in the program.
const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// What is put into a template: what stands there, and what takes its place.
pub(super) type Changes = Vec<(&'static str, String)>;

/// A subject's template for `traffic`, and what is put into it besides addresses; `None` if its settings are
/// its command line.
pub(super) fn template(
    subject: Subject,
    traffic: Traffic,
    certificate: &Certificate,
) -> Option<(&'static str, Changes)> {
    let is_tcp = traffic == Traffic::Tcp;
    let (http, tcp, changes) = match subject {
        Subject::Pinion | Subject::PinionEpoll => (PINION, PINION_TCP, pinion(subject, traffic, certificate)),
        Subject::Nginx => (NGINX, NGINX_TCP, nginx(traffic, certificate)),
        Subject::Haproxy => (HAPROXY, HAPROXY_TCP, haproxy(traffic, certificate)),
        Subject::Envoy => (ENVOY, ENVOY_TCP, envoy(traffic, certificate)),
        Subject::Pingora | Subject::Floor => return None,
    };
    Some((if is_tcp { tcp } else { http }, changes))
}

/// `text`, or nothing.
fn when(condition: bool, text: impl Into<String>) -> String {
    if condition { text.into() } else { String::new() }
}

fn pinion(subject: Subject, traffic: Traffic, certificate: &Certificate) -> Changes {
    let driver = if subject == Subject::PinionEpoll { "epoll" } else { "io_uring" };
    let (chain, key) = (certificate.chain.display(), certificate.key.display());
    let tls = format!("\n[listeners.tls]\ncertificate = \"{chain}\"\nprivate_key = \"{key}\"\n");
    vec![
        ("@DRIVER@", driver.to_owned()),
        ("@TLS@", when(traffic.is_tls(), tls)),
        ("@PROTOCOL@", when(traffic.is_http2_upstream(), "protocol = \"http2\"")),
    ]
}

fn nginx(traffic: Traffic, certificate: &Certificate) -> Changes {
    let (chain, key) = (certificate.chain.display(), certificate.key.display());
    let tls = format!("ssl_certificate {chain}; ssl_certificate_key {key}; ssl_protocols TLSv1.3;");
    let grpc = "grpc_pass grpc://origin; grpc_set_header Host $http_host; \
                grpc_set_header X-Forwarded-For $proxy_add_x_forwarded_for; \
                grpc_set_header X-Forwarded-Proto $scheme;";
    let module = Path::new(NGINX_STREAM).exists();
    vec![
        ("@LISTEN_OPTIONS@", when(traffic.is_tls(), " ssl") + &when(traffic.is_http2(), " http2")),
        ("@TLS@", when(traffic.is_tls(), tls)),
        ("@PASS@", if traffic == Traffic::Grpc { grpc } else { "proxy_pass http://origin;" }.to_owned()),
        ("@MODULE@", when(module, format!("load_module {NGINX_STREAM};"))),
    ]
}

fn haproxy(traffic: Traffic, certificate: &Certificate) -> Changes {
    let alpn = if traffic.is_http2() { "h2" } else { "http/1.1" };
    let tls = format!(" ssl crt {} alpn {alpn} ssl-min-ver TLSv1.3", certificate.bundle.display());
    let plain = when(traffic.is_http2(), " proto h2");
    vec![
        ("@BIND_OPTIONS@", if traffic.is_tls() { tls } else { plain }),
        ("@SCHEME@", if traffic.is_tls() { "https" } else { "http" }.to_owned()),
        ("@SERVER_OPTIONS@", when(traffic.is_http2_upstream(), " proto h2")),
    ]
}

fn envoy(traffic: Traffic, certificate: &Certificate) -> Changes {
    let alpn = if traffic.is_http2() { "h2" } else { "http/1.1" };
    let group = if traffic == Traffic::HybridHandshakes { "X25519MLKEM768" } else { "X25519" };
    let (chain, key) = (certificate.chain.display(), certificate.key.display());
    let extension = "type.googleapis.com/envoy.extensions";
    let tls = format!(
        "transport_socket: {{ name: tls, typed_config: {{ \
         \"@type\": {extension}.transport_sockets.tls.v3.DownstreamTlsContext, common_tls_context: {{ \
         alpn_protocols: [\"{alpn}\"], \
         tls_params: {{ tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_3, \
         ecdh_curves: [\"{group}\"] }}, tls_certificates: [{{ certificate_chain: {{ filename: {chain} }}, \
         private_key: {{ filename: {key} }} }}] }} }} }}"
    );
    let protocol = format!(
        "typed_extension_protocol_options: {{ envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {{ \
         \"@type\": {extension}.upstreams.http.v3.HttpProtocolOptions, \
         explicit_http_config: {{ http2_protocol_options: {{}} }} }} }}"
    );
    vec![
        ("@TLS@", if traffic.is_tls() { tls } else { "name: plain".to_owned() }),
        ("@CODEC@", if traffic.is_http2() { "HTTP2" } else { "HTTP1" }.to_owned()),
        ("@PROTOCOL@", when(traffic.is_http2_upstream(), protocol)),
    ]
}
