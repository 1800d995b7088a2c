//! Making jobs: what is checked before the broker is asked, and what happens when it cannot be reached.
//!
//! Ids are minted here, so the broker can be asked again with the same ones: a repeated request makes no second job.

use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use kew_spec::lifecycle::Status;
use serde::Serialize;
use serde_json::value::RawValue;

use super::problem::{Kind, Problem, unexpected};
use super::{Api, JOBS_MAX, PAYLOAD_BYTES_MAX};
use crate::broker::{EnqueuedJob, JobRequest, Refusal, Request, Response};
use crate::store::{How, Query, Rows};

/// The longest key of an entity, the longest idempotency key.
const KEY_CHARS_MAX: usize = 255;

/// The longest mail address, by RFC 5321.
const EMAIL_CHARS_MAX: usize = 254;

/// Idempotency keys that begin so are the notifier's own.
pub(crate) const RESERVED_PREFIX: &str = "kew-end-";

/// The queue whose jobs are mails.
pub(crate) const MAILS: &str = "email_notification";

/// How often the broker is asked before the client is told that the outcome is unknown, and the pause between.
const TRIES: u32 = 3;
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// A job as it was asked for.
pub(super) struct Wanted {
    /// Where it stands in the request, as it is named in problems: `jobs[3].`, or nothing.
    pub(super) place: String,
    pub(super) queue: String,
    pub(super) payload: Box<RawValue>,
    pub(super) key: Option<String>,
    pub(super) email: Option<String>,
}

/// A client's idempotency key for a whole request.
pub(super) struct Once {
    pub(super) key: String,
    /// Whether the request is a list: its first job has the key, and each other one the key with its place behind a space,
    /// which no client's key holds. So the first one tells for them all whether the key was used before.
    pub(super) list: bool,
    /// The request's fingerprint, see [`fingerprint`].
    pub(super) fingerprint: String,
}

/// A job that was made or found.
#[derive(Debug, Serialize)]
pub(super) struct Created {
    pub(super) id: String,
    /// Left out if it could not be read, or if the job ended so long ago that it is forgotten.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<Status>,
    pub(super) how: How,
}

/// Makes all of the jobs or none.
pub(super) async fn create(
    api: &Api,
    user: &str,
    wanted: Vec<Wanted>,
    once: Option<Once>,
) -> Result<Vec<Created>, Problem> {
    check_count(wanted.len())?;
    let mut jobs = Vec::with_capacity(wanted.len());
    for (i, it) in wanted.into_iter().enumerate() {
        check(api, &it)?;
        jobs.push(JobRequest {
            id: api.next_id(),
            queue: it.queue,
            user: user.to_owned(),
            payload: it.payload,
            key: it.key,
            idempotency: once.as_ref().map(|once| once.of(i)),
            email: it.email,
        });
    }
    shown(api, enqueue(api, jobs).await?).await
}

/// What there is to say of jobs that were made or found. From here on nothing may be answered that asks for the request
/// again: what it asked for is done, and without an Idempotency-Key it would be done twice.
async fn shown(api: &Api, jobs: Vec<EnqueuedJob>) -> Result<Vec<Created>, Problem> {
    let mut created = Vec::with_capacity(jobs.len());
    let mut forgotten = Vec::new();
    let mut is_there = true;
    for EnqueuedJob { id, how } in jobs {
        // A broker that did not answer one question is not kept busy, nor the client waiting, with ninety-nine more.
        let standing = if is_there || how == How::Created { standing(api, &id, how).await } else { Standing::Unread };
        is_there &= !matches!(standing, Standing::Unread);
        if matches!(standing, Standing::Forgotten) {
            forgotten.push(id.clone());
        }
        created.push(Created { id, status: standing.status(), how });
    }
    if forgotten.len() == created.len() && !forgotten.is_empty() {
        return Err(gone(&forgotten));
    }
    Ok(created)
}

/// 200 if every job was there already, else 201.
pub(super) fn status_code(created: &[Created]) -> StatusCode {
    let replayed = created.iter().all(|job| job.how == How::Replayed);
    if replayed { StatusCode::OK } else { StatusCode::CREATED }
}

/// Refuses a list that is empty or too long.
pub(super) fn check_count(jobs: usize) -> Result<(), Problem> {
    match jobs {
        1..=JOBS_MAX => Ok(()),
        0 => Err(Problem::invalid("the list of jobs is empty; allowed: 1 to 100 jobs")),
        _ => Err(Problem::invalid(format!("there are {jobs} jobs; allowed: 1 to {JOBS_MAX} in one request"))),
    }
}

fn check(api: &Api, it: &Wanted) -> Result<(), Problem> {
    let invalid = |what: &str, rule: String| Err(Problem::invalid(format!("{}{what}: {rule}", it.place)));
    let Some(policy) = api.queues.get(&it.queue) else {
        return invalid("type", format!("there is no queue {:?}; there are {}", it.queue, api.queue_names()));
    };
    let bytes = it.payload.get().len();
    if PAYLOAD_BYTES_MAX < bytes {
        let rule = format!("{}payload: it has {bytes} bytes; allowed: {PAYLOAD_BYTES_MAX} (128 KB)", it.place);
        return Err(Problem::new(Kind::TooLarge, rule));
    }
    match (&it.key, policy.deduplication) {
        (None, true) => return invalid("key", format!("queue {} needs one: the entity's id", it.queue)),
        (Some(_), false) => return invalid("key", format!("queue {} takes none; leave it out", it.queue)),
        (Some(key), true) if !(1..=KEY_CHARS_MAX).contains(&key.chars().count()) => {
            return invalid("key", format!("allowed: 1 to {KEY_CHARS_MAX} characters"));
        }
        _ => {}
    }
    if it.email.is_some() && it.queue == MAILS {
        return invalid(
            "email",
            format!("queue {MAILS} takes none: no mail is sent at the end of a mail; leave it out"),
        );
    }
    if it.email.as_deref().is_some_and(|email| !is_address(email)) {
        return invalid("email", "not a mail address; give one such as name@example.org, or leave it out".into());
    }
    Ok(())
}

