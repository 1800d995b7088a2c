//! What the broker asks of a store. [`Store`] applies commands and makes them durable; [`Reader`] answers questions.
//!
//! A store knows no policies: every time, limit and decision comes in with the command. Commands and answers are data,
//! so that stores can be compared with a model and wrapped.

mod sqlite;

use futures_util::future::BoxFuture;
use kew_spec::lifecycle::Status;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub use sqlite::{Sqlite, SqliteOptions, SqliteReader, Synchronous};

/// A durable store with one writer. What is applied between two commits takes place as a whole or not at all.
pub trait Store: Send {
    /// Applies `commands` in order and returns their answers. What they did is seen by what this store is asked from now
    /// on, by nobody else, and is lost in a crash until [`Store::commit`] has returned. After an error nothing that was
    /// applied since the last commit takes place.
    fn apply<'a>(&'a mut self, commands: &'a [Command]) -> BoxFuture<'a, Result<Vec<Answer>, Error>>;

    /// Makes durable all that was applied since the last commit. After an error it is unknown whether that took place.
    fn commit(&mut self) -> BoxFuture<'_, Result<(), Error>>;

    /// What waits in each queue that has live jobs, and when something falls due, as of `now_ms`. An error takes back
    /// what was applied since the last commit.
    fn outlook(&mut self, now_ms: u64) -> BoxFuture<'_, Result<Outlook, Error>>;

    /// The latest time that any command carried which is durable, over all restarts; 0 for a new store.
    fn last_ms(&mut self) -> BoxFuture<'_, Result<u64, Error>>;
}

/// The reading side of a store. It sees what was committed when it is asked.
pub trait Reader: Send {
    /// Answers one question.
    fn read<'a>(&'a mut self, query: &'a Query) -> BoxFuture<'a, Result<Rows, Error>>;
}

/// Why a store could not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{context}: {reason}")]
pub struct Error {
    /// What was being done, as it reads after "failed to".
    pub context: String,
    /// What went wrong.
    pub reason: String,
}

/// A change of the store. All times are the queue's, in milliseconds since the Unix epoch.
#[derive(Clone, Debug)]
pub enum Command {
    /// Make a job, or find that it exists.
    Enqueue(NewJob),
    /// Give jobs to a processor.
    Claim(Claim),
    /// End an attempt.
    Settle(Settle),
    /// End a job by will.
    Cancel {
        /// Which job.
        job: String,
        /// Whose job it must be; `None` for an operator, who may cancel anybody's.
        user: Option<String>,
        /// When.
        now_ms: u64,
    },
    /// Let a queue give deliveries, or not.
    Pause {
        /// Which queue.
        queue: String,
        /// Whether it is paused from now on.
        paused: bool,
        /// When.
        now_ms: u64,
    },
    /// Put a dead letter back, with fresh attempts: status `pending`, no error, `retry_count` 0, `completed_at` null.
    Redrive {
        /// Which job.
        job: String,
        /// From when on it may be claimed.
        ready_ms: u64,
        /// When.
        now_ms: u64,
    },
    /// Drop a dead letter for good. Its row in `job_status` stays, unless [`Command::Prune`] has passed over it before.
    Purge {
        /// Which job.
        job: String,
        /// When.
        now_ms: u64,
    },
    /// Remember that all ends up to this one have been told to those who asked for mail.
    Told {
        /// The sequence number of the last one.
        through: u64,
        /// When.
        now_ms: u64,
    },
    /// Forget what is past its time: idempotency keys, told ends, rate grants, and jobs that have ended. A part of it
    /// at a time, so that nobody waits long behind it.
    Prune {
        /// Jobs whose last end came before this, and which are no dead letters, are forgotten altogether. So are ends
        /// from before this that have been told.
        ended_before_ms: u64,
        /// When.
        now_ms: u64,
    },
}

