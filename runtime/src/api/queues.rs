//! `/v1/queues`: what every queue promises and how full it is; pause and resume.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use kew_spec::queues::{Policy, Queues};
use serde::Serialize;

use super::Api;
use super::access::{Caller, Role};
use super::extract::Place;
use super::problem::{Problem, unexpected};
use crate::broker::Request;
use crate::store::{Depth, Query, Rows};

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/queues", get(list))
        .route("/v1/queues/{queue}/pause", post(pause))
        .route("/v1/queues/{queue}/resume", post(resume))
}

/// A queue: what it holds, then what it promises, by the names of the queues file.
#[derive(Serialize)]
struct QueueView {
    queue: String,
    waiting: u64,
    processing: u64,
    /// Since when the oldest job that has not ended has been there.
    oldest_age_ms: Option<u64>,
    paused: bool,
    #[serde(flatten)]
    policy: Policy,
    /// Null where there is none, which the policy would leave out.
    dead_letter_queue: Option<String>,
}

#[derive(Serialize)]
struct QueueList {
    queues: Vec<QueueView>,
}

/// `GET /v1/queues`
async fn list(State(api): State<Api>, caller: Caller) -> Result<Json<QueueList>, Problem> {
    caller.must_be(Role::User)?;
    let depths = depths(&api).await?;
    Ok(Json(QueueList { queues: views(&api.queues, &depths, api.clock.wall_ms()) }))
}

/// What each queue holds, by name; queues that hold nothing may be missing.
pub(super) async fn depths(api: &Api) -> Result<BTreeMap<String, Depth>, Problem> {
    match api.read(Query::Depths).await? {
        Rows::Depths(depths) => Ok(depths.into_iter().map(|depth| (depth.queue.clone(), depth)).collect()),
        _ => Err(unexpected("a question for queues")),
    }
}

fn views(queues: &Queues, depths: &BTreeMap<String, Depth>, now_ms: u64) -> Vec<QueueView> {
    let view = |(name, policy): (&str, &Policy)| {
        let depth = depths.get(name);
        QueueView {
            queue: name.to_owned(),
            waiting: depth.map_or(0, |depth| depth.waiting),
            processing: depth.map_or(0, |depth| depth.processing),
            oldest_age_ms: depth.and_then(|it| it.oldest_created_ms).map(|ms| now_ms.saturating_sub(ms)),
            paused: depth.is_some_and(|depth| depth.paused),
            dead_letter_queue: policy.dead_letter_queue.clone(),
            policy: Policy { dead_letter_queue: None, ..policy.clone() },
        }
    };
    queues.iter().map(view).collect()
}

/// `POST /v1/queues/{queue}/pause`
async fn pause(api: State<Api>, caller: Caller, queue: Place<String>) -> Result<Json<QueueView>, Problem> {
    set_paused(api, caller, queue, true).await
}

/// `POST /v1/queues/{queue}/resume`
async fn resume(api: State<Api>, caller: Caller, queue: Place<String>) -> Result<Json<QueueView>, Problem> {
    set_paused(api, caller, queue, false).await
}

async fn set_paused(
    State(api): State<Api>,
    caller: Caller,
    Place(queue): Place<String>,
    paused: bool,
) -> Result<Json<QueueView>, Problem> {
    caller.must_be(Role::Operator)?;
    if api.queues.get(&queue).is_none() {
        return Err(api.no_queue(&queue));
    }
    api.act(Request::Pause { queue: queue.clone(), paused }).await?;
    let views = views(&api.queues, &depths(&api).await?, api.clock.wall_ms());
    let view = views.into_iter().find(|view| view.queue == queue);
    view.map(Json).ok_or_else(|| api.no_queue(&queue))
}
