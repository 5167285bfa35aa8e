//! HTTP/2 and gRPC of the origin, asked by a client that is not ours, on both drivers.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::future::Future;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};

use common::{DRIVERS, Origin, PATIENCE};

/// Runs a test with an origin of each driver, within the patience of all tests.
fn on_both<F: Future<Output = ()>>(options: &[&str], test: impl Fn(SendRequest<Bytes>, String) -> F) {
    for driver in DRIVERS {
        let origin = Origin::start(driver, options);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = connect(&origin.address).await;
            tokio::time::timeout(PATIENCE, test(client, origin.address.clone())).await.unwrap();
        });
    }
}

async fn connect(address: &str) -> SendRequest<Bytes> {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    client.ready().await.unwrap()
}

fn request(method: &str, path: &str) -> Request<()> {
    Request::builder().method(method).uri(format!("http://shop.example{path}")).body(()).unwrap()
}

/// The whole content and the trailers.
async fn collect(mut body: RecvStream) -> Result<(Bytes, HeaderMap), h2::Error> {
    let mut all = BytesMut::new();
    while let Some(part) = body.data().await {
        let part = part?;
        body.flow_control().release_capacity(part.len())?;
        all.extend_from_slice(&part);
    }
    Ok((all.freeze(), body.trailers().await?.unwrap_or_default()))
}

async fn get(client: &mut SendRequest<Bytes>, path: &str) -> Response<Bytes> {
    let (response, _) = client.send_request(request("GET", path), true).unwrap();
    let (parts, body) = response.await.unwrap().into_parts();
    Response::from_parts(parts, collect(body).await.unwrap().0)
}

/// Sends all of `bytes` as windows allow, without the end.
async fn send(stream: &mut SendStream<Bytes>, mut bytes: Bytes) {
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len());
        let room = std::future::poll_fn(|context| stream.poll_capacity(context)).await.unwrap().unwrap();
        stream.send_data(bytes.split_to(room.min(bytes.len())), false).unwrap();
    }
}

#[test]
fn answers_are_the_same_as_over_http_1() {
    on_both(&["--name", "shop"], |mut client, _| async move {
        let answer = get(&mut client, "/").await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["x-served-by"], "shop/v1");
        assert_eq!(answer.headers()["content-type"], "application/json");
        assert_eq!(answer.body(), "{\"name\":\"shop\",\"version\":\"v1\"}\n");
        for (size, number) in [("0", 0), ("1", 1), ("16KiB", 16_384), ("65537", 65_537), ("3MiB", 3 << 20)] {
            let expected: String = (0..=number / 16).map(|n| format!("{:015x}\n", n % 16_384)).collect();
            for _ in 0..2 {
                let answer = get(&mut client, &format!("/bytes/{size}")).await;
                assert_eq!(answer.headers()["content-length"], number.to_string());
                assert!(answer.body()[..] == expected.as_bytes()[..number], "{size}");
            }
            let answer = get(&mut client, &format!("/chunked/{size}")).await;
            assert!(answer.headers().get("content-length").is_none());
            assert!(answer.body()[..] == expected.as_bytes()[..number], "{size}");
        }
        assert_eq!(get(&mut client, "/status/503/bytes/2").await.status(), 503);
        assert_eq!(get(&mut client, "/status/204").await.body(), "");
        assert_eq!(get(&mut client, "/bytes/many").await.status(), 400);
        let (head, _) = client.send_request(request("HEAD", "/bytes/7"), true).unwrap();
        let head = head.await.unwrap();
        assert_eq!(head.headers()["content-length"], "7");
        assert!(head.body().is_end_stream());
    });
}

#[test]
fn echo_tells_what_came() {
    on_both(&[], |mut client, _| async move {
        for round in 1..=2 {
            let (response, mut body) = client.send_request(request("POST", "/echo?a=b"), false).unwrap();
            send(&mut body, Bytes::from_static(b"hello")).await;
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", "5".parse().unwrap());
            body.send_trailers(trailers).unwrap();
            let (body, _) = collect(response.await.unwrap().into_body()).await.unwrap();
            let echo: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(echo["http_version"], "HTTP/2");
            assert_eq!(
                (&echo["method"], &echo["path"], &echo["query"]),
                (&"POST".into(), &"/echo".into(), &"a=b".into())
            );
            assert_eq!((&echo["body"], &echo["body_length"]), (&"hello".into(), &5.into()));
            assert_eq!(echo["trailers"], serde_json::json!(["x-sum: 5"]));
            assert!(
                echo["headers"]
                    .as_array()
                    .unwrap()
                    .contains(&serde_json::json!([":authority", "shop.example"]))
            );
            assert_eq!((&echo["connection"], &echo["request"]), (&1.into(), &round.into()));
        }
    });
}

