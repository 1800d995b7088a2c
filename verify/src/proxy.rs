//! A TCP proxy between a worker and its server, which can cut and delay what passes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the proxy does to what passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Weather {
    /// Nothing passes, new connections included; what was said waits, as in a network that has lost its way.
    pub(crate) cut: bool,
    /// Every piece waits so long.
    pub(crate) delay_ms: u64,
}

/// A running proxy. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    weather: Arc<watch::Sender<Weather>>,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    /// Stands before `server` from now on.
    pub(crate) async fn before(server: &str) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let weather = Arc::new(watch::Sender::new(Weather::default()));
        let task = tokio::spawn(accept(listener, server.to_owned(), Arc::clone(&weather)));
        Ok(Self { address, weather, task })
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// From now on.
    pub(crate) fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, server: String, weather: Arc<watch::Sender<Weather>>) {
    while let Ok((worker, _)) = listener.accept().await {
        let (server, weather) = (server.clone(), weather.subscribe());
        tokio::spawn(async move {
            let Ok(server) = TcpStream::connect(&server).await else { return };
            let _ = (worker.set_nodelay(true), server.set_nodelay(true));
            let ((from_worker, to_worker), (from_server, to_server)) = (worker.into_split(), server.into_split());
            tokio::join!(carry(from_worker, to_server, weather.clone()), carry(from_server, to_worker, weather));
        });
    }
}

/// Carries bytes until one end closes.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut weather: watch::Receiver<Weather>) {
    let mut bytes = vec![0; 16 << 10];
    loop {
        let Ok(read) = from.read(&mut bytes).await else { return };
        if read == 0 || weather.wait_for(|weather| !weather.cut).await.is_err() {
            return; // Dropping `to` closes it.
        }
        let delay = Duration::from_millis(weather.borrow().delay_ms);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}
