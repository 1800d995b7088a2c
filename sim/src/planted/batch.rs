//! Bugs of the family `batch`: what one delivery holds, when it goes, and what of it is tried again.

use std::collections::{BTreeMap, BTreeSet};

use kew_runtime::broker::{Granted, Report};
use kew_runtime::store::{Answer, Claim, Claimed, Command, Outlook, Store, Then};

use super::Bug;
use super::alter::{self, Every, StoreBug};
use super::plant::{decision, policy, processor, store};
use super::schedule::waits_for_tick;

/// For how long after a full batch the next one is held up.
const HELD_UP_MS: u64 = 4_000;

pub(super) const BUGS: &[Bug] = &[
    policy("batch-of-101", "batch/size", "A batch takes one job more than its size.", |it| {
        if let Some(batch) = &mut it.batch {
            batch.size += 1;
        }
    }),
    decision("batch-doubled-under-backlog", "batch/size", "Two full batches that wait go as one.", |store| {
        alter::store(store, Doubled::default())
    }),
    store("late-comer-joins-a-full-batch", "batch/size", "A full batch takes the next job along.", |store| {
        further_claims(store, |_, it, claimed| {
            let full = 1 < it.max && claimed.jobs.len() == it.max as usize;
            if full { vec![Claim { max: 1, ..it.clone() }] } else { Vec::new() }
        })
    }),
    decision("full-batch-waits", "batch/full", "A full batch waits like any other.", |store| {
        alter::queues(store, |_, queue| queue.ready = queue.ready.min(1))
    }),
    decision("full-means-one-more", "batch/full", "A batch counts as full when one job more waits.", |store| {
        alter::queues(store, |_, queue| queue.ready = queue.ready.saturating_sub(1).max(queue.ready.min(1)))
    }),
    decision("second-full-batch-waits", "batch/full", "After a full batch, the next one waits.", |store| {
        alter::store(store, SecondWaits::default())
    }),
    policy("batch-waits-too-long", "batch/wait", "The oldest job of a batch waits three times as long.", |it| {
        if let Some(wait_ms) = it.batch.as_mut().and_then(|batch| batch.wait_ms.as_mut()) {
            *wait_ms *= 3;
        }
    }),
    decision("batch-waits-for-the-newest", "batch/wait", "Each job that comes makes its batch wait anew.", |store| {
        alter::store(store, WaitsAnew::default())
    }),
    decision("batch-of-one-waits-twice", "batch/wait", "A job alone in its batch waits twice as long.", |store| {
        alter::store(store, AloneWaits::default())
    }),
    processor("one-failure-fails-the-batch", "batch/partial", "One failed job fails its whole batch.", |queue| {
        alter::settlements(queue, |reports| {
            let error = "another job of the batch failed".to_owned();
            if reports.iter().any(|report| matches!(report, Report::Failed { .. })) {
                reports.iter_mut().for_each(|report| {
                    **report = Report::Failed { error: error.clone(), delay_ms: None };
                });
            }
        })
    }),
    processor(
        "timeout-fails-the-whole-batch",
        "batch/partial",
        "What a batch had done at its timeout is done again.",
        |queue| {
            alter::settlements(queue, |reports| {
                if reports.iter().any(|report| matches!(report, Report::TimedOut { .. })) {
                    let error = "timed out with its batch".to_owned();
                    reports.iter_mut().for_each(|report| **report = Report::TimedOut { error: error.clone() });
                }
            })
        },
    ),
    processor(
        "outcomes-one-place-off",
        "batch/partial",
        "Each job of a batch is given its neighbour's outcome.",
        |queue| {
            alter::settlements(queue, |reports| {
                for i in 1..reports.len() {
                    let (before, after) = reports.split_at_mut(i);
                    std::mem::swap(&mut *before[i - 1], &mut *after[0]);
                }
            })
        },
    ),
    store("jobs-of-two-queues-in-a-batch", "batch/one-queue", "A batch takes jobs of other queues along.", |store| {
        further_claims(store, |queues, it, _| if 1 < it.max { of_others(queues, it).collect() } else { Vec::new() })
    }),
    store(
        "short-batch-filled-from-elsewhere",
        "batch/one-queue",
        "A batch of several that is not full takes one job of another queue.",
        |store| {
            further_claims(store, |queues, it, claimed| {
                let short = 1 < claimed.jobs.len() && claimed.jobs.len() < it.max as usize;
                if short { of_others(queues, it).take(1).collect() } else { Vec::new() }
            })
        },
    ),
    processor(
        "deliveries-of-two-queues-run-as-one",
        "batch/one-queue",
        "A processor that is given two deliveries at once hands them to one handler.",
        |queue| {
            alter::pulls(queue, |pulled| {
                let stranger = |pair: &[Granted]| pair[0].delivery.queue != pair[1].delivery.queue;
                if let Some(i) = pulled.deliveries.windows(2).position(stranger) {
                    let mut second = pulled.deliveries.remove(i + 1);
                    let first = &mut pulled.deliveries[i];
                    first.delivery.jobs.append(&mut second.delivery.jobs);
                    first.leases.append(&mut second.leases);
                    first.created_ms.append(&mut second.created_ms);
                }
            })
        },
    ),
    store("empty-batch", "batch/not-empty", "Some batches are empty.", |store| {
        let mut every = Every::nth(4);
        emptied(store, move |it, _| 1 < it.max && every.strikes())
    }),
    store("empty-batch-after-a-full-one", "batch/not-empty", "After a full batch comes an empty one.", |store| {
        emptied(store, |it, before| 1 < it.max && before.is_some_and(|jobs| it.max as usize <= jobs))
    }),
    processor("batch-emptied-on-the-way", "batch/not-empty", "Some deliveries arrive without their jobs.", |queue| {
        let mut every = Every::nth(5);
        alter::pulls(queue, move |pulled| {
            for it in pulled.deliveries.iter_mut().filter(|_| every.strikes()) {
                it.delivery.jobs.clear();
                it.leases.clear();
                it.created_ms.clear();
            }
        })
    }),
];

