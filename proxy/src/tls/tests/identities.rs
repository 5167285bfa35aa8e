//! SPIFFE: bundles, trust domains, permitted peers, and what upstreams are told.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;

use super::*;

const CART: &str = "spiffe://shop.example/ns/shop/sa/cart";

/// Two trust domains with their authorities, and a server of the first.
fn mesh() -> (World, Authority, Authority) {
    let (world, shop, bank) = (World::new(), Authority::new("shop"), Authority::new("bank"));
    world.write("shop.pem", shop.pem());
    world.write("bank.pem", bank.pem());
    world.identity("s", &shop.issue(&["spiffe://shop.example/ns/shop/sa/web", "web.example"]));
    (world, shop, bank)
}

const BUNDLES: &str =
    "trust_bundles = { \"shop.example\" = \"shop.pem\", \"bank.example\" = \"bank.pem\" }\n";

#[test]
fn an_id_is_verified_with_the_bundle_of_its_trust_domain() {
    let (world, shop, bank) = mesh();
    let check = |rules: &str, client: Identity, expected: &str| {
        world.identity("c", &client);
        let server = world.server(&format!("{}{BUNDLES}{rules}", pair("s")));
        let client = world.client(&format!("{}ca = \"shop.pem\"\nserver_name = \"web.example\"", pair("c")));
        let result = shake(&server, &client, "");
        let admitted = result.as_ref().ok().map(|done| done.admit(&server).unwrap().unwrap());
        assert_eq!(refusal(result), expected);
        admitted
    };
    let peer = check("", shop.issue(&[CART]), "nobody").unwrap();
    assert_eq!(peer.spiffe.unwrap().path(), "/ns/shop/sa/cart");
    check("", bank.issue(&["spiffe://bank.example/teller"]), "nobody");
    check("", bank.issue(&[CART]), "server: InvalidCertificate(UnknownIssuer)");
    check("", shop.issue(&["spiffe://bank.example/teller"]), "server: InvalidCertificate(UnknownIssuer)");
    check("", shop.issue(&["spiffe://other.example/a"]), "server: unknown_ca");
    check("", shop.issue(&["a.example"]), "server: bad_certificate");
    check("", shop.issue(&[CART, "spiffe://shop.example/admin"]), "server: bad_certificate");
    check("", shop.issue(&["spiffe://shop.example"]), "server: bad_certificate");
    check("", shop.issue(&["https://shop.example/a"]), "server: bad_certificate");
    check("", shop.issue(&["spiffe://shop.example/a/../b"]), "server: bad_certificate");
    let authority = Odd { is_ca: true, ..Odd::default() };
    let reason = "server: InvalidCertificate(Other(OtherError(CaUsedAsEndEntity)))";
    check("", shop.issue_odd(&[CART], authority), reason);

    let rules = |list: &str| format!("permitted_peers = [{list}]");
    check(&rules("\"spiffe://shop.example/ns/shop/*\""), shop.issue(&[CART]), "nobody");
    check(&rules(&format!("\"{CART}\"")), shop.issue(&[CART]), "nobody");
    check(&rules("\"spiffe://bank.example/*\""), shop.issue(&[CART]), "server: peer_not_permitted");
    check(&rules("\"spiffe://shop.example/ns/sho/*\""), shop.issue(&[CART]), "server: peer_not_permitted");
}

#[test]
fn endpoints_are_permitted_by_id_in_place_of_their_name() {
    let (world, shop, _) = mesh();
    world.identity("c", &shop.issue(&[CART]));
    let server = world.server(&format!("{}{BUNDLES}", pair("s")));
    let check = |rule: &str, expected: &str| {
        let client = world.client(&format!("{}{BUNDLES}permitted_peers = [\"{rule}\"]", pair("c")));
        assert_eq!(refusal(shake(&server, &client, "any.name.example")), expected, "{rule}");
    };
    // The server has a DNS name beside its only URI name, which SVIDs may have.
    check("spiffe://shop.example/ns/shop/sa/web", "nobody");
    check("spiffe://shop.example/ns/shop/sa/cart", "client: peer_not_permitted");
}