#[test]
fn a_large_body_is_taken_as_windows_allow() {
    on_both(&[], |mut client, _| async move {
        let (response, mut body) = client.send_request(request("POST", "/echo"), false).unwrap();
        send(&mut body, Bytes::from(vec![b'x'; 5 << 20])).await;
        body.send_data(Bytes::new(), true).unwrap();
        let (body, _) = collect(response.await.unwrap().into_body()).await.unwrap();
        let echo: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((&echo["body_length"], &echo["body_truncated"]), (&(5 << 20).into(), &true.into()));
    });
}

#[test]
fn requests_wait_beside_one_another() {
    on_both(&[], |mut client, _| async move {
        let start = Instant::now();
        let mut answers: Vec<ResponseFuture> = Vec::new();
        for number in (0..100).rev() {
            client = client.ready().await.unwrap();
            let path = format!("/delay/{}ms/bytes/100", 200 + number);
            answers.push(client.send_request(request("GET", &path), true).unwrap().0);
        }
        for answer in answers {
            assert_eq!(collect(answer.await.unwrap().into_body()).await.unwrap().0.len(), 100);
        }
        // One after the other it would be 25 s, which is beyond all patience.
        assert!(start.elapsed() >= Duration::from_millis(299), "{:?}", start.elapsed());
    });
}

#[test]
fn a_reset_ends_its_stream_only_and_a_truncation_the_connection() {
    on_both(&[], |mut client, _| async move {
        for path in ["/reset", "/bytes/1MiB/reset"] {
            let (response, _) = client.send_request(request("GET", path), true).unwrap();
            let outcome = match response.await {
                Ok(response) => collect(response.into_body()).await.map(|_| ()),
                Err(error) => Err(error),
            };
            assert_eq!(outcome.unwrap_err().reason(), Some(Reason::INTERNAL_ERROR), "{path}");
        }
        assert_eq!(get(&mut client, "/").await.status(), 200, "the connection goes on");
        let (response, _) = client.send_request(request("GET", "/bytes/1MiB/truncate/100000"), true).unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.headers()["content-length"], "1048576");
        let error = collect(response.into_body()).await.unwrap_err();
        assert!(error.is_io(), "{error:?}");
    });
}

#[test]
fn close_says_goodbye_after_what_is_in_progress() {
    on_both(&[], |mut client, address| async move {
        let (slow, _) = client.send_request(request("GET", "/delay/200ms/bytes/9"), true).unwrap();
        assert_eq!(get(&mut client, "/close").await.status(), 200);
        assert_eq!(collect(slow.await.unwrap().into_body()).await.unwrap().0.len(), 9);
        assert!(client.ready().await.is_err(), "the connection takes more");
        assert_eq!(get(&mut connect(&address).await, "/").await.status(), 200);
    });
}

#[test]
fn slow_and_failing_answers_are_scripted_as_over_http_1() {
    on_both(&["--error-rate", "100%:500", "--body-rate", "1kB"], |mut client, _| async move {
        let start = Instant::now();
        let answer = get(&mut client, "/bytes/1MiB").await;
        assert_eq!((answer.status().as_u16(), answer.body().len()), (500, 33));
        assert!(start.elapsed() >= Duration::from_millis(33), "{:?}", start.elapsed());
    });
    on_both(&["--service-time", "20ms"], |mut client, _| async move {
        let start = Instant::now();
        let mut answers = Vec::new();
        for _ in 0..10 {
            client = client.ready().await.unwrap();
            answers.push(client.send_request(request("GET", "/"), true).unwrap().0);
        }
        for (index, answer) in answers.into_iter().enumerate() {
            answer.await.unwrap();
            let least = Duration::from_millis(20 * (index as u64 + 1));
            assert!(start.elapsed() >= least, "answer {index} after {:?}", start.elapsed());
        }
    });
}

fn message(bytes: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(5 + bytes.len());
    message.put_u8(0);
    message.put_u32(bytes.len() as u32);
    message.put_slice(bytes);
    message.freeze()
}

