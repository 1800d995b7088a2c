//! Listening and connecting as values, so that one code base runs on tokio's network and on a simulated one.

mod client;
mod tokio_net;

use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

pub use client::{Client, Error, Reply};
pub use tokio_net::TokioNet;

/// A way to other hosts.
pub trait Net: Send + Sync + 'static {
    /// Listens on `address`.
    fn bind(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>>;

    /// Connects to `host`.
    fn connect<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Stream>>;
}

/// A place where connections arrive.
pub trait Listener: Send + 'static {
    /// Waits for the next connection.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Stream, SocketAddr)>>;

    /// Where it listens.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// What a connection can do.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send + Sync + Debug + 'static {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync + Debug + 'static> Io for T {}

/// A connection.
pub type Stream = Box<dyn Io>;

/// A [`Listener`] as axum takes it. Accept errors are passed over after a pause: they come from the peer or from a
/// shortage of file descriptors, and both pass.
pub struct Incoming(pub Box<dyn Listener>);

impl axum::serve::Listener for Incoming {
    type Io = Stream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Stream, SocketAddr) {
        loop {
            match self.0.accept().await {
                Ok(accepted) => return accepted,
                Err(error) => {
                    tracing::warn!(%error, "accept");
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}
