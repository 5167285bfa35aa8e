//! Handshakes: with clients of listeners that speak TLS, and with endpoints of clusters that do.
//!
//! ```text
//!   receive ──a whole record──> step's turn ──> shown to the library ──> what it wants sent is sent
//!      ^                                                                     │ in progress
//!      └─────────────────────────────────────────────────────────────────────┤
//!                                                       session <──finished──┘
//! ```
//!
//! The library sees one more record at a time, so that the handshake ends at a record's boundary, and what
//! follows it is left for the session.
//!
//! Invariants:
//! - a failed handshake has sent the alert that fits before its failure is returned;
//! - handshakes in progress are counted by their listener, steps by their shard.
//!
//! Not here: who is trusted and which certificate is shown (the configurations that are passed in).

use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use pinion_core::config::snapshot::Ktls;
use pinion_core::telemetry::tls::{TlsPlace, TlsSide};
use pinion_core::tls::PeerIdentity;
use pinion_core::tls::reason::TlsReason;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConfig, Error, HandshakeKind, ProtocolVersion, ServerConfig};

use super::TlsShard;
use super::engine::Records;
use super::facts::{Alpn, TlsFacts};
use super::failure::TlsFailure;
use super::kernel::probe::kernel;
use super::session::{Engine, Promoted, Session};
use crate::net::clock;
use crate::net::socket::Socket;
use crate::shard::lease::Lease;
use crate::shard::link::SharedCount;
use crate::shard::timer::Lane;
use crate::sys::buffer::Buffer;
use crate::sys::ktls;

mod pump;

use pump::Pump;

/// What the peer has shown of itself.
pub(crate) struct Shown<'a> {
    /// Its certificates, its own first; verified, or those of the session that is resumed.
    pub(crate) chain: &'a [CertificateDer<'static>],
    /// The name that the client has asked for.
    pub(crate) sni: Option<&'a str>,
    /// An earlier session is resumed.
    pub(crate) resumed: bool,
}

/// What a listener demands of handshakes, beside what the library's configuration says.
pub(crate) struct Terms<'a> {
    /// How long one may take.
    pub(crate) timeout: Duration,
    /// Those in progress on the listener, all shards.
    pub(crate) handshakes: &'a Arc<SharedCount>,
    /// How many may be.
    pub(crate) handshakes_max: u64,
    /// When records are handed to the kernel.
    pub(crate) ktls: Ktls,
}

/// A handshake's place in its listener's count, given up on drop.
struct InProgress<'a>(&'a SharedCount, &'a TlsShard);

impl Drop for InProgress<'_> {
    fn drop(&mut self) {
        self.0.give();
        self.1.stats.tls.handshaking.dec();
    }
}

