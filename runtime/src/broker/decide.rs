//! What a request means for the store, going by the policies: when a new job is ready, what follows an attempt.

use kew_spec::queues::{Jitter, Policy, Queues};

use super::{JobRequest, Refusal, Report, Settlement};
use crate::store::{Idempotency, LeaseId, NewJob, Outcome, Settle, Then};

/// How long an idempotency key is remembered: 24 hours, as the contract says.
pub const IDEMPOTENCY_MS: u64 = 24 * 3_600_000;

/// How much longer than the policy's timeout a lease holds, so that a handler stopped at its very timeout can still be
/// settled: two tries of a settle whose first reply is lost. Chosen.
pub const LEASE_MARGIN_MS: u64 = 5_000;

/// The longest lease that a consumer may ask for: 12 hours, Cloudflare's limit.
pub(super) const LEASE_MAX_MS: u64 = 12 * 3_600_000;

/// The longest delay that a consumer may ask for: 12 hours, Cloudflare's limit.
const DELAY_MAX_MS: u64 = 12 * 3_600_000;

/// The error of an attempt whose lease ran out.
const LOST: &str = "lease lost: the processor crashed, hung, or could not be heard before the lease ran out";

/// The job that `request` makes at `now_ms`.
pub(super) fn new_job(queues: &Queues, request: JobRequest, now_ms: u64) -> Result<NewJob, Refusal> {
    let Some(policy) = queues.get(&request.queue) else { return Err(no_queue(queues, &request.queue)) };
    if policy.deduplication != request.key.is_some() {
        let rule = if policy.deduplication { "needs a key (the entity's id)" } else { "takes no key" };
        return Err(Refusal::Invalid(format!("queue {} {rule}", request.queue)));
    }
    let until_ms = now_ms + IDEMPOTENCY_MS;
    Ok(NewJob {
        ready_ms: policy.first_ready_at(now_ms),
        idempotency: request.idempotency.map(|(key, fingerprint)| Idempotency { key, fingerprint, until_ms }),
        id: request.id,
        queue: request.queue,
        user: request.user,
        payload: request.payload,
        key: request.key,
        email: request.email,
        now_ms,
    })
}

/// The refusal of a queue that there is not, naming those there are.
pub(super) fn no_queue(queues: &Queues, queue: &str) -> Refusal {
    let names: Vec<_> = queues.iter().map(|(name, _)| name).collect();
    Refusal::NotFound(format!("there is no queue {queue:?}; there are {}", names.join(", ")))
}

/// What a processor's report of an attempt makes of the job.
pub(super) fn settle(policy: &Policy, it: Settlement, now_ms: u64, jitter: Jitter) -> Settle {
    let (outcome, delay_ms) = match it.outcome {
        Report::Completed { result } => (Outcome::Completed(result), 0),
        Report::Failed { error, delay_ms } => (Outcome::Failed(error), delay_ms.unwrap_or(0).min(DELAY_MAX_MS)),
        Report::TimedOut { error } => (Outcome::TimedOut(error), 0),
    };
    let then = match &outcome {
        Outcome::Completed(_) => Then::Complete,
        _ => after_failure(policy, it.lease.attempt, now_ms, delay_ms, jitter),
    };
    Settle { lease: it.lease, outcome, then, keep_batch: keeps_batch(policy), now_ms }
}

/// What the end of a lease makes of the job.
pub(super) fn lose(policy: &Policy, lease: LeaseId, now_ms: u64, jitter: Jitter) -> Settle {
    let then = after_failure(policy, lease.attempt, now_ms, 0, jitter);
    Settle { lease, outcome: Outcome::Lost(LOST.into()), then, keep_batch: keeps_batch(policy), now_ms }
}

/// A delay that the consumer asks for may lengthen the policy's backoff, never shorten it.
fn after_failure(policy: &Policy, attempt: u32, now_ms: u64, delay_ms: u64, jitter: Jitter) -> Then {
    match (policy.retry_at(attempt, now_ms, jitter), &policy.dead_letter_queue) {
        (Some(at), _) if delay_ms == 0 => Then::RetryAt(at),
        (Some(at), _) => Then::RetryAt(policy.first_ready_at(at.max(now_ms + delay_ms))),
        (None, Some(dead_letter_queue)) => Then::DeadLetter(dead_letter_queue.clone()),
        (None, None) => Then::Fail,
    }
}

/// A scheduled queue's events keep their batch's id until they are stored: the store outside knows by it what it has
/// already, whatever became of the reply.
fn keeps_batch(policy: &Policy) -> bool {
    policy.schedule.is_some()
}

/// How long the lease of a delivery holds.
pub(super) fn lease_ms(policy: &Policy, asked_ms: Option<u64>) -> u64 {
    asked_ms.unwrap_or(policy.timeout_ms + LEASE_MARGIN_MS).clamp(1, LEASE_MAX_MS)
}
