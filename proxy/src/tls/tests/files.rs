//! Files with something wrong: what is said, where, and whether they are taken.

use std::os::unix::fs::PermissionsExt;

use super::*;

/// Expects one problem about the file written as `file` in the document.
#[track_caller]
fn check(world: &World, tls: &str, severity: Severity, file: &str, said: &[&str]) {
    let text = listener(tls);
    let problems = match world.load(&text) {
        Ok((_, warnings)) => warnings,
        Err(problems) => problems,
    };
    let list: Vec<_> = problems.iter().filter(|problem| problem.severity == severity).collect();
    let [problem] = &list[..] else { panic!("{problems}") };
    assert_eq!(&text[problem.span.clone()], format!("\"{file}\""), "{problems}");
    let shown = format!("{} {}", problem.message, problem.suggestion.clone().unwrap_or_default());
    assert!(said.iter().all(|part| shown.contains(part)), "{shown}");
    assert!(problems.to_string().contains("pinion.toml:"), "with its place");
}

#[test]
fn errors() {
    let (world, ca) = (World::new(), Authority::new("root"));
    let (a, b) = (ca.issue(&["a.example"]), ca.issue(&["b.example"]));
    world.identity("a", &a);
    world.identity("b", &b);
    let error = |tls: &str, file: &str, said: &[&str]| check(&world, tls, Severity::Error, file, said);
    error(&pair("a").replace("a.pem", "no.pem"), "no.pem", &["there is no file", "no.pem"]);
    error(&pair("a").replace("a.key", "b.key"), "b.key", &["does not belong", "a.pem"]);
    error(&pair("a").replace("a.key", "a.pem"), "a.pem", &["no private key"]);
    error(&pair("a").replace("a.pem", "a.key"), "a.key", &["no certificate", "BEGIN CERTIFICATE"]);
    world.write("empty", "");
    error(&pair("a").replace("a.pem", "empty"), "empty", &["no certificate"]);
    world.write("cut", &a.chain[..200]);
    error(&pair("a").replace("a.pem", "cut"), "cut", &["damaged"]);
    world.write("garbage", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    error(&pair("a").replace("a.pem", "garbage"), "garbage", &["damaged"]);
    world.write("order", format!("{}{}", ca.pem(), a.chain));
    error(&pair("a").replace("a.pem", "order"), "a.key", &["certificate 2 of the file", "must come first"]);
    world.write(
        "locked",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    error(&pair("a").replace("a.key", "locked"), "locked", &["encrypted", "openssl pkey"]);
    world.write("two", format!("{}{}", a.key, b.key));
    error(&pair("a").replace("a.key", "two"), "two", &["several keys"]);
    fs::create_dir(world.path().join("folder")).unwrap();
    error(&pair("a").replace("a.pem", "folder"), "folder", &["can't be read"]);
    error(&format!("{}client_ca = \"a.key\"", pair("a")), "a.key", &["no certificate"]);
    error(&format!("{}client_ca = \"a.pem\"\ncrl = \"b.pem\"", pair("a")), "b.pem", &["revocation list"]);
    error(&format!("{}ocsp = \"b.pem\"", pair("a")), "b.pem", &["no OCSP response", "openssl ocsp"]);
}

#[test]
fn a_file_that_may_not_be_read_says_so() {
    let error = std::io::ErrorKind::PermissionDenied.into();
    let finding = super::super::files::unreadable(Path::new("/etc/pinion/a.key"), &error);
    assert_eq!(finding.message, "`/etc/pinion/a.key` may not be read");
    assert!(finding.help.unwrap().contains("the user that runs the proxy"));
}

#[test]
fn warnings() {
    let (world, ca) = (World::new(), Authority::new("root"));
    let odd = Odd::default();
    let warning = |tls: &str, file: &str, said: &[&str]| check(&world, tls, Severity::Warning, file, said);
    world.identity("old", &ca.issue_odd(&["a.example"], Odd { expired: true, ..odd }));
    warning(&pair("old"), "old.pem", &["has expired", "renew"]);
    world.identity("early", &ca.issue_odd(&["a.example"], Odd { not_yet: true, ..odd }));
    warning(&pair("early"), "early.pem", &["not valid yet"]);
    world.identity("gap", &ca.below("middle").issue(&["a.example"]).with(&[&ca]));
    warning(&pair("gap"), "gap.pem", &["did not issue the one before it"]);
    let good = ca.issue(&["a.example"]);
    world.identity("open", &good);
    fs::set_permissions(world.path().join("open.key"), fs::Permissions::from_mode(0o644)).unwrap();
    warning(&pair("open"), "open.key", &["mode 644", "chmod"]);
}

#[test]
fn what_is_in_order_is_taken_in_silence() {
    let (world, ca) = (World::new(), Authority::new("root"));
    let middle = ca.below("middle");
    world.write("ca.pem", ca.pem());
    world.identity("a", &middle.issue(&["a.example"]).with(&[&middle, &ca]));
    world.write("crl.pem", ca.revoke(&[]));
    let (_, warnings) = world
        .try_server(&format!("{}client_ca = \"ca.pem\"\ncrl = \"crl.pem\"", pair("a")))
        .map_err(|problems| problems.to_string())
        .unwrap();
    assert!(warnings.is_empty(), "{warnings}");
}

#[test]
fn several_problems_are_said_at_once() {
    let world = World::new();
    let tls = format!("{}client_ca = \"nowhere.pem\"", pair("no"));
    let problems = world.try_server(&tls).err().unwrap();
    assert_eq!(problems.len(), 3, "{problems}");
}

/// One DER element.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    match content.len() {
        length @ 0..=127 => bytes.push(length as u8),
        length => bytes.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    bytes.extend_from_slice(content);
    bytes
}

/// An OCSP response that holds until `next`, unsigned: nothing here verifies it.
fn response(status: u8, next: Option<&str>) -> Vec<u8> {
    let time = |text: &str| der(0x18, text.as_bytes());
    let cert_id = der(0x30, &[der(0x30, &[]), der(4, &[1]), der(4, &[2]), der(2, &[3])].concat());
    let mut single = [cert_id, der(0x80, &[]), time("20200101000000Z")].concat();
    single.extend(next.map(|next| der(0xA0, &time(next))).unwrap_or_default());
    let responses = der(0x30, &der(0x30, &single));
    let data = der(0x30, &[der(0xA2, &der(4, &[9])), time("20200101000000Z"), responses].concat());
    let basic = der(0x30, &[data, der(0x30, &[]), der(3, &[0])].concat());
    let oid = der(6, &[0x2B, 6, 1, 5, 5, 7, 0x30, 1, 1]);
    let bytes = der(0xA0, &der(0x30, &[oid, der(4, &basic)].concat()));
    der(0x30, &[der(0x0A, &[status]), bytes].concat())
}

#[test]
fn ocsp_responses_are_stapled_until_they_expire() {
    let next = |bytes: &[u8]| super::super::ocsp::next_update(bytes);
    assert_eq!(next(&response(0, Some("20300101000000Z"))), Ok(Some(1_893_456_000)));
    assert_eq!(next(&response(0, None)), Ok(None));
    assert_eq!(next(&response(6, None)), Err("the responder has refused to answer"));
    let whole = response(0, Some("20300101000000Z"));
    for cut in 0..whole.len() {
        assert!(next(&whole[..cut]).is_err(), "{cut}");
    }

    let (world, ca) = (World::new(), Authority::new("root"));
    world.write("ca.pem", ca.pem());
    world.identity("a", &ca.issue(&["a.example"]));
    let staple = |world: &World| {
        let server = world.server(&format!("{}ocsp = \"staple.der\"", pair("a")));
        let seen = Arc::new(Seen::default());
        let mut config = (*world.client("ca = \"ca.pem\"").current().config).clone();
        config.dangerous().set_certificate_verifier(Arc::clone(&seen) as Arc<_>);
        let name = ServerName::try_from("a.example").unwrap();
        shake_configs(&server.current().config, &Arc::new(config), name).ok().unwrap();
        seen.0.lock().unwrap().clone()
    };
    let good = response(0, Some("39990101000000Z"));
    world.write("staple.der", &good);
    assert_eq!(staple(&world), good);
    world.write("staple.der", response(0, Some("20210101000000Z")));
    assert_eq!(staple(&world), b"", "an expired one is left out");
    let tls = format!("{}ocsp = \"staple.der\"", pair("a"));
    check(&world, &tls, Severity::Warning, "staple.der", &["has expired and is not stapled"]);
}

/// Keeps the staple and believes everything.
#[derive(Debug, Default)]
struct Seen(std::sync::Mutex<Vec<u8>>);

mod seen {
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{DigitallySignedStruct, Error, SignatureScheme};

    impl ServerCertVerifier for super::Seen {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            ocsp: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            *self.0.lock().unwrap() = ocsp.to_vec();
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ECDSA_NISTP256_SHA256]
        }
    }
}
