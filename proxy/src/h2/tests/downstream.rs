//! The downstream side: clients of the `h2` crate ask this one.

use super::*;

/// Serves `theirs` with `handler` until it is closed.
async fn serve<F: Future<Output = ()> + 'static>(
    shard: &Rc<Shard>,
    ours: Socket,
    settings: Settings,
    limits: Limits,
    handler: fn(Rc<Shard>, NewRequest) -> F,
) {
    let on_request = |request| shard.h2.serve(shard, request, handler);
    let served = serve_connection(shard, ours, settings, Start::Fresh(limits), None, on_request).await;
    assert!(matches!(served, Served::Closed));
}

/// Answers with the body that came, and trailers; some paths otherwise.
async fn echo(shard: Rc<Shard>, request: NewRequest) {
    let NewRequest { stream, trip, text, .. } = request;
    let path = trip.head.target.of(text.unread()).to_vec();
    shard.trips.give(trip);
    if path == b"/reset" {
        return stream.reset(ErrorCode::CANCEL);
    }
    if path == b"/plain" {
        stream.send_head(false, |encoder, out| encode_own(encoder, out, 200, &[], 5)).unwrap();
        return stream.send(b"plain", true).await.unwrap();
    }
    // A head without a length.
    stream.send_head(false, |encoder, out| encode_connected(encoder, out, &HeaderEdits::default())).ok();
    loop {
        match stream.piece().await {
            Ok(Piece::Data(bytes)) => {
                if stream.send(bytes.unread(), false).await.is_err() {
                    return;
                }
            }
            Ok(Piece::Trailers(lines)) => return stream.send_trailers(lines.unread()).unwrap(),
            Ok(Piece::End) => return stream.send(&[], true).await.unwrap(),
            Err(fault) => return assert!(matches!(fault, StreamFault::Reset { .. } | StreamFault::Closed)),
        }
    }
}

type Client = h2::client::SendRequest<Bytes>;

/// A client of the `h2` crate on `socket`.
async fn client(socket: UnixStream) -> (Client, tokio::task::JoinHandle<Result<(), h2::Error>>) {
    let socket = tokio::net::UnixStream::from_std(socket).unwrap();
    let (client, connection) = h2::client::handshake(socket).await.unwrap();
    (client, tokio::spawn(connection))
}

fn request(path: &str) -> http::Request<()> {
    http::Request::post(format!("http://test{path}")).body(()).unwrap()
}

/// Sends `content` to be echoed and checks what comes back.
async fn check_echo(client: Client, content: Vec<u8>, trailers: bool) {
    let mut client = client.ready().await.unwrap();
    let (answer, mut body) = client.send_request(request("/echo"), false).unwrap();
    let sending = async {
        send_body(&mut body, &content, !trailers).await.unwrap();
        if trailers {
            let mut fields = http::HeaderMap::new();
            fields.insert("x-sum", content.len().to_string().parse().unwrap());
            body.send_trailers(fields).unwrap();
        }
    };
    let receiving = async {
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), 200);
        let (echoed, fields) = read_body(answer.into_body()).await.unwrap();
        assert!(echoed == content, "{} bytes became {}", content.len(), echoed.len());
        assert_eq!(fields.is_some_and(|fields| fields.contains_key("x-sum")), trailers);
    };
    tokio::join!(sending, receiving);
}

#[test]
fn bodies_of_many_streams_come_back_byte_for_byte() {
    on_each(CONFIG, |shard, driver| async move {
        let (ours, theirs) = pair(driver);
        let peer = peer(|| async {
            let (asks, connection) = client(theirs).await;
            let mut all = Vec::new();
            for round in 0..60_usize {
                let length = [0, 1, 700, 16_384, 20_000, 90_000, 700_000][round % 7];
                all.push(tokio::spawn(check_echo(asks.clone(), pattern(length), round % 3 == 0)));
            }
            for one in all {
                one.await.unwrap();
            }
            drop(asks);
            connection.await.unwrap().unwrap();
        });
        serve(&shard, ours, settings(Side::Downstream), Limits::server(), echo).await;
        peer.join().unwrap();
        let stats = &shard.stats.http2[Side::Downstream as usize];
        assert_eq!((stats.streams_total.get(), stats.streams_active.get()), (60, 0));
        assert_eq!((stats.connections_total.get(), stats.connections_active.get()), (1, 0));
        assert_eq!((stats.resets_sent.get(), stats.resets_received.get()), (0, 0));
    });
}
