//! The HTTP/2 client of the checks: requests, as many at a time as the cases have, and calls of gRPC.
//!
//! It is the `h2` crate on a runtime of its own, which shares nothing with the load generator.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, Method, Request, StatusCode};
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::tls;
use crate::Problem;
use crate::peers::address::Address;

/// How long everything that is asked of one subject may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The window of a stream and of a connection, in bytes: more than the largest body.
const WINDOW_BYTES: u32 = 4 << 20;

/// Where requests go.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) address: Address,
    pub(super) tls: Option<Arc<ClientConfig>>,
}

/// A complete answer.
pub(super) struct Answer {
    pub(super) content: Bytes,
    trailers: HeaderMap,
}

type Sender = SendRequest<Bytes>;

/// Asks for `path` once.
///
/// # Errors
/// The answer is no 200, or there is none.
pub(super) fn content(door: &Door, path: &str) -> Result<Vec<u8>, Problem> {
    run(async {
        let sender = door.open().await?;
        Ok(get(sender, &door.address.authority(), path).await?.content.to_vec())
    })
}

/// Asks for `path` on all streams of all connections at a time, and that three times; gives the last answers.
///
/// # Errors
/// One of them is no 200.
pub(super) fn many(door: &Door, connections: u32, streams: u32, path: &str) -> Result<Vec<Bytes>, Problem> {
    run(async {
        let mut senders = Vec::new();
        for _ in 0..connections {
            senders.push(door.open().await?);
        }
        let mut last = Vec::new();
        for _ in 0..3 {
            let mut asked = JoinSet::new();
            for sender in &senders {
                for _ in 0..streams {
                    let (authority, path) = (door.address.authority(), path.to_owned());
                    let sender = sender.clone();
                    asked.spawn(async move { get(sender, &authority, &path).await });
                }
            }
            last.clear();
            while let Some(answer) = asked.join_next().await {
                last.push(answer.map_err(|e| e.to_string())??.content);
            }
        }
        Ok(last)
    })
}

/// Whether a message comes back from a unary call, with status 0.
///
/// # Errors
/// It does not.
pub(super) fn check_call(door: &Door, message: &[u8]) -> Result<(), Problem> {
    let mut framed = BytesMut::new();
    framed.put_u8(0); // Not compressed.
    framed.put_u32(u32::try_from(message.len()).map_err(|e| e.to_string())?);
    framed.put_slice(message);
    let framed = framed.freeze();
    let answer = run(async {
        let sender = door.open().await?;
        let uri = format!("http://{}/echo.Echo/Unary", door.address.authority());
        let request = Request::builder().method(Method::POST).uri(uri);
        let request = request.header("content-type", "application/grpc").header("te", "trailers");
        let request = request.body(()).map_err(|e| e.to_string())?;
        ask(sender, request, Some(framed.clone())).await
    })?;
    let status = answer.trailers.get("grpc-status").map(|status| status.as_bytes().to_vec());
    if status.as_deref() != Some(b"0") {
        return Err(format!("a call ended with grpc-status {status:?}"));
    }
    if answer.content == framed { Ok(()) } else { Err("a message came back changed".to_owned()) }
}

impl Door {
    async fn open(&self) -> Result<Sender, Problem> {
        let Address::Tcp(address) = &self.address else {
            return Err("HTTP/2 is compared over TCP only".to_owned());
        };
        let stream = TcpStream::connect(address).await.map_err(|e| format!("can't connect: {e}"))?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        let Some(settings) = &self.tls else { return handshake(stream).await };
        let connector = TlsConnector::from(Arc::clone(settings));
        let stream =
            connector.connect(tls::name(), stream).await.map_err(|e| format!("no TLS handshake: {e}"))?;
        tls::judge(stream.get_ref().1, settings)?;
        handshake(stream).await
    }
}

async fn handshake<S>(stream: S) -> Result<Sender, Problem>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(WINDOW_BYTES).initial_connection_window_size(WINDOW_BYTES);
    let (sender, connection) = builder.handshake(stream).await.map_err(|e| format!("no HTTP/2: {e}"))?;
    // It ends with the runtime; what goes wrong with it is told by its requests.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

async fn get(sender: Sender, authority: &str, path: &str) -> Result<Answer, Problem> {
    let request = Request::builder().uri(format!("http://{authority}{path}"));
    let request = request.header("user-agent", "check/1").header("cookie", "session=0123456789");
    ask(sender, request.body(()).map_err(|e| e.to_string())?, None).await
}

async fn ask(sender: Sender, request: Request<()>, body: Option<Bytes>) -> Result<Answer, Problem> {
    let failed = |e: h2::Error| format!("no HTTP/2 answer: {e}");
    let mut sender = sender.ready().await.map_err(failed)?;
    let (answer, mut stream) = sender.send_request(request, body.is_none()).map_err(failed)?;
    if let Some(body) = body {
        stream.send_data(body, true).map_err(failed)?;
    }
    let (head, mut body) = answer.await.map_err(failed)?.into_parts();
    if head.status != StatusCode::OK {
        return Err(format!("not a 200: {}", head.status));
    }
    let mut content = BytesMut::new();
    while let Some(piece) = body.data().await {
        let piece = piece.map_err(failed)?;
        body.flow_control().release_capacity(piece.len()).map_err(failed)?;
        content.put(piece);
    }
    let trailers = body.trailers().await.map_err(failed)?.unwrap_or_default();
    Ok(Answer { content: content.freeze(), trailers })
}

fn run<T>(work: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| format!("no runtime: {e}"))?;
    runtime.block_on(async {
        timeout(PATIENCE, work).await.map_err(|_| format!("no answer within {PATIENCE:?}"))?
    })
}
