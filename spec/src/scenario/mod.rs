//! Scenarios as data: what is enqueued when, by whom, what each attempt does, which faults strike. Any player can play
//! them; nothing here knows how.
//!
//! A scenario is a TOML file (`spec/scenarios/` holds the named library). [`Scenario::jobs`] expands what it states
//! briefly into one line per job.

mod fault;
mod library;
mod validate;

#[cfg(feature = "generate")]
pub mod generate;

use serde::{Deserialize, Serialize};

pub use fault::{FaultKind, FaultSpec, Remains};
pub use library::{COUNT, find, library, nth};
pub use validate::Error;

use crate::queues::Queues;

/// The most jobs that one scenario enqueues.
pub const JOBS_MAX: usize = 100_000;

/// One play.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name: a-z, 0-9 and -.
    pub name: String,
    /// What it is about, in a sentence.
    #[serde(default)]
    pub about: String,
    /// The clauses that a run of it must exercise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exercises: Vec<String>,
    /// How many processors there are.
    #[serde(default = "three")]
    pub processors: u32,
    /// How many deliveries each processor runs side by side.
    #[serde(default = "four")]
    pub slots: u32,
    /// How long the play lasts before all faults heal and it drains. Absent: until the last thing it states is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_ms: Option<u64>,
    /// Policies of its own, as a text of the form of `queues.toml`, in place of the five.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queues: Option<String>,
    /// What is enqueued.
    #[serde(default, rename = "job", skip_serializing_if = "Vec::is_empty")]
    pub job_specs: Vec<JobSpec>,
    /// What else clients and operators do.
    #[serde(default, rename = "op", skip_serializing_if = "Vec::is_empty")]
    pub ops: Vec<OpSpec>,
    /// What strikes.
    #[serde(default, rename = "fault", skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<FaultSpec>,
}

fn three() -> u32 {
    3
}

fn four() -> u32 {
    4
}

/// One job, or `count` alike. In `label`, `key` and `idempotency_key`, `{n}` stands for the number from 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobSpec {
    /// How operations refer to it. With a `count` above 1 and no `{n}`, `-{n}` is appended.
    pub label: String,
    /// When it is enqueued, from the play's start.
    #[serde(default)]
    pub at_ms: u64,
    /// How many.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub count: u32,
    /// How far apart they are enqueued.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub every_ms: u64,
    /// Where to.
    pub queue: String,
    /// By whom.
    #[serde(default = "ada")]
    pub user: String,
    /// The entity, on a queue that deduplicates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The idempotency key to send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// The same request again, so much later each: with its idempotency key it makes no further job.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub again_ms: Vec<u64>,
    /// Whether its end is also told by e-mail.
    #[serde(default, skip_serializing_if = "is_false")]
    pub email: bool,
    /// What each attempt does; the last one repeats. Empty: each succeeds at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Behaviour>,
    /// How large the payload is at least.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub payload_bytes: u64,
}

fn one() -> u32 {
    1
}

fn ada() -> String {
    "ada".into()
}

/// What one attempt does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Behaviour {
    /// How it ends.
    #[serde(rename = "do")]
    pub act: Act,
    /// After how long.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub after_ms: u64,
    /// For `fail` and `crash`: whether the effect outside (the mail, the upsert) had already happened.
    #[serde(default, skip_serializing_if = "is_false")]
    pub effect: bool,
}

impl Behaviour {
    /// Succeeds at once: what an attempt does when nothing is stated.
    pub const SUCCEED: Self = Self { act: Act::Succeed, after_ms: 0, effect: false };
}

/// How an attempt ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// The handler succeeds, with its effect outside. Slow, if `after_ms` is long.
    Succeed,
    /// The handler reports a failure. In a batch, for this job alone.
    Fail,
    /// The handler never returns. In a batch, for the whole batch.
    Hang,
    /// The handler's processor dies, with all that runs on it; it comes back a second later.
    Crash,
}

/// Something a client or an operator does besides enqueueing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpSpec {
    /// When, from the play's start.
    pub at_ms: u64,
    /// What.
    #[serde(rename = "do")]
    pub act: OpAct,
    /// Which job, by label: for cancel, redrive, purge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// Which queue: for pause and resume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// Which user: for connect and disconnect; for cancel by somebody else than the job's user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// What a client or an operator can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OpAct {
    /// End a job.
    Cancel,
    /// Put a dead letter back.
    Redrive,
    /// Drop a dead letter.
    Purge,
    /// A queue gives no deliveries.
    Pause,
    /// A paused queue goes on.
    Resume,
    /// Close the user's session (every user has one from the start).
    Disconnect,
    /// Open it again, going on where it ended.
    Connect,
}

