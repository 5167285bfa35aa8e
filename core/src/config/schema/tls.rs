//! The keys of `[listeners.tls]` and `[clusters.tls]`.

use serde_json::{Value as Json, json};
use toml::Spanned;
use toml::de::DeValue;

use super::super::problem::Problems;
use super::super::read::{
    At, Entries, Fields, Preset, Property, Read, Section, read_section, section, section_schema, text,
    wrong_type,
};
use super::super::snapshot::{
    CipherSuite, ClientCertificate, ForwardClientCert, Group, Ktls, TlsMode, TlsVersion,
};
use super::super::units::Time;
use super::super::values::words;
use super::kinds::OneOrMore;
use super::seconds;
use crate::limits;
use crate::tls::IdentityMatch;

section! {
    /// `[listeners.tls]`.
    ListenerTls = "[listeners.tls]" {
        /// The certificate chain, a PEM file, the listener's own certificate first.
        may certificate: String;
        /// The certificate's key, a PEM file.
        may private_key: String;
        /// A DER file with the certificate's OCSP response, which is stapled.
        may ocsp: String;
        /// More certificates. The one whose names fit the client's server name is shown, else the first of all.
        many certificates: CertificateEntry;
        /// Whether the port takes TLS alone (`strict`) or plain text too (`permissive`).
        has mode: TlsMode = TlsMode::Strict;
        /// Protocols to agree on, in the order of preference. Default: what the listener speaks.
        may alpn: Vec<At<String>>;
        /// PEM files with the roots of clients' certificates. Given alone it makes a certificate required.
        may client_ca: OneOrMore;
        /// SPIFFE: the bundle (PEM or JSON) of each trust domain whose clients may come. In place of `client_ca`.
        may trust_bundles: Entries<String>;
        /// Whether clients must, may or need not show a certificate. Default: `require` with `client_ca` or `trust_bundles`, else `none`.
        may client_certificate: ClientCertificate;
        /// Which verified clients may come, by SPIFFE id or DNS name. Default: all.
        may permitted_peers: Vec<At<IdentityMatch>>;
        /// Revocation lists (PEM or DER files) that cover every issuer of clients' chains.
        may crl: OneOrMore;
        /// The least version of TLS.
        has min_version: TlsVersion = TlsVersion::Tls12;
        /// The greatest version of TLS.
        has max_version: TlsVersion = TlsVersion::Tls13;
        /// Cipher suites in the order of preference. Default: all there are.
        may cipher_suites: Vec<At<CipherSuite>>;
        /// Key exchange groups in the order of preference.
        has groups: Vec<At<Group>> = Group::DEFAULT.into_iter().map(At::preset).collect();
        /// Whether clients may resume sessions, on any shard.
        has tickets: bool = true;
        /// Whether the kernel takes over the records.
        has ktls: Ktls = Ktls::Off;
        /// How long a handshake may take: the connection is closed.
        has handshake_timeout: Time = seconds(10);
        /// Handshakes at a time, all shards together. More connections are closed.
        has handshakes_max: u64 = limits::LISTENER_HANDSHAKES_DEFAULT;
    }
}

section! {
    /// An item of `listeners.tls.certificates`.
    CertificateEntry = "listeners.tls.certificates" {
        /// The certificate chain, a PEM file, the listener's own certificate first.
        need certificate: String;
        /// The certificate's key, a PEM file.
        need private_key: String;
        /// A DER file with the certificate's OCSP response, which is stapled.
        may ocsp: String;
    }
}

section! {
    /// `[clusters.tls]`.
    ClusterTls = "[clusters.tls]" {
        /// PEM files with the roots of endpoints' certificates. Default: the system's roots.
        may ca: OneOrMore;
        /// SPIFFE: the bundle (PEM or JSON) of each trust domain whose endpoints may answer. In place of `ca`.
        may trust_bundles: Entries<String>;
        /// The name to ask for and to verify. Default: the request's host.
        may server_name: String;
        /// Which verified endpoints may answer, by SPIFFE id or DNS name, in place of verifying the name.
        may permitted_peers: Vec<At<IdentityMatch>>;
        /// The certificate chain to show, a PEM file, the proxy's own certificate first.
        may certificate: String;
        /// The certificate's key, a PEM file.
        may private_key: String;
        /// Protocols to agree on, in the order of preference. Default: what the cluster speaks.
        may alpn: Vec<At<String>>;
        /// Revocation lists (PEM or DER files) that cover every issuer of endpoints' chains.
        may crl: OneOrMore;
        /// The least version of TLS.
        has min_version: TlsVersion = TlsVersion::Tls12;
        /// The greatest version of TLS.
        has max_version: TlsVersion = TlsVersion::Tls13;
        /// Cipher suites in the order of preference. Default: all there are.
        may cipher_suites: Vec<At<CipherSuite>>;
        /// Key exchange groups in the order of preference.
        has groups: Vec<At<Group>> = Group::DEFAULT.into_iter().map(At::preset).collect();
        /// Whether sessions are resumed.
        has resumption: bool = true;
        /// Whether the kernel takes over the records.
        has ktls: Ktls = Ktls::Off;
    }
}

