//! The cells: one function a feature, the same for every pair.
//!
//! A cell does its traffic on connections of its own and says what it must have added to the metrics of its listener
//! and its cluster.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;

use crate::client::Door;
use crate::message::{Broken, Content, Fields, Reply, Request, pattern, values};
use crate::origin::{Origin, sum};
use crate::pair::Kind;

/// A pair of protocols and what stands at its ends.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) down: Kind,
    pub(crate) up: Kind,
    pub(crate) door: Door,
    pub(crate) origin: Origin,
}

/// What a cell must have added to the metrics.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    /// Requests that came to the listener.
    pub(crate) requests: u32,
    /// Answers of the upstream, by class: `2xx`.
    pub(crate) answers: Vec<(&'static str, u32)>,
    /// Requests that ended with a fault, by reason; one of these, if there are several.
    pub(crate) fault: &'static [&'static str],
    /// Tunnels begun.
    pub(crate) tunnels: u32,
}

/// `requests` requests that the upstream answered with 2xx.
fn fine(requests: u32) -> Counted {
    Counted { requests, answers: vec![("2xx", requests)], ..Counted::default() }
}

/// What a cell comes to.
pub(crate) type Outcome = Result<Counted, Broken>;

macro_rules! expect {
    ($holds:expr, $($told:tt)+) => {
        if !$holds {
            return Err(Broken(format!($($told)+)));
        }
    };
}

impl Pair {
    /// A request that goes to this pair's upstream.
    fn get(&self, path: &str) -> Request {
        self.routed(path, "")
    }

    /// The same by another of its routes.
    fn routed(&self, path: &str, route: &str) -> Request {
        Request::get(path).with("x-upstream", self.up.name().to_owned() + route)
    }

    fn post(&self, path: &str, content: Content) -> Request {
        Request { method: "POST", content, ..self.get(path) }
    }

    fn fields(&self) -> Fields {
        vec![("x-upstream".to_owned(), self.up.name().to_owned())]
    }
}

/// The first value of a field.
fn field<'a>(reply: &'a Reply, name: &str) -> &'a str {
    values(&reply.head.fields, name).first().copied().unwrap_or_default()
}

/// Sizes of bodies: none, small, one buffer, more than a window.
const SIZES: [usize; 4] = [0, 100, 16 << 10, 1 << 20];

pub(crate) async fn get_sizes(pair: Pair) -> Outcome {
    let mut client = pair.door.open().await?;
    for size in SIZES {
        let reply = client.ask(pair.get(&format!("/bytes/{size}"))).await?;
        expect!(reply.head.status == 200, "{size}: {:?}", reply.head);
        expect!(reply.body == pattern(size), "{size}: {} bytes came", reply.body.len());
        expect!(field(&reply, "content-length") == size.to_string(), "{size}: {:?}", reply.head);
        expect!(field(&reply, "x-served-by") == "origin", "{size}: {:?}", reply.head);
    }
    Ok(fine(4))
}

pub(crate) async fn get_without_length(pair: Pair) -> Outcome {
    let mut client = pair.door.open().await?;
    for size in SIZES {
        let reply = client.ask(pair.get(&format!("/chunked/{size}"))).await?;
        expect!(reply.body == pattern(size), "{size}: {} bytes came", reply.body.len());
        expect!(field(&reply, "content-length").is_empty(), "{size}: {:?}", reply.head);
    }
    Ok(fine(4))
}

pub(crate) async fn response_trailers(pair: Pair) -> Outcome {
    let mut client = pair.door.open().await?;
    let reply = client.ask(pair.get("/chunked/20000").with("te", "trailers")).await?;
    let wanted = sum(&pattern(20_000)).to_string();
    expect!(values(&reply.trailers, "x-sum") == [wanted], "trailers: {:?}", reply.trailers);
    Ok(fine(1))
}

pub(crate) async fn post_known_length(pair: Pair) -> Outcome {
    let mut client = pair.door.open().await?;
    for size in SIZES {
        let body = pattern(size);
        let reply = client.ask(pair.post("/echo", Content::Known(body.clone()))).await?;
        seen(&reply, &body)?;
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        expect!(text.contains(&format!("\ncontent-length: {size}\n")), "{size}: {text}");
    }
    Ok(fine(4))
}

pub(crate) async fn post_unknown_length(pair: Pair) -> Outcome {
    let mut client = pair.door.open().await?;
    for size in SIZES {
        let body = pattern(size);
        let parts = (0..size).step_by(7_000).map(|from| body.slice(from..size.min(from + 7_000))).collect();
        let reply = client.ask(pair.post("/echo", Content::Parts(parts, Fields::new()))).await?;
        seen(&reply, &body)?;
    }
    Ok(fine(4))
}

