//! The observations a history is made of. Field by field what a line holds; docs/history.md shows each in JSON.
//!
//! Three viewpoints stay apart: what *clients* asked and were told, what the *queue* says it did (with its own clock),
//! and what was seen *outside*: handlers, readers, users, the other systems. Checkers compare them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::lifecycle::Status;

/// One line: when the player saw what.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The player's time in milliseconds. Never goes back within a history.
    pub at: u64,
    /// What was seen.
    pub what: What,
}

/// Declares the observations once: the enum, the name each has in JSON, reading and writing.
macro_rules! observations {
    ($($(#[$doc:meta])* $name:literal $variant:ident,)*) => {
        /// What was seen. In JSON each is an object under its name in kebab-case.
        #[derive(Clone, Debug, PartialEq)]
        pub enum What { $($(#[$doc])* $variant($variant),)* }

        impl What {
            /// The names of all observations, as they stand in a line.
            pub const NAMES: &'static [&'static str] = &[$($name),*];

            /// This observation's name in a line.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name,)* }
            }

            /// Reads the value that follows `name`; `None` when there is no such observation.
            pub(super) fn read<'de, M: serde::de::MapAccess<'de>>(
                name: &str, map: &mut M,
            ) -> Option<Result<Self, M::Error>> {
                match name { $($name => Some(map.next_value().map(Self::$variant)),)* _ => None }
            }

            /// Writes the value under its name.
            pub(super) fn write<M: serde::ser::SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
                match self { $(Self::$variant(value) => map.serialize_entry($name, value),)* }
            }
        }

        $(impl From<$variant> for What { fn from(value: $variant) -> Self { Self::$variant(value) } })*
    };
}

observations! {
    /// A client asks for a job.
    "enqueue" Enqueue,
    /// A client asks to end a job.
    "cancel" Cancel,
    /// An operator asks to put a dead letter back.
    "redrive" Redrive,
    /// An operator asks to drop a dead letter.
    "purge" Purge,
    /// An operator asks a queue to give no deliveries.
    "pause" Pause,
    /// An operator asks a paused queue to go on.
    "resume" Resume,
    /// A client is answered, or gives up waiting.
    "reply" Reply,
    /// The queue has accepted a payload, durably.
    "accepted" Accepted,
    /// The queue has granted a delivery, durably.
    "granted" Granted,
    /// The queue has ended an attempt, or refused to.
    "settled" Settled,
    /// The queue has cancelled a job.
    "cancelled" Cancelled,
    /// The queue has put a dead letter back.
    "redriven" Redriven,
    /// The queue has dropped a dead letter.
    "purged" Purged,
    /// The queue has been paused or resumed.
    "paused" Paused,
    /// A handler begins.
    "started" Started,
    /// A handler ends, or is ended.
    "finished" Finished,
    /// A processor comes up or goes down.
    "processor" Processor,
    /// Somebody read a job's status.
    "status" StatusRead,
    /// Somebody read a dead letter queue as a whole.
    "dead-letters" DeadLetters,
    /// A user's WebSocket session opens or closes.
    "session" Session,
    /// Something reached a user.
    "notified" Notified,
    /// Something reached the world outside.
    "stored" Stored,
    /// A fault begins or ends.
    "fault" Fault,
    /// The player has healed all faults and waited for the queue to drain.
    "drained" Drained,
}

/// A client asks for a job. What it is told follows as a [`Reply`] with the same `op`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enqueue {
    /// Unique within the history; a client's retry of the same request is an operation of its own.
    pub op: u64,
    /// Who asks.
    pub user: String,
    /// The queue.
    pub queue: String,
    /// The payload, or any fingerprint of it: equal if and only if the payloads are equal.
    pub payload: String,
    /// The entity, on a queue that deduplicates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The idempotency key, if the client sent one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// Whether the job asked for an e-mail at its end.
    #[serde(default, skip_serializing_if = "is_false")]
    pub email: bool,
}

/// A client asks to end a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cancel {
    /// See [`Enqueue::op`].
    pub op: u64,
    /// Who asks.
    pub user: String,
    /// Which job.
    pub job: String,
}

/// An operator asks to put a dead letter back into its queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redrive {
    /// See [`Enqueue::op`].
    pub op: u64,
    /// Which job.
    pub job: String,
}

/// An operator asks to drop a dead letter for good.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Purge {
    /// See [`Enqueue::op`].
    pub op: u64,
    /// Which job.
    pub job: String,
}

