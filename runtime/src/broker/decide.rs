//! What a request means for the store, going by the policies: when a new job is ready, what follows an attempt.

use kew_spec::queues::{Jitter, Policy, Queues};

use super::{JobRequest, Refusal, Report, Settlement};
use crate::store::{Idempotency, LeaseId, NewJob, Outcome, Settle, Then};

/// How long an idempotency key is remembered: 24 hours, as the contract says.
pub const IDEMPOTENCY_MS: u64 = 24 * 3_600_000;

/// How long a request for a job may be on its way twice: as long as Linux sends unacknowledged data again (15.4 minutes,
/// `tcp_retries2`), rounded up.
const REPEATS_MS: u64 = 20 * 60_000;

/// How much longer than the policy's timeout a lease holds, so that a handler stopped at its very timeout can still be
/// settled: two tries of a settle whose first reply is lost. Chosen.
pub const LEASE_MARGIN_MS: u64 = 5_000;

/// The longest lease that a consumer may ask for: 12 hours, Cloudflare's limit.
const LEASE_MAX_MS: u64 = 12 * 3_600_000;

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
        repeats_until_ms: now_ms + REPEATS_MS,
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
    // Jobs that the consumer wants at another time than the rest are no batch with it any more.
    Settle { lease: it.lease, outcome, then, keep_batch: keeps_batch(policy) && delay_ms == 0, now_ms }
}

/// What the end of a lease makes of the job.
pub(super) fn lose(policy: &Policy, lease: LeaseId, now_ms: u64, jitter: Jitter) -> Settle {
    let then = after_failure(policy, lease.attempt, now_ms, 0, jitter);
    Settle { lease, outcome: Outcome::Lost(LOST.into()), then, keep_batch: keeps_batch(policy), now_ms }
}

/// A delay that the consumer asks for may lengthen the policy's backoff, never shorten it.
fn after_failure(policy: &Policy, attempt: u32, now_ms: u64, delay_ms: u64, jitter: Jitter) -> Then {
    match (policy.retry_at(attempt, now_ms, jitter), &policy.dead_letter_queue) {
        (Some(at), _) if now_ms + delay_ms <= at => Then::RetryAt(at),
        (Some(_), _) => Then::RetryAt(policy.first_ready_at(now_ms + delay_ms)),
        (None, Some(dead_letter_queue)) => Then::DeadLetter(dead_letter_queue.clone()),
        (None, None) => Then::Fail,
    }
}

/// A scheduled queue's events keep their batch's id until they are stored: the store outside knows by it what it has
/// already, whatever became of the reply.
fn keeps_batch(policy: &Policy) -> bool {
    policy.schedule.is_some()
}

/// How long the lease of a delivery holds. What the policy asks for is not cut short: a delivery whose lease is shorter
/// than its timeout is never begun.
pub(super) fn lease_ms(policy: &Policy, asked_ms: Option<u64>) -> u64 {
    asked_ms.map_or(policy.timeout_ms + LEASE_MARGIN_MS, |ms| ms.clamp(1, LEASE_MAX_MS))
}

#[cfg(test)]
mod tests {
    use super::*;

    use kew_spec::queues::DURATION_MAX_MS;

    const HOUR_MS: u64 = 3_600_000;

    fn policy(queue: &str) -> Policy {
        Queues::default().get(queue).expect("one of the five queues").clone()
    }

    fn request(queue: &str, key: Option<&str>) -> JobRequest {
        JobRequest {
            id: "a".into(),
            queue: queue.into(),
            user: "ada".into(),
            payload: serde_json::value::to_raw_value(&1).expect("a number is JSON"),
            key: key.map(Into::into),
            idempotency: Some(("k".into(), "print".into())),
            email: None,
        }
    }

    fn lease(queue: &str, attempt: u32) -> LeaseId {
        LeaseId { queue: queue.into(), job: "a".into(), attempt, fence: attempt }
    }

    /// What follows a failure at 10,000 ms that asks for `delay_ms`, without jitter.
    fn failed(queue: &str, attempt: u32, delay_ms: Option<u64>) -> Then {
        let outcome = Report::Failed { error: "e".into(), delay_ms };
        let it = Settlement { lease: lease(queue, attempt), outcome };
        settle(&policy(queue), it, 10_000, Jitter::NONE).then
    }

    #[test]
    fn a_new_job_is_ready_at_once_or_at_its_queues_next_tick() {
        let ready_ms = |queue| new_job(&Queues::default(), request(queue, None), 10).expect("it is allowed").ready_ms;
        assert_eq!(ready_ms("pdf_generation"), 10);
        assert_eq!(ready_ms("analytics_processing"), 300_000);
    }

    #[test]
    fn an_idempotency_key_is_kept_for_24_hours() {
        let job = new_job(&Queues::default(), request("pdf_generation", None), 10).expect("it is allowed");
        let kept = Idempotency { key: "k".into(), fingerprint: "print".into(), until_ms: 10 + 24 * HOUR_MS };
        assert_eq!(job.idempotency, Some(kept));
    }

    #[test]
    fn a_request_that_comes_again_within_twenty_minutes_is_known() {
        let job = new_job(&Queues::default(), request("data_sync", Some("e")), 10).expect("it is allowed");
        assert_eq!(job.repeats_until_ms, 10 + 20 * 60_000);
    }