pub(crate) async fn request_trailers(pair: Pair) -> Outcome {
    let mut client = pair.door.open().await?;
    let trailers = vec![("x-checksum".to_owned(), "17".to_owned())];
    let content = Content::Parts(vec![pattern(3_000), pattern(2_000)], trailers);
    let reply = client.ask(pair.post("/echo", content)).await?;
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    expect!(text.contains("\nx-checksum: 17\n"), "{text}");
    seen(&reply, &[pattern(3_000), pattern(2_000)].concat())?;
    Ok(fine(1))
}

/// Whether the origin saw all of that content.
fn seen(reply: &Reply, body: &[u8]) -> Result<(), Broken> {
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    let counts = format!("\n\n{} {}\n", body.len(), sum(body));
    expect!(
        reply.head.status == 200 && text.contains(&counts),
        "{} bytes: {:?} {text}",
        body.len(),
        reply.head
    );
    Ok(())
}

pub(crate) async fn head(pair: Pair) -> Outcome {
    let mut client = pair.door.open().await?;
    for _ in 0..2 {
        let reply = client.ask(Request { method: "HEAD", ..pair.get("/bytes/5000") }).await?;
        expect!(reply.head.status == 200 && reply.body.is_empty(), "{reply:?}");
        expect!(field(&reply, "content-length") == "5000", "{:?}", reply.head);
    }
    Ok(fine(2))
}

pub(crate) async fn no_content(pair: Pair) -> Outcome {
    let mut client = pair.door.open().await?;
    for status in [204, 304, 204] {
        let reply = client.ask(pair.get(&format!("/status/{status}"))).await?;
        expect!(reply.head.status == status && reply.body.is_empty(), "{reply:?}");
        expect!(field(&reply, "etag") == "\"a\"", "{:?}", reply.head);
        expect!(field(&reply, "transfer-encoding").is_empty(), "{:?}", reply.head);
    }
    let answers = vec![("2xx", 2), ("3xx", 1)];
    Ok(Counted { requests: 3, answers, ..Counted::default() })
}

pub(crate) async fn interim_answers(pair: Pair) -> Outcome {
    let mut client = pair.door.open().await?;
    let reply = client.ask(pair.get("/interim")).await?;
    expect!(reply.head.interim == [103, 103], "{:?}", reply.head);
    expect!(reply.head.status == 200 && reply.body == b"after two"[..], "{reply:?}");
    Ok(fine(1))
}

pub(crate) async fn expected_continue(pair: Pair) -> Outcome {
    let mut client = pair.door.open().await?;
    let body = pattern(30_000);
    let request = pair.post("/continue", Content::Known(body.clone())).with("expect", "100-continue");
    let reply = client.ask(request).await?;
    seen(&reply, &body)?;
    expect!(reply.head.interim.contains(&100), "{:?}", reply.head);
    Ok(fine(1))
}

pub(crate) async fn early_answer(pair: Pair) -> Outcome {
    let mut client = pair.door.open().await?;
    let reply = client.ask(pair.post("/early", Content::Known(pattern(8 << 20)))).await?;
    expect!(reply.head.status == 413 && reply.body == b"too much"[..], "{reply:?}");
    Ok(Counted { requests: 1, answers: vec![("4xx", 1)], ..Counted::default() })
}

pub(crate) async fn upstream_reset_before_head(pair: Pair) -> Outcome {
    let mut client = pair.door.open().await?;
    // No GET: that would be tried again.
    let first = client.ask(pair.post("/reset/head", Content::Known(pattern(10)))).await?;
    expect!([502, 503].contains(&first.head.status), "{first:?}");
    // Unless it says otherwise, the client's connection is as good as before.
    if field(&first, "connection").eq_ignore_ascii_case("close") {
        client = pair.door.open().await?;
    }
    let again = client.ask(pair.get("/bytes/10")).await;
    expect!(again.as_ref().is_ok_and(|again| again.body == pattern(10)), "{first:?}, then {again:?}");
    // Of a kept connection it can't be told from one that was closed just before.
    let fault = &["upstream_closed", "upstream_reset", "stale_connection"];
    Ok(Counted { requests: 2, answers: vec![("2xx", 1), ("none", 1)], fault, ..Counted::default() })
}

