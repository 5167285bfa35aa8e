//! The client of the matrix: one connection in HTTP/1.1 or HTTP/2, plain or in TLS.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf as _, Bytes, BytesMut};
use h2::client::SendRequest;
use h2::ext::Protocol;
use h2::{RecvStream, SendStream};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, WriteHalf, split};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use crate::http1::{Io, Left, Reader, written};
use crate::message::{Broken, Content, Fields, Head, Reply, Request, values};
use crate::pair::Kind;

/// Where and how connections are made.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    pub(crate) kind: Kind,
    /// For the kinds that are in TLS.
    pub(crate) tls: Arc<ClientConfig>,
}

/// A connection.
pub(crate) enum Client {
    Http1(Box<Http1>),
    Http2 { sender: SendRequest<Bytes>, scheme: &'static str },
}

/// An HTTP/1.1 connection.
pub(crate) struct Http1 {
    reader: Reader,
    /// Gone while something is being written, and for good if that did not end.
    writer: Option<WriteHalf<Io>>,
}

/// An answer whose head has come.
pub(crate) struct Exchange {
    pub(crate) head: Head,
    body: Body,
}

enum Body {
    Http1(Box<Http1>),
    Http2(RecvStream),
}

/// A tunnel's two directions.
pub(crate) enum Tunnel {
    Http1(Box<Http1>),
    Http2(SendStream<Bytes>, RecvStream, BytesMut),
}

/// The key and the answer of RFC 6455, 1.3.
const WEBSOCKET: [&str; 2] = ["dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="];

impl Door {
    /// Opens a connection.
    pub(crate) async fn open(&self) -> Result<Client, Broken> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let mut io: Io = Box::new(stream);
        if self.kind.is_tls() {
            let mut config = ClientConfig::clone(&self.tls);
            config.alpn_protocols = vec![self.kind.alpn().to_vec()];
            let name = ServerName::try_from("localhost").map_err(|e| Broken(e.to_string()))?;
            let stream = TlsConnector::from(Arc::new(config)).connect(name, io).await?;
            let agreed = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
            if agreed.as_deref() != Some(self.kind.alpn()) {
                return Err(Broken(format!("ALPN agreed on {agreed:?}")));
            }
            io = Box::new(stream);
        }
        if !self.kind.is_http2() {
            let (reader, writer) = split(io);
            return Ok(Client::Http1(Box::new(Http1 { reader: Reader::new(reader), writer: Some(writer) })));
        }
        let (sender, connection) = h2::client::handshake(io).await?;
        // What goes wrong with it is told by its streams.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Client::Http2 { sender, scheme: if self.kind.is_tls() { "https" } else { "http" } })
    }
}

impl Client {
    /// A request and its whole answer.
    pub(crate) async fn ask(&mut self, request: Request) -> Result<Reply, Broken> {
        match self {
            Client::Http1(http1) => {
                let writing = http1.send(&request)?;
                let head = http1.head(request.method).await?;
                let body = http1.reader.rest().await?;
                http1.writer = writing.await?.ok();
                Ok(Reply { head, body, trailers: std::mem::take(&mut http1.reader.trailers) })
            }
            Client::Http2 { sender, scheme } => {
                let (head, mut stream, _) = send(sender.clone(), scheme, &request).await?;
                let mut body = Vec::new();
                while let Some(piece) = stream.data().await {
                    let piece = piece?;
                    stream.flow_control().release_capacity(piece.len())?;
                    body.extend_from_slice(&piece);
                }
                let trailers = stream.trailers().await?.unwrap_or_default();
                Ok(Reply { head, body, trailers: listed(&trailers) })
            }
        }
    }

    /// A request of which the client waits for the answer's head; dropped, it is given up.
    pub(crate) async fn begin(self, request: Request) -> Result<Exchange, Broken> {
        match self {
            Client::Http1(mut http1) => {
                let writing = http1.send(&request)?;
                let head = http1.head(request.method).await;
                // What can't be written any more is not wanted any more.
                writing.abort();
                Ok(Exchange { head: head?, body: Body::Http1(http1) })
            }
            Client::Http2 { sender, scheme } => {
                let (head, stream, _) = send(sender, scheme, &request).await?;
                Ok(Exchange { head, body: Body::Http2(stream) })
            }
        }
    }

    /// Opens a WebSocket's tunnel, whose bytes nobody looks at.
    pub(crate) async fn tunnel(self, path: &str, fields: Fields) -> Result<Tunnel, Broken> {
        let mut request = Request { fields, ..Request::get(path) }.with("sec-websocket-version", "13");
        match self {
            Client::Http1(mut http1) => {
                request = request.with("connection", "Upgrade").with("upgrade", "websocket");
                request = request.with("sec-websocket-key", WEBSOCKET[0]);
                http1.writer = http1.send(&request)?.await?.ok();
                let head = http1.head(request.method).await?;
                if head.status != 101 || values(&head.fields, "sec-websocket-accept") != [WEBSOCKET[1]] {
                    return Err(Broken(format!("no WebSocket: {head:?}")));
                }
                Ok(Tunnel::Http1(http1))
            }
            Client::Http2 { sender, scheme } => {
                let mut sender = sender.ready().await?;
                // The setting may come a little after the handshake.
                for _ in 0..50 {
                    if sender.is_extended_connect_protocol_enabled() {
                        break;
                    }
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                }
                request.method = "CONNECT";
                let mut call = made(scheme, &request)?;
                call.extensions_mut().insert(Protocol::from_static("websocket"));
                let (response, stream) = sender.send_request(call, false)?;
                let response = response.await?;
                if response.status() != 200 {
                    return Err(Broken(format!("no WebSocket: {}", response.status())));
                }
                Ok(Tunnel::Http2(stream, response.into_body(), BytesMut::new()))
            }
        }
    }

