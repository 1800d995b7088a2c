//! The catalogue: every promise with its id, its text, where it comes from and when it must hold.
//!
//! `docs/clauses.md` is generated from here. A clause's checker lives in `check/`, one file per family.

use serde::Serialize;

use crate::history::Sight;

/// One promise.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Clause {
    /// `family/name`.
    pub id: &'static str,
    /// What is promised.
    pub text: &'static str,
    /// When it must hold.
    pub level: Level,
    /// Where it comes from.
    pub source: Source,
    /// What a player must see for the clause to be judged at all.
    pub needs: &'static [Sight],
}

impl Clause {
    /// The part of the id before the slash.
    pub fn family(&self) -> &'static str {
        self.id.split('/').next().expect("split yields at least one part")
    }

    /// The part of the id after the slash.
    pub fn name(&self) -> &'static str {
        &self.id[self.family().len() + 1..]
    }
}

/// When a clause must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Always, whatever fails.
    Safety,
    /// Once all faults have healed and the queue has drained.
    Liveness,
    /// While no fault is active and a processor slot is free, within the player's slack.
    Timing,
}

/// Where a clause comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A line of the architecture that Kew began from.
    Line(u16),
    /// The architecture is silent; this was chosen.
    Chosen,
}

/// A clause's place in the catalogue, which stands for it where it is named often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(usize);

impl Place {
    /// The place of the clause with this id. Where it is a constant, a wrong id does not compile.
    pub const fn of(id: &str) -> Self {
        let mut place = 0;
        while place < CLAUSES.len() {
            if is_same(CLAUSES[place].id, id) {
                return Self(place);
            }
            place += 1;
        }
        panic!("no such clause is in the catalogue")
    }

    /// All places, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..CLAUSES.len()).map(Self)
    }

    /// The clause itself.
    pub fn clause(self) -> &'static Clause {
        &CLAUSES[self.0]
    }

    /// Its number, from 0.
    pub fn index(self) -> usize {
        self.0
    }
}

/// Whether both are the same text, for constants.
const fn is_same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut place = 0;
    while place < one.len() && place < other.len() && one[place] == other[place] {
        place += 1;
    }
    place == one.len() && place == other.len()
}

/// The clause with this id.
pub fn find(id: &str) -> Option<&'static Clause> {
    CLAUSES.iter().find(|clause| clause.id == id)
}

/// What a player must see to judge this clause where the queue's own word is worked out from outside
/// ([`crate::history::Header::inferred`]); `None` for a clause that cannot be judged so.
pub fn from_outside(id: &str) -> Option<&'static [Sight]> {
    use Sight::{Clients, DeadLetters, Effects, Handlers, Processors, Status};
    Some(match id {
        "job/idempotent-enqueue" => &[Clients],
        "timeout/enforced" | "retry/count" => &[Handlers],
        "timeout/late-result" | "status/durable" => &[Clients, Handlers, Status],
        "dead-letter/exactly" | "dead-letter/none" | "dead-letter/intact" => &[Clients, Handlers, DeadLetters],
        "dedup/last-write" | "schedule/stored-once" => &[Clients, Handlers, Effects],
        "backoff/not-late" | "rate/used" | "batch/full" | "batch/wait" => &[Clients, Handlers, Processors],
        "schedule/every-tick" | "schedule/catch-up" | "schedule/drains" => &[Clients, Handlers, Processors],
        "status/flow" | "status/read-your-writes" | "status/monotonic" | "status/final" => &[Clients, Status],
        // The queue must say which of its replies were lost, or tell of notifications.
        "retry/caused" | "notify/each-end" | "notify/not-before" | "notify/own-only" => return None,
        _ => &[Clients, Handlers],
    })
}

macro_rules! catalogue {
    ($($id:literal $level:ident $source:expr, [$($need:ident)*] $text:literal)*) => {
        /// All clauses, family by family.
        pub const CLAUSES: &[Clause] = &[$(Clause {
            id: $id, text: $text, level: Level::$level, source: $source, needs: &[$(Sight::$need),*],
        }),*];
    };
}

use Source::{Chosen, Line};

