//! What the other roles ask of the broker, and its answers. In one process they travel as values, between processes as
//! JSON; the meaning is the same.

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::processor::Delivery;
use crate::store::{How, LeaseId, Query, Rows};

/// The broker, near or far.
pub trait Queue: Send + Sync + 'static {
    /// Asks the broker. After [`Refusal::Unavailable`] it is unknown whether it has acted.
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Response, Refusal>>;
}

/// A request to the broker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Make jobs. All or none: [`Response::Enqueued`] in the same order.
    Enqueue(Vec<JobRequest>),
    /// End a job. [`Response::Done`].
    Cancel {
        /// Which job.
        job: String,
        /// Whose job it must be; absent for an operator.
        user: Option<String>,
    },
    /// Pause a queue or let it go on. [`Response::Done`].
    Pause {
        /// Which queue.
        queue: String,
        /// Whether it is paused from now on.
        paused: bool,
    },
    /// Put a dead letter back. [`Response::Done`].
    Redrive {
        /// Which job.
        job: String,
    },
    /// Drop a dead letter. [`Response::Done`].
    Purge {
        /// Which job.
        job: String,
    },
    /// Ask for work. [`Response::Pulled`].
    Pull(Pull),
    /// End attempts. [`Response::Settled`] in the same order.
    Settle(Vec<Settlement>),
    /// Ask the store. [`Response::Rows`].
    Read(Query),
    /// Wait for final ends after a sequence number. [`Response::Rows`] with ends, possibly none.
    Ends {
        /// Only those with a greater sequence number.
        after: u64,
        /// How long to wait for the first one.
        wait_ms: u64,
    },
    /// All mails for ends up to this one have been enqueued. [`Response::Done`].
    Told {
        /// The last end's sequence number.
        through: u64,
    },
}

/// A job to make.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobRequest {
    /// Its id, made by the asking role, so that a repeated request makes no second job.
    pub id: String,
    /// Its queue.
    pub queue: String,
    /// Its user.
    pub user: String,
    /// Its payload.
    pub payload: Box<RawValue>,
    /// The entity, on a queue that deduplicates.
    pub key: Option<String>,
    /// The client's idempotency key, and a fingerprint of what it was sent with.
    pub idempotency: Option<(String, String)>,
    /// Where to send a mail at its end.
    pub email: Option<String>,
}

/// A processor asks for work, and hears which of its deliveries are over.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Pull {
    /// Who asks.
    pub processor: String,
    /// From which queues; empty means from all.
    pub queues: Vec<String>,
    /// How many deliveries at most. With 0 it only waits to hear of cancelled ones.
    pub slots: u32,
    /// How many jobs of a batch at most; absent: the policy's size.
    pub batch_size_max: Option<u32>,
    /// How long the lease shall hold; absent: the policy's timeout and a margin to settle in.
    pub lease_ms: Option<u64>,
    /// How long to wait for the first delivery.
    pub wait_ms: u64,
    /// The deliveries it is working on.
    pub holding: Vec<String>,
}

/// What a processor gets.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Pulled {
    /// New deliveries.
    pub deliveries: Vec<Granted>,
    /// Deliveries among those it holds that are over (all their jobs cancelled, or their leases lost): it stops them.
    pub revoked: Vec<String>,
    /// How long the broker kept the question waiting: the leases began no earlier than this after it was sent.
    #[serde(default)]
    pub waited_ms: u64,
}

/// A delivery with its leases.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Granted {
    /// What the handler gets.
    pub delivery: Delivery,
    /// One lease per job, in the same order.
    #[serde(with = "leases")]
    pub leases: Vec<LeaseId>,
    /// How long the leases hold, from when they were granted.
    pub lease_ms: u64,
    /// When the jobs were enqueued, in the same order, in milliseconds since the Unix epoch.
    pub created_ms: Vec<u64>,
}

/// The end of an attempt, as the processor reports it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Settlement {
    /// Which lease.
    #[serde(with = "lease")]
    pub lease: LeaseId,
    /// How it ended.
    pub outcome: Report,
}

/// How an attempt ended, as the processor reports it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// The handler succeeded.
    Completed {
        /// Its result.
        result: Box<RawValue>,
    },
    /// The handler failed.
    Failed {
        /// Why.
        error: String,
        /// A delay that the consumer wants before the next attempt; the policy's backoff holds if it is longer.
        delay_ms: Option<u64>,
    },
    /// The handler was stopped at its timeout.
    TimedOut {
        /// What is shown as the attempt's error.
        error: String,
    },
}

/// The broker's answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// The jobs, in the order of the request.
    Enqueued(Vec<EnqueuedJob>),
    /// It is done.
    Done,
    /// Work, or none.
    Pulled(Pulled),
    /// Per settlement, whether its lease still held.
    Settled(Vec<bool>),
    /// What the store says.
    Rows(Rows),
}

/// A job that was made or found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EnqueuedJob {
    /// Its id.
    pub id: String,
    /// What became of the payload.
    pub how: How,
}

/// Why the broker did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// There is no such thing, or the user may not see it.
    #[error("{0}")]
    NotFound(String),
    /// The request makes no sense as it is.
    #[error("{0}")]
    Invalid(String),
    /// Things stand in a way that forbids it.
    #[error("{0}")]
    Conflict(String),
    /// The idempotency key belongs to another request.
    #[error("{0}")]
    KeyReused(String),
    /// The broker could not be reached or could not finish: it is unknown whether it has acted.
    #[error("{0}")]
    Unavailable(String),
}

/// Lease ids travel as text.
mod lease {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::store::LeaseId;

    pub(super) fn serialize<S: Serializer>(lease: &LeaseId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(lease)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LeaseId, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Lists of lease ids travel as lists of text.
mod leases {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::store::LeaseId;

    pub(super) fn serialize<S: Serializer>(leases: &[LeaseId], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(leases.iter().map(ToString::to_string))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<LeaseId>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts.iter().map(|text| text.parse().map_err(D::Error::custom)).collect()
    }
}
