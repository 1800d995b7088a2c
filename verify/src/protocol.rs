//! The adapter protocol, version 1: what is said between the harness and an adapter, as docs/adapters.md describes it.
//!
//! Only the words are here; who carries them (a process, a task) is `link`'s business. What an adapter says is read
//! strictly: an unknown key or a malformed line is the adapter's error.

use kew_spec::queues::{Backoff, Batch, Policy, RateLimit, Schedule};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::capability::Capabilities;

/// The version that this crate speaks.
pub const VERSION: u32 = 1;

/// Its lines as a JSON Schema: docs/adapter-protocol.schema.json.
pub const SCHEMA: &str = include_str!("../../docs/adapter-protocol.schema.json");

/// The longest line that an adapter may say: 8 MiB, far above a batch of 1,000 jobs.
pub const LINE_BYTES_MAX: usize = 8 << 20;

/// What the harness says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Request {
    /// The answer carries the same. An outcome has none: nobody waits for an answer to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// What is asked for.
    #[serde(flatten)]
    pub ask: Ask,
}

/// What the harness asks for.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Ask {
    /// The first line to every process.
    Hello(Hello),
    /// There is such a queue; a worker consumes it from now on.
    Configure {
        /// Its name, new in every run.
        queue: String,
        /// What it promises.
        #[serde(serialize_with = "told")]
        policy: Box<Policy>,
        /// How many deliveries a worker runs side by side.
        slots: u32,
        /// All queues of the play, this one included: they share the slots, where the system has priorities.
        beside: Vec<String>,
    },
    /// A job.
    Enqueue(Job),
    /// How the handler of an invocation ends.
    Outcome {
        /// Which.
        invocation: String,
        /// For each of its jobs.
        jobs: Vec<JobResult>,
    },
    /// All dead letters of a queue.
    DeadLetters {
        /// The queue that they were dead in.
        queue: String,
    },
    /// A job's status.
    Status(Which),
    /// Put a dead letter back.
    Redrive(Which),
    /// End a job.
    Cancel(Which),
    /// Give no deliveries.
    Pause {
        /// Of this queue.
        queue: String,
    },
    /// Go on.
    Resume {
        /// With this queue.
        queue: String,
    },
    /// Kill the server as a power cut of its process would.
    KillServer,
    /// Start it again, on what it had written.
    StartServer,
    /// Move the clock, and answer once all that falls due has begun. For targets in virtual time.
    Advance {
        /// To this time, in milliseconds since the Unix epoch.
        to_ms: u64,
    },
    /// Clean up and exit.
    Bye,
}

/// A policy as adapters are told it: what does not apply is left out.
fn told<S: serde::Serializer>(policy: &Policy, serializer: S) -> Result<S::Ok, S::Error> {
    let mut value = serde_json::to_value(policy).map_err(serde::ser::Error::custom)?;
    if let Some(fields) = value.as_object_mut()
        && fields.get("backoff").is_some_and(|backoff| backoff == "none")
    {
        fields.remove("backoff");
    }
    value.serialize(serializer)
}

/// The first line to every process.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Hello {
    /// [`VERSION`].
    pub protocol: u32,
    /// What this process is for.
    pub role: Role,
    /// Unique among the processes of a run.
    pub name: String,
    /// Where to reach the backing server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// A directory that all processes of the run share.
    pub dir: String,
    /// In virtual time: when the clock stands until it is moved, in milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_ms: Option<u64>,
}

/// What a process is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Creates, enqueues, reads and operates.
    Client,
    /// Consumes.
    Worker,
    /// Both, for what lives in one process.
    Both,
}

/// A job to enqueue.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Job {
    /// Where to.
    pub queue: String,
    /// The harness's name for it.
    pub job: String,
    /// To arrive byte for byte.
    pub payload: String,
    /// By whom.
    pub user: String,
    /// The entity, on a queue that deduplicates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The idempotency key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
}

/// One job of a queue.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Which {
    /// The queue.
    pub queue: String,
    /// The job.
    pub job: String,
}

/// How a handler ends for one job.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JobResult {
    /// The job.
    pub job: String,
    /// Completed or failed.
    pub result: Ending,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How a handler ends by its own word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// It succeeded.
    Completed,
    /// It failed.
    Failed,
}

/// What an adapter says.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// The answer to a request.
    Reply {
        /// The request's.
        id: u64,
        /// What came of it.
        answer: Answer,
    },
    /// Something happened.
    Event(Event),
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Done and acknowledged.
    Ok(Value),
    /// Surely not done, and why.
    Refused(String),
    /// It may have been done, once, or not.
    Unknown(String),
}

/// Something that happened in an adapter's process.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub enum Event {
    /// The system calls the handler.
    Invoke {
        /// Unique in the process.
        invocation: String,
        /// The queue.
        queue: String,
        /// What it was given.
        jobs: Vec<Delivered>,
    },
    /// The system has ended the handler by itself.
    Stopped {
        /// Which call.
        invocation: String,
        /// Why.
        why: Why,
    },
    /// The system has refused an outcome, because the delivery was over.
    Rejected {
        /// Which call.
        invocation: String,
        /// What it said.
        error: String,
    },
}

/// One job of a handler's call.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delivered {
    /// The job.
    pub job: String,
    /// What the system tells the handler of the attempt.
    #[serde(default)]
    pub attempt: Option<u32>,
    /// As it arrived.
    pub payload: String,
}

/// Why a system ends a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// It ran into its timeout.
    Timeout,
    /// Its job was cancelled.
    Cancelled,
}

/// The answer to `hello`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// The system's own name.
    pub system: String,
    /// Its version.
    pub version: String,
    /// What it stands on, with its version.
    #[serde(default)]
    pub backend: Option<String>,
    /// The smallest interval that it can tell apart.
    #[serde(default = "ten")]
    pub quantum_ms: u64,
    /// What it can do.
    pub capabilities: Capabilities,
}

