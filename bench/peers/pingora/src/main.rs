//! A reverse proxy of Pingora's published crates, as plain as the other peers' configurations.
//!
//! Fair settings: one worker thread without work stealing, a pool that keeps every upstream connection of
//! the largest case, keep-alive on both sides, no log, `X-Forwarded-For` and `X-Forwarded-Proto` written
//! as the others do. No TLS, cache or balancing: one upstream.
//!
//! Not here: anything of Pinion. The package is outside the workspace and has a lock file of its own, so
//! that Pingora's dependencies are nobody's who does not compare.

#![forbid(unsafe_code)]

use async_trait::async_trait;
use clap::Parser;
use pingora_core::server::configuration::ServerConf;
use pingora_core::server::{RunArgs, Server};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::RequestHeader;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

/// What an address of a Unix socket begins with.
const UNIX_PREFIX: &str = "unix:";

/// Idle upstream connections that are kept: more than the largest case has connections.
const POOL_CONNECTIONS: usize = 1024;

/// Where to listen and where to send.
#[derive(Parser)]
#[command(name = "Pingora", version = pingora_version())]
struct Options {
    /// IP:PORT or unix:PATH
    #[arg(long)]
    listen: String,
    /// IP:PORT or unix:PATH
    #[arg(long)]
    upstream: String,
    /// Where Pingora puts its files
    #[arg(long)]
    folder: std::path::PathBuf,
}

/// One upstream for everything.
struct Proxy {
    upstream: String,
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn upstream_peer(&self, _session: &mut Session, _context: &mut ()) -> Result<Box<HttpPeer>> {
        let peer = match self.upstream.strip_prefix(UNIX_PREFIX) {
            Some(path) => HttpPeer::new_uds(path, false, String::new())?,
            None => HttpPeer::new(&self.upstream, false, String::new()),
        };
        Ok(Box::new(peer))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        _context: &mut (),
    ) -> Result<()> {
        let client = match session.client_addr().and_then(|address| address.as_inet()) {
            Some(address) => address.ip().to_string(),
            None => "unix:".to_owned(),
        };
        let chain = match request.headers.get("x-forwarded-for").map(|value| value.to_str()) {
            None => client,
            Some(Ok(before)) => format!("{before}, {client}"),
            Some(Err(_)) => return Error::e_explain(ErrorType::InvalidHTTPHeader, "x-forwarded-for"),
        };
        request.insert_header("X-Forwarded-For", chain)?;
        request.insert_header("X-Forwarded-Proto", "http")
    }
}

/// The version of Pingora that this is built from, out of the lock file.
fn pingora_version() -> &'static str {
    let mut lines = include_str!("../Cargo.lock").lines();
    let found = lines.find(|line| *line == "name = \"pingora-proxy\"").and_then(|_| lines.next());
    let version = found.and_then(|line| line.strip_prefix("version = \"")?.strip_suffix('"'));
    version.unwrap_or("of unknown version")
}

fn main() {
    let options = Options::parse();
    let configuration = ServerConf {
        threads: 1,
        work_stealing: false,
        upstream_keepalive_pool_size: POOL_CONNECTIONS,
        pid_file: options.folder.join("pingora.pid").display().to_string(),
        upgrade_sock: options.folder.join("pingora-upgrade.sock").display().to_string(),
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, configuration);
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, Proxy { upstream: options.upstream });
    match options.listen.strip_prefix(UNIX_PREFIX) {
        Some(path) => service.add_uds(path, None),
        None => service.add_tcp(&options.listen),
    }
    server.add_service(service);
    server.run(RunArgs::default());
}
