//! Strangers get no further than the greeting, and nobody between the two can say anything.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use rustls::{ClientConfig, ServerConfig};
use serde_json::{Value, json};

use super::access::Access;
use super::link::{Broken, Link, Seal, Stream};
use crate::cli::agent::{AgentOptions, LeaderOptions};

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (one, listener.accept().unwrap().0)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

fn link(socket: TcpStream, keys: Option<(u8, u8)>) -> Link {
    let mut link = Link::new(Stream::Plain(socket)).unwrap();
    let seal = |byte| Seal::new(&[byte; 32]).unwrap();
    link.trust(keys.map(|(out, into)| (seal(out), seal(into))));
    link
}

#[test]
fn messages_arrive_whole_and_in_order_whatever_their_size() {
    for keys in [None, Some((1, 2))] {
        let (one, two) = pair();
        let messages = [json!("a"), json!({"b": "x".repeat(300_000)}), json!(null), json!([1, 2, 3])];
        let sent = messages.clone();
        let sender = thread::spawn(move || {
            let mut one = link(one, keys);
            sent.iter().for_each(|message| one.send(message).unwrap());
            one.expect::<Value>(soon()).unwrap()
        });
        let mut two = link(two, keys.map(|(out, into)| (into, out)));
        for message in messages {
            assert!(two.expect::<Value>(soon()).unwrap() == message);
        }
        assert!(two.receive::<Value>(Instant::now()).unwrap().is_none());
        two.send(&"done").unwrap();
        assert_eq!(sender.join().unwrap(), "done");
        assert!(matches!(two.receive::<Value>(soon()), Err(Broken::Closed)));
    }
}

/// The bytes of two sealed messages.
fn recorded() -> (Vec<u8>, Vec<u8>) {
    let (one, mut two) = pair();
    let mut one = link(one, Some((1, 2)));
    one.send(&"first").unwrap();
    one.send(&"second").unwrap();
    drop(one);
    let mut bytes = Vec::new();
    two.read_to_end(&mut bytes).unwrap();
    let length = 4 + u32::from_be_bytes(*bytes.first_chunk().unwrap()) as usize;
    let second = bytes.split_off(length);
    (bytes, second)
}

#[test]
fn what_was_not_sealed_in_this_place_does_not_open() {
    let check = |bytes: &[u8], opens: usize| {
        let (mut one, two) = pair();
        one.write_all(bytes).unwrap();
        let mut two = link(two, Some((2, 1)));
        for _ in 0..opens {
            assert!(two.expect::<String>(soon()).is_ok());
        }
        assert!(matches!(two.expect::<String>(soon()), Err(Broken::Forged)), "{opens}");
    };
    let (first, second) = recorded();
    check(&[&first[..], &first].concat(), 1);
    check(&second, 0);
    for index in 4..first.len() {
        let mut changed = first.clone();
        changed[index] ^= 1;
        check(&changed, 0);
    }
    // Not sealed at all.
    check(b"\x00\x00\x00\x07\"plain\"", 0);
}

#[test]
fn strangers_may_say_little_and_others_not_without_end() {
    let (mut one, two) = pair();
    one.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut stranger = Link::new(Stream::Plain(two)).unwrap();
    assert!(matches!(stranger.expect::<Value>(soon()), Err(Broken::TooLong)));
    let (mut one, two) = pair();
    one.write_all(&2_000_u32.to_be_bytes()).unwrap();
    let mut stranger = Link::new(Stream::Plain(two)).unwrap();
    assert!(matches!(stranger.expect::<Value>(soon()), Err(Broken::TooLong)));
    let (mut one, two) = pair();
    one.write_all(&u32::MAX.to_be_bytes()).unwrap();
    assert!(matches!(link(two, None).expect::<Value>(soon()), Err(Broken::TooLong)));
    let (mut one, two) = pair();
    one.write_all(b"\x00\x00\x00\x02{{").unwrap();
    assert!(matches!(link(two, None).expect::<Value>(soon()), Err(Broken::Malformed(_))));
}

/// A file with this secret.
fn secret(folder: &tempfile::TempDir, name: &str, secret: &str) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, secret).unwrap();
    path
}

fn agent(secret: PathBuf) -> Access<ServerConfig> {
    Access::of_agent(&AgentOptions {
        listen: Vec::new(),
        secret_file: Some(secret),
        tls_certificate: None,
        tls_key: None,
        client_ca: None,
    })
    .unwrap_or_else(|e| panic!("{e}"))
}

fn leader(secret: PathBuf) -> Access<ClientConfig> {
    Access::of_leader(&LeaderOptions { secret_file: Some(secret), ..LeaderOptions::default() })
        .unwrap_or_else(|e| panic!("{e}"))
}