    /// A call of gRPC whose messages are sent one by one. HTTP/2 only.
    pub(crate) async fn call(self, path: &str, fields: Fields) -> Result<Call, Broken> {
        let Client::Http2 { sender, scheme } = self else { return Err(Broken("gRPC is HTTP/2".to_owned())) };
        let request = Request { method: "POST", fields, ..Request::get(path) };
        let request = request.with("content-type", "application/grpc").with("te", "trailers");
        let mut sender = sender.ready().await?;
        let (response, sending) = sender.send_request(made(scheme, &request)?, false)?;
        Ok(Call {
            sending,
            response: Some(response),
            receiving: None,
            head: Fields::new(),
            buffer: BytesMut::new(),
        })
    }
}

impl Http1 {
    /// Writes in a task of its own, so that an early answer is read meanwhile.
    fn send(&mut self, request: &Request) -> Result<JoinHandle<std::io::Result<WriteHalf<Io>>>, Broken> {
        let mut writer = self.writer.take().ok_or_else(|| Broken("the connection is used up".to_owned()))?;
        let mut fields = vec![("host".to_owned(), "localhost".to_owned())];
        fields.extend(request.fields.iter().cloned());
        let bytes =
            written(&format!("{} {} HTTP/1.1", request.method, request.path), &fields, &request.content);
        Ok(tokio::spawn(async move {
            writer.write_all(&bytes).await?;
            writer.flush().await?;
            Ok(writer)
        }))
    }

    async fn head(&mut self, method: &str) -> Result<Head, Broken> {
        let mut interim = Vec::new();
        loop {
            let head = self.reader.head().await?;
            let (start, fields) =
                head.ok_or_else(|| Broken("the connection ended before a head".to_owned()))?;
            let status = start.split(' ').nth(1).and_then(|code| code.parse().ok());
            let status: u16 = status.ok_or_else(|| Broken(format!("no status line: {start}")))?;
            if (100..200).contains(&status) && status != 101 {
                interim.push(status);
                continue;
            }
            if method == "HEAD" || status == 101 || status == 204 || status == 304 {
                self.reader.left = Left::Nothing;
            } else {
                self.reader.begin(&fields, Left::Close)?;
            }
            return Ok(Head { interim, status, fields });
        }
    }
}

/// An HTTP/2 request from a request's parts.
fn made(scheme: &str, request: &Request) -> Result<http::Request<()>, Broken> {
    let uri = format!("{scheme}://localhost{}", request.path);
    let mut call = http::Request::builder().method(request.method).uri(uri).version(http::Version::HTTP_2);
    for (name, value) in &request.fields {
        call = call.header(name, value);
    }
    if let Content::Known(body) = &request.content {
        call = call.header("content-length", body.len());
    }
    Ok(call.body(())?)
}

async fn send(
    sender: SendRequest<Bytes>,
    scheme: &str,
    request: &Request,
) -> Result<(Head, RecvStream, Option<SendStream<Bytes>>), Broken> {
    let mut sender = sender.ready().await?;
    let is_empty = matches!(request.content, Content::None);
    let (mut response, mut stream) = sender.send_request(made(scheme, request)?, is_empty)?;
    // The library keeps what the windows do not allow yet.
    let sent = match &request.content {
        Content::None => Ok(()),
        Content::Known(body) => stream.send_data(body.clone(), true),
        Content::Parts(parts, trailers) => parts
            .iter()
            .try_for_each(|part| stream.send_data(part.clone(), false))
            .and_then(|()| stream.send_trailers(mapped(trailers))),
    };
    // A peer that has answered already may have reset the stream.
    drop(sent);
    let mut interim = Vec::new();
    let response = poll_fn(|cx| {
        while let std::task::Poll::Ready(Some(Ok(head))) = response.poll_informational(cx) {
            interim.push(head.status().as_u16());
        }
        std::pin::Pin::new(&mut response).poll(cx)
    })
    .await?;
    let head = Head { interim, status: response.status().as_u16(), fields: listed(response.headers()) };
    Ok((head, response.into_body(), (!is_empty).then_some(stream)))
}

/// Fields as HTTP/2 has them.
pub(crate) fn mapped(fields: &Fields) -> http::HeaderMap {
    let mut map = http::HeaderMap::new();
    for (name, value) in fields {
        let name: http::HeaderName = name.parse().expect("a field name");
        map.append(name, value.parse().expect("a field value"));
    }
    map
}

