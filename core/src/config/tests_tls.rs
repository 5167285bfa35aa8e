//! Tables of `[listeners.tls]` and `[clusters.tls]` and what is said about them.

use std::path::Path;

use super::Severity;
use super::snapshot::*;
use super::tests::{check, check_severity, taken};

const PAIR: &str = "certificate = \"c.pem\"\nprivate_key = \"k.pem\"\n";

fn listener(tls: &str) -> String {
    format!(
        "[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n[listeners.tls]\n{tls}\n[[routes]]\n\
         direct_response = {{ status = 200 }}\n"
    )
}

fn cluster(tls: &str) -> String {
    format!(
        "[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n[[routes]]\ncluster = \"c\"\n[[clusters]]\n\
         name = \"c\"\nendpoints = [\"127.0.0.1:1\"]\n[clusters.tls]\n{tls}\n"
    )
}

fn taken_listener(tls: &str) -> ListenerTls {
    taken(&listener(tls)).listeners[0].tls.clone().unwrap()
}

fn taken_cluster(tls: &str) -> ClusterTls {
    taken(&cluster(tls)).clusters[0].tls.clone().unwrap()
}

#[test]
fn a_listener_has_the_documented_defaults() {
    let tls = taken_listener(PAIR);
    assert_eq!(tls.mode, TlsMode::Strict);
    assert_eq!(tls.certificates[0].certificate, Path::new("/etc/pinion/c.pem"));
    assert_eq!(tls.certificates[0].private_key, Path::new("/etc/pinion/k.pem"));
    assert_eq!(&*tls.alpn, ["h2".into(), "http/1.1".into()]);
    assert_eq!((tls.client, tls.ktls, tls.tickets), (ClientCertificate::None, Ktls::Off, true));
    assert_eq!(tls.trust, Trust::default());
    let parameters = &tls.parameters;
    assert_eq!((parameters.min_version, parameters.max_version), (TlsVersion::Tls12, TlsVersion::Tls13));
    assert_eq!(&*parameters.suites, CipherSuite::ALL);
    assert_eq!(parameters.groups[0], Group::X25519MlKem768);
    assert_eq!((tls.handshake_timeout.as_secs(), tls.handshakes_max), (10, 4096));
}

#[test]
fn client_certificates_are_required_where_somebody_is_believed() {
    let client = |more: &str| taken_listener(&format!("{PAIR}{more}")).client;
    assert_eq!(client("client_ca = \"ca.pem\""), ClientCertificate::Require);
    assert_eq!(client("client_ca = [\"a.pem\", \"b.pem\"]"), ClientCertificate::Require);
    assert_eq!(client("trust_bundles = { \"td\" = \"b.pem\" }"), ClientCertificate::Require);
    assert_eq!(
        client("client_ca = \"ca.pem\"\nclient_certificate = \"request\""),
        ClientCertificate::Request
    );
    assert_eq!(client("client_ca = \"ca.pem\"\nclient_certificate = \"none\""), ClientCertificate::None);
}

#[test]
fn files_stand_with_their_places() {
    let text = listener(
        "certificate = \"a\"\nprivate_key = \"b\"\nocsp = \"c\"\nclient_ca = [\"d\", \"e\"]\ncrl = \"f\"\n\
         certificates = [{ certificate = \"g\", private_key = \"h\" }]\n",
    );
    let snapshot = taken(&text);
    let named: Vec<(&str, &str)> = snapshot
        .tls_files
        .iter()
        .map(|file| (file.path.to_str().unwrap(), &text[file.span.clone()]))
        .collect();
    for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        let (path, written) = (format!("/etc/pinion/{name}"), format!("\"{name}\""));
        assert!(named.contains(&(path.as_str(), written.as_str())), "{name}: {named:?}");
    }
    let text = cluster("server_name = \"a.example\"");
    let system = &taken(&text).tls_files[0];
    assert_eq!((system.owner, system.path.as_path()), (TlsOwner::Cluster(0), Path::new(SYSTEM_ROOTS)));
}

#[test]
fn a_cluster_has_the_documented_defaults() {
    let tls = taken_cluster("");
    assert_eq!((tls.server_name, tls.certificate), (None, None));
    assert_eq!(&*tls.alpn, ["http/1.1".into()]);
    assert_eq!(tls.trust.roots, Roots::System);
    assert!(tls.resumption);
    let tls = taken_cluster("server_name = \"A.Example\"\nca = \"ca.pem\"");
    assert_eq!(tls.server_name.as_deref(), Some("a.example"));
    assert_eq!(tls.trust.roots, Roots::Files(["/etc/pinion/ca.pem".into()].into()));
    assert_eq!(taken_cluster("server_name = \"10.0.0.1\"").server_name.as_deref(), Some("10.0.0.1"));
}

