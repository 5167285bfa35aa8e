//! TLS of listeners and clusters as it is compiled: choices, names and paths, nothing read from files.
//!
//! Invariants: paths are absolute; lists of versions, suites and groups fit together; rules for peers are
//! there only where peers' certificates are verified.
//!
//! Not here: the files' contents (`pinion-proxy` reads and reloads them).

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use crate::tls::{IdentityMatch, TrustDomain};

/// `[listeners.tls]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTls {
    /// Whether plain text is taken too.
    pub mode: TlsMode,
    /// What the listener shows, the default first; at least one.
    pub certificates: Box<[CertificateFiles]>,
    /// Protocols in the order of preference; empty offers none.
    pub alpn: Box<[Box<str>]>,
    /// Whether clients show certificates.
    pub client: ClientCertificate,
    /// Whose certificates are believed, and who may come.
    pub trust: Trust,
    /// Versions, suites and groups.
    pub parameters: TlsParameters,
    /// Whether sessions are resumed.
    pub tickets: bool,
    /// When the kernel takes the records.
    pub ktls: Ktls,
    /// How long a handshake may take (connection closed).
    pub handshake_timeout: Duration,
    /// Handshakes at a time, whole proxy (connection closed beyond).
    pub handshakes_max: u64,
}

/// `[clusters.tls]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterTls {
    /// The name to ask for and to verify; `None` is the endpoint's or the request's host.
    pub server_name: Option<Box<str>>,
    /// What the proxy shows when it is asked.
    pub certificate: Option<CertificateFiles>,
    /// Protocols in the order of preference; empty offers none.
    pub alpn: Box<[Box<str>]>,
    /// Whose certificates are believed, and who may answer. With rules for peers the name is not verified.
    pub trust: Trust,
    /// Versions, suites and groups.
    pub parameters: TlsParameters,
    /// Whether sessions are resumed.
    pub resumption: bool,
    /// When the kernel takes the records.
    pub ktls: Ktls,
}

/// A certificate chain with its key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CertificateFiles {
    /// The chain as PEM, the leaf first.
    pub certificate: PathBuf,
    /// The key as PEM.
    pub private_key: PathBuf,
    /// A DER-encoded OCSP response to staple.
    pub ocsp: Option<PathBuf>,
}

/// Whose certificates are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Where roots come from.
    pub roots: Roots,
    /// Revocation lists (PEM or DER).
    pub crl: Box<[PathBuf]>,
    /// Who may come; empty is everyone who is verified.
    pub permitted: Box<[IdentityMatch]>,
}

/// Where roots come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Roots {
    /// Nowhere: peers' certificates are not asked for (listeners).
    #[default]
    None,
    /// What the operating system believes (clusters).
    System,
    /// PEM files.
    Files(Box<[PathBuf]>),
    /// SPIFFE: a bundle for each trust domain; a certificate is verified with the one its id names.
    Spiffe(Box<[(TrustDomain, PathBuf)]>),
}

/// Whether a listener takes plain text beside TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// TLS only.
    Strict,
    /// TLS and plain text, told apart by the first byte.
    Permissive,
}

impl TlsMode {
    /// The word of the configuration.
    pub const fn label(self) -> &'static str {
        match self {
            TlsMode::Strict => "strict",
            TlsMode::Permissive => "permissive",
        }
    }
}

/// Whether clients show certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificate {
    /// They are not asked.
    None,
    /// They are asked, and one that is shown must be good.
    Request,
    /// They must.
    Require,
}

impl ClientCertificate {
    /// The word of the configuration.
    pub const fn label(self) -> &'static str {
        match self {
            ClientCertificate::None => "none",
            ClientCertificate::Request => "request",
            ClientCertificate::Require => "require",
        }
    }
}

/// When the kernel takes over the records of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ktls {
    /// Never.
    Off,
    /// Where the kernel can do all of it, once a connection moves much.
    Auto,
    /// Right after the handshake; the proxy does not start without the kernel's support.
    On,
}