fn call(client: &mut SendRequest<Bytes>, path: &str) -> (ResponseFuture, SendStream<Bytes>) {
    let mut request = request("POST", path);
    request.headers_mut().insert("content-type", "application/grpc+proto".parse().unwrap());
    request.headers_mut().insert("te", "trailers".parse().unwrap());
    client.send_request(request, false).unwrap()
}

/// Makes a call with one message: all content, and the status.
async fn unary(client: &mut SendRequest<Bytes>, path: &str, request: &[u8]) -> (Bytes, String) {
    let (response, mut stream) = call(client, path);
    stream.send_data(message(request), true).unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/grpc+proto");
    let only = response.headers().get("grpc-status").cloned();
    let (body, trailers) = collect(response.into_body()).await.unwrap();
    let status = only.unwrap_or_else(|| trailers["grpc-status"].clone());
    (body, status.to_str().unwrap().to_owned())
}

#[test]
fn grpc_messages_come_back() {
    on_both(&[], |mut client, _| async move {
        let echoed = unary(&mut client, "/shop.Cart/Add", b"one").await;
        assert_eq!(echoed, (message(b"one"), "0".to_owned()));
        let repeated = unary(&mut client, "/shop.Cart/ServerStream", b"x").await;
        assert_eq!(repeated, (Bytes::from(message(b"x").repeat(10)), "0".to_owned()));

        let (response, mut stream) = call(&mut client, "/shop.Cart/ClientStream");
        for part in [&b"a"[..], b"", b"bc"] {
            stream.send_data(message(part), false).unwrap();
        }
        stream.send_data(Bytes::new(), true).unwrap();
        let (body, trailers) = collect(response.await.unwrap().into_body()).await.unwrap();
        assert_eq!((body, trailers["grpc-status"].to_str().unwrap()), (message(b"abc"), "0"));

        // Both ways: each message is back before the next one is sent.
        let (response, mut stream) = call(&mut client, "/shop.Cart/Talk");
        stream.send_data(message(b"first"), false).unwrap();
        let mut body = response.await.unwrap().into_body();
        for next in [&b"second"[..], b"third", b""] {
            let part = body.data().await.unwrap().unwrap();
            body.flow_control().release_capacity(part.len()).unwrap();
            assert!(part.len() > 5);
            if !next.is_empty() {
                stream.send_data(message(next), false).unwrap();
            }
        }
        stream.send_data(Bytes::new(), true).unwrap();
        let (rest, trailers) = collect(body).await.unwrap();
        assert_eq!((rest, trailers["grpc-status"].to_str().unwrap()), (Bytes::new(), "0"));

        let large = vec![7; 3 << 20];
        let (response, mut stream) = call(&mut client, "/shop.Cart/Talk");
        let sending = async {
            send(&mut stream, message(&large)).await;
            stream.send_data(Bytes::new(), true).unwrap();
        };
        let receiving = async { collect(response.await.unwrap().into_body()).await.unwrap().0 };
        let ((), body) = tokio::join!(sending, receiving);
        assert!(body == message(&large), "{} bytes", body.len());
    });
}

#[test]
fn grpc_errors_have_a_status() {
    on_both(&[], |mut client, _| async move {
        let (response, mut stream) = call(&mut client, "/shop.Cart/Add");
        stream.send_data(Bytes::from_static(&[0, 0, 0, 0, 9, 1]), true).unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.headers()["grpc-status"], "13");
    });
    on_both(&["--error-rate", "100%:503"], |mut client, _| async move {
        assert_eq!(unary(&mut client, "/shop.Cart/Add", b"one").await, (Bytes::new(), "14".to_owned()));
    });
    on_both(&["--reset-rate", "100%"], |mut client, _| async move {
        let (response, mut stream) = call(&mut client, "/shop.Cart/Add");
        stream.send_data(message(b"one"), true).unwrap();
        let outcome = match response.await {
            Ok(response) => collect(response.into_body()).await.map(|_| ()),
            Err(error) => Err(error),
        };
        assert_eq!(outcome.unwrap_err().reason(), Some(Reason::INTERNAL_ERROR));
    });
}

