//! The queue itself: it owns the store and decides who gets what, when.
//!
//! One task writes. It takes whatever requests wait, turns them into commands, applies these and what it gives to
//! processors in one transaction, and answers after the commit (group commit). Reads go past it, on a connection of their
//! own.
//!
//! - [`Queue`] is what the other roles see, [`Handle`] its near form, [`Remote`] its far one.
//! - `writer` is the task, `turn` what it does between two commits, `offer` decides which queue gives the next delivery,
//!   `decide` what follows an attempt.

mod decide;
mod offer;
mod remote;
mod turn;
mod waiting;
mod wire;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use kew_spec::queues::Queues;
use tokio::sync::{Mutex, Notify, mpsc, oneshot};
use tokio::time::Instant;

use crate::clock::Clock;
use crate::ids::Ids;
use crate::store::{Query, Reader, Rows, Store};

pub use decide::{IDEMPOTENCY_MS, LEASE_MARGIN_MS};
pub use remote::Remote;
pub use wire::*;
pub use writer::{RETENTION_MS, Writer};

/// How many requests wait for the writer before the next one has to wait for its place.
const INBOX: usize = 4_096;

/// How many ends one answer holds.
const ENDS_MAX: u32 = 500;

/// A request and where its answer goes.
struct Ask {
    request: Request,
    reply: oneshot::Sender<Result<Response, Refusal>>,
}

/// The broker in this process.
#[derive(Clone)]
pub struct Handle {
    inbox: mpsc::Sender<Ask>,
    reader: Arc<Mutex<Box<dyn Reader>>>,
    ended: Arc<Notify>,
}

/// Makes a broker: the handle that others ask, and the writer whose [`Writer::run`] the caller places on a task.
pub fn new(
    store: Box<dyn Store>,
    reader: Box<dyn Reader>,
    queues: Arc<Queues>,
    clock: Arc<dyn Clock>,
    ids: Ids,
) -> (Handle, Writer) {
    let (sender, inbox) = mpsc::channel(INBOX);
    let ended = Arc::new(Notify::new());
    let reader = Arc::new(Mutex::new(reader));
    let handle = Handle { inbox: sender, reader: reader.clone(), ended: ended.clone() };
    (handle, Writer::new(store, reader, queues, clock, ids, inbox, ended))
}

impl Queue for Handle {
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Response, Refusal>> {
        async move {
            match request {
                Request::Read(query) => self.read(&query).await.map(Response::Rows),
                Request::Ends { after, wait_ms } => self.ends(after, wait_ms).await.map(Response::Rows),
                request => self.ask(request).await,
            }
        }
        .boxed()
    }
}

impl Handle {
    async fn ask(&self, request: Request) -> Result<Response, Refusal> {
        let (reply, answer) = oneshot::channel();
        let gone = |_| Refusal::Unavailable("the broker has stopped; its last requests may or may not be done".into());
        self.inbox.send(Ask { request, reply }).await.map_err(|_| gone(()))?;
        answer.await.map_err(|_| gone(()))?
    }

    async fn read(&self, query: &Query) -> Result<Rows, Refusal> {
        let rows = self.reader.lock().await.read(query).await;
        rows.map_err(|error| Refusal::Unavailable(format!("failed to {error}")))
    }

    /// Waits until there are ends after `after`, at most for `wait_ms`.
    async fn ends(&self, after: u64, wait_ms: u64) -> Result<Rows, Refusal> {
        let deadline = Instant::now() + Duration::from_millis(wait_ms);
        loop {
            // Registered before the read, so that an end between read and wait is not missed.
            let mut ended = std::pin::pin!(self.ended.notified());
            ended.as_mut().enable();
            let rows = self.read(&Query::Ends { after, limit: ENDS_MAX }).await?;
            let found = matches!(&rows, Rows::Ends(ends) if !ends.is_empty());
            if found || tokio::time::timeout_at(deadline, ended).await.is_err() {
                return Ok(rows);
            }
        }
    }
}
