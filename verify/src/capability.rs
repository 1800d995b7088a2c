//! What a system can do, as its adapter declares it, and which clauses that puts to the test.
//!
//! What is absent is reported as not offered and never held against the system.

use kew_spec::queues::Queues;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

/// How a feature is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Is {
    /// The system does it.
    Native,
    /// The adapter does it, with the system's means.
    Emulated,
    /// It is not there.
    #[default]
    Absent,
}

/// One feature, with its parameters. Each parameter belongs to the features that docs/adapters.md names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Declared")]
pub struct Feature {
    /// How it is there.
    pub is: Is,
    /// What there is to know.
    pub note: Option<String>,
    /// `crash`: how long a dead worker's jobs may take to come back.
    pub recovers_ms: Option<u64>,
    /// `crash`: that comes on top of the delivery's timeout, by which a lease ends.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub after_timeout: bool,
    /// What of it is missing: the parameters that are false.
    pub without: Vec<String>,
}

/// Written as it is declared, so that it can be read again.
impl Serialize for Feature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("is", &self.is)?;
        if let Some(note) = &self.note {
            map.serialize_entry("note", note)?;
        }
        if let Some(recovers_ms) = self.recovers_ms {
            map.serialize_entry("recovers_ms", &recovers_ms)?;
        }
        if self.after_timeout {
            map.serialize_entry("after_timeout", &true)?;
        }
        for part in &self.without {
            map.serialize_entry(part, &false)?;
        }
        map.end()
    }
}

/// The forms that a declaration has in a line.
#[derive(Deserialize)]
#[serde(untagged)]
enum Declared {
    Word(Is),
    Full(Full),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Full {
    is: Is,
    note: Option<String>,
    recovers_ms: Option<u64>,
    #[serde(default)]
    after_timeout: bool,
    #[serde(default = "yes")]
    jitter: bool,
    #[serde(default = "yes")]
    cap: bool,
    #[serde(default = "yes")]
    stops: bool,
    #[serde(default = "yes")]
    errors: bool,
    #[serde(default = "yes")]
    wait: bool,
    #[serde(default = "yes")]
    partial: bool,
    #[serde(default = "yes")]
    newest: bool,
    #[serde(default = "yes")]
    one_running: bool,
    #[serde(default = "yes")]
    follow_up: bool,
    #[serde(default = "yes")]
    times: bool,
    #[serde(default = "yes")]
    retry_count: bool,
    #[serde(default = "yes")]
    keeps: bool,
    #[serde(default = "yes")]
    aging: bool,
}

fn yes() -> bool {
    true
}

impl From<Declared> for Feature {
    fn from(declared: Declared) -> Self {
        let full = match declared {
            Declared::Word(is) => return Self { is, ..Self::default() },
            Declared::Full(full) => full,
        };
        let parameters = [
            ("jitter", full.jitter),
            ("cap", full.cap),
            ("stops", full.stops),
            ("errors", full.errors),
            ("wait", full.wait),
            ("partial", full.partial),
            ("newest", full.newest),
            ("one_running", full.one_running),
            ("follow_up", full.follow_up),
            ("times", full.times),
            ("retry_count", full.retry_count),
            ("keeps", full.keeps),
            ("aging", full.aging),
        ];
        let without = parameters.into_iter().filter(|(_, there)| !there).map(|(name, _)| name.to_owned());
        Self {
            is: full.is,
            note: full.note,
            recovers_ms: full.recovers_ms,
            after_timeout: full.after_timeout,
            without: without.collect(),
        }
    }
}

impl Feature {
    /// What the system does itself, with all its parts.
    pub const NATIVE: Self =
        Self { is: Is::Native, note: None, recovers_ms: None, after_timeout: false, without: Vec::new() };

    /// The same without one of its parts: `Feature::NATIVE.without("jitter")`.
    pub fn without(mut self, part: &str) -> Self {
        self.without.push(part.to_owned());
        self
    }

    /// Whether the system or its adapter does it.
    pub fn is_there(&self) -> bool {
        self.is != Is::Absent
    }