impl Ktls {
    /// The word of the configuration.
    pub const fn label(self) -> &'static str {
        match self {
            Ktls::Off => "off",
            Ktls::Auto => "auto",
            Ktls::On => "on",
        }
    }
}

/// Versions, suites and groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsParameters {
    /// The least version.
    pub min_version: TlsVersion,
    /// The greatest version.
    pub max_version: TlsVersion,
    /// Cipher suites in the order of preference.
    pub suites: Box<[CipherSuite]>,
    /// Key exchange groups in the order of preference.
    pub groups: Box<[Group]>,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// RFC 5246, with the extended master secret.
    Tls12,
    /// RFC 8446.
    Tls13,
}

/// A cipher suite. Only those with forward secrecy and authenticated encryption exist here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "their names are the registry's")]
pub enum CipherSuite {
    Tls13Aes128GcmSha256,
    Tls13Aes256GcmSha384,
    Tls13Chacha20Poly1305Sha256,
    EcdheEcdsaAes128GcmSha256,
    EcdheEcdsaAes256GcmSha384,
    EcdheEcdsaChacha20Poly1305Sha256,
    EcdheRsaAes128GcmSha256,
    EcdheRsaAes256GcmSha384,
    EcdheRsaChacha20Poly1305Sha256,
}

impl CipherSuite {
    /// Every suite in the default order: AES-128 before AES-256, which costs more and protects nothing
    /// that AES-128 leaves open.
    pub const ALL: [CipherSuite; 9] = [
        CipherSuite::Tls13Aes128GcmSha256,
        CipherSuite::Tls13Aes256GcmSha384,
        CipherSuite::Tls13Chacha20Poly1305Sha256,
        CipherSuite::EcdheEcdsaAes128GcmSha256,
        CipherSuite::EcdheEcdsaAes256GcmSha384,
        CipherSuite::EcdheEcdsaChacha20Poly1305Sha256,
        CipherSuite::EcdheRsaAes128GcmSha256,
        CipherSuite::EcdheRsaAes256GcmSha384,
        CipherSuite::EcdheRsaChacha20Poly1305Sha256,
    ];

    /// The version that the suite belongs to.
    pub const fn version(self) -> TlsVersion {
        match self {
            CipherSuite::Tls13Aes128GcmSha256
            | CipherSuite::Tls13Aes256GcmSha384
            | CipherSuite::Tls13Chacha20Poly1305Sha256 => TlsVersion::Tls13,
            _ => TlsVersion::Tls12,
        }
    }
}

/// A group for the key exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Post-quantum and classical together (ML-KEM-768, X25519).
    X25519MlKem768,
    /// Post-quantum and classical together (ML-KEM-768, P-256).
    Secp256r1MlKem768,
    /// RFC 7748.
    X25519,
    /// P-256.
    Secp256r1,
    /// P-384.
    Secp384r1,
}

impl Group {
    /// The default, in order: what keeps recorded traffic secret from later quantum computers first.
    pub const DEFAULT: [Group; 4] =
        [Group::X25519MlKem768, Group::X25519, Group::Secp256r1, Group::Secp384r1];
}

/// When `X-Forwarded-Client-Cert` goes upstream, and whose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardClientCert {
    /// Never; what a client sends is removed.
    #[default]
    Sanitize,
    /// What a client with a verified certificate sends.
    ForwardOnly,
    /// What a client with a verified certificate sends, and its own certificate after it.
    AppendForward,
    /// The client's own certificate alone.
    SanitizeSet,
    /// What any client sends, verified or not.
    AlwaysForwardOnly,
}

/// Where the document names a file of a listener's or cluster's TLS: for messages about the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFile {
    /// The listener or cluster, by its place in the snapshot.
    pub owner: TlsOwner,
    /// The file, absolute; or [`SYSTEM_ROOTS`].
    pub path: PathBuf,
    /// The bytes of the document.
    pub span: Range<usize>,
}

/// What stands for the system's roots where a file is named.
pub const SYSTEM_ROOTS: &str = "(system roots)";

/// Whose TLS it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TlsOwner {
    /// The listener at this place.
    Listener(usize),
    /// The cluster at this place.
    Cluster(usize),
}
