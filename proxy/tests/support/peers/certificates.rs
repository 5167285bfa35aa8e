//! Certificates for one test, as PEM files: two authorities and what they signed.
//!
//! | file | who |
//! |---|---|
//! | `ca`, `stranger-ca` | the authority that both sides trust, and one that nobody does |
//! | `server` | localhost, 127.0.0.1 and where this process's tests listen, with the identity `spiffe://mesh.test/server` |
//! | `wildcard` | `*.example.test` |
//! | `client` | a client with the identity `spiffe://mesh.test/client` |
//! | `stranger` | a client with the same identity, signed by the other authority |

use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use tempfile::TempDir;

/// Files of certificates (`NAME.pem`) and keys (`NAME.key`).
pub struct Certificates {
    folder: TempDir,
}

/// Name, names or addresses it is for, and its identity.
const LEAVES: [(&str, &[&str], &str); 3] = [
    ("server", &["localhost", "127.0.0.1"], "spiffe://mesh.test/server"),
    ("wildcard", &["*.example.test"], "spiffe://mesh.test/wildcard"),
    ("client", &[], "spiffe://mesh.test/client"),
];

impl Certificates {
    /// Makes all of them, ECDSA P-256.
    pub fn new() -> Self {
        let made = Certificates { folder: tempfile::tempdir().expect("a folder") };
        let (ca, key) = made.authority("ca");
        let issuer = Issuer::from_params(&ca, &key);
        for (name, names, identity) in LEAVES {
            made.leaf(name, names, identity, &issuer);
        }
        let (ca, key) = made.authority("stranger-ca");
        made.leaf("stranger", &[], "spiffe://mesh.test/client", &Issuer::from_params(&ca, &key));
        made
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The path of a file, for command lines and configurations.
    pub fn path(&self, file: &str) -> String {
        self.folder.path().join(file).display().to_string()
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.folder.path().join(file), text).expect("written");
    }

    fn authority(&self, name: &str) -> (CertificateParams, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        self.write(&format!("{name}.pem"), &params.self_signed(&key).expect("signed").pem());
        (params, key)
    }

    fn leaf(&self, name: &str, names: &[&str], identity: &str, issuer: &Issuer<'_, &KeyPair>) {
        let key = KeyPair::generate().expect("a key");
        let mut names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        if name == "server" {
            names.push(crate::support::free_address().ip().to_string());
        }
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names.push(SanType::URI(identity.try_into().expect("ASCII")));
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.write(&format!("{name}.pem"), &params.signed_by(&key, issuer).expect("signed").pem());
        let key_file = format!("{name}.key");
        self.write(&key_file, &key.serialize_pem());
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(self.path(&key_file), private).expect("permitted");
    }
}
