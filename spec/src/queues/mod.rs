//! Policies as data: what each queue promises. [`Queues::default`] holds the five of `spec/queues.toml`.
//!
//! This module owns the numbers and what follows from them by arithmetic alone (when a retry is due, how a job's
//! priority rises). It has no clock and no randomness: both come in as arguments.

mod parse;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use parse::Error;

/// The five queues as a file: the default, and the example to start a file of one's own from.
pub const DEFAULT_TOML: &str = include_str!("../../queues.toml");

/// How long a job waits for its effective priority to rise by one level. Chosen.
pub const AGING_MS: u64 = 30_000;

/// The longest duration that a policy may state: 30 days. Sums of a few of them stay far below `u64::MAX`.
pub const DURATION_MAX_MS: u64 = 30 * 24 * 3_600_000;

/// The largest batch that a policy may state.
pub const BATCH_SIZE_MAX: u32 = 10_000;

/// All queues of one installation, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Queues(BTreeMap<String, Policy>);

impl Default for Queues {
    fn default() -> Self {
        Self::parse(DEFAULT_TOML).expect("the embedded queues.toml is tested to parse")
    }
}

impl Queues {
    /// Reads a file of the form of `spec/queues.toml`. The error names line, key and what is allowed.
    pub fn parse(text: &str) -> Result<Self, Error> {
        parse::parse(text).map(Self)
    }

    /// The policy of `queue`, if there is such a queue.
    pub fn get(&self, queue: &str) -> Option<&Policy> {
        self.0.get(queue)
    }

    /// All queues in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Policy)> {
        self.0.iter().map(|(name, policy)| (name.as_str(), policy))
    }

    /// The queue whose dead letters are kept under `dead_letter_queue`.
    pub fn with_dead_letter_queue(&self, dead_letter_queue: &str) -> Option<(&str, &Policy)> {
        self.iter().find(|(_, policy)| policy.dead_letter_queue.as_deref() == Some(dead_letter_queue))
    }
}

impl FromIterator<(String, Policy)> for Queues {
    fn from_iter<I: IntoIterator<Item = (String, Policy)>>(policies: I) -> Self {
        Self(policies.into_iter().collect())
    }
}

/// What one queue promises.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Decides between queues when a processor has a free slot.
    pub priority: Priority,
    /// Deliveries in all.
    pub attempts: Attempts,
    /// The wait between a failed attempt and the next.
    #[serde(default)]
    pub backoff: Backoff,
    /// What one delivery may take.
    pub timeout_ms: u64,
    /// Where a job goes whose attempts are spent. Without one it ends as failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter_queue: Option<String>,
    /// How many deliveries may start in a window, over all processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// Whether and how jobs are delivered together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<Batch>,
    /// Whether at most one job per key waits.
    #[serde(default)]
    pub deduplication: bool,
    /// At which moments deliveries may start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
}

impl Policy {
    /// The most jobs that one delivery holds: 1 without batching.
    pub fn batch_size_max(&self) -> u32 {
        self.batch.as_ref().map_or(1, |batch| batch.size)
    }

    /// When the attempt after `attempt` is due, which ended at `ended_ms`; `None` when attempts are spent.
    pub fn retry_at(&self, attempt: u32, ended_ms: u64, jitter: Jitter) -> Option<u64> {
        if !self.attempts.allow(attempt.saturating_add(1)) {
            return None;
        }
        Some(match &self.backoff {
            Backoff::None => ended_ms,
            Backoff::Exponential(exponential) => ended_ms + exponential.delay_ms(attempt, jitter),
            Backoff::NextTick => self.first_ready_at(ended_ms),
        })
    }

    /// When a job enqueued (or released) at `now_ms` may first be delivered: at once, or at the schedule's next mark.
    pub fn first_ready_at(&self, now_ms: u64) -> u64 {
        self.schedule.as_ref().map_or(now_ms, |schedule| schedule.tick_after(now_ms))
    }
}

/// A priority before aging. The order is the order of urgency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Level 0.
    Background,
    /// Level 1.
    Low,
    /// Level 2.
    Medium,
    /// Level 3.
    High,
}