    /// Whether it is there together with this part of it.
    pub fn has(&self, part: &str) -> bool {
        self.is_there() && !self.without.iter().any(|missing| missing == part)
    }
}

macro_rules! features {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What a system can do. What is not declared is absent.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Capabilities { $($(#[$doc])* pub $name: Feature,)* }

        impl Capabilities {
            /// All features with their names, in the order of docs/adapters.md.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Feature)> {
                [$((stringify!($name), &self.$name)),*].into_iter()
            }
        }
    };
}

features! {
    /// At most so many deliveries, and that many when they fail.
    attempts,
    /// Retries without end.
    infinite_attempts,
    /// Waits that double.
    exponential_backoff,
    /// Ends a delivery at its timeout.
    timeout,
    /// Redelivers what a dead worker held.
    crash,
    /// Keeps what is spent.
    dead_letters,
    /// Puts it back.
    redrive,
    /// Limits the starts of a queue.
    rate_limit,
    /// Several jobs to one handler.
    batch,
    /// One waiting job a key.
    deduplication,
    /// One job an idempotency key.
    idempotency_key,
    /// Slots go to the highest priority.
    priority,
    /// Deliveries at ticks alone.
    schedule,
    /// Ends a waiting job.
    cancel,
    /// Stops a queue.
    pause,
    /// Tells a job's status.
    status,
    /// Tells the handler which attempt it is.
    attempt_number,
    /// Has a server of its own, which the adapter can kill and start again.
    server,
}

impl Capabilities {
    /// How long a dead worker's jobs may take to come back under these policies.
    pub fn recovers_ms(&self, policies: &Queues) -> u64 {
        let timeouts = policies.iter().map(|(_, policy)| policy.timeout_ms);
        let lease_ms = if self.crash.after_timeout { timeouts.max().unwrap_or(0) } else { 0 };
        self.crash.recovers_ms.unwrap_or(0) + lease_ms
    }

    /// The feature that offers `clause`: `Ok` with its name (empty for what every queue promises), or `Err` with the
    /// name of what is missing.
    pub fn offer(&self, clause: &str) -> Result<&'static str, &'static str> {
        let need = |name: &'static str, there: bool| if there { Ok(name) } else { Err(name) };
        match clause {
            "job/no-loss" | "job/no-phantom" | "job/payload" | "retry/stops" | "retry/one-owner" => Ok(""),
            "job/idempotent-enqueue" => need("idempotency_key", self.idempotency_key.is_there()),
            "retry/at-most" | "retry/at-least" => need("attempts", self.attempts.is_there()),
            "retry/infinite" => need("infinite_attempts", self.infinite_attempts.is_there()),
            "retry/count" => need("attempt_number", self.attempt_number.is_there() || self.status.has("retry_count")),
            "backoff/never-early" | "backoff/not-late" => {
                need("exponential_backoff", self.exponential_backoff.is_there())
            }
            "backoff/capped" => need("exponential_backoff", self.exponential_backoff.has("cap")),
            "timeout/enforced" => need("timeout", self.timeout.has("stops")),
            "timeout/late-result" => need("timeout", self.timeout.is_there() && self.status.is_there()),
            "dead-letter/redrive" => need("redrive", self.redrive.is_there()),
            "batch/wait" => need("batch", self.batch.has("wait")),
            "batch/partial" => need("batch", self.batch.has("partial")),
            "dedup/coalesce" | "dedup/last-write" => need("deduplication", self.deduplication.has("newest")),
            "dedup/one-running" => need("deduplication", self.deduplication.has("one_running")),
            "dedup/follow-up" => need("deduplication", self.deduplication.has("follow_up")),
            "priority/aging" => need("priority", self.priority.has("aging")),
            "status/monotonic" | "status/final" => need("status", self.status.has("times")),
            "status/durable" if self.status.is_there() => need("server", self.server.is_there()),
            "schedule/stored-once" | "retry/caused" => Err("what only the queue itself can tell"),
            _ => match clause.split('/').next().unwrap_or_default() {
                "dead-letter" => need("dead_letters", self.dead_letters.is_there()),
                "rate" => need("rate_limit", self.rate_limit.is_there()),
                "batch" => need("batch", self.batch.is_there()),
                "dedup" => need("deduplication", self.deduplication.is_there()),
                "schedule" => need("schedule", self.schedule.is_there()),
                "priority" => need("priority", self.priority.is_there()),
                "status" => need("status", self.status.is_there()),
                _ => Err("notifications"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declaration_is_a_word_or_an_object() {
        let text = r#"{"attempts":"native","crash":{"is":"emulated","recovers_ms":3000},
                       "deduplication":{"is":"native","newest":false}}"#;
        let capabilities: Capabilities = serde_json::from_str(text).expect("it is a declaration");
        assert_eq!(capabilities.attempts.is, Is::Native);
        assert_eq!(capabilities.crash.recovers_ms, Some(3_000));
        assert_eq!(capabilities.offer("dedup/distinct"), Ok("deduplication"));
        assert_eq!(capabilities.offer("dedup/coalesce"), Err("deduplication"));
        assert_eq!(capabilities.offer("priority/order"), Err("priority"));
    }

    #[test]
    fn what_is_written_can_be_read_again() {
        let feature = Feature { note: Some("it polls".into()), ..Feature::NATIVE.without("jitter") };
        let text = serde_json::to_string(&feature).expect("it is JSON");
        assert_eq!(text, r#"{"is":"native","note":"it polls","jitter":false}"#);
        assert_eq!(serde_json::from_str::<Feature>(&text).expect("it is a declaration"), feature);
    }

    #[test]
    fn a_misspelt_feature_is_an_error() {
        assert!(serde_json::from_str::<Capabilities>(r#"{"retries":"native"}"#).is_err());
    }
}
