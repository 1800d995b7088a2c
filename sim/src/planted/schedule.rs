//! Bugs of the family `schedule`: ticks that do not fire, fire twice or take the wrong events, and batches stored twice.
//!
//! A store knows no policies; that a queue is scheduled shows in its new jobs, which are not ready at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::FutureExt;
use kew_runtime::broker::Request;
use kew_runtime::processor::{Delivery, Handler, Report};
use kew_runtime::store::{Answer, Command, NewJob, Outlook, QueueOutlook, Store, Then};

use super::Bug;
use super::alter::track::Leases;
use super::alter::{self, Done, StoreBug};
use super::plant::{decision, handler, policy, processor};

/// A scheduler that is later than this for a tick passes it over.
const LATE_MS: u64 = 1_500;

/// Among how many processors a backlog is shared out.
const SHARES: u32 = 3;

/// How many events a modest processor asks for.
const BITE: u32 = 2;

pub(super) const BUGS: &[Bug] = &[
    policy("ticks-at-half-time", "schedule/on-tick", "The schedule fires between its ticks too.", |it| {
        if let Some(schedule) = &mut it.schedule {
            schedule.every_ms = schedule.every_ms.div_ceil(2);
        }
    }),
    decision(
        "late-comer-joins-the-run",
        "schedule/on-tick",
        "An event that comes while a run is processing is taken along.",
        |store| alter::store(store, LateComer::default()),
    ),
    decision(
        "first-event-after-a-restart-at-once",
        "schedule/on-tick",
        "After a restart, the first event of a queue does not wait for a tick.",
        |store| {
            alter::after_restart(store, |store| {
                let mut known = BTreeSet::new();
                alter::enqueues(store, move |it| {
                    if known.insert(it.queue.clone()) {
                        it.ready_ms = it.now_ms;
                    }
                })
            })
        },
    ),
    policy("tick-skipped", "schedule/every-tick", "Only every second tick fires.", |it| {
        if let Some(schedule) = &mut it.schedule {
            schedule.every_ms *= 2;
        }
    }),
    decision(
        "18f-7317-tick-fired-twice",
        "schedule/every-tick",
        "A failed event runs again at the tick that it failed at.",
        |store| {
            alter::settles(store, |it| {
                if let (Then::RetryAt(at), true) = (&mut it.then, it.keep_batch) {
                    *at = it.now_ms;
                }
            })
        },
    ),
    decision(
        "river-342-second-schedule-never-fires",
        "schedule/every-tick",
        "Only the schedule of the first queue is looked at.",
        |store| {
            scheduled(store, |scheduled, queue, _| {
                if scheduled.first().is_some_and(|first| *first != queue.queue) {
                    hide(queue);
                }
            })
        },
    ),
    decision(
        "river-1251-scheduler-stuck-after-an-outage",
        "schedule/every-tick",
        "After a restart no tick fires any more.",
        |store| alter::after_restart(store, |store| scheduled(store, |_, queue, _| hide(queue))),
    ),
    decision(
        "pg-boss-327-slept-through-a-tick",
        "schedule/every-tick",
        "A tick that was not fired in time is never made up for.",
        |store| {
            scheduled(store, |_, queue, now_ms| {
                if queue.oldest_ready_ms.is_some_and(|oldest_ms| oldest_ms + LATE_MS < now_ms) {
                    hide(queue);
                }
            })
        },
    ),
    decision(
        "getpaseo-2819-cadence-advanced-twice",
        "backoff/not-late",
        "A failed event passes over the next tick.",
        |store| alter::store(store, AdvancedTwice::default()),
    ),
    decision("one-run-per-missed-tick", "schedule/catch-up", "Missed ticks are run one by one.", |store| {
        alter::store(store, TickByTick::default())
    }),
    decision(
        "catch-up-in-smaller-batches",
        "schedule/catch-up",
        "After a restart, batches are not filled to their size.",
        |store| {
            alter::after_restart(store, |store| {
                let size = |max: u32| (max - max / 6).saturating_sub(1).max(1);
                alter::store(store, Bites { size, whatever: true, ..Bites::default() })
            })
        },
    ),
    decision(
        "missed-ticks-shared-out",
        "schedule/catch-up",
        "What waited at missed ticks is shared out among the processors.",
        |store| alter::store(store, SharedOut::default()),
    ),
    decision("tick-takes-half-batches", "schedule/drains", "A tick takes its events in half-full batches.", |store| {
        alter::store(store, Bites::default())
    }),
    decision(
        "one-batch-per-tick",
        "schedule/drains",
        "A tick takes one batch, and leaves the rest to the next.",
        |store| alter::store(store, OneBatch::default()),
    ),
    processor(
        "processor-asks-for-less",
        "schedule/drains",
        "A processor takes at most two jobs of a batch.",
        |queue| {
            alter::requests(queue, |request| {
                if let Request::Pull(pull) = request {
                    pull.batch_size_max = Some(BITE);
                }
            })
        },
    ),
    handler("batch-id-made-anew", "schedule/stored-once", "A batch tried again has another id.", |handler| {
        alter::deliveries(handler, |delivery| delivery.batch.clone_from(&delivery.id))
    }),
    decision("batch-not-kept-together", "schedule/stored-once", "Events that failed go into any batch.", |store| {
        alter::settles(store, |it| it.keep_batch = false)
    }),
    handler("lone-event-not-stored", "schedule/stored-once", "An event alone in its batch is not stored.", |handler| {
        alter::around(handler, without_lone)
    }),
];

