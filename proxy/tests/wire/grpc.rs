//! gRPC through the proxy: statuses of its own, deadlines, retries, counts, and gRPC-Web. The upstream is the `h2`
//! crate's; what a message says does not matter.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, Request, Response};

use super::h2_peer::{Answer, connect, read_body, run, run_in_time, send_body};
use super::support::{Driver, PATIENCE, Pinion, drivers, free_address};

/// One message of eleven bytes.
const MESSAGE: &[u8] = b"\x00\x00\x00\x00\x0bhello world";

/// An upstream that answers by the method's name, for the rest of the process, and how often it was asked.
fn origin() -> (SocketAddr, Arc<AtomicU64>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("an option of sockets");
    let address = listener.local_addr().expect("an address");
    let asked = Arc::new(AtomicU64::new(0));
    let count = asked.clone();
    std::thread::spawn(move || {
        run(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            loop {
                let (socket, _) = listener.accept().await.expect("a connection");
                let count = count.clone();
                tokio::spawn(async move {
                    let Ok(mut connection) = h2::server::handshake(socket).await else { return };
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        let before = count.fetch_add(1, Ordering::SeqCst);
                        tokio::spawn(answer(request, respond, before));
                    }
                });
            }
        });
    });
    (address, asked)
}

/// Answers one request; `before` were asked earlier.
async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>, before: u64) {
    let seen = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    let head = Response::builder()
        .header("content-type", "application/grpc+proto")
        .header("x-type", seen("content-type"))
        .header("x-te", seen("te"))
        .header("x-timeout", seen("grpc-timeout"));
    let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
    match method.as_str() {
        // Nothing but a status: the first time unavailable.
        "Flaky" if before == 0 => {
            let head = head.header("grpc-status", "14").header("grpc-message", "not yet");
            let _ = respond.send_response(head.body(()).expect("a head"), true);
        }
        // Not gRPC's.
        "Plain" => {
            let head = Response::builder().status(503).header("content-type", "text/plain");
            let _ = respond.send_response(head.body(()).expect("a head"), true);
        }
        "Never" => tokio::time::sleep(4 * PATIENCE).await,
        _ => {
            let Ok((content, _)) = read_body(request.into_body()).await else { return };
            let Ok(mut body) = respond.send_response(head.body(()).expect("a head"), false) else { return };
            let _ = send_body(&mut body, &content, false).await;
            let mut trailers = HeaderMap::new();
            trailers
                .insert("grpc-status", if method == "Missing" { "5" } else { "0" }.parse().expect("a value"));
            let _ = body.send_trailers(trailers);
        }
    }
}

fn start(driver: Driver, origin: SocketAddr, route: &str) -> (Pinion, SocketAddr) {
    let (address, nobody) = (free_address(), free_address());
    let config = format!(
        "[[listeners]]\nname = \"web\"\naddress = \"{address}\"\n\
         [[clusters]]\nname = \"app\"\nprotocol = \"http2\"\nendpoints = [\"{origin}\"]\n\
         [[clusters]]\nname = \"nobody\"\nprotocol = \"http2\"\nendpoints = [\"{nobody}\"]\n\
         [[routes]]\nname = \"down\"\npath = {{ prefix = \"/down.S\" }}\ncluster = \"nobody\"\n\
         [[routes]]\nname = \"app\"\npath = {{ prefix = \"/a.S\" }}\ncluster = \"app\"\n{route}\n"
    );
    (Pinion::with(driver).config(&config).start(), address)
}

/// Sends one message to `path` with these fields, and reads the answer.
async fn call(address: SocketAddr, path: &str, fields: &[(&str, &str)]) -> Result<Answer, h2::Error> {
    let (client, _connection) = connect(address).await;
    let mut request = Request::builder().method("POST").uri(format!("http://test{path}"));
    if !fields.iter().any(|(name, _)| *name == "content-type") {
        request = request.header("content-type", "application/grpc");
    }
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let mut client = client.ready().await?;
    let (answer, mut body) = client.send_request(request.body(()).expect("a request"), false)?;
    let sending = send_body(&mut body, MESSAGE, true);
    let receiving = async {
        let answer = answer.await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let (content, trailers) = read_body(answer.into_body()).await?;
        Ok(Answer { status, headers, content, trailers })
    };
    // An answer may be complete before the request was read.
    let (_, answered) = tokio::join!(sending, receiving);
    answered
}

/// The status that the answer has, in its head or trailers.
fn status(answer: &Answer) -> &str {
    let trailers = answer.trailers.as_ref().unwrap_or(&answer.headers);
    trailers.get("grpc-status").map_or("", |value| value.to_str().expect("text"))
}