#[test]
fn delayed_messages_wait_in_order_and_not_without_end() {
    on_both(&["--delay", "0..40ms"], |mut client, _| async move {
        let (response, mut stream) = call(&mut client, "/shop.Cart/Talk");
        let sent: Vec<Bytes> = (0..20_u8).map(|number| message(&[number])).collect();
        for message in &sent {
            stream.send_data(message.clone(), false).unwrap();
        }
        stream.send_data(Bytes::new(), true).unwrap();
        let (body, _) = collect(response.await.unwrap().into_body()).await.unwrap();
        assert_eq!(body, sent.concat());
    });
    on_both(&["--delay", "1h"], |mut client, _| async move {
        let (response, mut stream) = call(&mut client, "/shop.Cart/Talk");
        let flood = async {
            loop {
                let mut left = message(&vec![7; 1 << 20]);
                while !left.is_empty() {
                    stream.reserve_capacity(left.len());
                    match std::future::poll_fn(|context| stream.poll_capacity(context)).await {
                        Some(Ok(room)) => {
                            let part = left.split_to(room.min(left.len()));
                            if stream.send_data(part, false).is_err() {
                                return;
                            }
                        }
                        _ => return,
                    }
                }
            }
        };
        tokio::time::timeout(PATIENCE, flood).await.unwrap();
        assert_eq!(response.await.unwrap_err().reason(), Some(Reason::ENHANCE_YOUR_CALM));
    });
}

#[test]
fn health_is_checked_and_watched() {
    on_both(&["--name", "shop"], |mut client, _| async move {
        let check = "/grpc.health.v1.Health/Check";
        assert_eq!(unary(&mut client, check, b"").await, (message(&[8, 1]), "0".to_owned()));
        assert_eq!(unary(&mut client, check, b"\x0a\x04shop").await, (message(&[8, 1]), "0".to_owned()));
        assert_eq!(unary(&mut client, check, b"\x0a\x01x").await, (Bytes::new(), "5".to_owned()));
        let (response, mut stream) = call(&mut client, "/grpc.health.v1.Health/Watch");
        stream.send_data(message(b""), true).unwrap();
        let mut body = response.await.unwrap().into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), message(&[8, 1]));
        // It stays open.
        let more = tokio::time::timeout(Duration::from_millis(200), body.data()).await;
        assert!(more.is_err(), "{more:?}");
    });
}

#[test]
fn sigterm_lets_streams_in_progress_finish() {
    for driver in DRIVERS {
        let mut origin = Origin::start(driver, &[]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut client = connect(&origin.address).await;
            let (slow, _) = client.send_request(request("GET", "/delay/400ms/bytes/9"), true).unwrap();
            tokio::time::sleep(Duration::from_millis(150)).await;
            origin.terminate();
            assert_eq!(collect(slow.await.unwrap().into_body()).await.unwrap().0.len(), 9);
        });
        assert!(origin.wait().success());
    }
}

#[test]
fn http_1_and_http_2_share_a_port_for_curl() {
    let version = Command::new("curl").arg("--version").output();
    if !version.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("HTTP2")) {
        println!("SKIPPED: no curl with HTTP/2");
        return;
    }
    for driver in DRIVERS {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("origin.sock");
        let socket = socket.to_str().unwrap();
        let origin = Origin::start(driver, &["--listen", &format!("unix:{socket}")]);
        for (option, seen) in [("--http2-prior-knowledge", "HTTP/2"), ("--http1.1", "HTTP/1.1")] {
            let url = format!("http://{}/echo", origin.address);
            for by_path in [&[][..], &["--unix-socket", socket]] {
                let mut curl = Command::new("curl");
                let output = curl.args(["-sS", option, "-d", "hello", &url]).args(by_path).output().unwrap();
                let echo: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
                assert_eq!((&echo["http_version"], &echo["body"]), (&seen.into(), &"hello".into()));
                assert_eq!(echo["source"].is_null(), !by_path.is_empty(), "{echo}");
            }
        }
    }
}

#[test]
fn h2load_finds_every_answer_right() {
    if Command::new("h2load").arg("--version").output().is_err() {
        println!("SKIPPED: no h2load");
        return;
    }
    for driver in DRIVERS {
        let origin = Origin::start(driver, &["--threads", "2"]);
        for path in ["/bytes/100", "/bytes/100KiB"] {
            let url = format!("http://{}{path}", origin.address);
            let output = Command::new("h2load").args(["-n2000", "-c8", "-m16", &url]).output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(text.contains("2000 succeeded, 0 failed, 0 errored"), "{text}");
        }
    }
}