words!(TlsMode, "`strict` or `permissive`" {
    "strict" => TlsMode::Strict,
    "permissive" => TlsMode::Permissive,
});

words!(ClientCertificate, "`require`, `request` or `none`" {
    "require" => ClientCertificate::Require,
    "request" => ClientCertificate::Request,
    "none" => ClientCertificate::None,
});

words!(Ktls, "`off`, `auto` or `on`" {
    "off" => Ktls::Off,
    "auto" => Ktls::Auto,
    "on" => Ktls::On,
});

words!(TlsVersion, "`1.2` or `1.3`" {
    "1.2" => TlsVersion::Tls12,
    "1.3" => TlsVersion::Tls13,
});

words!(CipherSuite, "a cipher suite such as \"TLS_AES_128_GCM_SHA256\"" {
    "TLS_AES_128_GCM_SHA256" => CipherSuite::Tls13Aes128GcmSha256,
    "TLS_AES_256_GCM_SHA384" => CipherSuite::Tls13Aes256GcmSha384,
    "TLS_CHACHA20_POLY1305_SHA256" => CipherSuite::Tls13Chacha20Poly1305Sha256,
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256" => CipherSuite::EcdheEcdsaAes128GcmSha256,
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384" => CipherSuite::EcdheEcdsaAes256GcmSha384,
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256" => CipherSuite::EcdheEcdsaChacha20Poly1305Sha256,
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" => CipherSuite::EcdheRsaAes128GcmSha256,
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384" => CipherSuite::EcdheRsaAes256GcmSha384,
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256" => CipherSuite::EcdheRsaChacha20Poly1305Sha256,
});

words!(Group, "a key exchange group such as \"X25519MLKEM768\"" {
    "X25519MLKEM768" => Group::X25519MlKem768,
    "SECP256R1MLKEM768" => Group::Secp256r1MlKem768,
    "X25519" => Group::X25519,
    "secp256r1" => Group::Secp256r1,
    "secp384r1" => Group::Secp384r1,
});

words!(ForwardClientCert, "`sanitize`, `forward_only`, `append_forward`, `sanitize_set` or `always_forward_only`" {
    "sanitize" => ForwardClientCert::Sanitize,
    "forward_only" => ForwardClientCert::ForwardOnly,
    "append_forward" => ForwardClientCert::AppendForward,
    "sanitize_set" => ForwardClientCert::SanitizeSet,
    "always_forward_only" => ForwardClientCert::AlwaysForwardOnly,
});

/// What of a client's certificate upstreams are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum CertDetail {
    Subject,
    Uri,
    Dns,
    Cert,
    Chain,
}

words!(CertDetail, "`subject`, `uri`, `dns`, `cert` or `chain`" {
    "subject" => CertDetail::Subject,
    "uri" => CertDetail::Uri,
    "dns" => CertDetail::Dns,
    "cert" => CertDetail::Cert,
    "chain" => CertDetail::Chain,
});

impl Read for IdentityMatch {
    const EXPECTED: &'static str = "a peer such as \"spiffe://example.org/ns/a/sa/b\", \"spiffe://example.org/ns/a/*\" or \"dns:a.example.org\"";

    fn read(value: &Spanned<DeValue<'_>>, problems: &mut Problems) -> Option<Self> {
        let word = text(value, Self::EXPECTED, problems)?;
        match word.parse() {
            Ok(read) => Some(read),
            Err(error) => {
                let error: crate::tls::identity::MatchError = error;
                problems
                    .error(value.span(), format!("`{word}` names no peer: {error}"))
                    .suggest(format!("expected {}", Self::EXPECTED));
                None
            }
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^(spiffe://|dns:).+$" })
    }
}
