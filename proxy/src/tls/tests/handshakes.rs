//! Certificates by name and by what clients verify, versions, protocols, trust of both sides.

use super::*;

#[test]
fn the_server_name_chooses_the_certificate() {
    let (world, ca) = (World::new(), Authority::new("root"));
    world.write("ca.pem", ca.pem());
    for (file, names) in [
        ("default", &["default.example"][..]),
        ("wild", &["*.shop.example", "shop.example"]),
        ("exact", &["www.shop.example", "Upper.Example"]),
    ] {
        world.identity(file, &ca.issue(names));
    }
    let more = "certificates = [{ certificate = \"wild.pem\", private_key = \"wild.key\" }, \
                { certificate = \"exact.pem\", private_key = \"exact.key\" }]";
    let server = world.server(&format!("{}{more}", pair("default")));
    let check = |asked: &str, shown: &str| {
        let client =
            world.client("ca = \"ca.pem\"\npermitted_peers = [\"dns:*.example\", \"dns:*.shop.example\"]");
        let done = shake(&server, &client, asked).map_err(|(side, error)| format!("{side} {error}")).unwrap();
        assert_eq!(done.shown(), shown, "{asked}");
    };
    check("default.example", "default.example");
    check("shop.example", "*.shop.example shop.example");
    check("a.shop.example", "*.shop.example shop.example");
    check("WWW.Shop.example:443", "www.shop.example Upper.Example");
    check("upper.example", "www.shop.example Upper.Example");
    check("a.b.shop.example", "default.example");
    check("unknown.example", "default.example");
    check("127.0.0.1", "default.example");
    assert_eq!(
        refusal(shake(&server, &world.client("ca = \"ca.pem\""), "unknown.example")),
        "client: InvalidCertificate(NotValidForNameContext"
    );
}

#[test]
fn of_several_kinds_of_key_the_client_gets_one_it_can_verify() {
    let (world, ca) = (World::new(), Authority::new("root"));
    world.write("ca.pem", ca.pem());
    world.identity("ecdsa", &ca.issue(&["a.example"]));
    world.identity("rsa", &ca.issue_odd(&["a.example"], Odd { rsa: true, ..Odd::default() }));
    let server = world.server(&format!(
        "{}certificates = [{{ certificate = \"rsa.pem\", private_key = \"rsa.key\" }}]",
        pair("ecdsa")
    ));
    let leaf = |done: &Done| done.client.peer_certificates().unwrap()[0].to_vec();
    let any = shake(&server, &world.client("ca = \"ca.pem\""), "a.example").ok().unwrap();
    let rsa_only =
        "ca = \"ca.pem\"\nmax_version = \"1.2\"\ncipher_suites = [\"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\"]";
    let rsa = shake(&server, &world.client(rsa_only), "a.example").ok().unwrap();
    assert_ne!(leaf(&any), leaf(&rsa));
    // An unknown name falls back to the default, which is the pair of both kinds.
    let permitted = format!("{rsa_only}\npermitted_peers = [\"dns:a.example\"]");
    let unknown = shake(&server, &world.client(&permitted), "b.example").ok().unwrap();
    assert_eq!(leaf(&unknown), leaf(&rsa));
}

