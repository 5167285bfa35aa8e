//! Who may lead and who may serve: a shared secret, or certificates.
//!
//! ```text
//! agent ─▶ leader   version, nonce A
//! leader ─▶ agent   version, nonce L, HMAC(secret, "leader" A L)      the leader proves itself first
//! agent ─▶ leader   HMAC(secret, "agent" A L)
//!                   keys: HMAC(secret, "to agent" A L), HMAC(secret, "to leader" A L)
//! ```
//!
//! The proofs hold fresh nonces of both sides, so that an overheard one is of no use later. The secret itself
//! never travels; who overhears the proofs could try guesses, which is why short secrets are refused. With
//! TLS both sides show certificates, and the greeting holds versions only.

use std::io::ErrorKind;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::hmac::{self, HMAC_SHA256, Key};
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::ServerName;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use serde::{Deserialize, Serialize};

use super::link::{Broken, Link, Seal, Stream};
use super::message::VERSION;
use crate::cli::Problem;
use crate::cli::agent::{AgentOptions, LeaderOptions};
use crate::client::tls;

/// How long both greetings may take together.
const GREETING: Duration = Duration::from_secs(5);

/// The shortest secret, in bytes: 16 random letters can't be guessed.
const SECRET_BYTES_MIN: usize = 16;

/// The longest file that is taken for a secret, in bytes.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Random bytes that make a connection's proofs and keys its own.
const NONCE_BYTES: usize = 32;

/// How the two sides prove themselves; `T` is the side of TLS that this program is.
pub(super) enum Access<T> {
    Secret(Box<Key>),
    Tls(Arc<T>),
}

/// The first words of each side, and the proofs.
#[derive(Serialize, Deserialize)]
struct Greeting {
    program: String,
    version: u32,
    #[serde(default)]
    nonce: String,
    #[serde(default)]
    proof: String,
}

/// An agent's own proof, and the seals for what goes out and what comes in.
type Accepted = (Vec<u8>, Option<(Seal, Seal)>);

/// What the agent says to the leader's greeting.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reply {
    Accepted { proof: String },
    Refused { reason: String },
}

impl Greeting {
    fn new(nonce: &[u8], proof: &[u8]) -> Self {
        let program = concat!("pinion-load ", env!("CARGO_PKG_VERSION")).to_owned();
        Greeting { program, version: VERSION, nonce: STANDARD.encode(nonce), proof: STANDARD.encode(proof) }
    }

    fn nonce(&self) -> Result<Vec<u8>, String> {
        let nonce = STANDARD.decode(&self.nonce).ok().filter(|nonce| nonce.len() == NONCE_BYTES);
        nonce.ok_or_else(|| "its greeting has no nonce: it expects TLS, and no secret".to_owned())
    }

    fn check_version(&self, who: &str) -> Result<(), String> {
        if self.version == VERSION {
            return Ok(());
        }
        Err(format!(
            "the {who} ({}) speaks version {} of the protocol, this program {VERSION}: use the same release",
            self.program, self.version
        ))
    }
}

