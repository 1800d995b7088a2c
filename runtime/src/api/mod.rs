//! The HTTP API, as a value: the caller brings the listener, the broker, the clock and the ids.
//!
//! - For users and operators: `jobs`, `queues`, `dead_letters` (`/v1/…`).
//! - For processors and producers that speak Cloudflare's queues: `messages` (`/queues/…`).
//! - For the other roles: `call` (`/broker/call`). The events' WebSocket belongs to the [notifier](crate::notify).
//! - `serve` keeps the connections.
//!
//! Nothing here decides about queues: it reads requests, asks the broker, shows answers.

mod access;
mod call;
pub(crate) mod cloudflare;
mod create;
mod dead_letters;
pub(crate) mod extract;
mod jobs;
mod messages;
pub(crate) mod problem;
mod queues;
mod serve;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{FromRef, State};
use axum::routing::get;
use axum::{Json, Router};
use kew_spec::queues::Queues;
use serde_json::{Value, json};

pub use access::{Access, Caller, Grant, Peer, Role};
pub use problem::{Kind, Problem};
pub use serve::serve;

pub(crate) use create::{MAILS, RESERVED_PREFIX};

use crate::broker::{Pull, Queue, Refusal, Request, Response};
use crate::clock::Clock;
use crate::ids::Ids;
use crate::store::{Query, Rows};

/// The largest payload of a job, in bytes of JSON: 128 KB, as Cloudflare's messages.
pub const PAYLOAD_BYTES_MAX: usize = 131_072;

/// The most jobs that one request makes, as Cloudflare's batches.
pub const JOBS_MAX: usize = 100;

/// How long the health check waits for the broker.
const HEALTH_WAIT: Duration = Duration::from_secs(2);

/// What the routes share.
#[derive(Clone)]
pub struct Api {
    queue: Arc<dyn Queue>,
    queues: Arc<Queues>,
    access: Arc<Access>,
    ids: Arc<Mutex<Ids>>,
    clock: Arc<dyn Clock>,
}

impl Api {
    /// Routes that ask `queue`, whose policies are `queues`, for the callers of `access`. New jobs get their ids from
    /// `ids` and `clock`.
    pub fn new(
        queue: Arc<dyn Queue>,
        queues: Arc<Queues>,
        access: Arc<Access>,
        ids: Ids,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { queue, queues, access, ids: Arc::new(Mutex::new(ids)), clock }
    }

    /// Asks the store through the broker.
    async fn read(&self, query: Query) -> Result<Rows, Problem> {
        match self.queue.call(Request::Read(query)).await? {
            Response::Rows(rows) => Ok(rows),
            _ => Err(problem::unexpected("a question")),
        }
    }

    /// Asks the broker to do something that has no further answer.
    async fn act(&self, request: Request) -> Result<(), Problem> {
        self.queue.call(request).await?;
        Ok(())
    }

    fn next_id(&self) -> String {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).next(self.clock.wall_ms())
    }

    /// The names of all queues, as they stand in errors.
    fn queue_names(&self) -> String {
        self.queues.iter().map(|(name, _)| name).collect::<Vec<_>>().join(", ")
    }

    fn no_queue(&self, name: &str) -> Problem {
        Problem::not_found(format!("there is no queue {name:?}; there are {}", self.queue_names()))
    }
}

impl FromRef<Api> for Arc<Access> {
    fn from_ref(api: &Api) -> Self {
        api.access.clone()
    }
}

impl FromRef<Api> for Arc<dyn Queue> {
    fn from_ref(api: &Api) -> Self {
        api.queue.clone()
    }
}

/// All routes of the API role and of the broker role, with `/health`. To serve the events too, merge
/// [`notify::events`](crate::notify::events) into it.
pub fn router(api: Api) -> Router {
    let routes = jobs::routes().merge(queues::routes()).merge(dead_letters::routes());
    finish(routes.merge(messages::routes()).merge(call::routes()), api)
}

/// The routes of the API role alone: for users and operators, with `/health`.
pub fn user_router(api: Api) -> Router {
    finish(jobs::routes().merge(queues::routes()).merge(dead_letters::routes()), api)
}

/// The routes of the broker role alone: what the other roles and Cloudflare's clients call, with `/health`.
pub fn broker_router(api: Api) -> Router {
    finish(messages::routes().merge(call::routes()), api)
}

fn finish(routes: Router<Api>, api: Api) -> Router {
    let routes = routes.merge(health_route()).fallback(problem::no_route);
    routes.method_not_allowed_fallback(problem::no_method).with_state(api)
}

/// `GET /health`, for whatever state knows the broker.
pub(crate) fn health_route<S>() -> Router<S>
where
    Arc<dyn Queue>: FromRef<S>,
    S: Clone + Send + Sync + 'static,
{
    Router::new().route("/health", get(health))
}

/// A pull for nothing goes through the broker's writer and asks its store, and changes nothing.
async fn health(State(queue): State<Arc<dyn Queue>>) -> Result<Json<Value>, Problem> {
    let nothing = Pull { processor: "health".into(), ..Pull::default() };
    let answer = tokio::time::timeout(HEALTH_WAIT, queue.call(Request::Pull(nothing))).await;
    let late = || Refusal::Unavailable(format!("the broker does not answer within {} ms", HEALTH_WAIT.as_millis()));
    answer.unwrap_or_else(|_| Err(late()))?;
    Ok(Json(json!({ "status": "ok" })))
}
