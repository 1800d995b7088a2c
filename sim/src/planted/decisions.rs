//! Bugs of the queue's own judgement: it decides wrongly, does so, and says so. They stand between the broker and the
//! recorder, so that the history shows what was really decided.

use std::collections::{BTreeMap, BTreeSet};

use kew_runtime::store::{Answer, Claim, Command, Outcome, Outlook, Settle, Store, Then};

use super::alter::{self, StoreBug};
use super::{Bug, Plant};

pub(super) const BUGS: &[Bug] = &[
    bug("lost-lease-does-not-count", "retry/at-most", "An attempt whose lease was lost is not counted.", |store| {
        alter::store(
            store,
            Settles(|it| {
                if matches!((&it.outcome, &it.then), (Outcome::Lost(_), Then::Fail | Then::DeadLetter(_))) {
                    it.then = Then::RetryAt(it.now_ms);
                }
            }),
        )
    }),
    bug(
        "faktory-409-lost-lease-gives-up",
        "retry/at-least",
        "A lost lease ends the job with attempts left.",
        |store| {
            alter::store(
                store,
                Settles(|it| {
                    if matches!((&it.outcome, &it.then), (Outcome::Lost(_), Then::RetryAt(_))) {
                        it.then = Then::Fail;
                    }
                }),
            )
        },
    ),
    bug("settles-dropped", "retry/caused", "Every seventh settle is acknowledged and not done.", |store| {
        alter::store(store, Dropped::default())
    }),
    bug("apalis-510-retry-at-once", "backoff/never-early", "A failed job is tried again at once.", |store| {
        alter::store(
            store,
            Settles(|it| {
                if let Then::RetryAt(at) = &mut it.then {
                    *at = it.now_ms;
                }
            }),
        )
    }),
    bug(
        "tick-fired-twice",
        "schedule/every-tick",
        "A failed event runs again at the tick that it failed at.",
        |store| {
            alter::store(
                store,
                Settles(|it| {
                    if let (Then::RetryAt(at), true) = (&mut it.then, it.keep_batch) {
                        *at = it.now_ms;
                    }
                }),
            )
        },
    ),
    bug("failed-without-dead-letter", "dead-letter/exactly", "A job whose attempts are spent just fails.", |store| {
        alter::store(
            store,
            Settles(|it| {
                if matches!(it.then, Then::DeadLetter(_)) {
                    it.then = Then::Fail;
                }
            }),
        )
    }),
    bug("redrive-without-fresh-attempts", "dead-letter/redrive", "A redriven job has no attempts left.", |store| {
        alter::store(store, Redriven::default())
    }),
    bug("rate-window-reset-on-restart", "rate/ceiling", "A restart forgets the starts of the last second.", |store| {
        alter::store(store, RateReset::default())
    }),
    bug("full-batch-waits", "batch/full", "A full batch waits like any other.", |store| alter::store(store, FullWaits)),
    bug("never-ages", "priority/aging", "A waiting job never rises.", |store| alter::store(store, NeverAges)),
    bug("one-run-per-missed-tick", "schedule/catch-up", "Missed ticks are run one by one.", |store| {
        alter::store(store, TickByTick::default())
    }),
    bug("tick-takes-half-batches", "schedule/drains", "A tick takes its events in half-full batches.", |store| {
        alter::store(store, HalfBatches::default())
    }),
];

const fn bug(
    name: &'static str,
    clause: &'static str,
    about: &'static str,
    plant: fn(Box<dyn Store>) -> Box<dyn Store>,
) -> Bug {
    Bug { name, clause, about, plant: Plant::Decision(plant) }
}

/// Alters the ends of attempts.
struct Settles(fn(&mut Settle));

impl StoreBug for Settles {
    fn before(&mut self, command: &mut Command) -> Option<Answer> {
        if let Command::Settle(it) = command {
            (self.0)(it);
        }
        None
    }
}

/// Every seventh settle of a processor goes nowhere; its lease runs out later.
#[derive(Default)]
struct Dropped {
    count: u32,
}

