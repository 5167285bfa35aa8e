//! Files that change: what comes in, what is kept out, what sessions live through.

use std::os::unix::fs::symlink;

use super::*;

fn refresh(server: &ServerTls) -> (Option<bool>, String) {
    let mut findings = Vec::new();
    let changed = server.refresh(&mut findings);
    (changed, super::super::store::lines(&findings))
}

#[test]
fn a_new_pair_comes_in_and_a_bad_one_is_kept_out() {
    let (world, ca) = (World::new(), Authority::new("root"));
    world.write("ca.pem", ca.pem());
    world.identity("s", &ca.issue(&["a.example"]));
    let server = world.server(&pair("s"));
    // A resumed session would show the certificate it began with.
    let tls = "ca = \"ca.pem\"\npermitted_peers = [\"dns:*.example\"]\nresumption = false";
    let client = world.client(tls);
    let shown = || shake(&server, &client, "x.example").ok().unwrap().shown();
    assert_eq!(refresh(&server), (Some(false), String::new()), "nothing changed");

    let held = server.current();
    world.identity("s", &ca.issue(&["b.example"]));
    assert_eq!(refresh(&server).0, Some(true));
    assert_eq!(shown(), "b.example");
    assert!(!Arc::ptr_eq(&held, &server.current()), "a handshake that began keeps what it took");

    let next = ca.issue(&["c.example"]);
    world.write("s.pem", &next.chain);
    let (changed, why) = refresh(&server);
    assert_eq!(changed, None);
    assert!(why.contains("does not belong"), "{why}");
    assert_eq!(shown(), "b.example", "the last good one stays");
    pki::write_key(&world.path().join("s.key"), &next.key);
    assert_eq!(refresh(&server).0, Some(true));
    assert_eq!(shown(), "c.example");

    fs::remove_file(world.path().join("s.key")).unwrap();
    let (changed, why) = refresh(&server);
    assert!(changed.is_none() && why.contains("there is no file"), "{why}");
    assert_eq!(shown(), "c.example");
}

#[test]
fn a_swapped_link_brings_all_files_at_once() {
    let (world, ca) = (World::new(), Authority::new("root"));
    world.write("ca.pem", ca.pem());
    for (version, name) in [("v1", "a.example"), ("v2", "b.example")] {
        fs::create_dir(world.path().join(version)).unwrap();
        ca.issue(&[name]).write(&world.path().join(version), "tls");
    }
    symlink("v1", world.path().join("..data")).unwrap();
    symlink("..data/tls.pem", world.path().join("tls.pem")).unwrap();
    symlink("..data/tls.key", world.path().join("tls.key")).unwrap();
    let server = world.server(&pair("tls"));
    symlink("v2", world.path().join("..tmp")).unwrap();
    fs::rename(world.path().join("..tmp"), world.path().join("..data")).unwrap();
    assert_eq!(refresh(&server).0, Some(true));
    let done = shake(&server, &world.client("ca = \"ca.pem\""), "b.example").ok().unwrap();
    assert_eq!(done.shown(), "b.example");
}

#[test]
fn sessions_outlive_a_new_certificate_but_not_new_trust() {
    let (world, ca) = (World::new(), Authority::new("root"));
    world.write("ca.pem", ca.pem());
    world.write("clients.pem", ca.pem());
    world.identity("s", &ca.issue(&["a.example"]));
    world.identity("c", &ca.issue(&["me.example"]));
    let server = world.server(&format!("{}client_ca = \"clients.pem\"", pair("s")));
    let client = world.client(&format!("ca = \"ca.pem\"\n{}", pair("c")));
    let resumed = || {
        let done = shake(&server, &client, "a.example").ok().unwrap();
        let peer = done.admit(&server).unwrap().unwrap();
        assert_eq!(&*peer.dns[0], "me.example", "also a resumed session has its peer");
        done.resumed()
    };
    assert!(!resumed());
    assert!(resumed(), "tickets are for every shard: each connection here stands for one");
    world.identity("s", &ca.issue(&["a.example"]));
    assert_eq!(refresh(&server).0, Some(true));
    assert!(resumed(), "a new certificate of the server");
    world.write("clients.pem", format!("{}{}", ca.pem(), Authority::new("new").pem()));
    assert_eq!(refresh(&server).0, Some(true));
    assert!(!resumed(), "whom the listener believes has changed");
    assert!(resumed());
}

#[test]
fn tls_1_2_sessions_are_resumed_too_and_tickets_can_be_off() {
    let (world, ca) = (World::new(), Authority::new("root"));
    world.write("ca.pem", ca.pem());
    world.identity("s", &ca.issue(&["a.example"]));
    for (server, client, expected) in [
        ("", "max_version = \"1.2\"", true),
        ("", "", true),
        ("tickets = false", "max_version = \"1.2\"", false),
        ("tickets = false", "", false),
        ("", "resumption = false", false),
    ] {
        let server = world.server(&format!("{}{server}", pair("s")));
        let client = world.client(&format!("ca = \"ca.pem\"\n{client}"));
        assert!(!shake(&server, &client, "a.example").ok().unwrap().resumed());
        assert_eq!(shake(&server, &client, "a.example").ok().unwrap().resumed(), expected);
    }
}

#[test]
fn a_resumed_session_whose_certificate_is_no_longer_good_is_refused() {
    let (world, ca) = (World::new(), Authority::new("root"));
    world.write("ca.pem", ca.pem());
    world.identity("s", &ca.issue(&["a.example"]));
    let expired = ca.issue_odd(&["me.example"], Odd { expired: true, ..Odd::default() });
    let server = world.server(&format!("{}client_ca = \"ca.pem\"", pair("s")));
    let chain: Vec<_> = super::super::files::sections(expired.chain.as_bytes()).unwrap();
    let refused = server.current().admit(Shown { chain: &chain, sni: None, resumed: true }).unwrap_err();
    assert_eq!(PeerRefused::of(&refused), Some(&PeerRefused::NoLongerGood));
}

#[test]
fn what_did_not_change_is_carried_over() {
    let (world, ca) = (World::new(), Authority::new("root"));
    world.write("ca.pem", ca.pem());
    world.identity("s", &ca.issue(&["a.example"]));
    let text = listener(&pair("s"));
    let first = world.compile(&text);
    let (old, _) = TlsStore::load(&first, None).map_err(|problems| problems.to_string()).unwrap();
    let tls = |store: &TlsStore| Arc::clone(&store.listeners[0].as_ref().unwrap().tls);
    // Another part of the document changes while the files are broken: the last good ones go on.
    world.write("s.key", "broken");
    let second = world.compile(&format!("{text}\n# more"));
    let (new, _) = TlsStore::load(&second, Some(&old)).map_err(|problems| problems.to_string()).unwrap();
    assert!(Arc::ptr_eq(&tls(&old), &tls(&new)));
    let third = world.compile(&text.replace("[listeners.tls]", "[listeners.tls]\ntickets = false"));
    assert!(TlsStore::load(&third, Some(&old)).is_err(), "new settings need files that work");
}
