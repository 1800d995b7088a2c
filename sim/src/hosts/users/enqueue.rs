//! Enqueueing one job. With an idempotency key a user who got no reply asks again; without one the outcome stays
//! unknown, since asking again could make a second job.

use std::time::Duration;

use axum::http::Method;
use futures_util::future;
use kew_runtime::net::{Client, Error, Reply as HttpReply};
use kew_spec::history::{Enqueue, Reply, Told};
use kew_spec::scenario::PlannedJob;
use serde::Deserialize;

use super::{HOST, TIMEOUT, Users, read};
use crate::record::fingerprint;

/// How often a user asks at most.
const TRIES_MAX: u32 = 8;

/// How long a user waits before asking again.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// The api's answer.
#[derive(Deserialize)]
struct Created {
    id: String,
}

/// Enqueues `job` at its time.
pub(super) async fn enqueue(users: Users, job: PlannedJob) {
    users.known().asking += 1;
    tokio::time::sleep(Duration::from_millis(job.at_ms)).await;
    let client = users.client(&job.user);
    for _ in 0..TRIES_MAX {
        let told = match job.idempotency_key.is_some() && users.hazards.repeats(HOST) {
            true => future::join(ask(&users, &client, &job), ask(&users, &client, &job)).await.0,
            false => ask(&users, &client, &job).await,
        };
        if let Some(id) = told {
            users.known().asking -= 1;
            read::status(&users, &client, &job.user, &id).await;
            return;
        }
        if job.idempotency_key.is_none() {
            break;
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
    users.known().asking -= 1;
}

/// Asks once; the job's id if it was acknowledged.
async fn ask(users: &Users, client: &Client, job: &PlannedJob) -> Option<String> {
    let op = users.recorder.next_op();
    let payload = job.payload();
    users.recorder.see(Enqueue {
        op,
        user: job.user.clone(),
        queue: job.queue.clone(),
        payload: fingerprint(&payload),
        key: job.key.clone(),
        idempotency_key: job.idempotency_key.clone(),
        email: job.email,
    });
    let reply = post(client, job, &payload).await;
    let (outcome, id, error) = judge(reply);
    if let Some(id) = &id {
        let mut known = users.known();
        known.jobs.insert(id.clone(), (job.user.clone(), job.label.clone()));
        known.of_label.insert(job.label.clone(), id.clone());
    }
    users.recorder.see(Reply { op, outcome, job: id.clone(), error });
    id
}

async fn post(client: &Client, job: &PlannedJob, payload: &str) -> Result<HttpReply, Error> {
    // Put together by hand, so that the payload's bytes stay as they are.
    let mut body = format!("{{\"type\":\"{}\",\"payload\":{payload}", job.queue);
    if let Some(key) = &job.key {
        body += &format!(",\"key\":\"{key}\"");
    }
    if job.email {
        body += &format!(",\"email\":\"{}@example.org\"", job.user);
    }
    body.push('}');
    let header = job.idempotency_key.as_deref().map(|key| [("idempotency-key", key)]);
    let headers: &[(&str, &str)] = header.as_ref().map_or(&[], |header| header);
    client.request(Method::POST, "/v1/jobs", headers, body.into_bytes(), TIMEOUT).await
}

/// What a user concludes from a reply or its absence.
fn judge(reply: Result<HttpReply, Error>) -> (Told, Option<String>, Option<String>) {
    match reply {
        Ok(reply) if reply.status.is_success() => match serde_json::from_slice::<Created>(&reply.body) {
            Ok(created) => (Told::Ok, Some(created.id), None),
            Err(error) => (Told::Unknown, None, Some(error.to_string())),
        },
        Ok(reply) if reply.status.is_client_error() => {
            (Told::Refused, None, Some(String::from_utf8_lossy(&reply.body).into_owned()))
        }
        Ok(reply) => (Told::Unknown, None, Some(reply.status.to_string())),
        Err(error) => (Told::Unknown, None, Some(error.reason)),
    }
}

/// The outcome of an operation that makes nothing, as far as its client knows.
pub(super) fn told(reply: Result<HttpReply, Error>) -> (Told, Option<String>) {
    match reply {
        Ok(reply) if reply.status.is_success() => (Told::Ok, None),
        Ok(reply) if reply.status.is_client_error() => {
            (Told::Refused, Some(String::from_utf8_lossy(&reply.body).into_owned()))
        }
        Ok(reply) => (Told::Unknown, Some(reply.status.to_string())),
        Err(error) => (Told::Unknown, Some(error.reason)),
    }
}
