//! Against the `h2` crate, which shares nothing with this code: its server answers the client, its client
//! asks the server; bodies both ways, small windows, trailers, resets, going away.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::*;
use crate::http2::client::Cause;

/// How long one of these tests may take on the busiest machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a pipe between the two holds: all that is under way, because a side that writes here does not read.
const PIPE_BYTES: usize = 16 << 20;

/// How many requests each test makes.
const REQUESTS: u32 = 60;

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.unwrap() });
}

/// Reads what there is; nothing at the end.
async fn read(socket: &mut DuplexStream, buffer: &mut [u8]) -> usize {
    socket.read(buffer).await.unwrap()
}

async fn received(mut stream: h2::RecvStream) -> (Vec<u8>, Option<HeaderMap>) {
    let mut content = Vec::new();
    while let Some(piece) = stream.data().await {
        let piece = piece.unwrap();
        stream.flow_control().release_capacity(piece.len()).unwrap();
        content.extend_from_slice(&piece);
    }
    (content, stream.trailers().await.unwrap())
}

fn length_of(ticket: u32) -> usize {
    [0, 1, 700, 20_000, 90_000][ticket as usize % 5]
}

/// Answers with the content that came, its length as a header, and trailers; some paths otherwise.
async fn echo(request: Request<h2::RecvStream>, mut respond: h2::server::SendResponse<Bytes>) {
    let path = request.uri().path().to_owned();
    if path == "/refused" {
        return respond.send_reset(h2::Reason::REFUSED_STREAM);
    }
    let (content, _) = received(request.into_body()).await;
    let answer = Response::builder()
        .status(if path == "/gone" { 410 } else { 200 })
        .header("x-server", content.len().to_string())
        .header("content-length", content.len().to_string());
    let mut stream = respond.send_response(answer.body(()).unwrap(), false).unwrap();
    stream.send_data(content.into(), false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "3".parse().unwrap());
    stream.send_trailers(trailers).unwrap();
}

async fn oracle_server(socket: DuplexStream, window: u32) {
    let mut builder = h2::server::Builder::new();
    builder.initial_window_size(window).initial_connection_window_size(window.max(65_535) + 10);
    builder.max_concurrent_streams(8).max_frame_size(20_000);
    let mut connection = builder.handshake::<_, Bytes>(socket).await.unwrap();
    let mut served = 0;
    while let Some(request) = connection.accept().await {
        let (request, respond) = request.unwrap();
        tokio::spawn(echo(request, respond));
        served += 1;
        if served == REQUESTS {
            connection.graceful_shutdown();
        }
    }
}

/// Makes the requests, as many at once as the server allows. Returns the events.
async fn ask(mut client: Client, mut socket: DuplexStream) -> Vec<ClientEvent> {
    let (mut out, mut events, mut buffer) = (Vec::new(), Vec::new(), vec![0; 30_000]);
    client.begin(&mut out);
    let mut next = 0;
    loop {
        // It may have gone with all answers given; what it said is still there to read.
        let _ = socket.write_all(&out).await;
        out.clear();
        let read = read(&mut socket, &mut buffer).await;
        assert_eq!(client.feed(&buffer[..read], &mut out, &mut events), Ok(()));
        if read == 0 {
            assert!(client.is_closing() && client.in_flight() == 0);
            return events;
        }
        // From here on the server's limit is known: above it, h2 refuses.
        while next < REQUESTS && client.room() > 0 {
            let path = match next {
                10 => "/refused",
                11 => "/gone",
                _ => "/",
            };
            let block = encode_request(&[
                (":method", "POST"),
                (":scheme", "http"),
                (":authority", "a.example"),
                (":path", path),
                ("user-agent", "pinion"),
            ]);
            client.request(next, &block, &body(length_of(next), next), &mut out);
            next += 1;
        }
        assert!(client.in_flight() <= 100);
    }
}

#[test]
fn its_server_answers_the_client() {
    for window in [1_000, 65_535, 1_000_000] {
        run(async move {
            let (near, far) = tokio::io::duplex(PIPE_BYTES);
            let server = tokio::spawn(oracle_server(far, window));
            let events = ask(Client::new(ClientOptions { window, ..CLIENT }), near).await;
            server.await.unwrap();
            let mut outcomes = BTreeMap::new();
            for event in events {
                match event {
                    ClientEvent::Answered { ticket, status, grpc_status, content_bytes, counted } => {
                        let length = length_of(ticket);
                        assert_eq!(status, if ticket == 11 { 410 } else { 200 });
                        assert_eq!((grpc_status, content_bytes), (Some(3), length as u64));
                        assert_eq!(counted, Some(length.to_string()));
                        outcomes.insert(ticket, true);
                    }
                    ClientEvent::Failed { ticket, cause } => {
                        assert_eq!(cause, Cause::Unprocessed);
                        outcomes.insert(ticket, false);
                    }
                    ClientEvent::Message { .. } => panic!("no streaming call was made"),
                }
            }
            assert_eq!(outcomes.len(), REQUESTS as usize);
            let failed: Vec<_> = outcomes.iter().filter(|(_, answered)| !**answered).collect();
            assert_eq!(failed, [(&10, &false)]);
        });
    }
}