/// What the two come to: the agent's side and the leader's.
fn greet(
    agent: Access<ServerConfig>,
    leader: impl FnOnce(String) -> Result<Link, String>,
) -> (Result<Link, String>, Result<Link, String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serving = thread::spawn(move || agent.greet_leader(listener.accept().unwrap().0));
    let leader = leader(address);
    (serving.join().unwrap(), leader)
}

#[test]
fn who_knows_the_secret_is_let_in_and_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let right = secret(&folder, "right", "a secret of many letters\n");
    let same = secret(&folder, "same", "  a secret of many letters");
    let wrong = secret(&folder, "wrong", "another one with many letters");

    let (mine, theirs) = greet(agent(right.clone()), |address| leader(same).greet_agent(&address));
    let (mut mine, mut theirs) = (mine.unwrap(), theirs.unwrap());
    mine.send(&"from the agent").unwrap();
    theirs.send(&"from the leader").unwrap();
    assert_eq!(theirs.expect::<String>(soon()).unwrap(), "from the agent");
    assert_eq!(mine.expect::<String>(soon()).unwrap(), "from the leader");

    let (mine, theirs) = greet(agent(right.clone()), |address| leader(wrong).greet_agent(&address));
    assert_eq!(mine.err().unwrap(), "wrong secret");
    assert_eq!(theirs.err().unwrap(), "it refused: wrong secret");

    // Somebody who claims to be the agent and lets everybody in.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let nonce = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let liar = thread::spawn(move || {
        let mut link = Link::new(Stream::Plain(listener.accept().unwrap().0)).unwrap();
        link.send(&json!({"program": "x", "version": 1, "nonce": nonce})).unwrap();
        link.expect::<Value>(soon()).unwrap();
        link.send(&json!({"accepted": {"proof": nonce}})).unwrap();
    });
    let refused = leader(right.clone()).greet_agent(&address).err().unwrap();
    assert_eq!(refused, "it does not know the secret");
    liar.join().unwrap();

    // A proof that was overheard is of no use with another nonce; here, the agent's own sent back.
    let (mine, _) = greet(agent(right), |address| {
        let mut link = Link::new(Stream::Plain(TcpStream::connect(address).unwrap())).unwrap();
        let greeting: Value = link.expect(soon()).unwrap();
        link.send(&greeting).unwrap();
        link.expect::<Value>(soon()).unwrap();
        Err("done".to_owned())
    });
    assert_eq!(mine.err().unwrap(), "wrong secret");
}

#[test]
fn other_versions_and_other_programs_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let file = secret(&folder, "secret", "a secret of many letters");
    let (mine, _) = greet(agent(file.clone()), |address| {
        let mut link = Link::new(Stream::Plain(TcpStream::connect(address).unwrap())).unwrap();
        link.send(&json!({"program": "pinion-load 9.0", "version": 9})).unwrap();
        link.expect::<Value>(soon()).unwrap();
        let refusal: Value = link.expect(soon()).unwrap();
        assert!(refusal["refused"]["reason"].as_str().unwrap().contains("use the same release"), "{refusal}");
        Err("done".to_owned())
    });
    let reason = mine.err().unwrap();
    assert!(reason.contains("pinion-load 9.0") && reason.contains("version 9"), "{reason}");

    let (mine, _) = greet(agent(file.clone()), |address| {
        TcpStream::connect(address).unwrap().write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        Err("done".to_owned())
    });
    assert!(mine.err().unwrap().starts_with("no leader of pinion-load"));

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = thread::spawn(move || {
        listener.accept().unwrap().0.write_all(b"220 mail.example ESMTP\r\n").unwrap();
    });
    let reason = leader(file.clone()).greet_agent(&address).err().unwrap();
    assert!(reason.starts_with("it does not greet as an agent"), "{reason}");
    server.join().unwrap();

    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    assert!(leader(file.clone()).greet_agent(&free).err().unwrap().starts_with("can't connect"));
    assert!(leader(file).greet_agent("no-port").err().unwrap().starts_with("can't find it"));
}

#[test]
fn short_secrets_and_missing_ones_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let told = |file: Option<PathBuf>| {
        let options = LeaderOptions { secret_file: file, ..LeaderOptions::default() };
        Access::of_leader(&options).err().unwrap().to_string()
    };
    assert!(told(Some(secret(&folder, "short", "letmein"))).contains("shorter than 16 bytes"));
    assert!(told(Some(folder.path().join("none"))).contains("none: "));
    assert!(told(None).contains("--agents needs --secret-file"));
}
