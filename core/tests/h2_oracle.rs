//! The machine against another implementation, the `h2` crate, in both roles and in memory: requests and responses
//! with bodies, trailers, resets and drains, through pipes of random sizes.
//!
//! `PINION_SIM_SEED` replays one seed, `PINION_SIM_RUNS` sets how many are run.

#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use pinion_core::http::h2::Limits;
use pinion_core::rng::Rng;
use tokio::io::DuplexStream;

use ours::{Client, Outcome, Server};

#[path = "h2/ours.rs"]
mod ours;

const STREAMS: u32 = 40;

fn seeds(runs_default: u64) -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text: String| text.parse().ok());
    match number("PINION_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("PINION_SIM_RUNS").unwrap_or(runs_default),
    }
}

fn run<F: Future<Output = ()>>(seed: u64, test: impl FnOnce(Rng) -> F) {
    println!("seed {seed}: replay with PINION_SIM_SEED={seed}");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test(Rng::seeded(seed)));
}

fn limits(rng: &mut Rng, base: Limits) -> Limits {
    Limits {
        stream_window: [1_000, 65_535, 300_000][rng.below(3) as usize],
        connection_window: [65_535, 1_000_000][rng.below(2) as usize],
        frame_bytes: [16_384, 50_000][rng.below(2) as usize],
        table_bytes: [0, 200, 4_096, 10_000][rng.below(4) as usize],
        ..base
    }
}

fn body(number: u32, size: usize) -> Bytes {
    (0..size).map(|at| (at as u32).wrapping_mul(7).wrapping_add(number) as u8).collect()
}

fn sizes(rng: &mut Rng) -> Vec<usize> {
    (0..STREAMS)
        .map(|_| {
            let most = [1, 100, 20_000, 150_000][rng.below(4) as usize];
            rng.below(most) as usize
        })
        .collect()
}

/// One request of the `h2` client; returns its answer's status, body and trailers.
async fn ask(
    mut send: h2::client::SendRequest<Bytes>,
    number: u32,
    content: Bytes,
    path: &str,
) -> Result<(u16, Vec<u8>, Option<HeaderMap>), h2::Error> {
    let request = Request::post(format!("http://sim{path}")).header("x-number", number).body(()).unwrap();
    std::future::poll_fn(|cx| send.poll_ready(cx)).await?;
    let (response, mut stream) = send.send_request(request, false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", number.into());
    if number.is_multiple_of(3) {
        stream.send_data(content, false)?;
        stream.send_trailers(trailers)?;
    } else {
        stream.send_data(content, true)?;
    }
    let response = response.await?;
    assert_eq!(response.headers()["x-number"], number.to_string());
    let status = response.status().as_u16();
    let mut body = response.into_body();
    let mut whole = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        whole.extend_from_slice(&piece);
    }
    Ok((status, whole, body.trailers().await?))
}

async fn h2_client(rng: &mut Rng, io: DuplexStream) -> h2::client::SendRequest<Bytes> {
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size([1_000, 65_535, 500_000][rng.below(3) as usize])
        .initial_connection_window_size([65_535, 1_000_000][rng.below(2) as usize])
        .max_frame_size([16_384, 100_000][rng.below(2) as usize])
        .header_table_size([0, 100, 4_096, 65_536][rng.below(4) as usize]);
    let (send, connection) = builder.handshake(io).await.unwrap();
    tokio::task::spawn_local(async move {
        let _ = connection.await;
    });
    send
}

#[test]
fn our_server_serves_the_other_client() {
    for seed in seeds(12) {
        run(seed, |mut rng| async move {
            let (ours, theirs) = tokio::io::duplex(1 + rng.below(60_000) as usize);
            let server = Server::start(limits(&mut rng, Limits::server()), ours);
            let send = h2_client(&mut rng, theirs).await;
            let mut asked = Vec::new();
            for (number, size) in sizes(&mut rng).into_iter().enumerate() {
                let content = body(number as u32, size);
                let answer = ask(send.clone(), number as u32, content.clone(), "/echo");
                asked.push((number as u32, content, tokio::task::spawn_local(answer)));
            }
            for (number, content, answer) in asked {
                let (status, echoed, trailers) = answer.await.unwrap().unwrap();
                assert_eq!((status, echoed.len()), (200, content.len()));
                assert!(echoed == content, "the content of {number} came back as another");
                let sum = trailers.map(|trailers| trailers["x-sum"].to_str().unwrap().to_owned());
                assert_eq!(sum, number.is_multiple_of(3).then(|| number.to_string()));
            }
            drop(send);
            let outcome = server.await.unwrap();
            assert_eq!(outcome, Outcome { heads: STREAMS, over: outcome.over, ..Outcome::default() });
        });
    }
}

