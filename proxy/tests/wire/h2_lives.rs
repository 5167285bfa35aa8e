//! The lives of HTTP/2 connections while requests go on: endpoints that leave or refuse, limits, a proxy that stops
//! or reloads, and attackers next door.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::h2_peer::{Answer, Asker, CALM, Manner, ask, connect, origin, origin_with, pattern, run_in_time};
use super::support::{Builder, Pinion, Signal, drivers, eventually, free_address};

fn config(address: SocketAddr, origin: SocketAddr, more: &str) -> String {
    format!(
        "[[listeners]]\nname = \"web\"\naddress = \"{address}\"\n[[routes]]\ncluster = \"app\"\n\
         [[clusters]]\nname = \"app\"\nprotocol = \"http2\"\nendpoints = [\"{origin}\"]\n{more}"
    )
}

/// For each driver, a proxy in front of `origin`.
fn each(origin: SocketAddr, more: &str, test: impl Fn(Pinion, SocketAddr)) {
    for driver in drivers() {
        let address = free_address();
        let builder: Builder = Pinion::with(driver).proxy("shards = 1\ndrain = \"15s\"");
        test(builder.config(&config(address, origin, more)).start(), address);
    }
}

fn value(pinion: &Pinion, name: &str, labels: &[(&str, &str)]) -> u64 {
    pinion.metrics().value(name, labels) as u64
}

#[test]
fn an_origin_that_leaves_again_and_again_fails_no_request() {
    let (origin, connections) = origin_with(Manner { leaves_after: 20, ..CALM });
    each(origin, "", |pinion, address| {
        let before = connections.load(Ordering::Relaxed);
        let asker = Asker::start(address, 8);
        eventually("it has left five times", || connections.load(Ordering::Relaxed) >= before + 5);
        asker.stop();
        let left =
            value(&pinion, "pinion_http2_goaways_total", &[("side", "upstream"), ("direction", "received")]);
        assert!(left >= 4, "{left}");
    });
}

#[test]
fn refused_streams_are_sent_again_by_themselves() {
    let (origin, _) = origin_with(Manner { refuses: 2, ..CALM });
    each(origin, "", |_pinion, address| {
        run_in_time(async {
            let (client, _connection) = connect(address).await;
            for round in 0..4 {
                let answer = ask(&client, "/echo", &pattern(round * 100)).await.expect("an answer");
                assert_eq!(answer.status, 200);
            }
        });
    });
}

#[test]
fn more_requests_than_streams_wait_or_take_another_connection() {
    let (origin, connections) = origin_with(Manner { streams: 3, slow: Duration::from_millis(5), ..CALM });
    let limits = "limits = { connections = 2, pending_timeout = \"60s\" }";
    each(origin, limits, |pinion, address| {
        let before = connections.load(Ordering::Relaxed);
        // Its limit is known from the first answer on.
        let asker = Asker::quiet(address);
        asker.ask_once();
        asker.go(30);
        eventually("many were answered", || {
            value(&pinion, "pinion_requests_total", &[("listener", "web")]) > 300
        });
        asker.stop();
        assert_eq!(connections.load(Ordering::Relaxed), before + 2);
        assert_eq!(value(&pinion, "pinion_cluster_responses_total", &[("code_class", "none")]), 0);
    });
}

#[test]
fn trailers_and_heads_pass_both_ways() {
    each(origin(), "", |_pinion, address| {
        run_in_time(async {
            let (client, _connection) = connect(address).await;
            let mut ready = client.clone().ready().await.expect("room");
            let request = http::Request::post("http://test/with/trailers").body(()).expect("a request");
            let (answer, mut body) = ready.send_request(request, false).expect("sent");
            body.send_data(bytes::Bytes::from_static(b"content"), false).expect("sent");
            let mut fields = http::HeaderMap::new();
            fields.insert("x-sum", http::HeaderValue::from_static("7"));
            body.send_trailers(fields).expect("sent");
            let answer = answer.await.expect("an answer");
            assert_eq!(answer.headers()["x-path"], "/with/trailers");
            assert_eq!(answer.headers()["x-version"], "HTTP/2.0");
            let (content, trailers) = super::h2_peer::read_body(answer.into_body()).await.expect("all of it");
            assert_eq!(content, b"content");
            assert_eq!(trailers.expect("trailers")["x-sum"], "7");
            let Answer { headers, trailers, .. } = ask(&client, "/plain", b"").await.expect("an answer");
            assert_eq!((&headers["x-path"], trailers), (&http::HeaderValue::from_static("/plain"), None));
        });
    });
}

