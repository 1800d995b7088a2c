//! The connections that a router is served on: how many there are at once, how long each may take to ask, and how they
//! come to their end. axum's own server bounds none of these.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tower_service::Service;

use super::access::Peer;
use crate::net::{Listener, Stream};

/// How long a connection may take to send the head of its next request. It is longer than the roles' own clients keep a
/// connection that they do not use (20 s), so that none of them asks on one that is just being closed.
const HEAD_MAX: Duration = Duration::from_secs(30);

/// How long a connection may take for that once the server is stopping: what is on its way arrives, and half a head does
/// not hold up the end.
const LAST_HEAD_MAX: Duration = Duration::from_secs(5);

/// How long to wait after a connection could not be accepted. That comes from the peer or from a shortage of file
/// descriptors, and both pass.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Serves `router` on `listener` until `stop` is ready; then it takes no new connections and returns when the open ones
/// are done with what they are doing. WebSockets are not waited for.
pub async fn serve(
    mut listener: Box<dyn Listener>,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(listener.connections_max()));
    let (stopping, stopped) = watch::channel(false);
    let mut stop = pin!(stop);
    loop {
        let (connection, peer) = tokio::select! {
            biased;
            () = &mut stop => break,
            next = next(listener.as_mut(), &places) => next,
        };
        tokio::spawn(keep(connection, peer, router.clone(), stopped.clone()));
    }
    drop((listener, stopped));
    // Without a connection there is nobody to tell, and nobody to wait for.
    let _ = stopping.send(true);
    stopping.closed().await;
    Ok(())
}

/// Waits until there is room for one more connection, and then for the connection.
async fn next(listener: &mut dyn Listener, places: &Arc<Semaphore>) -> (Counted, SocketAddr) {
    if places.available_permits() == 0 {
        tracing::warn!("as many connections are open as are allowed; the next one waits until one of them ends");
    }
    let place = places.clone().acquire_owned().await.expect("nobody closes the semaphore");
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (Counted { stream, doing: Arc::default(), _place: place }, peer),
            Err(error) => {
                tracing::warn!(%error, "accept");
                tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
            }
        }
    }
}

/// Answers what is asked on one connection until it ends, becomes a WebSocket, or has nothing more to do after the stop.
async fn keep(connection: Counted, peer: SocketAddr, router: Router, mut stopped: watch::Receiver<bool>) {
    let doing = connection.doing.clone();
    let service = service_fn(|request| answer(router.clone(), request, peer, Answering::begin(&doing)));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .serve_connection(TokioIo::new(connection), service)
        .with_upgrades();
    let mut served = pin!(served);
    let stop = async {
        // An error means that the server is gone, which is a stop too.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    };
    tokio::select! {
        biased;
        // How it ended concerns its peer alone.
        _ = served.as_mut() => return,
        () = stop => {}
    }
    served.as_mut().graceful_shutdown();
    while tokio::time::timeout(LAST_HEAD_MAX, served.as_mut()).await.is_err() && doing.something() {}
}

async fn answer(
    mut router: Router,
    request: Request<Incoming>,
    peer: SocketAddr,
    _answering: Answering,
) -> Result<Response, Infallible> {
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(ConnectInfo(Peer(peer)));
    router.call(request).await
}

/// What a connection is doing, as far as a stop has to wait for it.
#[derive(Debug, Default)]
struct Doing {
    /// A request is being answered.
    answering: AtomicBool,
    /// There is more to send than the peer has taken so far.
    sending: AtomicBool,
}

impl Doing {
    fn something(&self) -> bool {
        self.answering.load(Ordering::Relaxed) || self.sending.load(Ordering::Relaxed)
    }
}

/// Says that a request is being answered, until it is dropped: a connection that breaks off drops the answer's future.
struct Answering(Arc<Doing>);

impl Answering {
    fn begin(doing: &Arc<Doing>) -> Self {
        doing.answering.store(true, Ordering::Relaxed);
        Self(doing.clone())
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answering.store(false, Ordering::Relaxed);
    }
}

/// A connection with its place among those that may be open: it has it as long as its stream lives, also as a WebSocket.
#[derive(Debug)]
struct Counted {
    stream: Stream,
    doing: Arc<Doing>,
    _place: OwnedSemaphorePermit,
}

impl Counted {
    fn noted(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.doing.sending.store(written.is_pending(), Ordering::Relaxed);
        written
    }
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.noted(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.noted(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
