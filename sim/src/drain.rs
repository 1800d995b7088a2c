//! How long draining may take: what the policies and the scenario's outstanding work allow, added up on the safe side.

use std::sync::{Arc, Mutex, PoisonError};

use kew_runtime::broker::LEASE_MARGIN_MS;
use kew_spec::queues::{Backoff, Policy, Queues};
use kew_spec::scenario::{Act, PlannedJob, Scenario};

/// After the last fault has healed, how long connections take to find out that they are dead and to be opened anew:
/// the longest request timeout (a pull's wait and 5 s), twice, and some.
pub const RECOVERY_MS: u64 = 25_000;

/// How many attempts the faults of a run may cost a job beyond its script.
const ATTEMPTS_LOST: u32 = 3;

/// What the policies allow for the work that is outstanding, part by part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    /// For connections to find out that they are dead.
    pub recovery_ms: u64,
    /// For the longest chain of attempts, backoffs and lost leases that one job may still have before it.
    pub chain_ms: u64,
    /// For what all attempts together occupy of the processors' slots.
    pub work_ms: u64,
    /// For what rate limits stretch that to.
    pub rate_ms: u64,
}

impl Bound {
    /// The sum of all parts, in simulated milliseconds.
    pub fn ms(&self) -> u64 {
        self.recovery_ms + self.chain_ms + self.work_ms + self.rate_ms
    }
}

/// How a run drained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drain {
    /// How long it took after the last fault had healed.
    pub took_ms: u64,
    /// How long it might have taken.
    pub bound: Bound,
}

/// Where the users note how the run drained.
#[derive(Clone, Debug, Default)]
pub struct Noted(Arc<Mutex<Drain>>);

impl Noted {
    /// Notes it.
    pub fn note(&self, drain: Drain) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = drain;
    }

    /// What was noted; nothing, before the run has drained.
    pub fn get(&self) -> Drain {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a scenario's bounds follow from, and which of its jobs end at all.
#[derive(Clone, Debug)]
pub struct Limits {
    queues: Queues,
    lanes: u64,
}

impl Limits {
    /// The limits of `scenario`.
    pub fn new(scenario: &Scenario) -> Self {
        Self { queues: scenario.policies(), lanes: u64::from(scenario.processors * scenario.slots).max(1) }
    }

    /// The bound while `jobs` are outstanding.
    pub fn bound<'a>(&self, jobs: impl IntoIterator<Item = &'a PlannedJob>) -> Bound {
        let jobs: Vec<_> = jobs.into_iter().collect();
        let queues = &self.queues;
        let work: u64 = jobs.iter().map(|job| work_ms(queues, job)).sum::<u64>() / self.lanes;
        Bound {
            recovery_ms: RECOVERY_MS,
            chain_ms: jobs.iter().map(|job| chain_ms(queues, job)).max().unwrap_or(0),
            work_ms: 2 * work,
            rate_ms: queues.iter().map(|(name, policy)| rate_ms(name, policy, &jobs)).max().unwrap_or(0),
        }
    }

    /// Whether the job ends by itself: its attempts are limited, or its script lets it succeed.
    pub fn ends(&self, job: &PlannedJob) -> bool {
        let limited = self.queues.get(&job.queue).is_none_or(|policy| policy.attempts.max().is_some());
        limited || job.attempts.last().is_none_or(|last| last.act == Act::Succeed)
    }
}

fn policy<'a>(queues: &'a Queues, job: &PlannedJob) -> &'a Policy {
    queues.get(&job.queue).expect("a scenario's jobs go to queues that there are")
}

/// The attempts that a job may take: as its script has it, and some that faults may cost.
fn attempts(policy: &Policy, job: &PlannedJob) -> u32 {
    let scripted = job.attempts.len().max(1) as u32 + ATTEMPTS_LOST;
    policy.attempts.max().unwrap_or(scripted)
}

/// What one attempt may take at most.
fn attempt_ms(policy: &Policy, job: &PlannedJob, attempt: u32) -> u64 {
    let behaviour = job.behaviour(attempt);
    match behaviour.act {
        Act::Succeed | Act::Fail if behaviour.after_ms < policy.timeout_ms => behaviour.after_ms,
        _ => policy.timeout_ms,
    }
}

/// One job's attempts and waits, one after the other; one lease that is lost on top of each attempt's backoff.
fn chain_ms(queues: &Queues, job: &PlannedJob) -> u64 {
    let policy = policy(queues, job);
    let wait = policy.batch.as_ref().and_then(|batch| batch.wait_ms).unwrap_or(0);
    let tick = policy.schedule.as_ref().map_or(0, |schedule| schedule.every_ms);
    let attempts = attempts(policy, job);
    let one = |attempt| attempt_ms(policy, job, attempt) + backoff_ms(policy, attempt) + wait + tick;
    let lost = u64::from(ATTEMPTS_LOST) * (policy.timeout_ms + LEASE_MARGIN_MS);
    (1..=attempts).map(one).sum::<u64>() + lost
}

fn backoff_ms(policy: &Policy, attempt: u32) -> u64 {
    match &policy.backoff {
        Backoff::Exponential(exponential) => exponential.delay_max_ms(attempt),
        Backoff::None | Backoff::NextTick => 0,
    }
}

/// What a job's attempts occupy of a slot.
fn work_ms(queues: &Queues, job: &PlannedJob) -> u64 {
    let policy = policy(queues, job);
    (1..=attempts(policy, job)).map(|attempt| attempt_ms(policy, job, attempt)).sum()
}

/// How long a rate limit stretches the work of its queue.
fn rate_ms(name: &str, policy: &Policy, jobs: &[&PlannedJob]) -> u64 {
    let Some(limit) = &policy.rate_limit else { return 0 };
    let starts: u64 = jobs.iter().filter(|job| job.queue == name).map(|job| u64::from(attempts(policy, job))).sum();
    starts.div_ceil(u64::from(limit.starts)) * limit.per_ms
}
