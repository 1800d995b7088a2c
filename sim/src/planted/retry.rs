//! Bugs of the family `retry`: too many deliveries or too few, wrong numbers, and settles that should not count.

use std::collections::{BTreeMap, BTreeSet};

use kew_runtime::broker::Report;
use kew_runtime::store::{Answer, Claim, Command, JobRow, LeaseId, Outcome, Outlook, Settle, Store, Then};
use kew_spec::lifecycle::Status;
use kew_spec::queues::{Attempts, Policy};
use serde_json::value::RawValue;

use super::Bug;
use super::alter::track::{Entities, Leases};
use super::alter::{self, Every, StoreBug};
use super::plant::{decision, policy, processor, reader, store};
use super::status::jobs;

pub(super) const BUGS: &[Bug] = &[
    policy(
        "cloudflare-max-retries-off-by-one",
        "retry/at-most",
        "Attempts are taken for retries: one delivery more than allowed.",
        |it| more_attempts(it, 1),
    ),
    decision(
        "lost-lease-does-not-count",
        "retry/at-most",
        "An attempt whose lease was lost is not counted.",
        |store| {
            alter::settles(store, |it| {
                if matches!(it.outcome, Outcome::Lost(_)) && is_end(it) {
                    it.then = Then::RetryAt(it.now_ms);
                }
            })
        },
    ),
    decision("timed-out-does-not-count", "retry/at-most", "An attempt that timed out is not counted.", |store| {
        alter::settles(store, |it| {
            if matches!(it.outcome, Outcome::TimedOut(_)) && is_end(it) {
                it.then = Then::RetryAt(it.now_ms);
            }
        })
    }),
    decision(
        "attempts-counted-since-restart",
        "retry/at-most",
        "A restart forgets the attempts that a job has had.",
        |store| alter::after_restart(store, |store| alter::store(store, SinceRestart::default())),
    ),
    store("apalis-494-attempts-never-grow", "retry/at-most", "Each attempt of a job is its first.", |store| {
        renumbered(store, |_| 1)
    }),
    policy(
        "one-retry-too-few",
        "retry/at-least",
        "Attempts mean retries less one: the last delivery never comes.",
        |it| more_attempts(it, -1),
    ),
    decision(
        "faktory-409-lost-lease-gives-up",
        "retry/at-least",
        "A lost lease ends the job with attempts left.",
        |store| {
            alter::settles(store, |it| {
                if matches!((&it.outcome, &it.then), (Outcome::Lost(_), Then::RetryAt(_))) {
                    it.then = Then::Fail;
                }
            })
        },
    ),
    decision("timeout-gives-up", "retry/at-least", "A timeout ends the job with attempts left.", |store| {
        alter::settles(store, |it| {
            if matches!((&it.outcome, &it.then), (Outcome::TimedOut(_), Then::RetryAt(_))) {
                it.then = Then::Fail;
            }
        })
    }),
    store(
        "harlan-nuxt-75-defer-burns-attempt",
        "retry/at-least",
        "A job that is put off before it is delivered has used up an attempt.",
        |store| alter::store(store, Deferred::default()),
    ),
    processor(
        "apalis-182-error-counts-as-done",
        "retry/at-least",
        "A handler's failure is settled as success.",
        |queue| {
            alter::settlements(queue, |reports| {
                for report in reports {
                    if matches!(report, Report::Failed { .. }) {
                        **report = Report::Completed { result: RawValue::NULL.to_owned() };
                    }
                }
            })
        },
    ),
    store("completed-job-resurrected", "retry/stops", "Some completed jobs are delivered again.", |store| {
        let mut every = Every::nth(4);
        uncompleted(store, move |_| every.strikes())
    }),
    store(
        "completed-retry-resurrected",
        "retry/stops",
        "A job that succeeds at its second attempt is delivered again.",
        |store| uncompleted(store, |it| it.lease.attempt == 2),
    ),
    store(
        "last-of-a-batch-resurrected",
        "retry/stops",
        "The last job of a batch that is completed is delivered again.",
        |store| alter::store(store, LastOfBatch::default()),
    ),
    policy(
        "infinite-means-two",
        "retry/infinite",
        "A job that should never be given up is, after two attempts.",
        |it| {
            if it.attempts == Attempts::INFINITE {
                it.attempts = Attempts::Limited(2);
            }
        },
    ),
    decision(
        "solid-queue-422-killed-means-failed",
        "retry/infinite",
        "A job whose processor was killed and is back is marked failed.",
        |store| alter::store(store, KilledMeansFailed::default()),
    ),
    decision(
        "river-0-12-retry-conflicts-with-itself",
        "retry/infinite",
        "A job of an entity that goes to its retry is a duplicate of itself, and dropped.",
        |store| dropped(store, |it, _| matches!(it.outcome, Outcome::Failed(_))),
    ),
    decision(
        "procrastinate-1543-stalled-twin",
        "retry/infinite",
        "A lost job whose entity has a follow-up is a duplicate of that, and dropped.",
        |store| dropped(store, |it, followed| followed && matches!(it.outcome, Outcome::Lost(_))),
    ),
    decision("given-up-at-the-third", "retry/infinite", "Whatever fails three times is given up.", |store| {
        alter::settles(store, |it| {
            if 3 <= it.lease.attempt && matches!(it.then, Then::RetryAt(_)) {
                it.then = Then::Fail;
            }
        })
    }),
    reader("retry-count-counts-deliveries", "retry/count", "retry_count is the number of deliveries.", |inner| {
        alter::reader(inner, |rows| {
            jobs(rows).filter(|job| job.status != Status::Pending).for_each(|job| job.retry_count += 1);
        })
    }),
    reader(
        "retry-count-without-lost-ones",
        "retry/count",
        "An attempt that was lost is not in retry_count.",
        |inner| {
            alter::reader(inner, |rows| {
                let lost = |job: &&mut JobRow| job.error.as_ref().is_some_and(|error| error.starts_with("lease lost"));
                jobs(rows).filter(lost).for_each(|job| job.retry_count = job.retry_count.saturating_sub(1));
            })
        },
    ),
    reader("retry-count-ends-at-one", "retry/count", "retry_count is a flag: retried or not.", |inner| {
        alter::reader(inner, |rows| jobs(rows).for_each(|job| job.retry_count = job.retry_count.min(1)))
    }),
    store("attempts-numbered-from-zero", "retry/count", "The first attempt has the number 0.", |store| {
        renumbered(store, |lease| lease.attempt - 1)
    }),
    store(
        "bull-1416-stale-settle-accepted",
        "retry/one-owner",
        "A settle counts although its lease is over.",
        |store| {
            alter::answers(store, |_, answer| {
                if let Answer::Settled { accepted } = answer {
                    *accepted = true;
                }
            })
        },
    ),
    store(
        "solid-queue-589-finished-and-failed",
        "retry/one-owner",
        "A job that was given up for lost is finished by its old processor all the same.",
        |store| alter::store(store, FinishedAndFailed::default()),
    ),
];

