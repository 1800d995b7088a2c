//! `/v1/dead-letters`: look at dead letters, put them back, drop them; one, or a whole queue in bounded steps.
//! For operators.

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::future::join_all;
use serde::Serialize;
use serde_json::{Value, json};

use super::Api;
use super::access::{Caller, Role};
use super::extract::{Page, Params, Place, limit};
use super::jobs::JobView;
use super::problem::{Problem, unexpected};
use crate::broker::{Refusal, Request};
use crate::store::{DeadLetterRow, FailedAttempt, Query, Rows};
use crate::timestamp::rfc3339;

/// How many dead letters a list holds, or a step over a whole queue takes, unless it is said; and at most.
const LIST_DEFAULT: u32 = 100;
const LIST_MAX: u32 = 1_000;

/// How many requests of a step are on their way at once: enough to share a commit.
const AT_ONCE: usize = 50;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/dead-letters/{dead_letter_queue}", get(list).delete(purge_all))
        .route("/v1/dead-letters/{dead_letter_queue}/redrive", post(redrive_all))
        .route("/v1/dead-letters/{dead_letter_queue}/{job}", get(show).delete(purge))
        .route("/v1/dead-letters/{dead_letter_queue}/{job}/redrive", post(redrive))
}

#[derive(Serialize)]
struct AttemptView {
    attempt: u32,
    outcome: String,
    error: String,
    started_at: String,
    ended_at: String,
}

#[derive(Serialize)]
struct DeadLetterView {
    job: JobView,
    died_at: String,
    attempts: Vec<AttemptView>,
}

impl From<FailedAttempt> for AttemptView {
    fn from(it: FailedAttempt) -> Self {
        let FailedAttempt { attempt, outcome, error, started_ms, ended_ms } = it;
        Self { attempt, outcome, error, started_at: rfc3339(started_ms), ended_at: rfc3339(ended_ms) }
    }
}

impl From<DeadLetterRow> for DeadLetterView {
    fn from(row: DeadLetterRow) -> Self {
        let attempts = row.attempts.into_iter().map(AttemptView::from).collect();
        Self { job: row.job.into(), died_at: rfc3339(row.died_ms), attempts }
    }
}

#[derive(Serialize)]
struct DeadLetterList {
    dead_letters: Vec<DeadLetterView>,
    /// The `after` of the next page; null on the last.
    next: Option<String>,
}

/// `GET /v1/dead-letters/{dead_letter_queue}`
async fn list(
    State(api): State<Api>,
    caller: Caller,
    Place(queue): Place<String>,
    Params(page): Params<Page>,
) -> Result<Json<DeadLetterList>, Problem> {
    caller.must_be(Role::Operator)?;
    let (rows, next) = rows(&api, queue, page).await?;
    Ok(Json(DeadLetterList { dead_letters: rows.into_iter().map(DeadLetterView::from).collect(), next }))
}

/// A page of dead letters, and the `after` of the next one.
async fn rows(
    api: &Api,
    dead_letter_queue: String,
    page: Page,
) -> Result<(Vec<DeadLetterRow>, Option<String>), Problem> {
    check(api, &dead_letter_queue)?;
    let limit = limit(page.limit, LIST_DEFAULT, LIST_MAX)?;
    let query = Query::DeadLetters { dead_letter_queue: dead_letter_queue.clone(), after: page.after.clone(), limit };
    let Rows::DeadLetters(rows) = api.read(query).await? else {
        return Err(unexpected("a question for dead letters"));
    };
    if let (Some(after), true) = (page.after, rows.is_empty()) {
        held(api, &dead_letter_queue, &after).await?.ok_or_else(|| Problem::gone(&after))?;
    }
    let next = (rows.len() == limit as usize).then(|| rows.last().map(|row| row.job.id.clone())).flatten();
    Ok((rows, next))
}

fn check(api: &Api, dead_letter_queue: &str) -> Result<(), Problem> {
    if api.queues.with_dead_letter_queue(dead_letter_queue).is_some() {
        return Ok(());
    }
    let names: Vec<_> = api.queues.iter().filter_map(|(_, policy)| policy.dead_letter_queue.as_deref()).collect();
    let there_are =
        if names.is_empty() { "no queue has one".into() } else { format!("there are {}", names.join(", ")) };
    Err(Problem::not_found(format!("there is no dead letter queue {dead_letter_queue:?}; {there_are}")))
}