impl Access<ServerConfig> {
    /// What an agent was given.
    ///
    /// # Errors
    /// A file can't be read or holds no secret or certificate.
    pub(super) fn of_agent(options: &AgentOptions) -> Result<Self, Problem> {
        if let Some(file) = &options.secret_file {
            return secret(file).map(Access::Secret);
        }
        let (Some(chain), Some(key), Some(ca)) =
            (&options.tls_certificate, &options.tls_key, &options.client_ca)
        else {
            return Err(Problem::Usage(
                "an agent needs --secret-file, or --tls-certificate, --tls-key and --client-ca".to_owned(),
            ));
        };
        let wrong = |e: &dyn std::fmt::Display| Problem::Usage(format!("TLS of the agent: {e}"));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca)?), Arc::clone(&provider))
                .build()
                .map_err(|e| wrong(&e))?;
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|e| wrong(&e))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(tls::certificates(chain)?, tls::private_key(key)?)
            .map_err(|e| wrong(&e))?;
        Ok(Access::Tls(Arc::new(config)))
    }

    /// What it is called where an agent announces itself.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Access::Secret(_) => "shared secret",
            Access::Tls(_) => "mutual TLS",
        }
    }

    /// Greets somebody who has connected to this agent.
    ///
    /// # Errors
    /// He is no leader of this agent's, told for the agent's log.
    pub(super) fn greet_leader(&self, socket: TcpStream) -> Result<Link, String> {
        let until = Instant::now() + GREETING;
        let stream = match self {
            Access::Secret(_) => Stream::Plain(socket),
            Access::Tls(config) => Stream::Server(Box::new(accept_tls(config, socket, until)?)),
        };
        let mut link = Link::new(stream).map_err(|e| e.to_string())?;
        let mine = nonce()?;
        link.send(&Greeting::new(&mine, &[])).map_err(|e| e.to_string())?;
        let greeting: Greeting = link.expect(until).map_err(|e| format!("no leader of pinion-load: {e}"))?;
        let judged = greeting.check_version("leader").and_then(|()| self.judge_leader(&greeting, &mine));
        let refusal = |reason: &String| Reply::Refused { reason: reason.clone() };
        let (proof, seals) = judged.inspect_err(|reason| {
            // He learns why; that he may be gone already changes nothing.
            let _ = link.send(&refusal(reason));
        })?;
        link.send(&Reply::Accepted { proof: STANDARD.encode(proof) }).map_err(|e| e.to_string())?;
        link.trust(seals);
        Ok(link)
    }

    /// Checks a leader's proof; gives this agent's own, and the seals.
    fn judge_leader(&self, greeting: &Greeting, mine: &[u8]) -> Result<Accepted, String> {
        let Access::Secret(secret) = self else { return Ok((Vec::new(), None)) };
        let theirs = greeting.nonce()?;
        let proof = STANDARD.decode(&greeting.proof).unwrap_or_default();
        hmac::verify(secret, &said("leader", mine, &theirs), &proof)
            .map_err(|_| "wrong secret".to_owned())?;
        let proof = hmac::sign(secret, &said("agent", mine, &theirs));
        let (to_agent, to_leader) = seals(secret, mine, &theirs)?;
        Ok((proof.as_ref().to_vec(), Some((to_leader, to_agent))))
    }
}

impl Access<ClientConfig> {
    /// What a leader was given.
    ///
    /// # Errors
    /// As for an agent.
    pub(super) fn of_leader(options: &LeaderOptions) -> Result<Self, Problem> {
        if let Some(file) = &options.secret_file {
            return secret(file).map(Access::Secret);
        }
        let (Some(ca), Some(chain), Some(key)) =
            (&options.agents_ca, &options.agents_cert, &options.agents_key)
        else {
            return Err(Problem::Usage(
                "--agents needs --secret-file, or --agents-ca, --agents-cert and --agents-key".to_owned(),
            ));
        };
        let wrong = |e: &dyn std::fmt::Display| Problem::Usage(format!("TLS to the agents: {e}"));
        let config =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_protocol_versions(&[&rustls::version::TLS13])
                .map_err(|e| wrong(&e))?
                .with_root_certificates(roots(ca)?)
                .with_client_auth_cert(tls::certificates(chain)?, tls::private_key(key)?)
                .map_err(|e| wrong(&e))?;
        Ok(Access::Tls(Arc::new(config)))
    }

    /// Connects to an agent (`HOST:PORT`) and greets it.
    ///
    /// # Errors
    /// It can't be reached, or is no agent of this leader's.
    pub(super) fn greet_agent(&self, address: &str) -> Result<Link, String> {
        let until = Instant::now() + GREETING;
        let socket = connect(address)?;
        let stream = match self {
            Access::Secret(_) => Stream::Plain(socket),
            Access::Tls(config) => Stream::Client(Box::new(connect_tls(config, address, socket, until)?)),
        };
        let mut link = Link::new(stream).map_err(|e| e.to_string())?;
        let greeting: Greeting = link.expect(until).map_err(|e| match e {
            Broken::Silent => {
                "no greeting came: it is no agent of pinion-load, or one that expects TLS".to_owned()
            }
            other => format!("it does not greet as an agent of pinion-load: {other}"),
        })?;
        greeting.check_version("agent")?;
        let mine = nonce()?;
        let theirs = greeting.nonce()?;
        let proof = match self {
            Access::Secret(secret) => hmac::sign(secret, &said("leader", &theirs, &mine)).as_ref().to_vec(),
            Access::Tls(_) => Vec::new(),
        };
        link.send(&Greeting::new(&mine, &proof)).map_err(|e| e.to_string())?;
        let proof = match link.expect(until).map_err(|e| e.to_string())? {
            Reply::Accepted { proof } => STANDARD.decode(&proof).unwrap_or_default(),
            Reply::Refused { reason } => return Err(format!("it refused: {reason}")),
        };
        let Access::Secret(secret) = self else {
            link.trust(None);
            return Ok(link);
        };
        hmac::verify(secret, &said("agent", &theirs, &mine), &proof)
            .map_err(|_| "it does not know the secret".to_owned())?;
        let (to_agent, to_leader) = seals(secret, &theirs, &mine)?;
        link.trust(Some((to_agent, to_leader)));
        Ok(link)
    }
}

