//! Bugs of the family `retry`: too many deliveries, wrong numbers, and settles that should not count. Giving up too early is
//! in `giving_up`.

use std::collections::{BTreeMap, BTreeSet};

use kew_runtime::store::{Answer, ClaimedJob, Command, JobRow, LeaseId, Outcome, Outlook, Settle, Store, Then};
use kew_spec::lifecycle::Status;
use kew_spec::queues::{Attempts, Policy};

use super::Bug;
use super::alter::{self, Every, StoreBug};
use super::plant::{decision, policy, reader, store};
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
    store("completed-given-along-again", "retry/stops", "Every third batch takes a job along that is done.", |store| {
        alter::store(store, GivenAgain { running: BTreeMap::new(), done: BTreeMap::new(), every: Every::nth(3) })
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

pub(super) fn more_attempts(policy: &mut Policy, by: i32) {
    if let Attempts::Limited(max) = policy.attempts {
        policy.attempts = Attempts::Limited(max.saturating_add_signed(by).max(1));
    }
}

/// Whether the job is given up.
pub(super) fn is_end(it: &Settle) -> bool {
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

/// The job of each queue that was completed last. Events of a schedule are left out: they would be stored twice.
struct GivenAgain {
    running: BTreeMap<String, ClaimedJob>,
    done: BTreeMap<String, ClaimedJob>,
    every: Every,
}

impl StoreBug for GivenAgain {
    fn after(&mut self, asked: &Command, answer: &mut Answer) {
        match (asked, answer) {
            (Command::Claim(it), Answer::Claimed(Some(claimed))) if 1 < it.max => {
                let last = claimed.jobs.last().cloned();
                let has_room = claimed.jobs.len() < it.max as usize;
                if let Some(done) = self.done.get(&it.queue).filter(|_| has_room && self.every.strikes()) {
                    claimed.jobs.push(done.clone());
                }
                self.running.extend(last.map(|job| (job.lease.job.clone(), job)));
            }
            (Command::Settle(it), Answer::Settled { accepted: true }) => {
                let job = self.running.remove(&it.lease.job);
                if it.then == Then::Complete && !it.keep_batch {
                    self.done.extend(job.map(|job| (it.lease.queue.clone(), job)));
                }
            }
            _ => {}
        }
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