/// `GET /v1/dead-letters/{dead_letter_queue}/{job}`
async fn show(
    State(api): State<Api>,
    caller: Caller,
    Place((queue, job)): Place<(String, String)>,
) -> Result<Json<DeadLetterView>, Problem> {
    caller.must_be(Role::Operator)?;
    find(&api, &queue, job).await.map(|row| Json(row.into()))
}

async fn find(api: &Api, queue: &str, job: String) -> Result<DeadLetterRow, Problem> {
    check(api, queue)?;
    let row = held(api, queue, &job).await?;
    row.ok_or_else(|| Problem::not_found(format!("dead letter queue {queue} holds no job {job:?}")))
}

/// The dead letter of `job`, if `queue` holds it.
async fn held(api: &Api, queue: &str, job: &str) -> Result<Option<DeadLetterRow>, Problem> {
    let Rows::DeadLetters(rows) = api.read(Query::DeadLetter { job: job.to_owned() }).await? else {
        return Err(unexpected("a question for a dead letter"));
    };
    Ok(rows.into_iter().find(|row| row.job.dead_letter_queue.as_deref() == Some(queue)))
}

/// `POST /v1/dead-letters/{dead_letter_queue}/{job}/redrive`
async fn redrive(
    State(api): State<Api>,
    caller: Caller,
    Place((queue, job)): Place<(String, String)>,
) -> Result<Json<Value>, Problem> {
    caller.must_be(Role::Operator)?;
    let id = find(&api, &queue, job).await?.job.id;
    api.act(Request::Redrive { job: id.clone() }).await?;
    Ok(Json(json!({ "id": id, "redriven": 1 })))
}

/// `DELETE /v1/dead-letters/{dead_letter_queue}/{job}`
async fn purge(
    State(api): State<Api>,
    caller: Caller,
    Place((queue, job)): Place<(String, String)>,
) -> Result<Json<Value>, Problem> {
    caller.must_be(Role::Operator)?;
    let id = find(&api, &queue, job).await?.job.id;
    api.act(Request::Purge { job: id.clone() }).await?;
    Ok(Json(json!({ "id": id, "purged": 1 })))
}

/// `POST /v1/dead-letters/{dead_letter_queue}/redrive`
async fn redrive_all(
    State(api): State<Api>,
    caller: Caller,
    Place(queue): Place<String>,
    Params(page): Params<Page>,
) -> Result<Json<Value>, Problem> {
    caller.must_be(Role::Operator)?;
    let step = step(&api, queue, page, |job| Request::Redrive { job }).await?;
    Ok(Json(json!({ "redriven": step.done, "skipped": step.skipped, "more": step.more, "after": step.after })))
}

/// `DELETE /v1/dead-letters/{dead_letter_queue}`
async fn purge_all(
    State(api): State<Api>,
    caller: Caller,
    Place(queue): Place<String>,
    Params(page): Params<Page>,
) -> Result<Json<Value>, Problem> {
    caller.must_be(Role::Operator)?;
    let step = step(&api, queue, page, |job| Request::Purge { job }).await?;
    Ok(Json(json!({ "purged": step.done, "skipped": step.skipped, "more": step.more, "after": step.after })))
}

/// What a step over a whole dead letter queue did.
struct Step {
    done: u64,
    /// The dead letters that it left, and why.
    skipped: Vec<Value>,
    /// Whether there may be more to do.
    more: bool,
    /// The `after` of the next step: the last one that was left, since those that are done are no place in the list.
    after: Option<String>,
}

async fn step(api: &Api, queue: String, page: Page, request: fn(String) -> Request) -> Result<Step, Problem> {
    let after = page.after.clone();
    let (rows, next) = rows(api, queue, page).await?;
    let mut step = Step { done: 0, skipped: Vec::new(), more: next.is_some(), after };
    let ids: Vec<_> = rows.into_iter().map(|row| row.job.id).collect();
    for some in ids.chunks(AT_ONCE) {
        let answers = join_all(some.iter().map(|id| api.queue.call(request(id.clone())))).await;
        for (id, answer) in some.iter().zip(answers) {
            step.count(id, answer.map(drop))?;
        }
    }
    Ok(step)
}

impl Step {
    fn count(&mut self, id: &str, answer: Result<(), Refusal>) -> Result<(), Problem> {
        match answer {
            Ok(()) => self.done += 1,
            Err(refusal @ Refusal::Unavailable(_)) => return Err(refusal.into()),
            Err(refusal) => {
                self.skipped.push(json!({ "id": id, "reason": refusal.to_string() }));
                self.after = Some(id.to_owned());
            }
        }
        Ok(())
    }
}
