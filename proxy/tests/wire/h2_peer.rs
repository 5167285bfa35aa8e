//! Clients and origins of the `h2` crate, which shares nothing with the program, on threads of their own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use tokio::sync::mpsc;

use super::support::PATIENCE;
pub use super::support::pattern;

pub type Client = h2::client::SendRequest<Bytes>;

/// Runs `work` to its end.
pub fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(work)
}

/// Runs `work`, which must end in time.
pub fn run_in_time<T>(work: impl Future<Output = T>) -> T {
    run(async { tokio::time::timeout(4 * PATIENCE, work).await.expect("in time") })
}

/// A client's connection; its task ends with the connection.
pub async fn connect(address: SocketAddr) -> (Client, tokio::task::JoinHandle<Result<(), h2::Error>>) {
    let socket = tokio::net::TcpStream::connect(address).await.expect("connected");
    socket.set_nodelay(true).expect("an option of sockets");
    let mut builder = h2::client::Builder::new();
    builder.initial_connection_window_size(8 << 20);
    let (client, connection) = builder.handshake(socket).await.expect("a handshake");
    (client, tokio::spawn(connection))
}

/// Reads a body to its end.
pub async fn read_body(mut body: h2::RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut content = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        content.extend_from_slice(&piece);
    }
    Ok((content, body.trailers().await?))
}

/// Sends all of `content`, as windows allow.
pub async fn send_body(
    stream: &mut h2::SendStream<Bytes>,
    content: &[u8],
    end: bool,
) -> Result<(), h2::Error> {
    let mut rest = Bytes::copy_from_slice(content);
    while !rest.is_empty() {
        stream.reserve_capacity(rest.len());
        let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
        let room = room.ok_or(h2::Reason::STREAM_CLOSED)??;
        let piece = rest.split_to(room.min(rest.len()));
        stream.send_data(piece, end && rest.is_empty())?;
    }
    if content.is_empty() && end {
        stream.send_data(Bytes::new(), true)?;
    }
    Ok(())
}

/// An answer with all of its content.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub content: Vec<u8>,
    pub trailers: Option<HeaderMap>,
}

/// Sends a request with `content` (a GET when there is none) and reads the answer meanwhile.
pub async fn ask(client: &Client, path: &str, content: &[u8]) -> Result<Answer, h2::Error> {
    let mut client = client.clone().ready().await?;
    let method = if content.is_empty() { "GET" } else { "POST" };
    let request = Request::builder().method(method).uri(format!("http://test{path}")).body(());
    let (answer, mut body) = client.send_request(request.expect("a request"), content.is_empty())?;
    let sending =
        async { if content.is_empty() { Ok(()) } else { send_body(&mut body, content, true).await } };
    let receiving = async {
        let answer = answer.await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let (content, trailers) = read_body(answer.into_body()).await?;
        Ok(Answer { status, headers, content, trailers })
    };
    let (sent, answered) = tokio::join!(sending, receiving);
    let answered: Result<Answer, h2::Error> = answered;
    // An answer may come, and be complete, before the request was read.
    if answered.is_err() {
        sent?;
    }
    answered
}

/// What an origin does beside echoing.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// SETTINGS_MAX_CONCURRENT_STREAMS.
    pub streams: u32,
    /// Says GOAWAY after so many requests of a connection; they are answered.
    pub leaves_after: usize,
    /// Refuses so many streams at first.
    pub refuses: u64,
    /// How long each answer takes.
    pub slow: std::time::Duration,
}

/// An origin without whims.
pub const CALM: Manner =
    Manner { streams: 100, leaves_after: usize::MAX, refuses: 0, slow: std::time::Duration::ZERO };

/// An origin that echoes, for the rest of the process.
pub fn origin() -> SocketAddr {
    origin_with(CALM).0
}

