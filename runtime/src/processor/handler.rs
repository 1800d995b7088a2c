//! The seam between the processor and the work itself: what a handler is given and what it may answer.
//!
//! A handler knows nothing of queues, leases or retries. It gets a delivery, does the work, and reports an
//! outcome per job. The processor drops the handler's future at the timeout, so a handler must not outlive it:
//! work that cannot be dropped (a busy loop) belongs into a child process that dies with the future.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// One hand-over of one job (or of a batch of jobs) to a handler.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Delivery {
    /// Unique per hand-over.
    pub id: String,
    /// The queue all its jobs belong to.
    pub queue: String,
    /// Identifies the batch to the outside world. The same while a batch is tried again as a whole, so that a
    /// store that has seen it can ignore it.
    pub batch: String,
    /// What the handler has from its start on, in milliseconds; then its future is dropped.
    pub timeout_ms: u64,
    /// At least one; exactly one on a queue without batching.
    pub jobs: Vec<Job>,
}

/// A job as its handler sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// The job's id: stable over all attempts, so it serves as an idempotency key towards others.
    pub id: String,
    /// The user it acts for.
    pub user: String,
    /// 1 for the first delivery.
    pub attempt: u32,
    /// Grows with every accepted payload of the store. For one entity, a greater version is a newer payload.
    pub version: u64,
    /// The entity this job is about, on a queue that deduplicates.
    pub key: Option<String>,
    /// The payload, byte for byte as it was enqueued.
    pub payload: Box<RawValue>,
}

/// Why a job's attempt failed. The text is kept with the job and shown to its user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub String);

impl Failure {
    /// A failure with a text that says what was wrong and, where the user can act on it, what to do.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// The outcome of one job of a delivery: its result, or why it failed.
pub type Outcome = Result<Box<RawValue>, Failure>;

/// Where a handler writes each job's outcome as soon as it is known. What is written survives the timeout: of a
/// batch that is stopped half-way, the jobs reported so far keep their outcome.
#[derive(Debug, Default)]
pub struct Report {
    outcomes: Mutex<BTreeMap<String, Outcome>>,
}

impl Report {
    /// Writes a job's outcome. The first one stands.
    pub fn job(&self, id: &str, outcome: Outcome) {
        let mut outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        outcomes.entry(id.to_owned()).or_insert(outcome);
    }

    /// Takes what was reported so far.
    pub fn take(&self) -> BTreeMap<String, Outcome> {
        std::mem::take(&mut *self.outcomes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One kind of work.
pub trait Handler: Send + Sync {
    /// Does the work of `delivery` and reports each job's outcome. On return, jobs without a report are completed
    /// with a `null` result (`Ok`) or failed alike (`Err`).
    fn handle<'a>(&'a self, delivery: &'a Delivery, report: &'a Report) -> BoxFuture<'a, Result<(), Failure>>;
}
