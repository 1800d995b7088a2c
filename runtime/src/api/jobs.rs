//! `/v1/jobs`: make jobs, show them, cancel them. A user sees only their own; another's job is as if it were not there.

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use kew_spec::lifecycle::Status;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::access::{Caller, Role};
use super::create::{self, Once, Wanted};
use super::extract::{Params, Place, Text, limit, parse};
use super::problem::{Kind, Problem, unexpected};
use super::{Api, JOBS_MAX, PAYLOAD_BYTES_MAX};
use crate::broker::Request;
use crate::store::{JobRow, Query, Rows};
use crate::timestamp::rfc3339;

/// The largest body: the most jobs at their largest payload, with 2 KB each for everything else.
pub(super) const BODY_BYTES_MAX: usize = JOBS_MAX * (PAYLOAD_BYTES_MAX + 2_048);

/// How many jobs a list holds unless it is said, and at most.
const LIST_DEFAULT: u32 = 20;
const LIST_MAX: u32 = 100;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/jobs", post(make).get(list))
        .route("/v1/jobs/{id}", get(show))
        .route("/v1/jobs/{id}/cancel", post(cancel))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
}

/// A job as it is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JobBody {
    r#type: String,
    payload: Box<RawValue>,
    key: Option<String>,
    email: Option<String>,
}

impl JobBody {
    fn read(place: String, json: &str) -> Result<Wanted, Problem> {
        let what = if place.is_empty() { "the job" } else { place.trim_end_matches('.') };
        let Self { r#type: queue, payload, key, email } = parse(what, json)?;
        Ok(Wanted { place, queue, payload, key, email })
    }
}

/// `POST /v1/jobs`
async fn make(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    Text(body): Text,
) -> Result<Response, Problem> {
    caller.must_be(Role::User)?;
    let list = body.trim_ascii_start().starts_with('[');
    let once = Once::of_request(&headers, list, &[&body])?;
    let wanted = if list { read_list(&body)? } else { vec![JobBody::read(String::new(), &body)?] };
    let mut created = create::create(&api, &caller.user, wanted, once).await?;
    let status = create::status_code(&created);
    if list {
        return Ok((status, Json(created)).into_response());
    }
    let created = created.pop().ok_or_else(|| unexpected("an enqueue"))?;
    Ok((status, Json(created)).into_response())
}

fn read_list(body: &str) -> Result<Vec<Wanted>, Problem> {
    let elements: Vec<&RawValue> = parse("the list of jobs", body)?;
    create::check_count(elements.len())?;
    let read = |(i, json): (usize, &&RawValue)| JobBody::read(format!("jobs[{i}]."), json.get());
    elements.iter().enumerate().map(read).collect()
}

/// A job as it is shown: the row of `job_status`, and beside it whether it is final and which dead letter queue holds it.
#[derive(Serialize)]
pub(super) struct JobView {
    id: String,
    r#type: String,
    status: Status,
    user_id: String,
    payload: Box<RawValue>,
    result: Option<Box<RawValue>>,
    error: Option<String>,
    retry_count: u32,
    created_at: String,
    updated_at: String,
    completed_at: Option<String>,
    r#final: bool,
    dead_letter_queue: Option<String>,
}

impl From<JobRow> for JobView {
    fn from(row: JobRow) -> Self {
        Self {
            id: row.id,
            r#type: row.queue,
            status: row.status,
            user_id: row.user_id,
            payload: row.payload,
            result: row.result,
            error: row.error,
            retry_count: row.retry_count,
            created_at: rfc3339(row.created_ms),
            updated_at: rfc3339(row.updated_ms),
            completed_at: row.completed_ms.map(rfc3339),
            r#final: row.completed_ms.is_some(),
            dead_letter_queue: row.dead_letter_queue,
        }
    }
}

/// `GET /v1/jobs/{id}`
async fn show(State(api): State<Api>, caller: Caller, Place(id): Place<String>) -> Result<Json<JobView>, Problem> {
    caller.must_be(Role::User)?;
    find(&api, &caller, id).await.map(Json)
}

async fn find(api: &Api, caller: &Caller, id: String) -> Result<JobView, Problem> {
    let job = visible(api, caller, &id).await?;
    job.map(JobView::from).ok_or_else(|| Problem::not_found(format!("there is no job {id:?} of yours")))
}

/// The job, if there is one that the caller may see.
async fn visible(api: &Api, caller: &Caller, id: &str) -> Result<Option<JobRow>, Problem> {
    let Rows::Jobs(jobs) = api.read(Query::Job { job: id.to_owned() }).await? else {
        return Err(unexpected("a question for a job"));
    };
    Ok(jobs.into_iter().next().filter(|job| job.user_id == caller.user || caller.is_operator()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListParams {
    limit: Option<u32>,
    after: Option<String>,
    user: Option<String>,
}

#[derive(Serialize)]
struct JobList {
    jobs: Vec<JobView>,
    /// The `after` of the next page; null on the last.
    next: Option<String>,
}

/// `GET /v1/jobs`
async fn list(
    State(api): State<Api>,
    caller: Caller,
    Params(asked): Params<ListParams>,
) -> Result<Json<JobList>, Problem> {
    caller.must_be(Role::User)?;
    let user = match asked.user {
        Some(user) if user != caller.user && !caller.is_operator() => {
            let detail = "only an operator may list another user's jobs; leave out `user` to list your own";
            return Err(Problem::new(Kind::Forbidden, detail));
        }
        user => user.unwrap_or_else(|| caller.user.clone()),
    };
    let limit = limit(asked.limit, LIST_DEFAULT, LIST_MAX)?;
    let after = asked.after.clone();
    let Rows::Jobs(jobs) = api.read(Query::JobsOf { user, after: asked.after, limit }).await? else {
        return Err(unexpected("a question for jobs"));
    };
    if let (Some(after), true) = (after, jobs.is_empty()) {
        visible(&api, &caller, &after).await?.ok_or_else(|| Problem::gone(&after))?;
    }
    let next = (jobs.len() == limit as usize).then(|| jobs.last().map(|job| job.id.clone())).flatten();
    Ok(Json(JobList { jobs: jobs.into_iter().map(JobView::from).collect(), next }))
}

/// `POST /v1/jobs/{id}/cancel`
async fn cancel(
    State(api): State<Api>,
    caller: Caller,
    Place(id): Place<String>,
) -> Result<(StatusCode, Json<JobView>), Problem> {
    caller.must_be(Role::User)?;
    let user = (!caller.is_operator()).then(|| caller.user.clone());
    api.act(Request::Cancel { job: id.clone(), user }).await?;
    Ok((StatusCode::OK, Json(find(&api, &caller, id).await?)))
}
