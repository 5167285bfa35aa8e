//! Connections that move from shard to shard while they idle.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what a test helper can't do fails the test"
)]

mod support;

use std::collections::BTreeMap;

use support::load::{Client, Origin, Reply, get};
use support::{Driver, Pinion, drivers, eventually, free_address};

/// A value of `/shards` for each shard.
fn shards(pinion: &Pinion, name: &str) -> Vec<u64> {
    let page = pinion.get("/shards").json();
    let list = page["shards"].as_array().expect("a list");
    list.iter().map(|shard| shard[name].as_u64().expect(name)).collect()
}

/// Which shard serves each of `clients`: the one that counts its request.
fn places(pinion: &Pinion, clients: &mut [Client]) -> Vec<usize> {
    let mut before = shards(pinion, "requests_total");
    let mut places = Vec::with_capacity(clients.len());
    for client in clients {
        expect(&client.ask(&get("/bytes/10")).expect("answered"), 10);
        let mut found = None;
        // The answer may be here before it is counted.
        eventually("the request is counted", || {
            let after = shards(pinion, "requests_total");
            found = (0..after.len()).find(|&at| after[at] > before[at]);
            before = after;
            found.is_some()
        });
        places.extend(found);
    }
    places
}

fn expect(reply: &Reply, bytes: usize) {
    assert_eq!((reply.status, reply.body.len()), (200, bytes), "{}", reply.head);
}

fn config(listener: &str, origin: &Origin) -> String {
    format!(
        "[[listeners]]\nname = \"web\"\naddress = \"{listener}\"\n[[routes]]\ncluster = \"app\"\n\
         [[clusters]]\nname = \"app\"\nendpoints = [\"{}\"]\n",
        origin.address()
    )
}

fn idle_connections_move_off_a_hot_shard(driver: Driver) {
    let origin = Origin::start();
    let address = free_address();
    let pinion =
        Pinion::with(driver).proxy("shards = 2").config(&config(&address.to_string(), &origin)).start();
    // One and a half times the share and 16 more, of connections that are all on one shard, is from 64 on.
    let mut clients: Vec<_> = (0..170).map(|_| Client::tcp(address).expect("connected")).collect();
    let places_before = places(&pinion, &mut clients);
    let on_first = places_before.iter().filter(|&&place| place == 0).count();
    let hot = if on_first * 2 >= clients.len() { 0 } else { 1 };
    let mut left: Vec<Client> = Vec::new();
    for (client, place) in clients.into_iter().zip(places_before) {
        if place == hot {
            left.push(client);
        }
    }
    assert!(left.len() >= 80);

    // The others are closed; what is left keeps asking, two at a time, while it is moved.
    let mut asked: u64 = 0;
    let two = [get("/bytes/300"), get("/chunked")].concat();
    eventually("connections move", || {
        for client in &mut left {
            client.send(&two).expect("sent");
        }
        for client in &mut left {
            expect(&client.recv().expect("answered"), 300);
            expect(&client.recv().expect("answered"), 5);
            asked += 2;
        }
        shards(&pinion, "parked_out_total")[hot] >= 10
    });
    eventually("those that left arrive", || {
        shards(&pinion, "parked_in_total")[1 - hot] == shards(&pinion, "parked_out_total")[hot]
            && shards(&pinion, "connections_active").iter().sum::<u64>() == left.len() as u64
    });
    let moved_to: BTreeMap<usize, usize> =
        places(&pinion, &mut left).into_iter().fold(BTreeMap::new(), |mut counts, place| {
            *counts.entry(place).or_default() += 1;
            counts
        });
    let held = shards(&pinion, "connections_active");
    assert_eq!(moved_to.get(&(1 - hot)).copied().unwrap_or(0) as u64, held[1 - hot], "{moved_to:?}");
    assert!(held[1 - hot] >= 10, "{held:?}");

    let metrics = pinion.metrics();
    let parked =
        |direction| metrics.value("pinion_shard_connections_parked_total", &[("direction", direction)]);
    assert_eq!(parked("in"), parked("out"));
    assert!(metrics.value("pinion_shard_connections_rebalanced_total", &[]) >= parked("out"));
    // A move is no new connection, and no request was lost or counted twice.
    assert_eq!(metrics.value("pinion_listener_connections_total", &[]), 170.0);
    assert_eq!(metrics.value("pinion_listener_connections_active", &[]), left.len() as f64);
    assert_eq!(metrics.value("pinion_requests_total", &[]), (170 + asked + left.len() as u64) as f64);
    assert_eq!(metrics.value("pinion_faults_total", &[]), 0.0);
}

#[test]
fn idle_connections_move_off_a_hot_shard_on_io_uring() {
    if drivers().contains(&Driver::IoUring) {
        idle_connections_move_off_a_hot_shard(Driver::IoUring);
    }
}

#[test]
fn idle_connections_move_off_a_hot_shard_on_epoll() {
    idle_connections_move_off_a_hot_shard(Driver::Epoll);
}

fn a_unix_listener_spreads_its_connections(driver: Driver) {
    let origin = Origin::start();
    let pinion =
        Pinion::with(driver).proxy("shards = 2").config(&config("unix:{folder}/web.sock", &origin)).start();
    let socket = pinion.folder().join("web.sock");
    // All at once: nothing is known of a connection that is on its way to its shard.
    let mut clients: Vec<_> = (0..40).map(|_| Client::unix(&socket).expect("connected")).collect();
    for client in &mut clients {
        client.send(&[get("/bytes/70000"), get("/bytes/7")].concat()).expect("sent");
    }
    for client in &mut clients {
        expect(&client.recv().expect("answered"), 70_000);
        expect(&client.recv().expect("answered"), 7);
    }
    let held = shards(&pinion, "connections_active");
    assert_eq!(held.iter().sum::<u64>(), 40);
    assert!(held.iter().all(|&held| held >= 10), "{held:?}");
    assert_eq!(shards(&pinion, "parked_in_total")[1], shards(&pinion, "parked_out_total")[0]);
    let metrics = pinion.metrics();
    assert_eq!(metrics.value("pinion_listener_connections_total", &[]), 40.0);
    assert_eq!(metrics.value("pinion_faults_total", &[]), 0.0);
    drop(clients);
    eventually("closed", || shards(&pinion, "connections_active") == [0, 0]);
}

#[test]
fn a_unix_listener_spreads_its_connections_on_io_uring() {
    if drivers().contains(&Driver::IoUring) {
        a_unix_listener_spreads_its_connections(Driver::IoUring);
    }
}

#[test]
fn a_unix_listener_spreads_its_connections_on_epoll() {
    a_unix_listener_spreads_its_connections(Driver::Epoll);
}
