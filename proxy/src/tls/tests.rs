//! Contexts against each other: handshakes in memory, over files that these tests write.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pinion_core::config::snapshot::{Address, Snapshot};
use pinion_core::config::{Ids, Problems, Severity, compile};
use pinion_core::tls::PeerIdentity;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, Error, HandshakeKind, ServerConnection};

use super::client::ClientTls;
use super::handshake::Shown;
use super::server::ServerTls;
use super::store::TlsStore;
use super::verify::PeerRefused;

#[path = "../../tests/support/pki.rs"]
mod pki;

mod files;
mod handshakes;
mod identities;
mod rotation;

use pki::{Authority, Identity, Odd};

/// A folder of files and what is compiled from them.
struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        World { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn identity(&self, name: &str, identity: &Identity) {
        identity.write(self.path(), name);
    }

    fn compile(&self, text: &str) -> Snapshot {
        compile(text, "pinion.toml", self.path(), &mut Ids::default(), 1, None)
            .map_err(|problems| problems.to_string())
            .unwrap()
    }

    fn load(&self, text: &str) -> Result<(TlsStore, Problems), Problems> {
        TlsStore::load(&self.compile(text), None)
    }

    fn try_server(&self, tls: &str) -> Result<(Arc<ServerTls>, Problems), Problems> {
        let (store, warnings) = self.load(&listener(tls))?;
        Ok((Arc::clone(&store.listeners[0].as_ref().unwrap().tls), warnings))
    }

    fn server(&self, tls: &str) -> Arc<ServerTls> {
        self.try_server(tls).map_err(|problems| problems.to_string()).unwrap().0
    }

    fn client(&self, tls: &str) -> Arc<ClientTls> {
        let (store, _) = self.load(&cluster(tls)).map_err(|problems| problems.to_string()).unwrap();
        Arc::clone(&store.clusters[0].as_ref().unwrap().tls)
    }
}

fn listener(tls: &str) -> String {
    format!(
        "[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\nforwarding = {{ client_cert_details = \
         [\"uri\"] }}\n[listeners.tls]\n{tls}\n[[routes]]\ndirect_response = {{ status = 200 }}\n"
    )
}

fn cluster(tls: &str) -> String {
    format!(
        "[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n[[routes]]\ncluster = \"c\"\n[[clusters]]\n\
         name = \"c\"\nendpoints = [\"127.0.0.1:1\"]\n[clusters.tls]\n{tls}\n"
    )
}

/// `certificate` and `private_key` of the identity written as `name`.
fn pair(name: &str) -> String {
    format!("certificate = \"{name}.pem\"\nprivate_key = \"{name}.key\"\n")
}

/// What a handshake came to.
struct Done {
    client: ClientConnection,
    server: ServerConnection,
}

impl Done {
    /// The first name of the certificate that the server showed.
    fn shown(&self) -> String {
        let chain = self.client.peer_certificates().unwrap();
        super::identity::CertFacts::read(&chain[0]).unwrap().dns.join(" ")
    }

    fn resumed(&self) -> bool {
        self.client.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// What the server makes of its client.
    fn admit(&self, server: &ServerTls) -> Result<Option<PeerIdentity>, Error> {
        let Some(chain) = self.server.peer_certificates() else { return Ok(None) };
        let resumed = self.server.handshake_kind() == Some(HandshakeKind::Resumed);
        server.current().admit(Shown { chain, sni: self.server.server_name(), resumed })
    }
}

/// A handshake in memory; fails with the error of the side that refused, and says which.
fn shake(server: &ServerTls, client: &ClientTls, host: &str) -> Result<Done, (&'static str, Error)> {
    let name = client.name(&Address::Tcp("127.0.0.1:1".parse().unwrap()), host).unwrap();
    shake_configs(&server.current().config, &client.current().config, name)
}

fn shake_configs(
    server: &Arc<rustls::ServerConfig>,
    client: &Arc<rustls::ClientConfig>,
    name: ServerName<'static>,
) -> Result<Done, (&'static str, Error)> {
    let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
    // Until both are quiet: tickets come after the handshake.
    loop {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        let mut answer = Vec::new();
        if !wire.is_empty() {
            let mut rest = &wire[..];
            while !rest.is_empty() {
                server.read_tls(&mut rest).unwrap();
                server.process_new_packets().map_err(|error| ("server", error))?;
            }
        }
        server.write_tls(&mut answer).unwrap();
        if wire.is_empty() && answer.is_empty() {
            break;
        }
        let mut rest = &answer[..];
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets().map_err(|error| ("client", error))?;
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok(Done { client, server })
}

/// Which side refused, and why: the label of ours, or rustls's word.
fn refusal(result: Result<Done, (&'static str, Error)>) -> String {
    match result {
        Ok(_) => "nobody".to_owned(),
        Err((side, error)) => match PeerRefused::of(&error) {
            Some(refused) => format!("{side}: {}", refused.reason().label()),
            None => {
                let text = format!("{error:?}");
                let end = text.find(" {").unwrap_or(text.len());
                format!("{side}: {}", &text[..end])
            }
        },
    }
}