/// How much waits in each queue, as it was last said.
#[derive(Default)]
struct Doubled {
    ready: BTreeMap<String, u32>,
}

impl StoreBug for Doubled {
    fn before(&mut self, command: &mut Command) -> Option<Answer> {
        if let Command::Claim(it) = command
            && 1 < it.max
            && self.ready.get(&it.queue).is_some_and(|&ready| 2 * it.max <= ready)
        {
            it.max *= 2;
        }
        None
    }

    fn outlook(&mut self, _now_ms: u64, outlook: &mut Outlook) {
        self.ready = outlook.queues.iter().map(|queue| (queue.queue.clone(), queue.ready)).collect();
    }
}

/// When each queue last gave a full batch.
#[derive(Default)]
struct SecondWaits {
    full_ms: BTreeMap<String, u64>,
}

impl StoreBug for SecondWaits {
    fn after(&mut self, asked: &Command, answer: &mut Answer) {
        if let (Command::Claim(it), Answer::Claimed(Some(claimed))) = (asked, answer)
            && 1 < it.max
            && claimed.jobs.len() == it.max as usize
        {
            self.full_ms.insert(it.queue.clone(), it.now_ms);
        }
    }

    fn outlook(&mut self, now_ms: u64, outlook: &mut Outlook) {
        for queue in &mut outlook.queues {
            if self.full_ms.get(&queue.queue).is_some_and(|full_ms| now_ms < full_ms + HELD_UP_MS) {
                queue.ready = queue.ready.min(1);
            }
        }
    }
}

/// The queues that give batches, and when a job last came to each queue.
#[derive(Default)]
struct WaitsAnew {
    batching: BTreeSet<String>,
    newest_ms: BTreeMap<String, u64>,
}

impl StoreBug for WaitsAnew {
    fn after(&mut self, asked: &Command, _answer: &mut Answer) {
        match asked {
            Command::Claim(it) if 1 < it.max => drop(self.batching.insert(it.queue.clone())),
            Command::Enqueue(it) if !waits_for_tick(it) => {
                self.newest_ms.insert(it.queue.clone(), it.now_ms);
            }
            _ => {}
        }
    }

    fn outlook(&mut self, _now_ms: u64, outlook: &mut Outlook) {
        for queue in outlook.queues.iter_mut().filter(|queue| self.batching.contains(&queue.queue)) {
            let newest_ms = self.newest_ms.get(&queue.queue).copied().unwrap_or(0);
            queue.oldest_ready_ms = queue.oldest_ready_ms.map(|oldest_ms| oldest_ms.max(newest_ms));
        }
    }
}

/// How long a job waits alone in each queue, as far as that was seen, and for when retries were put off: they wait for their
/// backoff as well, and are left alone.
#[derive(Default)]
struct AloneWaits {
    oldest_ms: BTreeMap<String, u64>,
    wait_ms: BTreeMap<String, u64>,
    retries: BTreeSet<(String, u64)>,
}