fn more_attempts(policy: &mut Policy, by: i32) {
    if let Attempts::Limited(max) = policy.attempts {
        policy.attempts = Attempts::Limited(max.saturating_add_signed(by).max(1));
    }
}

/// Whether the job is given up.
fn is_end(it: &Settle) -> bool {
    matches!(it.then, Then::Fail | Then::DeadLetter(_))
}

/// The attempts that have been given since a restart.
#[derive(Default)]
struct SinceRestart {
    attempts: BTreeMap<String, u32>,
}

impl StoreBug for SinceRestart {
    fn before(&mut self, command: &mut Command) -> Option<Answer> {
        if let Command::Settle(it) = command
            && is_end(it)
            && self.attempts.get(&it.lease.job).copied().unwrap_or(0) < it.lease.attempt
        {
            // As many are still to come as were had before the restart, so this ends.
            *self.attempts.entry(it.lease.job.clone()).or_default() += it.lease.attempt;
            it.then = Then::RetryAt(it.now_ms);
        }
        None
    }

    fn after(&mut self, _asked: &Command, answer: &mut Answer) {
        if let Answer::Claimed(Some(claimed)) = answer {
            claimed.jobs.iter().for_each(|job| *self.attempts.entry(job.lease.job.clone()).or_default() += 1);
        }
    }
}

/// A delivery in a job's whole life: the job and the fence.
type Fence = (String, u32);

/// Attempts under other numbers than the store has.
struct Renumbered<F> {
    number: F,
    /// What the store calls it, and what it is called here.
    numbers: BTreeMap<Fence, (u32, u32)>,
}

/// Lets `number` say what each attempt is called.
pub(super) fn renumbered(
    inner: Box<dyn Store>,
    number: impl FnMut(&LeaseId) -> u32 + Send + 'static,
) -> Box<dyn Store> {
    alter::store(inner, Renumbered { number, numbers: BTreeMap::new() })
}

impl<F: FnMut(&LeaseId) -> u32 + Send + 'static> StoreBug for Renumbered<F> {
    fn before(&mut self, command: &mut Command) -> Option<Answer> {
        if let Command::Settle(it) = command
            && let Some((real, _)) = self.numbers.get(&(it.lease.job.clone(), it.lease.fence))
        {
            it.lease.attempt = *real;
        }
        None
    }

    fn after(&mut self, _asked: &Command, answer: &mut Answer) {
        let Answer::Claimed(Some(claimed)) = answer else { return };
        for job in &mut claimed.jobs {
            let number = (self.number)(&job.lease);
            self.numbers.insert((job.lease.job.clone(), job.lease.fence), (job.lease.attempt, number));
            job.lease.attempt = number;
        }
    }

    fn outlook(&mut self, _now_ms: u64, outlook: &mut Outlook) {
        for lease in &mut outlook.expired {
            if let Some((_, number)) = self.numbers.get(&(lease.job.clone(), lease.fence)) {
                lease.attempt = *number;
            }
        }
    }
}