    #[test]
    fn a_key_is_needed_where_there_is_deduplication_and_refused_elsewhere() {
        let made = |queue, key| new_job(&Queues::default(), request(queue, key), 0).map(|job| job.key);
        let refused = |rule: &str| Err(Refusal::Invalid(rule.into()));
        assert!(matches!(made("data_sync", Some("entity")), Ok(Some(_))));
        assert_eq!(made("data_sync", None).map(drop), refused("queue data_sync needs a key (the entity's id)"));
        assert_eq!(made("pdf_generation", Some("x")).map(drop), refused("queue pdf_generation takes no key"));
    }

    #[test]
    fn a_queue_that_there_is_not_is_answered_with_those_there_are() {
        let Err(Refusal::NotFound(text)) = new_job(&Queues::default(), request("pdf", None), 0) else {
            panic!("there is no such queue")
        };
        assert_eq!(
            text,
            "there is no queue \"pdf\"; there are ai_enhancement, analytics_processing, data_sync, email_notification, \
             pdf_generation"
        );
    }

    #[test]
    fn a_success_completes_the_job_whatever_attempt_it_was() {
        let result = serde_json::value::to_raw_value(&2).expect("a number is JSON");
        let it = Settlement { lease: lease("pdf_generation", 9), outcome: Report::Completed { result } };
        let settled = settle(&policy("pdf_generation"), it, 5, Jitter::NONE);
        assert!(matches!(&settled.outcome, Outcome::Completed(result) if result.get() == "2"));
        assert_eq!((settled.then, settled.now_ms, settled.keep_batch), (Then::Complete, 5, false));
    }

    #[test]
    fn a_failure_is_tried_again_until_the_attempts_are_spent() {
        assert_eq!(failed("pdf_generation", 2, None), Then::RetryAt(10_000));
        assert_eq!(failed("pdf_generation", 3, None), Then::DeadLetter("pdf_generation_dlq".into()));
        assert_eq!(failed("ai_enhancement", 2, None), Then::Fail);
        assert_eq!(failed("email_notification", 2, None), Then::RetryAt(14_000));
    }

    #[test]
    fn a_timeout_and_a_lost_lease_count_like_a_failure_and_say_what_they_were() {
        let policy = policy("email_notification");
        let it =
            Settlement { lease: lease("email_notification", 2), outcome: Report::TimedOut { error: "slow".into() } };
        let timed_out = settle(&policy, it, 10_000, Jitter::NONE);
        assert!(matches!(timed_out.outcome, Outcome::TimedOut(error) if error == "slow"));
        let lost = lose(&policy, lease("email_notification", 2), 10_000, Jitter::NONE);
        assert!(matches!(lost.outcome, Outcome::Lost(error) if error.starts_with("lease lost")));
        assert_eq!((timed_out.then, lost.then), (Then::RetryAt(14_000), Then::RetryAt(14_000)));
    }

    #[test]
    fn a_delay_that_is_asked_for_lengthens_the_wait_and_never_shortens_it() {
        assert_eq!(failed("email_notification", 2, Some(3_999)), Then::RetryAt(14_000));
        assert_eq!(failed("email_notification", 2, Some(4_001)), Then::RetryAt(14_001));
        assert_eq!(failed("pdf_generation", 1, Some(7)), Then::RetryAt(10_007));
        assert_eq!(failed("pdf_generation", 1, Some(13 * HOUR_MS)), Then::RetryAt(10_000 + 12 * HOUR_MS));
    }

    #[test]
    fn a_scheduled_queue_tries_again_at_a_tick_and_keeps_its_batches() {
        assert_eq!(failed("analytics_processing", 1, None), Then::RetryAt(300_000));
        assert_eq!(
            failed("analytics_processing", 1, Some(1_000)),
            Then::RetryAt(300_000),
            "it is over by the next tick"
        );
        assert_eq!(failed("analytics_processing", 1, Some(290_000)), Then::RetryAt(300_000));
        assert_eq!(failed("analytics_processing", 1, Some(290_001)), Then::RetryAt(600_000));
        let keeps = |queue, delay_ms| {
            let outcome = Report::Failed { error: "e".into(), delay_ms };
            settle(&policy(queue), Settlement { lease: lease(queue, 1), outcome }, 0, Jitter::NONE).keep_batch
        };
        assert!(keeps("analytics_processing", None));
        assert!(!keeps("analytics_processing", Some(1)), "it may come at another time than the others");
        assert!(!keeps("email_notification", None));
        assert!(lose(&policy("analytics_processing"), lease("analytics_processing", 1), 0, Jitter::NONE).keep_batch);
    }

    #[test]
    fn a_lease_outlasts_the_timeout_unless_the_consumer_asks_for_another() {
        let policy = policy("pdf_generation");
        assert_eq!(lease_ms(&policy, None), 35_000);
        assert_eq!(lease_ms(&policy, Some(0)), 1);
        assert_eq!(lease_ms(&policy, Some(70)), 70);
        assert_eq!(lease_ms(&policy, Some(13 * HOUR_MS)), 12 * HOUR_MS);
        let slow = Policy { timeout_ms: DURATION_MAX_MS, ..policy };
        assert_eq!(lease_ms(&slow, None), DURATION_MAX_MS + 5_000, "however long the timeout is");
    }
}