/// Only what is surely none is refused; whether a mail arrives is known when it is sent.
fn is_address(text: &str) -> bool {
    let parts = text.rsplit_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty());
    parts && text.len() <= EMAIL_CHARS_MAX && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}

impl Once {
    /// The idempotency key of a request whose fingerprinted parts are `parts`, if it has one.
    pub(super) fn of_request(headers: &HeaderMap, list: bool, parts: &[&str]) -> Result<Option<Self>, Problem> {
        let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
        let visible = |key: &&str| key.bytes().all(|byte| byte.is_ascii_graphic());
        let key = value.to_str().ok().filter(|key| (1..=KEY_CHARS_MAX).contains(&key.len())).filter(visible);
        let Some(key) = key.filter(|key| !key.starts_with(RESERVED_PREFIX)) else {
            return Err(Problem::invalid(format!(
                "the header Idempotency-Key is not valid; allowed: 1 to {KEY_CHARS_MAX} visible ASCII characters that do \
                 not begin with {RESERVED_PREFIX}"
            )));
        };
        Ok(Some(Self { key: key.to_owned(), list, fingerprint: fingerprint(parts) }))
    }

    fn of(&self, i: usize) -> (String, String) {
        let key = if self.list && 0 < i { format!("{} {i}", self.key) } else { self.key.clone() };
        (key, self.fingerprint.clone())
    }
}

/// FNV-1a of 128 bits over the parts, each with its length. It tells a client's mistake, the same key with another
/// request, from a repetition; it has to be the same in every process and over restarts, and need not withstand an
/// attacker, who could only confuse requests of their own.
fn fingerprint(parts: &[&str]) -> String {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let step = |hash: u128, byte: u8| (hash ^ u128::from(byte)).wrapping_mul(PRIME);
    let hash = parts.iter().fold(OFFSET, |hash, part| {
        let length = (part.len() as u64).to_le_bytes();
        length.into_iter().chain(part.bytes()).fold(hash, step)
    });
    format!("{hash:032x}")
}

/// Asks the broker until it answers, a few times.
async fn enqueue(api: &Api, jobs: Vec<JobRequest>) -> Result<Vec<EnqueuedJob>, Problem> {
    let mut tries = 1;
    loop {
        match api.queue.call(Request::Enqueue(jobs.clone())).await {
            Ok(Response::Enqueued(enqueued)) => return Ok(enqueued.into_iter().zip(&jobs).map(ours).collect()),
            Ok(_) => return Err(unexpected("an enqueue")),
            Err(Refusal::Unavailable(reason)) if tries < TRIES => {
                tracing::warn!(reason, tries, "enqueue; trying again");
                tokio::time::sleep(TRY_AGAIN_AFTER).await;
                tries += 1;
            }
            Err(Refusal::Unavailable(reason)) => return Err(unknown(&reason)),
            Err(refusal) => return Err(refusal.into()),
        }
    }
}

/// A job that is found under the very id that was minted for it was made by an earlier try, whose reply was lost; one that
/// is found by nothing but that id took the payload then.
fn ours((job, asked): (EnqueuedJob, &JobRequest)) -> EnqueuedJob {
    let how = match job.how {
        How::Replayed if job.id == asked.id => How::Created,
        How::Replayed if asked.idempotency.is_none() => How::Coalesced,
        how => how,
    };
    EnqueuedJob { how, ..job }
}

fn unknown(reason: &str) -> Problem {
    let detail = format!(
        "it is unknown whether the jobs were made: {reason}; repeat the request with the same Idempotency-Key, which \
         makes them if they are not there and else answers with those that are (without one, see GET /v1/jobs first)"
    );
    Problem::new(Kind::Unavailable, detail)
}

fn gone(jobs: &[String]) -> Problem {
    let detail = format!(
        "this request made {} when it came first, which ended so long ago that nothing is kept of it; nothing was made \
         now; send another Idempotency-Key to make it anew",
        jobs.join(", ")
    );
    Problem::new(Kind::Gone, detail)
}

/// How a job stands.
enum Standing {
    Is(Status),
    /// There is no row of it any more: its idempotency key has outlived it.
    Forgotten,
    /// The broker did not say.
    Unread,
}

impl Standing {
    fn status(&self) -> Option<Status> {
        match self {
            Self::Is(status) => Some(*status),
            Self::Forgotten | Self::Unread => None,
        }
    }
}

/// A new job is pending; one that was there already may be anything.
async fn standing(api: &Api, job: &str, how: How) -> Standing {
    if how == How::Created {
        return Standing::Is(Status::Pending);
    }
    match api.read(Query::Job { job: job.to_owned() }).await {
        Ok(Rows::Jobs(jobs)) => jobs.first().map_or(Standing::Forgotten, |job| Standing::Is(job.status)),
        Ok(_) => Standing::Unread,
        Err(problem) => {
            tracing::warn!(?problem, job, "read the status of a job that was just made or found");
            Standing::Unread
        }
    }
}