#[test]
fn faults_are_told_as_statuses() {
    let (origin, _) = origin();
    for driver in drivers() {
        let (pinion, address) = start(driver, origin, "");
        for (path, expected, message) in
            [("/down.S/M", "14", "upstream connection failed"), ("/none.S/M", "12", "no route matches")]
        {
            let answer = run_in_time(call(address, path, &[])).expect("an answer");
            assert_eq!((answer.status, status(&answer)), (200, expected), "{path}");
            assert_eq!(answer.headers["content-type"], "application/grpc");
            assert_eq!(answer.headers["grpc-message"], message);
            assert!(answer.content.is_empty() && answer.trailers.is_none());
        }
        // A client that does not speak gRPC gets HTTP's statuses.
        let answer = run_in_time(call(address, "/none.S/M", &[("content-type", "text/plain")]));
        assert_eq!(answer.expect("an answer").status, 404);
        assert_eq!(
            pinion.metrics().value("pinion_faults_total", &[("stage", "route"), ("reason", "no_route")]),
            2.0
        );
    }
}

#[test]
fn a_deadline_is_passed_on_and_kept() {
    let (origin, _) = origin();
    for driver in drivers() {
        let (_pinion, address) = start(driver, origin, "");
        let answer = run_in_time(call(address, "/a.S/Echo", &[("grpc-timeout", "60S")])).expect("an answer");
        assert_eq!((answer.status, status(&answer), &*answer.content), (200, "0", MESSAGE));
        let left = answer.headers["x-timeout"].to_str().expect("text");
        let left: u64 = left.strip_suffix('u').expect("microseconds").parse().expect("a number");
        assert!((1..60_000_000).contains(&left), "{left} of 60 s");
        assert_eq!(
            (&answer.headers["x-te"], &answer.headers["x-type"]),
            (&"trailers".parse().unwrap(), &"application/grpc".parse().unwrap())
        );
        let began = Instant::now();
        let answer =
            run_in_time(call(address, "/a.S/Never", &[("grpc-timeout", "300m")])).expect("an answer");
        assert_eq!((answer.status, status(&answer)), (200, "4"));
        assert!(began.elapsed() >= Duration::from_millis(300));
    }
}

#[test]
fn a_status_asks_for_another_try() {
    for driver in drivers() {
        for (on, tries, expected) in [("unavailable", 2, "0"), ("internal", 1, "14")] {
            let (origin, asked) = origin();
            let (pinion, address) = start(driver, origin, &format!("retry = {{ on = [\"{on}\"] }}"));
            let answer = run_in_time(call(address, "/a.S/Flaky", &[])).expect("an answer");
            assert_eq!((status(&answer), asked.load(Ordering::SeqCst)), (expected, tries), "{on}");
            let retries = pinion.metrics().value("pinion_cluster_retries_total", &[("cluster", "app")]);
            assert_eq!(retries, (tries - 1) as f64);
        }
    }
}

#[test]
fn listed_methods_are_counted_by_status() {
    let (origin, _) = origin();
    for driver in drivers() {
        let (pinion, address) = start(driver, origin, "grpc = { methods = [\"a.S/Echo\", \"a.S/Missing\"] }");
        for path in ["/a.S/Echo", "/a.S/Echo", "/a.S/Missing", "/a.S/Unlisted", "/a.S/Plain"] {
            run_in_time(call(address, path, &[])).expect("an answer");
        }
        let metrics = pinion.metrics();
        let count = |service, method, code| {
            let labels = [("route", "app"), ("service", service), ("method", method), ("code", code)];
            metrics.value("pinion_grpc_responses_total", &labels)
        };
        assert_eq!(count("a.S", "Echo", "ok"), 2.0);
        assert_eq!(count("a.S", "Missing", "not_found"), 1.0);
        assert_eq!(count("other", "other", "ok"), 1.0);
        assert_eq!(count("other", "other", "unavailable"), 1.0);
    }
}

/// The content of base64 strings one behind the other.
fn base64(text: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    assert_eq!(text.len() % 4, 0, "{}", text.escape_ascii());
    let mut out = Vec::new();
    for group in text.chunks(4) {
        let value = |byte: &u8| DIGITS.iter().position(|digit| digit == byte).unwrap_or(0) as u32;
        let bits = group.iter().fold(0, |bits, byte| bits << 6 | value(byte));
        let padding = group.iter().filter(|&&byte| byte == b'=').count();
        out.extend_from_slice(&bits.to_be_bytes()[1..4 - padding]);
    }
    out
}

