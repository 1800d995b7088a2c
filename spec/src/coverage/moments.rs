//! The moments that runs must come to now and then, each as a predicate over one event and the story before it.

use super::story::{Attempt, Job, Op, State, Story};
use crate::history::{
    Accepted, AttemptOutcome, Cancelled, Event, Fault, Finished, Granted, How, Lease, Notified, Paused, Processor,
    Purged, Redriven, Reply, Settled, Stored, Then, Told, Via, What,
};
use crate::lifecycle::Status;
use crate::queues::Backoff;

/// How long a waiting job takes to rise one level.
const AGING_MS: u64 = 30_000;

/// A moment by its name.
pub(super) struct Moment {
    pub(super) name: &'static str,
    pub(super) when: When,
}

/// Declares on which observations a moment can be: the enum and its match.
macro_rules! whens {
    ($($observation:ident)*) => {
        /// The observation that makes the moment, and whether it does.
        pub(super) enum When { $($observation(fn(&Story, &$observation, u64) -> bool)),* }

        impl When {
            /// Whether `event` is such a moment.
            pub(super) fn holds(&self, story: &Story, event: &Event) -> bool {
                match (self, &event.what) {
                    $((Self::$observation(holds), What::$observation(it)) => holds(story, it, event.at),)*
                    _ => false,
                }
            }
        }
    };
}

whens! { Accepted Granted Settled Cancelled Purged Redriven Paused Reply Finished Processor Stored Notified Fault }

use When as On;