#[test]
fn versions_suites_groups_and_protocols() {
    let (world, ca) = (World::new(), Authority::new("root"));
    world.write("ca.pem", ca.pem());
    world.identity("a", &ca.issue(&["a.example"]));
    let shake = |server: &str, client: &str| {
        let server = world.server(&format!("{}{server}", pair("a")));
        shake(&server, &world.client(&format!("ca = \"ca.pem\"\n{client}")), "a.example")
    };
    let done = shake("", "").ok().unwrap();
    assert_eq!(done.server.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    assert_eq!(
        done.server.negotiated_key_exchange_group().map(|group| group.name()),
        Some(rustls::NamedGroup::X25519MLKEM768),
    );
    assert_eq!(done.server.alpn_protocol(), Some(&b"http/1.1"[..]));
    let suite = done.server.negotiated_cipher_suite().map(|suite| suite.suite());
    assert_eq!(suite, Some(rustls::CipherSuite::TLS13_AES_128_GCM_SHA256));

    // The server's order decides.
    let done = shake(
        "cipher_suites = [\"TLS_CHACHA20_POLY1305_SHA256\", \"TLS_AES_128_GCM_SHA256\"]\nmin_version = \"1.3\"\n\
         groups = [\"secp384r1\"]\nalpn = []",
        "",
    );
    let done = done.ok().unwrap();
    let suite = done.server.negotiated_cipher_suite().map(|suite| suite.suite());
    assert_eq!(suite, Some(rustls::CipherSuite::TLS13_CHACHA20_POLY1305_SHA256));
    assert_eq!(
        done.server.negotiated_key_exchange_group().map(|group| group.name()),
        Some(rustls::NamedGroup::secp384r1),
    );
    assert_eq!(done.server.alpn_protocol(), None);

    let refused = refusal(shake("min_version = \"1.3\"", "max_version = \"1.2\""));
    assert_eq!(refused, "server: PeerIncompatible(Tls12NotOfferedOrEnabled)");
    let refused = refusal(shake("groups = [\"X25519\"]", "groups = [\"secp256r1\"]"));
    assert_eq!(refused, "server: PeerIncompatible(NoKxGroupsInCommon)");
    let refused = refusal(shake("alpn = [\"h2\"]", ""));
    assert_eq!(refused, "server: NoApplicationProtocol");
}

#[test]
fn servers_are_verified() {
    let (world, ca, other) = (World::new(), Authority::new("root"), Authority::new("other"));
    let (middle, odd) = (ca.below("middle"), Odd::default());
    world.write("ca.pem", ca.pem());
    let check = |identity: Identity, expected: &str| {
        world.identity("s", &identity);
        let server = world.server(&pair("s"));
        assert_eq!(refusal(shake(&server, &world.client("ca = \"ca.pem\""), "a.example")), expected);
    };
    check(ca.issue(&["a.example"]), "nobody");
    check(middle.issue(&["a.example"]).with(&[&middle]), "nobody");
    check(middle.issue(&["a.example"]), "client: InvalidCertificate(UnknownIssuer)");
    check(other.issue(&["a.example"]), "client: InvalidCertificate(UnknownIssuer)");
    check(ca.issue(&["b.example"]), "client: InvalidCertificate(NotValidForNameContext");
    check(
        ca.issue_odd(&["a.example"], Odd { expired: true, ..odd }),
        "client: InvalidCertificate(ExpiredContext",
    );
    check(
        ca.issue_odd(&["a.example"], Odd { not_yet: true, ..odd }),
        "client: InvalidCertificate(NotValidYetContext",
    );
}

#[test]
fn clients_are_verified() {
    let (world, ca, other) = (World::new(), Authority::new("root"), Authority::new("other"));
    world.write("ca.pem", ca.pem());
    world.identity("s", &ca.issue(&["a.example"]));
    let check = |server: &str, client: Option<Identity>, expected: &str| {
        let mut tls = "ca = \"ca.pem\"\n".to_owned();
        if let Some(client) = &client {
            world.identity("c", client);
            tls.push_str(&pair("c"));
        }
        let server = world.server(&format!("{}client_ca = \"ca.pem\"\n{server}", pair("s")));
        let result = shake(&server, &world.client(&tls), "a.example");
        let identity = result.as_ref().ok().map(|done| done.admit(&server).unwrap());
        assert_eq!(refusal(result), expected, "{server:p}");
        identity.flatten()
    };
    let me = ca.issue(&["me.example"]);
    assert_eq!(check("", Some(me.clone()), "nobody").unwrap().dns[0].as_ref(), "me.example");
    assert_eq!(check("", None, "server: NoCertificatesPresented"), None);
    assert_eq!(check("client_certificate = \"request\"", None, "nobody"), None);
    assert!(check("client_certificate = \"request\"", Some(me.clone()), "nobody").is_some());
    check(
        "client_certificate = \"request\"",
        Some(other.issue(&["me.example"])),
        "server: InvalidCertificate(UnknownIssuer)",
    );
    assert_eq!(check("client_certificate = \"none\"", Some(me.clone()), "nobody"), None);
    let expired = ca.issue_odd(&["me.example"], Odd { expired: true, ..Odd::default() });
    check("", Some(expired), "server: InvalidCertificate(ExpiredContext");
    let server_only = ca.issue_odd(&["me.example"], Odd { server_only: true, ..Odd::default() });
    check("", Some(server_only), "server: InvalidCertificate(InvalidPurpose)");
    check("permitted_peers = [\"dns:me.example\"]", Some(me.clone()), "nobody");
    check("permitted_peers = [\"dns:you.example\"]", Some(me.clone()), "server: peer_not_permitted");

    world.write("crl.pem", ca.revoke(&[&me]));
    check("crl = \"crl.pem\"", Some(me), "server: InvalidCertificate(Revoked)");
    check("crl = \"crl.pem\"", Some(ca.issue(&["other.example"])), "nobody");
    world.write("crl.pem", other.revoke(&[]));
    check(
        "crl = \"crl.pem\"",
        Some(ca.issue(&["me.example"])),
        "server: InvalidCertificate(UnknownRevocationStatus)",
    );
}

#[test]
fn an_endpoint_that_was_revoked_is_refused() {
    let (world, ca) = (World::new(), Authority::new("root"));
    world.write("ca.pem", ca.pem());
    let identity = ca.issue(&["a.example"]);
    world.identity("s", &identity);
    world.write("crl.pem", ca.revoke(&[&identity]));
    let client = world.client("ca = \"ca.pem\"\ncrl = \"crl.pem\"");
    let refused = refusal(shake(&world.server(&pair("s")), &client, "a.example"));
    assert_eq!(refused, "client: InvalidCertificate(Revoked)");
}

#[test]
fn the_name_to_verify_comes_from_configuration_request_or_address() {
    let (world, ca) = (World::new(), Authority::new("root"));
    world.write("ca.pem", ca.pem());
    let tcp = Address::Tcp("[::1]:80".parse().unwrap());
    let unix = Address::Unix("/run/x.sock".into());
    let check = |tls: &str, address: &Address, host: &str, expected: Option<&str>| {
        let client = world.client(&format!("ca = \"ca.pem\"\n{tls}"));
        let name = client.name(address, host).map(|name| name.to_str().into_owned());
        assert_eq!(name.as_deref(), expected, "{tls} {host}");
    };
    check("server_name = \"a.example\"", &tcp, "b.example", Some("a.example"));
    check("", &tcp, "B.example:8080", Some("b.example"));
    check("", &tcp, "10.0.0.1:8080", Some("10.0.0.1"));
    check("", &tcp, "[2001:db8::1]:80", Some("2001:db8::1"));
    check("", &tcp, "", Some("::1"));
    check("", &unix, "", None);
    check("permitted_peers = [\"spiffe://td/a\"]", &unix, "", Some("127.0.0.1"));
}