impl About {
    /// A system that stands on nothing else and can do nothing yet.
    pub fn new(system: &str, version: &str, capabilities: Capabilities) -> Self {
        Self { system: system.into(), version: version.into(), backend: None, quantum_ms: ten(), capabilities }
    }
}

fn ten() -> u64 {
    10
}

impl About {
    /// The system, its version and what it stands on, in words.
    pub fn title(&self) -> String {
        let on = self.backend.as_ref().map(|backend| format!(" on {backend}")).unwrap_or_default();
        format!("{} {}{on}", self.system, self.version)
    }
}

/// The answer to `configure`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configured {
    /// What of the policy is really in force otherwise than asked for.
    #[serde(default)]
    pub applied: Option<Applied>,
}

/// The fields of a policy that are in force otherwise than asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the fields are those of `Policy`")]
pub struct Applied {
    pub attempts: Option<kew_spec::queues::Attempts>,
    pub backoff: Option<Backoff>,
    pub timeout_ms: Option<u64>,
    pub rate_limit: Option<RateLimit>,
    pub batch: Option<Batch>,
    pub schedule: Option<Schedule>,
    /// How many deliveries a worker really runs side by side.
    pub slots: Option<u32>,
}

impl Applied {
    /// `policy` as it is really in force.
    pub fn to(self, policy: Policy) -> Policy {
        Policy {
            attempts: self.attempts.unwrap_or(policy.attempts),
            backoff: self.backoff.unwrap_or(policy.backoff),
            timeout_ms: self.timeout_ms.unwrap_or(policy.timeout_ms),
            rate_limit: self.rate_limit.or(policy.rate_limit),
            batch: self.batch.or(policy.batch),
            schedule: self.schedule.or(policy.schedule),
            ..policy
        }
    }
}

/// The answer to `enqueue`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enqueued {
    /// The job that was there already, if it made none.
    #[serde(default)]
    pub job: Option<String>,
}

/// The answer to `dead_letters`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dead {
    /// All of them.
    pub jobs: Vec<DeadJob>,
}

/// One dead letter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeadJob {
    /// The job.
    pub job: String,
    /// Its payload.
    pub payload: String,
    /// Its last error, where it is kept.
    #[serde(default)]
    pub error: Option<String>,
    /// Its attempts, where they are kept.
    #[serde(default)]
    pub attempts: Option<Vec<kew_spec::history::DeadAttempt>>,
}

/// The answer to `status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standing {
    /// Absent when there is no such job.
    #[serde(default)]
    pub status: Option<kew_spec::lifecycle::Status>,
    /// Whether this is the end.
    #[serde(default, rename = "final")]
    pub is_final: bool,
    /// Deliveries begun less one, where it is told.
    #[serde(default)]
    pub retry_count: Option<u32>,
    /// The last attempt's error.
    #[serde(default)]
    pub error: Option<String>,
    /// A completed job's result.
    #[serde(default)]
    pub result: Option<Value>,
    /// When it was enqueued, in milliseconds since the Unix epoch.
    #[serde(default)]
    pub created_at: Option<u64>,
    /// When it last changed.
    #[serde(default)]
    pub updated_at: Option<u64>,
    /// When it ended for good.
    #[serde(default)]
    pub completed_at: Option<u64>,
    /// The dead letter queue that holds it.
    #[serde(default)]
    pub dead_letter_queue: Option<String>,
}

impl Said {
    /// Reads a line of an adapter. The error says what is wrong with it.
    pub fn parse(line: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(line).map_err(|error| format!("it is no JSON: {error}"))?;
        let Value::Object(mut fields) = value else {
            return Err("it is no JSON object".into());
        };
        if fields.contains_key("event") {
            let event = serde_json::from_value(Value::Object(fields)).map_err(|error| error.to_string())?;
            return Ok(Self::Event(event));
        }
        let id = fields.remove("id").ok_or("it has neither `event` nor `id`")?;
        let id = id.as_u64().ok_or("its `id` is no number")?;
        let answer = serde_json::from_value(Value::Object(fields))
            .map_err(|error| format!("beside `id` there must be one of `ok`, `refused` and `unknown`: {error}"))?;
        Ok(Self::Reply { id, answer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_flat_object() {
        let ask = Ask::Cancel(Which { queue: "q".into(), job: "j".into() });
        let line = serde_json::to_string(&Request { id: Some(7), ask }).expect("it is JSON");
        assert_eq!(line, r#"{"id":7,"op":"cancel","queue":"q","job":"j"}"#);
    }

    #[test]
    fn replies_and_events_are_told_apart() {
        let reply = Said::parse(r#"{"id":3,"refused":"no key"}"#).expect("it is a reply");
        assert_eq!(reply, Said::Reply { id: 3, answer: Answer::Refused("no key".into()) });
        let event = Said::parse(r#"{"event":"stopped","invocation":"w-1","why":"timeout"}"#).expect("it is an event");
        assert_eq!(event, Said::Event(Event::Stopped { invocation: "w-1".into(), why: Why::Timeout }));
    }

    #[test]
    fn what_the_protocol_does_not_know_is_an_error() {
        for line in [
            r#"{"id":3,"okay":{}}"#,
            r#"{"id":3,"ok":{},"refused":"x"}"#,
            r#"{"event":"invoke","invocation":"1","queue":"q","jobs":[],"extra":1}"#,
            r#"{"event":"started"}"#,
            r#"{"ok":{}}"#,
            "[]",
            "hello",
        ] {
            assert!(Said::parse(line).is_err(), "{line}");
        }
    }
}