pub(crate) async fn upstream_reset_in_body(pair: Pair) -> Outcome {
    let client = pair.door.open().await?;
    let mut exchange = client.begin(pair.get("/reset/body")).await?;
    expect!(exchange.head.status == 200, "{:?}", exchange.head);
    let rest = exchange.rest().await;
    expect!(rest.is_err(), "a cut body looked whole: {:?} bytes", rest.map(|body| body.len()));
    let fault = &["upstream_truncated", "upstream_reset", "upstream_closed"];
    Ok(Counted { requests: 1, fault, ..Counted::default() })
}

pub(crate) async fn timeout(pair: Pair) -> Outcome {
    let mut client = pair.door.open().await?;
    let given_up = pair.origin.shared.given_up.load(Ordering::SeqCst);
    let reply = client.ask(pair.routed("/hang", "-short")).await?;
    expect!(reply.head.status == 504, "{reply:?}");
    wait_for(&pair, "the upstream to be told", |pair| {
        pair.origin.shared.given_up.load(Ordering::SeqCst) > given_up
    })
    .await?;
    let reply = client.ask(pair.get("/bytes/10")).await?;
    expect!(reply.body == pattern(10), "{reply:?}");
    let fault = &["request_timeout"];
    Ok(Counted { requests: 2, answers: vec![("2xx", 1), ("none", 1)], fault, ..Counted::default() })
}

/// Waits, at most ten seconds.
async fn wait_for(pair: &Pair, what: &str, holds: impl Fn(&Pair) -> bool) -> Result<(), Broken> {
    for _ in 0..1_000 {
        if holds(pair) {
            return Ok(());
        }
        sleep(Duration::from_millis(10)).await;
    }
    Err(Broken(format!("waited in vain for {what}")))
}

pub(crate) async fn client_gives_up(pair: Pair) -> Outcome {
    let client = pair.door.open().await?;
    let (hanging, given_up) = (
        pair.origin.shared.hanging.load(Ordering::SeqCst),
        pair.origin.shared.given_up.load(Ordering::SeqCst),
    );
    let reached = wait_for(&pair, "the request to arrive", |pair| {
        pair.origin.shared.hanging.load(Ordering::SeqCst) > hanging
    });
    tokio::select! {
        answer = client.begin(pair.get("/hang")) => {
            return Err(Broken(format!("an answer: {:?}", answer.map(|exchange| exchange.head))));
        }
        reached = reached => reached?,
    }
    wait_for(&pair, "the upstream to be told", |pair| {
        pair.origin.shared.given_up.load(Ordering::SeqCst) > given_up
    })
    .await?;
    Ok(Counted { requests: 1, answers: vec![("none", 1)], fault: &["client_gone"], ..Counted::default() })
}

pub(crate) async fn retried_connect(pair: Pair) -> Outcome {
    let mut client = pair.door.open().await?;
    // Half of them meet the endpoint that nobody listens at first.
    for _ in 0..4 {
        let reply = client.ask(pair.routed("/bytes/100", "-retry")).await?;
        expect!(reply.head.status == 200 && reply.body == pattern(100), "{reply:?}");
    }
    Ok(Counted { requests: 4, ..Counted::default() })
}

pub(crate) async fn kept_connections(pair: Pair) -> Outcome {
    let mut client = pair.door.open().await?;
    // On the shard of this connection one may have to be made.
    client.ask(pair.get("/bytes/1")).await?;
    let before = pair.origin.shared.connections.load(Ordering::SeqCst);
    for _ in 0..10 {
        let reply = client.ask(pair.get("/bytes/100")).await?;
        expect!(reply.body == pattern(100), "{reply:?}");
    }
    let made = pair.origin.shared.connections.load(Ordering::SeqCst) - before;
    expect!(made == 0, "{made} more connections to the upstream");
    Ok(fine(11))
}

pub(crate) async fn large_headers(pair: Pair) -> Outcome {
    let mut client = pair.door.open().await?;
    let mut request = pair.get("/headers/40");
    for number in 0..40 {
        request = request.with(&format!("x-sent-{number}"), "s".repeat(200));
    }
    for _ in 0..2 {
        let reply = client.ask(request.clone()).await?;
        let came = reply.head.fields.iter().filter(|(name, _)| name.starts_with("x-field-")).count();
        expect!(reply.head.status == 200 && came == 40, "{came} fields: {:?}", reply.head);
        let echo = client.ask(Request { path: "/echo".to_owned(), ..request.clone() }).await?;
        let text = String::from_utf8_lossy(&echo.body).into_owned();
        let count = text.matches(&format!(": {}\n", "s".repeat(200))).count();
        expect!(count == 40, "{count} fields arrived: {text}");
    }
    Ok(fine(4))
}