impl StoreBug for AloneWaits {
    fn after(&mut self, asked: &Command, answer: &mut Answer) {
        match (asked, answer) {
            (Command::Claim(it), Answer::Claimed(Some(claimed))) if 1 < it.max && claimed.jobs.len() == 1 => {
                let waited_ms = self.oldest_ms.get(&it.queue).map_or(0, |oldest_ms| it.now_ms - oldest_ms);
                let wait_ms = self.wait_ms.entry(it.queue.clone()).or_insert(waited_ms);
                *wait_ms = waited_ms.min(*wait_ms);
            }
            (Command::Settle(it), _) => {
                if let Then::RetryAt(at) = it.then {
                    self.retries.insert((it.lease.queue.clone(), at));
                }
            }
            _ => {}
        }
    }

    fn outlook(&mut self, now_ms: u64, outlook: &mut Outlook) {
        for queue in &mut outlook.queues {
            let Some(oldest_ms) = queue.oldest_ready_ms else { continue };
            self.oldest_ms.insert(queue.queue.clone(), oldest_ms);
            let until_ms = oldest_ms + 2 * self.wait_ms.get(&queue.queue).copied().unwrap_or(0);
            let is_fresh = !self.retries.contains(&(queue.queue.clone(), oldest_ms));
            if queue.ready == 1 && is_fresh && now_ms < until_ms {
                (queue.oldest_ready_ms, queue.ready) = (None, 0);
                queue.next_ready_ms = Some(queue.next_ready_ms.map_or(until_ms, |next_ms| next_ms.min(until_ms)));
            }
        }
    }
}

/// What else goes with a claim: given the queues that there are, the claim, and what it gave.
type More = fn(&BTreeSet<String>, &Claim, &Claimed) -> Vec<Claim>;

/// Claims that take more along.
struct Further {
    claims: More,
    queues: BTreeSet<String>,
    more: Vec<Claim>,
}

fn further_claims(inner: Box<dyn Store>, claims: More) -> Box<dyn Store> {
    alter::store(inner, Further { claims, queues: BTreeSet::new(), more: Vec::new() })
}

/// One job of each other queue, for the delivery of `it`.
fn of_others(queues: &BTreeSet<String>, it: &Claim) -> impl Iterator<Item = Claim> {
    let others = queues.iter().filter(|queue| **queue != it.queue);
    others.map(|queue| Claim { queue: queue.clone(), max: 1, rate: None, ..it.clone() })
}

impl StoreBug for Further {
    fn after(&mut self, asked: &Command, answer: &mut Answer) {
        match (asked, answer) {
            (Command::Enqueue(it), _) => drop(self.queues.insert(it.queue.clone())),
            (Command::Claim(it), Answer::Claimed(Some(claimed))) => {
                self.more = (self.claims)(&self.queues, it, claimed);
            }
            _ => {}
        }
    }

    fn further(&mut self) -> Option<Command> {
        self.more.pop().map(Command::Claim)
    }
}

/// Claims that give nothing and say that they did, given how much the last one of the queue gave. Scheduled queues are left
/// alone, whose runs would fall apart as well.
struct Emptied<F> {
    choice: F,
    last: BTreeMap<String, usize>,
    scheduled: BTreeSet<String>,
}

fn emptied(
    inner: Box<dyn Store>,
    choice: impl FnMut(&Claim, Option<usize>) -> bool + Send + 'static,
) -> Box<dyn Store> {
    alter::store(inner, Emptied { choice, last: BTreeMap::new(), scheduled: BTreeSet::new() })
}

impl<F: FnMut(&Claim, Option<usize>) -> bool + Send + 'static> StoreBug for Emptied<F> {
    fn before(&mut self, command: &mut Command) -> Option<Answer> {
        let Command::Claim(it) = command else { return None };
        if self.scheduled.contains(&it.queue) {
            return None;
        }
        let chosen = (self.choice)(it, self.last.get(&it.queue).copied());
        chosen.then(|| Answer::Claimed(Some(Claimed { batch: it.delivery.clone(), jobs: Vec::new() })))
    }

    fn after(&mut self, asked: &Command, answer: &mut Answer) {
        match (asked, answer) {
            (Command::Enqueue(it), _) if waits_for_tick(it) => drop(self.scheduled.insert(it.queue.clone())),
            (Command::Claim(it), Answer::Claimed(Some(claimed))) => {
                self.last.insert(it.queue.clone(), claimed.jobs.len());
            }
            _ => {}
        }
    }
}