/// Becomes the server of a client on `socket`; `early` are bytes that were received already. Takes the lane
/// `Read` for its time. `identify` reads the client's certificates; what it refuses is no connection.
///
/// # Errors
///
/// Why there is no TLS now; the client has been told, and the socket is to be closed.
pub(crate) async fn accept(
    shard: &Rc<TlsShard>,
    socket: &Socket,
    early: Option<Buffer>,
    lease: &Lease,
    config: Arc<ServerConfig>,
    terms: &Terms<'_>,
    identify: impl FnOnce(Shown<'_>) -> Result<Option<PeerIdentity>, Error>,
) -> Result<Arc<TlsFacts>, TlsFailure> {
    let begun = clock::now();
    lease.cut_both(Lane::Read, begun.after(terms.timeout), socket);
    let made = serve(shard, socket, early, config, terms, identify).await;
    let late = lease.disarm(Lane::Read).is_some();
    let made = match made {
        Err(failure) if late && failure.reason == TlsReason::Gone => Err(TlsReason::TimedOut.into()),
        other => other,
    };
    count(shard, TlsSide::Downstream, begun, &made);
    made
}

async fn serve(
    shard: &Rc<TlsShard>,
    socket: &Socket,
    early: Option<Buffer>,
    config: Arc<ServerConfig>,
    terms: &Terms<'_>,
    identify: impl FnOnce(Shown<'_>) -> Result<Option<PeerIdentity>, Error>,
) -> Result<Arc<TlsFacts>, TlsFailure> {
    if !terms.handshakes.try_take(terms.handshakes_max) {
        return Err(TlsReason::TooMany.into());
    }
    shard.stats.tls.handshaking.inc();
    let _counted = InProgress(terms.handshakes, shard);
    prepare(socket, terms.ktls)?;
    let mut pump = Pump::new(shard, socket, early)?;
    let sni = pump.hello().await?;
    let mut conn = UnbufferedServerConnection::new(config)?;
    pump.run(&mut conn).await?;
    let facts = Arc::new(facts(&conn, sni, identify)?);
    settle(shard, socket, Engine::Server(Box::new(conn)), facts, terms.ktls, pump.inc).await
}

/// Becomes the client of the endpoint on `socket`, which must be `name`. How long that may take is the
/// caller's business: it cuts the socket.
///
/// # Errors
///
/// Why there is no TLS now; the endpoint has been told, and the socket is to be closed.
pub(crate) async fn connect(
    shard: &Rc<TlsShard>,
    socket: &Socket,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    ktls: Ktls,
    identify: impl FnOnce(Shown<'_>) -> Result<Option<PeerIdentity>, Error>,
) -> Result<Arc<TlsFacts>, TlsFailure> {
    let begun = clock::now();
    shard.stats.tls.handshaking.inc();
    let made = ask(shard, socket, config, name, ktls, identify).await;
    shard.stats.tls.handshaking.dec();
    count(shard, TlsSide::Upstream, begun, &made);
    made
}

async fn ask(
    shard: &Rc<TlsShard>,
    socket: &Socket,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    ktls: Ktls,
    identify: impl FnOnce(Shown<'_>) -> Result<Option<PeerIdentity>, Error>,
) -> Result<Arc<TlsFacts>, TlsFailure> {
    let sni = match &name {
        ServerName::DnsName(name) => Some(name.as_ref().into()),
        _ => None,
    };
    let mut conn = UnbufferedClientConnection::new(config, name)?;
    prepare(socket, ktls)?;
    let mut pump = Pump::new(shard, socket, None)?;
    pump.run(&mut conn).await?;
    let facts = Arc::new(facts(&conn, sni, identify)?);
    settle(shard, socket, Engine::Client(Box::new(conn)), facts, ktls, pump.inc).await
}

/// Puts the finished handshake's session under the socket.
async fn settle(
    shard: &Rc<TlsShard>,
    socket: &Socket,
    engine: Engine,
    facts: Arc<TlsFacts>,
    ktls: Ktls,
    early: Buffer,
) -> Result<Arc<TlsFacts>, TlsFailure> {
    let place = match ktls {
        Ktls::Off => TlsPlace::Off,
        Ktls::Auto | Ktls::On => kernel().place(ktls, facts.version, facts.suite),
    };
    socket.secure(Session::new(engine, facts.clone(), place, shard, early));
    if ktls == Ktls::On
        && let Some(session) = socket.session()
    {
        // Data may ride behind the handshake's last message, cut anywhere.
        while session.promote(socket) == Promoted::Part {
            socket.raw_readable().await?;
        }
    }
    Ok(facts)
}

/// The kernel must know of it before the peer can end its direction.
fn prepare(socket: &Socket, ktls: Ktls) -> Result<(), TlsFailure> {
    if ktls == Ktls::On && kernel().refusal().is_none() && ktls::install(socket.as_fd()).is_err() {
        return Err(TlsReason::Kernel.into());
    }
    Ok(())
}

fn count(
    shard: &Rc<TlsShard>,
    side: TlsSide,
    begun: pinion_core::time::Instant,
    made: &Result<Arc<TlsFacts>, TlsFailure>,
) {
    let stats = &shard.stats.tls;
    match made {
        Ok(facts) => {
            let version = usize::from(facts.version == ProtocolVersion::TLSv1_3);
            stats.handshakes[side as usize][version][usize::from(facts.resumed)].inc();
            stats.duration[side as usize].record(clock::now().since(begun).as_nanos() as u64);
            tracing::debug!(
                side = side.label(),
                version = facts.version_label(),
                suite = facts.suite_label(),
                group = ?facts.group,
                resumed = facts.resumed,
                "a TLS handshake finished"
            );
        }
        Err(failure) => {
            stats.failures[side as usize][failure.reason.index()].inc();
            tracing::debug!(side = side.label(), reason = failure.label(), %failure, "a TLS handshake failed");
        }
    }
}

fn facts<C: Records>(
    conn: &C,
    sni: Option<Box<str>>,
    identify: impl FnOnce(Shown<'_>) -> Result<Option<PeerIdentity>, Error>,
) -> Result<TlsFacts, TlsFailure> {
    let common = conn.common();
    let (Some(version), Some(suite)) = (common.protocol_version(), common.negotiated_cipher_suite()) else {
        return Err(TlsReason::Internal.into());
    };
    let resumed = common.handshake_kind() == Some(HandshakeKind::Resumed);
    let peer = match common.peer_certificates() {
        Some(chain) => identify(Shown { chain, sni: sni.as_deref(), resumed })?,
        None => None,
    };
    Ok(TlsFacts {
        version,
        suite,
        group: common.negotiated_key_exchange_group().map(|group| group.name()),
        alpn: common.alpn_protocol().map(Alpn::of),
        sni,
        resumed,
        peer,
    })
}
