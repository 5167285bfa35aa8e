//! Few long HTTP/2 connections do not pin the load to one shard: they begin apart, and they part when they turn
//! out to work one shard alone. More shards than CPUs are started where there are few.

use std::time::Duration;

use super::h2_peer::{Asker, origin};
use super::support::{Driver, Pinion, drivers, eventually, free_address};

/// A value of `/shards` for each shard.
fn shards(pinion: &Pinion, name: &str) -> Vec<u64> {
    let page = pinion.get("/shards").json();
    let list = page["shards"].as_array().expect("a list");
    list.iter().map(|shard| shard[name].as_u64().expect(name)).collect()
}

/// What each shard served in the next while.
fn served(pinion: &Pinion, period: Duration) -> Vec<u64> {
    let before = shards(pinion, "requests_total");
    std::thread::sleep(period);
    let after = shards(pinion, "requests_total");
    after.iter().zip(before).map(|(after, before)| after - before).collect()
}

fn start(driver: Driver, count: usize) -> (Pinion, std::net::SocketAddr) {
    let (address, origin) = (free_address(), origin());
    let config = format!(
        "[[listeners]]\nname = \"web\"\naddress = \"{address}\"\n[[routes]]\ncluster = \"app\"\n\
         [[clusters]]\nname = \"app\"\nprotocol = \"http2\"\nendpoints = [\"{origin}\"]\n"
    );
    (Pinion::with(driver).proxy(&format!("shards = {count}")).config(&config).start(), address)
}

#[test]
fn two_connections_begin_on_two_shards() {
    for driver in drivers() {
        for count in [2, 4] {
            let (pinion, address) = start(driver, count);
            // Wherever the kernel puts them.
            for _ in 0..4 {
                let askers: Vec<_> = (0..2).map(|_| Asker::start(address, 4)).collect();
                // At once, unless they came to two shards at the same instant that both thought of the same.
                eventually("each has a shard of its own", || {
                    let work = served(&pinion, Duration::from_millis(300));
                    work.iter().filter(|&&work| work > 0).count() == 2
                });
                askers.into_iter().for_each(Asker::stop);
                eventually("they are gone", || {
                    shards(&pinion, "connections_active").iter().sum::<u64>() == 0
                });
            }
        }
    }
}

#[test]
fn busy_connections_that_share_a_shard_part() {
    for driver in drivers() {
        let (pinion, address) = start(driver, 2);
        // Four quiet connections begin two by two; which shard serves which is seen by asking.
        let askers: Vec<_> = (0..4).map(|_| Asker::quiet(address)).collect();
        let mut on = [Vec::new(), Vec::new()];
        for (place, asker) in askers.iter().enumerate() {
            let before = shards(&pinion, "requests_total");
            asker.ask_once();
            eventually("it is counted", || {
                let after = shards(&pinion, "requests_total");
                let found = (0..2).find(|&at| after[at] > before[at]);
                found.inspect(|&at| on[at].push(place)).is_some()
            });
        }
        let hot = if on[0].len() >= 2 { &on[0] } else { &on[1] };
        assert!(hot.len() >= 2, "{on:?}");
        // Two on one shard begin to work without a pause.
        for &place in &hot[..2] {
            askers[place].go(8);
        }
        eventually("one of them moved", || {
            let work = served(&pinion, Duration::from_millis(500));
            let (most, least) = (work[0].max(work[1]), work[0].min(work[1]));
            most > 0 && least * 4 > most
        });
        let moved = shards(&pinion, "requests_total");
        assert!(moved.iter().all(|&requests| requests > 0));
        let metrics = pinion.metrics();
        let given: f64 = ["0", "1"]
            .iter()
            .map(|shard| metrics.value("pinion_shard_connections_rebalanced_total", &[("shard", shard)]))
            .sum();
        assert!(given >= 1.0);
        askers.into_iter().for_each(Asker::stop);
    }
}
