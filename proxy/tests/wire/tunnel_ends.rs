//! How a tunnel ends: either side's end, idleness, limits, a drain, a reset.

use crate::support::{PATIENCE, Signal};
use crate::tunnels::{logged, logging, on_all, on_tcp};
use crate::wire::{Ended, Setup, noise};
use std::thread::scope;
use std::time::Duration;
use std::time::Instant;

#[test]
fn each_direction_ends_by_itself() {
    on_all(Setup::on, |stage| {
        let (mut client, mut end) = stage.open();
        client.send("all I have");
        client.finish_sending();
        assert_eq!(end.read_to_end(), (b"all I have".to_vec(), Ended::Closed));
        for part in ["one", "two"] {
            end.send(part);
            assert_eq!(client.read_exact(3), part.as_bytes());
        }
        end.finish_sending();
        client.expect_closed();

        let (mut client, mut end) = stage.open();
        end.finish_sending();
        client.expect_closed();
        for part in ["one", "two"] {
            client.send(part);
            assert_eq!(end.read_exact(3), part.as_bytes());
        }
        stage.proxy.expect_metric("pinion_listener_tunnels_active", &[], 1.0);
        client.finish_sending();
        end.expect_closed();
        drop((client, end));
        stage.expect_over(2);
        stage.proxy.expect_no_faults();
    });
}

#[test]
fn nothing_moves_for_too_long() {
    on_all(
        |driver| logging(driver).listener("timeouts.tunnel_idle = \"300ms\""),
        |stage| {
            let (mut client, mut end) = stage.open();
            client.expect_closed();
            end.expect_gone();
            stage.proxy.expect_faults("tunnel_idle", 1);
            stage.expect_over(1);
            let line = logged(&stage.proxy, 1);
            assert_eq!((&line["response_code"], &line["response_flags"]), (&101.into(), &"SI".into()));
            assert!(line["duration"].as_u64() >= Some(300_000), "{line}");
        },
    );
}

#[test]
fn it_is_not_idle_while_one_side_speaks() {
    on_tcp(
        |driver| {
            Setup::on(driver).listener("timeouts.tunnel_idle = \"3s\"\ntimeouts.idle = \"1s\"\ntimeouts.body = \"1s\"\ntimeouts.write = \"1s\"").route("timeout = \"1s\"").cluster("timeouts.first_byte = \"1s\"\ntimeouts.idle = \"1s\"")
        },
        |stage| {
            let (mut client, mut end) = stage.open();
            let start = Instant::now();
            // Beyond its own limit and all others, which mean nothing here.
            while start.elapsed() < Duration::from_millis(3_500) {
                end.send("tick");
                assert_eq!(client.read_exact(4), b"tick");
                std::thread::sleep(Duration::from_millis(100));
            }
            stage.proxy.expect_metric("pinion_listener_tunnels_active", &[], 1.0);
            assert_eq!(stage.proxy.metric("pinion_faults_total", &[]), 0.0);
        },
    );
}

#[test]
fn it_lasts_for_too_long() {
    on_tcp(
        |driver| logging(driver).listener("timeouts.tunnel_max = \"400ms\""),
        |stage| {
            let (mut client, mut end) = stage.open();
            while end.try_send(b"tick").is_ok() && client.take_some(1_000) {}
            end.expect_gone();
            stage.proxy.expect_faults("tunnel_timeout", 1);
            stage.expect_over(1);
            assert_eq!(logged(&stage.proxy, 1)["response_flags"], "DT");
        },
    );
}

#[test]
fn a_drain_gives_it_time_and_then_ends_it() {
    on_all(
        |driver| logging(driver).proxy("drain = \"1500ms\""),
        |stage| {
            let (mut client, mut end) = stage.open();
            let begun = Instant::now();
            stage.proxy.pinion.signal(Signal::TERM);
            stage.proxy.pinion.wait_stderr("draining");
            client.send("still there?");
            assert_eq!(end.read_exact(12), b"still there?");
            client.expect_closed();
            end.expect_gone();
            assert!(begun.elapsed() >= Duration::from_millis(1_500));
            assert!(stage.proxy.pinion.wait_exit().success());
            let line = logged(&stage.proxy, 1);
            assert_eq!((&line["response_code"], &line["response_flags"]), (&101.into(), &"DRN".into()));
            assert_eq!(
                (&line["bytes_received"], &line["response_code_details"]),
                (&12.into(), &"drained".into())
            );
        },
    );
}

#[test]
fn a_drain_waits_for_no_longer_than_it_lasts() {
    on_tcp(
        |driver| Setup::on(driver).proxy("drain = \"60s\""),
        |stage| {
            let (mut client, end) = stage.open();
            stage.proxy.pinion.signal(Signal::TERM);
            stage.proxy.pinion.wait_stderr("draining");
            drop(end);
            client.expect_closed();
            drop(client);
            // Sooner than the drain's end, which is beyond any patience here.
            assert!(PATIENCE < Duration::from_secs(60) && stage.proxy.pinion.wait_exit().success());
        },
    );
}

#[test]
fn resets() {
    on_tcp(logging, |stage| {
        let (mut client, mut end) = stage.open();
        end.send("last words");
        assert_eq!(client.read_exact(10), b"last words");
        end.reset();
        client.expect_closed();
        stage.proxy.expect_faults("tunnel_reset", 1);
        assert_eq!(logged(&stage.proxy, 1)["response_flags"], "UC");

        let (client, mut end) = stage.open();
        client.reset();
        end.expect_gone();
        stage.proxy.expect_faults("client_gone", 1);
        assert_eq!(logged(&stage.proxy, 2)["response_flags"], "DC");
        drop(end);
        stage.expect_over(2);
    });
}

#[test]
fn the_last_words_survive_a_client_that_goes_on_talking() {
    on_all(Setup::on, |stage| {
        let (mut client, mut end) = stage.open();
        // So few that they fit the client's receive buffer.
        let words = noise(50_000, 3);
        scope(|scope| {
            let mut talker = client.twin();
            scope.spawn(move || while talker.try_send(&[b'x'; 1_000]).is_ok() {});
            end.read_exact(5_000);
            end.send(&words);
            end.finish_sending();
            let of_words = [("direction", "downstream")];
            stage.proxy.expect_metric("pinion_relay_bytes_total", &of_words, words.len() as f64);
            // Not all was read: over TCP this resets.
            drop(end);
            stage.proxy.expect_metric("pinion_listener_tunnels_active", &[], 0.0);
            assert!(client.read_exact(words.len()) == words);
            client.expect_gone();
            drop(client);
        });
        stage.expect_over(1);
    });
}
