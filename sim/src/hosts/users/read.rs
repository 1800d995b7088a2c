//! Reading: a job's status after it was acknowledged, now and then while it lives, and everything at the end.

use std::time::Duration;

use axum::http::Method;
use futures_util::{StreamExt, stream};
use kew_runtime::net::Client;
use kew_spec::history::{DeadAttempt, DeadLetter, DeadLetters, Row, StatusRead};
use kew_spec::lifecycle::Status;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{OPERATOR, TIMEOUT, Users};
use crate::clock;
use crate::record::fingerprint;

/// How often somebody looks at some open jobs during the play: after so long, or so many times in all.
const LOOK_MS: u64 = 1_700;
const LOOKS_MAX: u64 = 40;

/// How many open jobs are looked at each time: so many, or this part of all.
const LOOK_JOBS: usize = 5;
const LOOK_PART: usize = 6;

/// How many jobs are read side by side when all are.
const READS_MAX: usize = 16;

/// How often a read at the end is tried.
const TRIES_MAX: u32 = 5;

/// A job as the api shows it.
#[derive(Deserialize)]
struct Job {
    status: Status,
    result: Option<Value>,
    error: Option<String>,
    retry_count: u32,
    created_at: String,
    updated_at: String,
    completed_at: Option<String>,
    #[serde(rename = "final")]
    is_final: bool,
    dead_letter_queue: Option<String>,
}

/// A page of dead letters as the api shows it.
#[derive(Deserialize)]
struct Page {
    dead_letters: Vec<Dead>,
}

#[derive(Deserialize)]
struct Dead {
    job: DeadJob,
    attempts: Vec<Attempt>,
}

#[derive(Deserialize)]
struct DeadJob {
    id: String,
    payload: Box<RawValue>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Attempt {
    attempt: u32,
    error: String,
    ended_at: String,
}

/// Looks at some open jobs now and then, for as long as the play lasts.
pub(super) async fn look_around(users: Users) {
    let look = Duration::from_millis(LOOK_MS.max(users.scenario.length_ms() / LOOKS_MAX));
    for turn in 0.. {
        tokio::time::sleep(look).await;
        some_open_jobs(&users, turn).await;
    }
}

/// Reads some of the open jobs, others with each `turn`. (Of most ends the users are told; what they are not told of is
/// found after a few turns.)
pub(super) async fn some_open_jobs(users: &Users, turn: usize) {
    let open = open(users);
    let some = LOOK_JOBS.max(open.len() / LOOK_PART).min(open.len());
    let first = if open.is_empty() { 0 } else { turn * some % open.len() };
    let chosen = open.iter().cycle().skip(first).take(some);
    let read = |(job, user): &(String, String)| {
        let (client, job, user) = (users.client(user), job.clone(), user.clone());
        async move { status(users, &client, &user, &job).await }
    };
    stream::iter(chosen).map(read).buffer_unordered(READS_MAX).for_each(|_| async {}).await;
}

/// Looks at a job that is said to have ended, unless that is known. (Of mails the users know nothing but their ends.)
pub(super) async fn end(users: Users, user: String, job: String) {
    let is_open = {
        let known = users.known();
        known.jobs.contains_key(&job) && !known.ended.contains(&job)
    };
    if is_open {
        status(&users, &users.client(&user), &user, &job).await;
    }
}

/// Reads every open job.
pub(super) async fn open_jobs(users: &Users) {
    let read = |(job, user): (String, String)| async move {
        status(users, &users.client(&user), &user, &job).await;
    };
    stream::iter(open(users)).for_each_concurrent(READS_MAX, read).await;
}

fn open(users: &Users) -> Vec<(String, String)> {
    let known = users.known();
    let open = known.jobs.iter().filter(|(job, _)| !known.ended.contains(*job));
    open.map(|(job, (user, _))| (job.clone(), user.clone())).collect()
}

/// Reads every job and every dead letter queue.
pub(super) async fn everything(users: &Users) {
    let jobs: Vec<_> = users.known().jobs.iter().map(|(job, (user, _))| (job.clone(), user.clone())).collect();
    let read = |(job, user): (String, String)| async move {
        let client = users.client(&user);
        for _ in 0..TRIES_MAX {
            if status(users, &client, &user, &job).await {
                break;
            }
        }
    };
    stream::iter(jobs).for_each_concurrent(READS_MAX, read).await;
    let policies = users.scenario.policies();
    for dead_letter_queue in policies.iter().filter_map(|(_, policy)| policy.dead_letter_queue.clone()) {
        for _ in 0..TRIES_MAX {
            if dead_letters(users, &dead_letter_queue).await {
                break;
            }
        }
    }
}

/// Reads one job's status; false if there was no answer.
pub(super) async fn status(users: &Users, client: &Client, user: &str, job: &str) -> bool {
    let asked_at = clock::now_ms();
    let reply = client.request(Method::GET, &format!("/v1/jobs/{job}"), &[], Vec::new(), TIMEOUT).await;
    let row = match reply {
        Ok(reply) if reply.status.is_success() => match serde_json::from_slice::<Job>(&reply.body) {
            Ok(job) => Some(row(job)),
            Err(_) => return false,
        },
        Ok(reply) if reply.status.as_u16() == 404 => None,
        _ => return false,
    };
    if let Some(row) = &row {
        users.known().read(job, row.retry_count, row.is_final, asked_at);
    }
    users.recorder.see(StatusRead { job: job.to_owned(), user: user.to_owned(), asked_at, row });
    true
}

fn row(job: Job) -> Row {
    Row {
        status: job.status,
        retry_count: job.retry_count,
        result: job.result,
        error: job.error,
        created_at: ms(&job.created_at),
        updated_at: ms(&job.updated_at),
        completed_at: job.completed_at.as_deref().map(ms),
        is_final: job.is_final,
        dead_letter_queue: job.dead_letter_queue,
    }
}

/// Reads one dead letter queue as a whole; false if there was no answer.
async fn dead_letters(users: &Users, dead_letter_queue: &str) -> bool {
    let asked_at = clock::now_ms();
    let client = users.client(OPERATOR);
    let (mut entries, mut after) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/dead-letters/{dead_letter_queue}?limit=100{after}");
        let Ok(reply) = client.request(Method::GET, &path, &[], Vec::new(), TIMEOUT).await else { return false };
        let Ok(page) = serde_json::from_slice::<Page>(&reply.body) else { return false };
        let full = page.dead_letters.len() == 100;
        if let Some(last) = page.dead_letters.last() {
            after = format!("&after={}", last.job.id);
        }
        entries.extend(page.dead_letters.into_iter().map(entry));
        if !full {
            break;
        }
    }
    users.recorder.see(DeadLetters { dead_letter_queue: dead_letter_queue.to_owned(), asked_at, entries });
    true
}

fn entry(it: Dead) -> DeadLetter {
    let attempts = it.attempts.into_iter().map(|attempt| DeadAttempt {
        attempt: attempt.attempt,
        error: attempt.error,
        ended_at: ms(&attempt.ended_at),
    });
    DeadLetter {
        job: it.job.id,
        payload: fingerprint(it.job.payload.get()),
        error: Some(it.job.error.unwrap_or_default()),
        attempts: Some(attempts.collect()),
    }
}

/// Milliseconds since the Unix epoch of the api's RFC 3339 text.
fn ms(text: &str) -> u64 {
    let timestamp: jiff::Timestamp = text.parse().unwrap_or_default();
    timestamp.as_millisecond() as u64
}
