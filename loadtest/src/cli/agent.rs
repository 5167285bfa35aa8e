//! The options of runs on several machines: for the agents, and for the one who leads them.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

pub(crate) const EXAMPLES: &str = "\
Examples:
  head -c 32 /dev/urandom | base64 > secret
  pinion-load agent --listen 10.0.0.5:7000 --secret-file secret
  pinion-load --agents 10.0.0.5:7000,10.0.0.6:7000 --secret-file secret --rate 50000 http://10.0.0.1:8080/";

/// Options of an agent.
#[derive(Args, Clone, Debug)]
pub(crate) struct AgentOptions {
    /// Where to wait for a leader: IP:PORT; may be given many times
    #[arg(long, required = true, value_name = "ADDRESS")]
    pub(crate) listen: Vec<SocketAddr>,
    /// The secret that it shares with its leader, in a file
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "tls_certificate",
        required_unless_present = "tls_certificate"
    )]
    pub(crate) secret_file: Option<PathBuf>,
    /// Its certificate chain (PEM), for mutual TLS instead of a secret
    #[arg(long, value_name = "FILE", requires = "tls_key", requires = "client_ca")]
    pub(crate) tls_certificate: Option<PathBuf>,
    /// The private key of its certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Who signs the leaders' certificates (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    pub(crate) client_ca: Option<PathBuf>,
}

/// Options of a leader.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Several machines")]
pub(crate) struct LeaderOptions {
    /// Send from these agents (HOST:PORT), all beginning at once; each takes its share of the load
    #[arg(long, value_name = "AGENTS", value_delimiter = ',')]
    pub(crate) agents: Vec<String>,
    /// The secret that the agents share, in a file
    #[arg(long, value_name = "FILE", requires = "agents", conflicts_with = "agents_ca")]
    pub(crate) secret_file: Option<PathBuf>,
    /// Who signs the agents' certificates (PEM), for mutual TLS instead of a secret
    #[arg(long, value_name = "FILE", requires = "agents", requires = "agents_cert", requires = "agents_key")]
    pub(crate) agents_ca: Option<PathBuf>,
    /// The certificate chain that the agents are shown (PEM)
    #[arg(long, value_name = "FILE", requires = "agents_ca")]
    pub(crate) agents_cert: Option<PathBuf>,
    /// The private key of --agents-cert (PEM)
    #[arg(long, value_name = "FILE", requires = "agents_ca")]
    pub(crate) agents_key: Option<PathBuf>,
}