/// A job to make.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// Its id, made by whoever asks. If a job of this id exists already, the answer is `Replayed` and nothing changes:
    /// so a request whose reply was lost can be repeated.
    pub id: String,
    /// Its queue.
    pub queue: String,
    /// Its user.
    pub user: String,
    /// Its payload, JSON, kept byte for byte.
    pub payload: Box<RawValue>,
    /// The entity, on a queue that deduplicates: at most one job per queue and key waits, and it takes newer payloads of
    /// its own user alone.
    pub key: Option<String>,
    /// The client's idempotency key.
    pub idempotency: Option<Idempotency>,
    /// Where to send a mail at its end.
    pub email: Option<String>,
    /// If a job that waits takes its payload: until when a request of this `id` is a repetition, and no newer payload.
    pub repeats_until_ms: u64,
    /// From when on it may be claimed.
    pub ready_ms: u64,
    /// When it is enqueued.
    pub now_ms: u64,
}

/// A client's idempotency key: the same user and key make one job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// The key.
    pub key: String,
    /// A fingerprint of the request. The same key with another one is a conflict.
    pub fingerprint: String,
    /// Until when it is remembered.
    pub until_ms: u64,
}

/// A delivery to make of what waits in `queue`. Jobs that waited longest (by ready time, then by order of enqueueing)
/// come first. A job is deliverable when its ready time has come, its queue is not paused, no lease holds it, and no older
/// live job has the same queue and key. One that belongs to a batch (see [`Settle::keep_batch`]) is so together with it:
/// once all of the batch that have not ended are ready and none is leased, as if each had become ready when the last did.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Which queue.
    pub queue: String,
    /// Who gets it.
    pub processor: String,
    /// The delivery's id.
    pub delivery: String,
    /// Whether its jobs are a batch that may be tried again as a whole. The batch has the id of its first delivery. If the
    /// job that waited longest still belongs to a batch (see [`Settle::keep_batch`]), exactly the jobs of that batch are
    /// taken, under its id, though they be more than `max`; and none while the rate limit leaves room for a part of them
    /// alone. A part of it would pass for the whole: if the limit never has room for all, one is a batch of its own.
    pub is_batch: bool,
    /// How many jobs at most.
    pub max: u32,
    /// No window of `.1` milliseconds may hold more than `.0` claimed jobs of the queue.
    pub rate: Option<(u32, u64)>,
    /// Whether what is known of the attempts that begin now is kept, should they fail, for the dead letter that a job may
    /// become ([`DeadLetterRow::attempts`]). Of a job that is tried without end it would grow without end.
    pub keep_attempts: bool,
    /// Until when the lease holds.
    pub lease_until_ms: u64,
    /// When.
    pub now_ms: u64,
}

/// The end of an attempt.
#[derive(Clone, Debug)]
pub struct Settle {
    /// Which lease. If it does not hold any more, nothing changes.
    pub lease: LeaseId,
    /// How the attempt ended.
    pub outcome: Outcome,
    /// What follows.
    pub then: Then,
    /// Whether the job stays in its batch, if it was claimed in one (see [`Claim::is_batch`]), to be tried again together.
    /// It leaves the batch when it takes a newer payload: under the batch's id that would pass for the older one.
    pub keep_batch: bool,
    /// When.
    pub now_ms: u64,
}

/// The right to one delivery of one job. As text: `queue.job.attempt.fence`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeaseId {
    /// The job's queue.
    pub queue: String,
    /// The job.
    pub job: String,
    /// Which attempt, from 1, counted since the job was enqueued or redriven.
    pub attempt: u32,
    /// Which delivery in the job's whole life, from 1: unlike the attempt it never repeats.
    pub fence: u32,
}

impl std::fmt::Display for LeaseId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}.{}", self.queue, self.job, self.attempt, self.fence)
    }
}

impl std::str::FromStr for LeaseId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.rsplitn(3, '.');
        let fence = parts.next().and_then(|part| part.parse().ok());
        let attempt = parts.next().and_then(|part| part.parse().ok());
        let job = parts.next().and_then(|rest| rest.split_once('.'));
        match (job, attempt, fence) {
            (Some((queue, job)), Some(attempt), Some(fence)) => {
                Ok(Self { queue: queue.into(), job: job.into(), attempt, fence })
            }
            _ => Err(format!("{text:?} is no lease id; send back the lease_id of a pulled message")),
        }
    }
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The handler succeeded, with this result.
    Completed(Box<RawValue>),
    /// The handler failed, with this error.
    Failed(String),
    /// The handler was stopped at its timeout.
    TimedOut(String),
    /// The lease ran out.
    Lost(String),
}

