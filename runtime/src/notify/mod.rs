//! The notifier: it tells users how their jobs ended, over WebSocket and, where a job asked for it, by mail.
//!
//! It follows the ends in the broker twice, apart from each other: once for the open sessions, from now on, and once
//! for the mails, from where it stopped the last time. A mail is itself a job. Both tell at least once.

mod events;
mod mail;
mod sessions;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join;
use kew_spec::queues::Queues;

pub use events::{State, events, router};
pub use sessions::Sessions;

use crate::broker::{Queue, Refusal, Request, Response};
use crate::clock::Clock;
use crate::ids::Ids;
use crate::store::{End, Query, Rows};

/// How long a question for ends waits at the broker.
const WAIT_MS: u64 = 10_000;

/// How long to leave a broker alone that could not be reached.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// The notifier's task.
pub struct Notifier {
    queue: Arc<dyn Queue>,
    queues: Arc<Queues>,
    ids: Ids,
    clock: Arc<dyn Clock>,
    sessions: Sessions,
}

impl Notifier {
    /// A notifier of the ends in `queue`. Mails become jobs of the queue `email_notification`, if `queues` has
    /// one; they get their ids from `ids` and `clock`.
    pub fn new(queue: Arc<dyn Queue>, queues: Arc<Queues>, ids: Ids, clock: Arc<dyn Clock>) -> Self {
        Self { queue, queues, ids, clock, sessions: Sessions::default() }
    }

    /// The open sessions, for the route that opens them.
    pub fn sessions(&self) -> Sessions {
        self.sessions.clone()
    }

    /// Works until it is dropped.
    pub async fn run(self) {
        let (through, newest) = told(self.queue.as_ref()).await;
        let live = dispatch(self.queue.as_ref(), &self.sessions, newest);
        let mails = mail::Mails::new(self.queue.clone(), &self.queues, self.ids, self.clock);
        join(live, mails.run(through)).await;
    }
}

/// Tells the open sessions of every end after `cursor`.
async fn dispatch(queue: &dyn Queue, sessions: &Sessions, mut cursor: u64) {
    sessions.open_up();
    loop {
        let ends = ends(queue, cursor).await;
        if let Some(last) = ends.last() {
            cursor = last.seq;
            sessions.dispatch(ends);
        }
    }
}

/// Waits for ends after `after`, for a while; none when there were none.
async fn ends(queue: &dyn Queue, after: u64) -> Vec<End> {
    match ask(queue, Request::Ends { after, wait_ms: WAIT_MS }).await {
        Ok(Response::Rows(Rows::Ends(ends))) => ends,
        Ok(_) => leave_alone("the broker's answer to a wait for ends is of another kind").await,
        Err(refusal) => leave_alone(&refusal.to_string()).await,
    }
}

/// Up to where ends have been told by mail, and the newest end.
async fn told(queue: &dyn Queue) -> (u64, u64) {
    loop {
        match ask(queue, Request::Read(Query::Told)).await {
            Ok(Response::Rows(Rows::Told { through, newest })) => return (through, newest),
            Ok(_) => leave_alone("the broker's answer to where the ends are is of another kind").await,
            Err(refusal) => leave_alone(&refusal.to_string()).await,
        }
    }
}

/// Asks until the broker can be reached.
async fn ask(queue: &dyn Queue, request: Request) -> Result<Response, Refusal> {
    loop {
        match queue.call(request.clone()).await {
            Err(Refusal::Unavailable(reason)) => leave_alone(&reason).await,
            answer => return answer,
        }
    }
}

async fn leave_alone<T: Default>(reason: &str) -> T {
    tracing::warn!(reason, "the notifier tries again");
    tokio::time::sleep(RETRY_AFTER).await;
    T::default()
}
