//! The certificate that proxies show to TLS clients: ECDSA P-256, made for one run of this program.
//!
//! ECDSA P-256 because it is what a mesh and most public sites use; with RSA the signature alone would cost
//! more than everything else of a handshake.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256};

use crate::Problem;

/// Files in PEM.
pub(super) struct Certificate {
    /// The authority that clients trust.
    pub(super) authority: PathBuf,
    /// The proxy's certificate.
    pub(super) chain: PathBuf,
    /// Its private key.
    pub(super) key: PathBuf,
    /// Both in one file, which is what HAProxy wants.
    pub(super) bundle: PathBuf,
}

impl Certificate {
    /// Makes one for loopback and writes it into `folder`.
    ///
    /// # Errors
    /// The files can't be written.
    pub(super) fn make(folder: &Path) -> Result<Self, Problem> {
        let failed = |e: rcgen::Error| format!("no certificate: {e}");
        let pair = || KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed);
        let mut authority = CertificateParams::new(Vec::new()).map_err(failed)?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = pair()?;
        let authority_pem = authority.self_signed(&authority_key).map_err(failed)?.pem();
        let issuer = Issuer::from_params(&authority, &authority_key);
        let key = pair()?;
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let leaf = CertificateParams::new(names).map_err(failed)?;
        let chain = leaf.signed_by(&key, &issuer).map_err(failed)?.pem();
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::write(&path, text).map_err(|e| format!("can't write {}: {e}", path.display()))?;
            Ok::<_, Problem>(path)
        };
        let key = key.serialize_pem();
        Ok(Certificate {
            authority: write("authority.pem", &authority_pem)?,
            bundle: write("bundle.pem", &format!("{chain}{key}"))?,
            chain: write("web.pem", &chain)?,
            key: write("web.key", &key)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let made = Certificate::make(folder.path()).unwrap();
        let text = |path: &Path| std::fs::read_to_string(path).unwrap();
        assert_eq!(text(&made.bundle), text(&made.chain) + &text(&made.key));
        assert_ne!(text(&made.authority), text(&made.chain));
        assert!(text(&made.key).contains("PRIVATE KEY"));
    }
}