/// Every third first delivery of one job is put off, which the store counts as an attempt.
#[derive(Default)]
struct Deferred {
    count: u32,
    /// What is to be applied, the next one last.
    further: Vec<Command>,
}

impl StoreBug for Deferred {
    fn after(&mut self, asked: &Command, answer: &mut Answer) {
        let (Command::Claim(it @ Claim { rate: None, .. }), Answer::Claimed(Some(claimed))) = (asked, answer) else {
            return;
        };
        let [first] = &claimed.jobs[..] else { return };
        self.count += u32::from(first.lease.attempt == 1);
        if first.lease.attempt == 1 && self.count.is_multiple_of(3) {
            let put_off = Settle {
                lease: first.lease.clone(),
                outcome: Outcome::Failed("put off".into()),
                then: Then::RetryAt(it.now_ms),
                keep_batch: false,
                now_ms: it.now_ms,
            };
            claimed.jobs.clear();
            self.further = vec![Command::Claim(it.clone()), Command::Settle(put_off)];
        }
    }

    fn further(&mut self) -> Option<Command> {
        self.further.pop()
    }
}

/// Successes of choice that the store does not keep: it lets the job wait for another attempt.
fn uncompleted(inner: Box<dyn Store>, mut choice: impl FnMut(&Settle) -> bool + Send + 'static) -> Box<dyn Store> {
    alter::settles(inner, move |it| {
        if it.then == Then::Complete && choice(it) {
            uncomplete(it);
        }
    })
}

fn uncomplete(it: &mut Settle) {
    it.outcome = Outcome::Failed("not stored".into());
    it.then = Then::RetryAt(it.now_ms + 500);
}

#[derive(Default)]
struct LastOfBatch {
    last: BTreeSet<LeaseId>,
}

impl StoreBug for LastOfBatch {
    fn before(&mut self, command: &mut Command) -> Option<Answer> {
        if let Command::Settle(it) = command
            && it.then == Then::Complete
            && self.last.remove(&it.lease)
        {
            uncomplete(it);
        }
        None
    }

    fn after(&mut self, _asked: &Command, answer: &mut Answer) {
        if let Answer::Claimed(Some(claimed)) = answer
            && let [_, .., last] = &claimed.jobs[..]
        {
            self.last.insert(last.lease.clone());
        }
    }
}

#[derive(Default)]
struct KilledMeansFailed {
    leases: Leases,
    last_claim_ms: BTreeMap<String, u64>,
}

impl StoreBug for KilledMeansFailed {
    fn before(&mut self, command: &mut Command) -> Option<Answer> {
        if let Command::Settle(it) = command
            && matches!((&it.outcome, &it.then), (Outcome::Lost(_), Then::RetryAt(_)))
            && let Some(leased) = self.leases.get(&it.lease)
            && self.last_claim_ms.get(&leased.processor).is_some_and(|&last| leased.granted_ms < last)
        {
            it.then = Then::Fail;
        }
        None
    }

    fn after(&mut self, asked: &Command, answer: &mut Answer) {
        if let (Command::Claim(it), Answer::Claimed(Some(_))) = (asked, &*answer) {
            self.last_claim_ms.insert(it.processor.clone(), it.now_ms);
        }
        self.leases.see(asked, answer);
    }
}

/// Retries of jobs of entities that are dropped.
struct Dropped {
    entities: Entities,
    /// Given the settle and whether a follow-up waits.
    drops: fn(&Settle, bool) -> bool,
}

fn dropped(inner: Box<dyn Store>, drops: fn(&Settle, bool) -> bool) -> Box<dyn Store> {
    alter::store(inner, Dropped { entities: Entities::default(), drops })
}

impl StoreBug for Dropped {
    fn before(&mut self, command: &mut Command) -> Option<Answer> {
        if let Command::Settle(it) = command
            && matches!(it.then, Then::RetryAt(_))
            && let Some(entity) = self.entities.of_job(&it.lease.job)
            && (self.drops)(it, entity.waiting.is_some())
        {
            it.then = Then::Fail;
        }
        None
    }

    fn after(&mut self, asked: &Command, answer: &mut Answer) {
        self.entities.see(asked, answer);
    }
}

/// Jobs that have been given up because their last lease was lost.
#[derive(Default)]
struct FinishedAndFailed {
    given_up: BTreeSet<String>,
}

impl StoreBug for FinishedAndFailed {
    fn after(&mut self, asked: &Command, answer: &mut Answer) {
        let (Command::Settle(it), Answer::Settled { accepted }) = (asked, answer) else { return };
        if *accepted && matches!(it.outcome, Outcome::Lost(_)) && is_end(it) {
            self.given_up.insert(it.lease.job.clone());
        } else if it.then == Then::Complete && self.given_up.contains(&it.lease.job) {
            *accepted = true;
        }
    }
}