impl StoreBug for Dropped {
    fn before(&mut self, command: &mut Command) -> Option<Answer> {
        let Command::Settle(it) = command else { return None };
        self.count += u32::from(!matches!(it.outcome, Outcome::Lost(_)));
        let is_dropped = !matches!(it.outcome, Outcome::Lost(_)) && self.count.is_multiple_of(7);
        is_dropped.then_some(Answer::Settled { accepted: true })
    }
}

#[derive(Default)]
struct Redriven(BTreeMap<String, ()>);

impl StoreBug for Redriven {
    fn before(&mut self, command: &mut Command) -> Option<Answer> {
        match command {
            Command::Redrive { job, .. } => drop(self.0.insert(job.clone(), ())),
            Command::Settle(it) if self.0.contains_key(&it.lease.job) => {
                if matches!(it.then, Then::RetryAt(_)) {
                    it.then = Then::DeadLetter(format!("{}_dlq", it.lease.queue));
                }
            }
            _ => {}
        }
        None
    }
}

/// Knows only the claims that it has seen itself.
#[derive(Default)]
struct RateReset {
    since_ms: Option<u64>,
}

impl StoreBug for RateReset {
    fn before(&mut self, command: &mut Command) -> Option<Answer> {
        if let Command::Claim(Claim { rate: Some((starts, per_ms)), now_ms, .. }) = command {
            // The window counts from the restart: what it holds from before is given on top.
            if self.since_ms.is_some_and(|since| *now_ms < since + *per_ms) {
                *starts *= 2;
            }
        }
        None
    }

    fn outlook(&mut self, now_ms: u64, outlook: &mut Outlook) {
        let since_ms = *self.since_ms.get_or_insert(now_ms);
        for queue in &mut outlook.queues {
            queue.recent_claims_ms.retain(|&at| since_ms <= at);
        }
    }
}

struct FullWaits;

impl StoreBug for FullWaits {
    fn outlook(&mut self, _now_ms: u64, outlook: &mut Outlook) {
        outlook.queues.iter_mut().for_each(|queue| queue.ready = queue.ready.min(1));
    }
}

struct NeverAges;

impl StoreBug for NeverAges {
    fn outlook(&mut self, now_ms: u64, outlook: &mut Outlook) {
        for queue in &mut outlook.queues {
            queue.oldest_ready_ms = queue.oldest_ready_ms.map(|oldest| oldest.max(now_ms.saturating_sub(29_999)));
        }
    }
}

/// Which events wait for which tick, going by what was enqueued.
#[derive(Default)]
struct TickByTick {
    waiting: BTreeMap<String, BTreeSet<(u64, String)>>,
}

impl StoreBug for TickByTick {
    fn before(&mut self, command: &mut Command) -> Option<Answer> {
        match command {
            Command::Enqueue(it) if it.now_ms < it.ready_ms => {
                self.waiting.entry(it.queue.clone()).or_default().insert((it.ready_ms, it.id.clone()));
            }
            Command::Claim(it) => {
                if let Some(waiting) = self.waiting.get(&it.queue)
                    && let Some((first, _)) = waiting.first()
                {
                    let same = waiting.iter().take_while(|(tick, _)| tick == first).count();
                    it.max = it.max.min(same.max(1) as u32);
                }
            }
            _ => {}
        }
        None
    }

    fn after(&mut self, asked: &Command, answer: &mut Answer) {
        if let (Command::Claim(it), Answer::Claimed(Some(claimed))) = (asked, answer)
            && let Some(waiting) = self.waiting.get_mut(&it.queue)
        {
            waiting.retain(|(_, id)| claimed.jobs.iter().all(|job| job.lease.job != *id));
        }
    }
}

#[derive(Default)]
struct HalfBatches {
    scheduled: BTreeSet<String>,
}

impl StoreBug for HalfBatches {
    fn before(&mut self, command: &mut Command) -> Option<Answer> {
        match command {
            Command::Enqueue(it) if it.now_ms < it.ready_ms => drop(self.scheduled.insert(it.queue.clone())),
            Command::Claim(it) if self.scheduled.contains(&it.queue) => it.max = it.max.div_ceil(2),
            _ => {}
        }
        None
    }
}
