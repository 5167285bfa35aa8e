//! Connections that move from shard to shard while they idle.

use crate::support::eventually;
use crate::wire::{Link, Setup, Upstream, both, get, ok};

/// One request on each of `clients`, which learns the shard that serves it.
fn shards_of(proxy: &crate::wire::Proxy, clients: &mut [Link]) -> Vec<usize> {
    let requests =
        || ["0", "1"].map(|shard| proxy.metric("pinion_shard_requests_total", &[("shard", shard)]));
    let mut before = requests();
    let learn = |client: &mut Link| {
        client.send(get("/"));
        assert_eq!(client.response().status(), 200);
        let mut after = before;
        eventually("the request is counted", || {
            after = requests();
            after != before
        });
        let shard = usize::from(after[1] > before[1]);
        before = after;
        shard
    };
    clients.iter_mut().map(learn).collect()
}

#[test]
fn a_shard_that_holds_far_more_than_its_share_gives_idle_connections_away() {
    both(|driver| {
        let upstream = Upstream::serve(|_| ok("x"));
        let proxy =
            Setup::sharded(driver, 2).listener("limits.requests_per_connection = 3").start(&[&upstream]);
        let mut clients: Vec<_> = (0..200).map(|_| proxy.client()).collect();
        let shards = shards_of(&proxy, &mut clients);
        let crowded = usize::from(shards.iter().sum::<usize>() > clients.len() / 2);
        let mut place = 0..;
        clients.retain(|_| place.next().is_some_and(|place| shards[place] == crowded));
        let count = clients.len() as f64;
        let moved =
            |direction| proxy.metric("pinion_shard_connections_parked_total", &[("direction", direction)]);
        eventually("connections move", || moved("in") > 0.0);
        proxy.expect_metric("pinion_shard_connections_active", &[], count);
        proxy.expect_metric("pinion_listener_connections_active", &[], count);
        assert!(proxy.metric("pinion_shard_connections_rebalanced_total", &[]) > 0.0);
        let other = (1 - crowded).to_string();
        assert!(proxy.metric("pinion_shard_connections_active", &[("shard", &other)]) > 0.0);

        // Nobody noticed, and what was known of a connection went with it.
        for client in &mut clients {
            client.send(get("/"));
            assert_eq!(client.response().get("connection"), None);
        }
        for client in &mut clients {
            client.send(get("/"));
            assert_eq!(client.response().get("connection"), Some("close"), "the third request");
        }
        assert_eq!(moved("in"), moved("out"));
        proxy.expect_metric("pinion_shard_connections_active", &[], 0.0);
        proxy.expect_no_faults();
    });
}