/// An operator asks a queue to give no deliveries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pause {
    /// See [`Enqueue::op`].
    pub op: u64,
    /// Which queue.
    pub queue: String,
}

/// An operator asks a paused queue to go on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resume {
    /// See [`Enqueue::op`].
    pub op: u64,
    /// Which queue.
    pub queue: String,
}

/// What a client was told. An operation without a reply counts as [`Told::Unknown`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    /// The operation.
    pub op: u64,
    /// The outcome.
    pub outcome: Told,
    /// An enqueue's job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// What was wrong, when refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The outcome of an operation, as far as its client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Told {
    /// Done: acknowledged.
    Ok,
    /// Surely not done.
    Refused,
    /// The reply was lost: it may have been done, once, or not. Checkers accept both.
    Unknown,
}

/// The queue has accepted a payload, durably.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accepted {
    /// The job it made, or the waiting one it went to.
    pub job: String,
    /// The queue.
    pub queue: String,
    /// Whose job.
    pub user: String,
    /// See [`Enqueue::payload`].
    pub payload: String,
    /// What became of it.
    pub how: How,
    /// The entity, on a queue that deduplicates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Whether the job asked for an e-mail at its end.
    #[serde(default, skip_serializing_if = "is_false")]
    pub email: bool,
    /// The queue's own time, in milliseconds since the Unix epoch.
    pub clock: u64,
}

/// What an enqueue became.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// A new job.
    Created,
    /// A newer payload for a job that waits for the same entity.
    Coalesced,
    /// The job that the same idempotency key made before; nothing changed.
    Replayed,
}

/// The queue has granted a delivery, durably.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Granted {
    /// Unique per hand-over.
    pub delivery: String,
    /// What the outside world knows the batch by. The same when a batch is tried again as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<String>,
    /// The queue that granted it.
    pub queue: String,
    /// Who got it.
    pub processor: String,
    /// The jobs, one on a queue without batching.
    pub jobs: Vec<Lease>,
    /// Until when the lease holds, on the queue's clock.
    pub lease_until: u64,
    /// The queue's own time, in milliseconds since the Unix epoch.
    pub clock: u64,
}

/// One job of a delivery and the number of this attempt.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lease {
    /// The job.
    pub job: String,
    /// 1 for the first delivery. It is the lease's fencing token.
    pub attempt: u32,
}

/// The queue has ended an attempt, or refused to because its lease was over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settled {
    /// The job.
    pub job: String,
    /// The attempt that this settles.
    pub attempt: u32,
    /// How the attempt ended, as it was reported; `lost` when its lease ran out.
    pub outcome: AttemptOutcome,
    /// False when the attempt's lease was over already; then nothing changed.
    pub accepted: bool,
    /// What follows. Absent when not accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub then: Option<Then>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// A delay that the consumer asked for itself; it may lengthen the policy's backoff.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_asked_ms: Option<u64>,
    /// The queue's own time, in milliseconds since the Unix epoch.
    pub clock: u64,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttemptOutcome {
    /// The handler succeeded.
    Completed,
    /// The handler failed.
    Failed,
    /// The handler was stopped at its timeout.
    TimedOut,
    /// The lease ran out: the processor crashed, hung, or could not be heard.
    Lost,
    /// The handler was stopped because its job was cancelled.
    Cancelled,
}

/// What follows an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Then {
    /// The job is done.
    Completed,
    /// Another attempt, not before this time of the queue's clock.
    RetryAt(u64),
    /// Given up, not dead-lettered.
    Failed,
    /// Given up, into the dead letter queue.
    DeadLetter,
}

/// The queue has cancelled a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cancelled {
    /// Which job.
    pub job: String,
    /// The queue's own time.
    pub clock: u64,
}

/// The queue has put a dead letter back, with fresh attempts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redriven {
    /// Which job.
    pub job: String,
    /// The queue's own time.
    pub clock: u64,
}

/// The queue has dropped a dead letter for good.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Purged {
    /// Which job.
    pub job: String,
    /// The queue's own time.
    pub clock: u64,
}

/// The queue has been paused or resumed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Paused {
    /// Which queue.
    pub queue: String,
    /// True from a pause on, false from a resume on.
    pub paused: bool,
    /// The queue's own time.
    pub clock: u64,
}

/// A handler begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Started {
    /// Where it runs.
    pub processor: String,
    /// The delivery, where the processor was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<String>,
    /// The queue.
    pub queue: String,
    /// What it was given.
    pub jobs: Vec<Given>,
}

