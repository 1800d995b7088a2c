//! The connections of a server: on streams in memory, with a clock that goes on when everybody waits.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::routing::{any, get};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use kew_runtime::api::serve;
use kew_runtime::net::{Listener, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// Longer than anything here may take, and no time at all by the clock on the wall.
const HOUR: Duration = Duration::from_secs(3_600);

const REQUEST: &[u8] = b"GET /now HTTP/1.1\r\nhost: localhost\r\n\r\n";

struct InMemory {
    arriving: mpsc::UnboundedReceiver<DuplexStream>,
    connections_max: usize,
}

impl Listener for InMemory {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Stream, SocketAddr)>> {
        async {
            let stream = self.arriving.recv().await.expect("the test keeps its end");
            Ok((Box::new(stream) as Stream, ([127, 0, 0, 1], 9).into()))
        }
        .boxed()
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(([127, 0, 0, 1], 8).into())
    }

    fn connections_max(&self) -> usize {
        self.connections_max
    }
}

struct Server {
    arriving: mpsc::UnboundedSender<DuplexStream>,
    stop: oneshot::Sender<()>,
    served: JoinHandle<io::Result<()>>,
    /// Lets one request of `/later` be answered.
    release: Arc<Notify>,
}

impl Server {
    fn start(connections_max: usize) -> Self {
        let (arriving, accepted) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let release = Arc::new(Notify::new());
        let wait = release.clone();
        let router = Router::new()
            .route("/now", get(async || "now"))
            .route("/later", get(async move || wait.notified().await))
            .route("/upgrade", any(upgrade));
        let listener = InMemory { arriving: accepted, connections_max };
        let served = tokio::spawn(serve(Box::new(listener), router, async { stopped.await.unwrap() }));
        Self { arriving, stop, served, release }
    }

    /// A connection on which `bytes` have been sent.
    async fn connect(&self, bytes: &[u8]) -> DuplexStream {
        let (mut ours, theirs) = duplex(1 << 16);
        self.arriving.send(theirs).unwrap();
        ours.write_all(bytes).await.unwrap();
        ours
    }
}

/// Keeps what was a connection until its peer hangs up, as a WebSocket does.
async fn upgrade(mut request: Request) -> (StatusCode, [(&'static str, &'static str); 2]) {
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut stream = hyper_util::rt::TokioIo::new(upgraded.await.unwrap());
        let _ = stream.read(&mut [0]).await;
    });
    (StatusCode::SWITCHING_PROTOCOLS, [("connection", "upgrade"), ("upgrade", "test")])
}

/// What comes next on a connection, as text; empty when the server has closed it.
async fn heard(stream: &mut DuplexStream) -> String {
    let mut bytes = vec![0; 4_096];
    let count = timeout(HOUR, stream.read(&mut bytes)).await.expect("the server answers or closes").unwrap();
    String::from_utf8(bytes[..count].to_vec()).unwrap()
}

async fn is_silent(stream: &mut DuplexStream) -> bool {
    timeout(Duration::from_secs(1), stream.read(&mut [0])).await.is_err()
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_asks_nothing_whole_is_closed() {
    let server = Server::start(10);
    let begun = Instant::now();
    for sent in [&b""[..], b"GET /now HTTP/1.1\r\nhost: loc"] {
        let mut stream = server.connect(sent).await;
        while !heard(&mut stream).await.is_empty() {}
    }
    let mut idle = server.connect(REQUEST).await;
    assert!(heard(&mut idle).await.contains("200 OK"));
    while !heard(&mut idle).await.is_empty() {}
    assert_eq!(begun.elapsed().as_secs(), 90, "30 s each");
}

#[tokio::test(start_paused = true)]
async fn half_a_head_holds_up_the_end_for_seconds_alone() {
    let server = Server::start(10);
    let mut half = server.connect(&REQUEST[..9]).await;
    assert!(is_silent(&mut half).await);
    let begun = Instant::now();
    server.stop.send(()).unwrap();
    timeout(HOUR, server.served).await.unwrap().unwrap().unwrap();
    assert_eq!(begun.elapsed().as_secs(), 5);
    assert_eq!(heard(&mut half).await, "");
}

#[tokio::test(start_paused = true)]
async fn what_is_being_answered_outlives_the_stop() {
    let mut server = Server::start(10);
    let mut asked = server.connect(b"GET /later HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert!(is_silent(&mut asked).await);
    server.stop.send(()).unwrap();
    assert!(timeout(Duration::from_secs(60), &mut server.served).await.is_err(), "it waits");
    server.release.notify_one();
    assert!(heard(&mut asked).await.contains("200 OK"));
    timeout(HOUR, server.served).await.unwrap().unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_a_slow_peer_has_not_taken_yet_outlives_the_stop() {
    let mut server = Server::start(10);
    let (mut ours, theirs) = duplex(64);
    server.arriving.send(theirs).unwrap();
    ours.write_all(REQUEST).await.unwrap();
    let mut answer = vec![0; 8];
    ours.read_exact(&mut answer).await.unwrap();
    server.stop.send(()).unwrap();
    assert!(timeout(Duration::from_secs(20), &mut server.served).await.is_err(), "it waits");
    timeout(HOUR, ours.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert!(answer.ends_with(b"now"), "{}", String::from_utf8_lossy(&answer));
    timeout(HOUR, server.served).await.unwrap().unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn one_connection_too_many_waits_until_another_ends() {
    let server = Server::start(2);
    let mut first = server.connect(REQUEST).await;
    let upgrade = b"GET /upgrade HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: test\r\n\r\n";
    let mut upgraded = server.connect(upgrade).await;
    assert!(heard(&mut first).await.contains("200 OK") && heard(&mut upgraded).await.contains("101 Switching"));
    let mut third = server.connect(REQUEST).await;
    assert!(is_silent(&mut third).await);
    drop(first);
    assert!(heard(&mut third).await.contains("200 OK"));
    let mut fourth = server.connect(REQUEST).await;
    assert!(is_silent(&mut fourth).await, "a connection counts after its upgrade too");
    drop(upgraded);
    assert!(heard(&mut fourth).await.contains("200 OK"));
}