/// What follows an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Then {
    /// The job is completed.
    Complete,
    /// Another attempt, from this time on.
    RetryAt(u64),
    /// The job has failed for good.
    Fail,
    /// The job has failed for good and goes to this dead letter queue.
    DeadLetter(String),
}

/// What a command did.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Of `Enqueue`: which job, and what became of the payload.
    Enqueued {
        /// The job's id: the given one, or that of the job which was there already.
        job: String,
        /// What became of it.
        how: How,
    },
    /// Of `Enqueue`: the idempotency key was used for a different request. Nothing changed.
    IdempotencyConflict,
    /// Of `Enqueue`: another user's job waits for the same key. Nothing changed: else each would see the other's payload.
    OthersEntity,
    /// Of `Claim`: what is delivered; `None` when nothing is deliverable.
    Claimed(Option<Claimed>),
    /// Of `Settle`: whether the lease still held.
    Settled {
        /// False: the lease was over, nothing changed.
        accepted: bool,
    },
    /// Of `Cancel`, `Redrive`, `Purge`.
    Ended(Ending),
    /// Of `Prune`.
    Pruned {
        /// Whether there is more to forget already.
        more: bool,
    },
    /// Of `Pause`, `Told`.
    Done,
}

/// What an enqueue became.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// A new job.
    Created,
    /// A newer payload for the job that waits for the same key.
    Coalesced,
    /// The job that was there already; nothing changed.
    Replayed,
}

/// What became of a cancel, a redrive or a purge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It is done.
    Done,
    /// There is no such job (or it is another user's).
    NotFound,
    /// The job is not in a state that allows it: a cancel of a final job, a redrive or purge of what is no dead letter.
    NotAllowed,
    /// A redrive while another job of the same key is live.
    KeyTaken,
}

/// A delivery as the store made it.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// The id of the batch, or of the delivery if it is none.
    pub batch: String,
    /// At least one, in the order in which they waited.
    pub jobs: Vec<ClaimedJob>,
}

/// One job of a delivery.
#[derive(Clone, Debug)]
pub struct ClaimedJob {
    /// The lease: job, attempt, fence.
    pub lease: LeaseId,
    /// Whose job.
    pub user: String,
    /// Grows with every accepted payload of the store.
    pub version: u64,
    /// The entity.
    pub key: Option<String>,
    /// The newest accepted payload.
    pub payload: Box<RawValue>,
    /// When it was enqueued.
    pub created_ms: u64,
}

/// What waits and what falls due.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outlook {
    /// Per queue with a live job, in the order of their names.
    pub queues: Vec<QueueOutlook>,
    /// Leases that have run out by now, the oldest first, at most 1,000 of each queue.
    pub expired: Vec<LeaseId>,
    /// When the next lease runs out that has not yet.
    pub next_lease_ms: Option<u64>,
}

/// What waits in one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueOutlook {
    /// The queue.
    pub queue: String,
    /// Whether it is paused.
    pub paused: bool,
    /// The ready time of the job that waited longest among those that are deliverable, paused or not.
    pub oldest_ready_ms: Option<u64>,
    /// How many are deliverable (paused or not), counted up to 10,000 (`BATCH_SIZE_MAX`).
    pub ready: u32,
    /// Whether the one that waited longest belongs to a batch that is tried again as a whole.
    pub head_keeps_batch: bool,
    /// How many jobs the next delivery holds at least: all of that batch, or one; 0 if none is deliverable.
    pub head_jobs: u32,
    /// When the next one becomes ready that is not yet.
    pub next_ready_ms: Option<u64>,
    /// When its rate-limited claims took place, the oldest first: those of the last window that was claimed with.
    pub recent_claims_ms: Vec<u64>,
}

