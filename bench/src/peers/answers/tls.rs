//! The TLS client of the checks: what it offers is what the load generator will offer.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, RootCertStore, StreamOwned,
};

use crate::Problem;
use crate::peers::address::{Address, Stream};
use crate::peers::certificate::Certificate;
use crate::peers::http::{Connection, PATIENCE};
use crate::peers::traffic::Traffic;

/// Settings of clients that trust `certificate` and offer what `traffic` offers.
///
/// # Errors
/// The certificate can't be read.
pub(super) fn settings(traffic: Traffic, certificate: &Certificate) -> Result<Arc<ClientConfig>, Problem> {
    let failed = |e: &dyn std::fmt::Display| format!("no TLS client: {e}");
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(&certificate.authority).map_err(|e| failed(&e))?;
    roots.add(authority).map_err(|e| failed(&e))?;
    let mut provider = aws_lc_rs::default_provider();
    let name = |group: &dyn rustls::crypto::SupportedKxGroup| format!("{:?}", group.name());
    provider.kx_groups.retain(|group| name(*group).eq_ignore_ascii_case(traffic.group()));
    provider.cipher_suites.retain(|suite| suite.suite() == CipherSuite::TLS13_AES_128_GCM_SHA256);
    let builder = ClientConfig::builder_with_provider(Arc::<CryptoProvider>::new(provider));
    let builder = builder.with_protocol_versions(&[&rustls::version::TLS13]).map_err(|e| failed(&e))?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![if traffic.is_http2() { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    Ok(Arc::new(config))
}

/// The name that the certificate is for.
pub(super) fn name() -> ServerName<'static> {
    ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into())
}

/// A connection in TLS with its handshake done.
///
/// # Errors
/// Nobody listens there, or no agreement on what is offered.
pub(super) fn open(address: &Address, settings: &Arc<ClientConfig>) -> Result<Connection, Problem> {
    session(address, settings).map(|session| Connection::over(Stream::Tls(Box::new(session))))
}

fn session(
    address: &Address,
    settings: &Arc<ClientConfig>,
) -> Result<StreamOwned<ClientConnection, std::net::TcpStream>, Problem> {
    let stream =
        address.connect(PATIENCE).map_err(|e| format!("can't connect to {address}: {e}"))?.into_tcp()?;
    let session = ClientConnection::new(Arc::clone(settings), name()).map_err(|e| e.to_string())?;
    let mut session = StreamOwned::new(session, stream);
    while session.conn.is_handshaking() {
        session.conn.complete_io(&mut session.sock).map_err(|e| format!("no TLS handshake: {e}"))?;
    }
    judge(&session.conn, settings)?;
    Ok(session)
}

/// Whether what was agreed on is what was offered.
///
/// # Errors
/// It is something else.
pub(super) fn judge(session: &ClientConnection, settings: &ClientConfig) -> Result<(), Problem> {
    let agreed = session.alpn_protocol();
    if session.protocol_version() != Some(ProtocolVersion::TLSv1_3)
        || agreed != settings.alpn_protocols.first().map(Vec::as_slice)
    {
        let protocol = String::from_utf8_lossy(agreed.unwrap_or_default()).into_owned();
        return Err(format!("TLS agreed on {:?} and `{protocol}`", session.protocol_version()));
    }
    Ok(())
}

/// Whether a second connection resumes the session of the first one.
///
/// # Errors
/// It does not, or there is no connection.
pub(super) fn check_resumption(address: &Address, settings: &Arc<ClientConfig>) -> Result<(), Problem> {
    let request = crate::peers::http::request(&address.authority(), "/");
    // Tickets come after the handshake, with the answer at the latest.
    open(address, settings)?.content(&request)?;
    let again = session(address, settings)?;
    match again.conn.handshake_kind() {
        Some(HandshakeKind::Resumed) => Ok(()),
        kind => Err(format!("a second connection does not resume the session: {kind:?}")),
    }
}
