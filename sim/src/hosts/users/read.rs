//! Reading: a job's status after it was acknowledged, now and then while it lives, and everything at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::http::Method;
use futures_util::{StreamExt, stream};
use kew_runtime::net::Client;
use kew_spec::history::{DeadAttempt, DeadLetter, DeadLetters, Row, StatusRead};
use kew_spec::lifecycle::Status;
use serde::Deserialize;
use serde::de::DeserializeOwned;
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

/// How many jobs a page of a list holds at most.
const PAGE: usize = 100;

/// A page of jobs as the api shows it.
#[derive(Deserialize)]
struct Jobs {
    jobs: Vec<Job>,
    next: Option<String>,
}

/// A job as the api shows it.
#[derive(Deserialize)]
struct Job {
    id: String,
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
    let mut jobs: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (job, (user, _)) in &users.known().jobs {
        jobs.entry(user.clone()).or_default().push(job.clone());
    }
    for (user, jobs) in jobs {
        let client = users.client(&user);
        let listed = list(users, &client, &user).await;
        let missing = jobs.iter().filter(|job| !listed.contains(*job));
        let read = |job: &String| {
            let (client, user, job) = (client.clone(), user.clone(), job.clone());
            async move {
                for _ in 0..TRIES_MAX {
                    if status(users, &client, &user, &job).await {
                        break;
                    }
                }
            }
        };
        stream::iter(missing).map(read).buffer_unordered(READS_MAX).for_each(|()| async {}).await;
    }
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
    let row = match ask(client, &format!("/v1/jobs/{job}")).await {
        Answer::Found(job) => Some(row(job)),
        Answer::NotFound => None,
        Answer::Nothing => return false,
    };
    note(users, user, job.to_owned(), asked_at, row);
    true
}

/// Reads a user's list, page by page, and returns which jobs were on it. Those that nobody was told of (a mail, or an
/// enqueue whose answer was lost) are not looked at.
async fn list(users: &Users, client: &Client, user: &str) -> BTreeSet<String> {
    let (mut listed, mut after, mut tries) = (BTreeSet::new(), String::new(), 0);
    while tries < TRIES_MAX {
        let asked_at = clock::now_ms();
        let Answer::Found(page) = ask::<Jobs>(client, &format!("/v1/jobs?limit={PAGE}{after}")).await else {
            tries += 1;
            continue;
        };
        for job in page.jobs {
            let id = job.id.clone();
            if users.known().jobs.contains_key(&id) && listed.insert(id.clone()) {
                note(users, user, id, asked_at, Some(row(job)));
            }
        }
        match page.next {
            Some(last) => after = format!("&after={last}"),
            None => break,
        }
    }
    listed
}

/// What a question came to.
enum Answer<T> {
    Found(T),
    NotFound,
    Nothing,
}

async fn ask<T: DeserializeOwned>(client: &Client, path: &str) -> Answer<T> {
    match client.request(Method::GET, path, &[], Vec::new(), TIMEOUT).await {
        Ok(reply) if reply.status.is_success() => {
            serde_json::from_slice(&reply.body).map_or(Answer::Nothing, Answer::Found)
        }
        Ok(reply) if reply.status.as_u16() == 404 => Answer::NotFound,
        _ => Answer::Nothing,
    }
}

fn note(users: &Users, user: &str, job: String, asked_at: u64, row: Option<Row>) {
    if let Some(row) = &row {
        users.known().read(&job, row.retry_count, row.is_final, asked_at);
    }
    users.recorder.see(StatusRead { job, user: user.to_owned(), asked_at, row });
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
        let path = format!("/v1/dead-letters/{dead_letter_queue}?limit={PAGE}{after}");
        let Answer::Found(page) = ask::<Page>(&client, &path).await else { return false };
        let full = page.dead_letters.len() == PAGE;
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