/// A question to a store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Query {
    /// One job. `Rows::Jobs` with one row or none.
    Job {
        /// Its id.
        job: String,
    },
    /// A user's jobs, newest first. `Rows::Jobs`.
    JobsOf {
        /// Whose.
        user: String,
        /// Only jobs that come after this one in the list.
        after: Option<String>,
        /// How many at most.
        limit: u32,
    },
    /// How many jobs each queue holds. `Rows::Depths`.
    Depths,
    /// What a dead letter queue holds, oldest first. `Rows::DeadLetters`.
    DeadLetters {
        /// The dead letter queue's name.
        dead_letter_queue: String,
        /// Only those that come after this job in the list.
        after: Option<String>,
        /// How many at most.
        limit: u32,
    },
    /// One dead letter. `Rows::DeadLetters` with one row or none.
    DeadLetter {
        /// The job.
        job: String,
    },
    /// Final ends in the order in which they came. `Rows::Ends`. They are numbered without gaps, and the oldest are forgotten
    /// first: a first row whose number is not the one after `after` says that those between are not kept any more.
    Ends {
        /// Only those with a greater sequence number.
        after: u64,
        /// How many at most.
        limit: u32,
    },
    /// Up to where ends have been told by mail, and the newest end's number. `Rows::Told`.
    Told,
}

/// A store's answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Rows {
    /// Jobs.
    Jobs(Vec<JobRow>),
    /// Queues.
    Depths(Vec<Depth>),
    /// Dead letters.
    DeadLetters(Vec<DeadLetterRow>),
    /// Ends.
    Ends(Vec<End>),
    /// The mail cursor.
    Told {
        /// The last end that was told.
        through: u64,
        /// The newest end there is, 0 if none.
        newest: u64,
    },
}

/// A row of `job_status`, column for column, and which dead letter queue holds the job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobRow {
    /// Column `id`.
    pub id: String,
    /// Column `type`: the queue.
    #[serde(rename = "type")]
    pub queue: String,
    /// Column `status`.
    pub status: Status,
    /// Column `user_id`.
    pub user_id: String,
    /// Column `payload`.
    pub payload: Box<RawValue>,
    /// Column `result`.
    pub result: Option<Box<RawValue>>,
    /// Column `error`.
    pub error: Option<String>,
    /// Column `retry_count`.
    pub retry_count: u32,
    /// Column `created_at`, in milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// Column `updated_at`.
    pub updated_ms: u64,
    /// Column `completed_at`: set if and only if the job is final.
    pub completed_ms: Option<u64>,
    /// The dead letter queue that holds it.
    pub dead_letter_queue: Option<String>,
}

/// How many jobs a queue holds. Queues without live jobs and without a pause are left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Depth {
    /// The queue.
    pub queue: String,
    /// Live jobs that wait: pending, or for a retry.
    pub waiting: u64,
    /// Live jobs under a lease.
    pub processing: u64,
    /// When the oldest live job was enqueued.
    pub oldest_created_ms: Option<u64>,
    /// Whether it is paused.
    pub paused: bool,
}

/// A dead letter with all that is known of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeadLetterRow {
    /// Its job.
    pub job: JobRow,
    /// When it died.
    pub died_ms: u64,
    /// Every attempt since it was enqueued or redriven that was claimed to be kept ([`Claim::keep_attempts`]).
    pub attempts: Vec<FailedAttempt>,
}

/// An attempt that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedAttempt {
    /// Its number.
    pub attempt: u32,
    /// `failed`, `timed-out` or `lost`.
    pub outcome: String,
    /// Why.
    pub error: String,
    /// When it began.
    pub started_ms: u64,
    /// When it ended.
    pub ended_ms: u64,
}

/// A final end, as its user is told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Grows with every end of the store.
    pub seq: u64,
    /// The job.
    pub job: String,
    /// Its queue.
    pub queue: String,
    /// Its user.
    pub user: String,
    /// `completed` or `failed`.
    pub status: Status,
    /// Why it failed.
    pub error: Option<String>,
    /// The dead letter queue that holds it.
    pub dead_letter_queue: Option<String>,
    /// Where to send a mail, if the job asked for one.
    pub email: Option<String>,
    /// When.
    pub ended_ms: u64,
}