/// Serves one connection with this code: the content that came, then trailers; `/refused` is reset.
async fn serve(mut server: Server, mut socket: DuplexStream) -> usize {
    let (mut out, mut events, mut buffer) = (Vec::new(), Vec::new(), vec![0; 30_000]);
    let mut contents: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    let mut trailers = 0;
    server.begin(&mut out);
    loop {
        socket.write_all(&out).await.unwrap();
        out.clear();
        let read = read(&mut socket, &mut buffer).await;
        if read == 0 {
            return trailers;
        }
        assert_eq!(server.feed(&buffer[..read], &mut out, &mut events), Ok(()));
        for event in events.drain(..) {
            let (stream, complete) = match event {
                ServerEvent::Head { stream, fields, end } => {
                    if fields.value(":path") == Some(b"/refused") {
                        server.reset(stream, 7, &mut out);
                        continue;
                    }
                    contents.insert(stream, Vec::new());
                    (stream, end)
                }
                ServerEvent::Data { stream, bytes, end } => {
                    contents.entry(stream).or_default().extend_from_slice(&bytes);
                    (stream, end)
                }
                ServerEvent::Trailers { stream, fields } => {
                    assert_eq!(fields.value("x-sum"), Some(&b"1"[..]));
                    trailers += 1;
                    (stream, true)
                }
                other => panic!("{other:?}"),
            };
            if complete && let Some(content) = contents.remove(&stream) {
                let length = content.len().to_string();
                server.interim(stream, 103, &[("link", "</x>")], &mut out);
                server.answer(stream, 200, &[("Content-Length", &length)], false, &mut out);
                let (first, second) = content.split_at(content.len() / 3);
                server.data(stream, first, false, &mut out);
                server.data_shared(stream, &Arc::from(second), false, &mut out);
                server.trailers(stream, &[("x-end", "yes")], &mut out);
            }
        }
    }
}

async fn exchange(mut sender: h2::client::SendRequest<Bytes>, ticket: u32) {
    let path = if ticket == 10 { "/refused" } else { "/" };
    let request = Request::post(format!("http://a.example{path}")).header("x-own", "v".repeat(30));
    sender = sender.ready().await.unwrap();
    let (answer, mut stream) = sender.send_request(request.body(()).unwrap(), false).unwrap();
    drop(sender);
    let content = body(length_of(ticket), ticket);
    // A stream that was reset takes no content.
    let _ = stream.send_data(Bytes::copy_from_slice(&content), ticket.is_multiple_of(2));
    if !ticket.is_multiple_of(2) {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "1".parse().unwrap());
        stream.send_trailers(trailers).unwrap();
    }
    let answer = match answer.await {
        Err(error) if ticket == 10 => {
            assert_eq!(error.reason(), Some(h2::Reason::REFUSED_STREAM));
            return;
        }
        answer => answer.unwrap(),
    };
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-length"].to_str().unwrap(), content.len().to_string());
    let (found, trailers) = received(answer.into_body()).await;
    assert_eq!(found[..], content[..], "request {ticket}");
    assert_eq!(trailers.unwrap()["x-end"], "yes");
}

#[test]
fn its_client_asks_the_server() {
    for window in [1_000, 65_535, 1_000_000] {
        run(async move {
            let (near, far) = tokio::io::duplex(PIPE_BYTES);
            let server = Server::new(ServerOptions { window, max_streams: 9, ..SERVER });
            let server = tokio::spawn(serve(server, far));
            let mut builder = h2::client::Builder::new();
            builder.initial_window_size(window).initial_connection_window_size(window.max(65_535));
            builder.initial_max_send_streams(1).header_table_size(0);
            let (sender, connection) = builder.handshake(near).await.unwrap();
            let connection = tokio::spawn(async move { connection.await.unwrap() });
            let exchanges: Vec<_> =
                (0..REQUESTS).map(|ticket| tokio::spawn(exchange(sender.clone(), ticket))).collect();
            drop(sender);
            for exchange in exchanges {
                exchange.await.unwrap();
            }
            connection.await.unwrap();
            assert_eq!(server.await.unwrap(), REQUESTS as usize / 2);
        });
    }
}
