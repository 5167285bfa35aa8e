//! The upstream of the matrix: one port that speaks one kind, and does what a path says.
//!
//! | path | what happens |
//! |---|---|
//! | `/bytes/N`, `/chunked/N` | N bytes with a length; without, in parts, with the trailer `x-sum` |
//! | `/status/N` | that status without content |
//! | `/echo` | the request as it was seen, its content counted and summed |
//! | `/interim` | two 103, then 200 |
//! | `/continue` | 100 once the head is there, then as `/echo` |
//! | `/early` | 413 at once; the content is never read |
//! | `/reset/head`, `/reset/body` | the connection (HTTP/2: the stream) is cut before, or amid the answer |
//! | `/hang` | never answers, and counts who gave up |
//! | `/gate` | `first`, and `second` once the gate is opened |
//! | `/headers/N`, `/cookies` | N fields of 200 bytes; three `set-cookie`, and the request's cookie |
//! | `/socket` | a WebSocket whose bytes come back |
//! | `/echo.Echo/…` | gRPC (HTTP/2): each message comes back; `Fail` ends with trailers alone |

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::http1::Io;
use crate::message::{Content, Fields, Head, pattern, values};
use crate::pair::Kind;

mod http1;
mod http2;

/// What an origin has seen; shared with the cells.
pub(crate) struct Shared {
    /// Connections accepted.
    pub(crate) connections: AtomicUsize,
    /// Requests on `/hang` that wait, ever.
    pub(crate) hanging: AtomicUsize,
    /// Those whose client gave up.
    pub(crate) given_up: AtomicUsize,
    /// A permit for each `/gate` that may go on.
    pub(crate) gate: Semaphore,
    /// What requests of HTTP/2 must say.
    scheme: &'static str,
}

/// A running origin.
#[derive(Clone)]
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    pub(crate) shared: Arc<Shared>,
}

/// A request as it was seen.
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) fields: Fields,
}

/// What is to be done about a request.
pub(crate) enum Plan {
    /// Interim answers, then, with the content read, this.
    Answer(Head, Content),
    /// The same, with the request itself as content.
    Echo(Vec<u16>),
    /// An answer before the content.
    Early(u16),
    ResetHead,
    /// So much content, then the end of everything.
    ResetBody(Bytes),
    Hang,
    Gate,
    Socket,
    Call,
}

impl Origin {
    /// Starts one.
    pub(crate) async fn start(kind: Kind, tls: Arc<ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            connections: AtomicUsize::new(0),
            hanging: AtomicUsize::new(0),
            given_up: AtomicUsize::new(0),
            gate: Semaphore::new(0),
            scheme: if kind.is_tls() { "https" } else { "http" },
        });
        let mut tls = ServerConfig::clone(&tls);
        tls.alpn_protocols = vec![kind.alpn().to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let origin = Origin { address, shared: Arc::clone(&shared) };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (shared, acceptor) = (Arc::clone(&shared), acceptor.clone());
                shared.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let _ = stream.set_nodelay(true);
                    let io: Io = match kind.is_tls() {
                        false => Box::new(stream),
                        true => match acceptor.accept(stream).await {
                            Ok(stream) => Box::new(stream),
                            Err(_) => return,
                        },
                    };
                    match kind.is_http2() {
                        false => drop(http1::serve(io, &shared).await),
                        true => drop(http2::serve(io, &shared).await),
                    }
                });
            }
        });
        origin
    }
}

fn ok(fields: &[(&str, &str)]) -> Head {
    let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Head { interim: Vec::new(), status: 200, fields: fields.collect() }
}

/// What is to be done about a request.
pub(crate) fn plan(seen: &Seen) -> Plan {
    let path = seen.path.split('?').next().unwrap_or_default();
    let number = |prefix: &str| path.strip_prefix(prefix).and_then(|rest| rest.parse::<usize>().ok());
    if let Some(size) = number("/bytes/") {
        return Plan::Answer(ok(&[("x-served-by", "origin")]), Content::Known(pattern(size)));
    }
    if let Some(size) = number("/chunked/") {
        let body = pattern(size);
        let parts = (0..size).step_by(5_000).map(|from| body.slice(from..size.min(from + 5_000))).collect();
        return Plan::Answer(
            ok(&[]),
            Content::Parts(parts, vec![("x-sum".to_owned(), sum(&body).to_string())]),
        );
    }
    if let Some(status) = number("/status/") {
        let head = Head { status: status as u16, ..ok(&[("etag", "\"a\"")]) };
        return Plan::Answer(head, Content::None);
    }
    if let Some(count) = number("/headers/") {
        let field = |number| (format!("x-field-{number}"), "v".repeat(200));
        let head = Head { fields: (0..count).map(field).collect(), ..ok(&[]) };
        return Plan::Answer(head, Content::Known(Bytes::from_static(b"headers")));
    }
    match path {
        "/interim" => Plan::Answer(
            Head { interim: vec![103, 103], ..ok(&[]) },
            Content::Known(Bytes::from_static(b"after two")),
        ),
        "/cookies" => {
            let cookies = values(&seen.fields, "cookie").join("; ");
            let head = ok(&[("set-cookie", "a=1; Path=/"), ("set-cookie", "b=2"), ("set-cookie", "c=3, 4")]);
            Plan::Answer(head, Content::Known(cookies.into()))
        }
        "/continue" => Plan::Echo(vec![100]),
        "/early" => Plan::Early(413),
        "/reset/head" => Plan::ResetHead,
        "/reset/body" => Plan::ResetBody(pattern(10_000)),
        "/hang" => Plan::Hang,
        "/gate" => Plan::Gate,
        "/socket" => Plan::Socket,
        path if path.starts_with("/echo.Echo/") => Plan::Call,
        _ => Plan::Echo(Vec::new()),
    }
}

/// A sum in which a lost byte shows.
pub(crate) fn sum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |sum: u32, &byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)))
}

/// The request as text: method and path, fields, then what its content was.
fn described(seen: &Seen, body: &[u8], trailers: &Fields) -> Bytes {
    let mut text = format!("{} {}\n", seen.method, seen.path);
    for (name, value) in &seen.fields {
        text += &format!("{name}: {value}\n");
    }
    text += &format!("\n{} {}\n", body.len(), sum(body));
    for (name, value) in trailers {
        text += &format!("{name}: {value}\n");
    }
    text.into()
}
