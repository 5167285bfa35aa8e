//! What HTTP/2 costs: no allocation a request in steady state, little memory a connection that rests.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::h2_peer::{ask, connect, origin, pattern, run_in_time};
use super::support::load::settled;
use super::support::{Driver, PATIENCE, Pinion, drivers, eventually, free_address};

const WARM_UP: usize = 1_500;
const REQUESTS: usize = 3_000;
/// A stretch in which the machine did something else is measured again, at most so often.
const STRETCHES: usize = 6;

/// Connections that rest: few enough for any limit of descriptors.
const RESTING: usize = 400;
/// What each may cost: the session with its machine, two slots, the tables of header compression of both
/// directions, and what the first of them make the allocator hold. Of 4,000 each costs below 8 KiB.
const RESTING_BYTES_MAX: f64 = 16.0 * 1024.0;

fn start(driver: Driver) -> (Pinion, SocketAddr) {
    let (address, origin) = (free_address(), origin());
    let config = format!(
        r#"
[[listeners]]
name = "web"
address = "{address}"
[[routes]]
path = {{ prefix = "/direct" }}
direct_response = {{ status = 200, body = "here" }}
[[routes]]
cluster = "app"
[[clusters]]
name = "app"
protocol = "http2"
endpoints = ["{origin}"]
"#
    );
    (Pinion::with(driver).proxy("shards = 1").config(&config).start(), address)
}

fn allocations(pinion: &Pinion) -> u64 {
    settled(pinion).value("pinion_shard_allocations_total", &[]) as u64
}

#[test]
fn requests_on_streams_allocate_nothing() {
    for driver in drivers() {
        let (pinion, address) = start(driver);
        let least = run_in_time(async {
            let (client, connection) = connect(address).await;
            let stretch = async |requests: usize| {
                let lanes: Vec<_> = (0..8)
                    .map(|lane| {
                        let client = client.clone();
                        tokio::spawn(async move {
                            for round in 0..requests / 8 {
                                let content = pattern([0, 10, 3_000, 12_000][(lane + round) % 4]);
                                let answer = ask(&client, "/echo", &content).await.expect("an answer");
                                assert!(answer.status == 200 && answer.content == content);
                            }
                        })
                    })
                    .collect();
                for lane in lanes {
                    lane.await.expect("every answer was right");
                }
            };
            stretch(WARM_UP).await;
            let mut least = u64::MAX;
            for _ in 0..STRETCHES {
                let before = allocations(&pinion);
                stretch(REQUESTS).await;
                least = least.min(allocations(&pinion) - before);
                if least == 0 {
                    break;
                }
            }
            drop(client);
            let _ = connection.await;
            least
        });
        assert_eq!(least, 0, "{driver:?}: allocations in {REQUESTS} requests");
    }
}

/// A client's preface, its SETTINGS, and GET /direct with `:authority: a`.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\
    \0\0\x0e\x01\x05\0\0\0\x01\x82\x86\x41\x01a\x04\x07/direct";

#[test]
fn a_connection_that_rests_costs_little() {
    for driver in drivers() {
        let (pinion, address) = start(driver);
        let open = |count: usize| -> Vec<TcpStream> {
            let one = || {
                let mut socket = TcpStream::connect(address).expect("connected");
                socket.set_read_timeout(Some(PATIENCE)).expect("an option of sockets");
                socket.write_all(HELLO).expect("sent");
                let mut answer = Vec::new();
                while !answer.ends_with(b"here") {
                    let mut bytes = [0; 1_024];
                    let received = socket.read(&mut bytes).expect("an answer");
                    assert!(received > 0, "{}", answer.escape_ascii());
                    answer.extend_from_slice(&bytes[..received]);
                }
                socket
            };
            (0..count).map(|_| one()).collect()
        };
        let first = open(100);
        let metric = |name: &str| pinion.metrics().value(name, &[]);
        eventually("they rest", || metric("pinion_shard_buffers_in_use") == 0.0);
        std::thread::sleep(Duration::from_secs(2));
        let before = pinion.private_bytes();
        let others = open(RESTING);
        eventually("they rest", || metric("pinion_shard_buffers_in_use") == 0.0);
        std::thread::sleep(Duration::from_secs(2));
        let each = pinion.private_bytes().saturating_sub(before) as f64 / RESTING as f64;
        println!("{driver:?}: {each:.0} bytes a connection");
        assert!(each <= RESTING_BYTES_MAX, "{driver:?}: {each:.0} bytes a connection");
        drop((first, others));
    }
}