/// All moments, by what makes them.
pub(super) const MOMENTS: &[Moment] = &[
    // Leases.
    moment(
        "a lease ran out while its handler was still running",
        On::Settled(|story, it, _| {
            it.outcome == AttemptOutcome::Lost && last(story, &it.job).is_some_and(|last| last.is_running)
        }),
    ),
    moment(
        "a lease ran out whose processor had gone down",
        On::Settled(|story, it, _| {
            it.outcome == AttemptOutcome::Lost && last(story, &it.job).is_some_and(|last| last.is_orphan)
        }),
    ),
    moment(
        "a lease ran out of a delivery that never came to its processor",
        On::Settled(|story, it, _| {
            let lost = it.outcome == AttemptOutcome::Lost && it.accepted;
            lost && last(story, &it.job).is_some_and(|last| !last.is_running && !last.is_orphan)
        }),
    ),
    moment(
        "a settle came after its lease was lost and was refused",
        On::Settled(|story, it, _| {
            let over = job(story, &it.job).is_some_and(|job| 0 < job.lost);
            !it.accepted && over
        }),
    ),
    moment(
        "a job lost its lease more than once",
        On::Settled(|story, it, _| {
            it.outcome == AttemptOutcome::Lost && job(story, &it.job).is_some_and(|job| 0 < job.lost)
        }),
    ),
    moment(
        "a job was given up when its last lease ran out",
        On::Settled(|_, it, _| {
            it.outcome == AttemptOutcome::Lost && matches!(it.then, Some(Then::Failed | Then::DeadLetter))
        }),
    ),
    moment(
        "a handler was stopped because its lease was lost",
        On::Finished(|story, it, _| {
            let is_lost = |last: &Attempt, number| number < last.number || last.outcome == Some(AttemptOutcome::Lost);
            it.jobs.iter().any(|ended| {
                let last = last(story, &ended.job);
                ended.outcome == AttemptOutcome::Cancelled && last.is_some_and(|last| is_lost(last, ended.attempt))
            })
        }),
    ),
    // Attempts.
    moment(
        "a job was delivered in its last allowed attempt after a crash",
        On::Granted(|story, it, _| {
            any_job(story, it, |job, _| {
                let crashed =
                    job.last.as_ref().is_some_and(|last| last.is_orphan && last.outcome == Some(AttemptOutcome::Lost));
                let max = story.policy(&job.queue).and_then(|policy| policy.attempts.max());
                crashed && max == Some(job.attempts + 1)
            })
        }),
    ),
    moment(
        "a job completed in its last allowed attempt",
        On::Settled(|story, it, _| {
            let attempts = job(story, &it.job).map(|job| job.attempts).filter(|attempts| 1 < *attempts);
            it.then == Some(Then::Completed)
                && story
                    .policy_of(&it.job)
                    .is_some_and(|policy| policy.attempts.max() == attempts && attempts.is_some())
        }),
    ),
    moment(
        "a job timed out in its last allowed attempt",
        On::Settled(|_, it, _| {
            it.outcome == AttemptOutcome::TimedOut && matches!(it.then, Some(Then::Failed | Then::DeadLetter))
        }),
    ),
    moment(
        "a retry waited as long as its backoff's cap",
        On::Settled(|story, it, _| {
            let Some(Backoff::Exponential(backoff)) = story.policy_of(&it.job).map(|policy| &policy.backoff) else {
                return false;
            };
            matches!(it.then, Some(Then::RetryAt(due)) if it.clock + backoff.max_ms <= due)
        }),
    ),
    moment(
        "a job was tried more than five times",
        On::Granted(|story, it, _| any_job(story, it, |job, _| job.attempts == 5)),
    ),
    // Processors.
    moment(
        "a processor went down while its handlers ran",
        On::Processor(|story, it, _| !it.up && busy(story, &it.processor) > 0),
    ),
    moment(
        "a processor went down with all its slots taken",
        On::Processor(|story, it, _| {
            let slots = story.processors.get(&it.processor);
            !it.up && slots.is_some_and(|slots| 0 < slots.slots && slots.slots <= slots.busy.len())
        }),
    ),
    moment(
        "all processors were down",
        On::Processor(|story, it, _| {
            let mut others = story.processors.iter().filter(|(name, _)| **name != it.processor);
            !it.up && others.all(|(_, slots)| !slots.is_up)
        }),
    ),
    moment(
        "two processors were granted deliveries at the same moment",
        On::Granted(|story, it, at| {
            story.last_grant.as_ref().is_some_and(|(before, last)| *before == at && last.processor != it.processor)
        }),
    ),
    moment(
        "a delivery took the last free slot",
        On::Granted(|story, it, _| {
            let up = || story.processors.values().filter(|slots| slots.is_up);
            let slots: usize = up().map(|slots| slots.slots).sum();
            let taken: usize = up().map(|slots| slots.busy.len()).sum();
            !it.jobs.is_empty() && slots == taken + 1
        }),
    ),
    // Clients.
    moment(
        "an enqueue's reply was lost and the same key was answered with the same job",
        On::Reply(|story, it, _| {
            let Some(Op { at, what: What::Enqueue(asked), .. }) = story.ops.get(&it.op) else { return false };
            let key = asked.idempotency_key.clone().map(|key| (asked.user.clone(), key));
            let was_lost = key.is_some_and(|key| story.lost_replies.contains(&key));
            let made = it.job.as_ref().and_then(|id| job(story, id));
            it.outcome == Told::Ok && was_lost && made.is_some_and(|job| job.created_at < *at)
        }),
    ),
    moment(
        "an enqueue's reply was lost though it was done",
        On::Reply(|story, it, _| {
            it.outcome == Told::Unknown && story.ops.get(&it.op).is_some_and(|op| op.is_committed)
        }),
    ),
    moment("a used idempotency key made no second job", On::Accepted(|_, it, _| it.how == How::Replayed)),
    moment(
        "a power cut struck the broker between a commit and its reply",
        On::Fault(|story, it, _| strikes(it, "power", "broker") && story.ops.values().any(|op| op.is_committed)),
    ),
    moment(
        "the broker was killed between a commit and its reply",
        On::Fault(|story, it, _| strikes(it, "kill", "broker") && story.ops.values().any(|op| op.is_committed)),
    ),
    moment(
        "the broker restarted with live leases",
        On::Fault(|story, it, at| {
            let died = ["kill", "power"].contains(&it.kind.as_str()) && it.on == ["broker"] && !it.active;
            let clock = story.clock(at);
            let lives = |job: &Job| {
                job.state == State::Processing && job.last.as_ref().is_some_and(|last| clock < last.lease_until)
            };
            died && story.jobs.values().any(lives)
        }),
    ),
    moment("two faults were in force at once", On::Fault(|story, it, _| it.active && !story.faults.is_empty())),
    // Ends.
    moment(
        "a cancel met a running job",
        On::Cancelled(|story, it, _| job(story, &it.job).is_some_and(|job| job.state == State::Processing)),
    ),
    moment(
        "a cancel met a job that waited for its retry",
        On::Cancelled(|story, it, _| {
            job(story, &it.job).is_some_and(|job| matches!(job.state, State::Waiting(_)) && 0 < job.attempts)
        }),
    ),
    moment(
        "a cancel came too late and was refused",
        On::Reply(|story, it, _| {
            let Some(Op { what: What::Cancel(asked), .. }) = story.ops.get(&it.op) else { return false };
            let ended =
                job(story, &asked.job).is_some_and(|job| matches!(job.state, State::Ended | State::DeadLettered));
            it.outcome == Told::Refused && ended
        }),
    ),
    moment(
        "a handler was stopped because its job was cancelled",
        On::Finished(|story, it, _| {
            let mut stopped = it.jobs.iter().filter(|ended| ended.outcome == AttemptOutcome::Cancelled);
            stopped.any(|ended| job(story, &ended.job).is_some_and(|job| job.state == State::Ended))
        }),
    ),
    moment(
        "a dead letter was put back and completed",
        On::Settled(|story, it, _| {
            it.then == Some(Then::Completed) && job(story, &it.job).is_some_and(|job| job.redriven)
        }),
    ),
    moment(
        "a redriven job died again",
        On::Settled(|story, it, _| {
            it.then == Some(Then::DeadLetter) && job(story, &it.job).is_some_and(|job| job.redriven)
        }),
    ),
    moment(
        "a redrive of a job that was back already was refused",
        On::Reply(|story, it, _| {
            let Some(Op { what: What::Redrive(asked), .. }) = story.ops.get(&it.op) else { return false };
            it.outcome == Told::Refused && job(story, &asked.job).is_some_and(|job| job.redriven)
        }),
    ),
    moment("a dead letter was dropped", On::Purged(|_, _, _| true)),
    // Entities.
    moment("a newer payload took the place of a waiting one", On::Accepted(|_, it, _| it.how == How::Coalesced)),
    moment(
        "a newer payload went to a job that waited for its retry",
        On::Accepted(|story, it, _| {
            it.how == How::Coalesced && job(story, &it.job).is_some_and(|job| 0 < job.attempts)
        }),
    ),
    moment(
        "a follow-up waited behind a running job of its entity",
        On::Accepted(|story, it, _| {
            let Some(key) = &it.key else { return false };
            let others = story.of_entity.get(&(it.queue.clone(), key.clone()));
            let running = |id: &String| job(story, id).is_some_and(|job| job.state == State::Processing);
            it.how == How::Created && others.is_some_and(|jobs| jobs.iter().any(running))
        }),
    ),
    moment(
        "an older payload came to the world outside after a newer one",
        On::Stored(|_, it, _| !it.applied && it.key.is_some()),
    ),
    // Batches and ticks.
    moment(
        "a full batch left",
        On::Granted(|story, it, _| {
            let size =
                story.policy(&it.queue).and_then(|policy| policy.batch.as_ref()).map(|batch| batch.size as usize);
            1 < it.jobs.len() && size == Some(it.jobs.len())
        }),
    ),
    moment(
        "a batch left with room, since its oldest job had waited",
        On::Granted(|story, it, _| {
            let batch = story.policy(&it.queue).and_then(|policy| policy.batch.as_ref());
            let Some((size, Some(wait_ms))) = batch.map(|batch| (batch.size as usize, batch.wait_ms)) else {
                return false;
            };
            it.jobs.len() < size && any_job(story, it, |job, _| due(job).is_some_and(|due| due + wait_ms <= it.clock))
        }),
    ),
    moment(
        "of a batch some jobs failed and others did not",
        On::Finished(|_, it, _| {
            let has = |outcome| it.jobs.iter().any(|ended| ended.outcome == outcome);
            has(AttemptOutcome::Completed) && has(AttemptOutcome::Failed)
        }),
    ),
    moment(
        "a catch-up tick ran after an outage",
        On::Granted(|story, it, _| {
            let every =
                story.policy(&it.queue).and_then(|policy| policy.schedule.as_ref()).map(|schedule| schedule.every_ms);
            let missed = |due: u64| every.is_some_and(|every| due + every <= it.clock);
            any_job(story, it, |job, _| due(job).is_some_and(missed))
        }),
    ),
    moment(
        "a tick needed more than one batch",
        On::Granted(|story, it, _| {
            let Some(every) = story.policy(&it.queue).and_then(|policy| policy.schedule.as_ref()) else { return false };
            let tick = |clock: u64| clock / every.every_ms;
            story
                .last_grant
                .as_ref()
                .is_some_and(|(_, last)| last.queue == it.queue && tick(last.clock) == tick(it.clock))
        }),
    ),
    moment("a batch came again that the world outside knew", On::Stored(|_, it, _| !it.applied && it.batch.is_some())),
    // Limits and priorities.
    moment("a rate limit held back a start", On::Granted(held_back)),
    moment("an aged job overtook a higher priority", On::Granted(overtakes)),
    moment(
        "a paused queue held back a job that was due",
        On::Paused(|story, it, at| {
            let clock = story.clock(at);
            let line = story.waiting.get(&it.queue).and_then(|line| line.first());
            !it.paused && line.is_some_and(|(due, _)| *due <= clock)
        }),
    ),
    // Users.
    moment(
        "a session resumed and caught up",
        On::Notified(|story, it, _| {
            let opened = it.session.as_ref().and_then(|session| story.sessions.get(session));
            let ended_at = job(story, &it.job).and_then(|job| job.ended_at);
            opened.zip(ended_at).is_some_and(|(&(opened, resumed), ended_at)| resumed && ended_at < opened)
        }),
    ),
    moment("a mail told of an end", On::Notified(|_, it, _| it.via == Via::Email)),
    moment("a user was told of a failure", On::Notified(|_, it, _| it.status == Status::Failed)),
    moment(
        "a user was told of an end while a fault was in force",
        On::Notified(|story, _, _| !story.faults.is_empty()),
    ),
    moment("a dead letter went back while a fault was in force", On::Redriven(|story, _, _| !story.faults.is_empty())),
];