/// One job as a handler was given it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Given {
    /// The job.
    pub job: String,
    /// The attempt it was told it is. Where the player counts deliveries itself, its count.
    pub attempt: u32,
    /// The attempt it was told it is, where that is not what `attempt` is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<u32>,
    /// See [`Enqueue::payload`].
    pub payload: String,
}

/// A handler ends, or is ended. A handler whose processor goes down ends with the [`Processor`] line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finished {
    /// Where it ran.
    pub processor: String,
    /// The delivery, where the processor was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<String>,
    /// How each of its jobs ended. `completed` and `failed` are the handler's own word, `timed-out` and `cancelled`
    /// mean that it was stopped.
    pub jobs: Vec<Ended>,
}

/// How a handler ended for one job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ended {
    /// The job.
    pub job: String,
    /// The attempt.
    pub attempt: u32,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A processor comes up or goes down (gracefully or not). Down, its handlers are gone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Processor {
    /// Which one.
    pub processor: String,
    /// Whether it is up from now on.
    pub up: bool,
    /// How many deliveries it runs side by side.
    #[serde(default)]
    pub slots: u32,
}

/// Somebody read a job's status.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusRead {
    /// Which job.
    pub job: String,
    /// Who asked.
    pub user: String,
    /// When the question was sent, on the player's clock: an answer is at least as new as this.
    pub asked_at: u64,
    /// The row; absent when there was none (or none that this user may see).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<Row>,
}

/// A row of `job_status`, with what the API shows beside it. Times are the queue's clock in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The seed's status.
    pub status: Status,
    /// Deliveries begun − 1, and 0 before the first.
    pub retry_count: u32,
    /// A completed job's result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// The last attempt's error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When it was enqueued.
    pub created_at: u64,
    /// When it last changed.
    pub updated_at: u64,
    /// When it ended for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<u64>,
    /// The API's word on whether this is the end.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// The dead letter queue that holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter_queue: Option<String>,
}

/// Somebody read a dead letter queue as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeadLetters {
    /// The dead letter queue's name.
    pub dead_letter_queue: String,
    /// When the question was sent, on the player's clock.
    pub asked_at: u64,
    /// All that it holds.
    pub entries: Vec<DeadLetter>,
}

/// One dead letter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeadLetter {
    /// The job.
    pub job: String,
    /// See [`Enqueue::payload`].
    pub payload: String,
    /// The last attempt's error; absent where the player could not read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Every attempt since the job was enqueued or redriven; absent where the player could not read them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<Vec<DeadAttempt>>,
}

/// One attempt of a dead letter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeadAttempt {
    /// Its number.
    pub attempt: u32,
    /// Why it failed.
    pub error: String,
    /// When it ended, on the queue's clock.
    pub ended_at: u64,
}

/// A user's WebSocket session opens or closes. A session that is cut closes when the player learns of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// Unique within the history.
    pub session: String,
    /// Whose.
    pub user: String,
    /// Whether it is open from now on.
    pub open: bool,
    /// Whether it was opened to go on where an earlier session of the user ended, missing nothing in between.
    #[serde(default, skip_serializing_if = "is_false")]
    pub resumed: bool,
}

/// Something reached a user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notified {
    /// Who received it.
    pub user: String,
    /// By which way.
    pub via: Via,
    /// The session, by WebSocket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The job it speaks of.
    pub job: String,
    /// The end it tells of: `completed` or `failed`.
    pub status: Status,
}

/// A way to a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Via {
    /// An open session.
    Websocket,
    /// A mail.
    Email,
}

/// Something reached the world outside: an entity synced, a batch of events stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stored {
    /// The queue whose handler sent it.
    pub queue: String,
    /// The jobs it came from.
    pub jobs: Vec<String>,
    /// The batch's id, as the receiver saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<String>,
    /// The entity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// See [`Enqueue::payload`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// False when the receiver knew it already, or knew a newer version, and ignored it.
    pub applied: bool,
}

/// A fault begins or ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Unique within the history; its end carries the same.
    pub fault: u64,
    /// What kind: `partition`, `kill`, `power`, …
    pub kind: String,
    /// Which hosts it strikes.
    #[serde(default)]
    pub on: Vec<String>,
    /// Whether it is in force from now on.
    pub active: bool,
}

/// The player has healed all faults, waited at most its bound, and then read every status and dead letter queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drained {
    /// Whether nothing was left to do within the bound (jobs that are retried for ever aside).
    pub ok: bool,
    /// The bound: what the policies and the outstanding work allow it to take.
    pub bound_ms: u64,
}

fn is_false(value: &bool) -> bool {
    !value
}