impl Priority {
    /// The level after `waited_ms` of waiting: one more every [`AGING_MS`], without an upper end, so that whoever
    /// waits longest is served in the end.
    pub fn level_after(self, waited_ms: u64) -> u64 {
        self as u64 + waited_ms / AGING_MS
    }
}

/// How many deliveries a job may have in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Attempts {
    /// At most so many.
    Limited(u32),
    /// As many as it takes.
    Infinite(Infinite),
}

/// The word `infinite`, as a value of `attempts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Infinite {
    /// `"infinite"`.
    Infinite,
}

impl Attempts {
    /// Never given up.
    pub const INFINITE: Self = Self::Infinite(Infinite::Infinite);

    /// Whether a delivery with this number (1 is the first) may take place.
    pub fn allow(self, attempt: u32) -> bool {
        match self {
            Self::Limited(max) => attempt <= max,
            Self::Infinite(_) => true,
        }
    }

    /// The number of the last allowed delivery, if there is one.
    pub fn max(self) -> Option<u32> {
        match self {
            Self::Limited(max) => Some(max),
            Self::Infinite(_) => None,
        }
    }
}

/// The wait between a failed attempt and the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backoff {
    /// At once.
    #[default]
    None,
    /// Doubling up to a cap.
    Exponential(Exponential),
    /// Until the schedule's next mark.
    NextTick,
}

/// A wait that doubles with every attempt: `first_ms · 2ⁿ⁻¹` after attempt n, at most `max_ms`, then lengthened by
/// up to `jitter_percent`. The cap holds before the jitter, so that capped jobs spread too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exponential {
    /// The wait after attempt 1.
    pub first_ms: u64,
    /// The longest wait, before jitter.
    pub max_ms: u64,
    /// How much of the wait jitter may add at most.
    pub jitter_percent: u32,
}

impl Exponential {
    /// The wait after `attempt` before jitter.
    pub fn base_ms(&self, attempt: u32) -> u64 {
        let doublings = attempt.saturating_sub(1);
        let factor = 1_u64.checked_shl(doublings).unwrap_or(u64::MAX);
        self.first_ms.saturating_mul(factor).min(self.max_ms)
    }

    /// The wait after `attempt`, lengthened by `jitter`.
    pub fn delay_ms(&self, attempt: u32, jitter: Jitter) -> u64 {
        let base = self.base_ms(attempt);
        base + base * u64::from(self.jitter_percent) * u64::from(jitter.0) / (100 * u64::from(Jitter::MAX.0))
    }

    /// The longest wait after `attempt`.
    pub fn delay_max_ms(&self, attempt: u32) -> u64 {
        self.delay_ms(attempt, Jitter::MAX)
    }
}

/// How much of the allowed jitter to add, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jitter(u16);

impl Jitter {
    /// No jitter.
    pub const NONE: Self = Self(0);
    /// All of it.
    pub const MAX: Self = Self(1_000);

    /// Any random number makes a jitter, evenly spread over 0 to 1,000 thousandths.
    pub fn from_random(random: u64) -> Self {
        Self((random % 1_001) as u16)
    }
}

/// No half-open window of `per_ms` holds more than `starts` starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Starts in one window.
    pub starts: u32,
    /// The window's length.
    pub per_ms: u64,
}

/// Jobs delivered together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// The most jobs in one delivery.
    pub size: u32,
    /// How long the oldest job may wait for others. Absent on a scheduled queue, whose batches wait for the tick.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
}

/// Deliveries start at the clock's multiples of `every_ms`, counted from the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// The distance of two ticks.
    pub every_ms: u64,
}

impl Schedule {
    /// The last tick at or before `now_ms`.
    pub fn tick_at(&self, now_ms: u64) -> u64 {
        now_ms - now_ms % self.every_ms
    }

    /// The first tick after `now_ms`. A job enqueued on a tick's very millisecond waits for the next.
    pub fn tick_after(&self, now_ms: u64) -> u64 {
        self.tick_at(now_ms) + self.every_ms
    }
}