#[test]
fn a_proxy_that_stops_finishes_what_began_and_says_goodbye() {
    let (origin, _) = origin_with(Manner { slow: Duration::from_millis(700), ..CALM });
    for driver in drivers() {
        let address = free_address();
        let builder: Builder = Pinion::with(driver).proxy("shards = 2\ndrain = \"15s\"");
        let mut pinion = builder.config(&config(address, origin, "")).start();
        run_in_time(async {
            let (client, connection) = connect(address).await;
            let (resting, rests) = connect(address).await;
            let asked: Vec<_> = (0..5)
                .map(|round| {
                    let client = client.clone();
                    tokio::spawn(async move { ask(&client, "/slow", &pattern(round * 20_000)).await })
                })
                .collect();
            tokio::time::sleep(Duration::from_millis(200)).await;
            pinion.signal(Signal::TERM);
            for answer in asked {
                assert_eq!(answer.await.expect("no panic").expect("an answer").status, 200);
            }
            // Both were told, and closed without an error.
            connection.await.expect("no panic").expect("a regular end");
            rests.await.expect("no panic").expect("a regular end");
            drop((client, resting));
        });
        assert!(pinion.wait_exit().success());
    }
}

#[test]
fn a_listener_that_leaves_the_configuration_lets_its_connections_finish() {
    let (origin, _) = origin_with(Manner { slow: Duration::from_millis(700), ..CALM });
    each(origin, "", |pinion, address| {
        run_in_time(async {
            let (client, connection) = connect(address).await;
            let (resting, rests) = connect(address).await;
            let asking = client.clone();
            let asked = tokio::spawn(async move { ask(&asking, "/slow", &pattern(50_000)).await });
            tokio::time::sleep(Duration::from_millis(200)).await;
            pinion.write(&config(free_address(), origin, "").replace("\"web\"", "\"other\""));
            assert_eq!(pinion.reload().status, 200);
            assert_eq!(asked.await.expect("no panic").expect("an answer").status, 200);
            rests.await.expect("no panic").expect("a regular end");
            connection.await.expect("no panic").expect("a regular end");
            drop((client, resting));
        });
    });
}

/// Opens streams and resets them at once, until the proxy has had enough.
async fn flood(address: SocketAddr) -> Option<h2::Reason> {
    let (client, connection) = connect(address).await;
    let mut client = Some(client);
    while let Some(mut asks) = client.take() {
        let request = http::Request::post("http://test/flood").body(()).expect("a request");
        match asks.send_request(request, false) {
            Ok((_, mut body)) => body.send_reset(h2::Reason::CANCEL),
            Err(_) => break,
        }
        client = asks.ready().await.ok();
        tokio::task::yield_now().await;
    }
    connection.await.expect("no panic").err().and_then(|error| error.reason())
}

#[test]
fn attackers_are_told_to_calm_down_and_their_neighbour_does_not_notice() {
    const ATTACKS: usize = 10;
    each(origin(), "", |pinion, address| {
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let stopped = stop.clone();
        let attackers = std::thread::spawn(move || {
            for _ in 0..ATTACKS {
                assert_eq!(run_in_time(flood(address)), Some(h2::Reason::ENHANCE_YOUR_CALM));
            }
            stopped.store(true, Ordering::Relaxed);
        });
        let slowest = run_in_time(async {
            let (client, _connection) = connect(address).await;
            let mut times = Vec::new();
            while !stop.load(Ordering::Relaxed) || times.len() < 20 {
                let began = Instant::now();
                let answer = ask(&client, "/echo", &pattern(1_000)).await.expect("an answer");
                assert_eq!(answer.status, 200);
                times.push(began.elapsed());
            }
            times.sort();
            times[times.len() * 9 / 10]
        });
        attackers.join().expect("every attack was seen");
        let floods = [("side", "downstream"), ("kind", "rapid_reset")];
        assert_eq!(value(&pinion, "pinion_http2_floods_total", &floods), ATTACKS as u64);
        // Far beyond what it is, far below what a starved connection would have.
        assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    });
}

#[test]
fn a_connection_has_its_limit_of_requests() {
    for driver in drivers() {
        let (address, origin) = (free_address(), origin());
        let text = config(address, origin, "")
            .replace("[[routes]]", "limits = { requests_per_connection = 10 }\n[[routes]]");
        let pinion = Pinion::with(driver).proxy("shards = 1").config(&text).start();
        run_in_time(async {
            let (client, connection) = connect(address).await;
            for _ in 0..10 {
                assert_eq!(ask(&client, "/echo", b"x").await.expect("an answer").status, 200);
            }
            connection.await.expect("no panic").expect("a regular end");
            drop(client);
        });
        let sent = [("side", "downstream"), ("direction", "sent")];
        assert_eq!(value(&pinion, "pinion_http2_goaways_total", &sent), 1);
    }
}