/// An origin and the count of its connections.
pub fn origin_with(manner: Manner) -> (SocketAddr, Arc<AtomicU64>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("an option of sockets");
    let address = listener.local_addr().expect("an address");
    let (connections, refuses) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(manner.refuses)));
    let count = connections.clone();
    std::thread::spawn(move || {
        run(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            loop {
                let (socket, _) = listener.accept().await.expect("a connection");
                socket.set_nodelay(true).expect("an option of sockets");
                count.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(socket, manner, refuses.clone()));
            }
        });
    });
    (address, connections)
}

async fn serve(socket: tokio::net::TcpStream, manner: Manner, refuses: Arc<AtomicU64>) {
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(manner.streams).initial_connection_window_size(8 << 20);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(socket).await else { return };
    let mut seen = 0;
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        if refuses.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
            respond.send_reset(h2::Reason::REFUSED_STREAM);
            continue;
        }
        seen += 1;
        tokio::spawn(async move {
            tokio::time::sleep(manner.slow).await;
            let answer = Response::builder()
                .header("x-path", request.uri().path())
                .header("x-version", format!("{:?}", request.version()));
            let Ok((content, trailers)) = read_body(request.into_body()).await else { return };
            let Ok(mut body) = respond.send_response(answer.body(()).expect("a head"), false) else { return };
            let _ = send_body(&mut body, &content, trailers.is_none()).await;
            if let Some(trailers) = trailers {
                let _ = body.send_trailers(trailers);
            }
        });
        if seen == manner.leaves_after {
            connection.graceful_shutdown();
        }
    }
}

/// A client that keeps asking over one connection until it is stopped. Any failure fails the test.
pub struct Asker {
    tell: mpsc::UnboundedSender<Tell>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

enum Tell {
    Once(std::sync::mpsc::Sender<()>),
    Go(usize),
    Stop,
}

impl Asker {
    /// One that asks nothing yet.
    pub fn quiet(address: SocketAddr) -> Self {
        let (tell, told) = mpsc::unbounded_channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = stop.clone();
        let thread = std::thread::spawn(move || run(asking(address, told, stopping)));
        Asker { tell, stop, thread }
    }

    /// One that asks `lanes` requests at a time.
    pub fn start(address: SocketAddr, lanes: usize) -> Self {
        let asker = Self::quiet(address);
        asker.go(lanes);
        asker
    }

    /// Asks once, and waits for the answer.
    pub fn ask_once(&self) {
        let (done, answered) = std::sync::mpsc::channel();
        self.tell.send(Tell::Once(done)).expect("it is there");
        answered.recv_timeout(PATIENCE).expect("an answer");
    }

    /// Asks `lanes` requests at a time from now on.
    pub fn go(&self, lanes: usize) {
        self.tell.send(Tell::Go(lanes)).expect("it is there");
    }

    /// Ends it: every request was answered.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.tell.send(Tell::Stop).expect("it is there");
        self.thread.join().expect("every answer was right");
    }
}

async fn asking(address: SocketAddr, mut told: mpsc::UnboundedReceiver<Tell>, stop: Arc<AtomicBool>) {
    let (client, connection) = connect(address).await;
    let mut lanes = Vec::new();
    while let Some(tell) = told.recv().await {
        match tell {
            Tell::Once(done) => {
                check(&client, 10).await;
                done.send(()).expect("somebody waits");
            }
            Tell::Go(count) => {
                for lane in 0..count {
                    let (client, stop) = (client.clone(), stop.clone());
                    lanes.push(tokio::spawn(async move {
                        let mut round = lane;
                        while !stop.load(Ordering::Relaxed) {
                            check(&client, [0, 10, 1_000, 9_000][round % 4]).await;
                            round += 1;
                        }
                    }));
                }
            }
            Tell::Stop => break,
        }
    }
    for lane in lanes {
        lane.await.expect("every answer was right");
    }
    drop(client);
    connection.await.expect("no panic").expect("a regular end");
}

async fn check(client: &Client, length: usize) {
    let content = pattern(length);
    let answer = ask(client, "/echo", &content).await.expect("an answer");
    assert_eq!(answer.status, 200);
    assert!(answer.content == content, "{length} bytes became {}", answer.content.len());
}