catalogue! {
    "job/no-loss" Liveness Line(49), [Clients Status]
        "Every acknowledged job ends completed, failed for good or dead-lettered, or is still being retried with no end, once faults heal and the queue drains."
    "job/no-phantom" Safety Line(49), [Clients Queue]
        "Nothing is delivered that was not enqueued. An enqueue whose reply was lost may or may not exist, but once at most."
    "job/payload" Safety Line(79), [Clients Handlers]
        "What the handler gets is byte for byte what was enqueued."
    "job/idempotent-enqueue" Safety Chosen, [Clients]
        "The same idempotency key of the same user makes one job."

    "retry/at-most" Safety Line(15), [Queue]
        "No job is delivered more often than its attempts, crash or no crash."
    "retry/at-least" Safety Line(15), [Queue]
        "No job is given up before its last allowed attempt has ended."
    "retry/stops" Safety Line(89), [Queue]
        "After completed is acknowledged, a job is never delivered again."
    "retry/infinite" Safety Line(33), [Queue]
        "A job with infinite attempts is never given up."
    "retry/count" Safety Line(82), [Queue Status]
        "retry_count is the number of deliveries begun less one, and 0 before the first."
    "retry/one-owner" Safety Chosen, [Queue]
        "Two deliveries of one job never hold a live lease together, and a settle from a delivery that lost its lease changes nothing."
    "retry/caused" Safety Chosen, [Queue Handlers Processors]
        "Every delivery after a job's first has exactly one cause: the attempt before failed or timed out, its lease ran out while the handler was still at work, its processor was lost, a reply was lost (the grant's or the settle's), or the job was redriven."

    "backoff/never-early" Safety Line(27), [Queue]
        "No retry starts before its backoff is over."
    "backoff/not-late" Timing Line(27), [Queue Processors]
        "A retry starts when its backoff (with at most its jitter) is over."
    "backoff/capped" Timing Chosen, [Queue]
        "No backoff is longer than the policy's cap and its jitter."

    "timeout/enforced" Safety Line(16), [Handlers]
        "A handler still running at its timeout is stopped, and that attempt ends as timed out."
    "timeout/late-result" Safety Line(16), [Queue Handlers]
        "The answer of a delivery that is over changes nothing."

    "dead-letter/exactly" Liveness Line(17), [Queue DeadLetters]
        "Exactly the jobs whose attempts are spent, in a queue that has a dead letter queue, are in it, once each."
    "dead-letter/none" Safety Line(93), [Queue DeadLetters]
        "No other job is in a dead letter queue, and a queue without one has none."
    "dead-letter/intact" Safety Line(93), [Queue DeadLetters]
        "A dead letter keeps its id, payload, last error, and every attempt's error and time."
    "dead-letter/redrive" Safety Chosen, [Clients Queue]
        "A redriven job goes back once, with fresh attempts."

    "rate/ceiling" Safety Line(23), [Queue]
        "No half-open window of the limit's length holds more starts than the limit, over all processors, restarts and retries."
    "rate/used" Timing Chosen, [Queue Processors]
        "Under backlog at least 95 % of the allowance is used."

    "batch/size" Safety Line(29), [Queue]
        "No batch is larger than its size."
    "batch/full" Timing Chosen, [Queue Processors]
        "A full batch does not wait."
    "batch/wait" Timing Chosen, [Queue Processors]
        "The oldest job of a batch waits for others at most the stated time."
    "batch/partial" Safety Chosen, [Queue Handlers]
        "Only the jobs of a batch that failed are tried again."
    "batch/one-queue" Safety Line(29), [Queue]
        "A batch holds jobs of one queue."
    "batch/not-empty" Safety Chosen, [Queue]
        "No batch is empty."

    "dedup/coalesce" Safety Line(35), [Clients Queue]
        "While a job for an entity waits, a further enqueue for it returns that job's id, and the newest payload wins."
    "dedup/one-running" Safety Line(35), [Queue]
        "At most one job of an entity is processing."
    "dedup/follow-up" Safety Line(35), [Queue]
        "An enqueue while a job of the entity is processing makes exactly one waiting job."
    "dedup/last-write" Safety Chosen, [Clients Effects]
        "The last payload synced for an entity is the last one acknowledged, and never an older one after a newer."
    "dedup/distinct" Safety Line(35), [Queue]
        "Different entities never coalesce."
    "dedup/released" Safety Chosen, [Queue]
        "After a final end or a cancel the entity is free at once, whatever crashed in between; a job waiting for its retry still counts as waiting."

    "schedule/on-tick" Safety Line(39), [Queue]
        "Deliveries take only jobs that waited at a tick, and the run begins at the tick."
    "schedule/every-tick" Timing Line(39), [Queue Processors]
        "A tick with waiting events fires, once over all processors."
    "schedule/catch-up" Timing Chosen, [Queue Processors]
        "After an outage there is one catch-up run, not one per missed tick."
    "schedule/drains" Timing Line(40), [Queue Processors]
        "A tick takes all events that waited at it, in batches of at most the stated size."
    "schedule/stored-once" Safety Line(41), [Queue Effects]
        "Storing is idempotent by batch id: each accepted event is stored once."

    "priority/order" Safety Line(14), [Queue]
        "When a slot is given, no deliverable job of a higher effective priority waits, and of one queue's jobs of the same priority the one that has waited longest goes first."
    "priority/aging" Safety Chosen, [Queue]
        "A waiting job rises one level every 30 s, so that none starves."

    "status/flow" Safety Line(89), [Status]
        "A job's status makes only the moves of the life cycle."
    "status/read-your-writes" Safety Line(51), [Clients Status]
        "An acknowledged job is readable at once."
    "status/monotonic" Safety Line(84), [Status]
        "updated_at never goes back, and created_at is never after it."
    "status/final" Safety Line(85), [Status]
        "completed_at is set if and only if the job is final; only a completed job has a result; error holds the last attempt's error."
    "status/durable" Safety Line(61), [Clients Status]
        "An acknowledged change is still there after a crash or a power loss."

    "notify/each-end" Liveness Line(64), [Status Notifications]
        "Every final end reaches the job's user at least once: by WebSocket every session that was open, and by e-mail where the job asked for it."
    "notify/not-before" Safety Line(61), [Queue Notifications]
        "No notification comes before the end it tells of."
    "notify/own-only" Safety Chosen, [Clients Notifications]
        "No notification reaches another user."
}