pub(crate) async fn cookies(pair: Pair) -> Outcome {
    let mut client = pair.door.open().await?;
    let mut request = pair.get("/cookies");
    // HTTP/2 may have them in several fields (RFC 9113, 8.2.3).
    let pieces = if pair.down.is_http2() { &["x=1", "y=2", "z=3"][..] } else { &["x=1; y=2; z=3"] };
    for piece in pieces {
        request = request.with("cookie", *piece);
    }
    let reply = client.ask(request).await?;
    expect!(reply.body == b"x=1; y=2; z=3"[..], "{}", String::from_utf8_lossy(&reply.body));
    let set = values(&reply.head.fields, "set-cookie");
    expect!(set == ["a=1; Path=/", "b=2", "c=3, 4"], "{set:?}");
    Ok(fine(1))
}

pub(crate) async fn translated_fields(pair: Pair) -> Outcome {
    let mut client = pair.door.open().await?;
    let reply = client.ask(pair.get("/echo?a=1&b=%20").with("x-two", "one").with("x-two", "two")).await?;
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    expect!(text.starts_with("GET /echo?a=1&b=%20\n"), "{text}");
    let scheme = if pair.down.is_tls() { "https" } else { "http" };
    for wanted in [
        "\nx-two: one\n".to_owned(),
        "\nx-two: two\n".to_owned(),
        format!("\nx-forwarded-proto: {scheme}\n"),
        "\nx-forwarded-for: 127.0.0.1\n".to_owned(),
    ] {
        expect!(text.contains(&wanted), "no {wanted:?}: {text}");
    }
    for never in ["\nconnection: ", "\nkeep-alive: ", "\nproxy-connection: ", "\n:"] {
        let allowed =
            never == "\nconnection: " && !pair.up.is_http2() && text.contains("connection: keep-alive");
        expect!(allowed || !text.contains(never), "{never:?}: {text}");
    }
    Ok(fine(1))
}

pub(crate) async fn parts_come_at_once(pair: Pair) -> Outcome {
    let client = pair.door.open().await?;
    let mut exchange = client.begin(pair.get("/gate")).await?;
    let mut first = Vec::new();
    while first.len() < 5 {
        first.extend(exchange.piece().await?.ok_or_else(|| Broken("the end before the gate".to_owned()))?);
    }
    expect!(first == b"first"[..], "{first:?}");
    pair.origin.shared.gate.add_permits(1);
    let second = exchange.rest().await?;
    expect!(second == b"second"[..], "{second:?}");
    Ok(fine(1))
}

pub(crate) async fn websocket(pair: Pair) -> Outcome {
    let mut tunnel = pair.door.open().await?.tunnel("/socket", pair.fields()).await?;
    for size in [1, 100, 20_000, 300_000] {
        let bytes = pattern(size);
        let came = tunnel.echo(&bytes).await?;
        expect!(came == bytes, "{size} bytes came back changed");
    }
    tunnel.end().await?;
    Ok(Counted { requests: 1, tunnels: 1, ..Counted::default() })
}

pub(crate) async fn grpc_unary(pair: Pair) -> Outcome {
    let message: Bytes = pattern(50_000);
    for _ in 0..3 {
        let mut call = pair.door.open().await?.call("/echo.Echo/Unary", pair.fields()).await?;
        call.send(&message, true)?;
        let came = call.message().await?;
        expect!(came.as_ref() == Some(&message), "{:?} bytes came", came.map(|came| came.len()));
        let status = call.status().await?;
        expect!(status.0 == "0", "{status:?}");
    }
    Ok(fine(3))
}

pub(crate) async fn grpc_stream(pair: Pair) -> Outcome {
    let mut call = pair.door.open().await?.call("/echo.Echo/Stream", pair.fields()).await?;
    // Each one back before the next is sent: nothing in between waits for more.
    for number in 0_u32..50 {
        let message = number.to_be_bytes();
        call.send(&message, false)?;
        let came = call.message().await?;
        expect!(came.as_deref() == Some(&message[..]), "{number}: {came:?}");
    }
    call.end()?;
    let status = call.status().await?;
    expect!(status.0 == "0", "{status:?}");
    Ok(fine(1))
}

pub(crate) async fn grpc_trailers_only(pair: Pair) -> Outcome {
    let mut call = pair.door.open().await?.call("/echo.Echo/Fail", pair.fields()).await?;
    call.send(b"?", true)?;
    let status = call.status().await?;
    expect!(status == ("5".to_owned(), "not here".to_owned()), "{status:?}");
    Ok(fine(1))
}
