//! tokio's network.

use std::io;
use std::net::SocketAddr;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::{CONNECTIONS_MAX, Listener, Net, Stream};

/// How many connections wait to be accepted, as in tokio's own listener.
const BACKLOG: u32 = 1_024;

/// tokio's network: the operating system's TCP.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokioNet;

impl Net for TokioNet {
    fn bind(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        async move { Ok(Box::new(listen(address)?) as Box<dyn Listener>) }.boxed()
    }

    fn connect<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Stream>> {
        async move {
            let stream = TcpStream::connect((host, port)).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Stream)
        }
        .boxed()
    }
}

/// Listens with SO_KEEPALIVE, which the accepted connections inherit: a peer that has gone without a word does not hold
/// its connection for ever. A restarted process gets its port again at once (SO_REUSEADDR), as with tokio's own listener.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.set_keepalive(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

impl Listener for TcpListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Stream, SocketAddr)>> {
        async move {
            let (stream, peer) = TcpListener::accept(self).await?;
            stream.set_nodelay(true)?;
            Ok((Box::new(stream) as Stream, peer))
        }
        .boxed()
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        TcpListener::local_addr(self)
    }

    /// At most half of the files that this process may have open: the other half is the store's and the handlers'.
    fn connections_max(&self) -> usize {
        let limits = std::fs::read_to_string("/proc/self/limits").ok();
        limits.and_then(|limits| files_max(&limits)).map_or(CONNECTIONS_MAX, |files| CONNECTIONS_MAX.min(files / 2))
    }
}

/// The soft limit of open files, out of what Linux says of a process's limits.
fn files_max(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_accepted_connection_is_kept_alive() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = listen(address.parse().unwrap()) else {
                assert!(address.starts_with('['), "a machine may be without IPv6, but not without IPv4");
                continue;
            };
            let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (accepted, _) = TcpListener::accept(&listener).await.unwrap();
            assert!(TcpSocket::from_std_stream(accepted.into_std().unwrap()).keepalive().unwrap());
        }
    }

    #[tokio::test]
    async fn connections_leave_half_of_the_files_to_others() {
        let listener = listen(([127, 0, 0, 1], 0).into()).unwrap();
        let files = files_max(&std::fs::read_to_string("/proc/self/limits").unwrap()).unwrap();
        assert_eq!(listener.connections_max(), CONNECTIONS_MAX.min(files / 2));
        let limits =
            "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 4096   files\n";
        assert_eq!(files_max(limits), Some(1_024));
        assert_eq!(files_max("Max open files            unlimited            unlimited            files\n"), None);
    }
}
