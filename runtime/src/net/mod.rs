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

/// How many connections may be open at once, where nothing else bounds them: far more than there are roles and sessions,
/// and few enough for the memory of a small machine. Chosen.
const CONNECTIONS_MAX: usize = 10_000;

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

    /// How many of its connections may be open at once.
    fn connections_max(&self) -> usize {
        CONNECTIONS_MAX
    }
}

/// What a connection can do.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send + Sync + Debug + 'static {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync + Debug + 'static> Io for T {}

/// A connection.
pub type Stream = Box<dyn Io>;
