//! The roles' HTTP client: hyper's pooled client on a [`Net`]. Every request has a timeout, since a lost segment can
//! leave a connection hanging for ever.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Method, Request, StatusCode, Uri, header};
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use super::{Net, Stream};

/// The largest reply that the client reads: a pull of 1,000 jobs at their largest payload.
const REPLY_BYTES_MAX: usize = 256 << 20;

/// How long an idle connection is kept for the next request.
const IDLE: Duration = Duration::from_secs(20);

/// Why a request got no reply. Whether the other side has acted on it is unknown.
#[derive(Debug, thiserror::Error)]
#[error("reach {url}: {reason}")]
pub struct Error {
    /// What was asked.
    pub url: String,
    /// What went wrong.
    pub reason: String,
}

/// A reply: its status and its body.
#[derive(Debug)]
pub struct Reply {
    /// The status code.
    pub status: StatusCode,
    /// The whole body.
    pub body: Bytes,
}

/// A client for one base URL.
#[derive(Clone)]
pub struct Client {
    inner: legacy::Client<Connector, Full<Bytes>>,
    base: String,
    token: Option<String>,
}

impl Client {
    /// A client for `base` (`http://host:port`), which sends `token` as a bearer token.
    pub fn new(net: Arc<dyn Net>, base: impl Into<String>, token: Option<String>) -> Self {
        let inner = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(Connector(net));
        Self { inner, base: base.into(), token }
    }

    /// Sends `body` as JSON to `path` and waits for the whole reply, at most for `timeout`.
    pub async fn post(&self, path: &str, body: Vec<u8>, timeout: Duration) -> Result<Reply, Error> {
        self.request(Method::POST, path, &[], body, timeout).await
    }

    /// Sends a request with further headers and waits for the whole reply, at most for `timeout`.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
        timeout: Duration,
    ) -> Result<Reply, Error> {
        let url = format!("{}{path}", self.base);
        let exchange = self.exchange(method, &url, headers, body);
        let outcome = tokio::time::timeout(timeout, exchange).await;
        let reply = outcome.unwrap_or_else(|_| Err(format!("no reply within {} ms", timeout.as_millis()).into()));
        reply.map_err(|reason| Error { url, reason: reason.to_string() })
    }

    async fn exchange(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Reply, Box<dyn std::error::Error + Send + Sync>> {
        let mut request = Request::builder().method(method).uri(url).header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let reply = self.inner.request(request.body(Full::new(body.into()))?).await?;
        let status = reply.status();
        let body = Limited::new(reply.into_body(), REPLY_BYTES_MAX).collect().await?.to_bytes();
        Ok(Reply { status, body })
    }
}

/// Opens hyper's connections on a [`Net`].
#[derive(Clone)]
struct Connector(Arc<dyn Net>);

impl tower_service::Service<Uri> for Connector {
    type Response = Socket;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Socket>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let net = self.0.clone();
        Box::pin(async move {
            let host = uri.host().ok_or_else(|| io::Error::other(format!("no host in {uri}")))?;
            let stream = net.connect(host, uri.port_u16().unwrap_or(80)).await?;
            Ok(Socket(TokioIo::new(stream)))
        })
    }
}

/// A connection as hyper takes it.
struct Socket(TokioIo<Stream>);

impl Connection for Socket {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl hyper::rt::Read for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl hyper::rt::Write for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