/// Whether a new job waits for a tick.
pub(super) fn waits_for_tick(it: &NewJob) -> bool {
    it.now_ms < it.ready_ms
}

/// Nothing is due in `queue`.
fn hide(queue: &mut QueueOutlook) {
    (queue.oldest_ready_ms, queue.next_ready_ms, queue.ready) = (None, None, 0);
}

/// What is done to a scheduled queue's outlook, given all of them and the time.
type Alter = fn(&BTreeSet<String>, &mut QueueOutlook, u64);

/// The queues that are scheduled.
struct Scheduled {
    queues: BTreeSet<String>,
    alter: Alter,
}

fn scheduled(inner: Box<dyn Store>, alter: Alter) -> Box<dyn Store> {
    alter::store(inner, Scheduled { queues: BTreeSet::new(), alter })
}

impl StoreBug for Scheduled {
    fn after(&mut self, asked: &Command, _answer: &mut Answer) {
        if let Command::Enqueue(it) = asked
            && waits_for_tick(it)
        {
            self.queues.insert(it.queue.clone());
        }
    }

    fn outlook(&mut self, now_ms: u64, outlook: &mut Outlook) {
        for queue in outlook.queues.iter_mut().filter(|queue| self.queues.contains(&queue.queue)) {
            (self.alter)(&self.queues, queue, now_ms);
        }
    }
}

#[derive(Default)]
struct LateComer {
    leases: Leases,
}

impl StoreBug for LateComer {
    fn before(&mut self, command: &mut Command) -> Option<Answer> {
        if let Command::Enqueue(it) = command
            && self.leases.0.values().any(|leased| leased.lease.queue == it.queue)
        {
            it.ready_ms = it.now_ms;
        }
        None
    }

    fn after(&mut self, asked: &Command, answer: &mut Answer) {
        self.leases.see(asked, answer);
    }
}

/// The ticks of each queue, as far as jobs have waited for them.
#[derive(Default)]
struct AdvancedTwice {
    ticks: BTreeMap<String, BTreeSet<u64>>,
}

impl AdvancedTwice {
    /// The least distance of two ticks of `queue`.
    fn every_ms(&self, queue: &str) -> Option<u64> {
        let ticks = self.ticks.get(queue)?;
        ticks.iter().zip(ticks.iter().skip(1)).map(|(one, next)| next - one).min()
    }
}

impl StoreBug for AdvancedTwice {
    fn before(&mut self, command: &mut Command) -> Option<Answer> {
        match command {
            Command::Enqueue(it) if waits_for_tick(it) => {
                self.ticks.entry(it.queue.clone()).or_default().insert(it.ready_ms);
            }
            Command::Settle(it) if it.keep_batch => {
                if let (Then::RetryAt(at), Some(every_ms)) = (&mut it.then, self.every_ms(&it.lease.queue)) {
                    *at += every_ms;
                }
            }
            _ => {}
        }
        None
    }
}

/// Which events wait for which tick, going by what was enqueued since the broker started.
#[derive(Default)]
struct TickByTick {
    since_ms: Option<u64>,
    waiting: BTreeMap<String, BTreeSet<(u64, String)>>,
    /// The queues that are about to try a batch again, which stays as it is.
    again: BTreeSet<String>,
}

impl TickByTick {
    /// How many events of `queue` wait for the first tick, if others wait for a later one that is due as well, and if none
    /// can have come for the first one before the broker started.
    fn of_first_tick(&self, queue: &str, now_ms: u64) -> Option<u32> {
        let waiting = self.waiting.get(queue).filter(|_| !self.again.contains(queue))?;
        let (first, _) = waiting.first()?;
        let count = waiting.iter().take_while(|(tick, _)| tick == first).count();
        let (second, _) = waiting.iter().nth(count).filter(|(tick, _)| *tick <= now_ms)?;
        (self.since_ms? + (second - first) <= *first).then_some(count as u32)
    }

    fn forget(&mut self, of: &str) {
        self.waiting.values_mut().for_each(|waiting| waiting.retain(|(_, id)| id != of));
    }
}