#[test]
fn listeners_that_are_refused() {
    let check = |tls: &str, expected: &[(&str, &str)]| check(&listener(tls), expected);
    check("certificate = \"c.pem\"", &[("\"c.pem\"", "a certificate needs its key")]);
    check("private_key = \"k.pem\"", &[("\"k.pem\"", "a key needs its certificate")]);
    check(
        "ocsp = \"o\"\ncertificates = [{ certificate = \"c\", private_key = \"k\" }]",
        &[("\"o\"", "no certificate that this belongs to")],
    );
    let with = |more: &str, expected: &[(&str, &str)]| check(&format!("{PAIR}{more}"), expected);
    with("client_certificate = \"require\"", &[("\"require\"", "whose client certificates … client_ca")]);
    with("permitted_peers = [\"spiffe://td/a\"]", &[("[\"spiffe://td/a\"]", "none is asked for")]);
    with("client_ca = \"a\"\npermitted_peers = []", &[("[]", "nobody is permitted")]);
    with(
        "client_ca = \"a\"\npermitted_peers = [\"spiffe://TD/a\"]",
        &[("\"spiffe://TD/a\"", "a trust domain has only")],
    );
    with("client_ca = \"a\"\npermitted_peers = [\"td/a\"]", &[("\"td/a\"", "names no peer")]);
    with(
        "client_ca = \"a\"\ntrust_bundles = { td = \"b\" }",
        &[("{ td = \"b\" }", "takes the place of `client_ca`")],
    );
    with("trust_bundles = { TD = \"b\" }", &[("TD", "is no trust domain")]);
    with("trust_bundles = {}", &[("{}", "there is no bundle")]);
    with("min_version = \"1.3\"\nmax_version = \"1.2\"", &[("\"1.3\"", "is above")]);
    with("min_version = \"1.1\"", &[("\"1.1\"", "unknown value … `1.2` or `1.3`")]);
    with(
        "cipher_suites = [\"TLS_AES_128_GCM_SHA256\"]",
        &[("[\"TLS_AES_128_GCM_SHA256\"]", "no suite of TLS 1.2")],
    );
    with(
        "cipher_suites = [\"TLS_AES_128_GCM_SHA25\"]\nmin_version = \"1.3\"",
        &[("\"TLS_AES_128_GCM_SHA25\"", "did you mean `TLS_AES_128_GCM_SHA256`")],
    );
    with("groups = []", &[("[]", "no key exchange")]);
    with("groups = [\"X25519MLKEM\"]", &[("\"X25519MLKEM\"", "did you mean `X25519MLKEM768`")]);
    with("alpn = [\"\"]", &[("\"\"", "1 to 255 bytes")]);
    with("handshake_timeout = \"0s\"", &[("\"0s\"", "more than zero")]);
    with("handshakes_max = 0", &[("0", "at least 1")]);
    with("ktls = \"yes\"", &[("\"yes\"", "`off`, `auto` or `on`")]);
    with("certificat = \"x\"", &[("certificat", "did you mean `certificate`")]);
}

#[test]
fn a_listener_without_any_certificate_is_refused() {
    let text = listener("mode = \"permissive\"");
    let problems = super::tests::take(&text).unwrap_err();
    assert!(problems.to_string().contains("a listener with TLS needs a certificate"), "{problems}");
}

#[test]
fn clusters_that_are_refused() {
    let check = |tls: &str, expected: &[(&str, &str)]| check(&cluster(tls), expected);
    check("server_name = \"a.example:443\"", &[("\"a.example:443\"", "no host name")]);
    check("server_name = \"\"", &[("\"\"", "no host name")]);
    check("ca = []", &[("[]", "names no file")]);
    check("alpn = [\"h2\"]", &[("\"h2\"", "not spoken here")]);
    let text = cluster("trust_bundles = { td = \"b\" }");
    let problems = super::tests::take(&text).unwrap_err();
    assert!(problems.to_string().contains("permitted_peers"), "{problems}");
}

#[test]
fn what_is_odd_is_a_warning() {
    check_severity(
        &listener(&format!("{PAIR}crl = \"r.pem\"")),
        Severity::Warning,
        &[("\"r.pem\"", "nothing is revoked")],
    );
    let suites = "cipher_suites = [\"TLS_AES_128_GCM_SHA256\", \"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\"]";
    check_severity(
        &listener(&format!("{PAIR}{suites}\nmin_version = \"1.3\"")),
        Severity::Warning,
        &[("\"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\"", "a version that is not spoken")],
    );
}

#[test]
fn a_moved_line_changes_nothing() {
    let text = listener(PAIR);
    let first = taken(&text);
    let second = taken(&format!("# a comment\n{text}"));
    assert_eq!(first.listeners[0].tls, second.listeners[0].tls);
    assert_ne!(first.tls_files[0].span, second.tls_files[0].span);
}
