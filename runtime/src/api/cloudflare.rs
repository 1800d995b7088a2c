//! The JSON of Cloudflare's queues over HTTP, and what we add to it. Both sides read it: the broker's `messages` routes,
//! and [`Remote`](crate::broker::Remote), by which a processor pulls.
//!
//! What we add stands in fields of its own, all optional: a client of Cloudflare's needs none of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// What stands around every answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Envelope<T> {
    pub(crate) success: bool,
    pub(crate) errors: Vec<Message>,
    pub(crate) messages: Vec<Message>,
    pub(crate) result: T,
}

/// A code and its text.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Message {
    pub(crate) code: u32,
    pub(crate) message: String,
}

impl<T> Envelope<T> {
    pub(crate) fn new(result: T) -> Self {
        Self { success: true, errors: Vec::new(), messages: Vec::new(), result }
    }
}

/// The body of a pull. From `processor` on, the fields are ours.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PullBody {
    /// How many messages; with `slots`, how many jobs of one batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) batch_size: Option<u32>,
    /// How long the leases hold. Cloudflare's reference says `…_ms`, its examples leave that out.
    #[serde(alias = "visibility_timeout", skip_serializing_if = "Option::is_none")]
    pub(crate) visibility_timeout_ms: Option<u64>,
    /// Who asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) processor: Option<String>,
    /// Which queues, where the path says `any`; absent or empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) queues: Vec<String>,
    /// How many deliveries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) slots: Option<u32>,
    /// How long to wait for the first one.
    pub(crate) wait_ms: u64,
    /// The deliveries that the processor is working on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) holding: Vec<String>,
}

/// The result of a pull. From `revoked` on, the fields are ours.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PullResult {
    /// How many jobs wait in the queue. Left out where `slots` was given: counting them costs more than the pull.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) message_backlog_count: Option<u64>,
    pub(crate) messages: Vec<PulledMessage>,
    /// Those of `holding` that are over.
    pub(crate) revoked: Vec<String>,
    /// How long the broker kept the pull waiting.
    pub(crate) waited_ms: u64,
}

/// A pulled message: a job.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PulledMessage {
    /// The job.
    pub(crate) id: String,
    /// Its payload, in base64 as all bodies of content type `json`.
    pub(crate) body: String,
    /// The attempt that this is, from 1.
    pub(crate) attempts: u32,
    /// When it was enqueued.
    pub(crate) timestamp_ms: u64,
    pub(crate) lease_id: String,
    pub(crate) metadata: Metadata,
}

/// What else is said of a message. All but the content type is ours.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Metadata {
    #[serde(rename = "CF-Content-Type")]
    pub(crate) content_type: String,
    pub(crate) queue: String,
    /// Messages of one delivery belong together: a handler gets them as one batch, within one timeout.
    pub(crate) delivery: String,
    pub(crate) batch: String,
    pub(crate) timeout_ms: u64,
    pub(crate) lease_ms: u64,
    pub(crate) user: String,
    pub(crate) version: u64,
    pub(crate) key: Option<String>,
}

/// The body of an acknowledgement.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AckBody {
    pub(crate) acks: Vec<Ack>,
    pub(crate) retries: Vec<Retry>,
}

/// A job is completed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ack {
    pub(crate) lease_id: String,
    /// Ours: the job's result; absent: null.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) result: Option<Box<RawValue>>,
}

/// An attempt has failed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Retry {
    pub(crate) lease_id: String,
    /// The shortest wait before the next attempt; the policy's backoff holds if it is longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) delay_seconds: Option<u64>,
    /// Ours: why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// Ours: whether the handler was stopped at its timeout.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) timed_out: bool,
}

/// The result of an acknowledgement.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct AckResult {
    #[serde(rename = "ackCount")]
    pub(crate) ack_count: u64,
    #[serde(rename = "retryCount")]
    pub(crate) retry_count: u64,
    /// By lease: what was not done, and why.
    pub(crate) warnings: BTreeMap<String, String>,
}

/// A message to send. From `key` on, the fields are ours.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SendBody {
    pub(crate) body: Box<RawValue>,
    #[serde(default)]
    pub(crate) content_type: ContentType,
    pub(crate) delay_seconds: Option<u64>,
    /// The entity, on a queue that deduplicates.
    pub(crate) key: Option<String>,
    /// Where to send a mail at the job's end.
    pub(crate) email: Option<String>,
}

/// How a sent body is to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ContentType {
    /// Any JSON.
    #[default]
    Json,
    /// A string, which is the payload as it stands: a JSON string.
    Text,
}

/// Several messages to send.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SendBatchBody<'a> {
    #[serde(borrow)]
    pub(crate) messages: Vec<&'a RawValue>,
    pub(crate) delay_seconds: Option<u64>,
}