const fn moment(name: &'static str, when: When) -> Moment {
    Moment { name, when }
}

fn job<'a>(story: &'a Story, id: &str) -> Option<&'a Job> {
    story.jobs.get(id)
}

fn last<'a>(story: &'a Story, id: &str) -> Option<&'a Attempt> {
    job(story, id)?.last.as_ref()
}

/// When a waiting job is due.
fn due(job: &Job) -> Option<u64> {
    match job.state {
        State::Waiting(due) => Some(due),
        _ => None,
    }
}

/// Whether some job of a delivery is as `holds` asks.
fn any_job(story: &Story, it: &Granted, holds: impl Fn(&Job, &Lease) -> bool) -> bool {
    it.jobs.iter().any(|lease| job(story, &lease.job).is_some_and(|job| holds(job, lease)))
}

fn busy(story: &Story, processor: &str) -> usize {
    let running = |job: &&Job| {
        job.state == State::Processing
            && job.last.as_ref().is_some_and(|last| last.is_running && last.processor == processor)
    };
    story.jobs.values().filter(running).count()
}

fn strikes(it: &Fault, kind: &str, host: &str) -> bool {
    it.active && it.kind == kind && it.on == [host]
}

/// Of a full window the oldest start has just left, and the job had been due before.
fn held_back(story: &Story, it: &Granted, _: u64) -> bool {
    let Some(limit) = story.policy(&it.queue).and_then(|policy| policy.rate_limit.as_ref()) else { return false };
    let Some(starts) = story.starts.get(&it.queue).filter(|starts| starts.len() == limit.starts as usize) else {
        return false;
    };
    let (Some(oldest), Some(newest)) = (starts.front(), starts.back()) else { return false };
    let room_at = oldest + limit.per_ms;
    let was_due = |job: &Job, _: &Lease| due(job).is_some_and(|due| due < room_at);
    *newest < room_at && room_at <= it.clock && any_job(story, it, was_due)
}

/// A job of a queue that nothing but its priority holds up waits, and a lower one that has aged goes first.
fn overtakes(story: &Story, it: &Granted, _: u64) -> bool {
    let Some(own) = story.policy(&it.queue) else { return false };
    let has_aged = any_job(story, it, |job, _| due(job).is_some_and(|due| due + AGING_MS <= it.clock));
    has_aged
        && story.queues.iter().any(|(name, policy)| {
            let is_plain = policy.rate_limit.is_none() && policy.batch.is_none() && !policy.deduplication;
            let first = story.waiting.get(name).and_then(|line| line.first());
            is_plain && own.priority < policy.priority && first.is_some_and(|(due, _)| *due <= it.clock)
        })
}