/// Fields from HTTP/2.
pub(crate) fn listed(map: &http::HeaderMap) -> Fields {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    map.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

impl Exchange {
    /// The next piece of the body; `None` at its end.
    pub(crate) async fn piece(&mut self) -> Result<Option<Bytes>, Broken> {
        match &mut self.body {
            Body::Http1(http1) => Ok(http1.reader.piece().await?),
            Body::Http2(stream) => {
                let Some(piece) = stream.data().await else { return Ok(None) };
                let piece = piece?;
                stream.flow_control().release_capacity(piece.len())?;
                Ok(Some(piece))
            }
        }
    }

    /// The rest of the body.
    pub(crate) async fn rest(&mut self) -> Result<Vec<u8>, Broken> {
        let mut body = Vec::new();
        while let Some(piece) = self.piece().await? {
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }
}

impl Tunnel {
    /// Sends bytes and waits for as many.
    pub(crate) async fn echo(&mut self, bytes: &Bytes) -> Result<Vec<u8>, Broken> {
        let mut came = vec![0; bytes.len()];
        match self {
            Tunnel::Http1(http1) => {
                let Http1 { reader, writer: Some(writer) } = &mut **http1 else {
                    return Err(Broken("the connection is used up".to_owned()));
                };
                let write = async {
                    writer.write_all(bytes).await?;
                    writer.flush().await
                };
                let (wrote, read) = tokio::join!(write, reader.io.read_exact(&mut came));
                wrote?;
                read?;
            }
            Tunnel::Http2(sending, receiving, buffer) => {
                sending.send_data(bytes.clone(), false)?;
                while buffer.len() < came.len() {
                    let piece =
                        receiving.data().await.ok_or_else(|| Broken("the tunnel ended".to_owned()))??;
                    receiving.flow_control().release_capacity(piece.len())?;
                    buffer.extend_from_slice(&piece);
                }
                came.copy_from_slice(&buffer.split_to(bytes.len()));
            }
        }
        Ok(came)
    }

    /// Says that nothing more comes, and waits until the other side says so.
    pub(crate) async fn end(&mut self) -> Result<(), Broken> {
        let more = match self {
            Tunnel::Http1(http1) => {
                let writer =
                    http1.writer.as_mut().ok_or_else(|| Broken("the connection is used up".to_owned()))?;
                writer.shutdown().await?;
                http1.reader.io.read(&mut [0]).await?
            }
            Tunnel::Http2(sending, receiving, _) => {
                sending.send_data(Bytes::new(), true)?;
                match receiving.data().await {
                    None => 0,
                    Some(piece) => piece?.len(),
                }
            }
        };
        if more == 0 { Ok(()) } else { Err(Broken("bytes behind the end of a tunnel".to_owned())) }
    }
}

/// A call of gRPC.
pub(crate) struct Call {
    sending: SendStream<Bytes>,
    response: Option<h2::client::ResponseFuture>,
    receiving: Option<RecvStream>,
    head: Fields,
    buffer: BytesMut,
}

impl Call {
    /// Sends one message.
    pub(crate) fn send(&mut self, message: &[u8], end: bool) -> Result<(), Broken> {
        Ok(self.sending.send_data(framed(message), end)?)
    }

    /// Says that no more messages come.
    pub(crate) fn end(&mut self) -> Result<(), Broken> {
        Ok(self.sending.send_data(Bytes::new(), true)?)
    }

    /// The next message; `None` at the end.
    pub(crate) async fn message(&mut self) -> Result<Option<Bytes>, Broken> {
        if let Some(response) = self.response.take() {
            let response = response.await?;
            if response.status() != 200 {
                return Err(Broken(format!("a call was answered with {}", response.status())));
            }
            self.head = listed(response.headers());
            self.receiving = Some(response.into_body());
        }
        let Some(receiving) = &mut self.receiving else { return Ok(None) };
        loop {
            if self.buffer.len() >= 5 {
                let length = (&self.buffer[1..5]).get_u32() as usize;
                if self.buffer.len() >= 5 + length {
                    let message = self.buffer.split_to(5 + length).freeze();
                    return Ok(Some(message.slice(5..)));
                }
            }
            let Some(piece) = receiving.data().await else { return Ok(None) };
            let piece = piece?;
            receiving.flow_control().release_capacity(piece.len())?;
            self.buffer.extend_from_slice(&piece);
        }
    }

    /// Status and message of the call, from trailers or, if there is nothing else, from the head.
    pub(crate) async fn status(&mut self) -> Result<(String, String), Broken> {
        while self.message().await?.is_some() {}
        let trailers = match &mut self.receiving {
            Some(receiving) => receiving.trailers().await?.map(|map| listed(&map)),
            None => None,
        };
        let fields = trailers.unwrap_or_else(|| self.head.clone());
        let first = |name: &str| values(&fields, name).first().copied().unwrap_or_default().to_owned();
        Ok((first("grpc-status"), first("grpc-message")))
    }
}

/// A message with its length before it.
pub(crate) fn framed(message: &[u8]) -> Bytes {
    [&[0][..], &u32::try_from(message.len()).expect("a short message").to_be_bytes(), message].concat().into()
}