/// One job of an expanded scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedJob {
    /// Unique within the scenario, but for repetitions of one request.
    pub label: String,
    /// When it is enqueued, from the play's start.
    pub at_ms: u64,
    /// Where to.
    pub queue: String,
    /// By whom.
    pub user: String,
    /// The entity.
    pub key: Option<String>,
    /// The idempotency key to send.
    pub idempotency_key: Option<String>,
    /// Whether its end is also told by e-mail.
    pub email: bool,
    /// What each attempt does.
    pub attempts: Vec<Behaviour>,
    /// How large the payload is at least.
    pub payload_bytes: u64,
}

impl PlannedJob {
    /// What the given attempt (from 1) does.
    pub fn behaviour(&self, attempt: u32) -> &Behaviour {
        let last = self.attempts.len().saturating_sub(1);
        self.attempts.get(last.min(attempt.saturating_sub(1) as usize)).unwrap_or(&Behaviour::SUCCEED)
    }

    /// The payload: JSON that names the label, so that a handler can find its script. It has the features that a
    /// careless copy loses: spaces, an escape, a number with trailing zeros.
    pub fn payload(&self) -> String {
        let head = format!("{{\"label\": \"{}\", \"n\":1.500e0,\"s\" : \"\\u00e9\",\"pad\":\"", self.label);
        let pad = usize::try_from(self.payload_bytes).unwrap_or(usize::MAX).saturating_sub(head.len() + 2);
        format!("{head}{}\"}}", "x".repeat(pad))
    }
}

impl Scenario {
    /// Reads and validates a scenario file.
    pub fn parse(text: &str) -> Result<Self, Error> {
        validate::parse(text)
    }

    /// The scenario as a file that [`Scenario::parse`] reads.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a scenario holds nothing that TOML cannot")
    }

    /// The policies in force.
    pub fn policies(&self) -> Queues {
        let own = self.queues.as_deref().map(Queues::parse);
        own.map_or_else(Queues::default, |parsed| parsed.expect("a parsed scenario's queues are valid"))
    }

    /// Every job, in the order of their times.
    pub fn jobs(&self) -> Vec<PlannedJob> {
        let mut jobs: Vec<_> = self.job_specs.iter().flat_map(JobSpec::expand).collect();
        jobs.sort_by_key(|job| job.at_ms);
        jobs
    }

    /// The same play with every job stated on its own, so that one can be left out.
    pub fn explicit(&self) -> Self {
        let job_specs = self.job_specs.iter().flat_map(JobSpec::one_by_one).collect();
        Self { job_specs, ..self.clone() }
    }

    /// All users that it names, in order, each once.
    pub fn users(&self) -> Vec<String> {
        let of_ops = self.ops.iter().filter_map(|op| op.user.clone());
        let mut users: Vec<_> = self.job_specs.iter().map(|job| job.user.clone()).chain(of_ops).collect();
        users.sort();
        users.dedup();
        users
    }

    /// How long the play lasts before it heals and drains.
    pub fn length_ms(&self) -> u64 {
        let jobs = self.job_specs.iter().map(JobSpec::last_ms);
        let ops = self.ops.iter().map(|op| op.at_ms);
        let faults = self.faults.iter().map(|fault| fault.at_ms + fault.for_ms);
        let last = jobs.chain(ops).chain(faults).max().unwrap_or(0);
        self.run_ms.unwrap_or(0).max(last)
    }
}

impl JobSpec {
    fn expand(&self) -> impl Iterator<Item = PlannedJob> + '_ {
        (0..self.count).flat_map(|n| {
            let first = self.planned(n);
            let again = self.again_ms.iter().map(|later_ms| (first.clone(), later_ms));
            let again: Vec<_> =
                again.map(|(job, later_ms)| PlannedJob { at_ms: job.at_ms + later_ms, ..job }).collect();
            std::iter::once(first).chain(again)
        })
    }

    /// A specification for each of its jobs.
    fn one_by_one(&self) -> impl Iterator<Item = Self> + '_ {
        (0..self.count).map(|n| {
            let PlannedJob { label, at_ms, key, idempotency_key, .. } = self.planned(n);
            Self { label, at_ms, key, idempotency_key, count: 1, every_ms: 0, ..self.clone() }
        })
    }

    /// The `n`th of its jobs.
    fn planned(&self, n: u32) -> PlannedJob {
        let fill = |text: &str| text.replace("{n}", &n.to_string());
        let numbered = self.count == 1 || self.label.contains("{n}");
        PlannedJob {
            label: if numbered { fill(&self.label) } else { format!("{}-{n}", self.label) },
            at_ms: self.at_ms + u64::from(n) * self.every_ms,
            queue: self.queue.clone(),
            user: self.user.clone(),
            key: self.key.as_deref().map(fill),
            idempotency_key: self.idempotency_key.as_deref().map(fill),
            email: self.email,
            attempts: self.attempts.clone(),
            payload_bytes: self.payload_bytes,
        }
    }

    /// When the last request is sent.
    fn last_ms(&self) -> u64 {
        let again_ms = self.again_ms.iter().copied().max().unwrap_or(0);
        self.at_ms + self.every_ms * u64::from(self.count - 1) + again_ms
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

fn is_one(value: &u32) -> bool {
    *value == 1
}