impl StoreBug for TickByTick {
    fn before(&mut self, command: &mut Command) -> Option<Answer> {
        match command {
            Command::Enqueue(it) if waits_for_tick(it) => {
                self.since_ms.get_or_insert(it.now_ms);
                self.waiting.entry(it.queue.clone()).or_default().insert((it.ready_ms, it.id.clone()));
            }
            Command::Claim(it) => it.max = it.max.min(self.of_first_tick(&it.queue, it.now_ms).unwrap_or(u32::MAX)),
            Command::Cancel { job, .. } => self.forget(job),
            _ => {}
        }
        None
    }

    fn after(&mut self, _asked: &Command, answer: &mut Answer) {
        if let Answer::Claimed(Some(claimed)) = answer {
            claimed.jobs.iter().for_each(|job| self.forget(&job.lease.job));
        }
    }

    fn outlook(&mut self, _now_ms: u64, outlook: &mut Outlook) {
        let again = outlook.queues.iter().filter(|queue| queue.head_keeps_batch);
        self.again = again.map(|queue| queue.queue.clone()).collect();
    }
}

/// The scheduled queues, and how large a share of each is.
#[derive(Default)]
struct SharedOut {
    queues: BTreeSet<String>,
    shares: BTreeMap<String, u32>,
}

impl StoreBug for SharedOut {
    fn before(&mut self, command: &mut Command) -> Option<Answer> {
        match command {
            Command::Enqueue(it) if waits_for_tick(it) => {
                self.queues.insert(it.queue.clone());
            }
            Command::Claim(it) => it.max = it.max.min(self.shares.get(&it.queue).copied().unwrap_or(u32::MAX)),
            _ => {}
        }
        None
    }

    fn outlook(&mut self, now_ms: u64, outlook: &mut Outlook) {
        let missed = |it: &&QueueOutlook| it.oldest_ready_ms.is_some_and(|oldest_ms| oldest_ms + LATE_MS < now_ms);
        let of_schedules = outlook.queues.iter().filter(|it| self.queues.contains(&it.queue)).filter(missed);
        self.shares = of_schedules.map(|it| (it.queue.clone(), it.ready.div_ceil(SHARES).max(1))).collect();
    }
}

/// Scheduled queues give smaller batches than they may.
struct Bites {
    size: fn(u32) -> u32,
    /// All queues that give batches, as it is not known after a restart which of them are scheduled.
    whatever: bool,
    queues: BTreeSet<String>,
}

impl Default for Bites {
    fn default() -> Self {
        Self { size: |max| max.div_ceil(2), whatever: false, queues: BTreeSet::new() }
    }
}

impl StoreBug for Bites {
    fn before(&mut self, command: &mut Command) -> Option<Answer> {
        match command {
            Command::Enqueue(it) if waits_for_tick(it) => {
                self.queues.insert(it.queue.clone());
            }
            Command::Claim(it) if self.queues.contains(&it.queue) || self.whatever => it.max = (self.size)(it.max),
            _ => {}
        }
        None
    }
}

/// When each scheduled queue gave its last batch, and for which of its ticks.
#[derive(Default)]
struct OneBatch {
    queues: BTreeSet<String>,
    /// Until when nothing more is given: the time at which the next events become ready.
    until_ms: BTreeMap<String, u64>,
    next_ms: BTreeMap<String, u64>,
}

impl StoreBug for OneBatch {
    fn after(&mut self, asked: &Command, answer: &mut Answer) {
        match (asked, answer) {
            (Command::Enqueue(it), _) if waits_for_tick(it) => {
                self.queues.insert(it.queue.clone());
                self.next_ms.insert(it.queue.clone(), it.ready_ms);
            }
            (Command::Claim(it), Answer::Claimed(Some(_))) if self.queues.contains(&it.queue) => {
                let next_ms = self.next_ms.get(&it.queue).copied().filter(|&next_ms| it.now_ms < next_ms);
                self.until_ms.insert(it.queue.clone(), next_ms.unwrap_or(u64::MAX));
            }
            _ => {}
        }
    }

    fn outlook(&mut self, now_ms: u64, outlook: &mut Outlook) {
        for queue in &mut outlook.queues {
            let until_ms = self.until_ms.get(&queue.queue).copied().unwrap_or(0);
            let next_ms = queue.next_ready_ms.unwrap_or(u64::MAX);
            self.until_ms.entry(queue.queue.clone()).and_modify(|until_ms| *until_ms = (*until_ms).min(next_ms));
            if now_ms < until_ms {
                (queue.oldest_ready_ms, queue.ready) = (None, 0);
            }
        }
    }
}

/// Reports a lone event as done, without its handler. Mails and entities come alone and are left as they are.
fn without_lone<'a>(inner: &'a Arc<dyn Handler>, delivery: &'a Delivery, report: &'a Report) -> Done<'a> {
    match &delivery.jobs[..] {
        [job] if job.key.is_none() && delivery.queue != "email_notification" => std::future::ready(Ok(())).boxed(),
        _ => inner.handle(delivery, report),
    }
}
