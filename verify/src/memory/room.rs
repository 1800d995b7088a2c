//! The queues of one play with their jobs, as data.

use std::collections::{BTreeMap, VecDeque};

use kew_spec::queues::{Backoff, Policy};
use tokio::sync::oneshot;

use super::Lie;
use crate::local::{Handler, Setup};

/// Queues that share their slots.
pub(super) struct Room {
    pub(super) lie: Option<Lie>,
    /// How many deliveries may run.
    pub(super) slots: usize,
    pub(super) lanes: BTreeMap<String, Lane>,
    /// Deliveries at work.
    pub(super) running: BTreeMap<u64, Delivery>,
    /// Numbers that were given, for deliveries and for the order of jobs.
    given: u64,
    /// Where the next random number comes from.
    random: u64,
}

/// One queue.
pub(super) struct Lane {
    pub(super) policy: Policy,
    pub(super) handler: Handler,
    pub(super) paused: bool,
    pub(super) jobs: BTreeMap<String, Job>,
    /// The job that each idempotency key of each user has made.
    pub(super) idempotent: BTreeMap<(String, String), String>,
    /// The newest starts, where they are limited.
    pub(super) starts: VecDeque<u64>,
    pub(super) dead: Vec<Dead>,
}

/// A job.
pub(super) struct Job {
    /// Older jobs have smaller numbers.
    pub(super) number: u64,
    pub(super) payload: String,
    pub(super) key: Option<String>,
    pub(super) stage: Stage,
    /// Its attempts since it was made or put back.
    pub(super) attempts: Vec<Attempt>,
    /// The last error.
    pub(super) error: Option<String>,
    pub(super) created_ms: u64,
    pub(super) updated_ms: u64,
    pub(super) completed_ms: Option<u64>,
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It may be delivered from then on.
    Waiting {
        due_ms: u64,
    },
    Running,
    Completed,
    /// Given up, dead letters too.
    Failed,
    Cancelled,
}

/// An attempt that has begun, and how it failed.
#[derive(Clone, Default)]
pub(super) struct Attempt {
    pub(super) error: String,
    pub(super) ended_ms: u64,
}

/// A dead letter.
pub(super) struct Dead {
    pub(super) job: String,
    pub(super) payload: String,
    pub(super) error: Option<String>,
    pub(super) attempts: Vec<Attempt>,
}

/// A delivery at work.
pub(super) struct Delivery {
    pub(super) jobs: Vec<String>,
    /// Stops its handler.
    pub(super) stop: Option<oneshot::Sender<()>>,
}

impl Job {
    /// Whether it waits, for its first attempt or for a further one.
    pub(super) fn waits(&self) -> bool {
        matches!(self.stage, Stage::Waiting { .. })
    }

    /// Whether it has not ended.
    pub(super) fn is_live(&self) -> bool {
        self.waits() || self.stage == Stage::Running
    }
}

impl Room {
    pub(super) fn new(lie: Option<Lie>) -> Self {
        let (lanes, running) = (BTreeMap::new(), BTreeMap::new());
        Self { lie, slots: 1, lanes, running, given: 0, random: 0x9E37_79B9_7F4A_7C15 }
    }

    pub(super) fn lies(&self, lie: Lie) -> bool {
        self.lie == Some(lie)
    }

    /// There is such a queue from now on.
    pub(super) fn open(&mut self, setup: Setup, handler: Handler) {
        self.slots = setup.slots as usize;
        let lane = Lane {
            policy: setup.policy,
            handler,
            paused: false,
            jobs: BTreeMap::new(),
            idempotent: BTreeMap::new(),
            starts: VecDeque::new(),
            dead: Vec::new(),
        };
        self.lanes.insert(setup.queue, lane);
    }

    pub(super) fn lane(&mut self, queue: &str) -> Result<&mut Lane, String> {
        self.lanes.get_mut(queue).ok_or_else(|| format!("there is no queue {queue}"))
    }

    pub(super) fn job(&mut self, queue: &str, job: &str) -> Result<&mut Job, String> {
        self.lane(queue)?.jobs.get_mut(job).ok_or_else(|| format!("there is no job {job}"))
    }

    /// A number that was not given before.
    pub(super) fn number(&mut self) -> u64 {
        self.given += 1;
        self.given
    }

    /// When a job of `queue` that is ready at `now` may be delivered.
    pub(super) fn ready_ms(&self, queue: &str, now: u64) -> u64 {
        let Some(schedule) = self.lanes.get(queue).and_then(|lane| lane.policy.schedule.as_ref()) else { return now };
        let every_ms = schedule.every_ms;
        let tick = (now / every_ms + 1) * every_ms;
        match self.lie {
            Some(Lie::BetweenTicks) => now + every_ms / 4,
            Some(Lie::TickMissed) => tick + 4 * every_ms,
            _ => tick,
        }
    }

    /// When the attempt after so many is due, of which the last has ended at `now`.
    pub(super) fn retry_ms(&mut self, queue: &str, attempts: u32, now: u64) -> u64 {
        let Some(policy) = self.lanes.get(queue).map(|lane| lane.policy.clone()) else { return now };
        let exponential = match policy.backoff {
            Backoff::None => return now,
            Backoff::NextTick => return self.ready_ms(queue, now),
            Backoff::Exponential(exponential) => exponential,
        };
        let doublings = if self.lies(Lie::ConstantBackoff) { 0 } else { attempts.saturating_sub(1).min(40) };
        let cap_ms = if self.lies(Lie::Uncapped) { u64::MAX } else { exponential.max_ms };
        let wait_ms = (exponential.first_ms << doublings).min(cap_ms);
        let jitter_ms = wait_ms * u64::from(exponential.jitter_percent) * self.random(1_000) / 100_000;
        match self.lie {
            Some(Lie::EarlyRetry) => now + wait_ms / 2,
            Some(Lie::LateRetry) => now + wait_ms + jitter_ms + 2_500,
            _ => now + wait_ms + jitter_ms,
        }
    }

    /// A number below `below`.
    pub(super) fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }
}