/// What an HTTP/1.1 client gets for `content`: the head, and the content without its chunks.
fn post(address: SocketAddr, content_type: &str, content: &[u8]) -> (String, Vec<u8>) {
    let mut socket = std::net::TcpStream::connect(address).expect("a connection");
    socket.set_read_timeout(Some(PATIENCE)).expect("an option of sockets");
    let head = format!(
        "POST /a.S/Echo HTTP/1.1\r\nHost: test\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        content.len()
    );
    socket.write_all(head.as_bytes()).expect("sent");
    // In two pieces, so that a group of digits comes in two.
    socket.write_all(&content[..5]).expect("sent");
    std::thread::sleep(Duration::from_millis(30));
    socket.write_all(&content[5..]).expect("sent");
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).expect("an answer");
    let end = answer.windows(4).position(|part| part == b"\r\n\r\n").expect("a head") + 4;
    let head = String::from_utf8(answer[..end].to_vec()).expect("text");
    let mut rest = &answer[end..];
    let mut body = Vec::new();
    while head.contains("chunked") {
        let line = rest.iter().position(|&byte| byte == b'\r').expect("a size");
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).expect("a size");
        body.extend_from_slice(&rest[line + 2..line + 2 + size]);
        rest = &rest[line + 4 + size..];
        if size == 0 {
            break;
        }
    }
    (head, body)
}

#[test]
fn browsers_are_bridged() {
    let (origin, _) = origin();
    let mut expected = MESSAGE.to_vec();
    let trailers = b"grpc-status: 0\r\n";
    expected.extend([0x80, 0, 0, 0, trailers.len() as u8]);
    expected.extend(trailers);
    for driver in drivers() {
        let (_pinion, address) = start(driver, origin, "grpc = { web = true }");
        let (head, body) = post(address, "application/grpc-web-text+proto", b"AAAAAAtoZWxsbyB3b3JsZA==");
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(head.contains("content-type: application/grpc-web-text+proto\r\n"), "{head}");
        assert!(head.contains("x-type: application/grpc+proto\r\n"), "{head}");
        assert_eq!(base64(&body), expected);
        let (head, body) = post(address, "application/grpc-web", MESSAGE);
        assert!(head.contains("content-type: application/grpc-web+proto\r\n"), "{head}");
        assert_eq!(body, expected);
        // Over HTTP/2 as well.
        let web = [("content-type", "application/grpc-web+proto")];
        let answer = run_in_time(call(address, "/a.S/Echo", &web)).expect("an answer");
        assert_eq!((answer.status, &*answer.content), (200, &*expected));
        assert!(answer.trailers.is_none());
        // A fault of ours is in the head, which browsers see.
        let answer = run_in_time(call(address, "/down.S/M", &web)).expect("an answer");
        assert_eq!((answer.status, status(&answer)), (200, "14"));
        assert_eq!(answer.headers["content-type"], "application/grpc-web+proto");
        // What is no base64 is refused.
        let (head, _) = post(address, "application/grpc-web-text", b"not base64!");
        assert!(head.contains("grpc-status: 13\r\n"), "{head}");
    }
}

#[test]
fn without_the_routes_leave_nothing_is_translated() {
    let (origin, _) = origin();
    for driver in drivers() {
        let (_pinion, address) = start(driver, origin, "");
        let web = [("content-type", "application/grpc-web+proto")];
        let answer = run_in_time(call(address, "/a.S/Echo", &web)).expect("an answer");
        assert_eq!(answer.headers["x-type"], "application/grpc-web+proto");
        assert_eq!(answer.content, MESSAGE);
        assert!(answer.trailers.is_some());
    }
}

/// A conversation of rare messages is neither a slow nor a stopped body; a plain upload that rests as long is.
#[test]
fn a_call_may_rest_longer_than_a_body() {
    let (origin, _) = origin();
    for driver in drivers() {
        let address = free_address();
        let config = format!(
            "[[listeners]]\nname = \"web\"\naddress = \"{address}\"\n\
             [listeners.timeouts]\nbody = \"300ms\"\n\
             [[clusters]]\nname = \"app\"\nprotocol = \"http2\"\nendpoints = [\"{origin}\"]\n\
             timeouts = {{ first_byte = \"60s\" }}\n\
             [[routes]]\npath = {{ prefix = \"/\" }}\ncluster = \"app\"\n"
        );
        let _pinion = Pinion::with(driver).config(&config).start();
        run_in_time(async {
            for (content_type, expected) in [("application/grpc", 200), ("text/plain", 408)] {
                let (client, _connection) = connect(address).await;
                let request = Request::builder().method("POST").uri("http://test/a.S/Echo");
                let request = request.header("content-type", content_type).body(()).expect("a request");
                let mut client = client.ready().await.expect("a connection");
                let (answer, mut body) = client.send_request(request, false).expect("a stream");
                send_body(&mut body, MESSAGE, false).await.expect("room");
                tokio::time::sleep(Duration::from_millis(900)).await;
                let sent = send_body(&mut body, MESSAGE, true).await;
                let status = answer.await.map(|answer| answer.status().as_u16()).expect("an answer");
                assert_eq!(status, expected, "{content_type} on {driver:?}, sent {sent:?}");
            }
        });
    }
}
