//! Bugs of `retry/at-least` and `retry/infinite`: jobs that are given up too early, or taken for done.

use std::collections::BTreeMap;

use kew_runtime::broker::Report;
use kew_runtime::store::{Answer, Claim, Command, Outcome, Settle, Store, Then};
use kew_spec::queues::Attempts;
use serde_json::value::RawValue;

use super::Bug;
use super::alter::track::{Entities, Leases};
use super::alter::{self, StoreBug};
use super::plant::{decision, policy, processor, store};
use super::retry::more_attempts;

pub(super) const BUGS: &[Bug] = &[
    policy(
        "one-retry-too-few",
        "retry/at-least",
        "Attempts mean retries less one: the last delivery never comes.",
        |it| more_attempts(it, -1),
    ),
    policy(
        "attempts-less-one-without-dead-letters",
        "retry/at-least",
        "Where nothing is dead-lettered, attempts mean retries less one.",
        |it| {
            if it.dead_letter_queue.is_none() {
                more_attempts(it, -1);
            }
        },
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
];

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