/// What is signed: the purpose, and both nonces.
fn said(purpose: &str, agent: &[u8], leader: &[u8]) -> Vec<u8> {
    let version = VERSION.to_be_bytes();
    [b"pinion-load agents ", &version[..], purpose.as_bytes(), b" ", agent, leader].concat()
}

/// The seals of the two directions: to the agent, to the leader.
fn seals(secret: &Key, agent: &[u8], leader: &[u8]) -> Result<(Seal, Seal), String> {
    let seal = |purpose: &str| {
        let mut key = [0; 32];
        key.copy_from_slice(hmac::sign(secret, &said(purpose, agent, leader)).as_ref());
        Seal::new(&key).map_err(|e| e.to_string())
    };
    Ok((seal("to agent")?, seal("to leader")?))
}

fn nonce() -> Result<[u8; NONCE_BYTES], String> {
    let mut nonce = [0; NONCE_BYTES];
    rand::fill(&mut nonce).map_err(|_| "the system gives no random numbers".to_owned())?;
    Ok(nonce)
}

/// The secret in a file, without the white space around it.
fn secret(file: &Path) -> Result<Box<Key>, Problem> {
    let wrong = |e: &dyn std::fmt::Display| Problem::Usage(format!("secret in {}: {e}", file.display()));
    let length = std::fs::metadata(file).map_err(|e| wrong(&e))?.len();
    if length > SECRET_BYTES_MAX {
        return Err(wrong(&"the file is too long for a secret"));
    }
    let bytes = std::fs::read(file).map_err(|e| wrong(&e))?;
    let secret = bytes.trim_ascii();
    if secret.len() < SECRET_BYTES_MIN {
        return Err(wrong(&format_args!(
            "shorter than {SECRET_BYTES_MIN} bytes; make one with `head -c 32 /dev/urandom | base64`"
        )));
    }
    Ok(Box::new(Key::new(HMAC_SHA256, secret)))
}

fn roots(file: &Path) -> Result<RootCertStore, Problem> {
    let mut roots = RootCertStore::empty();
    for certificate in tls::certificates(file)? {
        roots.add(certificate).map_err(|e| Problem::Usage(format!("{}: {e}", file.display())))?;
    }
    Ok(roots)
}

fn connect(address: &str) -> Result<TcpStream, String> {
    let found = address.to_socket_addrs().map_err(|e| format!("can't find it: {e}"))?;
    let mut last = "the name has no address".to_owned();
    for address in found {
        match TcpStream::connect_timeout(&address, GREETING) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = format!("can't connect: {error}"),
        }
    }
    Err(last)
}

/// Puts the time that is left on a socket's reads and writes.
fn limit(socket: &TcpStream, until: Instant) -> Result<(), String> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err("the TLS handshake took too long".to_owned());
    }
    let set = socket.set_read_timeout(Some(left)).and_then(|()| socket.set_write_timeout(Some(left)));
    set.map_err(|e| e.to_string())
}

fn accept_tls(
    config: &Arc<ServerConfig>,
    socket: TcpStream,
    until: Instant,
) -> Result<StreamOwned<ServerConnection, TcpStream>, String> {
    let session = ServerConnection::new(Arc::clone(config)).map_err(|e| e.to_string())?;
    let mut stream = StreamOwned::new(session, socket);
    while stream.conn.is_handshaking() {
        limit(&stream.sock, until)?;
        stream.conn.complete_io(&mut stream.sock).map_err(|e| format!("TLS: {}", told(&e)))?;
    }
    Ok(stream)
}

fn connect_tls(
    config: &Arc<ClientConfig>,
    address: &str,
    socket: TcpStream,
    until: Instant,
) -> Result<StreamOwned<ClientConnection, TcpStream>, String> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name =
        ServerName::try_from(host.to_owned()).map_err(|_| format!("`{host}` is not a name for TLS"))?;
    let session = ClientConnection::new(Arc::clone(config), name).map_err(|e| e.to_string())?;
    let mut stream = StreamOwned::new(session, socket);
    while stream.conn.is_handshaking() {
        limit(&stream.sock, until)?;
        stream.conn.complete_io(&mut stream.sock).map_err(|e| {
            let hint = if e.kind() == ErrorKind::InvalidData { " (is it an agent with TLS?)" } else { "" };
            format!("TLS: {}{hint}", told(&e))
        })?;
    }
    Ok(stream)
}

fn told(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => "the handshake took too long".to_owned(),
        _ => error.to_string(),
    }
}