#[test]
fn resets_go_both_ways() {
    for seed in seeds(8) {
        run(seed, |mut rng| async move {
            let (ours, theirs) = tokio::io::duplex(1 + rng.below(60_000) as usize);
            let server = Server::start(limits(&mut rng, Limits::server()), ours);
            let send = h2_client(&mut rng, theirs).await;
            for (number, size) in sizes(&mut rng).into_iter().enumerate() {
                let number = number as u32;
                let content = body(number, size);
                match number % 3 {
                    // The server breaks it off.
                    0 => {
                        let error = ask(send.clone(), number, content, "/reset").await.unwrap_err();
                        assert_eq!(error.reason(), Some(h2::Reason::CANCEL));
                    }
                    // The client does: a request dropped in the middle.
                    1 => {
                        let mut send = send.clone();
                        std::future::poll_fn(|cx| send.poll_ready(cx)).await.unwrap();
                        let request =
                            Request::post("http://sim/echo").header("x-number", number).body(()).unwrap();
                        let (response, mut stream) = send.send_request(request, false).unwrap();
                        stream.send_data(content, false).unwrap();
                        tokio::task::yield_now().await;
                        stream.send_reset(h2::Reason::CANCEL);
                        drop(response);
                    }
                    _ => {
                        let (status, echoed, _) =
                            ask(send.clone(), number, content.clone(), "/echo").await.unwrap();
                        assert!(status == 200 && echoed == content);
                    }
                }
            }
            drop(send);
            let outcome = server.await.unwrap();
            assert_eq!(outcome.active, 0, "{outcome:?}");
            assert!(outcome.resets > 0, "{outcome:?}");
        });
    }
}

#[test]
fn a_drain_finishes_what_was_begun() {
    for seed in seeds(8) {
        run(seed, |mut rng| async move {
            let (ours, theirs) = tokio::io::duplex(1 + rng.below(60_000) as usize);
            let server = Server::start(limits(&mut rng, Limits::server()), ours);
            let send = h2_client(&mut rng, theirs).await;
            let mut asked = Vec::new();
            for number in 0..10 {
                let path = if number == 5 { "/drain" } else { "/echo" };
                let answer = ask(send.clone(), number, body(number, 30_000), path);
                asked.push(tokio::task::spawn_local(answer));
            }
            for answer in asked {
                let (status, echoed, _) = answer.await.unwrap().unwrap();
                assert_eq!((status, echoed.len()), (200, 30_000));
            }
            let late = ask(send.clone(), 99, Bytes::new(), "/echo").await;
            assert!(late.is_err(), "nothing new after a drain");
            let outcome = server.await.unwrap();
            assert_eq!((outcome.active, outcome.heads, outcome.over), (0, 10, true), "{outcome:?}");
        });
    }
}

/// The `h2` server: sends back what it gets.
async fn h2_server(mut rng: Rng, io: DuplexStream) {
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size([1_000, 65_535, 500_000][rng.below(3) as usize])
        .initial_connection_window_size([65_535, 1_000_000][rng.below(2) as usize])
        .max_frame_size([16_384, 100_000][rng.below(2) as usize])
        .max_concurrent_streams([3, 100][rng.below(2) as usize]);
    let mut connection = builder.handshake::<_, Bytes>(io).await.unwrap();
    while let Some(request) = connection.accept().await {
        let Ok((request, mut respond)) = request else { break };
        tokio::task::spawn_local(async move {
            let number = request.headers()["x-number"].clone();
            let mut early = Response::new(());
            *early.status_mut() = http::StatusCode::EARLY_HINTS;
            let _ = respond.send_informational(early);
            let mut body = request.into_body();
            let response = Response::builder().header("x-number", number.clone()).body(()).unwrap();
            let Ok(mut send) = respond.send_response(response, false) else { return };
            while let Some(Ok(piece)) = body.data().await {
                let _ = body.flow_control().release_capacity(piece.len());
                if send.send_data(piece, false).is_err() {
                    return;
                }
            }
            let trailers = body.trailers().await.ok().flatten();
            let _ = match trailers {
                Some(trailers) => send.send_trailers(trailers),
                None => send.send_data(Bytes::new(), true),
            };
        });
    }
}

#[test]
fn our_client_asks_the_other_server() {
    for seed in seeds(12) {
        run(seed, |mut rng| async move {
            let (ours, theirs) = tokio::io::duplex(1 + rng.below(60_000) as usize);
            tokio::task::spawn_local(h2_server(rng.clone(), theirs));
            let sizes = sizes(&mut rng);
            let requests = sizes.iter().enumerate().map(|(n, &size)| body(n as u32, size)).collect();
            let answers = Client::new(limits(&mut rng, Limits::client()), requests).run(ours).await;
            assert_eq!(answers.len(), STREAMS as usize);
            for (number, answer) in answers {
                assert!(answer.body == body(number, sizes[number as usize]), "{number} came back as another");
                assert_eq!((answer.status, answer.interim), (200, 1));
                let expected = if number % 3 == 0 { format!("x-sum: {number}\r\n") } else { String::new() };
                assert_eq!(answer.trailers, expected);
            }
        });
    }
}
