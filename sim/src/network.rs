//! turmoil's network as the runtime takes it. Every byte that passes is part of the run's hash.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use kew_runtime::net::{Listener, Net, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

use crate::record::Recorder;

/// The network as one host sees it.
#[derive(Clone)]
pub struct SimNet {
    recorder: Recorder,
}

impl SimNet {
    /// A network whose traffic goes into `recorder`'s hash.
    pub fn new(recorder: Recorder) -> Self {
        Self { recorder }
    }
}

impl Net for SimNet {
    fn bind(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        async move {
            let listener = TcpListener::bind(address).await?;
            Ok(Box::new(SimListener { listener, recorder: self.recorder.clone() }) as Box<dyn Listener>)
        }
        .boxed()
    }

    fn connect<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Stream>> {
        async move {
            let stream = TcpStream::connect((host, port)).await?;
            Ok(Box::new(Traced { stream, recorder: self.recorder.clone() }) as Stream)
        }
        .boxed()
    }
}

struct SimListener {
    listener: TcpListener,
    recorder: Recorder,
}

impl Listener for SimListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Stream, SocketAddr)>> {
        async move {
            let (stream, peer) = self.listener.accept().await?;
            Ok((Box::new(Traced { stream, recorder: self.recorder.clone() }) as Stream, peer))
        }
        .boxed()
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection whose writes go into the hash. (Reads are writes of the other side.)
#[derive(Debug)]
struct Traced {
    stream: TcpStream,
    recorder: Recorder,
}

impl AsyncRead for Traced {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Traced {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(count)) = written {
            self.recorder.traffic(&bytes[..count]);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
