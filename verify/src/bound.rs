//! How long a play may take to drain once its faults have healed: what follows from the policies, from what handlers do,
//! and from what the system can tell apart.

use kew_spec::queues::{Backoff, Policy};
use kew_spec::scenario::{Act, PlannedJob};

use crate::fit::Fitted;
use crate::protocol::About;

/// What no system is quicker than for being done with everything.
const LEAST_MS: u64 = 4_000;

/// How many of the system's quanta a delivery may take to come about.
const QUANTA: u64 = 5;

/// The bound for `fitted`.
pub(crate) fn bound_ms(fitted: &Fitted, about: &About) -> u64 {
    let jobs = fitted.scenario.jobs();
    let slots = fitted.scenario.slots.max(1);
    let of_queue = fitted.policies.iter().map(|(queue, policy)| {
        let of_it: Vec<_> = jobs.iter().filter(|job| job.queue == queue).collect();
        queue_ms(&of_it, policy, fitted, about, slots)
    });
    LEAST_MS + 2 * of_queue.max().unwrap_or(0)
}

/// The same for one queue and its jobs.
fn queue_ms(jobs: &[&PlannedJob], policy: &Policy, fitted: &Fitted, about: &About, slots: u32) -> u64 {
    let behaviours = || jobs.iter().flat_map(|job| &job.attempts);
    let lasts_ms = |it: &kew_spec::scenario::Behaviour| {
        let hangs = it.act == Act::Hang || policy.timeout_ms < it.after_ms;
        if hangs { policy.timeout_ms } else { it.after_ms }
    };
    let lasts = behaviours().map(lasts_ms).max().unwrap_or(0);
    let crashes = behaviours().any(|it| it.act == Act::Crash);
    let tries = jobs.iter().map(|job| tries(job, policy, fitted.strikes)).max().unwrap_or(1);
    let recovery = if crashes || fitted.strikes { about.capabilities.recovers_ms(&fitted.policies) } else { 0 };
    let waits: u64 = (1..tries).map(|attempt| wait_ms(policy, attempt)).sum();
    let each = u64::from(tries) * (lasts + recovery + QUANTA * about.quantum_ms) + waits;
    let many = jobs.len() as u64;
    let limited = policy.rate_limit.as_ref().map_or(0, |it| many * it.per_ms / u64::from(it.starts.max(1)));
    let ticks = policy.schedule.as_ref().map_or(0, |it| 3 * it.every_ms);
    let batch = policy.batch.as_ref().and_then(|it| it.wait_ms).unwrap_or(0);
    each + limited + ticks + batch + many * lasts / u64::from(slots)
}

/// How many deliveries a job may take: as many as its script fails, or as the policy allows.
fn tries(job: &PlannedJob, policy: &Policy, strikes: bool) -> u32 {
    let scripted = job.attempts.len().max(1) as u32;
    let succeeds = job.attempts.last().is_none_or(|last| last.act == Act::Succeed);
    match policy.attempts.max() {
        Some(max) if succeeds && !strikes => max.min(scripted),
        Some(max) => max,
        None => scripted,
    }
}

/// The longest wait after `attempt`.
pub(crate) fn wait_ms(policy: &Policy, attempt: u32) -> u64 {
    match &policy.backoff {
        Backoff::Exponential(it) => it.delay_max_ms(attempt),
        Backoff::None | Backoff::NextTick => 0,
    }
}
