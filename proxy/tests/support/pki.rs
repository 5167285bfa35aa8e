//! Authorities and certificates for tests, made when they are needed.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]
#![allow(clippy::unwrap_used, reason = "a test's help fails by panicking")]

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PKCS_RSA_SHA256, RevokedCertParams, SanType, SerialNumber, SignatureAlgorithm, date_time_ymd,
};

/// Issues certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate chain with its key, as PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    pub chain: String,
    pub key: String,
    pub serial: Vec<u8>,
}

/// What is unusual about a certificate.
#[derive(Clone, Copy, Default)]
pub struct Odd {
    pub expired: bool,
    pub not_yet: bool,
    pub is_ca: bool,
    pub rsa: bool,
    /// For servers only.
    pub server_only: bool,
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    params
}

impl Authority {
    /// A root.
    pub fn new(name: &str) -> Self {
        Authority(CertifiedIssuer::self_signed(ca_params(name), KeyPair::generate().unwrap()).unwrap())
    }

    /// An authority whose certificate this one issues.
    pub fn below(&self, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        Authority(CertifiedIssuer::signed_by(ca_params(name), key, &self.0).unwrap())
    }

    /// The authority's certificate.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// The authority's certificate, encoded.
    pub fn der(&self) -> Vec<u8> {
        self.0.der().to_vec()
    }

    /// A certificate for DNS names, IP addresses and URIs (what has `://` in it).
    pub fn issue(&self, names: &[&str]) -> Identity {
        self.issue_odd(names, Odd::default())
    }

    /// An unusual certificate.
    pub fn issue_odd(&self, names: &[&str], odd: Odd) -> Identity {
        let algorithm: &'static SignatureAlgorithm =
            if odd.rsa { &PKCS_RSA_SHA256 } else { &PKCS_ECDSA_P256_SHA256 };
        let key = KeyPair::generate_for(algorithm).unwrap();
        let mut params = if odd.is_ca { ca_params("leaf") } else { CertificateParams::default() };
        let serial: [u8; 8] = std::array::from_fn(|place| key.public_key_raw()[place + 8] & 0x7F | 1);
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.distinguished_name.push(DnType::CommonName, names.first().copied().unwrap_or("nobody"));
        params.distinguished_name.push(DnType::OrganizationName, "Pinion, tests");
        params.subject_alt_names = names
            .iter()
            .map(|name| match name.parse() {
                Ok(ip) => SanType::IpAddress(ip),
                Err(_) if name.contains("://") => SanType::URI((*name).try_into().unwrap()),
                Err(_) => SanType::DnsName((*name).try_into().unwrap()),
            })
            .collect();
        if !odd.is_ca {
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        if !odd.server_only {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        }
        params.use_authority_key_identifier_extension = true;
        if odd.expired {
            (params.not_before, params.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(2001, 1, 1));
        }
        if odd.not_yet {
            params.not_before = date_time_ymd(4000, 1, 1);
        }
        let cert = params.signed_by(&key, &self.0).unwrap();
        Identity { chain: cert.pem(), key: key.serialize_pem(), serial: serial.to_vec() }
    }

    /// A revocation list of these certificates.
    pub fn revoke(&self, identities: &[&Identity]) -> String {
        let revoked = identities.iter().map(|identity| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&identity.serial),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(4000, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.0).unwrap().pem().unwrap()
    }
}

impl Identity {
    /// With further certificates behind it.
    pub fn with(mut self, issuers: &[&Authority]) -> Self {
        for issuer in issuers {
            self.chain.push_str(&issuer.pem());
        }
        self
    }

    /// Writes `NAME.pem` and `NAME.key` into `folder`; gives their paths.
    pub fn write(&self, folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        let paths = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
        std::fs::write(&paths.0, &self.chain).unwrap();
        write_key(&paths.1, &self.key);
        paths
    }
}

/// Writes a key that only its owner may read.
pub fn write_key(path: &Path, key: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, key).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}