#[test]
fn bundles_may_be_json() {
    let (world, shop, _) = mesh();
    world.identity("c", &shop.issue(&[CART]));
    let x5c = STANDARD.encode(shop.der());
    let bundle = |keys: &str| format!("{{ \"spiffe_sequence\": 1, \"keys\": [{keys}] }}");
    let key = format!("{{ \"use\": \"x509-svid\", \"kty\": \"EC\", \"x5c\": [\"{x5c}\"] }}");
    let jwt = "{ \"use\": \"jwt-svid\", \"kty\": \"EC\", \"kid\": \"1\" }";
    world.write("shop.pem", bundle(&format!("{jwt}, {key}")));
    let server = world.server(&format!("{}{BUNDLES}", pair("s")));
    let client = format!(
        "{}trust_bundles = {{ \"shop.example\" = \"shop.pem\" }}\npermitted_peers = [\"spiffe://shop.example/*\"]",
        pair("c")
    );
    assert_eq!(refusal(shake(&server, &world.client(&client), "")), "nobody");

    for (text, reason) in [
        (bundle(jwt), "no key of use `x509-svid`"),
        (bundle(&key.replace(&x5c, "!")), "x5c"),
        (bundle("{ \"use\": \"x509-svid\" }"), "exactly one certificate"),
        ("{ \"keys\": 1 }".to_owned(), "no list `keys`"),
        ("{ not json".to_owned(), "no SPIFFE bundle"),
    ] {
        world.write("shop.pem", &text);
        let problems = world.try_server(&format!("{}{BUNDLES}", pair("s"))).err().unwrap().to_string();
        assert!(problems.contains(reason), "{text}: {problems}");
    }
}

#[test]
fn damaged_certificates_are_read_without_a_panic() {
    let (world, shop, _) = mesh();
    let whole = shop.issue(&[CART, "a.example"]);
    let der =
        super::super::files::sections::<CertificateDer<'static>>(whole.chain.as_bytes()).unwrap().remove(0);
    let server = world.server(&format!("{}{BUNDLES}", pair("s")));
    let config = server.current();
    let mut refused = 0;
    for place in 0..der.len() {
        for change in [0x01, 0x80, 0xFF] {
            let mut bytes = der.to_vec();
            bytes[place] ^= change;
            let chain = [CertificateDer::from(bytes)];
            let _ = super::super::identity::CertFacts::read(&chain[0]);
            let shown = Shown { chain: &chain, sni: None, resumed: true };
            refused += usize::from(config.admit(shown).is_err());
        }
        let cut = [CertificateDer::from(der[..place].to_vec())];
        assert!(config.admit(Shown { chain: &cut, sni: None, resumed: true }).is_err());
    }
    // Every bit of it is signed.
    assert_eq!(refused, 3 * der.len());
}

#[test]
fn upstreams_are_told_what_the_listener_says() {
    let (world, shop, _) = mesh();
    world.identity("c", &shop.issue(&[CART]));
    let server = world.server(&format!("{}{BUNDLES}", pair("s")));
    let client = world.client(&format!("{}ca = \"shop.pem\"\nserver_name = \"web.example\"", pair("c")));
    let done = shake(&server, &client, "").ok().unwrap();
    let peer = done.admit(&server).unwrap().unwrap();
    let forwarded = std::str::from_utf8(&peer.forwarded).unwrap();
    assert_eq!(forwarded, format!("By=spiffe://shop.example/ns/shop/sa/web;Hash={};URI={CART}", peer.sha256));
    assert_eq!(&*peer.subject, "O=Pinion\\, tests,CN=spiffe://shop.example/ns/shop/sa/cart");
    assert_eq!((peer.uri(), peer.sha256.len()), (Some(CART), 64));
    assert!(peer.issuer.contains("CN=shop") && !peer.serial.is_empty() && peer.not_after > 0);
}
